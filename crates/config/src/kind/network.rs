//! Peers: whom something is taken from.

use ironhorn_unix::PeerPattern;

use super::Kind;

/// An address, a network, `*` or `unix`.
pub(crate) struct Peers;

impl Kind for Peers {
    type Value = PeerPattern;

    fn parse(&self, text: &str) -> Option<PeerPattern> {
        text.parse().ok()
    }

    fn allowed(&self) -> String {
        "an address such as 10.0.0.1 or ::1, a network such as 10.0.0.0/8 with no bits set beyond \
         its prefix, * or unix"
            .to_owned()
    }
}
