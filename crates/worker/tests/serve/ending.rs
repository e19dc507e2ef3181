//! What the client of a last response sees, if the loop itself runs the app.

use std::io::{Read, Write};

use ironhorn_worker::{Chunks, Reply};

use crate::harness::{Server, head, ok};

/// In one packet, so a client that waits wakes up once.
#[test]
fn the_end_comes_with_the_response() {
    let server = Server::start(|asked, exchange| match asked.target.as_str() {
        "/nothing" => {
            head(exchange, "204 No Content", &[]);
            Reply::Complete(Chunks::None)
        }
        _ => ok(exchange, "body"),
    });
    for (request, end) in
        [("GET /", "\r\n\r\nbody"), ("HEAD /", "\r\n\r\n"), ("GET /nothing", "\r\n\r\n")]
    {
        for _ in 0..50 {
            let mut client = server.try_connect().unwrap();
            write!(client, "{request} HTTP/1.0\r\n\r\n").unwrap();
            let mut received = [0; 1000];
            let count = client.read(&mut received).unwrap();
            let text = String::from_utf8_lossy(&received[..count]);
            assert!(text.ends_with(end) && text.matches("HTTP/1.1 20").count() == 1, "{text}");
            client.set_nonblocking(true).unwrap();
            assert_eq!(client.read(&mut received).unwrap(), 0, "{request}");
        }
    }
    server.stop();
}
