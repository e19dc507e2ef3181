//! Where a value was given.

use std::fmt;

/// Where a value was given, from the lowest precedence to the highest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nowhere: it is the default.
    Default,
    /// In the YAML file.
    File {
        /// The file as it was named.
        name: String,
        /// The line of the key, from 1.
        line: usize,
    },
    /// In a file that was imported, at a place in its own words: "gunicorn.conf.py: max_requests".
    Imported(String),
    /// In this environment variable.
    Variable(String),
    /// In `IRONHORN_CMD_ARGS`.
    CommandArguments,
    /// On the command line.
    CommandLine,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File { name, line } => write!(f, "{name}:{line}"),
            Origin::Imported(place) => f.write_str(place),
            Origin::Variable(name) => f.write_str(name),
            Origin::CommandArguments => f.write_str(crate::environment::COMMAND_ARGUMENTS),
            Origin::CommandLine => f.write_str("command line"),
        }
    }
}
