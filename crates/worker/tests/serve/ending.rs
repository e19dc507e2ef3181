//! What the client of a last response sees, if the loop itself runs the app.

use std::io::{Read, Write};

use crate::harness::{Server, echo};

/// In one packet, so a client that waits wakes up once.
#[test]
fn the_end_comes_with_the_response() {
    let server = Server::start(echo);
    for _ in 0..50 {
        let mut client = server.try_connect().unwrap();
        client.write_all(b"GET /a HTTP/1.0\r\n\r\n").unwrap();
        let mut received = [0; 1000];
        let count = client.read(&mut received).unwrap();
        assert!(received[..count].ends_with(b"\r\n\r\n/a "));
        client.set_nonblocking(true).unwrap();
        assert_eq!(client.read(&mut received).unwrap(), 0);
    }
    server.stop();
}
