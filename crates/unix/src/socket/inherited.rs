//! A listener made by another program: `fd://N`, for socket activation and tests.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{self, sockopt};
use socket2::{Socket, Type};

use super::address::Address;
use super::error::{BindError, InheritedFault};

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
