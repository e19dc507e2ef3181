//! Which files change, in directories that somebody named: inotify(7).
//!
//! inotify knows directories, not trees: whoever wants a tree adds each directory of it, and is
//! told of new ones.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};

/// Directories, and what happens in them.
#[derive(Debug)]
pub struct Watch {
    inotify: Inotify,
    directories: HashMap<WatchDescriptor, PathBuf>,
}

/// What has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// This file has other content than before, or is new, or is gone.
    File(PathBuf),
    /// This directory is new, and may have come with files in it.
    Directory(PathBuf),
    /// This directory, which was watched itself, is gone or has another name.
    Gone(PathBuf),
    /// More than the kernel could keep.
    Lost,
}

impl Watch {
    /// A watch over nothing, nonblocking and closed on exec.
    pub fn new() -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        Ok(Self { inotify, directories: HashMap::new() })
    }

    /// From now on tells of what happens in `directory`, which is called so in what it tells.
    ///
    /// # Errors
    /// Among others `ENOSPC`: the user has no more than `fs.inotify.max_user_watches`.
    pub fn add(&mut self, directory: &Path) -> io::Result<()> {
        // A file that is made is followed until it is written: before that, nobody can use it.
        let events = AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_MOVE
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_MOVE_SELF
            | AddWatchFlags::IN_DELETE_SELF;
        let watch = self.inotify.add_watch(directory, events | AddWatchFlags::IN_ONLYDIR)?;
        self.directories.insert(watch, directory.to_owned());
        Ok(())
    }

    /// How many directories are watched.
    pub fn len(&self) -> usize {
        self.directories.len()
    }

    /// Whether no directory is.
    pub fn is_empty(&self) -> bool {
        self.directories.is_empty()
    }

    /// Whether `directory` is watched, under this name.
    pub fn has(&self, directory: &Path) -> bool {
        self.directories.values().any(|watched| watched == directory)
    }

    /// What has happened since the last time.
    pub fn changes(&mut self) -> io::Result<Vec<Change>> {
        let mut changes = Vec::new();
        loop {
            match self.inotify.read_events() {
                Ok(events) => {
                    changes.extend(events.into_iter().filter_map(|event| self.change(event)));
                }
                Err(Errno::EAGAIN) => return Ok(changes),
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn change(&mut self, event: InotifyEvent) -> Option<Change> {
        if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
            return Some(Change::Lost);
        }
        if event.mask.contains(AddWatchFlags::IN_IGNORED) {
            self.directories.remove(&event.wd);
            return None;
        }
        let directory = self.directories.get(&event.wd)?;
        let gone = AddWatchFlags::IN_MOVE_SELF | AddWatchFlags::IN_DELETE_SELF;
        if event.mask.intersects(gone) {
            let directory = directory.clone();
            self.forget(&directory);
            return Some(Change::Gone(directory));
        }
        let path = directory.join(event.name?);
        let appears = event.mask.intersects(AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO);
        match event.mask.contains(AddWatchFlags::IN_ISDIR) {
            true if appears => Some(Change::Directory(path)),
            true => {
                self.forget(&path);
                None
            }
            // Whoever made it writes it next; only a link has content from the beginning.
            false if event.mask.contains(AddWatchFlags::IN_CREATE) && !is_link(&path) => None,
            false => Some(Change::File(path)),
        }
    }

    /// A directory is gone or has another name, and all that is in it.
    fn forget(&mut self, gone: &Path) {
        let below = self.directories.iter().filter(|(_, path)| path.starts_with(gone));
        let below: Vec<_> = below.map(|(watch, _)| *watch).collect();
        for watch in below {
            self.directories.remove(&watch);
            // The kernel has dropped it already if the directory was removed.
            let _ = self.inotify.rm_watch(watch);
        }
    }
}

/// Whether it is a symbolic link, or a further name of a file.
fn is_link(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| !found.is_file() || found.nlink() > 1)
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory and a watch over it. Events are in the queue when a system call that causes
    /// them returns, so nothing here has to wait.
    fn watched() -> (tempfile::TempDir, Watch) {
        let directory = tempfile::tempdir().unwrap();
        let mut watch = Watch::new().unwrap();
        watch.add(directory.path()).unwrap();
        assert!(watch.has(directory.path()) && watch.len() == 1 && !watch.is_empty());
        assert_eq!(watch.changes().unwrap(), []);
        (directory, watch)
    }

    #[test]
    fn a_file_changes_in_many_ways() {
        let (directory, mut watch) = watched();
        let file = directory.path().join("a");
        let other = directory.path().join("b");
        let told = |watch: &mut Watch| watch.changes().unwrap();
        fs::write(&file, "new").unwrap();
        assert_eq!(told(&mut watch), [Change::File(file.clone())]);
        fs::write(&file, "").unwrap();
        assert_eq!(told(&mut watch), [Change::File(file.clone())]);
        fs::write(&other, "text").unwrap();
        fs::rename(&other, &file).unwrap();
        let both = [&other, &other, &file].map(|path| Change::File(path.clone()));
        assert_eq!(told(&mut watch), both);
        std::os::unix::fs::symlink("/", &other).unwrap();
        assert_eq!(told(&mut watch), [Change::File(other.clone())]);
        fs::remove_file(&other).unwrap();
        fs::hard_link(&file, &other).unwrap();
        let both = [&other, &other].map(|path| Change::File(path.clone()));
        assert_eq!(told(&mut watch), both);
        fs::read(directory.path().join("none")).unwrap_err();
        assert_eq!(told(&mut watch), []);
    }

    #[test]
    fn directories_come_and_go() {
        let (directory, mut watch) = watched();
        let inner = directory.path().join("inner");
        fs::create_dir(&inner).unwrap();
        assert_eq!(watch.changes().unwrap(), [Change::Directory(inner.clone())]);
        watch.add(&inner).unwrap();
        fs::write(inner.join("a"), "text").unwrap();
        assert_eq!(watch.changes().unwrap(), [Change::File(inner.join("a"))]);
        let moved = directory.path().join("moved");
        fs::rename(&inner, &moved).unwrap();
        assert_eq!(watch.changes().unwrap(), [Change::Directory(moved.clone())]);
        assert!(!watch.has(&inner));
        watch.add(&moved).unwrap();
        fs::remove_file(moved.join("a")).unwrap();
        fs::remove_dir(&moved).unwrap();
        let gone = [Change::File(moved.join("a")), Change::Gone(moved)];
        assert_eq!(watch.changes().unwrap(), gone);
        assert_eq!(watch.len(), 1);
    }

    #[test]
    fn the_directory_itself_goes() {
        let directory = tempfile::tempdir().unwrap();
        let mut watch = Watch::new().unwrap();
        let root = directory.path().join("root");
        let other = directory.path().join("other");
        fs::create_dir_all(root.join("inner")).unwrap();
        watch.add(&root).unwrap();
        watch.add(&root.join("inner")).unwrap();
        fs::rename(&root, &other).unwrap();
        assert_eq!(watch.changes().unwrap(), [Change::Gone(root.clone())]);
        assert!(watch.is_empty());
        fs::write(other.join("inner/a"), "text").unwrap();
        assert_eq!(watch.changes().unwrap(), []);
        watch.add(&other).unwrap();
        fs::remove_dir_all(&other).unwrap();
        assert!(watch.changes().unwrap().contains(&Change::Gone(other)));
    }

    #[test]
    fn only_directories_are_watched() {
        let (directory, mut watch) = watched();
        let file = directory.path().join("a");
        fs::write(&file, "").unwrap();
        assert!(watch.add(&file).is_err());
        assert!(watch.add(&directory.path().join("none")).is_err());
    }
}
