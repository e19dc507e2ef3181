//! Where lines of a log go, without ever being held up by who reads them.
//!
//! A regular file or a terminal is written as it is. A pipe or a socket may be full because nobody
//! reads it, and a write that blocks would stop the master or a worker for good. Such a line waits
//! for room, [`PATIENCE`] at most; then it is lost and counted, and those after it are lost without
//! a wait until there is room again. What went out in part is finished before anything else, so that
//! a line is never continued by another one.
//!
//! `O_NONBLOCK` belongs to the open file description (open(2)), which others share: whoever started
//! the server, and the app. So a pipe is opened once more, for the sink alone; a socket, which can't
//! be, takes the flag by the call (send(2)).

use std::fs::{File, OpenOptions};
use std::io::{self, Stderr, Stdout};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use libc::{PIPE_BUF, S_IFIFO, S_IFMT, S_IFSOCK, dev_t, ino_t};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, send};
use nix::sys::stat::{Mode, fstat};
use nix::unistd::geteuid;

use crate::stdio::redirect_output;
use crate::trust::open_safely;

/// How long a line waits for room, in all.
const PATIENCE: Duration = Duration::from_millis(100);

/// What became of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a line may be lost"]
pub enum Fate {
    /// It is out, or its start is and the rest will follow.
    Written,
    /// Nobody makes room for it.
    Lost,
}

/// Whose links lead to a file of lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// Anybody's.
    All,
    /// To root, root's own only: those that are in directories that nobody else may write to. To
    /// any other process, anybody's.
    Roots,
}

/// Where lines go: one of the standard streams, or a file of ours.
#[derive(Debug)]
pub struct Sink(Kind);

#[derive(Debug)]
enum Kind {
    Standard(Stream),
    File(Outlet),
}

impl Sink {
    /// Standard output.
    pub fn stdout() -> Self {
        Self::standard(Stream::Output)
    }

    /// Standard error.
    pub fn stderr() -> Self {
        Self::standard(Stream::Error)
    }

    /// Now, because a worker that has changed its user may not open its pipe again.
    fn standard(stream: Stream) -> Self {
        stream.examine();
        Self(Kind::Standard(stream))
    }

    /// Appends to the file at `path`, which is made if it isn't there.
    ///
    /// A FIFO that nobody has opened yet is no error: its lines wait in it for a reader.
    pub fn open(path: &Path, links: Links) -> io::Result<Self> {
        let is_strict = links == Links::Roots && geteuid().is_root();
        let open = |flags| match is_strict {
            true => open_safely(path, flags),
            false => Ok(File::from(nix::fcntl::open(path, flags, Mode::from_bits_retain(0o666))?)),
        };
        // What is there may have become a FIFO by now, whose open would wait for a reader.
        let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let file = match open(flags | OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_CREAT) {
            Err(error) if has_no_reader(&error) => open(flags | OFlag::O_RDWR)?,
            opened => opened?,
        };
        if fstat(&file)?.st_mode & S_IFMT != S_IFIFO {
            fcntl(&file, FcntlArg::F_SETFL(OFlag::O_APPEND))?;
        }
        Ok(Self(Kind::File(Outlet::of_file(file))))
    }

    /// Takes the place of `old`. If both are the same file, half a line and a count stay.
    pub fn replace(&mut self, new: Self) {
        match (&self.0, &new.0) {
            (Kind::File(old), Kind::File(new)) if old.inode == new.inode => {}
            _ => *self = new,
        }
    }

    /// Writes a line, which has its line feed, or loses it.
    pub fn write(&mut self, line: &[u8]) -> io::Result<Fate> {
        self.with(|outlet| outlet.write(line))
    }

    /// How many lines were lost, as soon as there is room to say so; they count no more.
    pub fn take_lost(&mut self) -> u64 {
        self.with(Outlet::take_lost)
    }

    /// What was just written says that `lost` lines were lost: if it is lost too, they count again.
    pub fn told(&mut self, lost: u64) {
        self.with(|outlet| {
            if outlet.stuck.is_some() {
                outlet.lost += lost;
            }
        });
    }

    /// Makes standard output and standard error come here too. Who prints there waits for room.
    pub fn redirect_output(&self) -> io::Result<()> {
        match &self.0 {
            Kind::Standard(Stream::Output) => redirect_output(io::stdout().as_fd()),
            Kind::Standard(Stream::Error) => redirect_output(io::stderr().as_fd()),
            Kind::File(Outlet { way: Way::Pipe, end, .. }) => {
                let blocking = open_fifo(&by_number(end.as_fd()))?;
                fcntl(&blocking, FcntlArg::F_SETFL(OFlag::O_APPEND))?;
                redirect_output(blocking.as_fd())
            }
            Kind::File(outlet) => redirect_output(outlet.end.as_fd()),
        }
    }

    fn with<T>(&mut self, act: impl FnOnce(&mut Outlet) -> T) -> T {
        match &mut self.0 {
            Kind::Standard(stream) => {
                act(stream.lock().get_or_insert_with(|| Outlet::of_stream(*stream)))
            }
            Kind::File(outlet) => act(outlet),
        }
    }
}

/// A standard stream. All sinks of a stream are one outlet, which forks inherit.
#[derive(Debug, Clone, Copy)]
enum Stream {
    Output,
    Error,
}

static OUTPUT: Mutex<Option<Outlet>> = Mutex::new(None);
static ERROR: Mutex<Option<Outlet>> = Mutex::new(None);

impl Stream {
    fn lock(self) -> MutexGuard<'static, Option<Outlet>> {
        let outlet = match self {
            Self::Output => &OUTPUT,
            Self::Error => &ERROR,
        };
        outlet.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens its outlet, anew if the stream leads elsewhere now.
    fn examine(self) {
        let mut outlet = self.lock();
        let end = End::of_stream(self);
        if outlet.as_ref().is_none_or(|known| Some(known.inode) != inode(end.as_fd())) {
            *outlet = Some(Outlet::of_stream(self));
        }
    }
}

/// The standard streams lead elsewhere: what a sink had opened of them is let go, so that who reads
/// it comes to its end.
pub(crate) fn follow_streams() {
    for stream in [Stream::Output, Stream::Error] {
        if stream.lock().is_some() {
            stream.examine();
        }
    }
}

/// What is written to, and what it still owes.
#[derive(Debug)]
struct Outlet {
    end: End,
    way: Way,
    /// Which file it is.
    inode: (dev_t, ino_t),
    /// The rest of a line that went out in part.
    rest: Vec<u8>,
    lost: u64,
    /// The process in which the last line found no room.
    stuck: Option<u32>,
}

#[derive(Debug)]
enum End {
    Output(Stdout),
    Error(Stderr),
    File(File),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// A write, which may wait.
    Plain,
    /// A write that never waits: the description is nonblocking and the sink's own.
    Pipe,
    /// A write after a look whether there is room: a pipe that can't be opened once more, because it
    /// is another user's, nobody reads it, or there is no /proc.
    SharedPipe,
    Socket,
}

impl End {
    fn of_stream(stream: Stream) -> Self {
        match stream {
            Stream::Output => Self::Output(io::stdout()),
            Stream::Error => Self::Error(io::stderr()),
        }
    }
}

impl AsFd for End {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Output(stream) => stream.as_fd(),
            Self::Error(stream) => stream.as_fd(),
            Self::File(file) => file.as_fd(),
        }
    }
}

impl Outlet {
    fn of_file(file: File) -> Self {
        let flags = fcntl(&file, FcntlArg::F_GETFL).map(OFlag::from_bits_retain);
        let mode = fstat(&file).map_or(0, |found| found.st_mode & S_IFMT);
        let way = match flags {
            Ok(flags) if mode == S_IFIFO && flags.contains(OFlag::O_NONBLOCK) => Way::Pipe,
            _ => Way::Plain,
        };
        Self::new(End::File(file), way)
    }

    fn of_stream(stream: Stream) -> Self {
        Self::of_inherited(End::of_stream(stream))
    }

    fn of_inherited(end: End) -> Self {
        match fstat(&end).map_or(0, |found| found.st_mode & S_IFMT) {
            S_IFIFO => match open_nonblocking(&by_number(end.as_fd())) {
                Ok(own) => Self::new(End::File(own), Way::Pipe),
                Err(_) => Self::new(end, Way::SharedPipe),
            },
            S_IFSOCK => Self::new(end, Way::Socket),
            _ => Self::new(end, Way::Plain),
        }
    }

    fn new(end: End, way: Way) -> Self {
        let inode = inode(end.as_fd()).unwrap_or_default();
        Self { end, way, inode, rest: Vec::new(), lost: 0, stuck: None }
    }

    fn write(&mut self, line: &[u8]) -> io::Result<Fate> {
        let patience = if self.stuck.is_some() { Duration::ZERO } else { PATIENCE };
        let out = if self.finish()? { self.push(line, patience)? } else { 0 };
        if out == line.len() {
            self.stuck = None;
            return Ok(Fate::Written);
        }
        self.stuck = Some(process::id());
        if out > 0 {
            self.rest.extend_from_slice(&line[out..]);
            return Ok(Fate::Written);
        }
        self.lost += 1;
        Ok(Fate::Lost)
    }

    fn take_lost(&mut self) -> u64 {
        // An error is the next line's.
        match self.finish() {
            Ok(true) if self.lost > 0 && self.has_room(Duration::ZERO) => {
                std::mem::take(&mut self.lost)
            }
            _ => 0,
        }
    }

    /// Writes the rest of the line that went out in part; whether nothing of it is left.
    fn finish(&mut self) -> io::Result<bool> {
        match self.stuck {
            None => return Ok(true),
            Some(process) if process == process::id() => {}
            // A fork: its parent owes this.
            Some(_) => {
                self.rest.clear();
                self.lost = 0;
            }
        }
        let rest = std::mem::take(&mut self.rest);
        let out = self.push(&rest, Duration::ZERO)?;
        self.rest.extend_from_slice(&rest[out..]);
        Ok(self.rest.is_empty())
    }

    /// Writes what there comes to be room for; how much that was.
    fn push(&mut self, bytes: &[u8], patience: Duration) -> io::Result<usize> {
        let (mut out, mut deadline) = (0, None);
        while out < bytes.len() {
            match self.put(&bytes[out..]) {
                Ok(written) => out += written,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) if patience.is_zero() => break,
                Err(Errno::EAGAIN) => {
                    let now = Instant::now();
                    let deadline = *deadline.get_or_insert(now + patience);
                    if now >= deadline || !self.has_room(deadline - now) {
                        break;
                    }
                }
                // A stream that the server was started without takes everything, as in `std::io`.
                Err(Errno::EBADF) if !matches!(self.end, End::File(_)) => return Ok(bytes.len()),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(out)
    }

    /// One system call where there is room.
    fn put(&self, bytes: &[u8]) -> Result<usize, Errno> {
        match self.way {
            Way::Plain | Way::Pipe => nix::unistd::write(&self.end, bytes),
            Way::Socket => send(
                self.end.as_fd().as_raw_fd(),
                bytes,
                MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL,
            ),
            // A pipe that is writable has room for that much (pipe(7)).
            Way::SharedPipe if self.has_room(Duration::ZERO) => {
                nix::unistd::write(&self.end, &bytes[..bytes.len().min(PIPE_BUF)])
            }
            Way::SharedPipe => Err(Errno::EAGAIN),
        }
    }

    /// Whether a write would get on within `timeout`, if only to fail.
    fn has_room(&self, timeout: Duration) -> bool {
        let timeout = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::ZERO);
        let mut polled = [PollFd::new(self.end.as_fd(), PollFlags::POLLOUT)];
        match poll(&mut polled, timeout) {
            // The caller looks at its clock.
            Err(Errno::EINTR) => timeout != PollTimeout::ZERO,
            ready => ready.is_ok_and(|ready| ready > 0),
        }
    }
}

/// Opens a FIFO for the sink alone. Who reads it may come later.
fn open_fifo(path: &Path) -> io::Result<File> {
    match open_nonblocking(path) {
        Err(error) if has_no_reader(&error) => {
            // Its own reader, which never reads (fifo(7)).
            OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(path)
        }
        opened => opened,
    }
}

/// Of a FIFO that was opened for writing (fifo(7)).
fn has_no_reader(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::ENXIO as i32)
}

fn open_nonblocking(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).custom_flags(libc::O_NONBLOCK).open(path)
}

fn by_number(fd: BorrowedFd<'_>) -> PathBuf {
    format!("/proc/self/fd/{}", fd.as_raw_fd()).into()
}

fn inode(fd: BorrowedFd<'_>) -> Option<(dev_t, ino_t)> {
    fstat(fd).ok().map(|found| (found.st_dev, found.st_ino))
}

#[cfg(test)]
mod tests;
