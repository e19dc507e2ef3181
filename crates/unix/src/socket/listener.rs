//! A socket that accepts connections.

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{AtFlags, OFlag, open};
use nix::sys::stat::{Mode, SFlag, fchmod, fstat};
use nix::unistd::{AccessFlags, Gid, Uid, eaccess, fchownat, geteuid};
use socket2::{Domain, Protocol, SockAddr, SockAddrStorage, Socket, Type};

use super::address::Address;
use super::error::BindError;
use super::inherited;
use super::passage::{Passage, Passed};
use super::stream::Stream;
use super::unix_path::{self, Inode, ListenerFile, Occupant};
use crate::privileges::set_umask;

/// The mode of a unix socket when none is asked for: its owner and group connect.
const DEFAULT_MODE: u32 = 0o660;

/// How to bind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BindOptions {
    /// Connections that the kernel queues (listen(2)); cut to `net.core.somaxconn`.
    pub backlog: i32,
    /// Lets several sockets have the same TCP address (`SO_REUSEPORT`).
    pub reuse_port: bool,
    /// Mode of a unix socket; None: 0660. The umask plays no part.
    pub mode: Option<u32>,
    /// User and group of a unix socket's file; None: those of this process.
    pub owner: Option<(u32, u32)>,
}

impl Default for BindOptions {
    fn default() -> Self {
        Self { backlog: 2048, reuse_port: false, mode: None, owner: None }
    }
}

/// A listening socket, nonblocking and closed on exec.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    address: Address,
    local: Local,
    /// The socket file that this listener made.
    file: Option<Inode>,
    passage: Passage,
}

/// Where a listener really is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Local {
    /// Address and port, the latter also if the kernel chose it.
    Inet(SocketAddr),
    /// A path, absolute if the listener was bound here.
    Unix(PathBuf),
    /// A name in the abstract namespace, without the leading NUL.
    Abstract(Vec<u8>),
}

/// Who has connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Peer {
    /// Somebody on the network.
    Inet(SocketAddr),
    /// Somebody on this machine, through a unix socket.
    Unix,
    /// Somebody whose address a proxy keeps from us.
    Unnamed,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(address) => address.fmt(f),
            Self::Unix => f.write_str("unix"),
            Self::Unnamed => f.write_str("unnamed"),
        }
    }
}

impl Listener {
    /// Binds and listens.
    ///
    /// A host name's addresses are tried in turn, IPv4 first, until one binds. The file of a unix
    /// socket is replaced if its process has gone, and gets its mode before anybody can connect.
    pub fn bind(address: &Address, options: &BindOptions) -> Result<Self, BindError> {
        let failed = |source| BindError::from_io(address, source);
        let listener = match address {
            Address::Tcp { host, port } => {
                let socket = bind_tcp(address, host, *port, options.reuse_port)?;
                socket.listen(options.backlog).map_err(failed)?;
                Self::over(socket, address, None)
            }
            Address::Unix(path) => return Self::bind_unix(address, path, options),
            Address::Abstract(name) => {
                let socket = bind_abstract(name).map_err(failed)?;
                socket.listen(options.backlog).map_err(failed)?;
                Self::over(socket, address, None)
            }
            Address::Fd(number) => Self::over(inherited::take(address, *number)?, address, None),
        };
        listener.map_err(failed)
    }

    /// Tries whether [`bind`](Self::bind) would succeed, and lets go at once.
    ///
    /// Nobody who listens there notices, and no file stays behind. A server that is running with
    /// the same settings makes this [`InUse`](BindError::InUse).
    pub fn check(address: &Address) -> Result<(), BindError> {
        let failed = |source| BindError::from_io(address, source);
        match address {
            Address::Tcp { host, port } => bind_tcp(address, host, *port, false).map(drop),
            Address::Unix(path) => {
                unix_path::look(address, path)?;
                SockAddr::unix(path).map_err(failed)?;
                let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
                eaccess(directory.unwrap_or(Path::new(".")), AccessFlags::W_OK | AccessFlags::X_OK)
                    .map_err(|errno| failed(errno.into()))
            }
            Address::Abstract(name) => bind_abstract(name).map(drop).map_err(failed),
            Address::Fd(number) => inherited::look(address, *number).map(drop),
        }
    }

    /// Takes a connection from the queue. Err with `WouldBlock`: there is none.
    pub fn accept(&self) -> io::Result<(Stream, Peer)> {
        loop {
            match self.accept_one() {
                Err(error) if is_the_connections_own(&error) => {}
                result => return result,
            }
        }
    }

    /// Leaves a connection to whoever takes it first, of those that share this listener: another
    /// copy of its descriptor. `passed` counts this time too. `WouldBlock`: as many as can be are left
    /// already.
    pub fn pass(&self, connection: BorrowedFd<'_>, passed: Passed) -> io::Result<()> {
        self.passage.put(connection, passed)
    }

    /// Takes a connection that somebody has [left](Self::pass). Err with `WouldBlock`: there is none.
    pub fn take_passed(&self) -> io::Result<(Stream, Peer, Passed)> {
        loop {
            let (descriptor, passed) = self.passage.take()?;
            let socket = Socket::from(descriptor);
            match socket.peer_addr() {
                Ok(peer) => {
                    return Ok((Stream::from(OwnedFd::from(socket)), Peer::of(&peer), passed));
                }
                // Its client has reset it since: there may be others behind it.
                Err(error) if error.kind() == io::ErrorKind::NotConnected => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Readable while there is a connection to [take](Self::take_passed).
    pub fn passed(&self) -> BorrowedFd<'_> {
        self.passage.exit()
    }

    /// All that it keeps open: for a process that was forked off and is not to have it.
    pub fn descriptors(&self) -> [RawFd; 3] {
        let [entry, exit] = self.passage.descriptors();
        [self.socket.as_raw_fd(), entry, exit]
    }

    /// The address asked for.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The address bound.
    pub fn local(&self) -> &Local {
        &self.local
    }

    /// Removes the socket file that this listener made, if it is still there and not replaced.
    ///
    /// Not done on drop: workers drop their copies, and the file is the master's.
    pub fn unlink(&self) {
        if let Some(file) = self.file() {
            file.remove();
        }
    }

    /// The socket file that this listener made.
    pub fn file(&self) -> Option<ListenerFile> {
        match (&self.local, self.file) {
            (Local::Unix(path), Some(inode)) => Some(ListenerFile::new(path.clone(), inode)),
            _ => None,
        }
    }

    /// Another descriptor of the same socket, with the same queue.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            socket: self.socket.try_clone()?,
            address: self.address.clone(),
            local: self.local.clone(),
            file: self.file,
            passage: self.passage.try_clone()?,
        })
    }

    /// Which file it is that this listener made.
    pub(super) fn inode(&self) -> Option<Inode> {
        self.file
    }

    fn bind_unix(address: &Address, path: &Path, options: &BindOptions) -> Result<Self, BindError> {
        let failed = |source| BindError::from_io(address, source);
        if unix_path::look(address, path)? == Occupant::Stale {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
                _ => {}
            }
        }
        let socket = stream_socket(Domain::UNIX, None).map_err(failed)?;
        let local = SockAddr::unix(path).map_err(failed)?;
        let mode = Mode::from_bits_truncate(options.mode.unwrap_or(DEFAULT_MODE) & 0o777);
        // The file takes the socket's mode less the umask (unix(7)). A change by its name could be
        // led elsewhere by who may write to the directory.
        fchmod(&socket, mode).map_err(|errno| failed(errno.into()))?;
        let mask = set_umask(0);
        let bound = socket.bind(&local);
        set_umask(mask);
        bound.map_err(failed)?;
        let opened = give(path, options.owner)
            .and_then(|file| socket.listen(options.backlog).map(|()| file));
        match opened.and_then(|file| Self::over(socket, address, Some(file))) {
            Ok(listener) => Ok(listener),
            Err(error) => {
                let _ = fs::remove_file(path);
                Err(failed(error))
            }
        }
    }

    fn over(socket: Socket, address: &Address, file: Option<Inode>) -> io::Result<Self> {
        let local = Local::of(&socket)?;
        Ok(Self { socket, address: address.clone(), local, file, passage: Passage::new()? })
    }

    /// One that another process has bound; `file` is the socket file that it made.
    pub(super) fn inherited(
        socket: Socket,
        address: Address,
        file: Option<Inode>,
    ) -> io::Result<Self> {
        let local = match &address {
            Address::Unix(path) => Local::Unix(path.clone()),
            _ => Local::of(&socket)?,
        };
        Ok(Self { socket, address, local, file, passage: Passage::new()? })
    }

    fn accept_one(&self) -> io::Result<(Stream, Peer)> {
        let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        let accept = |storage: *mut SockAddrStorage, length: *mut libc::socklen_t| {
            // SAFETY: `storage` and `length` are valid for writes, and `length` is the size of the
            // storage (the contract of `try_init`, which calls this). std and nix have no accept4
            // that gives the peer, for which another system call would be needed.
            let accepted =
                unsafe { libc::accept4(self.socket.as_raw_fd(), storage.cast(), length, flags) };
            if accepted == -1 {
                return Err(io::Error::last_os_error());
            }
            // SAFETY: a new descriptor that nobody else owns.
            Ok(unsafe { OwnedFd::from_raw_fd(accepted) })
        };
        // SAFETY: if `accept` succeeds, accept4(2) has written an address into the storage and its
        // length into `length`.
        let (stream, peer) = unsafe { SockAddr::try_init(accept) }?;
        Ok((Stream::from(stream), Peer::of(&peer)))
    }
}

/// Gives the file of a socket that was bound to a user and group; which file it is.
fn give(path: &Path, owner: Option<(u32, u32)>) -> io::Result<Inode> {
    let file = open(path, OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())?;
    let found = fstat(&file)?;
    if let Some((uid, gid)) = owner {
        let is_socket = found.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFSOCK.bits();
        if !is_socket || found.st_nlink != 1 || found.st_uid != geteuid().as_raw() {
            return Err(io::Error::other("somebody has replaced the socket"));
        }
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        fchownat(&file, "", Some(uid), Some(gid), AtFlags::AT_EMPTY_PATH)?;
    }
    Ok(Inode(found.st_dev, found.st_ino))
}

impl Local {
    fn of(socket: &Socket) -> io::Result<Self> {
        let address = socket.local_addr()?;
        if let Some(inet) = address.as_socket() {
            return Ok(Self::Inet(inet));
        }
        if let Some(name) = address.as_abstract_namespace() {
            return Ok(Self::Abstract(name.to_vec()));
        }
        // The directory may be changed before the file is removed.
        std::path::absolute(address.as_pathname().unwrap_or(Path::new(""))).map(Self::Unix)
    }
}

impl Peer {
    fn of(address: &SockAddr) -> Self {
        match address.as_socket() {
            // On an inherited socket that takes both, IPv4 peers have mapped addresses (RFC 4291
            // §2.5.5.2): they are shown as what they are.
            Some(inet) => match inet.ip().to_canonical() {
                v4 if v4.is_ipv4() => Self::Inet(SocketAddr::new(v4, inet.port())),
                _ => Self::Inet(inet),
            },
            None => Self::Unix,
        }
    }
}

impl From<Listener> for OwnedFd {
    fn from(listener: Listener) -> Self {
        listener.socket.into()
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for Listener {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// Goes on to the next address only where this machine doesn't have one: a port in use on one of
/// them is an error, not a reason to listen on the other alone.
fn bind_tcp(
    address: &Address,
    host: &str,
    port: u16,
    reuse_port: bool,
) -> Result<Socket, BindError> {
    let unresolved = |source| BindError::Unresolved { address: address.clone(), source };
    let mut candidates: Vec<_> = (host, port).to_socket_addrs().map_err(unresolved)?.collect();
    // "localhost" is both, and who is behind a proxy expects 127.0.0.1.
    candidates.sort_by_key(SocketAddr::is_ipv6);
    let mut missing = io::Error::from_raw_os_error(libc::EADDRNOTAVAIL);
    for candidate in candidates {
        match bind_inet(candidate, reuse_port) {
            Err(error)
                if matches!(
                    error.raw_os_error(),
                    Some(libc::EADDRNOTAVAIL | libc::EAFNOSUPPORT)
                ) =>
            {
                missing = error;
            }
            result => return result.map_err(|error| BindError::from_io(address, error)),
        }
    }
    Err(BindError::from_io(address, missing))
}

fn bind_inet(address: SocketAddr, reuse_port: bool) -> io::Result<Socket> {
    let socket = stream_socket(Domain::for_address(address), Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // socket(7): connections of a former server in TIME_WAIT are no hindrance; a listener is.
    socket.set_reuse_address(true)?;
    if reuse_port {
        socket.set_reuse_port(true)?;
    }
    // Accepted sockets inherit it: no system call for each connection.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn bind_abstract(name: &[u8]) -> io::Result<Socket> {
    let socket = stream_socket(Domain::UNIX, None)?;
    let mut path = vec![0];
    path.extend_from_slice(name);
    socket.bind(&SockAddr::unix(OsStr::from_bytes(&path))?)?;
    Ok(socket)
}

fn stream_socket(domain: Domain, protocol: Option<Protocol>) -> io::Result<Socket> {
    // socket2 closes it on exec.
    let socket = Socket::new(domain, Type::STREAM, protocol)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// accept(2), "Error handling": errors of the connection that was next, which is gone; the
/// listener is well. `EINTR` likewise calls for another try.
fn is_the_connections_own(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::ECONNABORTED
                | libc::EINTR
                | libc::EPROTO
                | libc::ENOPROTOOPT
                | libc::EHOSTDOWN
                | libc::ENONET
                | libc::EHOSTUNREACH
                | libc::ENETUNREACH
        )
    )
}
