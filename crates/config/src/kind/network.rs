//! Networks: whom something is taken from.

use ironhorn_unix::Network;

use super::Kind;

/// Addresses and networks.
pub(crate) struct Networks;

impl Kind for Networks {
    type Value = Network;

    fn parse(&self, text: &str) -> Option<Network> {
        text.parse().ok()
    }

    fn allowed(&self) -> String {
        "an IP address, a network such as 10.0.0.0/8, or *".to_owned()
    }
}
