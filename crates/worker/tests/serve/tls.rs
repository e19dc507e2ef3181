//! The loop over TLS: handshakes in pieces, bytes that wait in either direction, and ends.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::time::Duration;

use ironhorn_unix::{Local, ToWorker};
use ironhorn_worker::tls::TlsFacts;
use ironhorn_worker::{Chunks, Left, Protocol, Reply};
use rustls::{ClientConnection, StreamOwned};

use crate::client::{Client, End};
use crate::harness::{Closes, PATIENCE, Setup, echo, head, ok};
use crate::identity::{made, socket};

#[test]
fn handshakes_that_do_not_end_make_room_after_a_moment() {
    let made = made();
    let server = made.setup().options(|options| options.worker_connections = 2).start(echo);
    let silent = socket(&server);
    let mut slow = socket(&server);
    // The beginning of a record that holds a ClientHello (RFC 8446 §5.1).
    slow.write_all(&[22, 3, 1, 2, 0, 1]).unwrap();
    server.wait_for_connections(2);
    // Not idle, or it would make room itself.
    let mut busy = made.connect(&server);
    busy.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n");
    assert_eq!(made.connect(&server).get("/").response().text(), "/ ");
    assert_eq!(busy.send("x").response().text(), "/ x");
    for mut gone in [silent, slow] {
        match gone.read(&mut [0; 16]) {
            Ok(count) => assert_eq!(count, 0),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset),
        }
    }
}

#[test]
fn bodies_that_drip_make_room_after_a_moment() {
    let made = made();
    let server = made.setup().options(|options| options.worker_connections = 3).start(echo);
    let [mut quick, mut slow, mut slower] = [(); 3].map(|()| made.connect(&server));
    let upload = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n";
    quick.send(upload).send(vec![b'x'; 999_999]);
    slow.send(upload).send(vec![b'x'; 1000]);
    slower.send(upload).send("x");
    server.wait_for_connections(3);
    server.turns.time(60); // Longer than a moment.
    assert_eq!(made.connect(&server).get("/").response().text(), "/ ");
    assert_eq!(slower.response().status, 408);
    assert_eq!(quick.send("x").response().body.len(), "/ ".len() + 1_000_000);
    drop(slow);
}

/// Sends a byte at a time.
struct Dripping(TcpStream);

impl Read for Dripping {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = buffer.len().min(1);
        self.0.read(&mut buffer[..room])
    }
}

impl Write for Dripping {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(&bytes[..bytes.len().min(1)])
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn requests_are_served_one_after_another_and_pipelined() {
    let made = made();
    let (tells, told) = mpsc::channel();
    let server = made.setup().start(move |asked, exchange| {
        tells.send(asked.tls.clone()).unwrap();
        echo(asked, exchange)
    });
    let mut client = made.connect(&server);
    assert_eq!(client.get("/one").response().text(), "/one ");
    client.get("/two").get("/three");
    assert_eq!(client.response().text(), "/two ");
    assert_eq!(client.response().text(), "/three ");
    let expected = TlsFacts {
        version: "TLSv1.3",
        cipher: "TLS_AES_256_GCM_SHA384",
        server_name: Some("a.example".to_owned()),
        client: None,
    };
    assert_eq!(told.recv().unwrap(), Some(expected));
    drop(client);
    server.stop();
}

#[test]
fn a_handshake_and_a_request_may_come_byte_by_byte() {
    let made = made();
    let server = made.setup().start(echo);
    let mut client = Client::through(made.open(Dripping(socket(&server))));
    client.send("POST /drip HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody");
    assert_eq!(client.response().text(), "/drip body");
    drop(client);
    server.stop();
}

#[test]
fn more_than_a_read_holds_is_taken_in_and_sent() {
    const SIZE: usize = 5_000_000;
    let made = made();
    let server = made.setup().start(|asked, exchange| {
        assert_eq!(asked.body.len(), SIZE);
        ok(exchange, asked.body.clone())
    });
    let body: Vec<u8> = (0..=250).cycle().take(SIZE).collect();
    let mut client = made.connect(&server);
    for _ in 0..2 {
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {SIZE}\r\n\r\n"));
        client.send(&body);
        assert!(client.response().body == body);
    }
    drop(client);
    server.stop();
}

/// All that is received at once, with requests in it that one turn doesn't get to.
#[test]
fn a_flood_of_pipelined_requests_is_served_to_the_last() {
    const COUNT: usize = 3000;
    let made = made();
    let server = made.setup().start(echo);
    let mut client = made.connect(&server);
    let requests: String = (0..COUNT)
        .map(|number| format!("GET /{number} HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(40)))
        .collect();
    client.send(requests);
    for number in 0..COUNT {
        assert_eq!(client.response().text(), format!("/{number} "));
    }
    drop(client);
    server.stop();
}

#[test]
fn a_client_that_reads_slowly_gets_everything_and_costs_the_others_nothing() {
    const SIZE: usize = 5 << 20;
    let made = made();
    let directory = tempfile::tempdir().unwrap();
    let closes = Closes::default();
    let counted = closes.clone();
    // Whose buffers are small.
    let server = made.setup().unix(directory.path()).start(move |asked, exchange| {
        head(exchange, "200 OK", &[]);
        if asked.target == "/small" {
            return Reply::Complete(Chunks::One(b"small".to_vec()));
        }
        let mut left = SIZE >> 16;
        let rest = counted.made(move |_| {
            left -= usize::from(left > 0);
            Ok((left > 0).then(|| vec![b'x'; 1 << 16]))
        });
        Reply::Stream { first: Some(vec![b'x'; 1 << 16]), rest }
    });
    let connect = || {
        let Local::Unix(path) = server.local() else { panic!("a unix socket") };
        let socket = UnixStream::connect(path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Client::through(made.open(socket))
    };
    let mut slow = connect();
    slow.get("/big");
    let mut quick = connect();
    for _ in 0..10 {
        assert_eq!(quick.get("/small").response().text(), "small");
    }
    assert_eq!(closes.count(), 0, "the response is finished that nobody has read");
    assert_eq!(slow.response().body.len(), SIZE);
    drop((slow, quick));
    server.stop();
    assert_eq!(closes.count(), 1);
}

/// What of it was encrypted and not sent doesn't count, in whole records.
#[test]
fn the_log_counts_what_the_socket_has_taken() {
    let made = made();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("access.log");
    let server = made
        .setup()
        .unix(directory.path())
        .access_log("%(B)s", &path)
        .options(|options| options.write_timeout = Some(Duration::from_millis(100)))
        .start(|_, exchange| ok(exchange, vec![0xff; 8 << 20]));
    let Local::Unix(socket) = server.local() else { panic!("unix") };
    let mut client = Client::through(made.open(UnixStream::connect(socket).unwrap()));
    client.get("/");
    let line = || fs::read_to_string(&path).unwrap();
    server.wait_until("the line", || line().ends_with('\n'));
    let (End::Closed(received) | End::Reset(received)) = client.end();
    let taken = received.into_iter().filter(|&byte| byte == 0xff).count();
    assert!(taken > 0);
    assert_eq!(line(), format!("{taken}\n"));
}

#[test]
fn a_client_that_takes_nothing_is_given_up() {
    let made = made();
    let closes = Closes::default();
    let counted = closes.clone();
    let server = made
        .setup()
        .options(|options| options.write_timeout = Some(Duration::from_millis(200)))
        .start(move |_, exchange| {
            head(exchange, "200 OK", &[]);
            let rest = counted.made(|_| Ok(Some(vec![b'x'; 1 << 16])));
            Reply::Stream { first: Some(b"x".to_vec()), rest }
        });
    let mut client = made.connect(&server);
    client.get("/");
    server.wait_until("the app is told", || closes.count() == 1);
    server.wait_for_connections(0);
    drop(client);
    server.stop();
}

#[test]
fn a_file_is_read_and_encrypted() {
    const SIZE: usize = 3 << 20;
    let made = made();
    let mut file = tempfile::tempfile().unwrap();
    let content: Vec<u8> = (0..=250).cycle().take(SIZE).collect();
    file.write_all(&content).unwrap();
    let closes = Closes::default();
    let counted = closes.clone();
    let server = made.setup().start(move |_, exchange| {
        head(exchange, "200 OK", &[]);
        let file = file.try_clone().unwrap().into();
        Reply::File { file, offset: 1, length: SIZE as u64 - 1, rest: counted.of([]) }
    });
    let mut client = made.connect(&server);
    assert!(client.get("/").response().body == content[1..]);
    assert!(client.get("/").response().body == content[1..]);
    drop(client);
    server.stop();
    assert_eq!(closes.count(), 2);
}

/// What the client has of an end: `Ok` if it was told of it.
fn end_of(client: &mut StreamOwned<ClientConnection, TcpStream>) -> Result<Vec<u8>, ErrorKind> {
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).map_err(|error| error.kind())?;
    Ok(rest)
}

#[test]
fn an_end_is_said() {
    let made = made();
    let server =
        made.setup().options(|options| options.keepalive = Duration::from_millis(100)).start(echo);
    // After a response that ends with the connection, and by keepalive.
    for request in ["GET / HTTP/1.0\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"] {
        let mut client = made.open(socket(&server));
        client.write_all(request.as_bytes()).unwrap();
        assert!(end_of(&mut client).unwrap().ends_with(b"/ "));
    }
    server.stop();
}

#[test]
fn a_response_that_is_cut_short_has_no_end() {
    let made = made();
    let closes = Closes::default();
    let server = made.setup().start(move |_, exchange| {
        head(exchange, "200 OK", &[]);
        let rest = closes.made(|_| Err(ironhorn_worker::Failed));
        Reply::Stream { first: Some(b"first".to_vec()), rest }
    });
    let mut client = made.open(socket(&server));
    client.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    assert!(matches!(
        end_of(&mut client).unwrap_err(),
        ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset
    ));
    server.stop();
}

#[test]
fn an_end_in_a_body_cuts_it_short_whether_said_or_not() {
    let made = made();
    let server = made.setup().start(|_, _| panic!("called without the whole body"));
    for says in [true, false] {
        let mut client = made.open(socket(&server));
        client.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nbody").unwrap();
        server.wait_for_connections(1);
        if says {
            client.conn.send_close_notify();
            client.flush().unwrap();
        }
        drop(client);
        server.wait_for_connections(0);
    }
    server.stop();
}

#[test]
fn a_handshake_has_its_time_and_others_are_served_meanwhile() {
    let made = made();
    let server = made
        .setup()
        .options(|options| options.handshake_timeout = Some(Duration::from_millis(300)))
        .start(echo);
    let mut silent = socket(&server);
    let mut half = socket(&server);
    let mut hello = Vec::new();
    made.handshake().write_tls(&mut hello).unwrap();
    half.write_all(&hello[..hello.len() / 2]).unwrap();
    let mut client = made.connect(&server);
    assert_eq!(client.get("/").response().text(), "/ ");
    for stuck in [&mut silent, &mut half] {
        assert_eq!(stuck.read(&mut [0; 9]).unwrap(), 0);
    }
    // The time after the handshake is another.
    assert_eq!(client.get("/").response().text(), "/ ");
    drop(client);
    server.stop();
}

#[test]
fn http_on_a_port_for_https_is_told_so() {
    let made = made();
    let server = made.setup().start(|_, _| panic!("no request"));
    let mut client = server.connect();
    let response = client.get("/secret").response();
    assert_eq!((response.status, response.text()), (400, "this port speaks HTTPS\n"));
    client.is_closed();
    server.stop();
}

#[test]
fn what_breaks_the_rules_gets_an_alert_and_the_loop_goes_on() {
    let made = made();
    let server = made.setup().start(echo);
    for garbage in [&b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00"[..], b"\x00\x00\x00\x00\x00\x00"] {
        let mut client = server.connect();
        client.send(garbage);
        let End::Closed(alert) = client.end() else { panic!("reset") };
        assert_eq!(alert[0], 21, "{alert:?}");
    }
    // After the handshake, too.
    let mut broken = made.open(socket(&server));
    broken.write_all(b"GET / HTTP/1.1\r\n").unwrap();
    broken.sock.write_all(b"\x17\x03\x03\x00\x05aaaaa").unwrap();
    assert!(end_of(&mut broken).is_err());
    let mut client = made.connect(&server);
    assert_eq!(client.get("/").response().text(), "/ ");
    drop((client, broken));
    server.stop();
}

#[test]
fn a_tls_client_on_a_plain_port_is_let_go() {
    let made = made();
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("access.log");
    let server = Setup::new().access_log("%(s)s", &log).start(|_, _| panic!("no request"));
    let mut client = made.open(socket(&server));
    assert!(client.write_all(b"GET / HTTP/1.1\r\n\r\n").is_err());
    drop(client);
    server.stop();
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "400\n");
}

#[test]
fn a_redirect_keeps_the_connection_unless_a_body_comes() {
    let server =
        Setup::new().speaking(Protocol::Redirect { port: 8443 }).start(|_, _| panic!("no request"));
    let mut client = server.connect();
    for _ in 0..2 {
        let response = client.get("/a?b=c").response();
        assert_eq!(response.status, 308);
        assert_eq!(response.field("Location"), Some("https://a:8443/a?b=c"));
        assert_eq!(response.field("Connection"), None);
    }
    client.send("HEAD /a HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response_to("HEAD").status, 308);
    client.send("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nbody");
    let response = client.response();
    assert_eq!((response.status, response.field("Connection")), (308, Some("close")));
    client.is_closed();
    let mut client = server.connect();
    client.send("GET /a HTTP/1.1\r\nHost: a/b\r\n\r\n");
    assert_eq!(client.response().status, 400);
    client.is_closed();
    server.stop();
}

#[test]
fn a_worker_that_quits_says_good_bye() {
    let made = made();
    let server = made.setup().start(echo);
    let mut client = made.open(socket(&server));
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    server.wait_for_requests(1);
    server.tell(ToWorker::Quit);
    assert_eq!(server.left(), Left::Quit);
    assert!(end_of(&mut client).unwrap().ends_with(b"/ "));
}
