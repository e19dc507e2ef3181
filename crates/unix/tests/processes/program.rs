//! What only a program just executed can show: an inherited descriptor, its own arguments.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use ironhorn_unix::{Address, BindOptions, Listener, Peer, set_process_title};

use crate::{Case, DEADLINE, await_readable};

pub(crate) const CASES: &[Case] = &[
    ("program::an_inherited_listener_is_taken_over", inherited),
    ("program::the_title_replaces_the_arguments", title),
];

/// Plays the part of the program executed, if this is it.
pub(crate) fn role() -> Option<ExitCode> {
    match std::env::args().nth(1)?.as_str() {
        "role:accept" => accept(),
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
