//! Where workers have loaded modules from: they know, the master watches.
//!
//! A worker tells once the app is loaded or has failed to.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyModule};

use crate::notes::Notes;

/// A directory a line.
static TOLD: Notes = Notes::new();

/// Has processes that are forked from now on tell.
pub(super) fn expect() -> io::Result<()> {
    TOLD.begin()
}

/// What was told since the last time.
pub(super) fn directories() -> Vec<PathBuf> {
    TOLD.take().lines().map(PathBuf::from).filter(|it| it.is_absolute()).collect()
}

/// Tells the master where modules were loaded from, and which code a `traceback` goes through: it
/// may be in a module that couldn't be loaded.
pub(crate) fn tell(py: Python<'_>, traceback: Option<&str>) {
    if !TOLD.are_wanted() {
        return;
    }
    let mut directories = traceback.map(mentioned).unwrap_or_default();
    match loaded(py) {
        Ok(loaded) => directories.extend(loaded),
        Err(error) => log::warn!(error:%; "cannot tell which modules are loaded"),
    }
    let lines: String = directories.iter().map(|it| format!("{}\n", it.display())).collect();
    TOLD.write(&lines);
}

/// The directories of the modules, but for those that came with the interpreter.
fn loaded(py: Python<'_>) -> PyResult<BTreeSet<PathBuf>> {
    let library: PathBuf = py.import("os")?.filename()?.extract()?;
    let library = library.parent().unwrap_or(Path::new("/")).to_owned();
    let modules = py.import("sys")?.getattr("modules")?.cast_into::<PyDict>()?;
    let mut directories = BTreeSet::new();
    for module in modules.values() {
        // Through its dictionary: a module's own __getattr__ may import others.
        let Ok(module) = module.cast::<PyModule>() else { continue };
        let Some(file) = module.dict().get_item("__file__")? else { continue };
        let Ok(file) = file.extract::<PathBuf>() else { continue };
        directories.extend(directory(&file));
    }
    // A system's packages may be below its library.
    let is_package =
        |it: &Path| it.iter().any(|part| part == "site-packages" || part == "dist-packages");
    directories.retain(|it| !it.starts_with(&library) || is_package(it));
    Ok(directories)
}

/// The directories of the files that a traceback names.
fn mentioned(traceback: &str) -> BTreeSet<PathBuf> {
    let files = traceback.lines().filter_map(|line| {
        let (file, _) = line.trim_start().strip_prefix("File \"")?.split_once('"')?;
        Some(PathBuf::from(file))
    });
    files.filter_map(|file| directory(&file)).collect()
}

/// The one name of a file's directory.
fn directory(file: &Path) -> Option<PathBuf> {
    // What has no directory on disk, such as a module in an archive or "<string>", isn't watched.
    let directory = file.parent().filter(|_| file.is_absolute())?.canonicalize().ok()?;
    (directory.is_dir() && directory.to_str().is_some_and(|it| !it.contains('\n')))
        .then_some(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceback_names_directories() {
        let traceback = "Traceback (most recent call last):\n  \
                         File \"<frozen importlib._bootstrap>\", line 1\n  \
                         File \"/etc/app.py\", line 3, in <module>\n    import x\n  \
                         File \"/usr/lib/../bin/x.py\", line 1\n  File \"/none/x.py\", line 2\n";
        let expected = ["/etc", "/usr/bin"].map(|it| Path::new(it).canonicalize().unwrap());
        assert_eq!(mentioned(traceback), BTreeSet::from(expected));
    }

    #[test]
    fn the_interpreter_s_own_modules_are_not_watched() {
        Python::initialize();
        Python::attach(|py| {
            let library: PathBuf = py.import("os").unwrap().filename().unwrap().extract().unwrap();
            let directory = tempfile::tempdir().unwrap();
            let file = directory.path().join("outside.py");
            std::fs::write(&file, "").unwrap();
            let module = PyModule::new(py, "outside").unwrap();
            module.setattr("__file__", file).unwrap();
            let modules = py.import("sys").unwrap().getattr("modules").unwrap();
            modules.set_item("outside", &module).unwrap();
            // A module may be anything, or be no module.
            modules.set_item("nothing", py.None()).unwrap();
            let loaded = loaded(py).unwrap();
            modules.del_item("outside").unwrap();
            modules.del_item("nothing").unwrap();
            assert!(loaded.contains(&directory.path().canonicalize().unwrap()));
            assert!(!loaded.contains(library.parent().unwrap()));
        });
    }
}
