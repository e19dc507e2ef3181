use std::fs::{File, OpenOptions};
use std::io::{PipeReader, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::time::Instant;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::stat::Mode;

use super::{End, Fate, Kind, Links, Outlet, PATIENCE, Sink, Way};

fn inherited(fd: impl Into<OwnedFd>) -> Sink {
    Sink(Kind::File(Outlet::of_inherited(End::File(File::from(fd.into())))))
}

fn way(sink: &Sink) -> Way {
    let Kind::File(outlet) = &sink.0 else { panic!("a standard stream") };
    outlet.way
}

fn pipe() -> (PipeReader, Sink) {
    let (reader, writer) = std::io::pipe().unwrap();
    (reader, inherited(writer))
}

/// Writes lines until one is lost; how many were not.
fn fill(sink: &mut Sink, line: &[u8]) -> usize {
    let mut written = 0;
    while sink.write(line).unwrap() == Fate::Written {
        written += 1;
    }
    written
}

fn is_nonblocking(fd: impl AsFd) -> bool {
    let flags = fcntl(fd, FcntlArg::F_GETFL).unwrap();
    OFlag::from_bits_retain(flags).contains(OFlag::O_NONBLOCK)
}

#[test]
fn a_full_pipe_loses_lines_and_says_how_many() {
    let (mut reader, mut sink) = pipe();
    let written = fill(&mut sink, &[b'a'; 100]);
    assert_eq!(sink.write(&[b'b'; 100]).unwrap(), Fate::Lost);
    assert_eq!(sink.take_lost(), 0, "there is no room to say so");

    reader.read_exact(&mut vec![0; written * 100]).unwrap();
    assert_eq!(sink.take_lost(), 2);
    assert_eq!(sink.write(b"2 lost\n").unwrap(), Fate::Written);
    sink.told(2);
    assert_eq!(sink.take_lost(), 0);
    let mut told = [0; 7];
    reader.read_exact(&mut told).unwrap();
    assert_eq!(&told, b"2 lost\n");
}

#[test]
fn what_was_said_of_lost_lines_may_be_lost_too() {
    let (mut reader, mut sink) = pipe();
    let written = fill(&mut sink, &[b'a'; 100]);
    let mut all = vec![0; written * 100];
    reader.read_exact(&mut all).unwrap();
    assert_eq!(sink.take_lost(), 1);
    let Kind::File(outlet) = &mut sink.0 else { panic!("a standard stream") };
    let mut other = outlet.end.as_fd().try_clone_to_owned().map(File::from).unwrap();
    while other.write(&[b'b'; 100]).is_ok() {}
    assert_eq!(sink.write(&[b'c'; 100]).unwrap(), Fate::Lost);
    sink.told(1);
    reader.read_exact(&mut all).unwrap();
    assert_eq!(sink.take_lost(), 2);
}

#[test]
fn only_the_first_line_waits() {
    let (_reader, mut sink) = pipe();
    let begun = Instant::now();
    fill(&mut sink, &[b'a'; 4096]);
    assert!(begun.elapsed() >= PATIENCE - PATIENCE / 50);
    let stuck = Instant::now();
    for _ in 0..1000 {
        assert_eq!(sink.write(b"line\n").unwrap(), Fate::Lost);
    }
    assert!(stuck.elapsed() < PATIENCE * 100, "each of them waited");
}

#[test]
fn a_line_that_finds_room_in_time_is_not_lost() {
    // The thread that reads may itself be late on a busy machine.
    assert!((0..50).any(|_| line_with_a_reader() == Fate::Written));
}

fn line_with_a_reader() -> Fate {
    let (mut reader, mut sink) = pipe();
    let Kind::File(outlet) = &sink.0 else { panic!("a standard stream") };
    let mut other = outlet.end.as_fd().try_clone_to_owned().map(File::from).unwrap();
    while other.write(&[b'b'; 4096]).is_ok() {}
    let reading = std::thread::spawn(move || {
        reader.read_exact(&mut [0; 4096]).unwrap();
        reader
    });
    let fate = sink.write(b"line\n").unwrap();
    reading.join().unwrap();
    fate
}

#[test]
fn half_a_line_is_finished_before_the_next() {
    let (mut reader, mut sink) = pipe();
    let mut long = vec![b'l'; 100_000];
    long.push(b'\n');
    assert_eq!(sink.write(&long).unwrap(), Fate::Written);
    assert_eq!(sink.write(b"lost\n").unwrap(), Fate::Lost);
    let mut head = vec![0; 65_536];
    reader.read_exact(&mut head).unwrap();
    assert_eq!(sink.take_lost(), 1);
    assert_eq!(sink.write(b"next\n").unwrap(), Fate::Written);
    drop(sink);
    let mut all = head;
    reader.read_to_end(&mut all).unwrap();
    assert_eq!(all, [&long[..], b"next\n"].concat());
}

#[test]
fn the_flags_of_an_inherited_pipe_stay() {
    let (_reader, writer) = std::io::pipe().unwrap();
    let sink = inherited(writer.try_clone().unwrap());
    assert_eq!(way(&sink), Way::Pipe);
    assert!(!is_nonblocking(&writer));
}

#[test]
fn a_pipe_that_cannot_be_opened_again_is_asked_first() {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let shared = Outlet::new(End::File(File::from(OwnedFd::from(writer))), Way::SharedPipe);
    let mut sink = Sink(Kind::File(shared));
    let mut long = vec![b'l'; 100_000];
    long.push(b'\n');
    assert_eq!(sink.write(&long).unwrap(), Fate::Written);
    assert_eq!(sink.write(b"lost\n").unwrap(), Fate::Lost);
    let mut head = vec![0; 65_536];
    reader.read_exact(&mut head).unwrap();
    assert_eq!(sink.take_lost(), 1);
    assert_eq!(sink.write(b"next\n").unwrap(), Fate::Written);
    drop(sink);
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).unwrap();
    assert!(rest.ends_with(b"l\nnext\n"));
}

#[test]
fn a_pipe_whose_reader_is_gone_is_an_error() {
    let (reader, mut sink) = pipe();
    drop(reader);
    let error = sink.write(b"line\n").unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);

    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut late = inherited(writer);
    assert_eq!(late.write(b"line\n").unwrap_err().kind(), std::io::ErrorKind::BrokenPipe);
}

#[test]
fn a_socket_is_never_waited_for_long() {
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let mut sink = inherited(theirs.try_clone().unwrap());
    assert_eq!(way(&sink), Way::Socket);
    let line = [&[b'l'; 999][..], b"\n"].concat();
    let written = fill(&mut sink, &line);
    assert!(!is_nonblocking(&theirs));
    let mut all = vec![0; written * line.len()];
    ours.read_exact(&mut all).unwrap();
    assert_eq!(sink.take_lost(), 1);
    assert_eq!(sink.write(b"next\n").unwrap(), Fate::Written);
    drop(ours);
    assert!(sink.write(b"line\n").is_err());

    let (_ours, theirs) = UnixDatagram::pair().unwrap();
    assert!(fill(&mut inherited(theirs), &line) > 0);
}

#[test]
fn a_fifo_waits_for_its_reader() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    nix::unistd::mkfifo(&path, Mode::S_IRWXU).unwrap();
    let mut sink = Sink::open(&path, Links::All).unwrap();
    assert_eq!(way(&sink), Way::Pipe);
    assert_eq!(sink.write(b"early\n").unwrap(), Fate::Written);
    let mut reader = OpenOptions::new().read(true).open(&path).unwrap();
    drop(sink);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(text, "early\n");
}

#[test]
fn a_file_is_appended_to_and_opened_anew() {
    let directory = tempfile::tempdir().unwrap();
    let (path, moved) = (directory.path().join("log"), directory.path().join("log.1"));
    let mut sink = Sink::open(&path, Links::All).unwrap();
    assert_eq!(way(&sink), Way::Plain);
    assert_eq!(sink.write(b"one\n").unwrap(), Fate::Written);
    sink.replace(Sink::open(&path, Links::All).unwrap());
    assert_eq!(sink.write(b"two\n").unwrap(), Fate::Written);
    std::fs::rename(&path, &moved).unwrap();
    sink.replace(Sink::open(&path, Links::All).unwrap());
    assert_eq!(sink.write(b"three\n").unwrap(), Fate::Written);
    assert_eq!(std::fs::read(moved).unwrap(), b"one\ntwo\n");
    assert_eq!(std::fs::read(path).unwrap(), b"three\n");
}

#[test]
fn half_a_line_outlives_a_fifo_that_is_opened_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    nix::unistd::mkfifo(&path, Mode::S_IRWXU).unwrap();
    let mut sink = Sink::open(&path, Links::All).unwrap();
    let mut reader = OpenOptions::new().read(true).open(&path).unwrap();
    let mut long = vec![b'l'; 100_000];
    long.push(b'\n');
    assert_eq!(sink.write(&long).unwrap(), Fate::Written);
    sink.replace(Sink::open(&path, Links::All).unwrap());
    let mut all = vec![0; 65_536];
    reader.read_exact(&mut all).unwrap();
    assert_eq!(sink.write(b"next\n").unwrap(), Fate::Written);
    drop(sink);
    reader.read_to_end(&mut all).unwrap();
    assert_eq!(all, [&long[..], b"next\n"].concat());
}
