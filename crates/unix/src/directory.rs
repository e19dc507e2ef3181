//! A directory that files are opened in, and never outside of it.
//!
//! A name that a client has sent is resolved by the kernel with the promise that no step leads out
//! (openat2(2), Linux 5.6); where it can't make that promise, the steps are taken one by one here.
//! The directory is held open, so that it stays the same one when its path comes to mean another.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, open, openat, openat2, readlinkat};
use nix::sys::stat::{Mode, SFlag, fstat};

/// As many as the kernel follows (path_resolution(7)).
const MOST_LINKS: u32 = 40;
/// How often a name is resolved again because something was renamed meanwhile (openat2(2), EAGAIN).
const ATTEMPTS: u32 = 16;
/// Neither a FIFO nor a terminal may hold up who opens it, and nothing becomes our terminal.
const OPEN: OFlag =
    OFlag::O_RDONLY.union(OFlag::O_CLOEXEC).union(OFlag::O_NONBLOCK).union(OFlag::O_NOCTTY);

/// Which symbolic links below a directory are followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Symlinks {
    /// None.
    Never,
    /// Relative ones that don't lead out of the directory.
    #[default]
    Inside,
    /// All of them, wherever they lead.
    Follow,
}

/// An open directory.
#[derive(Debug)]
pub struct Directory {
    descriptor: OwnedFd,
    symlinks: Symlinks,
    /// Whether the kernel has openat2(2), and lets us have it.
    has_openat2: bool,
}

/// What was found under a name.
#[derive(Debug)]
pub enum Entry {
    /// A regular file.
    File(RegularFile),
    /// A directory.
    Directory,
    /// A FIFO, a device or the like.
    Other,
}

/// A regular file, open for reading.
#[derive(Debug)]
pub struct RegularFile {
    /// At its start.
    pub file: File,
    /// In bytes.
    pub size: u64,
    /// When it was last written to, since the epoch; the epoch if that was before it.
    pub modified: Duration,
}

impl Directory {
    /// Opens the directory at `path`, following links on the way to it.
    pub fn open(path: &Path, symlinks: Symlinks) -> io::Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let descriptor = open(path, flags, Mode::empty())?;
        let probe = openat2(&descriptor, ".", OpenHow::new().flags(flags));
        // Sandboxes that don't know the call refuse it with EPERM.
        let has_openat2 = !matches!(probe, Err(Errno::ENOSYS | Errno::EPERM));
        Ok(Self { descriptor, symlinks, has_openat2 })
    }

    /// Opens what `path` names, relative to this directory.
    ///
    /// # Errors
    /// Those of open(2); `EXDEV` for a path that leads out, and `ELOOP` for a link that isn't
    /// followed.
    pub fn look_up(&self, path: &OsStr) -> io::Result<Entry> {
        let below = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
        if !Path::new(path).components().all(below) {
            return Err(Errno::EXDEV.into());
        }
        let found = match self.symlinks {
            _ if self.has_openat2 => self.resolve(path),
            Symlinks::Follow => openat(&self.descriptor, path, OPEN, Mode::empty()),
            Symlinks::Never | Symlinks::Inside => self.walk(path),
        };
        Entry::of(found?)
    }

    fn resolve(&self, path: &OsStr) -> Result<OwnedFd, Errno> {
        let flags = match self.symlinks {
            Symlinks::Never => ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS,
            Symlinks::Inside => ResolveFlag::RESOLVE_BENEATH,
            Symlinks::Follow => ResolveFlag::empty(),
        };
        let flags = flags | ResolveFlag::RESOLVE_NO_MAGICLINKS;
        let how = OpenHow::new().flags(OPEN).resolve(flags);
        let mut attempts = 0;
        loop {
            match openat2(&self.descriptor, path, how) {
                Err(Errno::EAGAIN | Errno::EINTR) if attempts < ATTEMPTS => attempts += 1,
                result => return result,
            }
        }
    }

    /// As [`resolve`](Self::resolve), step by step: each is taken in a directory that is open, and
    /// none through a link.
    fn walk(&self, path: &OsStr) -> Result<OwnedFd, Errno> {
        let mut steps = VecDeque::new();
        put_first(&mut steps, path);
        // Those entered below this one: `..` leads back, but not further than to it.
        let mut entered: Vec<OwnedFd> = Vec::new();
        let mut links = 0;
        while let Some(step) = steps.pop_front() {
            if step == ".." {
                entered.pop().ok_or(Errno::EXDEV)?;
                continue;
            }
            let directory = entered.last().unwrap_or(&self.descriptor);
            let last = steps.is_empty();
            let flags = match last {
                true => OPEN,
                false => OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
            };
            match openat(directory, &*step, flags | OFlag::O_NOFOLLOW, Mode::empty()) {
                Ok(found) if last => return Ok(found),
                Ok(next) => entered.push(next),
                // What a link is to one that asks for a directory.
                Err(error @ (Errno::ELOOP | Errno::ENOTDIR)) => {
                    let target = readlinkat(directory, &*step).map_err(|_| error)?;
                    links += 1;
                    if self.symlinks == Symlinks::Never || links > MOST_LINKS {
                        return Err(Errno::ELOOP);
                    }
                    if target.as_bytes().starts_with(b"/") {
                        return Err(Errno::EXDEV);
                    }
                    put_first(&mut steps, &target);
                }
                Err(error) => return Err(error),
            }
        }
        openat(entered.last().unwrap_or(&self.descriptor), ".", OPEN, Mode::empty())
    }
}

fn put_first(steps: &mut VecDeque<OsString>, path: &OsStr) {
    for component in Path::new(path).components().rev() {
        if matches!(component, Component::Normal(_) | Component::ParentDir) {
            steps.push_front(component.as_os_str().to_owned());
        }
    }
}

impl Entry {
    fn of(opened: OwnedFd) -> io::Result<Self> {
        let found = fstat(&opened)?;
        let kind = SFlag::from_bits_truncate(found.st_mode & SFlag::S_IFMT.bits());
        Ok(match kind {
            SFlag::S_IFREG => Self::File(RegularFile {
                file: File::from(opened),
                size: u64::try_from(found.st_size).unwrap_or_default(),
                modified: since_epoch(found.st_mtime, found.st_mtime_nsec),
            }),
            SFlag::S_IFDIR => Self::Directory,
            _ => Self::Other,
        })
    }
}

fn since_epoch(seconds: i64, nanoseconds: i64) -> Duration {
    match (u64::try_from(seconds), u32::try_from(nanoseconds)) {
        (Ok(seconds), Ok(nanoseconds)) => Duration::new(seconds, nanoseconds),
        _ => Duration::ZERO,
    }
}

/// Whether there is a directory or a regular file at `path`: true for a directory.
///
/// # Errors
/// Those of stat(2), and that it is neither.
pub fn is_directory(path: &Path) -> io::Result<bool> {
    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
    let found = fstat(openat(AT_FDCWD, path, flags, Mode::empty())?)?;
    match SFlag::from_bits_truncate(found.st_mode & SFlag::S_IFMT.bits()) {
        SFlag::S_IFDIR => Ok(true),
        SFlag::S_IFREG => Ok(false),
        _ => Err(io::Error::other("neither a directory nor a regular file")),
    }
}

#[cfg(test)]
mod tests;
