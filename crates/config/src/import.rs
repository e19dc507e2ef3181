//! Settings from a configuration file that is Python, such as a gunicorn.conf.py.
//!
//! To read one is to run it, which is for whoever has an interpreter: the [`Importer`] that the
//! sources bring. What it yields are texts like those of every other source, so they are checked by
//! the same parsers; only their origin is said in the words of the file.

use std::fmt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::error::{ConfigError, Problem};
use crate::names;
use crate::origin::Origin;
use crate::values::Values;

/// Read from the start directory if no file is named and there is no ironhorn.yaml.
const DEFAULT_FILE: &str = "gunicorn.conf.py";

/// A configuration file that is Python.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PythonFile {
    /// What it is called in messages: as it was named, without `file:` or `python:`.
    pub name: String,
    /// Where it is.
    pub place: Place,
    /// Whether nobody named it: it is there.
    pub is_default: bool,
}

/// Where a configuration file that is Python is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// At this path.
    File(PathBuf),
    /// On `sys.path`, under this name.
    Module(String),
}

/// One setting that such a file sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// The key of the setting, ours.
    pub key: String,
    /// Its value as texts, as it would be written elsewhere: one for most settings, several for a
    /// list, none to unset it.
    pub texts: Vec<String>,
    /// Where it was set, for messages: "gunicorn.conf.py: max_requests".
    pub origin: String,
}

/// Runs such a file; the error says why it couldn't be, without naming it.
type Import = dyn Fn(&PythonFile) -> Result<Vec<Imported>, String>;

/// What reads configuration files that are Python.
#[derive(Clone)]
pub struct Importer(Rc<Import>);

impl Importer {
    /// An importer that calls `import` for each file that is read.
    pub fn new(import: impl Fn(&PythonFile) -> Result<Vec<Imported>, String> + 'static) -> Self {
        Self(Rc::new(import))
    }

    /// Takes the settings from `file`.
    pub(crate) fn read(&self, file: &PythonFile, errors: &mut Vec<ConfigError>) -> Values {
        let mut values = Values::default();
        let imported = match (self.0)(file) {
            Ok(imported) => imported,
            Err(why) => {
                errors.push(ConfigError::source(whole(file), Problem::Syntax(why)));
                return values;
            }
        };
        for Imported { key, texts, origin } in imported {
            let origin = Origin::Imported(origin);
            match names::in_file(&key) {
                Some(setting) => values.set_checked(setting, texts, origin, errors),
                None => {
                    let problem = names::unknown_key(&key);
                    errors.push(ConfigError { origin, key, problem });
                }
            }
        }
        values
    }
}

impl fmt::Debug for Importer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Importer")
    }
}

impl PythonFile {
    /// The file that the setting `config` names, if it is one of Python.
    pub(crate) fn named(directory: &Path, config: &str) -> Option<Self> {
        let (name, place) = match config.split_once(':') {
            Some(("python", module)) => (module, Place::Module(module.to_owned())),
            Some(("file", path)) if !is_yaml(path) => (path, Place::File(directory.join(path))),
            _ if config.ends_with(".py") => (config, Place::File(directory.join(config))),
            _ => return None,
        };
        Some(Self { name: name.to_owned(), place, is_default: false })
    }

    /// The file that is read although nobody named it, if it is there.
    pub(crate) fn default_in(directory: &Path) -> Option<Self> {
        let path = directory.join(DEFAULT_FILE);
        path.is_file().then(|| Self {
            name: DEFAULT_FILE.to_owned(),
            place: Place::File(path),
            is_default: true,
        })
    }
}

/// What `config` names, if that is a YAML file.
pub(crate) fn yaml_name(config: &str) -> &str {
    config.strip_prefix("file:").filter(|path| is_yaml(path)).unwrap_or(config)
}

fn is_yaml(path: &str) -> bool {
    path.ends_with(".yaml") || path.ends_with(".yml")
}

/// What an error about the whole of `file` is said to be about.
pub(crate) fn whole(file: &PythonFile) -> Origin {
    Origin::File { name: file.name.clone(), line: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn python_is_told_by_its_name() {
        let named = |config: &str| PythonFile::named(Path::new("/srv"), config);
        let place = |config: &str| named(config).map(|file| (file.name, file.place));
        let file = |name: &str, path: &str| Some((name.to_owned(), Place::File(path.into())));
        assert_eq!(place("conf.py"), file("conf.py", "/srv/conf.py"));
        assert_eq!(place("/etc/conf.py"), file("/etc/conf.py", "/etc/conf.py"));
        assert_eq!(place("file:conf"), file("conf", "/srv/conf"));
        let module = Some(("a.b".to_owned(), Place::Module("a.b".to_owned())));
        assert_eq!(place("python:a.b"), module);
        for yaml in ["ironhorn.yaml", "conf", "a:b", "py", "conf.pyc", "file:a.yaml"] {
            assert_eq!(named(yaml), None, "{yaml}");
        }
        assert_eq!((yaml_name("file:a.yaml"), yaml_name("a:b.yml")), ("a.yaml", "a:b.yml"));
    }
}
