//! A file that says which process is the master.
//!
//! Written to a new file beside it and renamed, so that a reader never sees half of it. A file left
//! by a dead process is replaced; one whose process lives is not. Only the very file that was
//! written is removed, so that a second [`Pidfile`] of the same path outlives the first.

use std::fmt;
use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::{Pid, getpid};

/// The file, removed on drop by the process that wrote it.
#[derive(Debug)]
pub struct Pidfile {
    path: PathBuf,
    /// The process may change its directory before it removes the file.
    absolute: PathBuf,
    pid: Pid,
    /// Device and inode; None: somebody else's by now.
    file: Option<(u64, u64)>,
}

/// Why there is no pidfile.
#[derive(Debug)]
pub enum PidfileError {
    /// The process named in the file lives.
    Running {
        /// That process.
        pid: Pid,
        /// The file.
        path: PathBuf,
    },
    /// The file can't be read or written.
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Pidfile {
    /// Writes this process's id to `path`, mode 0644.
    pub fn create(path: &Path) -> Result<Self, PidfileError> {
        let failed = |source| PidfileError::Io { path: path.to_owned(), source };
        let absolute = std::path::absolute(path).map_err(failed)?;
        let pid = getpid();
        refuse_if_running(path, path, pid)?;
        let file = write(path, pid).map_err(failed)?;
        Ok(Self { path: path.to_owned(), absolute, pid, file: Some(file) })
    }

    /// Where the file is, as it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the file another name in its directory. What has that name now is replaced, unless it
    /// names another process that lives; a file that is no longer ours is left alone.
    pub fn rename(&mut self, path: &Path) -> Result<(), PidfileError> {
        let failed = |source| PidfileError::Io { path: path.to_owned(), source };
        let name = path.file_name().ok_or_else(|| failed(io::ErrorKind::InvalidInput.into()))?;
        let absolute = self.absolute.with_file_name(name);
        refuse_if_running(path, &absolute, self.pid)?;
        if self.is_ours().map_err(failed)? {
            fs::rename(&self.absolute, &absolute).map_err(failed)?;
        }
        self.path = path.to_owned();
        self.absolute = absolute;
        Ok(())
    }

    /// Removes the file now, if it still holds this process's id.
    pub fn remove(mut self) -> io::Result<()> {
        self.unlink()
    }

    /// Leaves the file to another process: for a child that got a copy of this value by fork.
    pub fn disown(mut self) {
        self.file = None;
    }

    fn unlink(&mut self) -> io::Result<()> {
        let ours = self.is_ours();
        self.file = None;
        if ours? { fs::remove_file(&self.absolute) } else { Ok(()) }
    }

    /// Whether the very file that this process wrote is there, with its id.
    fn is_ours(&self) -> io::Result<bool> {
        let Some(file) = self.file.filter(|_| self.pid == getpid()) else { return Ok(false) };
        let found = match fs::symlink_metadata(&self.absolute) {
            Ok(found) => (found.dev(), found.ino()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        Ok(found == file && recorded(&self.absolute)? == Some(self.pid))
    }
}

impl Drop for Pidfile {
    fn drop(&mut self) {
        // A stale file is found out by the next start.
        let _ = self.unlink();
    }
}

/// `path` is what to call the file at `place`.
fn refuse_if_running(path: &Path, place: &Path, own: Pid) -> Result<(), PidfileError> {
    match recorded(place) {
        Ok(Some(other)) if other != own && is_alive(other) => {
            Err(PidfileError::Running { pid: other, path: path.to_owned() })
        }
        Ok(_) => Ok(()),
        Err(source) => Err(PidfileError::Io { path: path.to_owned(), source }),
    }
}

/// The process named in the file. None: no file, or no process id in it.
fn recorded(path: &Path) -> io::Result<Option<Pid>> {
    match fs::read(path) {
        Ok(content) => Ok(parse(&content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn parse(content: &[u8]) -> Option<Pid> {
    let pid: i32 = std::str::from_utf8(content).ok()?.trim().parse().ok()?;
    (pid > 0).then(|| Pid::from_raw(pid))
}

fn is_alive(pid: Pid) -> bool {
    // kill(2) with no signal only asks; EPERM means that it lives under another user.
    !matches!(nix::sys::signal::kill(pid, None), Err(Errno::ESRCH))
}

/// Returns device and inode of the new file.
fn write(path: &Path, pid: Pid) -> io::Result<(u64, u64)> {
    let name = path.file_name().ok_or_else(|| io::Error::from(io::ErrorKind::IsADirectory))?;
    let mut new_name = std::ffi::OsString::from(".");
    new_name.push(name);
    new_name.push(format!(".{pid}"));
    let new = path.with_file_name(new_name);
    // Left by a process of our id that died between the two steps.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(&new)?;
    let written = file
        .set_permissions(Permissions::from_mode(0o644))
        .and_then(|()| writeln!(file, "{pid}"))
        .and_then(|()| file.metadata())
        .and_then(|found| fs::rename(&new, path).map(|()| (found.dev(), found.ino())));
    if written.is_err() {
        let _ = fs::remove_file(&new);
    }
    written
}

impl fmt::Display for PidfileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Running { pid, path } => {
                write!(f, "pidfile {} names process {pid}, which is running", path.display())
            }
            Self::Io { path, source } => {
                write!(f, "cannot write pidfile {}: {}", path.display(), crate::cause(source))
            }
        }
    }
}

impl std::error::Error for PidfileError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Running { .. } => None,
            Self::Io { source, .. } => Some(source),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_garbage_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pid");
        for content in [&b""[..], b"garbage", b"-1\n", b"0", b"\xff", b"99999999999999"] {
            fs::write(&path, content).unwrap();
            let pidfile = Pidfile::create(&path).unwrap();
            assert_eq!(fs::read_to_string(pidfile.path()).unwrap(), format!("{}\n", getpid()));
        }
        assert!(!path.exists());
    }

    #[test]
    fn a_process_replaces_its_own() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pid");
        let first = Pidfile::create(&path).unwrap();
        let second = Pidfile::create(&path).unwrap();
        drop(first);
        assert!(path.exists());
        second.remove().unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn another_name_and_back() {
        let directory = tempfile::tempdir().unwrap();
        let (path, aside) = (directory.path().join("pid"), directory.path().join("pid.old"));
        let mut pidfile = Pidfile::create(&path).unwrap();
        pidfile.rename(&aside).unwrap();
        assert!(!path.exists() && aside.exists());
        assert_eq!(pidfile.path(), aside);
        fs::write(&path, "1\n").unwrap();
        assert!(matches!(pidfile.rename(&path), Err(PidfileError::Running { .. })));
        fs::write(&path, "4194304\n").unwrap();
        pidfile.rename(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", getpid()));
        drop(pidfile);
        assert!(!path.exists() && !aside.exists());
    }

    #[test]
    fn one_that_names_another_is_not_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pid");
        let pidfile = Pidfile::create(&path).unwrap();
        fs::write(&path, "1\n").unwrap();
        drop(pidfile);
        assert_eq!(fs::read_to_string(&path).unwrap(), "1\n");
        let error = Pidfile::create(&path).unwrap_err();
        let text = format!("pidfile {} names process 1, which is running", path.display());
        assert_eq!(error.to_string(), text);
    }

    #[test]
    fn errors_name_the_file() {
        let error = Pidfile::create(Path::new("/nonexistent/pid")).unwrap_err();
        let text = "cannot write pidfile /nonexistent/pid: no such file or directory";
        assert_eq!(error.to_string(), text);
        assert!(Pidfile::create(Path::new("/")).is_err());
    }
}
