//! What only a program just executed can show: an inherited descriptor, its own arguments.

use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use ironhorn_unix::{
    Address, BindOptions, Exit, Listener, Peer, Program, set_process_title, set_umask,
};

use crate::{Case, DEADLINE, await_readable, end_of};

pub(crate) const CASES: &[Case] = &[
    ("program::an_inherited_listener_is_taken_over", inherited),
    ("program::a_listener_is_handed_over", handed_over),
    ("program::the_title_replaces_the_arguments", title),
];

/// Plays the part of the program executed, if this is it.
pub(crate) fn role() -> Option<ExitCode> {
    match std::env::args().nth(1)?.as_str() {
        "role:accept" => accept(),
        "role:adopt" => adopt(),
        "role:title" => show_title(),
        _ => return None,
    }
    Some(ExitCode::SUCCESS)
}

fn execute(role: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg(role).env_clear().env("KEPT", "yes");
    command
}

fn inherited() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let local = listener.local_addr().unwrap();
    let mut program =
        execute("role:accept").stdin(Stdio::from(OwnedFd::from(listener))).spawn().unwrap();
    let mut client = TcpStream::connect(local).unwrap();
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut text = String::new();
    client.read_to_string(&mut text).unwrap();
    assert_eq!(text, format!("hello {}", client.local_addr().unwrap()));
    assert!(program.wait().unwrap().success());
}

fn accept() {
    let address: Address = "fd://0".parse().unwrap();
    Listener::check(&address).unwrap();
    let listener = Listener::bind(&address, &BindOptions::default()).unwrap();
    assert_eq!(listener.address(), &address);
    await_readable(&listener);
    let (stream, Peer::Inet(peer)) = listener.accept().unwrap() else { panic!("no TCP peer") };
    assert!(stream.wait_writable(Duration::from_secs(1)).unwrap());
    stream.send(format!("hello {peer}").as_bytes()).unwrap();
}

fn handed_over() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let listener = Listener::bind(&Address::Unix(path.clone()), &BindOptions::default()).unwrap();
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let program = Program {
        file: &std::env::current_exe().unwrap(),
        arguments: &["role:adopt".into()],
        directory: directory.path(),
        environment: &[("BEQUEST".into(), listener.bequest())],
        umask: 0o027,
        inherits: &[listener.as_raw_fd()],
    };
    let child = program.spawn().unwrap();
    let mut client = UnixStream::connect(&path).unwrap();
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut text = String::new();
    client.read_to_string(&mut text).unwrap();
    let socket = fs::canonicalize(directory.path()).unwrap();
    assert_eq!(text, format!("027 {} BEQUEST", socket.display()));
    assert_eq!(end_of(child), Exit::Code(0));
    // Only what was to be inherited was, and the new program has removed the file.
    assert!(!path.exists());
    drop(other);

    let missing = Program { file: Path::new("/nonexistent"), ..program };
    assert_eq!(missing.spawn().unwrap_err().kind(), std::io::ErrorKind::NotFound);
    let closed = Program { inherits: &[1000], ..program };
    assert_eq!(closed.spawn().unwrap_err().raw_os_error(), Some(libc::EBADF));
}

fn adopt() {
    let bequest = std::env::var_os("BEQUEST").unwrap();
    let listener = Listener::adopt(&bequest).unwrap();
    // The descriptor that was inherited is closed, and no other was.
    assert!(Listener::adopt(&bequest).is_err());
    let sockets = fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|entry| fs::read_link(entry.unwrap().path()).ok())
        .filter(|link| link.to_string_lossy().starts_with("socket:"))
        .count();
    // Itself, and the two ends of a passage of its own.
    assert_eq!(sockets, listener.descriptors().len());
    for faulty in ["", "x", "3", "0=127.0.0.1:1", "9,1=unix:/x", "900=unix:/x", "9=unix:@"] {
        assert!(Listener::adopt(OsStr::new(faulty)).is_err(), "{faulty}");
    }
    await_readable(&listener);
    let (stream, Peer::Unix) = listener.accept().unwrap() else { panic!("no unix peer") };
    assert!(stream.wait_writable(Duration::from_secs(1)).unwrap());
    let mask = set_umask(0);
    let directory = std::env::current_dir().unwrap();
    let names: Vec<_> = std::env::vars().map(|(name, _)| name).collect();
    let text = format!("{mask:03o} {} {}", directory.display(), names.join(" "));
    stream.send(text.as_bytes()).unwrap();
    listener.unlink();
}

fn title() {
    let mut program = execute("role:title")
        .arg("x".repeat(60))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = program.id();
    let proc = |name| fs::read(format!("/proc/{pid}/{name}")).unwrap();
    let mut shown = [0; 1];
    let mut output = program.stdout.take().unwrap();
    let mut input = program.stdin.take().unwrap();

    output.read_exact(&mut shown).unwrap();
    assert_eq!(trimmed(proc("cmdline")), "ironhorn: worker 2");
    assert_eq!(trimmed(proc("comm")), "ironhorn: worke");

    input.write_all(b"\n").unwrap();
    output.read_exact(&mut shown).unwrap();
    let cut = trimmed(proc("cmdline"));
    assert!(cut.len() > 60 && cut.len() < 1000, "{cut}");
    assert_eq!(cut.strip_prefix("long ").unwrap().trim_start_matches('y'), "", "{cut}");
    let environ = proc("environ");
    assert_eq!(environ, b"KEPT=yes\0");

    input.write_all(b"\n").unwrap();
    output.read_exact(&mut shown).unwrap();
    assert_eq!(trimmed(proc("cmdline")), "short");
    drop(input);
    assert!(program.wait().unwrap().success());
}

fn trimmed(text: Vec<u8>) -> String {
    String::from_utf8(text).unwrap().trim_end_matches(['\0', '\n']).to_owned()
}

fn show_title() {
    let mut line = String::new();
    for title in ["ironhorn: worker\0\n 2", &format!("long {}", "y".repeat(5000)), "short"] {
        set_process_title(title);
        println!();
        std::io::stdin().read_line(&mut line).unwrap();
    }
    assert_eq!(std::env::var("KEPT").unwrap(), "yes");
}
