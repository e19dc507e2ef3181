//! The access log: one line a response, refused requests too.
//!
//! Lines that come in one turn of the loop are written together at its end. The app may hang in the
//! next request of that turn: so the stand-in writes them after a moment, and where there is none, a
//! line is written as soon as its response has ended. What a worker that is killed hasn't written is
//! on the board, and the master writes it.
//!
//! Lines of several workers don't mix: a pipe keeps writes of up to `PIPE_BUF` bytes whole (pipe(7)),
//! which is as much as is gathered, a file that is opened for appending longer ones too.
//!
//! Responses don't wait for who reads the log: lines that a full pipe doesn't take are lost, and so
//! are those that a full disk doesn't, all that were to be written together.

mod atom;
mod escape;
mod format;
mod outlet;

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use ironhorn_http::ResponseHead;
use ironhorn_http::uwsgi::Variables;
use ironhorn_unix::{BoardSlot, Links, Peer, Sink};

pub use format::{Format, FormatError};
pub(crate) use outlet::Outlet;

/// What there is to say of one response.
pub(crate) struct Entry<'a> {
    /// The request, if it could be understood.
    pub(crate) request: Option<&'a ironhorn_http::Request<'a, 'a>>,
    /// The start of what was received, for a request that was refused.
    pub(crate) received: &'a [u8],
    pub(crate) peer: &'a Peer,
    /// What a proxy that speaks the uwsgi protocol says.
    pub(crate) variables: &'a Variables,
    pub(crate) status: u16,
    pub(crate) response: Option<&'a ResponseHead>,
    /// Bytes of the response body that were handed to the socket.
    pub(crate) body_bytes: u64,
    /// From the complete request to the end of the response.
    pub(crate) elapsed: Duration,
    /// Values of the environ keys that the format names.
    pub(crate) environ: &'a [Option<Vec<u8>>],
}

/// Where access lines go, and how they look.
#[derive(Debug)]
pub struct AccessLog {
    format: Format,
    outlet: Outlet,
    /// None: standard output.
    file: Option<(PathBuf, Links)>,
    /// The memory of the last line.
    line: Vec<u8>,
}

impl AccessLog {
    /// Writes lines to standard output.
    pub fn to_stdout(format: Format) -> Self {
        Self::new(format, Sink::stdout(), None)
    }

    /// Appends lines to the file at `path`, which is made if it isn't there.
    pub fn to_file(format: Format, path: &Path, links: Links) -> io::Result<Self> {
        Ok(Self::new(format, Sink::open(path, links)?, Some((path.to_owned(), links))))
    }

    /// Writes nothing until [`AccessLog::reopen`] can open the file at `path`.
    pub fn to_missing_file(format: Format, path: &Path, links: Links) -> io::Result<Self> {
        let nowhere = Sink::open(Path::new("/dev/null"), Links::All)?;
        Ok(Self::new(format, nowhere, Some((path.to_owned(), links))))
    }

    fn new(format: Format, sink: Sink, file: Option<(PathBuf, Links)>) -> Self {
        Self { format, outlet: Outlet::new(sink), file, line: Vec::new() }
    }

    /// Names of the environ keys that the format asks for, in order of their index.
    pub fn environ_names(&self) -> &[String] {
        self.format.environ_names()
    }

    /// Adds the line of a request that its worker did not survive, which was `request`
    /// ("GET /path"). A status of 0: there was no response, or not all of it.
    pub fn add_lost(&mut self, request: &str, elapsed: Duration, status: u16) {
        self.add(&Entry {
            request: None,
            received: request.as_bytes(),
            peer: &Peer::Unix,
            variables: &Variables::default(),
            status,
            response: None,
            body_bytes: 0,
            elapsed,
            environ: &[],
        });
    }

    /// Opens the file by its name again, after it was moved away.
    pub fn reopen(&mut self) -> io::Result<()> {
        if let Some((path, links)) = &self.file {
            self.outlet.replace(Sink::open(path, *links)?);
        }
        Ok(())
    }

    /// Adds lines that a worker has left on the board.
    pub fn add_left(&mut self, lines: &[u8]) {
        self.outlet.add(lines);
    }

    /// Adds the line of a response.
    pub(crate) fn add(&mut self, entry: &Entry<'_>) {
        self.line.clear();
        self.format.write(entry, SystemTime::now(), &mut self.line);
        self.line.push(b'\n');
        self.outlet.add(&self.line);
    }

    /// From here on lines wait for the end of the turn. Returns the way to write them before.
    pub(crate) fn gather(&self, slot: &BoardSlot) -> Outlet {
        self.outlet.gather(slot.clone());
        self.outlet.clone()
    }

    /// From here on each line is written at once.
    pub(crate) fn stop_gathering(&self) {
        self.outlet.stop_gathering();
    }

    /// Writes the lines of a turn.
    pub(crate) fn flush(&self) {
        self.outlet.flush();
    }
}
