//! The importer of configuration files that are Python: a `gunicorn.conf.py` as a source of
//! settings, and of hooks besides.

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;

use ironhorn_config::{Imported, Importer, Origin, Place, PythonFile, Resolved};
use log::Level;
use pyo3::prelude::*;

/// A configuration file that was run.
pub(crate) struct Conf {
    /// The object that the hooks of the file are made from.
    pub(super) python: Py<PyAny>,
    pub(super) has_hooks: bool,
    file: PythonFile,
    warnings: Vec<String>,
}

/// What importing leaves besides settings: the file that was run last.
#[derive(Clone, Default)]
pub(crate) struct Confs(Rc<RefCell<Option<Conf>>>);

impl Confs {
    /// What runs the files, for the sources of the settings. `directory` is where the server was
    /// started.
    pub(crate) fn importer(&self, directory: &Path) -> Importer {
        let last = Rc::clone(&self.0);
        let directory = directory.to_owned();
        Importer::new(move |file| {
            last.take();
            let (conf, imported) = Python::attach(|py| read(py, file, &directory))?;
            last.replace(Some(conf));
            Ok(imported)
        })
    }

    /// The file that the settings were read from, if it was one.
    pub(crate) fn take(&self) -> Option<Conf> {
        self.0.take()
    }
}

impl Conf {
    /// What is to be said of the file: that it is read, and what of it has no effect, or another one
    /// than it would have with Gunicorn.
    pub(crate) fn lines(&self, resolved: &Resolved) -> Vec<(Level, String)> {
        let name = &self.file.name;
        let unnamed = self.file.is_default.then(|| {
            let line = format!("settings are read from {name}, as there is no ironhorn.yaml");
            (Level::Info, line)
        });
        let overridden = [
            ("bind", "PORT"),
            ("workers", "WEB_CONCURRENCY"),
            ("forwarded_allow_ips", "FORWARDED_ALLOW_IPS"),
        ];
        let overridden = overridden.into_iter().filter_map(|(key, variable)| {
            let is_it = matches!(resolved.origin(key)?, Origin::Variable(name) if name == variable);
            let line = format!(
                "{name}: {key}: the variable {variable} wins over the file, unlike with Gunicorn"
            );
            (is_it && self.sets(key)).then_some(line)
        });
        let warnings = self.warnings.iter().cloned().chain(overridden);
        unnamed.into_iter().chain(warnings.map(|line| (Level::Warn, line))).collect()
    }

    fn sets(&self, key: &str) -> bool {
        Python::attach(|py| {
            let given = self.python.bind(py).getattr("given");
            given.and_then(|given| given.contains(key)).unwrap_or(false)
        })
    }
}

fn read(
    py: Python<'_>,
    file: &PythonFile,
    directory: &Path,
) -> Result<(Conf, Vec<Imported>), String> {
    let run = || -> PyResult<_> {
        let path = match &file.place {
            Place::File(path) => Some(path),
            Place::Module(_) => None,
        };
        let module = py.import("ironhorn._gunicorn")?;
        let python = module.call_method1("read", (&file.name, path, directory))?;
        let settings: Vec<(String, Vec<String>, String)> = python.getattr("settings")?.extract()?;
        let conf = Conf {
            has_hooks: python.getattr("hooks")?.is_truthy()?,
            warnings: python.getattr("warnings")?.extract()?,
            file: file.clone(),
            python: python.unbind(),
        };
        let imported = settings.into_iter();
        let imported = imported.map(|(key, texts, origin)| Imported { key, texts, origin });
        Ok((conf, imported.collect()))
    };
    run().map_err(|error| error.value(py).to_string())
}
