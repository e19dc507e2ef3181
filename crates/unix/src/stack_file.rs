//! Where a worker's stacks are written when it is asked for them, or crashes.
//!
//! The master makes the file before it forks and keeps it: what a process wrote in its last moment
//! is still there when it is gone. It has no name and lives in memory (memfd_create(2)).

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};

/// The most that is read back.
const LIMIT: usize = 256 * 1024;

/// How much is read at a time.
const PIECE: usize = 4096;

/// How CPython's faulthandler ends when there are more threads than it shows.
const CUT: &str = "\n...\n";

/// What is said of it, since the one that is looked for may be missing.
const REMARK: &str = "(faulthandler shows the 100 newest threads; there are more)\n";

/// The file. A clone, or a copy in a forked process, is the same file.
#[derive(Debug)]
pub struct StackFile(OwnedFd);

impl StackFile {
    /// An empty file, closed on exec.
    pub fn new() -> io::Result<Self> {
        let file = memfd_create(c"ironhorn-stacks", MFdFlags::MFD_CLOEXEC)?;
        Self::from_fd(file)
    }

    /// The file behind a descriptor that was passed on.
    pub fn from_fd(file: OwnedFd) -> io::Result<Self> {
        // Whoever writes, writes at the end: the position is shared by all copies.
        fcntl(&file, FcntlArg::F_SETFL(OFlag::O_APPEND))?;
        Ok(Self(file))
    }

    /// Another handle of the same file.
    pub fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }

    /// What was written since the last time, at most the first 256 KiB of it; the file is empty
    /// then. If stacks are missing, it says so.
    pub fn take(&self) -> io::Result<String> {
        // Grown piece by piece: memory that the master touches between forks is copied.
        let mut text = Vec::new();
        while text.len() < LIMIT {
            let start = text.len();
            text.resize((start + PIECE).min(LIMIT), 0);
            let offset = i64::try_from(start).unwrap_or(i64::MAX);
            let count = nix::sys::uio::pread(&self.0, &mut text[start..], offset)?;
            text.truncate(start + count);
            if count == 0 {
                break;
            }
        }
        nix::unistd::ftruncate(&self.0, 0)?;
        let mut text = String::from_utf8_lossy(&text).into_owned();
        if text.ends_with(CUT) {
            text.push_str(REMARK);
        }
        Ok(text)
    }
}

impl AsFd for StackFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for StackFile {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_once() {
        let file = StackFile::new().unwrap();
        let copy = file.try_clone().unwrap();
        assert_eq!(file.take().unwrap(), "");
        nix::unistd::write(&copy, b"Thread 1\n").unwrap();
        nix::unistd::write(&copy, b"Thread 2\n").unwrap();
        assert_eq!(file.take().unwrap(), "Thread 1\nThread 2\n");
        nix::unistd::write(&copy, b"Thread 3\n").unwrap();
        assert_eq!(file.take().unwrap(), "Thread 3\n");
        nix::unistd::write(&copy, &[b'x'; LIMIT + 1]).unwrap();
        assert_eq!(file.take().unwrap().len(), LIMIT);
        assert_eq!(file.take().unwrap(), "");
        nix::unistd::write(&copy, b"Thread 4\n...\n").unwrap();
        assert_eq!(file.take().unwrap(), format!("Thread 4\n...\n{REMARK}"));
    }
}
