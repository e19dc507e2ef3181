//! Why there is no listener.

use std::fmt;
use std::io;
use std::os::fd::RawFd;
use std::path::PathBuf;

use super::address::Address;

/// A listener that could not be had, and where.
#[derive(Debug)]
pub enum BindError {
    /// Somebody listens there.
    InUse {
        /// The place.
        address: Address,
    },
    /// The system forbids it.
    Forbidden {
        /// The place.
        address: Address,
        /// What the system said.
        source: io::Error,
    },
    /// The host name has no address.
    Unresolved {
        /// The place.
        address: Address,
        /// What the resolver said.
        source: io::Error,
    },
    /// The path is a file, directory or device that is no socket: not ours to replace.
    NotASocket {
        /// The place.
        address: Address,
        /// The path.
        path: PathBuf,
    },
    /// The inherited descriptor is of no use.
    Inherited {
        /// Its number.
        number: RawFd,
        /// What is wrong with it.
        fault: InheritedFault,
    },
    /// The system failed otherwise.
    Io {
        /// The place.
        address: Address,
        /// What the system said.
        source: io::Error,
    },
}

/// What is wrong with the descriptor of `fd://N`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InheritedFault {
    /// No such descriptor.
    Closed,
    /// Something else than a socket.
    NotASocket,
    /// A socket that does not listen.
    NotListening,
    /// Neither TCP nor a unix stream socket.
    Unsupported,
}

impl BindError {
    pub(super) fn from_io(address: &Address, source: io::Error) -> Self {
        let address = address.clone();
        match source.raw_os_error() {
            Some(libc::EADDRINUSE) => Self::InUse { address },
            Some(libc::EACCES | libc::EPERM) => Self::Forbidden { address, source },
            _ => Self::Io { address, source },
        }
    }
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse { address } => {
                write!(f, "cannot bind {address}: address already in use ({})", find(address))
            }
            Self::Forbidden { address, source } => {
                write!(f, "cannot bind {address}: {}", crate::cause(source))?;
                if matches!(address, Address::Tcp { port: 1..1024, .. }) {
                    f.write_str(" (ports below 1024 need root or CAP_NET_BIND_SERVICE)")?;
                }
                Ok(())
            }
            Self::Unresolved { address, source } => {
                write!(f, "cannot bind {address}: cannot resolve the host name: {source}")
            }
            Self::NotASocket { address, path } => {
                write!(f, "cannot bind {address}: {} exists and is no socket", path.display())
            }
            Self::Inherited { number, fault } => write!(f, "cannot use fd://{number}: {fault}"),
            Self::Io { address, source } => {
                write!(f, "cannot bind {address}: {}", crate::cause(source))
            }
        }
    }
}

/// How to learn who is there.
fn find(address: &Address) -> String {
    match address {
        Address::Tcp { port, .. } => format!("who listens: ss -ltnp sport = :{port}"),
        _ => "who listens: ss -lxp".to_owned(),
    }
}

impl fmt::Display for InheritedFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "no such descriptor was inherited",
            Self::NotASocket => "the descriptor is no socket",
            Self::NotListening => "the socket does not listen",
            Self::Unsupported => "the socket is neither TCP nor a unix stream socket",
        })
    }
}

impl std::error::Error for BindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Forbidden { source, .. }
            | Self::Unresolved { source, .. }
            | Self::Io { source, .. } => Some(source),
            Self::InUse { .. } | Self::NotASocket { .. } | Self::Inherited { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages() {
        let cases = [
            (
                "127.0.0.1:8000",
                libc::EADDRINUSE,
                "cannot bind 127.0.0.1:8000: address already in use \
                 (who listens: ss -ltnp sport = :8000)",
            ),
            (
                "unix:/run/a",
                libc::EADDRINUSE,
                "cannot bind unix:/run/a: address already in use (who listens: ss -lxp)",
            ),
            (
                "127.0.0.1:80",
                libc::EACCES,
                "cannot bind 127.0.0.1:80: permission denied \
                 (ports below 1024 need root or CAP_NET_BIND_SERVICE)",
            ),
            ("unix:/run/a", libc::EACCES, "cannot bind unix:/run/a: permission denied"),
            ("[::1]:1", libc::EMFILE, "cannot bind [::1]:1: too many open files"),
            ("h:1", libc::EADDRNOTAVAIL, "cannot bind h:1: cannot assign requested address"),
        ];
        for (address, number, message) in cases {
            let address: Address = address.parse().unwrap();
            let error = BindError::from_io(&address, io::Error::from_raw_os_error(number));
            assert_eq!(error.to_string(), message);
        }
        let not_a_socket = BindError::NotASocket {
            address: Address::Unix("/etc/passwd".into()),
            path: "/etc/passwd".into(),
        };
        let text = "cannot bind unix:/etc/passwd: /etc/passwd exists and is no socket";
        assert_eq!(not_a_socket.to_string(), text);
        let inherited = BindError::Inherited { number: 3, fault: InheritedFault::Closed };
        assert_eq!(inherited.to_string(), "cannot use fd://3: no such descriptor was inherited");
    }
}
