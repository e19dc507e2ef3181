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
mod expiry_thread;
mod file;
mod garbage;
mod health;
mod output;
mod overload;
mod own;
mod pace;
mod packet;
mod path;
mod pool;
mod proxied;
mod redirect;
mod refuse;
mod respond;
mod response;
mod room;
mod runs;
mod serve;
mod slowest;
mod standin;
mod static_files;
mod timers;
pub mod tls;
mod transport;
mod trust;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use ironhorn_http::Limits;
use ironhorn_unix::{BoardSlot, Listener, PeerList, Signals, State, WorkerEnd};

pub use access_log::AccessLog;
pub use application::{
    Application, Body, Chunks, Exchange, Failed, Forwarded, Gone, Idle, Proxied, Reply, Request,
    Sender, Stream,
};
pub use event_loop::run;
pub use pool::{MainThread, Seat, ThreadApplication, run_on_threads};
pub use static_files::{StaticError, StaticFiles, StaticOptions};
pub use trust::Trust;

use tls::Tls;

/// How a worker treats its connections.
#[derive(Clone, Debug)]
pub struct Options {
    /// From the accept to the end of the TLS handshake.
    pub handshake_timeout: Option<Duration>,
    /// From the first byte of a request head, or the accept, to the head's end.
    pub header_timeout: Option<Duration>,
    /// Between two pieces of a request body.
    pub body_timeout: Option<Duration>,
    /// The bytes a second that a request body must come with on average; 0: any.
    pub body_min_rate: u32,
    /// Between two requests; zero closes every connection after its first response.
    pub keepalive: Duration,
    /// Without the client taking anything of a response.
    pub write_timeout: Option<Duration>,
    /// The bytes a second that a client must take of a response on average while it waits for the
    /// client; 0: any.
    pub write_min_rate: u32,
    /// How many connections are open at once; more wait in the kernel's queue.
    pub worker_connections: usize,
    /// How much disk the request bodies that are on their way may take together, in bytes.
    pub spool_limit: Option<u64>,
    /// What a request may measure.
    pub limits: Limits,
    /// The `Server` field; empty for none.
    pub server: String,
    /// The longest that the loop sleeps, so that the board shows that it lives.
    pub heartbeat: Duration,
    /// Whether the master has requests expire that take too long.
    pub expires: bool,
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
    /// What the loop answers from files, after that path.
    pub static_files: Option<Arc<StaticFiles>>,
    /// Who may connect where the uwsgi protocol is spoken.
    pub uwsgi_allow_from: PeerList,
    /// Whom requests are believed to be from.
    pub trust: Trust,
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
#[derive(Clone, Debug)]
pub enum Protocol {
    /// HTTP/1.1.
    Http,
    /// The uwsgi protocol: one request a connection, answered in HTTP.
    Uwsgi,
    /// HTTP/1.1 in TLS.
    Https(Tls),
    /// HTTP/1.1, where every request is answered with where it is to go instead.
    Redirect {
        /// The port where HTTPS is spoken.
        port: u16,
    },
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
