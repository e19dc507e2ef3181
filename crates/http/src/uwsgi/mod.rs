//! The uwsgi protocol, as nginx's `uwsgi_pass` speaks it, turned into what the rest understands.
//!
//! A connection carries one request: a [`Packet`] of CGI variables, then the body as it is. The
//! answer is an HTTP response that ends with the connection.
//!
//! ```text
//!  modifier1 u8 │ size u16 le │ modifier2 u8 │ size bytes of variables │ body: CONTENT_LENGTH bytes
//!                                               └► key length u16 le, key, value length u16 le, value
//! ```
//!
//! A [`Translation`] writes the request as a head of HTTP/1.0, so that every rule and limit of a
//! head holds here too and nobody else has to know. That version says exactly what this protocol
//! can do: no connection is kept, no transfer coding and no interim response is sent, no Host is
//! required. What the other side really spoke is in the variable SERVER_PROTOCOL.

mod packet;
mod translation;

pub use packet::{MAX_VARIABLES, Packet, Variables};
pub use translation::Translation;
