//! Which fields an app sees, depending on whether a trusted proxy has sent them.
//!
//! Apps, frameworks and their middleware read what proxies say too, and believe it. So once it is
//! known who the proxies are, others aren't heard.

use ironhorn_http::forwarded::{is_forwarding, is_same_key};

/// What is hidden from an app, by the settings.
#[derive(Clone, Debug, Default)]
pub(crate) struct Visible {
    /// Whether what only proxies say is hidden if somebody else says it.
    pub(crate) hides_strangers: bool,
    /// Fields that are for trusted proxies only.
    pub(crate) listed: Vec<String>,
}

impl Visible {
    /// Whether any field of a request may have to be hidden.
    pub(super) fn hides_from(&self, trusted: bool) -> bool {
        !self.listed.is_empty() || (self.hides_strangers && !trusted)
    }

    /// Whether a field is hidden. Another spelling of one that is listed has the same environ key,
    /// and so is hidden whoever sends it: a proxy that sets the one may pass on a client's other.
    pub(super) fn is_hidden(&self, name: &[u8], trusted: bool) -> bool {
        let is_one = self.listed.iter().any(|listed| is_same_key(listed.as_bytes(), name));
        if is_one {
            return !(trusted && self.is_listed(name)) || is_script_name(name);
        }
        self.hides_strangers && !trusted && is_forwarding(name)
    }

    /// Whether a field is listed just as it is spelled.
    pub(super) fn is_listed(&self, name: &[u8]) -> bool {
        self.listed.iter().any(|listed| listed.as_bytes().eq_ignore_ascii_case(name))
    }
}

/// What it says is in the environ under its own name.
fn is_script_name(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"script_name")
}
