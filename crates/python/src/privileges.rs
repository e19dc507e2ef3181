//! Whose rights the app runs with: the settings `user`, `group` and `initgroups`.
//!
//! The master keeps its own, so that it can bind low ports, read certificates and open logs again
//! at a reload. A worker or zygote gives them up after the logs are open and before the app is
//! imported.

use ironhorn_config::{LogFile, Settings};
use ironhorn_master::ExitCode;
use ironhorn_unix::{Identity, IdentityError, Pid, Signal, die_with_parent};

/// Who the workers are to be. None: who the master is.
pub(crate) fn identity(settings: &Settings) -> Result<Option<Identity>, IdentityError> {
    Identity::look_up(settings.user.as_deref(), settings.group.as_deref(), settings.initgroups)
}

/// Makes the log files, and makes them the workers', which open them again by their names.
pub(crate) fn give_logs(settings: &Settings, identity: Option<&Identity>) -> Result<(), String> {
    let Some(identity) = identity else { return Ok(()) };
    for file in settings.access_logfile.iter().chain([&settings.error_logfile]) {
        if let LogFile::Path(path) = file {
            identity.own_file(path).map_err(|error| {
                let path = path.display();
                format!("cannot give the log {path} to user {}: {error}", identity.uid())
            })?;
        }
    }
    Ok(())
}

/// Gives up what this process has more than `identity`, for good. The process still ends with
/// `master`.
///
/// # Errors
/// The process's exit code; the reason is logged.
pub(crate) fn drop(identity: Option<&Identity>, master: Pid) -> Result<(), i32> {
    let Some(identity) = identity else { return Ok(()) };
    // The kernel forgets who is to be killed with its parent when a user changes (prctl(2)).
    identity.assume().and_then(|()| die_with_parent(master, Signal::SIGKILL)).map_err(|error| {
        let (uid, gid) = (identity.uid(), identity.gid());
        log::error!(uid, gid, error:%; "cannot change to the user of the workers");
        ExitCode::RUNTIME
    })
}
