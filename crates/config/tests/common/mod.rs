//! Sources made of a few texts, and what comes of them.

use std::fs;

use ironhorn_config::{Resolved, Sources, Stop, resolve};
use tempfile::TempDir;

/// A start directory, with `ironhorn.yaml` if there is one, and the other sources.
pub(crate) struct Start {
    pub(crate) directory: TempDir,
    pub(crate) sources: Sources,
}

impl Start {
    pub(crate) fn new(yaml: Option<&str>, environment: &[(&str, &str)], args: &[&str]) -> Start {
        let directory = TempDir::new().expect("a temporary directory");
        if let Some(yaml) = yaml {
            fs::write(directory.path().join("ironhorn.yaml"), yaml).expect("a file in it");
        }
        let sources = Sources {
            args: args.iter().map(Into::into).collect(),
            environment: environment.iter().map(|&(k, v)| (k.into(), v.into())).collect(),
            directory: directory.path().to_owned(),
            importer: None,
        };
        Start { directory, sources }
    }

    pub(crate) fn resolve(&self) -> Result<Resolved, Stop> {
        resolve(&self.sources)
    }

    /// The settings, which must be right.
    #[track_caller]
    pub(crate) fn resolved(&self) -> Resolved {
        match self.resolve() {
            Ok(resolved) => resolved,
            Err(Stop::Errors(errors)) => panic!("{errors}"),
            Err(other) => panic!("{other:?}"),
        }
    }

    /// The errors, a line each.
    #[track_caller]
    pub(crate) fn errors(&self) -> String {
        match self.resolve() {
            Err(Stop::Errors(errors)) => errors.to_string(),
            other => panic!("{other:?}"),
        }
    }
}
