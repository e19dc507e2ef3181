//! A file on its way into a response: by sendfile(2), or read and sent where that doesn't work.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;

use crate::transport::Transport;

/// What one call of sendfile(2) is asked for, in bytes: others get a turn in between.
const STEP: u64 = 1 << 20;
/// What is read at once of a file that sendfile(2) doesn't take.
const COPY: u64 = 1 << 16;

/// What is left to send of a file.
#[derive(Debug)]
pub(crate) struct FileRest {
    file: File,
    offset: u64,
    left: u64,
    /// What follows it on the wire.
    suffix: &'static [u8],
    /// Whether it is read, because sendfile(2) has failed: the reading or the sending of what is
    /// read will tell why, if the fault isn't with sendfile(2) itself.
    copying: bool,
}

/// What has become of an attempt to send more.
#[derive(Debug)]
pub(crate) enum Step {
    Sent,
    /// The socket is full.
    Blocked,
    /// Bytes to be sent.
    Copied(Vec<u8>),
    /// The file has ended, or can't be read.
    Short {
        missing: u64,
    },
}

impl FileRest {
    /// `left` bytes of `file` from `offset` on, then `suffix`.
    pub(crate) fn new(file: OwnedFd, offset: u64, left: u64, suffix: &'static [u8]) -> Self {
        Self { file: File::from(file), offset, left, suffix, copying: false }
    }

    pub(crate) fn is_sent(&self) -> bool {
        self.left == 0
    }

    /// How many bytes are left to send.
    pub(crate) fn left(&self) -> u64 {
        self.left
    }

    pub(crate) fn suffix(&self) -> &'static [u8] {
        self.suffix
    }

    pub(crate) fn step(&mut self, stream: &Transport) -> Step {
        if self.copying {
            return self.copy();
        }
        match stream.send_file(self.file.as_fd(), &mut self.offset, at_most(STEP, self.left)) {
            Ok(0) => return Step::Short { missing: self.left },
            Ok(sent) => self.left -= sent as u64,
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock => return Step::Blocked,
                io::ErrorKind::Interrupted => {}
                _ => self.copying = true,
            },
        }
        Step::Sent
    }

    fn copy(&mut self) -> Step {
        let mut bytes = vec![0; at_most(COPY, self.left)];
        match self.file.read_at(&mut bytes, self.offset) {
            Ok(0) => Step::Short { missing: self.left },
            Ok(count) => {
                bytes.truncate(count);
                self.offset += count as u64;
                self.left -= count as u64;
                Step::Copied(bytes)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Step::Sent,
            Err(error) => {
                log::error!(error:%, offset = self.offset; "cannot read the file of a response");
                Step::Short { missing: self.left }
            }
        }
    }
}

fn at_most(limit: u64, left: u64) -> usize {
    usize::try_from(left.min(limit)).expect("invariant: a limit is far below usize::MAX")
}
