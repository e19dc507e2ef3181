//! The event loop on a thread, with real sockets and a closure in place of an app.

mod client;
mod harness;

mod access_log;
mod bodies;
mod drain;
mod files;
mod idling;
mod keep_alive;
mod limits;
mod refusals;
mod responses;
mod streaming;
mod timeouts;
mod writing;
