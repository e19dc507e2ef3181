//! What proxies say of a request in its fields: `Forwarded` (RFC 7239) and its elders, `X-Forwarded-*`.
//!
//! Each proxy adds to the right, so only what stands there is a trusted proxy's word; what is left
//! of that may be the client's. Nothing here decides whom to trust: a field of somebody else must not
//! get here.
//!
//! Proxies that know only one kind of field pass the other on as the client sent it. So what is said
//! twice has to agree, or the request is refused: there is no telling which of the two is true.

mod element;
mod name;
mod node;
mod read;

pub use name::{Name, is_forwarding, is_same_key};
pub use node::Node;
pub use read::{Claims, ClientFrom, Policy, Prefix};
