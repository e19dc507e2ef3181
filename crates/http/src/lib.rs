//! HTTP/1.1 for a server, without I/O (RFC 9110, RFC 9112).
//!
//! No socket, no clock, no allocation for what is received: bytes and the time are given, slices of
//! the bytes are given back. What another party could read otherwise is refused, with the status to
//! answer and the section of the rule in a [`Refusal`].
//!
//! # The cycle of a request
//!
//! ```text
//!            receive_head                          receive_body
//!             Incomplete                        Data, Incomplete
//!               ┌───┐                               ┌───┐
//!               │   ▼     Complete, a body          │   ▼
//!   new() ────► Head ──────────────────────────►  Length, Chunked
//!                ▲│ │                                │  │
//!                ││ └──── Complete, no body ──┐      │  │ last byte, End
//!                ││                           ▼      │  │
//!                │└─────┐                  Finished ◄┼──┘
//!                │      │  Refusal             │     │ Refusal
//!                │      └───────► Refused ◄────┼─────┘
//!                └─────────────────────────────┘
//!                           next_cycle()
//! ```
//!
//! [`Connection`] has the state and nothing else. The caller has the receive buffer, and drops from
//! its front what is consumed; a [`Request`] borrows from it. After a refusal there is no next
//! cycle: answer with [`refusal_response`] and close.
//!
//! A response is a [`ResponseHead`], which the application fills and the server finishes, and a
//! [`BodyEncoder`], which says how the body goes out and whether the connection lives on.
//!
//! # All of it
//!
//! ```
//! use ironhorn_http::*;
//!
//! let limits = Limits::default();
//! let mut dates = DateCache::new();
//! let mut connection = Connection::new();
//! let mut head = ResponseHead::default();
//! let mut wire = Vec::new();
//!
//! // Two pipelined requests have arrived.
//! let mut input = &b"POST /greet?loud HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
//!                    5\r\nworld\r\n0\r\n\r\n\
//!                    GET / HTTP/1.0\r\n\r\n"[..];
//! let mut greeted = Vec::new();
//! while !input.is_empty() {
//!     let mut storage = FieldStorage::new();
//!     let request = match connection.receive_head(input, &mut storage, &limits) {
//!         Ok(Received::Complete(request)) => request,
//!         Ok(Received::Incomplete) => break, // receive more
//!         Err(refusal) => {
//!             let text = refusal.to_string();
//!             refusal_response(&mut wire, refusal.status(), dates.at(0), b"", &text);
//!             break; // and close
//!         }
//!     };
//!     input = &input[request.head_len..];
//!
//!     let mut body = Vec::new();
//!     loop {
//!         match connection.receive_body(input, &limits)? {
//!             BodyEvent::Data { content, consumed } => {
//!                 body.extend_from_slice(content);
//!                 input = &input[consumed..];
//!             }
//!             BodyEvent::End { consumed } => {
//!                 input = &input[consumed..];
//!                 break;
//!             }
//!             BodyEvent::Incomplete { .. } => unreachable!("all of it has arrived"),
//!         }
//!     }
//!     greeted.push((request.path().to_vec(), body));
//!
//!     // The application's part.
//!     head.set_status(b"200 OK")?;
//!     head.push_field(b"Content-Type", b"text/plain")?;
//!     assert_eq!(head.push_field(b"X", b"a\r\nb"), Err(ResponseError::ValueInvalid));
//!
//!     // The server's part.
//!     let finished = head.finish(&Framing {
//!         head_request: request.method == "HEAD",
//!         version: request.version,
//!         persistent: request.persistent,
//!         length: None,
//!         date: dates.at(784_111_777),
//!         server: b"",
//!     });
//!     wire.extend_from_slice(head.bytes());
//!     let mut encoder = finished.encoder;
//!     let frame = encoder.frame(b"hello".len());
//!     wire.extend_from_slice(frame.prefix.as_bytes());
//!     wire.extend_from_slice(&b"hello"[..frame.take]);
//!     wire.extend_from_slice(frame.suffix);
//!     wire.extend_from_slice(encoder.finish()?);
//!     if !finished.persistent {
//!         break; // and close
//!     }
//!     connection.next_cycle();
//! }
//!
//! assert_eq!(greeted, [(b"/greet".to_vec(), b"world".to_vec()), (b"/".to_vec(), b"".to_vec())]);
//! assert_eq!(
//!     String::from_utf8(wire)?,
//!     "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
//!      Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n\
//!      HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
//!      Connection: close\r\n\r\nhello"
//! );
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

mod chunked;
mod connection;
mod date;
mod encoder;
mod error;
mod extension;
pub mod forwarded;
mod framing;
pub mod headers;
mod limits;
mod lines;
pub mod proxy;
mod request;
mod response;
mod target;
pub mod uwsgi;

pub use chunked::MAX_EXTENSION;
pub use connection::{BodyEvent, Connection, Received};
pub use date::DateCache;
pub use encoder::{BodyEncoder, Frame, Prefix, ShortBody};
pub use error::{Refusal, reason_phrase};
pub use framing::BodyLength;
pub use limits::{Limits, MAX_FIELDS};
pub use request::{Field, FieldStorage, Request, Version};
pub use response::{Finished, Framing, ResponseError, ResponseHead, interim, refusal_response};
