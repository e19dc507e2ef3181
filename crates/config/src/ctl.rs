//! The command line of `ironhorn ctl`: what is asked of a server that runs.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::Stop;
use crate::error::{ConfigError, ConfigErrors, Problem};
use crate::kind::{Kind, Seconds, Whole};
use crate::origin::Origin;

/// The longest that an answer can be waited for, in seconds.
const DAY: f64 = 86_400.0;

/// An invocation of `ironhorn ctl`.
#[derive(Clone, Debug, PartialEq)]
pub struct Ctl {
    /// What is asked.
    pub request: Request,
    /// Whether the reply is printed as it came.
    pub json: bool,
    /// Which server is asked.
    pub target: Target,
    /// How long its answer is waited for, if that was said.
    pub timeout: Option<Duration>,
}

/// What is asked of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// What it is and how it fares.
    Status,
    /// Its workers.
    Workers,
    /// The requests that are being served.
    Requests,
    /// How the last workers died.
    Deaths,
    /// New settings and code.
    Reload {
        /// Whether the answer is how it went.
        wait: bool,
    },
    /// So many workers.
    Scale(usize),
    /// A replacement for the worker with this process id.
    Recycle(u32),
    /// Where the worker with this process id is in its Python code.
    Stack(u32),
    /// New log files.
    Reopen,
    /// To stop once the requests are served.
    Stop,
    /// To stop at once.
    Quit,
}

/// How the server is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// By the settings in this file, or of the start directory, or else it is the only one.
    Settings {
        /// The value of `--config`.
        config: Option<OsString>,
    },
    /// By the process id of its master.
    Pid(u32),
    /// By its control socket.
    Socket(PathBuf),
}

impl Ctl {
    /// Takes apart the arguments that follow `ctl`.
    pub fn parse(args: &[OsString]) -> Result<Ctl, Stop> {
        let matches = command().try_get_matches_from(args).map_err(|error| {
            let text = error.render().to_string();
            match error.kind() {
                ErrorKind::DisplayHelp => Stop::Help(text),
                // "error: the following … were not provided:", what they are, then usage.
                _ => {
                    let lines: Vec<_> =
                        text.lines().take_while(|line| !line.is_empty()).map(str::trim).collect();
                    refused(lines.join(" ").trim_start_matches("error: "))
                }
            }
        })?;
        let (name, of_command) = matches.subcommand().expect("invariant: clap requires one");
        Ok(Ctl {
            request: request(name, of_command)?,
            json: matches.get_flag("json"),
            target: target(&matches)?,
            timeout: match text(&matches, "timeout") {
                Some(text) => Some(parsed("--timeout", &Seconds::up_to(DAY), text)?),
                None => None,
            },
        })
    }
}

fn request(name: &str, matches: &ArgMatches) -> Result<Request, Stop> {
    let number = |name: &str| text(matches, name).unwrap_or_default();
    Ok(match name {
        "status" => Request::Status,
        "workers" => Request::Workers,
        "requests" => Request::Requests,
        "deaths" => Request::Deaths,
        "reload" => Request::Reload { wait: matches.get_flag("wait") },
        "scale" => {
            Request::Scale(parsed("WORKERS", &Whole { min: 1, max: 1024 }, number("workers"))?)
        }
        "recycle" => Request::Recycle(parsed("PID", &PID, number("pid"))?),
        "stack" => Request::Stack(parsed("PID", &PID, number("pid"))?),
        "reopen" => Request::Reopen,
        "stop" => Request::Stop,
        "quit" => Request::Quit,
        other => unreachable!("invariant: {other} is no command of ours"),
    })
}

/// Linux's highest process id is 2^22 (proc(5), pid_max).
const PID: Whole<u32> = Whole { min: 1, max: 1 << 22 };

fn target(matches: &ArgMatches) -> Result<Target, Stop> {
    let path = |name: &str| matches.get_one::<OsString>(name).cloned();
    if let Some(pid) = text(matches, "master") {
        return parsed("--pid", &PID, pid).map(Target::Pid);
    }
    Ok(match path("socket") {
        Some(socket) => Target::Socket(socket.into()),
        None => Target::Settings { config: path("config") },
    })
}

/// The text of an argument; what isn't UTF-8 is no number either.
fn text<'m>(matches: &'m ArgMatches, name: &str) -> Option<&'m str> {
    matches.get_one::<OsString>(name).map(|value| value.to_str().unwrap_or("\u{fffd}"))
}

fn parsed<K: Kind>(name: &str, kind: &K, text: &str) -> Result<K::Value, Stop> {
    kind.parse(text)
        .ok_or_else(|| refused(&format!("{name}: found {text:?}, expected {}", kind.allowed())))
}

fn refused(why: &str) -> Stop {
    let problem = Problem::Syntax(why.to_owned());
    Stop::Errors(ConfigErrors::new(vec![ConfigError::source(Origin::CommandLine, problem)]))
}

fn command() -> Command {
    let value = |name: &'static str, shown: &'static str| {
        Arg::new(name).value_name(shown).value_parser(clap::value_parser!(OsString))
    };
    let asks = |name: &'static str, about: &'static str| Command::new(name).about(about);
    let of_worker = || value("pid", "PID").required(true).help("Process id of the worker");
    Command::new("ironhorn ctl")
        .about("Talks to a server that runs.")
        .no_binary_name(true)
        .subcommand_required(true)
        .disable_help_subcommand(true)
        .subcommand_value_name("COMMAND")
        .subcommand_help_heading("Commands")
        .subcommand(asks("status", "Show what the server is and how it fares"))
        .subcommand(asks("workers", "List the workers"))
        .subcommand(asks("requests", "List the requests that are being served, with their age"))
        .subcommand(asks("deaths", "List the last workers that died, and of what"))
        .subcommand(
            asks("reload", "Start anew with new settings and code, as SIGHUP does").arg(
                Arg::new("wait")
                    .long("wait")
                    .action(ArgAction::SetTrue)
                    .help("Return when it is done, or failed (exit code 1)"),
            ),
        )
        .subcommand(
            asks("scale", "Change the number of workers")
                .arg(value("workers", "WORKERS").required(true).help("How many")),
        )
        .subcommand(asks("recycle", "Replace a worker by a new one").arg(of_worker()))
        .subcommand(asks("stack", "Show the Python stacks of a worker").arg(of_worker()))
        .subcommand(asks("reopen", "Open the log files anew"))
        .subcommand(asks("stop", "Stop the server once its requests are served"))
        .subcommand(asks("quit", "Stop the server at once"))
        .arg(
            Arg::new("json")
                .long("json")
                .global(true)
                .action(ArgAction::SetTrue)
                .help("Print the reply as it is, a JSON object"),
        )
        .arg(
            value("timeout", "SECONDS")
                .long("timeout")
                .global(true)
                .help("How long to wait for the reply [default: 10, none with --wait]"),
        )
        .arg(
            value("master", "PID")
                .long("pid")
                .global(true)
                .conflicts_with_all(["socket", "config"])
                .help("The server whose master has this process id"),
        )
        .arg(
            value("socket", "PATH")
                .long("socket")
                .global(true)
                .conflicts_with("config")
                .help("The server with this control socket"),
        )
        .arg(
            value("config", "FILE")
                .long("config")
                .short('c')
                .global(true)
                .help("The server that this file configures, if it sets control"),
        )
        .after_help(
            "Without --pid and --socket, the settings of the current directory name the control \
             socket,\nor else it is the only server of this user.\n\n\
             Exit codes:\n  \
             0  done\n  \
             1  refused or failed\n  \
             2  usage; or several servers, and none was named\n  \
             5  no server",
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Ctl, Stop> {
        let args: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        Ctl::parse(&args)
    }

    fn error(line: &str) -> String {
        match parse(line) {
            Err(Stop::Errors(errors)) => errors.to_string(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn clap_finds_nothing_wrong_with_the_definitions() {
        command().debug_assert();
    }

    #[test]
    fn options_stand_before_or_behind_the_command() {
        let expected = Ctl {
            request: Request::Reload { wait: true },
            json: true,
            target: Target::Pid(812),
            timeout: Some(Duration::from_millis(1500)),
        };
        assert_eq!(parse("--json --pid 812 reload --wait --timeout 1.5").unwrap(), expected);
        assert_eq!(parse("reload --wait --pid=812 --json --timeout=1.5").unwrap(), expected);
    }

    #[test]
    fn commands_and_their_arguments() {
        let request = |line: &str| parse(line).unwrap().request;
        assert_eq!(request("status"), Request::Status);
        assert_eq!(request("reload"), Request::Reload { wait: false });
        assert_eq!(request("scale 4"), Request::Scale(4));
        assert_eq!(request("recycle 7"), Request::Recycle(7));
        assert_eq!(request("stack 7"), Request::Stack(7));
        let target = |line: &str| parse(line).unwrap().target;
        assert_eq!(target("stop"), Target::Settings { config: None });
        assert_eq!(target("stop -c a.yaml"), Target::Settings { config: Some("a.yaml".into()) });
        assert_eq!(target("stop --socket /run/a"), Target::Socket("/run/a".into()));
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert_eq!(
            error("scale 0"),
            "command line: WORKERS: found \"0\", expected a number from 1 to 1024"
        );
        assert_eq!(
            error("stack me"),
            "command line: PID: found \"me\", expected a number from 1 to 4194304"
        );
        assert_eq!(error("restart"), "command line: unrecognized subcommand 'restart'");
        assert!(error("status --pid 1 --socket x").contains("cannot be used with"));
        assert!(error("scale").ends_with("required arguments were not provided: <WORKERS>"));
        assert!(error("").contains("requires a subcommand"));
        for line in ["--help", "reload --help"] {
            assert!(matches!(parse(line), Err(Stop::Help(text)) if text.contains("Usage:")));
        }
    }
}
