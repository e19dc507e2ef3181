//! Where the control socket is: the rules that a server and `ironhorn ctl` share.
//!
//! A server of which nothing is said takes the first directory that it may use, and in it a file
//! named by its process id, so that no two servers want the same. The command looks into all of
//! them, as it may run in another environment than the server: a shell instead of a unit.
//!
//! A directory is used only if nobody else can write to it. Else any user could put a socket there,
//! and with it be told what was meant for the server.

use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use ironhorn_config::Control;
use ironhorn_unix::{SocketFile, bind_private, effective_uid, is_served};

const ROOT: u32 = 0;

/// Opens the control socket that the settings ask for. None: there is to be none, or it is left to
/// the server to find a place and there is none, which is said in the log.
///
/// # Errors
/// The path that was named can't be had.
pub(crate) fn open(
    control: &Control,
    environment: &[(OsString, OsString)],
) -> Result<Option<(UnixListener, SocketFile)>, String> {
    match control {
        Control::None => Ok(None),
        Control::Path(path) => bind_private(path)
            .map(Some)
            .map_err(|error| format!("cannot open the control socket: {error}")),
        Control::Auto => {
            let opened = open_in_first(&directories(environment, effective_uid()));
            if let Err(error) = &opened {
                log::warn!(error; "no control socket, so no ironhorn ctl");
            }
            Ok(opened.ok())
        }
    }
}

/// The directories for a server of this user, best first.
pub(crate) fn directories(environment: &[(OsString, OsString)], uid: u32) -> Vec<PathBuf> {
    let variable = |name: &str| {
        let value = environment.iter().rev().find(|(key, _)| key == name)?.1.to_str()?;
        // systemd.exec(5): several are separated by colons.
        let first = value.split(':').next().unwrap_or_default();
        first.starts_with('/').then(|| PathBuf::from(first))
    };
    let mut found = Vec::new();
    found.extend(variable("RUNTIME_DIRECTORY"));
    found.extend(variable("XDG_RUNTIME_DIR").map(|directory| directory.join("ironhorn")));
    if uid == ROOT {
        found.push("/run/ironhorn".into());
    }
    found.push(format!("/tmp/ironhorn-{uid}").into());
    found
}

/// Where a server may be that belongs to `uid`, whatever its environment.
pub(crate) fn places(environment: &[(OsString, OsString)], uid: u32) -> Vec<PathBuf> {
    let elsewhere = [format!("/run/user/{uid}/ironhorn").into(), "/run/ironhorn".into()];
    let mut found = directories(environment, uid);
    for directory in elsewhere {
        if !found.contains(&directory) {
            found.push(directory);
        }
    }
    found
}

/// The file of the server whose master is `pid`.
pub(crate) fn file_name(pid: u32) -> String {
    format!("{pid}.ctl")
}

/// The master whose file is named so.
pub(crate) fn pid_of(file_name: &OsStr) -> Option<u32> {
    let digits = file_name.to_str()?.strip_suffix(".ctl")?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// Whether sockets in `directory` can be trusted: only this user and root can put any there.
pub(crate) fn is_private(directory: &Path) -> io::Result<bool> {
    let found = fs::symlink_metadata(directory)?;
    let owned = found.uid() == effective_uid() || found.uid() == ROOT;
    Ok(found.is_dir() && owned && found.mode() & 0o022 == 0)
}

fn open_in_first(directories: &[PathBuf]) -> Result<(UnixListener, SocketFile), String> {
    let mut why = String::new();
    for directory in directories {
        match open_in(directory) {
            Ok(opened) => return Ok(opened),
            Err(error) if why.is_empty() => why = error,
            Err(error) => why = format!("{why}; {error}"),
        }
    }
    Err(why)
}

fn open_in(directory: &Path) -> Result<(UnixListener, SocketFile), String> {
    let failed = |error: io::Error| format!("cannot use {}: {error}", directory.display());
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(error)),
        _ => {}
    }
    if !is_private(directory).map_err(failed)? {
        return Err(format!("cannot use {}: others can write to it", directory.display()));
    }
    remove_stale(directory).map_err(failed)?;
    let path = directory.join(file_name(std::process::id()));
    bind_private(&path).map_err(|error| error.to_string())
}

/// Removes what masters left that were killed.
fn remove_stale(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let is_stale = pid_of(&entry.file_name()).is_some_and(|pid| {
            // Both, as a server of another pid namespace may share the directory.
            !Path::new(&format!("/proc/{pid}")).exists()
                && is_served(&entry.path()).is_ok_and(|is_served| !is_served)
        });
        if is_stale {
            // Another start may have been quicker.
            let _ = fs::remove_file(entry.path());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
        variables.iter().map(|&(name, value)| (name.into(), value.into())).collect()
    }

    #[test]
    fn the_best_directory_is_first() {
        let all = environment(&[
            ("XDG_RUNTIME_DIR", "/run/user/7"),
            ("RUNTIME_DIRECTORY", "/run/shop:/run/x"),
        ]);
        let expected = ["/run/shop", "/run/user/7/ironhorn", "/tmp/ironhorn-7"];
        assert_eq!(directories(&all, 7), expected.map(PathBuf::from));
        let expected = ["/run/ironhorn", "/tmp/ironhorn-0"];
        let relative = environment(&[("XDG_RUNTIME_DIR", "run"), ("RUNTIME_DIRECTORY", "")]);
        assert_eq!(directories(&relative, 0), expected.map(PathBuf::from));
        let expected = ["/tmp/ironhorn-7", "/run/user/7/ironhorn", "/run/ironhorn"];
        assert_eq!(places(&[], 7), expected.map(PathBuf::from));
        assert_eq!(places(&all, 7).len(), 4, "each one once");
    }

    #[test]
    fn a_file_is_named_by_its_master() {
        assert_eq!(pid_of(OsStr::new(&file_name(812))), Some(812));
        for name in ["812", "x.ctl", ".ctl", "+1.ctl", "1.ctl.old"] {
            assert_eq!(pid_of(OsStr::new(name)), None, "{name}");
        }
    }

    #[test]
    fn what_killed_masters_left_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        // Above the kernel's highest process id.
        drop(UnixListener::bind(at("5000000.ctl")).unwrap());
        let _living = UnixListener::bind(at("5000001.ctl")).unwrap();
        drop(UnixListener::bind(at("other.ctl")).unwrap());
        drop(UnixListener::bind(at("1.ctl")).unwrap());
        let (_listener, file) = open_in(directory.path()).unwrap();
        assert_eq!(file.path(), at(&file_name(std::process::id())));
        assert!(!at("5000000.ctl").exists());
        assert!(["5000001.ctl", "other.ctl", "1.ctl"].iter().all(|name| at(name).exists()));
    }

    #[test]
    fn a_directory_that_others_can_write_to_is_not_used() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let open = directory.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(directory.path(), &link).unwrap();
        let made = directory.path().join("made");
        let error = open_in(&open).unwrap_err();
        assert_eq!(error, format!("cannot use {}: others can write to it", open.display()));
        assert!(open_in(&link).is_err());
        let missing = directory.path().join("missing/made");
        let (_, file) = open_in_first(&[open.clone(), missing.clone(), made.clone()]).unwrap();
        assert_eq!(file.path().parent().unwrap(), made);
        let error = open_in_first(&[open, missing]).unwrap_err();
        assert!(error.contains("others can write to it; cannot use"), "{error}");
    }
}
