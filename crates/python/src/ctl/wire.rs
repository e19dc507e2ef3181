//! One question and its answer: a JSON object on a line each.

use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use ironhorn_unix::connect_private;
use serde_json::Value;

/// What a server said.
#[derive(Debug)]
pub(super) struct Reply {
    /// The line as it came.
    pub(super) line: String,
    /// What it says.
    pub(super) value: Value,
}

/// Why a server said nothing.
#[derive(Debug)]
pub(super) enum WireError {
    /// There is no such socket.
    Absent,
    /// There is, but nobody listens.
    Stale,
    /// It is somebody else's.
    Forbidden,
    /// Not within this time.
    Late(Duration),
    /// It has closed the connection.
    Gone,
    /// It said something that is no answer.
    NoReply(String),
    /// The system had another reason.
    Io(io::Error),
}

/// Asks the server whose control socket is at `path`. Without a `timeout`, waits as long as it
/// takes.
pub(super) fn ask(
    path: &Path,
    question: &Value,
    timeout: Option<Duration>,
) -> Result<Reply, WireError> {
    let until = timeout.map(|timeout| (Instant::now() + timeout, timeout));
    let late = || WireError::Late(timeout.unwrap_or_default());
    let mut stream = connect_private(path, timeout).map_err(|error| match error.kind() {
        ErrorKind::WouldBlock => late(),
        ErrorKind::NotFound => WireError::Absent,
        ErrorKind::ConnectionRefused => WireError::Stale,
        ErrorKind::PermissionDenied => WireError::Forbidden,
        _ => WireError::Io(error),
    })?;
    if let Some((until, _)) = until {
        stream.set_write_timeout(Some(left(until).ok_or_else(late)?)).map_err(WireError::Io)?;
    }
    match stream.write_all(format!("{question}\n").as_bytes()) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => return Err(late()),
        // Who may not ask is told so without being heard.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => return Err(WireError::Io(error)),
        _ => {}
    }
    let line = read_line(stream, until)?;
    match serde_json::from_str(&line) {
        Ok(value @ Value::Object(_)) => Ok(Reply { line, value }),
        _ => Err(WireError::NoReply(line)),
    }
}

/// The time until then. None: it is over.
fn left(until: Instant) -> Option<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    (!left.is_zero()).then_some(left)
}

fn read_line(stream: UnixStream, until: Option<(Instant, Duration)>) -> Result<String, WireError> {
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    loop {
        if let Some((until, timeout)) = until {
            let left = left(until).ok_or(WireError::Late(timeout))?;
            reader.get_ref().set_read_timeout(Some(left)).map_err(WireError::Io)?;
        }
        // What was read stays in `line` when the time is over, so it is not lost by going on.
        match reader.read_until(b'\n', &mut line) {
            Ok(_) if line.ends_with(b"\n") => break,
            Ok(_) => return Err(WireError::Gone),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                return Err(WireError::Gone);
            }
            Err(error) => return Err(WireError::Io(error)),
        }
    }
    String::from_utf8(line)
        .map_err(|error| WireError::NoReply(String::from_utf8_lossy(error.as_bytes()).into()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::thread;

    use ironhorn_unix::bind_private;
    use serde_json::json;

    use super::*;

    /// Asks a server that answers the first question with `answer` and closes, unless it waits.
    fn asked(answer: Option<&'static str>) -> Result<Reply, WireError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ctl");
        let listener = UnixListener::bind(&path).unwrap();
        let server = thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream);
            let mut question = String::new();
            reader.read_line(&mut question).unwrap();
            assert_eq!(question, "{\"command\":\"status\"}\n");
            match answer {
                Some(answer) => reader.get_mut().write_all(answer.as_bytes()).unwrap(),
                // The client hangs up.
                None => assert_eq!(reader.read_line(&mut question).unwrap(), 0),
            }
        });
        let patience = Duration::from_millis(if answer.is_some() { 10_000 } else { 30 });
        let reply = ask(&path, &json!({ "command": "status" }), Some(patience));
        server.join().unwrap();
        reply
    }

    #[test]
    fn a_line_is_answered_by_a_line() {
        let reply = asked(Some("{\"ok\": true}\n")).unwrap();
        assert_eq!((reply.line.as_str(), reply.value), ("{\"ok\": true}\n", json!({ "ok": true })));
    }

    #[test]
    fn what_is_no_answer_is_told_apart() {
        assert!(matches!(asked(Some("")), Err(WireError::Gone)));
        assert!(matches!(asked(Some("{\"ok\"")), Err(WireError::Gone)));
        assert!(matches!(asked(Some("HTTP/1.1 400\n")), Err(WireError::NoReply(_))));
        assert!(matches!(asked(Some("3\n")), Err(WireError::NoReply(_))));
        assert!(matches!(asked(None), Err(WireError::Late(_))));
    }

    #[test]
    fn a_refusal_may_come_before_the_question() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ctl");
        let listener = UnixListener::bind(&path).unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(b"{\"ok\":false}\n").unwrap();
        });
        // Longer than a socket's buffer, so that the server is gone before it is written.
        let question = json!({ "command": "x".repeat(4 << 20) });
        let reply = ask(&path, &question, None).unwrap();
        server.join().unwrap();
        assert_eq!(reply.value, json!({ "ok": false }));
    }

    #[test]
    fn whoever_hangs_is_not_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ctl");
        let (_listener, _file) = bind_private(&path).unwrap();
        let patience = Some(Duration::from_millis(30));
        let question = json!({ "command": "x".repeat(4 << 20) });
        assert!(matches!(ask(&path, &question, patience), Err(WireError::Late(_))), "written");
        let mut queued = Vec::new();
        while let Ok(client) = connect_private(&path, patience) {
            queued.push(client);
        }
        assert!(matches!(ask(&path, &json!({}), patience), Err(WireError::Late(_))), "connected");
    }

    #[test]
    fn where_nobody_listens() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ctl");
        let ask = || ask(&path, &json!({}), None).unwrap_err();
        assert!(matches!(ask(), WireError::Absent));
        drop(UnixListener::bind(&path).unwrap());
        assert!(matches!(ask(), WireError::Stale));
    }
}
