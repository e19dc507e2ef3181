//! The channel tells each side of the other's death.

use std::io::ErrorKind;

use ironhorn_unix::{Exit, Received, Signal, ToMaster, ToWorker, channel, kill, reset};

use crate::{Case, await_readable, end_of, spawn_with};

pub(crate) const CASES: &[Case] = &[
    ("channel::the_workers_death_is_an_end_of_file", worker_dies),
    ("channel::the_masters_death_is_an_end_of_file", master_dies),
    ("channel::last_words_are_heard_before_the_end", last_words),
    ("channel::sending_to_the_dead_is_no_sigpipe", no_sigpipe),
];

fn worker_dies() {
    let (master, worker) = channel().unwrap();
    let (child, (master, worker)) = spawn_with((master, worker), |_, (master, worker)| {
        drop(master);
        worker.send(ToMaster::Ready).unwrap();
        loop {
            nix::unistd::pause();
        }
    });
    drop(worker);
    await_readable(&master);
    assert_eq!(master.receive().unwrap(), Received::Message(ToMaster::Ready));
    assert_eq!(master.receive().unwrap(), Received::Nothing);
    kill(child, Signal::SIGKILL).unwrap();
    await_readable(&master);
    assert_eq!(master.receive().unwrap(), Received::Closed);
    end_of(child);
}

fn master_dies() {
    let (master, worker) = channel().unwrap();
    let (up_master, up_worker) = channel().unwrap();
    let (child, (master, worker)) = spawn_with((master, worker), |_, (master, worker)| {
        drop(worker);
        await_readable(&up_worker);
        drop(master);
        0
    });
    drop(master);
    assert_eq!(worker.receive().unwrap(), Received::Nothing);
    up_master.send(ToWorker::Quit).unwrap();
    await_readable(&worker);
    assert_eq!(worker.receive().unwrap(), Received::Closed);
    assert_eq!(end_of(child), Exit::Code(0));
}

fn last_words() {
    let (master, worker) = channel().unwrap();
    master.send(ToWorker::Stop).unwrap();
    let (child, (master, worker)) = spawn_with((master, worker), |_, (master, worker)| {
        drop(master);
        worker.send(ToMaster::Ready).unwrap();
        worker.send(ToMaster::Draining).unwrap();
        // Stop is never read: the kernel reports a reset first.
        0
    });
    drop(worker);
    assert_eq!(end_of(child), Exit::Code(0));
    assert_eq!(master.receive().unwrap(), Received::Message(ToMaster::Ready));
    assert_eq!(master.receive().unwrap(), Received::Message(ToMaster::Draining));
    assert_eq!(master.receive().unwrap(), Received::Closed);
}

fn no_sigpipe() {
    reset(Signal::SIGPIPE).unwrap();
    let (master, worker) = channel().unwrap();
    drop(worker);
    assert_eq!(master.send(ToWorker::Quit).unwrap_err().kind(), ErrorKind::BrokenPipe);
    let (one, other) = std::os::unix::net::UnixStream::pair().unwrap();
    drop(other);
    let stream = ironhorn_unix::Stream::from(std::os::fd::OwnedFd::from(one));
    for result in [
        stream.send(b"x"),
        stream.send_more(b"x"),
        stream.send_vectored(&[std::io::IoSlice::new(b"x")]),
    ] {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::BrokenPipe);
    }
}
