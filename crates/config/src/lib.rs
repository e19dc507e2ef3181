#![forbid(unsafe_code)]
//! Settings of Ironhorn: read, checked, merged and immutable from then on.
//!
//! Every setting is defined once, in [`settings`](crate::Settings): its name, type, default, what is
//! allowed, its flag and its documentation. The command line, the YAML file, the environment,
//! `--help`, `--print-config` and `docs/settings.md` are all read from that one table.
//!
//! Precedence, low to high; a list replaces a list, nothing is merged:
//!
//! ```text
//! default < file < PORT and the like < IRONHORN_<SETTING> < IRONHORN_CMD_ARGS < command line
//! ```
//!
//! Invariant: a value that is given anywhere is checked, also when a higher source replaces it, and
//! nothing is ignored or clamped. The crate reads one file and the [`Sources`] it is handed; it never
//! prints, exits or looks at the process, so the master can call [`resolve`] again on SIGHUP. A file
//! that is Python is run by the [`Importer`] of the sources.
//!
//! ```
//! use ironhorn_config::{Sources, resolve};
//!
//! let directory = std::env::temp_dir().join("no-such-directory");
//! let sources = Sources {
//!     args: ["-w", "4", "shop.wsgi:app"].map(Into::into).to_vec(),
//!     environment: vec![("WEB_CONCURRENCY".into(), "2".into())],
//!     directory,
//!     importer: None,
//! };
//! let resolved = resolve(&sources).unwrap();
//! assert_eq!(resolved.settings.workers, 4);
//! assert_eq!(resolved.origin("workers").unwrap().to_string(), "command line");
//! ```

mod agreement;
mod apps;
mod args;
mod ctl;
mod definition;
mod environment;
mod error;
mod file;
mod import;
mod kind;
mod names;
mod origin;
mod print;
mod reference;
mod settings;
mod values;
mod words;
mod yaml;

use std::ffi::OsString;
use std::path::PathBuf;

pub use ctl::{Ctl, Request, Target};
pub use error::{ConfigError, ConfigErrors, Problem};
pub use import::{Imported, Importer, Place, PythonFile};
pub use kind::{
    AccessLogFormat, Bind, CertificateFiles, CipherSuite, ClientCertificates, Control,
    ForwardedFor, HeaderMap, LogFile, LogFormat, LogLevel, Protocol, ProxyProtocol, Symlinks,
    TlsVersion,
};
pub use origin::Origin;
pub use print::print_config;
pub use reference::reference;
pub use settings::{Invocation, Settings};

use definition::Setting;
use settings::{INVOCATION, SETTINGS};
use values::Values;

/// What settings are read from. Kept by the caller, so that a reload reads the same places again.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The command line without the program's name.
    pub args: Vec<OsString>,
    /// The environment as it was at start.
    pub environment: Vec<(OsString, OsString)>,
    /// The directory Ironhorn was started in, absolute: `ironhorn.yaml` and a relative `--config` are
    /// looked for there, after `chdir` too.
    pub directory: PathBuf,
    /// What reads a configuration file that is Python. Without it, one that is named is an error,
    /// and one that is just there is left alone.
    pub importer: Option<Importer>,
}

/// Settings, checked and complete, with where each one came from.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// How to serve.
    pub settings: Settings,
    /// What was asked of this invocation, other than to serve.
    pub invocation: Invocation,
    values: Values,
}

impl Resolved {
    /// Where the value of the setting `key` was given.
    pub fn origin(&self, key: &str) -> Option<&Origin> {
        self.values.get(key).map(|given| &given.origin)
    }

    /// What of the settings has no effect, and does no harm by that, a line each when displayed.
    pub fn warnings(&self) -> Vec<ConfigError> {
        agreement::warnings(&self.settings, &self.values)
    }

    /// Each setting's key with the origin of its value, in the order of the reference.
    pub fn origins(&self) -> impl Iterator<Item = (&'static str, &Origin)> {
        SETTINGS.iter().filter_map(|setting| Some((setting.key, self.origin(setting.key)?)))
    }
}

/// Why there are no settings to serve with.
#[derive(Clone, Debug)]
pub enum Stop {
    /// `--help` or `-h`: this text belongs on stdout, exit code 0.
    Help(String),
    /// `--version`: this text belongs on stdout, exit code 0.
    Version(String),
    /// Everything that is wrong: belongs on stderr, exit code 2.
    Errors(ConfigErrors),
}

/// Reads every source, checks all of it, and merges.
pub fn resolve(sources: &Sources) -> Result<Resolved, Stop> {
    let mut errors = Vec::new();
    let command_line = args::from_command_line(&sources.args, &mut errors)?;
    let arguments = args::from_variable(&sources.environment, &mut errors)?;
    let environment = environment::read(&sources.environment, &mut errors);
    // An option we do not know changes how everything after it is read, and -c may be in there:
    // what the file says would only be noise.
    let (Some(command_line), Some(arguments)) = (command_line, arguments) else {
        return Err(Stop::Errors(ConfigErrors::new(errors)));
    };

    let named = [&command_line, &arguments, &environment]
        .into_iter()
        .find_map(|source| source.get("config")?.items.first());
    let named = named.map(String::as_str);
    let file = file::read(&sources.directory, named, sources.importer.as_ref(), &mut errors);
    merge([file, environment, arguments, command_line], errors).map_err(Stop::Errors)
}

/// Reads settings from the text of a YAML file and from nowhere else; errors call the file `name`.
///
/// What [`print_config`] writes gives the same settings again.
pub fn resolve_text(text: &str, name: &str) -> Result<Resolved, ConfigErrors> {
    let mut errors = Vec::new();
    let file = file::settings(text, name, &mut errors);
    merge([file], errors)
}

/// Lets each source win over the ones before it, and all over the defaults.
fn merge(
    sources: impl IntoIterator<Item = Values>,
    mut errors: Vec<ConfigError>,
) -> Result<Resolved, ConfigErrors> {
    let mut values = Values::default();
    for setting in all_settings() {
        values.set(setting, setting.default_items(), Origin::Default);
    }
    for source in sources {
        values.replace_with(source);
    }
    // A file that can't be read may well name it.
    let explained = |error: &ConfigError| {
        matches!(error.key.as_str(), "app" | "mount" | "--mount")
            || matches!(error.problem, Problem::Unreadable(_) | Problem::Syntax(_))
    };
    if apps::are_missing(&values) && !errors.iter().any(explained) {
        errors.push(ConfigError::missing_app());
    }
    apps::check(&values, &mut errors);
    if !errors.is_empty() {
        return Err(ConfigErrors::new(errors));
    }
    let settings = Settings::from_values(&values);
    let errors = agreement::check(&settings, &values);
    if !errors.is_empty() {
        return Err(ConfigErrors::new(errors));
    }
    Ok(Resolved { settings, invocation: Invocation::from_values(&values), values })
}

/// What `ironhorn ctl` has to know of the settings: where the server of this start directory is
/// controlled from. A relative path is made absolute, as the server has it.
///
/// What else is wrong with the settings is no matter here: the command may be the one to find out
/// what the server says about it. The error is what keeps the file from being read at all.
pub fn resolve_control(sources: &Sources) -> (Control, Option<ConfigError>) {
    let mut errors = Vec::new();
    let arguments = args::from_variable(&sources.environment, &mut errors);
    let command_line = args::from_command_line(&sources.args, &mut errors);
    let [command_line, arguments] =
        [command_line, arguments].map(|read| read.ok().flatten().unwrap_or_default());
    let environment = environment::read(&sources.environment, &mut errors);
    let named = [&command_line, &arguments, &environment]
        .into_iter()
        .find_map(|source| source.get("config")?.items.first());
    let mut unreadable = Vec::new();
    let mut values = file::read(
        &sources.directory,
        named.map(String::as_str),
        sources.importer.as_ref(),
        &mut unreadable,
    );
    for source in [environment, arguments, command_line] {
        values.replace_with(source);
    }
    let item = |key: &str| values.get(key)?.items.first();
    let control = match item("control").map(String::as_str) {
        None | Some("auto") => Control::Auto,
        Some("none") => Control::None,
        Some(path) => {
            let chdir = item("chdir").map_or("", String::as_str);
            Control::Path(sources.directory.join(chdir).join(path))
        }
    };
    let whole =
        |error: &ConfigError| matches!(error.problem, Problem::Unreadable(_) | Problem::Syntax(_));
    (control, unreadable.into_iter().find(whole))
}

fn all_settings() -> impl Iterator<Item = &'static Setting> {
    SETTINGS.iter().chain(INVOCATION)
}
