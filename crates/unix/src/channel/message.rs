//! What is said on a channel, and how it looks as a packet.
//!
//! ```text
//!   │ direction │ kind │ nr, 4 bytes │ number, 4 bytes │     the byte order is the machine's
//! ```

use nix::unistd::Pid;

/// Bytes of a packet.
pub(super) const FRAME: usize = 10;

/// What the master tells a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ToWorker {
    /// Others take over: accept no more; idle keep-alive connections get one more request answered.
    Retire,
    /// Like `Retire`, but nobody else polls all of this worker's listeners: accept what the kernel
    /// has queued there.
    RetireLast,
    /// The server ends: accept what the kernel has queued, finish, close idle connections.
    Stop,
    /// Leave at once.
    Quit,
    /// Open the log files anew.
    ReopenLogs,
}

/// What the master tells a worker that came out of a zygote, ahead of all else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum ToNewborn {
    /// The master knows of it: it may use what it was given.
    Welcome,
}

/// What a worker tells the master.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ToMaster {
    /// The app is loaded and the listeners are polled.
    Ready,
    /// No more connections are accepted.
    Draining,
    /// It has served as many requests as it should: it wants to be replaced.
    Worn,
    /// It was asked for its stacks ([`crate::examine()`]): they are written.
    Examined,
}

/// What the master tells a zygote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ToZygote {
    /// Fork a worker; what it inherits from the master comes with the message.
    Fork {
        /// Number of the worker's slot.
        nr: u32,
    },
}

/// What a zygote tells the master.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FromZygote {
    /// The app is loaded.
    Ready,
    /// A worker was forked; it is the master's child.
    Forked {
        /// Number of its slot.
        nr: u32,
        /// Its process.
        pid: Pid,
    },
    /// A worker could not be forked.
    ForkFailed {
        /// Number of its slot.
        nr: u32,
        /// What the system said (errno(3)).
        errno: i32,
    },
}

/// A message that fits into a packet. Implemented by [`ToWorker`], [`ToMaster`], [`ToZygote`],
/// [`FromZygote`] and what greets a newborn only.
pub trait Frame: Copy + sealed::Sealed {
    /// The first byte of each such packet.
    #[doc(hidden)]
    const DIRECTION: u8;
    /// The packet's content for this message: kind and two numbers.
    #[doc(hidden)]
    fn encode(self) -> (u8, u32, i32);
    /// The message of such a content, if it is one.
    #[doc(hidden)]
    fn decode(content: (u8, u32, i32)) -> Option<Self>;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::ToWorker {}
    impl Sealed for super::ToNewborn {}
    impl Sealed for super::ToMaster {}
    impl Sealed for super::ToZygote {}
    impl Sealed for super::FromZygote {}
}

impl Frame for ToWorker {
    const DIRECTION: u8 = b'W';

    fn encode(self) -> (u8, u32, i32) {
        let kind = match self {
            Self::Retire => b'r',
            Self::RetireLast => b't',
            Self::Stop => b's',
            Self::Quit => b'q',
            Self::ReopenLogs => b'l',
        };
        (kind, 0, 0)
    }

    fn decode(content: (u8, u32, i32)) -> Option<Self> {
        match content {
            (b'r', 0, 0) => Some(Self::Retire),
            (b't', 0, 0) => Some(Self::RetireLast),
            (b's', 0, 0) => Some(Self::Stop),
            (b'q', 0, 0) => Some(Self::Quit),
            (b'l', 0, 0) => Some(Self::ReopenLogs),
            _ => None,
        }
    }
}

impl Frame for ToNewborn {
    const DIRECTION: u8 = b'N';

    fn encode(self) -> (u8, u32, i32) {
        match self {
            Self::Welcome => (b'w', 0, 0),
        }
    }

    fn decode(content: (u8, u32, i32)) -> Option<Self> {
        (content == Self::Welcome.encode()).then_some(Self::Welcome)
    }
}

impl Frame for ToMaster {
    const DIRECTION: u8 = b'M';

    fn encode(self) -> (u8, u32, i32) {
        let kind = match self {
            Self::Ready => b'r',
            Self::Draining => b'd',
            Self::Worn => b'w',
            Self::Examined => b'e',
        };
        (kind, 0, 0)
    }

    fn decode(content: (u8, u32, i32)) -> Option<Self> {
        match content {
            (b'r', 0, 0) => Some(Self::Ready),
            (b'd', 0, 0) => Some(Self::Draining),
            (b'w', 0, 0) => Some(Self::Worn),
            (b'e', 0, 0) => Some(Self::Examined),
            _ => None,
        }
    }
}

impl Frame for ToZygote {
    const DIRECTION: u8 = b'Z';

    fn encode(self) -> (u8, u32, i32) {
        match self {
            Self::Fork { nr } => (b'f', nr, 0),
        }
    }

    fn decode(content: (u8, u32, i32)) -> Option<Self> {
        match content {
            (b'f', nr, 0) => Some(Self::Fork { nr }),
            _ => None,
        }
    }
}

impl Frame for FromZygote {
    const DIRECTION: u8 = b'F';

    fn encode(self) -> (u8, u32, i32) {
        match self {
            Self::Ready => (b'r', 0, 0),
            Self::Forked { nr, pid } => (b'f', nr, pid.as_raw()),
            Self::ForkFailed { nr, errno } => (b'x', nr, errno),
        }
    }

    fn decode(content: (u8, u32, i32)) -> Option<Self> {
        match content {
            (b'r', 0, 0) => Some(Self::Ready),
            (b'f', nr, pid) if pid > 0 => Some(Self::Forked { nr, pid: Pid::from_raw(pid) }),
            (b'x', nr, errno) => Some(Self::ForkFailed { nr, errno }),
            _ => None,
        }
    }
}

/// The packet of a message.
pub(super) fn packet<M: Frame>(message: M) -> [u8; FRAME] {
    let (kind, nr, number) = message.encode();
    let mut packet = [0; FRAME];
    packet[0] = M::DIRECTION;
    packet[1] = kind;
    packet[2..6].copy_from_slice(&nr.to_ne_bytes());
    packet[6..].copy_from_slice(&number.to_ne_bytes());
    packet
}

/// The message of a packet, if it is one.
pub(super) fn message<M: Frame>(packet: &[u8]) -> Option<M> {
    let packet: &[u8; FRAME] = packet.try_into().ok()?;
    let (&[direction, kind], numbers) = packet.split_first_chunk()?;
    let (nr, number) = numbers.split_first_chunk()?;
    let number = number.try_into().ok()?;
    if direction != M::DIRECTION {
        return None;
    }
    M::decode((kind, u32::from_ne_bytes(*nr), i32::from_ne_bytes(number)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_kept<M: Frame + PartialEq + std::fmt::Debug>(kept: &[M]) {
        for &it in kept {
            assert_eq!(message::<M>(&packet(it)), Some(it));
        }
    }

    #[test]
    fn numbers_are_kept() {
        assert_kept(&[ToZygote::Fork { nr: 1 }, ToZygote::Fork { nr: u32::MAX }]);
        assert_kept(&[
            FromZygote::Ready,
            FromZygote::Forked { nr: 256, pid: Pid::from_raw(i32::MAX) },
            FromZygote::ForkFailed { nr: 2, errno: libc::ENOMEM },
        ]);
        assert_kept(&[ToMaster::Worn, ToMaster::Examined]);
        assert_kept(&[ToNewborn::Welcome]);
    }

    #[test]
    fn what_nobody_says_is_no_message() {
        let ready = packet(ToMaster::Ready);
        assert_eq!(message::<ToWorker>(&ready), None);
        assert_eq!(message::<ToMaster>(&ready[1..]), None);
        assert_eq!(message::<ToMaster>(&[&ready[..], &[0]].concat()), None);
        for at in 1..FRAME {
            let mut other = ready;
            other[at] ^= 1;
            assert_eq!(message::<ToMaster>(&other), None, "{other:?}");
        }
        let nobody = packet(FromZygote::Forked { nr: 1, pid: Pid::from_raw(0) });
        assert_eq!(message::<FromZygote>(&nobody), None);
    }
}
