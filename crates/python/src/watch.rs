//! The setting `reload`: when sources change, the server is reloaded.
//!
//! ```text
//! file changes ─► inotify ─► relevant? ─► quiet for a moment ─► a reload like any other
//! ```
//!
//! The master watches the directories that are served from, as trees, and besides those of modules
//! that workers have loaded from elsewhere, of which they tell it ([`loaded`]). It does so in its
//! one thread: the watch is a descriptor among those that it polls.

pub(crate) mod loaded;

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use ironhorn_config::Settings;
use ironhorn_unix::{Change, Monotonic, Watch};

/// So long nothing more must change until the server is reloaded: an editor or a checkout writes
/// one file after another.
const QUIET: Duration = Duration::from_millis(75);
/// But something that goes on changing is no reason to wait longer.
const PATIENCE: Duration = Duration::from_secs(1);

/// How many directories are watched at most: whoever serves from / doesn't mean all of it.
const DIRECTORIES: usize = 20_000;

/// Directories that hold no sources of the app's.
const FOREIGN: [&str; 2] = ["__pycache__", "node_modules"];

/// What is to be watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Directories with all that is in them.
    trees: Vec<PathBuf>,
    /// Files and directories of which every change counts.
    extra: Vec<PathBuf>,
}

/// Watches sources.
pub(crate) struct SourceWatch {
    plan: Plan,
    watch: Watch,
    /// Changes that the server was not reloaded for yet.
    pending: Option<Pending>,
    /// When the load of what is watched began, or before that.
    loading_since: SystemTime,
    /// What is not there of the plan's directories, until it is.
    gone: Vec<PathBuf>,
    /// Whether it was said that not everything is watched.
    has_complained: bool,
}

#[derive(Debug)]
struct Pending {
    /// The file that changed first, and how many more have.
    path: PathBuf,
    more: usize,
    first: Monotonic,
    last: Monotonic,
}

impl Plan {
    /// What the settings have watched, whose directory is the current one. None: nothing.
    pub(crate) fn of(settings: &Settings) -> io::Result<Option<Self>> {
        if !settings.reload {
            return Ok(None);
        }
        let mut trees = vec![std::env::current_dir()?];
        // One that isn't there is no source of modules either.
        trees.extend(settings.pythonpath.iter().filter_map(|it| fs::canonicalize(it).ok()));
        let extra = settings.reload_extra_files.iter().map(|it| located(it)).collect();
        Ok(Some(Self { trees, extra }))
    }

    /// Whether a file is a source.
    fn has(&self, path: &Path) -> bool {
        if self.extra.iter().any(|extra| extra == path) {
            return true;
        }
        let Some(name) = path.file_name().and_then(OsStr::to_str) else { return false };
        // What editors keep beside the file that is edited.
        if name.starts_with('.') || name.ends_with('~') {
            return false;
        }
        let is_module =
            path.extension().is_some_and(|extension| extension == "py" || extension == "so");
        is_module || self.is_template(path) || self.extra.iter().any(|it| path.starts_with(it))
    }

    /// Whether this directory is watched because it was named, and not for what is around it.
    fn begins_at(&self, directory: &Path) -> bool {
        self.trees.iter().any(|tree| tree == directory)
            || self.extra.iter().any(|it| it == directory || directory_of(it) == Some(directory))
    }

    fn is_template(&self, path: &Path) -> bool {
        let is_in = |tree: &PathBuf| {
            let inner = path.strip_prefix(tree).ok().and_then(Path::parent);
            inner.is_some_and(|inner| inner.iter().any(|part| part == "templates"))
        };
        self.trees.iter().any(is_in)
    }
}

/// The one name of a path that may not exist.
fn located(path: &Path) -> PathBuf {
    if let Ok(canonical) = fs::canonicalize(path)
        && canonical.is_dir()
    {
        return canonical;
    }
    match (directory_of(path).and_then(|it| fs::canonicalize(it).ok()), path.file_name()) {
        (Some(directory), Some(name)) => directory.join(name),
        _ => std::path::absolute(path).unwrap_or_else(|_| path.to_owned()),
    }
}

fn directory_of(path: &Path) -> Option<&Path> {
    path.parent().map(|it| if it.as_os_str().is_empty() { Path::new(".") } else { it })
}

impl SourceWatch {
    /// Begins to watch.
    pub(crate) fn begin(plan: Plan) -> io::Result<Self> {
        loaded::expect()?;
        let watch = Watch::new()?;
        let mut sources = Self {
            plan,
            watch,
            pending: None,
            loading_since: SystemTime::now(),
            gone: Vec::new(),
            has_complained: false,
        };
        sources.add_all();
        Ok(sources)
    }

    /// What is watched, but for modules that were loaded from elsewhere.
    pub(crate) fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Looks where workers have loaded modules from meanwhile. A source that has changed since the
    /// load began may have done so before it was watched.
    pub(crate) fn look_at_loaded(&mut self, now: Monotonic) {
        for directory in loaded::directories() {
            if self.watch.has(&directory) || !self.add(&directory) {
                continue;
            }
            if let Some(path) = self.changed_in(&directory) {
                self.note_source(path, now);
            }
        }
    }

    /// A source in a directory that was written to since the present load began.
    fn changed_in(&self, directory: &Path) -> Option<PathBuf> {
        let is_new = |path: &PathBuf| {
            let modified = fs::metadata(path).and_then(|it| it.modified());
            self.plan.has(path) && modified.is_ok_and(|modified| modified >= self.loading_since)
        };
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).find(is_new)
    }

    /// Looks what has changed. Gives when to look again, if nothing changes before, and whether
    /// the server is to be reloaded.
    pub(crate) fn attend(&mut self, now: Monotonic) -> (Option<Monotonic>, bool) {
        match self.watch.changes() {
            Ok(changes) => changes.into_iter().for_each(|change| self.note(change, now)),
            Err(error) => log::error!(error:%; "cannot tell which sources change"),
        }
        self.look_for_gone(now);
        let again = (!self.gone.is_empty()).then(|| now + QUIET);
        let Some(Pending { path, more, first, last }) = &self.pending else {
            return (again, false);
        };
        let due = (*last + QUIET).min(*first + PATIENCE);
        if now < due {
            return (Some(due), false);
        }
        log::info!(path:% = path.display(), more; "sources changed");
        self.pending = None;
        self.loading_since = SystemTime::now();
        (again, true)
    }

    /// Looks whether another directory has come in the place of one that is gone: nobody tells, as
    /// what is around it isn't watched.
    fn look_for_gone(&mut self, now: Monotonic) {
        let (back, gone) = std::mem::take(&mut self.gone).into_iter().partition(|it| it.is_dir());
        self.gone = gone;
        let back: Vec<PathBuf> = back;
        for directory in back {
            let found = if self.is_in_tree(&directory) {
                self.add_tree(&directory)
            } else {
                self.add(&directory);
                self.plan.extra.iter().find(|it| it.starts_with(&directory) && it.exists()).cloned()
            };
            if let Some(path) = found {
                self.note_source(path, now);
            }
        }
    }

    fn note(&mut self, change: Change, now: Monotonic) {
        let path = match change {
            Change::File(path) => self.plan.has(&path).then_some(path),
            Change::Directory(path) if is_foreign(&path) => None,
            Change::Directory(path) if self.is_in_tree(&path) => self.add_tree(&path),
            Change::Directory(_) => None,
            Change::Gone(path) => {
                if self.plan.begins_at(&path) && !self.gone.contains(&path) {
                    self.gone.push(path);
                }
                None
            }
            Change::Lost => {
                self.add_all();
                self.plan.trees.first().cloned()
            }
        };
        if let Some(path) = path {
            self.note_source(path, now);
        }
    }

    fn note_source(&mut self, path: PathBuf, now: Monotonic) {
        match &mut self.pending {
            Some(pending) => {
                pending.more += usize::from(pending.path != path);
                pending.last = now;
            }
            None => self.pending = Some(Pending { path, more: 0, first: now, last: now }),
        }
    }

    fn is_in_tree(&self, path: &Path) -> bool {
        self.plan.trees.iter().chain(&self.plan.extra).any(|tree| path.starts_with(tree))
    }

    fn add_all(&mut self) {
        let Plan { trees, extra } = self.plan.clone();
        for tree in trees {
            self.add_tree(&tree);
        }
        for path in extra {
            if path.is_dir() {
                self.add_tree(&path);
            } else if let Some(directory) = directory_of(&path)
                && !self.add(directory)
                && !self.gone.iter().any(|it| it == directory)
                && !directory.exists()
            {
                log::warn!(
                    "reload_extra_files: {}: its directory isn't there; it is watched once it is",
                    path.display()
                );
                self.gone.push(directory.to_owned());
            }
        }
    }

    /// Watches a directory and those in it. Gives a source that was found there.
    fn add_tree(&mut self, root: &Path) -> Option<PathBuf> {
        let mut found = None;
        let mut directories = vec![root.to_owned()];
        while let Some(directory) = directories.pop() {
            // First watched, then read: what is made in between is seen.
            if !self.add(&directory) {
                continue;
            }
            // It may be gone again, or not be ours to read.
            for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
                let path = entry.path();
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() && is_foreign(&path) => {}
                    Ok(kind) if kind.is_dir() => directories.push(path),
                    _ if found.is_none() && self.plan.has(&path) => found = Some(path),
                    _ => {}
                }
            }
        }
        found
    }

    fn add(&mut self, directory: &Path) -> bool {
        let added = match self.watch.len() {
            0..DIRECTORIES => self.watch.add(directory),
            _ => Err(io::Error::other("these are very many directories")),
        };
        match added {
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => {
                if !self.has_complained {
                    log::warn!(directory:% = directory.display(), error:%; "not all sources are watched");
                }
                self.has_complained = true;
                false
            }
            Ok(()) => true,
        }
    }
}

impl AsFd for SourceWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.watch.as_fd()
    }
}

/// Whether a directory holds no sources of the app's: it is hidden, or made by a tool, or is an
/// environment with packages (PEP 405).
fn is_foreign(directory: &Path) -> bool {
    let name = directory.file_name().and_then(OsStr::to_str).unwrap_or_default();
    name.starts_with('.') || FOREIGN.contains(&name) || directory.join("pyvenv.cfg").is_file()
}

#[cfg(test)]
mod tests;
