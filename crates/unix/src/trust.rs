//! Files that root opens where somebody else may write.
//!
//! Whoever may write to a directory may put a link there, and root, who may write everything, would
//! follow it to a file that nobody meant. So each step of the path is taken by itself: a symbolic
//! link counts only in a directory that root alone may write to, and so does a second name of a
//! file (link(2)). Nothing is looked at by name twice, so there is no moment at which a link could
//! be slipped in.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat, readlinkat};
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};

/// As many as the kernel follows (path_resolution(7)).
const MOST_LINKS: u32 = 40;

/// Opens the file at `path` with `flags`, as root may do it safely.
///
/// `PermissionDenied`: a link that somebody else than root may have made.
pub(crate) fn open_safely(path: &Path, flags: OFlag) -> io::Result<File> {
    let Place { directory, name, is_magic } = find(path)?;
    let nofollow = if is_magic { OFlag::empty() } else { OFlag::O_NOFOLLOW };
    let flags = flags | nofollow | OFlag::O_CLOEXEC;
    let file = match openat(&directory, &*name, flags, Mode::from_bits_retain(0o666)) {
        // It was none a moment ago.
        Err(Errno::ELOOP) => return Err(refused(&name, "symbolic link")),
        opened => File::from(opened?),
    };
    let found = fstat(&file)?;
    let is_regular = found.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFREG.bits();
    if is_regular && found.st_nlink > 1 && !is_magic && !is_roots(&directory)? {
        return Err(refused(&name, "hard link"));
    }
    Ok(file)
}

/// A name in a directory, when all links on the way are behind.
struct Place {
    directory: OwnedFd,
    name: OsString,
    /// A link of /proc, which leads to an open file and not to its name (proc_pid_fd(5)).
    is_magic: bool,
}

fn find(path: &Path) -> io::Result<Place> {
    let mut steps = VecDeque::new();
    let mut directory = enter(&mut steps, None, path)?;
    let mut links = 0;
    while let Some(name) = steps.pop_front() {
        match readlinkat(&directory, &*name) {
            Ok(_)
                if fstatfs(&directory)?.filesystem_type() == PROC_SUPER_MAGIC
                    && steps.is_empty() =>
            {
                return Ok(Place { directory, name, is_magic: true });
            }
            Ok(_) if !is_roots(&directory)? => return Err(refused(&name, "symbolic link")),
            Ok(_) if links == MOST_LINKS => return Err(Errno::ELOOP.into()),
            Ok(target) => {
                links += 1;
                directory = enter(&mut steps, Some(directory), Path::new(&target))?;
            }
            // EINVAL: no link. ENOENT: to be made.
            Err(Errno::EINVAL | Errno::ENOENT) if steps.is_empty() => {
                return Ok(Place { directory, name, is_magic: false });
            }
            Err(Errno::EINVAL) => directory = step_into(&directory, &name)?,
            Err(errno) => return Err(errno.into()),
        }
    }
    Err(Errno::EISDIR.into())
}

/// Puts the steps of `path` first; where they start.
fn enter(
    steps: &mut VecDeque<OsString>,
    from: Option<OwnedFd>,
    path: &Path,
) -> io::Result<OwnedFd> {
    for component in path.components().rev() {
        match component {
            Component::Normal(_) | Component::ParentDir => {
                steps.push_front(component.as_os_str().to_owned());
            }
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    match from {
        _ if path.is_absolute() => step_into(AT_FDCWD, OsStr::new("/")),
        Some(directory) => Ok(directory),
        None => step_into(AT_FDCWD, OsStr::new(".")),
    }
}

fn step_into(directory: impl AsFd, name: &OsStr) -> io::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    Ok(openat(directory, name, flags, Mode::empty())?)
}

/// Whether root alone may make links there.
fn is_roots(directory: &OwnedFd) -> io::Result<bool> {
    let found = fstat(directory)?;
    Ok(found.st_uid == 0 && found.st_mode & 0o022 == 0)
}

fn refused(name: &OsStr, what: &str) -> io::Error {
    let text = format!(
        "{} is a {what} in a directory that others than root may write to: it is not followed for root, as the workers are another user's",
        name.display()
    );
    io::Error::new(io::ErrorKind::PermissionDenied, text)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions, create_dir, hard_link};
    use std::io::{Read, Write};
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn append(path: &Path) -> io::Result<()> {
        open_safely(path, OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_CREAT)?.write_all(b"x")
    }

    #[test]
    fn links_of_others_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let open_to_all = Permissions::from_mode(0o777);
        create_dir(at("logs")).unwrap();
        fs::set_permissions(at("logs"), open_to_all).unwrap();
        fs::write(at("secret"), "").unwrap();
        symlink(at("secret"), at("logs/link")).unwrap();
        symlink(directory.path(), at("logs/directory")).unwrap();
        hard_link(at("secret"), at("logs/second")).unwrap();
        for (name, what) in [
            ("logs/link", "link is a symbolic link"),
            ("logs/directory/new", "directory is a symbolic link"),
            ("logs/second", "second is a hard link"),
        ] {
            let error = append(&at(name)).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
            assert!(error.to_string().starts_with(what), "{error}");
        }
        assert_eq!(fs::read(at("secret")).unwrap(), b"");
        assert!(!at("new").exists());
        append(&at("logs/../logs/own")).unwrap();
        assert_eq!(fs::read(at("logs/own")).unwrap(), b"x");
    }

    #[test]
    fn links_of_root_are_followed() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        create_dir(at("data")).unwrap();
        // A test beside this one may have no umask for a moment.
        for made in [directory.path(), &at("data")] {
            fs::set_permissions(made, Permissions::from_mode(0o755)).unwrap();
        }
        symlink("data/../data", at("logs")).unwrap();
        symlink(at("logs/target"), at("link")).unwrap();
        symlink("round", at("round")).unwrap();
        if nix::unistd::geteuid().is_root() {
            append(&at("link")).unwrap();
            assert_eq!(fs::read(at("data/target")).unwrap(), b"x");
            assert_eq!(append(&at("round")).unwrap_err().raw_os_error(), Some(libc::ELOOP));
        } else {
            assert!(append(&at("link")).is_err());
        }
        assert!(append(&at("data")).is_err());
        assert!(append(&at("nowhere/log")).is_err());
    }

    #[test]
    fn an_open_file_is_reached_through_proc() {
        use std::os::fd::AsRawFd;
        let (mut reader, writer) = io::pipe().unwrap();
        let path = format!("/proc/self/fd/{}", writer.as_raw_fd());
        if nix::unistd::geteuid().is_root() {
            append(Path::new(&path)).unwrap();
            let mut byte = [0];
            reader.read_exact(&mut byte).unwrap();
            assert_eq!(&byte, b"x");
        }
    }
}
