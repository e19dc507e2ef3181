//! What can be wrong with settings, and how it is said.
//!
//! The messages are part of the interface: place, key, what was found, what is allowed.

use std::error::Error;
use std::fmt::{self, Write};

use crate::definition::Setting;
use crate::origin::Origin;

/// Everything that is wrong, a line each when displayed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(Vec<ConfigError>);

impl ConfigErrors {
    pub(crate) fn new(mut errors: Vec<ConfigError>) -> ConfigErrors {
        errors.sort_by_key(|error| match &error.origin {
            Origin::File { line, .. } => (0, *line),
            Origin::Imported(_) => (0, 0),
            Origin::Variable(_) => (1, 0),
            Origin::CommandArguments => (2, 0),
            Origin::CommandLine => (3, 0),
            // That there is no application, which only shows when all else is read.
            Origin::Default => (4, 0),
        });
        ConfigErrors(errors)
    }

    /// The single errors, in the order of precedence of their sources.
    pub fn iter(&self) -> impl Iterator<Item = &ConfigError> {
        self.0.iter()
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nr, error) in self.0.iter().enumerate() {
            let end_of_line = if nr == 0 { "" } else { "\n" };
            write!(f, "{end_of_line}{error}")?;
        }
        Ok(())
    }
}

impl Error for ConfigErrors {}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Where it is.
    pub origin: Origin,
    /// What it is about, as written there: a key or a flag. Empty if it is about the whole source.
    pub key: String,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a setting or a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// There is no such setting.
    Unknown {
        /// "setting", "variable" or "option".
        what: &'static str,
        /// The closest name that exists.
        similar: Option<String>,
    },
    /// Ironhorn will have it, or Gunicorn has it, but this version doesn't.
    Unsupported,
    /// The value isn't allowed.
    Value {
        /// The value as given.
        found: String,
        /// What is allowed.
        expected: String,
    },
    /// The value is allowed, and does nothing, for what others are.
    NoEffect {
        /// The value as given.
        found: String,
        /// What keeps it from having one, and what to do.
        why: &'static str,
    },
    /// The key is there twice.
    Duplicate {
        /// The line of the first one.
        line: usize,
    },
    /// No source names the application.
    MissingApp,
    /// The file can't be read.
    Unreadable(String),
    /// The source isn't written as it must be.
    Syntax(String),
}

impl ConfigError {
    pub(crate) fn at(setting: &Setting, origin: Origin, problem: Problem) -> ConfigError {
        let key = match origin {
            Origin::CommandArguments | Origin::CommandLine => setting.on_command_line(),
            Origin::Variable(_) | Origin::Imported(_) => String::new(),
            Origin::Default | Origin::File { .. } => setting.key.to_owned(),
        };
        ConfigError { origin, key, problem }
    }

    /// About a whole source.
    pub(crate) fn source(origin: Origin, problem: Problem) -> ConfigError {
        ConfigError { origin, key: String::new(), problem }
    }

    pub(crate) fn missing_app() -> ConfigError {
        ConfigError::source(Origin::Default, Problem::MissingApp)
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            // A flag says by itself that it is on the command line.
            Origin::CommandLine if !self.key.is_empty() => {}
            Origin::Default => {}
            // Line 0: the file as a whole.
            Origin::File { name, line: 0 } => write!(f, "{}: ", Line(name))?,
            origin => write!(f, "{}: ", Line(&origin.to_string()))?,
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", Line(&self.key))?;
        }
        self.problem.fmt(f)
    }
}

impl Error for ConfigError {}

/// A text of the user's as a part of a line: controls are escaped, so that it neither ends the line
/// nor moves the cursor of a terminal.
struct Line<'t>(&'t str);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|character| match character.is_control() {
            true => write!(f, "{}", character.escape_default()),
            false => f.write_char(character),
        })
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::Unknown { what, similar: None } => write!(f, "unknown {what}"),
            Problem::Unknown { what, similar: Some(similar) } => {
                write!(f, "unknown {what}, did you mean {similar:?}?")
            }
            Problem::Unsupported => f.write_str("not supported in this version"),
            Problem::Value { found, expected } => write!(f, "found {found}, expected {expected}"),
            Problem::NoEffect { found, why } => write!(f, "found {found}, no effect: {why}"),
            Problem::Duplicate { line } => write!(f, "given twice, first on line {line}"),
            Problem::MissingApp => f.write_str(
                "no application to serve: name it on the command line, \
                 as in \"ironhorn package.module:app\", or as \"app\" in ironhorn.yaml",
            ),
            Problem::Unreadable(why) => write!(f, "cannot read: {why}"),
            Problem::Syntax(why) => f.write_str(why),
        }
    }
}
