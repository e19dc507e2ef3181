//! TLS below HTTP: what a server is configured with once, and what each connection adds.
//!
//! ```text
//!  PEM ─► Identity ─┐
//!                   ├─► Tls (one for a generation, made by the master) ─► Session (one a connection)
//!  TicketKeys ──────┘                                                        │
//!                                                                            └─► TlsFacts, for the app
//! ```
//!
//! The master makes a [`Tls`] and every worker has it through the fork: no worker reads a file, and
//! a ticket that one worker has given is good with all of them. Whatever random numbers are needed
//! come from getrandom(2), so a copy of this state in two processes repeats nothing.

mod certificate;
mod config;
mod facts;
mod session;
mod ticket;

pub use certificate::{Identity, IdentityError};
pub use config::{ClientCertificates, Tls, TlsError, TlsOptions, TlsVersion};
pub use facts::{ClientCertificate, TlsFacts};
pub(crate) use session::{NotTls, Session};
pub use ticket::TicketKeys;
