//! A unix socket for its own user only, such as the control socket.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::unistd::{Pid, geteuid, getpid};
use socket2::{Domain, SockAddr, Socket, Type};

use super::address::Address;
use super::error::BindError;
use super::listener::{BindOptions, Listener, Local};
use super::unix_path::Inode;

/// Connections that the kernel queues: people, not clients.
const BACKLOG: i32 = 16;

/// The shortest wait that there is.
const SHORTEST: Duration = Duration::from_millis(1);

/// Listens at `path`; only the user of this process (and root) can connect, at any moment.
///
/// As with every [`Listener`], a file whose process has gone is replaced and one whose process
/// lives is not, and the mode (0600) is there before the first connection can be.
pub fn bind_private(path: &Path) -> Result<(UnixListener, SocketFile), BindError> {
    let address = Address::Unix(path.to_owned());
    let options = BindOptions { backlog: BACKLOG, mode: Some(0o600), ..BindOptions::default() };
    let listener = Listener::bind(&address, &options)?;
    let file = match (listener.local(), listener.inode()) {
        (Local::Unix(path), Some(inode)) => (path.clone(), inode),
        other => panic!("invariant: a unix socket has a file: {other:?}"),
    };
    let socket = OwnedFd::from(listener);
    let listening = socket.try_clone().map_err(|source| BindError::from_io(&address, source))?;
    let (path, inode) = file;
    let file = SocketFile { path, inode, owner: getpid(), _listening: listening };
    Ok((UnixListener::from(socket), file))
}

/// Connects to the socket at `path`, which takes no longer than `timeout` even if its process hangs
/// and so many wait already that the kernel queues no more.
///
/// # Errors
/// `WouldBlock` when the time is over.
pub fn connect_private(path: &Path, timeout: Option<Duration>) -> io::Result<UnixStream> {
    let address = SockAddr::unix(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    let until = timeout.map(|timeout| Instant::now() + timeout);
    loop {
        // socket(7): connect(2) has the timeout of what is sent. Zero would be none.
        let left = until.map(|it| it.saturating_duration_since(Instant::now()).max(SHORTEST));
        socket.set_write_timeout(left)?;
        match socket.connect(&address) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            connected => {
                connected?;
                socket.set_write_timeout(None)?;
                return Ok(OwnedFd::from(socket).into());
            }
        }
    }
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
/// not replaced. It keeps the socket open until then, as afterwards a successor may have the file's
/// very inode; so a process forked from its own has to drop it too.
#[derive(Debug)]
pub struct SocketFile {
    /// Absolute, as the process may change its directory.
    path: PathBuf,
    inode: Inode,
    owner: Pid,
    _listening: OwnedFd,
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
    use crate::is_served;

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
        drop((listener, server));
        drop(UnixStream::connect(&path).unwrap());
        drop(file);
        assert!(!path.exists());
        assert!(peer_uid(tempfile::tempfile().unwrap()).is_err());
    }

    #[test]
    fn who_does_not_accept_is_waited_for_so_long() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ctl");
        let (_listener, _file) = bind_private(&path).unwrap();
        let patience = Duration::from_millis(30);
        let mut queued = Vec::new();
        let error = loop {
            match connect_private(&path, Some(patience)) {
                Ok(client) => queued.push(client),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        assert!(queued.iter().all(|client| client.write_timeout().unwrap().is_none()));
        assert!(is_served(&path).unwrap(), "and it is no stale one");
    }

    #[test]
    fn a_live_one_is_refused_and_a_stale_one_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ctl");
        let (listener, file) = bind_private(&path).unwrap();
        let error = bind_private(&path).unwrap_err();
        assert!(matches!(error, BindError::InUse { .. }), "{error}");
        drop(listener);
        let mut file = file;
        file._listening = tempfile::tempfile().unwrap().into();
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
