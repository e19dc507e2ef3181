//! Request bodies on their way to the app.

use crate::harness::{Server, echo, ok};

#[test]
fn a_small_body_stays_in_memory_and_a_large_one_does_not() {
    let server = Server::start(|asked, exchange| {
        let sum: u64 = asked.body.iter().map(|&byte| u64::from(byte)).sum();
        ok(exchange, format!("{} {sum} {}", asked.body.len(), asked.spooled))
    });
    let mut client = server.connect();
    for (length, spooled) in [(0, false), (1, false), (1 << 20, false), ((1 << 20) + 1, true)] {
        let body: Vec<u8> = (0..=250).cycle().take(length).collect();
        let sum: u64 = body.iter().map(|&byte| u64::from(byte)).sum();
        client.send(format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n"));
        client.send(&body);
        assert_eq!(client.response().text(), format!("{length} {sum} {spooled}"));
    }
    server.stop();
}

#[test]
fn a_chunked_body_is_decoded_and_may_be_spooled() {
    let server = Server::start(|asked, exchange| {
        assert!(asked.body.iter().enumerate().all(|(at, &byte)| byte == (at / 1000 % 256) as u8));
        ok(exchange, format!("{} {}", asked.body.len(), asked.spooled))
    });
    let mut client = server.connect();
    for chunks in [3, 3000] {
        client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        for chunk in 0..chunks {
            client.send([b"3e8;x=y\r\n", &[(chunk % 256) as u8; 1000][..], b"\r\n"].concat());
        }
        client.send("0\r\nTrailer: ignored\r\n\r\n");
        let length = chunks * 1000;
        assert_eq!(client.response().text(), format!("{length} {}", length > 1 << 20));
    }
}

#[test]
fn continue_is_sent_when_the_body_is_waited_for() {
    let server = Server::start(echo);
    let mut client = server.connect();
    for framing in ["Content-Length: 3", "Transfer-Encoding: chunked"] {
        client.send(format!(
            "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n{framing}\r\n\r\n"
        ));
        assert_eq!(client.head(), "HTTP/1.1 100 Continue");
        client.send(if framing.starts_with('C') { "abc" } else { "3\r\nabc\r\n0\r\n\r\n" });
        assert_eq!(client.response().text(), "/ abc");
    }
    // Not when it has come already, nor to HTTP/1.0, nor where there is none.
    client
        .send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc");
    assert_eq!(client.response().text(), "/ abc");
    client.send("GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.response().text(), "/ ");
    client.send("POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
    server.turns.time(2);
    client.send("abc");
    assert_eq!(client.response().text(), "/ abc");
}

#[test]
fn a_body_that_comes_slowly_holds_nobody_up() {
    let server = Server::start(echo);
    let mut slow = server.connect();
    slow.send("POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n");
    let mut quick = server.connect();
    for n in 0..10 {
        slow.send(n.to_string());
        assert_eq!(quick.get("/quick").response().text(), "/quick ");
    }
    assert_eq!(slow.response().text(), "/slow 0123456789");
}
