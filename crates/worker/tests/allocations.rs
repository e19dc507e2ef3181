//! A small request on a connection that is kept costs no allocation, nor does its line in the log.
//!
//! Alone in its program, as allocations of every thread are counted.

#![allow(clippy::unwrap_used, reason = "tests panic; clippy spares only #[test] functions")]

/// The loop runs the app.
#[allow(dead_code, reason = "for the harness")]
const THREADS: usize = 0;

#[allow(dead_code, reason = "other tests use the rest")]
#[path = "serve/client.rs"]
mod client;
#[allow(dead_code, reason = "other tests use the rest")]
#[path = "serve/harness.rs"]
mod harness;

use std::alloc::System;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use ironhorn_http::forwarded::ClientFrom;
use ironhorn_unix::{
    Address, BindOptions, Board, Links, Listener, Local, PeerPattern, Received, Signals, ToMaster,
    ToWorker, channel,
};
use ironhorn_worker::access_log::{AccessLog, Format};
use ironhorn_worker::{
    Application, Body, Chunks, Context, Entrance, Exchange, Failed, Left, Protocol, Reply, Request,
    Stream, run,
};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const REQUEST: &[u8] = b"GET /path?query HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\
                         User-Agent: a client\r\nCookie: a=b; c=d\r\n\r\n";

/// The same as a proxy passes it on.
const PROXIED: &[u8] = b"GET /path?query HTTP/1.1\r\nHost: localhost\r\n\
                         X-Forwarded-For: 192.0.2.7, 203.0.113.9\r\nX-Forwarded-Proto: https\r\n\r\n";

/// An app that allocates nothing itself.
struct Hello;

enum NoStream {}

impl Stream for NoStream {
    type Chunk = &'static [u8];

    fn next(&mut self, _: &mut dyn Exchange) -> Result<Option<&'static [u8]>, Failed> {
        match *self {}
    }

    fn close(&mut self) {
        match *self {}
    }
}

impl Application for Hello {
    type Chunk = &'static [u8];
    type Stream = NoStream;

    fn call(
        &mut self,
        _: &Request<'_>,
        _: Body,
        exchange: &mut dyn Exchange,
    ) -> Reply<&'static [u8], NoStream> {
        let head = exchange.head();
        head.set_status(b"200 OK").unwrap();
        head.push_field(b"Content-Type", b"text/plain").unwrap();
        Reply::Complete(Chunks::One(b"Hello, world!\n"))
    }

    fn while_idle<T: Send>(&mut self, wait: impl FnOnce() -> T + Send) -> T {
        wait()
    }
}

#[test]
fn a_small_request_and_its_line_allocate_nothing() {
    let address: Address = "127.0.0.1:0".parse().unwrap();
    let listener = Listener::bind(&address, &BindOptions::default()).unwrap();
    let Local::Inet(local) = *listener.local() else { panic!("{:?}", listener.local()) };
    let (master, channel) = channel().unwrap();
    let slot = Board::new(1).unwrap().slot(1);
    let mut options = harness::Setup::new().options;
    options.trust.forwarders = ["127.0.0.1".parse::<PeerPattern>().unwrap()].into_iter().collect();
    options.trust.policy.client = ClientFrom::Untrusted;
    let format = Format::parse("combined").unwrap();
    let access_log = AccessLog::to_file(format, Path::new("/dev/null"), Links::All).unwrap();
    let worker = std::thread::spawn(move || {
        let context = Context {
            options,
            entrances: vec![Entrance { listener: listener.into(), protocol: Protocol::Http }],
            channel,
            signals: &mut Signals::install(&[]).unwrap(),
            slot,
            access_log: Some(access_log),
            reopen_logs: &mut || {},
            enters: &mut |_| {},
        };
        run(context, Hello).unwrap()
    });
    let mut client = TcpStream::connect(local).unwrap();
    client.set_nodelay(true).unwrap();
    client.set_read_timeout(Some(harness::PATIENCE)).unwrap();
    while master.receive().unwrap() != Received::Message(ToMaster::Ready) {
        std::thread::yield_now();
    }

    let mut answer = [0; 1024];
    let mut exchange = || {
        for request in [REQUEST, PROXIED] {
            client.write_all(request).unwrap();
            let mut length = 0;
            while !answer[..length].ends_with(b"Hello, world!\n") {
                length += client.read(&mut answer[length..]).unwrap();
            }
        }
    };
    // The first ones make room for all that follow.
    (0..10).for_each(|_| exchange());
    // The test's own runner allocates now and then in its thread; a request would each time.
    let rounds = (0..5).map(|_| {
        let region = Region::new(ALLOCATOR);
        (0..200).for_each(|_| exchange());
        let counted = region.change();
        counted.allocations + counted.reallocations
    });
    assert_eq!(rounds.min(), Some(0));

    drop(client);
    master.send(ToWorker::Stop).unwrap();
    assert_eq!(worker.join().unwrap(), Left::Drained);
}
