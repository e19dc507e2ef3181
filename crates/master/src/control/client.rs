//! One operator's connection: a line in, a line out, and that is all.

use std::{
    io::{self, Read, Write},
    net::Shutdown,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
        unix::net::UnixStream,
    },
    time::Duration,
};

use ironhorn_unix::Monotonic;
use serde_json::Value;

use super::request::LONGEST;

/// Who sends no request within this, or takes nothing of the answer for so long, is dropped.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// The most that is read of what nobody wants to know.
const DISCARDED: usize = 64 * 1024;

pub(super) struct Client {
    stream: UnixStream,
    /// Tells it from others that have had its place.
    pub(super) serial: u64,
    pub(super) stage: Stage,
    input: Vec<u8>,
    output: Vec<u8>,
    /// How much of `output` has been sent.
    sent: usize,
    /// When it will have been too slow.
    pub(super) until: Option<Monotonic>,
}

/// Where a connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// The request is not complete.
    Asking,
    /// The answer is not known.
    Waiting,
    /// The answer is being sent.
    Answering,
}

/// What reading has brought.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// More is to come.
    Nothing,
    /// The line.
    Line(Vec<u8>),
    /// More than a line may have.
    TooLong,
    /// The client has gone without a request.
    Gone,
}

impl Client {
    /// A client that was just accepted.
    pub(super) fn new(stream: UnixStream, serial: u64, now: Monotonic) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            serial,
            stage: Stage::Asking,
            input: Vec::new(),
            output: Vec::new(),
            sent: 0,
            until: Some(now + PATIENCE),
        })
    }

    /// Reads on. The end of what the client sends ends a line too.
    pub(super) fn read(&mut self) -> Heard {
        let mut piece = [0; LONGEST];
        loop {
            let (length, ended) = match self.stream.read(&mut piece) {
                Ok(0) => (0, true),
                Ok(length) => (length, false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Heard::Nothing,
                Err(_) => return Heard::Gone,
            };
            self.input.extend_from_slice(&piece[..length]);
            let end = self.input.iter().position(|byte| *byte == b'\n');
            if end.unwrap_or(self.input.len()) > LONGEST {
                return Heard::TooLong;
            }
            match end {
                Some(end) => {
                    self.input.truncate(end);
                    return Heard::Line(std::mem::take(&mut self.input));
                }
                None if ended && self.input.is_empty() => return Heard::Gone,
                None if ended => return Heard::Line(std::mem::take(&mut self.input)),
                None => {}
            }
        }
    }

    /// The answer is known: as much of it as the kernel takes is sent. True: it has all been, or
    /// nobody is there to take it.
    pub(super) fn answer(&mut self, answer: &Value, now: Monotonic) -> bool {
        self.output = answer.to_string().into_bytes();
        self.output.push(b'\n');
        self.stage = Stage::Answering;
        self.until = Some(now + PATIENCE);
        self.write(now)
    }

    /// Sends on, as [`Client::answer`].
    pub(super) fn write(&mut self, now: Monotonic) -> bool {
        while self.sent < self.output.len() {
            match self.stream.write(&self.output[self.sent..]) {
                Ok(length) => {
                    self.sent += length;
                    self.until = Some(now + PATIENCE);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return error.kind() != io::ErrorKind::WouldBlock,
            }
        }
        self.part();
        true
    }

    /// What was sent and not read would have the client told of a reset before it reads the
    /// answer (unix(7)).
    fn part(&mut self) {
        // Nobody is left to tell if it fails.
        let _ = self.stream.shutdown(Shutdown::Write);
        let mut piece = [0; LONGEST];
        let mut discarded = 0;
        while discarded < DISCARDED
            && let Ok(length @ 1..) = self.stream.read(&mut piece)
        {
            discarded += length;
        }
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl AsRawFd for Client {
    fn as_raw_fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufRead;

    use super::*;

    const NOW: Monotonic = Monotonic::from_nanos(1);

    fn pair() -> (UnixStream, Client) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (theirs, Client::new(ours, 1, NOW).unwrap())
    }

    #[test]
    fn a_line_is_heard_when_it_is_whole() {
        let (mut operator, mut client) = pair();
        assert_eq!(client.read(), Heard::Nothing);
        operator.write_all(b"{\"comm").unwrap();
        assert_eq!(client.read(), Heard::Nothing);
        operator.write_all(b"and\"}\nmore").unwrap();
        assert_eq!(client.read(), Heard::Line(b"{\"command\"}".to_vec()));
    }

    #[test]
    fn the_end_of_what_is_sent_ends_the_line() {
        let (mut operator, mut client) = pair();
        operator.write_all(b"{}").unwrap();
        operator.shutdown(Shutdown::Write).unwrap();
        assert_eq!(client.read(), Heard::Line(b"{}".to_vec()));
        let (operator, mut client) = pair();
        drop(operator);
        assert_eq!(client.read(), Heard::Gone);
    }

    #[test]
    fn a_line_may_be_long_and_no_longer() {
        let (mut operator, mut client) = pair();
        operator.write_all(&[b'x'; LONGEST]).unwrap();
        assert_eq!(client.read(), Heard::Nothing);
        operator.write_all(b"\n").unwrap();
        assert_eq!(client.read(), Heard::Line(vec![b'x'; LONGEST]));
        let (mut operator, mut client) = pair();
        operator.write_all(&[b'x'; LONGEST + 1]).unwrap();
        assert_eq!(client.read(), Heard::TooLong);
    }

    #[test]
    fn an_answer_reaches_one_who_had_more_to_say() {
        let (mut operator, mut client) = pair();
        operator.write_all(b"{}\nmore").unwrap();
        assert!(client.answer(&Value::from(3), NOW));
        drop(client);
        let mut line = String::new();
        io::BufReader::new(operator).read_line(&mut line).unwrap();
        assert_eq!(line, "3\n");
    }

    #[test]
    fn an_answer_waits_for_one_who_does_not_read() {
        let (mut operator, mut client) = pair();
        let long = Value::from("x".repeat(4 << 20));
        assert!(!client.answer(&long, NOW));
        assert_eq!((client.stage, client.until), (Stage::Answering, Some(NOW + PATIENCE)));
        let mut read = 0;
        let mut piece = vec![0; 1 << 20];
        while !client.write(NOW) {
            read += operator.read(&mut piece).unwrap();
        }
        drop(client);
        read += operator.read_to_end(&mut piece).unwrap();
        assert_eq!(read, (4 << 20) + 3);
    }
}
