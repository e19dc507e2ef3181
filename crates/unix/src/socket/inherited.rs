//! A listener made by another program: `fd://N`, for socket activation and tests; and what a master
//! hands over to the one that takes its place.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use nix::errno::Errno;
use nix::sys::socket::{self, sockopt};
use socket2::{Socket, Type};

use super::address::Address;
use super::error::{BindError, InheritedFault};
use super::listener::{Listener, Local};
use super::unix_path::Inode;

impl Listener {
    /// What another program must know to adopt this listener, whose descriptor it inherits under
    /// the same number: `FD=ADDRESS`, or `FD,DEVICE,INODE=unix:PATH` with a file.
    pub fn bequest(&self) -> OsString {
        let mut text = self.as_raw_fd().to_string();
        if let Some(Inode(device, inode)) = self.inode() {
            text += &format!(",{device},{inode}");
        }
        let mut text = OsString::from(text + "=");
        match self.local() {
            // Absolute: the other program may start in another directory.
            Local::Unix(path) => {
                text.push("unix:");
                text.push(path);
            }
            _ => text.push(self.address().to_string()),
        }
        text
    }

    /// Takes over the listener that a [`bequest`](Self::bequest) describes, and with it the
    /// descriptor of that number.
    pub fn adopt(bequest: &OsStr) -> io::Result<Self> {
        let faulty = || {
            let text = format!("\"{}\" describes no listener", bequest.display());
            io::Error::new(io::ErrorKind::InvalidData, text)
        };
        let (number, file, address) = parse(bequest.as_bytes()).ok_or_else(faulty)?;
        let copy = take(&address, number).map_err(io::Error::other)?;
        // SAFETY: `take` has found a listening socket under this number. It was opened by the
        // program that ran in this process before, to be adopted here and once: nothing in this
        // program owns it, and if a false bequest makes that untrue, a descriptor is closed early,
        // which breaks no memory.
        drop(unsafe { OwnedFd::from_raw_fd(number) });
        Self::inherited(copy, address, file)
    }
}

fn parse(bequest: &[u8]) -> Option<(RawFd, Option<Inode>, Address)> {
    let split = bequest.iter().position(|&byte| byte == b'=')?;
    let (place, address) = (&bequest[..split], &bequest[split + 1..]);
    let mut numbers = std::str::from_utf8(place).ok()?.split(',');
    let number: RawFd = numbers.next()?.parse().ok().filter(|&number| number > 2)?;
    let file = match (numbers.next(), numbers.next(), numbers.next()) {
        (None, ..) => None,
        (Some(device), Some(inode), None) => Some(Inode(device.parse().ok()?, inode.parse().ok()?)),
        _ => return None,
    };
    let address = match address.strip_prefix(b"unix:") {
        // Not as settings are read: an absolute path may be longer than what was bound.
        Some(path) if path.starts_with(b"/") => {
            Address::Unix(PathBuf::from(OsString::from_vec(path.to_vec())))
        }
        _ => std::str::from_utf8(address).ok()?.parse().ok()?,
    };
    Some((number, file, address))
}

/// A copy of the listening socket at descriptor `number`, closed on exec and nonblocking.
///
/// The original stays open, so that a reload finds it again. `O_NONBLOCK` belongs to what both
/// share (open(2), "open file description"): whoever else holds the socket sees it change.
pub(super) fn take(address: &Address, number: RawFd) -> Result<Socket, BindError> {
    let failed = |source| BindError::Io { address: address.clone(), source };
    let copy = look(address, number)?;
    copy.set_nonblocking(true).map_err(failed)?;
    if copy.domain().map_err(failed)? != socket2::Domain::UNIX {
        copy.set_tcp_nodelay(true).map_err(failed)?;
    }
    Ok(copy)
}

/// A copy of the listening socket at descriptor `number`, with nothing changed.
pub(super) fn look(address: &Address, number: RawFd) -> Result<Socket, BindError> {
    let failed = |source| BindError::Io { address: address.clone(), source };
    let faulty = |fault| BindError::Inherited { number, fault };
    let copy = match duplicate(number) {
        Ok(copy) => copy,
        Err(error) if error.raw_os_error() == Some(libc::EBADF) => {
            return Err(faulty(InheritedFault::Closed));
        }
        Err(error) => return Err(failed(error)),
    };
    match socket::getsockopt(&copy, sockopt::AcceptConn) {
        Ok(true) => {}
        Ok(false) => return Err(faulty(InheritedFault::NotListening)),
        Err(Errno::ENOTSOCK) => return Err(faulty(InheritedFault::NotASocket)),
        Err(errno) => return Err(failed(errno.into())),
    }
    let local = copy.local_addr().map_err(failed)?;
    let is_stream = copy.r#type().map_err(failed)? == Type::STREAM;
    if !is_stream || !(local.is_unix() || local.as_socket().is_some()) {
        return Err(faulty(InheritedFault::Unsupported));
    }
    Ok(copy)
}

fn duplicate(number: RawFd) -> io::Result<Socket> {
    if number < 0 {
        return Err(Errno::EBADF.into());
    }
    // SAFETY: the number is not -1, and the borrow ends with this function. If no such descriptor
    // is open, fcntl(2) says EBADF and nothing else happens; if it is another one than the user
    // meant, only a copy of it is made. A number from settings has no owner to borrow from.
    let original = unsafe { BorrowedFd::borrow_raw(number) };
    let copy: OwnedFd = original.try_clone_to_owned()?;
    Ok(copy.into())
}
