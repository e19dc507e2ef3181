//! The file of a unix socket: whether it may be replaced, and whether it is still ours.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};

use super::address::Address;
use super::error::BindError;

/// Device and inode of a socket file: who removes it must not remove its successor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Inode(pub(super) u64, pub(super) u64);

impl Inode {
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let found = fs::symlink_metadata(path)?;
        Ok(Self(found.dev(), found.ino()))
    }
}

/// The socket file of a listener, for who may have no descriptor of it any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerFile {
    path: PathBuf,
    inode: Inode,
}

impl ListenerFile {
    pub(super) fn new(path: PathBuf, inode: Inode) -> Self {
        Self { path, inode }
    }

    /// Removes it, if it is still there and not replaced.
    pub fn remove(&self) {
        if Inode::of(&self.path).is_ok_and(|found| found == self.inode) {
            // It is of no use to anybody, and the next start replaces it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// What is at a path where a socket is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Occupant {
    /// Nothing.
    Nobody,
    /// A socket file whose process has gone.
    Stale,
}

/// Looks whether a unix socket may be made at `path`; disturbs nobody who listens there.
pub(super) fn look(address: &Address, path: &Path) -> Result<Occupant, BindError> {
    let failed = |source| BindError::from_io(address, source);
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Occupant::Nobody),
        Err(error) => return Err(failed(error)),
    };
    if !found.file_type().is_socket() {
        return Err(BindError::NotASocket { address: address.clone(), path: path.to_owned() });
    }
    match knock(path).map_err(failed)? {
        Knock::Stale => Ok(Occupant::Stale),
        Knock::Gone => Ok(Occupant::Nobody),
        Knock::Live => Err(BindError::InUse { address: address.clone() }),
    }
}

/// Whether a process has the socket at `path`, even one that hangs; disturbs it as little.
pub fn is_served(path: &Path) -> io::Result<bool> {
    Ok(matches!(knock(path)?, Knock::Live))
}

enum Knock {
    Live,
    Stale,
    Gone,
}

/// Connects with a socket of another type than the servers': connect(2) says `ECONNREFUSED` if no
/// process has the path bound and `EPROTOTYPE` if one has, which then does not notice.
fn knock(path: &Path) -> io::Result<Knock> {
    let socket = Socket::new(Domain::UNIX, Type::SEQPACKET, None)?;
    socket.set_nonblocking(true)?;
    match socket.connect(&SockAddr::unix(path)?) {
        Ok(()) => Ok(Knock::Live),
        Err(error) => match error.raw_os_error() {
            Some(libc::ECONNREFUSED) => Ok(Knock::Stale),
            Some(libc::ENOENT) => Ok(Knock::Gone),
            Some(libc::EPROTOTYPE | libc::EAGAIN | libc::EINPROGRESS) => Ok(Knock::Live),
            _ => Err(error),
        },
    }
}
