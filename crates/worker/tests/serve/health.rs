//! The health check, which the loop answers.

use std::fs;

use ironhorn_unix::{State, ToWorker};

use crate::harness::{Server, Setup, echo, meeting};

fn setup() -> Setup {
    Setup::new().options(|options| options.health_path = Some("/health".to_owned()))
}

#[test]
fn it_is_none_of_the_apps() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("access.log");
    let server = setup().access_log(r#""%(r)s" %(s)s %(B)s"#, &path).start(|asked, exchange| {
        assert!(asked.target != "/health" || asked.method == "POST", "{asked:?}");
        echo(asked, exchange)
    });
    let mut client = server.connect();
    let response = client.get("/health").response();
    assert_eq!((response.status, response.text()), (200, "ready\n"));
    assert_eq!(response.field("Content-Type"), Some("text/plain; charset=utf-8"));
    assert_eq!(response.field("Connection"), None);
    assert_eq!(client.get("/health?verbose").response().text(), "ready\n");
    let response = client.send("HEAD /health HTTP/1.1\r\nHost: a\r\n\r\n").response_to("HEAD");
    assert_eq!((response.status, response.field("Content-Length")), (200, Some("6")));
    // With a body, which nobody reads.
    client.send("GET /health HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
    assert_eq!(client.response().text(), "ready\n");
    server.turns.time(2);
    assert_eq!((server.slot.requests(), server.slot.is_busy()), (0, false));

    for other in ["/health/", "/Health", "/", "/healthy"] {
        assert_eq!(client.get(other).response().text(), format!("{other} "));
    }
    client.send("POST /health HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx");
    assert_eq!(client.response().text(), "/health x");
    server.stop();
    let lines = fs::read_to_string(path).unwrap();
    assert_eq!(
        lines.lines().take(3).collect::<Vec<_>>(),
        [
            r#""GET /health HTTP/1.1" 200 6"#,
            r#""GET /health?verbose HTTP/1.1" 200 6"#,
            r#""HEAD /health HTTP/1.1" 200 0"#
        ]
    );
}

#[test]
fn without_the_setting_it_is_the_apps() {
    let server = Server::start(echo);
    assert_eq!(server.connect().get("/health").response().text(), "/health ");
}

#[test]
fn a_server_that_is_about_to_stop_says_so() {
    let server = setup().start(echo);
    let mut client = server.connect();
    client.get("/").response();
    // For a time it still takes connections: others shall learn of it first.
    server.slot.ask_to_leave();
    let response = client.get("/health").response();
    assert_eq!((response.status, response.text()), (503, "stopping\n"));
    assert_eq!(response.field("Connection"), Some("close"));
    client.is_closed();
    assert_eq!(server.connect().get("/health").response().status, 503);
    assert_eq!(server.connect().get("/").response().status, 200);
}

#[test]
fn a_worker_that_stops_says_so_and_one_that_retires_does_not() {
    if crate::THREADS != 0 {
        return; // It is for a loop that stands still while the app runs.
    }
    for (order, status) in [(ToWorker::Stop, 503), (ToWorker::Retire, 200)] {
        let (meets, app) = meeting();
        let server = setup().start(app);
        let mut waiting = server.connect();
        waiting.get("/").response();
        let mut held = server.hold();
        server.slot.ask_to_leave();
        server.tell(order);
        // Sent before the worker learns of it: idle connections are looked at a last time.
        waiting.get("/late").get("/health");
        meets.send(()).unwrap();
        held.response();
        assert_eq!(waiting.response().text(), "/late ");
        assert_eq!(waiting.response().status, status, "{order:?}");
        waiting.is_closed();
        server.wait_until("it drains", || server.slot.read().state == State::Draining);
    }
}
