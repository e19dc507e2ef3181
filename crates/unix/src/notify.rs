//! Words to the service manager that started this process: sd_notify(3).
//!
//! The protocol is one datagram of `NAME=value` lines to the unix socket that `NOTIFY_SOCKET`
//! names. Nothing is answered, and nobody waits: a service manager that doesn't listen must not
//! hold up the server.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// A way to the service manager.
#[derive(Debug)]
pub struct Notifier {
    socket: UnixDatagram,
    to: SocketAddr,
}

impl Notifier {
    /// `address` is the value of `NOTIFY_SOCKET`: an absolute path, or `@` and a name in the
    /// abstract namespace.
    pub fn new(address: &OsStr) -> io::Result<Self> {
        let to = match address.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            [b'/', ..] => SocketAddr::from_pathname(address)?,
            _ => {
                let text = format!("{} is no absolute path", address.display());
                return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
            }
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, to })
    }

    /// Sends one message.
    pub fn send(&self, message: &str) -> io::Result<()> {
        // Not connected: the service manager may open its socket anew.
        self.socket.send_to_addr(message.as_bytes(), &self.to).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_address() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let by_path = UnixDatagram::bind(&path).unwrap();
        let notifier = Notifier::new(path.as_os_str()).unwrap();
        notifier.send("READY=1\nSTATUS=serving").unwrap();
        let mut message = [0; 64];
        let length = by_path.recv(&mut message).unwrap();
        assert_eq!(&message[..length], b"READY=1\nSTATUS=serving");

        let name = format!("ironhorn-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let by_name = UnixDatagram::bind_addr(&address).unwrap();
        let notifier = Notifier::new(OsStr::new(&format!("@{name}"))).unwrap();
        notifier.send("STOPPING=1").unwrap();
        let length = by_name.recv(&mut message).unwrap();
        assert_eq!(&message[..length], b"STOPPING=1");
    }

    #[test]
    fn a_manager_that_is_gone_is_an_error_and_no_wait() {
        let directory = tempfile::tempdir().unwrap();
        let notifier = Notifier::new(directory.path().join("nobody").as_os_str()).unwrap();
        assert!(notifier.send("READY=1").is_err());
        assert!(Notifier::new(OsStr::new("relative")).is_err());
        assert!(Notifier::new(OsStr::new("vsock:2:3")).is_err());
    }
}
