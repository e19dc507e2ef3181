//! A client that says exactly what it is told to, and reads to a deadline.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use ironhorn_unix::Local;
use nix::libc::linger;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::Linger;

use crate::harness::PATIENCE;

pub(crate) struct Client {
    socket: Socket,
    /// Received and not looked at.
    buffer: Vec<u8>,
}

enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
    Wrapped(Box<dyn Wrapped + Send>),
    Left,
}

/// What is spoken through something else.
pub(crate) trait Wrapped: Read + Write {}

impl<T: Read + Write> Wrapped for T {}

/// A response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// The head as received, without the empty line.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Closed(Vec<u8>),
    Reset(Vec<u8>),
}

impl Response {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    #[track_caller]
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

impl Client {
    pub(crate) fn connect(local: &Local) -> Self {
        let socket = match local {
            Local::Inet(address) => Socket::Tcp(TcpStream::connect(address).unwrap()),
            Local::Unix(path) => Socket::Unix(UnixStream::connect(path).unwrap()),
            Local::Abstract(_) => panic!("not used here"),
        };
        let client = Self { socket, buffer: Vec::new() };
        client.patience(PATIENCE);
        if let Socket::Tcp(stream) = &client.socket {
            stream.set_nodelay(true).unwrap();
        }
        client
    }

    /// A client that speaks through `stream`, whose patience is its own.
    pub(crate) fn through(stream: impl Wrapped + Send + 'static) -> Self {
        Self { socket: Socket::Wrapped(Box::new(stream)), buffer: Vec::new() }
    }

    fn patience(&self, patience: Duration) {
        match &self.socket {
            Socket::Tcp(stream) => {
                stream.set_read_timeout(Some(patience)).unwrap();
                stream.set_write_timeout(Some(PATIENCE)).unwrap();
            }
            Socket::Unix(stream) => {
                stream.set_read_timeout(Some(patience)).unwrap();
                stream.set_write_timeout(Some(PATIENCE)).unwrap();
            }
            Socket::Wrapped(_) | Socket::Left => {}
        }
    }

    #[track_caller]
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.try_send(bytes).unwrap();
        self
    }

    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        match &mut self.socket {
            Socket::Tcp(stream) => stream.write_all(bytes.as_ref()),
            Socket::Unix(stream) => stream.write_all(bytes.as_ref()),
            Socket::Wrapped(stream) => {
                stream.write_all(bytes.as_ref()).and_then(|()| stream.flush())
            }
            Socket::Left => Err(ErrorKind::NotConnected.into()),
        }
    }

    /// A plain GET.
    #[track_caller]
    pub(crate) fn get(&mut self, target: &str) -> &mut Self {
        self.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"))
    }

    /// Sends no more.
    pub(crate) fn half_close(&mut self) -> &mut Self {
        match &self.socket {
            Socket::Tcp(stream) => stream.shutdown(Shutdown::Write).unwrap(),
            Socket::Unix(stream) => stream.shutdown(Shutdown::Write).unwrap(),
            Socket::Wrapped(_) => panic!("not used here"),
            Socket::Left => {}
        }
        self
    }

    /// Leaves without a word; on TCP, by a reset.
    pub(crate) fn reset(&mut self) {
        if let Socket::Tcp(stream) = &self.socket {
            let linger = linger { l_onoff: 1, l_linger: 0 };
            setsockopt(stream, Linger, &linger).unwrap();
        }
        self.leave();
    }

    /// The next response, to anything but HEAD.
    #[track_caller]
    pub(crate) fn response(&mut self) -> Response {
        self.response_to("GET")
    }

    #[track_caller]
    pub(crate) fn response_to(&mut self, method: &str) -> Response {
        let head = self.head();
        let status = head.get(9..12).and_then(|status| status.parse().ok());
        let mut response = Response { status: status.expect(&head), head, body: Vec::new() };
        if method == "HEAD" || matches!(response.status, 100..=199 | 204 | 304) {
            return response;
        }
        response.body = if response.field("Transfer-Encoding") == Some("chunked") {
            let mut body = Vec::new();
            while let Some(chunk) = self.chunk() {
                body.extend_from_slice(&chunk);
            }
            body
        } else if let Some(length) = response.field("Content-Length") {
            self.exactly(length.parse().unwrap())
        } else {
            match self.end() {
                End::Closed(rest) => rest,
                End::Reset(_) => panic!("reset"),
            }
        };
        response
    }

    /// The next head, without its empty line.
    #[track_caller]
    pub(crate) fn head(&mut self) -> String {
        let end = self.find(b"\r\n\r\n");
        let head = self.exactly(end + 4);
        String::from_utf8(head[..end].to_vec()).unwrap()
    }

    /// The next chunk of a chunked body; none at its end.
    #[track_caller]
    pub(crate) fn chunk(&mut self) -> Option<Vec<u8>> {
        let end = self.find(b"\r\n");
        let line = self.exactly(end + 2);
        let size = usize::from_str_radix(std::str::from_utf8(&line[..end]).unwrap(), 16).unwrap();
        let chunk = self.exactly(size);
        assert_eq!(self.exactly(2), b"\r\n");
        (size > 0).then_some(chunk)
    }

    /// So many bytes.
    #[track_caller]
    pub(crate) fn exactly(&mut self, count: usize) -> Vec<u8> {
        while self.buffer.len() < count {
            if let Err(end) = self.read() {
                panic!("{end}; received {}", shown(&self.buffer));
            }
        }
        let rest = self.buffer.split_off(count);
        std::mem::replace(&mut self.buffer, rest)
    }

    /// Everything up to the end of the connection.
    #[track_caller]
    pub(crate) fn end(&mut self) -> End {
        loop {
            match self.read() {
                Ok(()) => {}
                Err(error) => {
                    let rest = std::mem::take(&mut self.buffer);
                    return match error.kind() {
                        ErrorKind::UnexpectedEof => End::Closed(rest),
                        ErrorKind::ConnectionReset => End::Reset(rest),
                        _ => panic!("{error}; received {}", shown(&rest)),
                    };
                }
            }
        }
    }

    /// The connection is closed and nothing more came; it is closed here too.
    #[track_caller]
    pub(crate) fn is_closed(&mut self) {
        assert_eq!(self.end(), End::Closed(Vec::new()));
        self.leave();
    }

    /// Closes this side too.
    fn leave(&mut self) {
        self.socket = Socket::Left;
    }

    /// Whether anything can be read within `time`: bytes or the end.
    pub(crate) fn hears_within(&mut self, time: Duration) -> bool {
        self.patience(time);
        let heard = match self.read() {
            Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
            Ok(()) => true,
        };
        self.patience(PATIENCE);
        heard || !self.buffer.is_empty()
    }

    #[track_caller]
    fn find(&mut self, what: &[u8]) -> usize {
        loop {
            let found = self.buffer.windows(what.len()).position(|window| window == what);
            match found {
                Some(at) => return at,
                None => {
                    if let Err(end) = self.read() {
                        panic!("{end}; received {}", shown(&self.buffer));
                    }
                }
            }
        }
    }

    fn read(&mut self) -> io::Result<()> {
        let mut piece = [0; 16 * 1024];
        let count = match &mut self.socket {
            Socket::Tcp(stream) => stream.read(&mut piece)?,
            Socket::Unix(stream) => stream.read(&mut piece)?,
            Socket::Wrapped(stream) => stream.read(&mut piece)?,
            Socket::Left => return Err(ErrorKind::NotConnected.into()),
        };
        if count == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        self.buffer.extend_from_slice(&piece[..count]);
        Ok(())
    }
}

fn shown(bytes: &[u8]) -> String {
    let start = String::from_utf8_lossy(&bytes[..bytes.len().min(300)]);
    format!("{} bytes: {start:?}", bytes.len())
}
