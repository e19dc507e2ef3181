//! Settings from environment variables.
//!
//! `PORT`, `WEB_CONCURRENCY` and `FORWARDED_ALLOW_IPS` are what hosting platforms set; `IRONHORN_<SETTING>` is ours and wins
//! over them. A variable that begins with `IRONHORN_` and sets nothing is refused: a misspelt one
//! would otherwise be ignored.

use std::ffi::{OsStr, OsString};

use crate::all_settings;
use crate::definition::Setting;
use crate::error::{ConfigError, Problem};
use crate::kind::{Form, Kind, Whole};
use crate::names;
use crate::origin::Origin;
use crate::values::Values;
use crate::words;

/// More of the command line, read by [`crate::args`].
pub(crate) const COMMAND_ARGUMENTS: &str = "IRONHORN_CMD_ARGS";

const PREFIX: &str = "IRONHORN_";

/// Variables of ours that are no settings: log levels by module, the seed of simulations, and what
/// a master tells the one that takes over from it.
const OTHERS: &[&str] = &[
    COMMAND_ARGUMENTS,
    "IRONHORN_LOG",
    "IRONHORN_SIM_SEED",
    "IRONHORN_LISTENERS",
    "IRONHORN_MASTER",
];

/// What Kubernetes sets in every pod next to a service named "ironhorn", besides `IRONHORN_PORT`.
const SERVICE: &[&str] = &["IRONHORN_SERVICE_HOST", "IRONHORN_SERVICE_PORT", "IRONHORN_PORT_"];

/// Reads the variables that set something, and says which are wrong.
pub(crate) fn read(environment: &[(OsString, OsString)], errors: &mut Vec<ConfigError>) -> Values {
    let mut platform = Values::default();
    let mut ours = Values::default();
    for (name, value) in environment {
        // No name that we look for has other characters.
        let Some(name) = name.to_str() else { continue };
        match name {
            "PORT" => port(value, &mut platform, errors),
            "WEB_CONCURRENCY" | "FORWARDED_ALLOW_IPS" => {
                let key = if name == "WEB_CONCURRENCY" { "workers" } else { "forwarded_allow_ips" };
                let setting = names::in_file(key).expect("invariant: it is defined");
                set(setting, name, value, &mut platform, errors);
            }
            _ if OTHERS.contains(&name) || is_service(name, value) => {}
            _ if name.starts_with(PREFIX) => match by_variable(name) {
                Some(setting) => set(setting, name, value, &mut ours, errors),
                None => {
                    let origin = Origin::Variable(name.to_owned());
                    errors.push(ConfigError::source(origin, names::unknown_variable(name)));
                }
            },
            _ => {}
        }
    }
    platform.replace_with(ours);
    platform
}

/// The last value of the variable `name`.
pub(crate) fn variable<'e>(
    environment: &'e [(OsString, OsString)],
    name: &str,
) -> Option<&'e OsStr> {
    environment.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_os_str())
}

fn is_service(name: &str, value: &OsStr) -> bool {
    // "tcp://10.0.0.1:80": anything else is from somebody who takes it for a setting.
    let is_url = || value.to_str().is_some_and(|value| value.contains("://"));
    SERVICE.iter().any(|prefix| name.starts_with(prefix)) || (name == "IRONHORN_PORT" && is_url())
}

fn by_variable(name: &str) -> Option<&'static Setting> {
    all_settings().find(|setting| setting.variable().as_deref() == Some(name))
}

fn set(
    setting: &'static Setting,
    name: &str,
    value: &OsStr,
    values: &mut Values,
    errors: &mut Vec<ConfigError>,
) {
    let origin = Origin::Variable(name.to_owned());
    let Some(text) = value.to_str() else {
        errors.push(ConfigError::value(setting, origin, not_unicode(value)));
        return;
    };
    match items(setting.shape.form(), text) {
        Ok(items) => values.set_checked(setting, items, origin, errors),
        Err(problem) => errors.push(ConfigError::source(origin, problem)),
    }
}

/// The items of a value that is given as one text.
fn items(form: Form, text: &str) -> Result<Vec<String>, Problem> {
    match form {
        Form::Pairs(_) => words::split(text).map_err(unended),
        form => Ok(form.split(text)),
    }
}

pub(crate) fn unended(quote: char) -> Problem {
    Problem::Syntax(match quote {
        '\\' => "ends in a backslash that escapes nothing".to_owned(),
        quote => format!("the quote {quote} is not closed"),
    })
}

pub(crate) fn not_unicode(value: &OsStr) -> String {
    format!("{value:?}, which is not UTF-8")
}

fn port(value: &OsStr, values: &mut Values, errors: &mut Vec<ConfigError>) {
    let origin = Origin::Variable("PORT".to_owned());
    let kind = Whole { min: 1, max: u16::MAX };
    match value.to_str().and_then(|text| kind.parse(text)) {
        Some(port) => {
            let bind = names::in_file("bind").expect("invariant: it is defined");
            values.set_checked(bind, vec![format!("0.0.0.0:{port}")], origin, errors);
        }
        None => {
            let problem = Problem::Value { found: format!("{value:?}"), expected: kind.allowed() };
            errors.push(ConfigError::source(origin, problem));
        }
    }
}
