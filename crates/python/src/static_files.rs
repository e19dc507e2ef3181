//! The settings for static files, as the worker takes them.

use ironhorn_config::{Resolved, Settings, Symlinks};
use ironhorn_worker::{StaticError, StaticFiles, StaticOptions};

/// Opens what is to be served. `None`: nothing is.
pub(crate) fn open(settings: &Settings) -> Result<Option<StaticFiles>, StaticError> {
    StaticFiles::open(&options(settings))
}

/// Opens what is left of it, for a worker whose generation has served before: what has gone since
/// stops no replacement.
pub(crate) fn open_what_is_left(settings: &Settings) -> Option<StaticFiles> {
    let mut options = options(settings);
    loop {
        match StaticFiles::open(&options) {
            Ok(files) => return files,
            Err(error) => {
                log::error!("{error}; until a reload, the application answers there");
                options.maps.retain(|(prefix, _)| *prefix != error.prefix);
            }
        }
    }
}

fn options(settings: &Settings) -> StaticOptions {
    StaticOptions {
        maps: settings.r#static.clone(),
        index: settings.static_index.clone(),
        cache: settings.static_cache.clone(),
        symlinks: match settings.static_symlinks {
            Symlinks::Never => ironhorn_unix::Symlinks::Never,
            Symlinks::Inside => ironhorn_unix::Symlinks::Inside,
            Symlinks::Follow => ironhorn_unix::Symlinks::Follow,
        },
        fallthrough: settings.static_fallthrough,
    }
}

/// Whether all of it is there; the error says which setting names what isn't.
pub(crate) fn check(resolved: &Resolved) -> Result<(), String> {
    let opened = open(&resolved.settings);
    opened.map(drop).map_err(|error| match resolved.origin("static") {
        Some(origin) => format!("{origin}: static: {error}"),
        None => error.to_string(),
    })
}
