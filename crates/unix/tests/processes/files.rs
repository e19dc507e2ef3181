//! Pidfile, umask, output: what a process leaves in the world outside.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use ironhorn_unix::{
    Exit, Pid, Pidfile, PidfileError, Signal, ToMaster, WorkingDirectory, channel, kill,
    redirect_output, set_umask,
};

use crate::{Case, await_readable, end_of, spawn, spawn_with};

pub(crate) const CASES: &[Case] = &[
    ("pidfile::of_a_living_process_is_refused_of_a_dead_one_replaced", living_and_dead),
    ("pidfile::stays_when_a_child_drops_its_copy", child_drops),
    ("umask::is_set_and_the_former_returned", umask),
    ("directory::is_entered_again_without_its_name", nameless_directory),
    ("stdio::goes_where_it_is_redirected", redirected),
];

fn living_and_dead() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pid");
    let (ours, theirs) = channel().unwrap();
    let child = spawn(|_| {
        let _pidfile = Pidfile::create(&path).unwrap();
        theirs.send(ToMaster::Ready).unwrap();
        loop {
            nix::unistd::pause();
        }
    });
    await_readable(&ours);
    assert_eq!(fs::read_to_string(&path).unwrap(), format!("{child}\n"));
    match Pidfile::create(&path).unwrap_err() {
        PidfileError::Running { pid, path: named } => {
            assert_eq!((pid, named), (child, path.clone()))
        }
        other => panic!("{other}"),
    }
    kill(child, Signal::SIGKILL).unwrap();
    end_of(child);
    assert!(path.exists());
    let pidfile = Pidfile::create(&path).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", Pid::this()));
    drop(pidfile);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

fn nameless_directory() {
    let directory = tempfile::tempdir().unwrap();
    let child = spawn(|_| {
        let (old, new) = (directory.path().join("old"), directory.path().join("new"));
        fs::create_dir(&old).unwrap();
        fs::create_dir(&new).unwrap();
        std::env::set_current_dir(&old).unwrap();
        let here = WorkingDirectory::current().unwrap();
        std::env::set_current_dir(&new).unwrap();
        fs::rename(&old, directory.path().join("moved")).unwrap();
        here.enter().unwrap();
        assert_eq!(std::env::current_dir().unwrap(), directory.path().join("moved"));
        std::env::set_current_dir(&new).unwrap();
        fs::remove_dir(directory.path().join("moved")).unwrap();
        here.enter().unwrap();
        assert!(std::env::current_dir().is_err());
        0
    });
    assert_eq!(end_of(child), Exit::Code(0));
}

fn child_drops() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pid");
    let pidfile = Pidfile::create(&path).unwrap();
    let (child, pidfile) = spawn_with(pidfile, |_, pidfile| {
        drop(pidfile);
        0
    });
    assert_eq!(end_of(child), Exit::Code(0));
    assert!(path.exists());
    let (child, pidfile) = spawn_with(pidfile, |_, pidfile| {
        pidfile.disown();
        0
    });
    assert_eq!(end_of(child), Exit::Code(0));
    assert!(path.exists());
    pidfile.remove().unwrap();
    assert!(!path.exists());
}

fn umask() {
    set_umask(0o022);
    assert_eq!(set_umask(0o7077), 0o022);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(set_umask(0), 0o077);
    // A pidfile is 0644 whatever the umask.
    set_umask(0o077);
    let pidfile = Pidfile::create(&directory.path().join("pid")).unwrap();
    let mode = fs::metadata(pidfile.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o644);
}

fn redirected() {
    let (read, write) = nix::unistd::pipe().unwrap();
    let child = spawn(|_| {
        redirect_output(std::os::fd::AsFd::as_fd(&write)).unwrap();
        nix::unistd::write(std::io::stdout(), b"out ").unwrap();
        nix::unistd::write(std::io::stderr(), b"err").unwrap();
        0
    });
    drop(write);
    assert_eq!(end_of(child), Exit::Code(0));
    let mut file = fs::File::from(read);
    let mut text = String::new();
    std::io::Read::read_to_string(&mut file, &mut text).unwrap();
    assert_eq!(text, "out err");
}
