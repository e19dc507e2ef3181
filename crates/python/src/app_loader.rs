//! Finds the app: imports its module and follows the rest of what was typed.
//!
//! What is missing is told apart from what is broken, since the exit codes differ: a module, a name
//! or a callable that isn't there is a mistake in the command line; an exception on the way is one
//! in the app, and its traceback is what its author needs.

mod spec;

use std::fmt;
use std::path::Path;

use pyo3::exceptions::{PyModuleNotFoundError, PySyntaxError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};

use crate::traceback;
use spec::{Spec, Target};

/// What the app is called in a module if APP names none: PEP 3333's own example first, as with
/// other servers, then what the frameworks' tutorials say.
const DEFAULT_NAMES: [&str; 2] = ["application", "app"];

/// Puts the working directory first on `sys.path`, then the entries of the setting `pythonpath`.
pub(crate) fn extend_path<P: AsRef<Path>>(
    py: Python<'_>,
    directory: &Path,
    pythonpath: &[P],
) -> PyResult<()> {
    let path = py.import("sys")?.getattr("path")?.cast_into::<PyList>()?;
    let wanted = pythonpath.iter().map(AsRef::as_ref).rev().chain([directory]);
    for entry in wanted {
        let entry = entry.as_os_str().into_pyobject(py)?;
        // Else it could stand behind an entry that it has to go before.
        while path.contains(&entry)? {
            path.call_method1("remove", (&entry,))?;
        }
        path.insert(0, entry)?;
    }
    Ok(())
}

/// Loads the app that `text` names.
pub(crate) fn load<'py>(py: Python<'py>, text: &str) -> Result<Bound<'py, PyAny>, LoadError> {
    let spec = Spec::parse(text)
        .map_err(|error| LoadError::Spec { spec: text.to_owned(), reason: error.to_string() })?;
    let module = import(py, spec.module)?;
    let app = match &spec.target {
        Some(target) => {
            let found = follow(&module, &spec, target)?;
            match target.arguments {
                Some(arguments) => call(&found, text, arguments)?,
                None => found,
            }
        }
        None => default_app(&module, spec.module)?,
    };
    if app.is_callable() {
        Ok(app)
    } else {
        let found = app.get_type().name().map_or_else(|_| String::new(), |name| name.to_string());
        Err(LoadError::NotCallable { spec: text.to_owned(), found })
    }
}

fn import<'py>(py: Python<'py>, module: &str) -> Result<Bound<'py, PyAny>, LoadError> {
    let imported =
        py.import("importlib").and_then(|it| it.call_method1("import_module", (module,)));
    imported.map_err(|error| {
        if is_missing(py, &error, module) {
            LoadError::ModuleMissing {
                module: module.to_owned(),
                reason: error.value(py).to_string(),
            }
        } else {
            LoadError::broken(py, &error, format!("importing {module}"))
        }
    })
}

/// Whether the module itself, or a package that it is said to be in, isn't there. A module that
/// *it* imports and that isn't there is something else.
fn is_missing(py: Python<'_>, error: &PyErr, module: &str) -> bool {
    if !error.is_instance_of::<PyModuleNotFoundError>(py) {
        return false;
    }
    let missing = error.value(py).getattr("name").and_then(|name| name.extract::<String>());
    missing.is_ok_and(|missing| {
        module
            .strip_prefix(missing.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    })
}

fn follow<'py>(
    module: &Bound<'py, PyAny>,
    spec: &Spec<'_>,
    target: &Target<'_>,
) -> Result<Bound<'py, PyAny>, LoadError> {
    let py = module.py();
    let mut found = module.clone();
    let mut place = spec.module.to_owned();
    for name in &target.path {
        let next = found
            .getattr_opt(name)
            .map_err(|error| LoadError::broken(py, &error, format!("getting {place}.{name}")))?;
        found = next.ok_or_else(|| LoadError::NameMissing {
            place: place.clone(),
            name: (*name).to_owned(),
            similar: similar(&found, name),
        })?;
        place = format!("{place}.{name}");
    }
    Ok(found)
}

fn default_app<'py>(
    module: &Bound<'py, PyAny>,
    name: &str,
) -> Result<Bound<'py, PyAny>, LoadError> {
    for default in DEFAULT_NAMES {
        match module.getattr_opt(default) {
            Ok(Some(app)) => return Ok(app),
            Ok(None) => {}
            Err(error) => {
                let doing = format!("getting {name}.{default}");
                return Err(LoadError::broken(module.py(), &error, doing));
            }
        }
    }
    Err(LoadError::NoDefault { module: name.to_owned() })
}

/// Names that the one which isn't there may have been meant for.
fn similar(object: &Bound<'_, PyAny>, name: &str) -> Option<String> {
    let close = object
        .py()
        .import("difflib")
        .and_then(|difflib| difflib.call_method1("get_close_matches", (name, object.dir()?, 1)));
    close.ok()?.extract::<Vec<String>>().ok()?.pop()
}

fn call<'py>(
    factory: &Bound<'py, PyAny>,
    text: &str,
    arguments: &str,
) -> Result<Bound<'py, PyAny>, LoadError> {
    let py = factory.py();
    let (positional, keywords) = literals(py, arguments).map_err(|error| {
        let is_ours =
            error.is_instance_of::<PySyntaxError>(py) || error.is_instance_of::<PyValueError>(py);
        if is_ours {
            let reason = "the arguments of a factory are Python literals";
            LoadError::Spec { spec: text.to_owned(), reason: reason.to_owned() }
        } else {
            LoadError::broken(py, &error, format!("reading {text}"))
        }
    })?;
    if !factory.is_callable() {
        let found =
            factory.get_type().name().map_or_else(|_| String::new(), |name| name.to_string());
        return Err(LoadError::NotCallable { spec: text.to_owned(), found });
    }
    factory
        .call(positional, Some(&keywords))
        .map_err(|error| LoadError::broken(py, &error, format!("calling {text}")))
}

/// Reads the source of call arguments, without running any of it.
fn literals<'py>(
    py: Python<'py>,
    arguments: &str,
) -> PyResult<(Bound<'py, PyTuple>, Bound<'py, PyDict>)> {
    let ast = py.import("ast")?;
    let tree = ast.call_method1("parse", (format!("f({arguments})"), "<app>", "eval"))?;
    let call = tree.getattr("body")?;
    // Else the text closed the parenthesis itself and went on.
    if !call.is_instance(&ast.getattr("Call")?)?
        || !call.getattr("func")?.is_instance(&ast.getattr("Name")?)?
    {
        return Err(PyValueError::new_err("not one call"));
    }
    let positional: Vec<_> = call
        .getattr("args")?
        .try_iter()?
        .map(|argument| ast.call_method1("literal_eval", (argument?,)))
        .collect::<PyResult<_>>()?;
    let keywords = PyDict::new(py);
    for keyword in call.getattr("keywords")?.try_iter()? {
        let keyword = keyword?;
        let name = keyword.getattr("arg")?;
        if name.is_none() {
            return Err(PyValueError::new_err("no ** here"));
        }
        keywords.set_item(name, ast.call_method1("literal_eval", (keyword.getattr("value")?,))?)?;
    }
    Ok((PyTuple::new(py, positional)?, keywords))
}

/// Why there is no app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LoadError {
    /// What was typed is no app's place.
    Spec {
        /// What was typed.
        spec: String,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no such module.
    ModuleMissing {
        /// Its name.
        module: String,
        /// Python's words.
        reason: String,
    },
    /// The module has no such name, or the object no such attribute.
    NameMissing {
        /// Where it was looked for.
        place: String,
        /// What was looked for.
        name: String,
        /// What is there and looks alike.
        similar: Option<String>,
    },
    /// No name was given and the module has none of the usual.
    NoDefault {
        /// Its name.
        module: String,
    },
    /// There is something, but no app.
    NotCallable {
        /// What was typed.
        spec: String,
        /// The type of what is there.
        found: String,
    },
    /// What was said of an app that is to be mounted.
    Mounted {
        /// The prefix of its paths.
        prefix: String,
        /// What is wrong with it.
        error: Box<LoadError>,
    },
    /// The app's code raised an exception.
    Broken {
        /// What was being done, such as "importing mysite.wsgi".
        doing: String,
        /// The exception's last line.
        error: String,
        /// All of it.
        traceback: String,
    },
}

impl LoadError {
    fn broken(py: Python<'_>, error: &PyErr, doing: String) -> Self {
        Self::Broken { doing, error: error.to_string(), traceback: traceback::render(py, error) }
    }

    /// Also says where the app is to be mounted, unless it answers all paths.
    pub(crate) fn mounted_at(self, prefix: &str) -> Self {
        match prefix {
            "" => self,
            _ => Self::Mounted { prefix: prefix.to_owned(), error: Box::new(self) },
        }
    }

    /// Whether the app is not there, rather than there and broken.
    pub(crate) fn is_not_found(&self) -> bool {
        match self {
            Self::Broken { .. } => false,
            Self::Mounted { error, .. } => error.is_not_found(),
            _ => true,
        }
    }

    /// The traceback of an app that is broken.
    pub(crate) fn traceback(&self) -> Option<&str> {
        match self {
            Self::Broken { traceback, .. } => Some(traceback),
            Self::Mounted { error, .. } => error.traceback(),
            _ => None,
        }
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Spec { spec, reason } => write!(f, "cannot find the app {spec:?}: {reason}"),
            Self::ModuleMissing { module, reason } => {
                write!(f, "cannot find the module {module}: {reason}")
            }
            Self::NameMissing { place, name, similar } => {
                write!(f, "cannot find {name} in {place}")?;
                match similar {
                    Some(similar) => write!(f, ": did you mean {similar}?"),
                    None => Ok(()),
                }
            }
            Self::NoDefault { module } => {
                let [first, second] = DEFAULT_NAMES;
                write!(
                    f,
                    "cannot find {first} or {second} in {module}: name it, as in {module}:name"
                )
            }
            Self::NotCallable { spec, found } => {
                write!(f, "the app {spec} is not callable: it is of type {found}")
            }
            Self::Mounted { prefix, error } => write!(f, "mount {prefix}: {error}"),
            Self::Broken { doing, error, .. } => write!(f, "{doing} failed: {error}"),
        }
    }
}

impl std::error::Error for LoadError {}

#[cfg(test)]
mod tests;
