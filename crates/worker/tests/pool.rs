//! The tests of the loop again, with the app on a thread of its own, and what only a pool does.
//!
//! The app threads take turns in the tests of `serve`, whose apps are for one at a time; so one is
//! enough there. Not all of them are here: where it is told how the loop turns while the app runs,
//! or how it shares its own time, there is nothing to be told of a pool.

#![allow(clippy::unwrap_used, reason = "tests panic; clippy spares only #[test] functions")]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "contents may be any bytes"
)]

/// One app thread.
const THREADS: usize = 1;

#[path = "serve/client.rs"]
mod client;
#[path = "serve/harness.rs"]
mod harness;

#[path = "serve/access_log.rs"]
mod access_log;
#[path = "serve/bodies.rs"]
mod bodies;
#[path = "serve/drain.rs"]
mod drain;
#[path = "serve/files.rs"]
mod files;
#[path = "serve/health.rs"]
mod health;
#[path = "serve/keep_alive.rs"]
mod keep_alive;
#[path = "serve/limits.rs"]
mod limits;
#[path = "serve/refusals.rs"]
mod refusals;
#[path = "serve/responses.rs"]
mod responses;
#[path = "serve/streaming.rs"]
mod streaming;
#[path = "serve/timeouts.rs"]
mod timeouts;
#[path = "serve/wear.rs"]
mod wear;
#[path = "serve/writing.rs"]
mod writing;
