//! `ironhorn ctl`: asks a server that runs, and shows what it says.

mod find;
mod show;
mod wire;

use std::time::Duration;

use ironhorn_config::{Ctl, Request, Sources, Stop};
use ironhorn_master::ExitCode;
use ironhorn_unix::{Signal, reset};
use serde_json::{Value, json};

use crate::serve::{USAGE, fail, print};
use wire::WireError;

/// The first argument that makes the command this one.
pub(crate) const NAME: &str = "ctl";

/// The server refused, or what was asked of it failed.
const FAILED: i32 = 1;
/// There is no server.
const NO_SERVER: i32 = 5;

/// How long a master may take to answer what it answers at once.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs the command; the arguments of `sources` are those after `ctl`.
pub(crate) fn main(mut sources: Sources) -> i32 {
    let ctl = match Ctl::parse(&std::mem::take(&mut sources.args)) {
        Ok(ctl) => ctl,
        Err(Stop::Help(text) | Stop::Version(text)) => return print(&text),
        Err(Stop::Errors(errors)) => return fail(USAGE, &errors.to_string()),
    };
    // Python's handler only sets a flag, which nobody looks at here. If it stays, there is another
    // way to end the command.
    let _ = reset(Signal::SIGINT);
    match run(&ctl, sources) {
        Ok(code) => code,
        Err(Failure { code, message }) => fail(code, &message),
    }
}

/// Why there is no answer.
struct Failure {
    code: i32,
    message: String,
}

fn run(ctl: &Ctl, sources: Sources) -> Result<i32, Failure> {
    let socket = find::socket(&ctl.target, sources)?;
    let timeout = ctl.timeout.or(match ctl.request {
        Request::Reload { wait: true } => None,
        _ => Some(PATIENCE),
    });
    let reply = wire::ask(&socket, &asked(&ctl.request), timeout)
        .map_err(|error| failure(ctl, &socket, error))?;
    let done = reply.value.get("ok") == Some(&Value::Bool(true));
    let code = if done { ExitCode::OK } else { FAILED };
    if ctl.json {
        print(&reply.line);
        return Ok(code);
    }
    if !done {
        let message = reply.value.get("error").and_then(Value::as_str);
        return Err(Failure { code, message: message.unwrap_or(reply.line.trim()).to_owned() });
    }
    print(&show::reply(&ctl.request, &reply.value));
    Ok(code)
}

/// The request as the server takes it.
fn asked(request: &Request) -> Value {
    match request {
        Request::Status => json!({ "command": "status" }),
        Request::Workers => json!({ "command": "workers" }),
        Request::Requests => json!({ "command": "requests" }),
        Request::Deaths => json!({ "command": "deaths" }),
        Request::Reload { wait } => json!({ "command": "reload", "wait": wait }),
        Request::Scale(workers) => json!({ "command": "scale", "workers": workers }),
        Request::Recycle(pid) => json!({ "command": "recycle", "pid": pid }),
        Request::Stack(pid) => json!({ "command": "stack", "pid": pid }),
        Request::Reopen => json!({ "command": "reopen" }),
        Request::Stop => json!({ "command": "stop" }),
        Request::Quit => json!({ "command": "quit" }),
    }
}

fn failure(ctl: &Ctl, socket: &std::path::Path, error: WireError) -> Failure {
    let path = socket.display();
    let (code, message) = match error {
        WireError::Absent => (NO_SERVER, format!("no server: there is no {path}")),
        WireError::Stale => {
            (NO_SERVER, format!("no server: {path} was left by one that was killed"))
        }
        WireError::Forbidden => (
            FAILED,
            format!("may not connect to {path}: only the user of that server may, and root"),
        ),
        WireError::Late(after) => {
            let seconds = after.as_secs_f64();
            let rest = match ctl.request {
                Request::Reload { wait: true } => "the reload goes on",
                _ => "is it stopped, or very busy?",
            };
            (FAILED, format!("no answer from {path} within {seconds} s: {rest}"))
        }
        WireError::Gone => (FAILED, format!("the server at {path} has gone before it answered")),
        WireError::NoReply(line) => {
            (FAILED, format!("what listens at {path} is no Ironhorn: it said {line:?}"))
        }
        WireError::Io(error) => (FAILED, format!("cannot talk to {path}: {error}")),
    };
    Failure { code, message }
}
