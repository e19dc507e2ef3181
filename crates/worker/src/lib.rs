//! One worker: a blocking event loop that accepts, reads, buffers, calls the app and writes.
//!
//! ```text
//!  listener ─► acceptor ─► connection ─► http::Connection ─► Application::call ─► response ─► wire
//!                              ▲                                                        │
//!                              └───────────── keep-alive, pipelined requests ◄──────────┘
//! ```
//!
//! The app is called on the loop's own thread ([`run`]) or on several others ([`run_on_threads`]), with
//! a request that is complete: a slow client costs a connection, never the worker. Nothing here knows
//! Python; [`Application`] is the door.

#![forbid(unsafe_code)]

mod acceptor;
pub mod access_log;
pub mod application;
mod body;
mod connection;
mod drain;
mod event_loop;
mod exchange;
mod file;
mod health;
mod output;
mod overload;
mod pool;
mod refuse;
mod respond;
mod response;
mod runs;
mod serve;
mod timers;
mod transport;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use ironhorn_http::Limits;
use ironhorn_unix::{BoardSlot, Listener, Signals, State, WorkerEnd};

pub use access_log::AccessLog;
pub use application::{
    Application, Body, Chunks, Exchange, Failed, Gone, Idle, Reply, Request, Sender, Stream,
};
pub use event_loop::run;
pub use pool::{MainThread, Seat, ThreadApplication, run_on_threads};

/// How a worker treats its connections.
#[derive(Clone, Debug)]
pub struct Options {
    /// From the first byte of a request head, or the accept, to the head's end.
    pub header_timeout: Option<Duration>,
    /// Between two pieces of a request body.
    pub body_timeout: Option<Duration>,
    /// Between two requests; zero closes every connection after its first response.
    pub keepalive: Duration,
    /// Without the client taking anything of a response.
    pub write_timeout: Option<Duration>,
    /// How many connections are open at once; more wait in the kernel's queue.
    pub worker_connections: usize,
    /// What a request may measure.
    pub limits: Limits,
    /// The `Server` field; empty for none.
    pub server: String,
    /// The longest that the loop sleeps, so that the board shows that it lives.
    pub heartbeat: Duration,
    /// After so many requests the master is told, once, that the worker is worn; it goes on.
    pub max_requests: Option<u64>,
    /// How many threads run the app, with [`run_on_threads`].
    pub threads: usize,
    /// How many complete requests wait for one of them; then nothing is read that would be another.
    pub queue: usize,
    /// A request that has waited longer than this is answered 503 and not run.
    pub queue_timeout: Option<Duration>,
    /// A path that the loop answers itself: whether the worker is one to send requests to.
    pub health_path: Option<String>,
}

/// Where connections come from, and what is spoken there.
#[derive(Clone, Debug)]
pub struct Entrance {
    /// Shared with the worker's siblings, and dropped as soon as the worker takes no more: who has a
    /// `Weak` of it can tell.
    pub listener: Arc<Listener>,
    /// What is spoken there.
    pub protocol: Protocol,
}

/// What is spoken on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    Http,
}

/// Everything a worker is given.
pub struct Context<'a> {
    /// How connections are treated.
    pub options: Options,
    /// Where connections come from.
    pub entrances: Vec<Entrance>,
    /// The wire to the master.
    pub channel: WorkerEnd,
    /// The worker's own signals. They stay caught when it has left its loop.
    pub signals: &'a mut Signals,
    /// Its line on the board.
    pub slot: BoardSlot,
    /// Where access lines go.
    pub access_log: Option<AccessLog>,
    /// Opens the other logs anew.
    pub reopen_logs: &'a mut (dyn FnMut() + Send),
    /// Told when the worker is ready, and when it begins to leave.
    pub enters: &'a mut dyn FnMut(State),
}

/// Why a worker has left its loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// It was asked to finish, and has finished.
    Drained,
    /// It was asked to leave at once.
    Quit,
    /// The master is gone.
    Orphaned,
}
