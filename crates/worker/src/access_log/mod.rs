//! The access log: one line a response, refused requests too.
//!
//! A line is written as soon as its response has ended. Gathering those of a turn would save system
//! calls, but the app may hang in the next request of that turn, and what a killed worker holds is
//! lost. A line is one write, so that lines of several workers don't mix: a pipe keeps writes of up
//! to `PIPE_BUF` bytes whole (pipe(7)), a file that is opened for appending longer ones too.
//!
//! Responses don't wait for who reads the log: lines that a full pipe doesn't take are lost.

mod atom;
mod escape;
mod format;

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use ironhorn_http::ResponseHead;
use ironhorn_http::uwsgi::Variables;
use ironhorn_unix::{Fate, Links, Peer, Sink};

pub use format::{Format, FormatError};

/// The error log learns of lost lines this often at most.
const BETWEEN_COMPLAINTS: Duration = Duration::from_secs(10);

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
    sink: Sink,
    /// None: standard output.
    file: Option<(PathBuf, Links)>,
    /// The memory of the last line.
    line: Vec<u8>,
    failed: bool,
    /// Lines that were lost since that was said.
    lost: u64,
    complained_at: Option<Instant>,
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
        let line = Vec::new();
        Self { format, sink, file, line, failed: false, lost: 0, complained_at: None }
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
            self.sink.replace(Sink::open(path, *links)?);
        }
        Ok(())
    }

    /// Writes the line of a response.
    pub(crate) fn add(&mut self, entry: &Entry<'_>) {
        self.line.clear();
        self.format.write(entry, SystemTime::now(), &mut self.line);
        self.line.push(b'\n');
        let written = self.sink.write(&self.line);
        if matches!(written, Ok(Fate::Lost)) {
            self.lost += 1;
        }
        if self.lost > 0 {
            self.complain();
        }
        self.report(written);
    }

    /// Says how many lines were lost because nobody reads them, once in a while.
    fn complain(&mut self) {
        if self.complained_at.is_none_or(|at| at.elapsed() >= BETWEEN_COMPLAINTS) {
            self.complained_at = Some(Instant::now());
            let count = std::mem::take(&mut self.lost);
            log::warn!(count; "access log lines lost: nobody reads them");
        }
    }

    /// Says once that the log can't be written, and once that it can again.
    fn report(&mut self, written: io::Result<Fate>) {
        match written {
            Ok(Fate::Written) if self.failed => {
                self.failed = false;
                log::info!("access log can be written again");
            }
            Err(error) if !self.failed => {
                self.failed = true;
                log::error!(error:%; "cannot write the access log; lines are lost");
            }
            Ok(_) | Err(_) => {}
        }
    }
}
