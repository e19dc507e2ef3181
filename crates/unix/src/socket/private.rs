//! A unix socket for its own user only, such as the control socket.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::unistd::{Pid, geteuid, getpid};

use super::address::Address;
use super::error::BindError;
use super::listener::{BindOptions, Listener, Local};
use super::unix_path::Inode;

/// Connections that the kernel queues: people, not clients.
const BACKLOG: i32 = 16;

/// Listens at `path`; only the user of this process (and root) can connect, at any moment.
///
/// As with every [`Listener`], a file whose process has gone is replaced and one whose process
/// lives is not, and the mode (0600) is there before the first connection can be.
pub fn bind_private(path: &Path) -> Result<(UnixListener, SocketFile), BindError> {
    let address = Address::Unix(path.to_owned());
    let options = BindOptions { backlog: BACKLOG, mode: Some(0o600), ..BindOptions::default() };
    let listener = Listener::bind(&address, &options)?;
    let file = match (listener.local(), listener.inode()) {
        (Local::Unix(path), Some(inode)) => {
            SocketFile { path: path.clone(), inode, owner: getpid() }
        }
        other => panic!("invariant: a unix socket has a file: {other:?}"),
    };
    Ok((UnixListener::from(OwnedFd::from(listener)), file))
}

/// The user of the process at the other end, as it was when it connected (unix(7),
/// `SO_PEERCRED`).
pub fn peer_uid(connection: impl AsFd) -> io::Result<u32> {
    Ok(getsockopt(&connection, PeerCredentials)?.uid())
}

/// The user whose rights this process has (credentials(7)).
pub fn effective_uid() -> u32 {
    geteuid().as_raw()
}

/// The file of a socket, removed on drop by the process that bound it, if it is still there and
/// not replaced. To be dropped before the listener is: from then on a successor may have the file's
/// very inode.
#[derive(Debug)]
pub struct SocketFile {
    /// Absolute, as the process may change its directory.
    path: PathBuf,
    inode: Inode,
    owner: Pid,
}

impl SocketFile {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.owner == getpid() && Inode::of(&self.path).is_ok_and(|found| found == self.inode) {
            // It is of no use to anybody, and the next start replaces it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn only_its_user_may_connect_and_is_known() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ctl");
        let (listener, file) = bind_private(&path).unwrap();
        assert_eq!(file.path(), path);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        let client = UnixStream::connect(&path).unwrap();
        let (server, _) = listener.accept().unwrap();
        let me = nix::unistd::getuid().as_raw();
        assert_eq!((peer_uid(&client).unwrap(), peer_uid(&server).unwrap()), (me, me));
        drop(file);
        assert!(!path.exists());
        assert!(peer_uid(tempfile::tempfile().unwrap()).is_err());
    }

    #[test]
    fn a_live_one_is_refused_and_a_stale_one_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ctl");
        let (listener, file) = bind_private(&path).unwrap();
        let error = bind_private(&path).unwrap_err();
        assert!(matches!(error, BindError::InUse { .. }), "{error}");
        drop(listener);
        // Keeps the inode in use.
        fs::hard_link(&path, directory.path().join("link")).unwrap();
        let (_listener, second) = bind_private(&path).unwrap();
        drop(file);
        assert!(path.exists(), "it was the second one's");
        drop(second);
        assert!(!path.exists());
        fs::write(&path, "").unwrap();
        assert!(matches!(bind_private(&path).unwrap_err(), BindError::NotASocket { .. }));
        assert!(path.exists());
    }
}
