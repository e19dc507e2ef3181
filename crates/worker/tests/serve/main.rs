//! The event loop on a thread, with real sockets and a closure in place of an app.

#![allow(clippy::unwrap_used, reason = "tests panic; clippy spares only #[test] functions")]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "contents may be any bytes"
)]

/// The loop runs the app.
const THREADS: usize = 0;

mod client;
mod harness;
mod identity;

mod access_log;
mod bodies;
mod drain;
mod ending;
mod fairness;
mod files;
mod forwarded;
mod health;
mod idling;
mod keep_alive;
mod limits;
mod proxied;
mod refusals;
mod responses;
mod static_files;
mod streaming;
mod timeouts;
mod tls;
mod uwsgi;
mod wear;
mod writing;
