//! Static files: requests that the loop answers from a directory, without the app.
//!
//! ```text
//!  path ─► resolve ─► look_up ─► encoding ─► conditional ─► range ─► head, file
//!             │          │                        │
//!             └──────────┴── nothing there: 404   └── 304, 412, 416
//!                            or the app's turn
//! ```
//!
//! As with the health check, the app isn't asked and such a request isn't counted as one of its
//! own. Files are opened for each request: what is replaced on the disk is served from then on. The
//! loop waits for the disk when what it reads isn't in memory.

mod caching;
mod conditional;
mod content_type;
mod encoding;
mod find;
mod range;
mod resolve;
mod serve;

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ironhorn_unix::{Directory, Symlinks, is_directory};

use caching::Pattern;
pub(crate) use serve::StaticAnswer;

/// What is served from where, and how.
#[derive(Clone, Debug, Default)]
pub struct StaticOptions {
    /// Prefixes of paths, decoded and without a slash at their end, and the directory or file that
    /// each stands for. The longest that fits counts.
    pub maps: Vec<(String, PathBuf)>,
    /// What is served for a directory: the first of these files that is in it.
    pub index: Vec<String>,
    /// Patterns of names and the Cache-Control of files that match; the first that does counts.
    pub cache: Vec<(String, String)>,
    /// Which symbolic links are followed.
    pub symlinks: Symlinks,
    /// Whether the app is asked for what isn't there.
    pub fallthrough: bool,
}

/// The open directories of a worker.
#[derive(Debug)]
pub struct StaticFiles {
    /// Of each map, in the order in which they count.
    prefixes: Vec<Vec<u8>>,
    /// As many, in the same order.
    places: Vec<Place>,
    index: Vec<Vec<u8>>,
    cache: Vec<(Pattern, Arc<str>)>,
    fallthrough: bool,
}

/// What a prefix stands for.
#[derive(Debug)]
struct Place {
    directory: Directory,
    /// The only file that is served of it.
    file: Option<OsString>,
}

impl StaticFiles {
    /// Opens the directories; relative paths start in the current one. `None`: there are none.
    ///
    /// # Errors
    /// One of them can't be opened.
    pub fn open(options: &StaticOptions) -> Result<Option<Self>, StaticError> {
        let mut maps: Vec<_> = options.maps.iter().collect();
        if maps.is_empty() {
            return Ok(None);
        }
        maps.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        let mut files = Self {
            prefixes: Vec::new(),
            places: Vec::new(),
            index: options.index.iter().map(|name| name.clone().into_bytes()).collect(),
            cache: options
                .cache
                .iter()
                .map(|(pattern, value)| (Pattern::parse(pattern), Arc::from(value.as_str())))
                .collect(),
            fallthrough: options.fallthrough,
        };
        for (prefix, path) in maps {
            let place = Place::open(path, options.symlinks).map_err(|error| StaticError {
                prefix: prefix.clone(),
                path: path.clone(),
                error,
            })?;
            files.prefixes.push(prefix.clone().into_bytes());
            files.places.push(place);
        }
        Ok(Some(files))
    }
}

impl Place {
    fn open(path: &Path, symlinks: Symlinks) -> io::Result<Self> {
        if is_directory(path)? {
            return Ok(Self { directory: Directory::open(path, symlinks)?, file: None });
        }
        // Found again by its name each time, so that it can be replaced.
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let directory = Directory::open(parent.unwrap_or(Path::new(".")), symlinks)?;
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        Ok(Self { directory, file: Some(name.to_owned()) })
    }

    /// The name to look for below the directory. `None`: nothing is below a file.
    fn name(&self, below: &[u8], is_directory: bool) -> Option<OsString> {
        match &self.file {
            None if below.is_empty() => Some(".".into()),
            None => Some(OsString::from_vec(below.to_vec())),
            Some(name) => (below.is_empty() && !is_directory).then(|| name.clone()),
        }
    }
}

/// A directory or file can't be opened.
#[derive(Debug)]
pub struct StaticError {
    /// The prefix that stands for it.
    pub prefix: String,
    /// Where it should be.
    pub path: PathBuf,
    /// Why it can't be opened.
    pub error: io::Error,
}

impl fmt::Display for StaticError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = if self.prefix.is_empty() { "/" } else { &self.prefix };
        write!(f, "cannot serve {prefix} from {}: {}", self.path.display(), self.error)
    }
}

impl std::error::Error for StaticError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}
