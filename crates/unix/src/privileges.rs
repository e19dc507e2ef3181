//! Whose rights a process has, and which rights its new files get.

use std::ffi::CString;
use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{
    Gid, Group, Uid, User, fchown, getegid, geteuid, getgrouplist, setgid, setgroups, setuid,
};

use crate::trust::open_safely;

/// Sets the file mode creation mask of the process and returns the former one (umask(2)).
///
/// Only the nine permission bits count.
pub fn set_umask(mask: u32) -> u32 {
    umask(Mode::from_bits_truncate(mask & 0o777)).bits()
}

/// A user with groups, as a process can become it.
///
/// Looked up once, by the process that has all rights: the user database may be out of reach of
/// the one that gives them up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    uid: Uid,
    gid: Gid,
    /// All groups, `gid` among them.
    groups: Vec<Gid>,
}

/// Why there is no such identity.
#[derive(Debug)]
pub enum IdentityError {
    /// The user database has no such name.
    UnknownUser(String),
    /// The group database has no such name.
    UnknownGroup(String),
    /// A bare number, without an entry that would say the user's group.
    NoGroup(String),
    /// Only root can become somebody else.
    Forbidden(String),
    /// The databases can't be read.
    Io {
        /// What was looked up.
        name: String,
        /// What the system said.
        source: io::Error,
    },
}

impl Identity {
    /// The identity that a user and a group name, by name or number; with `other_groups`, in all
    /// groups that the user is a member of.
    ///
    /// Without a group it is the user's primary one. Without other groups there is that one alone:
    /// what the process is a member of itself, such as root's groups, is not handed on. None: the
    /// process is that user and group already.
    pub fn look_up(
        user: Option<&str>,
        group: Option<&str>,
        other_groups: bool,
    ) -> Result<Option<Self>, IdentityError> {
        // Who is that user already needs no entry in the database, as in a container.
        let is_own = |uid| group.is_none() && !geteuid().is_root() && uid == geteuid().as_raw();
        if user.and_then(number).is_some_and(is_own) {
            return Ok(None);
        }
        let found = user.map(find_user).transpose()?;
        let gid = group.map(find_group).transpose()?;
        let (uid, gid, name) = match (found, gid) {
            (None, None) => return Ok(None),
            (None, Some(gid)) => (geteuid(), gid, None),
            (Some(Found { uid, gid: primary, name }), gid) => {
                let missing = || IdentityError::NoGroup(uid.to_string());
                (uid, gid.or(primary).ok_or_else(missing)?, name)
            }
        };
        if !geteuid().is_root() {
            if uid == geteuid() && (group.is_none() || gid == getegid()) {
                return Ok(None);
            }
            let wanted = user.or(group).unwrap_or_default();
            return Err(IdentityError::Forbidden(wanted.to_owned()));
        }
        let groups = match name.filter(|_| other_groups) {
            Some(name) => groups_of(&name, gid)?,
            None => vec![gid],
        };
        Ok(Some(Self { uid, gid, groups }))
    }

    /// The user's number.
    pub fn uid(&self) -> u32 {
        self.uid.as_raw()
    }

    /// The group's number.
    pub fn gid(&self) -> u32 {
        self.gid.as_raw()
    }

    /// Becomes it for good: real, effective and saved ids.
    ///
    /// The groups first: once the user is another, they can't be changed (credentials(7)). It ends
    /// a request of [`die_with_parent`](crate::die_with_parent), which is to be made anew.
    pub fn assume(&self) -> io::Result<()> {
        setgroups(&self.groups)?;
        setgid(self.gid)?;
        Ok(setuid(self.uid)?)
    }

    /// Makes it the owner of the regular file at `path`, which is created if it isn't there.
    ///
    /// Nothing happens to a file of another kind, such as a terminal. A symbolic link is not
    /// followed: in a directory of the user's own, it might lead to a file that nobody meant to
    /// give away. A hard link, or a symbolic one on the way, that somebody else than root may have
    /// made is an error.
    pub fn own_file(&self, path: &Path) -> io::Result<()> {
        // One that is made from now on is refused, or root's.
        if path.is_symlink() {
            return Ok(());
        }
        let flags = OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_CREAT;
        let file = match open_safely(path, flags | OFlag::O_NONBLOCK | OFlag::O_NOCTTY) {
            Ok(file) => file,
            // A FIFO that nobody reads.
            Err(error) if error.raw_os_error() == Some(libc::ENXIO) => return Ok(()),
            Err(error) => return Err(error),
        };
        if file.metadata()?.is_file() {
            fchown(file.as_fd(), Some(self.uid), Some(self.gid))?;
        }
        Ok(())
    }
}

struct Found {
    uid: Uid,
    /// None: not in the database.
    gid: Option<Gid>,
    name: Option<String>,
}

fn find_user(name: &str) -> Result<Found, IdentityError> {
    let number = number(name).map(Uid::from_raw);
    let entry = match number {
        Some(uid) => User::from_uid(uid),
        None => User::from_name(name),
    };
    match (entry.map_err(|errno| unreadable(name, errno))?, number) {
        (Some(user), _) => Ok(Found { uid: user.uid, gid: Some(user.gid), name: Some(user.name) }),
        (None, Some(uid)) => Ok(Found { uid, gid: None, name: None }),
        (None, None) => Err(IdentityError::UnknownUser(name.to_owned())),
    }
}

fn find_group(name: &str) -> Result<Gid, IdentityError> {
    if let Some(gid) = number(name) {
        return Ok(Gid::from_raw(gid));
    }
    match Group::from_name(name).map_err(|errno| unreadable(name, errno))? {
        Some(group) => Ok(group.gid),
        None => Err(IdentityError::UnknownGroup(name.to_owned())),
    }
}

/// Digits only, and not the number by which system calls mean "unchanged".
fn number(name: &str) -> Option<u32> {
    let digits = name.bytes().all(|byte| byte.is_ascii_digit());
    name.parse().ok().filter(|&number| digits && number != u32::MAX)
}

fn groups_of(name: &str, gid: Gid) -> Result<Vec<Gid>, IdentityError> {
    let failed = |errno| unreadable(name, errno);
    let name = CString::new(name).map_err(|_| failed(Errno::EINVAL))?;
    getgrouplist(&name, gid).map_err(failed)
}

fn unreadable(name: &str, errno: Errno) -> IdentityError {
    IdentityError::Io { name: name.to_owned(), source: errno.into() }
}

impl IdentityError {
    /// The setting that names what there isn't, if that is the fault.
    pub fn setting(&self) -> Option<&'static str> {
        match self {
            Self::UnknownUser(_) | Self::NoGroup(_) => Some("user"),
            Self::UnknownGroup(_) => Some("group"),
            Self::Forbidden(_) | Self::Io { .. } => None,
        }
    }
}

impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownUser(name) => write!(f, "user: there is no user \"{name}\""),
            Self::UnknownGroup(name) => write!(f, "group: there is no group \"{name}\""),
            Self::NoGroup(number) => write!(
                f,
                "user: user {number} has no entry in the user database that says its group: set group too"
            ),
            Self::Forbidden(name) => {
                write!(f, "only root can run workers as \"{name}\": leave out user and group")
            }
            Self::Io { name, source } => {
                write!(f, "cannot look up \"{name}\": {}", crate::cause(source))
            }
        }
    }
}

impl std::error::Error for IdentityError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_asked_for() {
        assert_eq!(Identity::look_up(None, None, true).unwrap(), None);
    }

    #[test]
    fn unknown_names_are_named() {
        let error = Identity::look_up(Some("no-such-user"), None, false).unwrap_err();
        assert_eq!(error.to_string(), "user: there is no user \"no-such-user\"");
        let error = Identity::look_up(None, Some("no-such-group"), false).unwrap_err();
        assert_eq!(error.to_string(), "group: there is no group \"no-such-group\"");
        let error = Identity::look_up(Some("4294967290"), None, false).unwrap_err();
        assert!(matches!(error, IdentityError::NoGroup(_)), "{error}");
    }

    #[test]
    fn numbers_are_digits() {
        assert_eq!(number("0"), Some(0));
        assert_eq!(number("65534"), Some(65534));
        for text in ["", "+1", "-1", "1a", "4294967295", "99999999999"] {
            assert_eq!(number(text), None, "{text}");
        }
    }

    #[test]
    fn only_root_becomes_somebody_else() {
        if geteuid().is_root() {
            let identity = Identity::look_up(Some("1"), Some("2"), false).unwrap().unwrap();
            assert_eq!((identity.uid(), identity.gid()), (1, 2));
            assert_eq!(identity.groups, [Gid::from_raw(2)]);
        } else {
            let own = geteuid().to_string();
            assert_eq!(
                Identity::look_up(Some(&own), Some(&getegid().to_string()), false).unwrap(),
                None
            );
            let error = Identity::look_up(Some("0"), Some("0"), false).unwrap_err();
            assert!(matches!(error, IdentityError::Forbidden(_)), "{error}");
        }
    }

    #[test]
    fn links_are_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let (target, link) = (directory.path().join("target"), directory.path().join("link"));
        std::os::unix::fs::symlink(&target, &link).unwrap();
        let identity = Identity { uid: geteuid(), gid: getegid(), groups: vec![] };
        identity.own_file(&link).unwrap();
        assert!(!target.exists());
        identity.own_file(&target).unwrap();
        assert!(target.exists());
        assert!(identity.own_file(directory.path()).is_err());
    }
}
