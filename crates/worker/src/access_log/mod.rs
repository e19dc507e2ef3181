//! The access log: one line a response, refused requests too.
//!
//! A line is written as soon as its response has ended. Gathering those of a turn would save system
//! calls, but the app may hang in the next request of that turn, and what a killed worker holds is
//! lost. A line is one write, so that lines of several workers don't mix: a pipe keeps writes of up
//! to `PIPE_BUF` bytes whole (pipe(7)), a file that is opened for appending longer ones too.

mod atom;
mod escape;
mod format;

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use ironhorn_http::ResponseHead;
use ironhorn_unix::Peer;

pub use format::{Format, FormatError};

/// What there is to say of one response.
pub(crate) struct Entry<'a> {
    /// The request, if it could be understood.
    pub(crate) request: Option<&'a ironhorn_http::Request<'a, 'a>>,
    /// The start of what was received, for a request that was refused.
    pub(crate) received: &'a [u8],
    pub(crate) peer: &'a Peer,
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
    /// The memory of the last line.
    line: Vec<u8>,
    failed: bool,
}

#[derive(Debug)]
enum Sink {
    Stdout,
    File { path: PathBuf, file: File },
}

impl AccessLog {
    /// Writes lines to standard output.
    pub fn to_stdout(format: Format) -> Self {
        Self::new(format, Sink::Stdout)
    }

    /// Appends lines to the file at `path`, which is made if it isn't there.
    pub fn to_file(format: Format, path: &Path) -> io::Result<Self> {
        let sink = Sink::File { path: path.to_owned(), file: open(path)? };
        Ok(Self::new(format, sink))
    }

    fn new(format: Format, sink: Sink) -> Self {
        Self { format, sink, line: Vec::new(), failed: false }
    }

    /// Names of the environ keys that the format asks for, in order of their index.
    pub fn environ_names(&self) -> &[String] {
        self.format.environ_names()
    }

    /// Adds the line of a request that its worker did not survive, which was `request`
    /// ("GET /path"). Its status is 0: there was no response, or not all of it.
    pub fn add_lost(&mut self, request: &str, elapsed: Duration) {
        self.add(&Entry {
            request: None,
            received: request.as_bytes(),
            peer: &Peer::Unix,
            status: 0,
            response: None,
            body_bytes: 0,
            elapsed,
            environ: &[],
        });
    }

    /// Opens the file by its name again, after it was moved away.
    pub fn reopen(&mut self) -> io::Result<()> {
        if let Sink::File { path, file } = &mut self.sink {
            *file = open(path)?;
        }
        Ok(())
    }

    /// Writes the line of a response.
    pub(crate) fn add(&mut self, entry: &Entry<'_>) {
        self.line.clear();
        self.format.write(entry, SystemTime::now(), &mut self.line);
        self.line.push(b'\n');
        let written = match &mut self.sink {
            Sink::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(&self.line).and_then(|()| stdout.flush())
            }
            Sink::File { file, .. } => file.write_all(&self.line),
        };
        self.report(written);
    }

    /// Says once that lines are lost, and once that they aren't any more.
    fn report(&mut self, written: io::Result<()>) {
        match written {
            Ok(()) if self.failed => {
                self.failed = false;
                log::info!("access log can be written again");
            }
            Err(error) if !self.failed => {
                self.failed = true;
                log::error!(error:%; "cannot write the access log; lines are lost");
            }
            Ok(()) | Err(_) => {}
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}
