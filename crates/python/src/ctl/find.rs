//! Which server is meant, and where its control socket is.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ironhorn_config::{Control, Importer, Sources, Target, resolve_control};
use ironhorn_unix::{effective_uid, is_served};
use serde_json::{Value, json};

use super::{FAILED, Failure, NO_SERVER, wire};
use crate::control_path::{file_name, is_private, pid_of, places};
use crate::serve::USAGE;

/// How long a server may take to say what it is, for a list of several.
const PATIENCE: Duration = Duration::from_secs(2);

/// The control socket of the server that is meant.
pub(super) fn socket(target: &Target, sources: Sources) -> Result<PathBuf, Failure> {
    match target {
        Target::Socket(path) => Ok(path.clone()),
        Target::Pid(pid) => by_pid(*pid, &sources.environment),
        Target::Settings { config } => by_settings(config.as_ref(), sources),
    }
}

fn by_settings(config: Option<&OsString>, mut sources: Sources) -> Result<PathBuf, Failure> {
    sources.args = config.into_iter().flat_map(|file| ["-c".into(), file.clone()]).collect();
    // A file that is Python is not run for this: it can't name a socket.
    sources.importer = Some(Importer::new(|_| Ok(Vec::new())));
    let (control, unreadable) = resolve_control(&sources);
    if let (Some(_), Some(error)) = (config, &unreadable) {
        return Err(Failure { code: USAGE, message: error.to_string() });
    }
    match control {
        Control::Path(path) => Ok(path),
        Control::None => {
            let message = "no server to talk to: the settings say control: none".to_owned();
            Err(Failure { code: NO_SERVER, message })
        }
        Control::Auto => the_only_one(&sources.environment).map_err(|mut failure| {
            if let (NO_SERVER, Some(error)) = (failure.code, unreadable) {
                failure.message +=
                    &format!("\n{error}, so it is not known whether it sets control");
            }
            failure
        }),
    }
}

fn the_only_one(environment: &[(OsString, OsString)]) -> Result<PathBuf, Failure> {
    let directories = places(environment, effective_uid());
    let mut found = living(&directories);
    match found.len() {
        0 => Err(Failure {
            code: NO_SERVER,
            message: format!("no server of this user: none in {}", listed(&directories)),
        }),
        1 => Ok(found.remove(0).1),
        _ => {
            let servers: Vec<_> =
                found.iter().map(|(pid, path)| format!("\n  {}", describe(*pid, path))).collect();
            let message =
                format!("several servers: name one by --pid or --socket{}", servers.concat());
            Err(Failure { code: USAGE, message })
        }
    }
}

/// The masters with a socket in the first of these directories that has any, and the sockets:
/// where a server would be that was started here, and only if there is none, elsewhere.
fn living(directories: &[PathBuf]) -> Vec<(u32, PathBuf)> {
    let trusted = directories.iter().filter(|it| is_private(it).unwrap_or(false));
    trusted.map(|it| living_in(it)).find(|found| !found.is_empty()).unwrap_or_default()
}

fn living_in(directory: &Path) -> Vec<(u32, PathBuf)> {
    let files = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut found: Vec<_> = files
        .filter_map(|file| Some((pid_of(&file.file_name())?, file.path())))
        // What a killed master has left refuses; the next start removes it.
        .filter(|(_, path)| is_served(path).unwrap_or(false))
        .collect();
    found.sort();
    found
}

fn describe(pid: u32, path: &Path) -> String {
    let reply = wire::ask(path, &json!({ "command": "status" }), Some(PATIENCE));
    let Ok(reply) = reply else { return format!("{pid}  (does not answer)") };
    let said = |key: &str| reply.value.get(key).and_then(Value::as_str).unwrap_or("?");
    format!("{pid}  {} in {}", said("app"), said("directory"))
}

fn by_pid(pid: u32, environment: &[(OsString, OsString)]) -> Result<PathBuf, Failure> {
    let process = PathBuf::from(format!("/proc/{pid}"));
    let owner = match fs::metadata(&process) {
        Ok(process) => process.uid(),
        Err(_) => {
            return Err(Failure { code: NO_SERVER, message: format!("no process {pid}") });
        }
    };
    let me = effective_uid();
    let mut directories = places(environment, owner);
    directories.retain(|it| fs::metadata(it).is_ok_and(|it| [owner, me, 0].contains(&it.uid())));
    let mut candidates: Vec<_> = directories.iter().map(|it| it.join(file_name(pid))).collect();
    candidates.extend(bound(pid).unwrap_or_default());
    let is_its = |path: &PathBuf| fs::symlink_metadata(path).is_ok_and(|it| it.uid() == owner);
    match candidates.into_iter().find(is_its) {
        Some(path) => Ok(path),
        None if owner != me && me != 0 => Err(Failure {
            code: FAILED,
            message: format!("process {pid} is of user {owner}: only that user may, and root"),
        }),
        None => Err(Failure {
            code: NO_SERVER,
            message: format!(
                "process {pid} has no control socket: is it the master of a server, and does that \
                 not have control: none?"
            ),
        }),
    }
}

/// Sockets with the name of this master's, wherever they are: a unit's RuntimeDirectory is known
/// to the server only.
fn bound(pid: u32) -> io::Result<Vec<PathBuf>> {
    let name = format!("/{}", file_name(pid));
    let table = fs::read_to_string("/proc/net/unix")?;
    // proc(5): the path is the eighth field, to the end of the line.
    let paths = table.lines().filter_map(|line| line.find('/').map(|start| &line[start..]));
    Ok(paths.filter(|path| path.ends_with(&name)).map(PathBuf::from).collect())
}

fn listed(directories: &[PathBuf]) -> String {
    let directories: Vec<_> = directories.iter().map(|it| it.display().to_string()).collect();
    directories.join(", ")
}
