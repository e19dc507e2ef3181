//! The command line, and `IRONHORN_CMD_ARGS`, which is more of it.
//!
//! clap takes it apart and writes the help; values are read by the same parsers as everywhere else.
//! The last of several flags wins, as in Gunicorn, unless it makes a list.

use std::ffi::OsString;

use clap::builder::ValueParser;
use clap::error::{ContextKind, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::definition::{Reach, Setting};
use crate::environment::{self, COMMAND_ARGUMENTS, not_unicode, unended};
use crate::error::{ConfigError, Problem};
use crate::kind::Form;
use crate::names;
use crate::origin::Origin;
use crate::values::Values;
use crate::{SETTINGS, Stop, all_settings, words};

/// Reads the command line. `None`: it isn't understood, and nothing after it can be.
pub(crate) fn from_command_line(
    args: &[OsString],
    errors: &mut Vec<ConfigError>,
) -> Result<Option<Values>, Stop> {
    parse(args, &Origin::CommandLine, errors)
}

/// Reads `IRONHORN_CMD_ARGS`.
pub(crate) fn from_variable(
    environment: &[(OsString, OsString)],
    errors: &mut Vec<ConfigError>,
) -> Result<Option<Values>, Stop> {
    let Some(value) = environment::variable(environment, COMMAND_ARGUMENTS) else {
        return Ok(Some(Values::default()));
    };
    let words = match value.to_str() {
        Some(text) => words::split(text).map_err(unended),
        None => Err(Problem::Syntax(format!("found {}", not_unicode(value)))),
    };
    match words {
        Ok(words) => {
            let args: Vec<_> = words.into_iter().map(OsString::from).collect();
            parse(&args, &Origin::CommandArguments, errors)
        }
        Err(problem) => {
            errors.push(ConfigError::source(Origin::CommandArguments, problem));
            Ok(None)
        }
    }
}

fn parse(
    args: &[OsString],
    origin: &Origin,
    errors: &mut Vec<ConfigError>,
) -> Result<Option<Values>, Stop> {
    match command().try_get_matches_from(attach_values(args)) {
        Ok(matches) => Ok(Some(values(&matches, origin, errors))),
        Err(error) => match error.kind() {
            ErrorKind::DisplayHelp => Err(Stop::Help(error.render().to_string())),
            ErrorKind::DisplayVersion => Err(Stop::Version(error.render().to_string())),
            _ => {
                errors.push(not_understood(&error, origin.clone()));
                Ok(None)
            }
        },
    }
}

fn values(matches: &ArgMatches, origin: &Origin, errors: &mut Vec<ConfigError>) -> Values {
    let mut values = Values::default();
    for setting in all_settings() {
        let Some(texts) = matches.get_many::<OsString>(setting.key) else { continue };
        let form = setting.shape.form();
        let mut items = Vec::new();
        let mut readable = true;
        for text in texts {
            match text.to_str() {
                Some(text) => items.extend(form.split(text)),
                None => {
                    readable = false;
                    let found = not_unicode(text);
                    errors.push(ConfigError::value(setting, origin.clone(), found));
                }
            }
        }
        if readable {
            values.set_checked(setting, items, origin.clone(), errors);
        }
    }
    values
}

fn not_understood(error: &clap::Error, origin: Origin) -> ConfigError {
    let argument = error.get(ContextKind::InvalidArg).map(ToString::to_string);
    let (key, problem) = match (error.kind(), argument) {
        (ErrorKind::UnknownArgument, Some(flag)) => {
            let problem = names::unknown_flag(&flag);
            (flag, problem)
        }
        // "error: a value is required for '--workers <N>' but none was supplied", then usage.
        _ => {
            let text = error.render().to_string();
            let line = text.lines().next().unwrap_or_default();
            (String::new(), Problem::Syntax(line.trim_start_matches("error: ").to_owned()))
        }
    };
    ConfigError { origin, key, problem }
}

fn command() -> Command {
    let configuration = crate::INVOCATION[0].section;
    Command::new("ironhorn")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Serves a Python WSGI application over HTTP from several processes.")
        .override_usage("ironhorn [OPTIONS] [APP]\n       ironhorn ctl COMMAND [OPTIONS]")
        .after_help(
            "Each option can also be given in ironhorn.yaml and as IRONHORN_<OPTION> in the \
             environment.\nMore with --help.",
        )
        .after_long_help(PRECEDENCE)
        .no_binary_name(true)
        .args_override_self(true)
        .disable_help_flag(true)
        .disable_version_flag(true)
        .args(SETTINGS.iter().chain(crate::INVOCATION).map(argument))
        .arg(
            Arg::new("help")
                .short('h')
                .long("help")
                .action(ArgAction::Help)
                .help("Print a summary (-h) or everything (--help)")
                .help_heading(configuration),
        )
        .arg(
            Arg::new("version")
                .short('V')
                .short_alias('v')
                .long("version")
                .action(ArgAction::Version)
                .help("Print the version (also -v)")
                .help_heading(configuration),
        )
}

const PRECEDENCE: &str = "\
Where settings come from, the later ones winning:
  defaults
  the file: --config FILE, else ironhorn.yaml or gunicorn.conf.py in the current directory
  PORT, WEB_CONCURRENCY and FORWARDED_ALLOW_IPS in the environment
  IRONHORN_<SETTING> in the environment
  IRONHORN_CMD_ARGS in the environment: options as on the command line
  the command line
A list replaces a list. What is not known or not allowed is refused.

Exit codes:
  0  stopped as asked
  1  runtime error, such as an address in use
  2  usage or configuration
  3  a worker could not boot at start
  4  the application could not be found or is not callable";

fn argument(setting: &'static Setting) -> Arg {
    let form = setting.shape.form();
    let argument = Arg::new(setting.key)
        .value_name(setting.value)
        .value_parser(ValueParser::os_string())
        .help(short_help(setting))
        .long_help(long_help(setting))
        .help_heading(setting.section);
    if setting.reach == Reach::Positional {
        return argument;
    }
    let argument = argument.long(setting.long()).aliases(setting.aliases).action(match form {
        Form::List(_) | Form::Pairs(_) => ArgAction::Append,
        _ => ArgAction::Set,
    });
    let argument = match setting.short {
        Some(short) => argument.short(short),
        None => argument,
    };
    match bare(setting) {
        Some(bare) => argument.num_args(0..=1).require_equals(true).default_missing_value(bare),
        None => argument,
    }
}

/// What the flag of a setting stands for without a value.
fn bare(setting: &Setting) -> Option<&'static str> {
    match setting.shape.form() {
        Form::Switch => Some("true"),
        _ => setting.bare,
    }
}

/// Puts a value to the flag before it where the flag may be without one. Anything else that follows
/// such a flag is the application.
fn attach_values(args: &[OsString]) -> Vec<OsString> {
    let mut attached: Vec<OsString> = Vec::new();
    let mut taken = None;
    for arg in args {
        let setting: Option<&Setting> = taken.take();
        match (setting, attached.last_mut()) {
            (Some(setting), Some(flag)) if is_value_of(setting, arg) => {
                flag.push("=");
                flag.push(arg);
                continue;
            }
            _ => {}
        }
        taken = all_settings()
            .find(|setting| setting.bare.is_some() && *arg == *setting.on_command_line());
        attached.push(arg.clone());
    }
    attached
}

fn is_value_of(setting: &Setting, arg: &OsString) -> bool {
    arg.to_str().is_some_and(|text| setting.shape.check(&[text.to_owned()]).is_ok())
}

fn short_help(setting: &Setting) -> String {
    match setting.default {
        [] | ["false"] => plain(setting.summary()),
        default => format!("{} [default: {}]", plain(setting.summary()), default.join(",")),
    }
}

fn long_help(setting: &Setting) -> String {
    let mut lines = vec![plain(setting.summary())];
    lines.extend(setting.details().filter(|line| !line.starts_with("```")).map(plain));
    if !setting.default.is_empty() {
        lines.push(format!("[default: {}]", setting.default.join(",")));
    }
    if let Some(variable) = setting.variable() {
        lines.push(format!("[environment: {variable}]"));
    }
    lines.join("\n")
}

/// Documentation without its marks for code.
fn plain(text: impl AsRef<str>) -> String {
    text.as_ref().replace('`', "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clap_finds_nothing_wrong_with_the_definitions() {
        command().debug_assert();
    }

    #[test]
    fn every_setting_is_documented_in_both_helps() {
        for flag in ["-h", "--help"] {
            let Err(Stop::Help(help)) = from_command_line(&[flag.into()], &mut Vec::new()) else {
                panic!("{flag} is no help");
            };
            for setting in all_settings() {
                assert!(help.contains(&setting.on_command_line()), "{}", setting.key);
                assert!(help.contains(&plain(setting.summary())), "{}", setting.key);
            }
        }
    }

    #[test]
    fn a_flag_that_may_be_bare_takes_no_application() {
        for (args, mode, app) in [
            (&["--proxy-protocol", "shop:app"][..], "auto", Some("shop:app")),
            (&["--proxy-protocol", "v2", "shop:app"], "v2", Some("shop:app")),
            (&["--proxy-protocol=v1", "shop:app"], "v1", Some("shop:app")),
            (&["shop:app", "--proxy-protocol"], "auto", Some("shop:app")),
            (&["--proxy-protocol", "--reload"], "auto", None),
            (&["--proxy-protocol", "off"], "off", None),
        ] {
            let args: Vec<_> = args.iter().map(OsString::from).collect();
            let mut errors = Vec::new();
            let values = from_command_line(&args, &mut errors).unwrap().unwrap();
            assert_eq!(errors, [], "{args:?}");
            assert_eq!(values.get("proxy_protocol").unwrap().items, [mode], "{args:?}");
            let found = values.get("app").map(|given| given.items[0].as_str());
            assert_eq!(found, app, "{args:?}");
        }
        let mut errors = Vec::new();
        let args = ["--forwarded-for", "2", "-w", "2"].map(OsString::from);
        let values = from_command_line(&args, &mut errors).unwrap().unwrap();
        assert_eq!(values.get("forwarded_for").unwrap().items, ["2"]);
        assert_eq!(values.get("workers").unwrap().items, ["2"]);
    }

    #[test]
    fn aliases_and_the_last_flag_count() {
        let args = ["-w", "2", "--keepalive", "7", "--workers=3", "-b", "a:1", "-b", "b:2,c:3"];
        let args = args.map(OsString::from);
        let mut errors = Vec::new();
        let values = from_command_line(&args, &mut errors).unwrap().unwrap();
        assert_eq!(errors, []);
        assert_eq!(values.get("workers").unwrap().items, ["3"]);
        assert_eq!(values.get("keepalive").unwrap().items, ["7"]);
        assert_eq!(values.get("bind").unwrap().items, ["a:1", "b:2", "c:3"]);
        assert!(values.get("capture_output").is_none());
    }
}
