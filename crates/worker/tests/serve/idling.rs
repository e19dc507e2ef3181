//! A worker with nothing to do sleeps: its loop turns with the heartbeat and no oftener.

use std::time::{Duration, Instant};

use ironhorn_worker::Reply;

use crate::client::Client;
use crate::harness::{Closes, Server, Setup, echo, head, ok};

const HEARTBEAT: Duration = Duration::from_millis(20);
/// What a client has to begin, and a little more.
const A_MOMENT: Duration = Duration::from_millis(1100);

fn start() -> Server {
    let closes = Closes::default();
    Setup::new().options(|options| options.worker_connections = 4).start(move |asked, exchange| {
        match asked.target.as_str() {
            "/large" => ok(exchange, vec![b'x'; 32 << 20]),
            "/stream" => {
                head(exchange, "200 OK", &[]);
                let rest = closes.made(|_| Ok(Some(vec![b'x'; 1 << 20])));
                Reply::Stream { first: Some(b"x".to_vec()), rest }
            }
            _ => echo(asked, exchange),
        }
    })
}

/// Whatever has just been done, the loop comes to rest.
#[track_caller]
fn sleeps(server: &Server) {
    server.wait_until("the loop rests", || {
        // Cheap to say for a loop that spins, dear for one that sleeps.
        !server.slot.is_busy()
    });
    // Turns of what was under way are not counted: of three attempts one must be at rest.
    let rests = (0..3).any(|_| server.turns.time(6) >= 4 * HEARTBEAT);
    assert!(rests, "the loop spins");
}

#[test]
fn with_no_connection() {
    sleeps(&start());
}

#[test]
fn with_connections_in_each_state() {
    let prepare: [fn(&mut Client); 9] = [
        |_| {},
        |client| drop(client.get("/").response()),
        |client| _ = client.send("GET / HT"),
        |client| _ = client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nx"),
        // Blocked, as a whole and in a stream.
        |client| drop(client.get("/large").exactly(1)),
        |client| drop(client.get("/stream").exactly(1)),
        // Blocked, and the client sends on or will send no more.
        |client| drop(client.get("/large").get("/").send("x".repeat(100_000)).exactly(1)),
        |client| drop(client.get("/stream").half_close().exactly(1)),
        // Lingering.
        |client| drop(client.send("nonsense\r\n\r\n").response()),
    ];
    for (index, prepare) in prepare.iter().enumerate() {
        let server = start();
        let mut client = server.connect();
        server.wait_for_connections(1);
        prepare(&mut client);
        println!("state {index}");
        sleeps(&server);
    }
}

#[test]
fn with_a_full_house_and_a_queue() {
    let server = start();
    let mut clients: Vec<_> = (0..6).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.get("/");
    }
    server.wait_for_connections(4);
    sleeps(&server);
    clients.drain(..2);
    clients.iter_mut().for_each(|client| assert_eq!(client.response().text(), "/ "));
}

#[test]
fn with_a_full_house_that_could_make_room() {
    for half in ["GET / HT", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nx"] {
        let server = start();
        let mut clients: Vec<_> = (0..4).map(|_| server.connect()).collect();
        clients.iter_mut().for_each(|client| _ = client.send(half));
        server.wait_for_connections(4);
        let held_since = Instant::now();
        server.wait_until("a moment has passed", || held_since.elapsed() > A_MOMENT);
        sleeps(&server);
    }
}
