//! The tests of the loop again, with the app on a thread of its own, and what only a pool does.
//!
//! The app threads take turns in the tests of `serve`, whose apps are for one at a time. Not all of
//! them are here: how the loop shares its time between the app and the rest, and what it finds when it
//! has stood still, is nothing that a pool has to care for. What waits is `crowd`'s matter.

#![allow(clippy::unwrap_used, reason = "tests panic; clippy spares only #[test] functions")]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "contents may be any bytes"
)]

/// App threads.
const THREADS: usize = 4;

#[allow(dead_code, reason = "other tests use the rest")]
#[path = "serve/client.rs"]
mod client;
#[allow(dead_code, reason = "other tests use the rest")]
#[path = "serve/harness.rs"]
mod harness;

#[path = "serve/access_log.rs"]
mod access_log;
#[path = "serve/bodies.rs"]
mod bodies;
#[path = "pool/crowd.rs"]
mod crowd;
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
