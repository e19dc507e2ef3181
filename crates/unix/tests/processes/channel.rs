//! The channel tells each side of the other's death.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, AsRawFd};

use ironhorn_unix::{
    Exit, FromZygote, Pid, Received, Signal, StackFile, ToMaster, ToWorker, ToZygote, WorkerEnd,
    channel, kill, reset, zygote_channel,
};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::resource::{Resource, setrlimit};

use crate::{Case, await_readable, end_of, spawn_with};

pub(crate) const CASES: &[Case] = &[
    ("channel::the_workers_death_is_an_end_of_file", worker_dies),
    ("channel::the_masters_death_is_an_end_of_file", master_dies),
    ("channel::last_words_are_heard_before_the_end", last_words),
    ("channel::descriptors_go_with_a_message", descriptors),
    ("channel::an_end_that_was_passed_on_is_an_end", passed_on),
    ("channel::descriptors_that_nobody_takes_are_closed", not_taken),
    ("channel::descriptors_that_find_no_room_are_an_error_and_closed", lost),
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

fn descriptors() {
    let (master, zygote) = zygote_channel().unwrap();
    let (child, (master, zygote)) = spawn_with((master, zygote), |_, (master, zygote)| {
        drop(master);
        zygote.wait().unwrap();
        let (received, fds) = zygote.receive_with_fds().unwrap();
        assert_eq!(received, Received::Message(ToZygote::Fork { nr: 70_000 }));
        let fds = fds.unwrap();
        assert_eq!(fds.len(), 4);
        for (fd, text) in fds.iter().zip(["1", "2", "3", "4"]) {
            let flags = fcntl(fd, FcntlArg::F_GETFD).unwrap();
            assert_eq!(flags, FdFlag::FD_CLOEXEC.bits());
            nix::unistd::write(fd, text.as_bytes()).unwrap();
        }
        assert_eq!(zygote.receive_with_fds().unwrap().0, Received::Nothing);
        zygote.send(FromZygote::Forked { nr: 70_000, pid: Pid::this() }).unwrap();
        zygote.wait().unwrap();
        let (received, fds) = zygote.receive_with_fds().unwrap();
        assert_eq!(
            (received, fds.unwrap().len()),
            (Received::Message(ToZygote::Fork { nr: 1 }), 0)
        );
        zygote.send(FromZygote::ForkFailed { nr: 1, errno: libc::EAGAIN }).unwrap();
        zygote.wait().unwrap();
        assert_eq!(zygote.receive_with_fds().unwrap().0, Received::Closed);
        0
    });
    drop(zygote);
    let (read, write) = nix::unistd::pipe().unwrap();
    let fork = ToZygote::Fork { nr: 70_000 };
    let error = master.send_with_fds(fork, &[write.as_fd(); 5]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    master.send_with_fds(fork, &[write.as_fd(); 4]).unwrap();
    drop(write);
    master.wait().unwrap();
    let forked = FromZygote::Forked { nr: 70_000, pid: child };
    assert_eq!(master.receive().unwrap(), Received::Message(forked));
    master.send_with_fds(ToZygote::Fork { nr: 1 }, &[]).unwrap();
    master.wait().unwrap();
    let failed = FromZygote::ForkFailed { nr: 1, errno: libc::EAGAIN };
    assert_eq!(master.receive().unwrap(), Received::Message(failed));
    drop(master);
    assert_eq!(end_of(child), Exit::Code(0));
    let mut text = String::new();
    File::from(read).read_to_string(&mut text).unwrap();
    assert_eq!(text, "1234");
}

fn passed_on() {
    let (master, zygote) = zygote_channel().unwrap();
    let (child, (master, zygote)) = spawn_with((master, zygote), |_, (master, zygote)| {
        drop(master);
        zygote.wait().unwrap();
        let (_, fds) = zygote.receive_with_fds().unwrap();
        let [end, stacks] = <[_; 2]>::try_from(fds.unwrap()).unwrap();
        let (end, stacks) = (WorkerEnd::from_fd(end), StackFile::from_fd(stacks).unwrap());
        nix::unistd::write(&stacks, b"Thread 1\n").unwrap();
        end.send(ToMaster::Examined).unwrap();
        await_readable(&end);
        assert_eq!(end.receive().unwrap(), Received::Message(ToWorker::Quit));
        0
    });
    drop(zygote);
    let (ours, theirs) = channel().unwrap();
    let stacks = StackFile::new().unwrap();
    let fds = [theirs.as_fd(), stacks.as_fd()];
    master.send_with_fds(ToZygote::Fork { nr: 1 }, &fds).unwrap();
    drop(theirs);
    await_readable(&ours);
    assert_eq!(ours.receive().unwrap(), Received::Message(ToMaster::Examined));
    assert_eq!(stacks.take().unwrap(), "Thread 1\n");
    assert_eq!(ours.receive().unwrap(), Received::Nothing);
    ours.send(ToWorker::Quit).unwrap();
    assert_eq!(end_of(child), Exit::Code(0));
    assert_eq!(ours.receive().unwrap(), Received::Closed);
}

fn not_taken() {
    let (master, zygote) = zygote_channel().unwrap();
    let (read, write) = nix::unistd::pipe().unwrap();
    master.send_with_fds(ToZygote::Fork { nr: 2 }, &[write.as_fd()]).unwrap();
    drop(write);
    assert_eq!(zygote.receive().unwrap(), Received::Message(ToZygote::Fork { nr: 2 }));
    assert_eq!(nix::unistd::read(&read, &mut [0]), Ok(0));
}

fn lost() {
    let (master, zygote) = zygote_channel().unwrap();
    let (read, write) = nix::unistd::pipe().unwrap();
    let fork = ToZygote::Fork { nr: 3 };
    master.send_with_fds(fork, &[write.as_fd(); 3]).unwrap();
    drop(write);
    // Room for one of them.
    let spare = File::open("/dev/null").unwrap();
    let number = u64::try_from(spare.as_raw_fd()).unwrap();
    drop(spare);
    setrlimit(Resource::RLIMIT_NOFILE, number + 1, number + 1).unwrap();
    let (received, fds) = zygote.receive_with_fds().unwrap();
    assert_eq!(received, Received::Message(fork));
    assert_eq!(fds.unwrap_err().raw_os_error(), Some(libc::EMFILE));
    assert_eq!(nix::unistd::read(&read, &mut [0]), Ok(0), "one was left open");
    assert_eq!(zygote.receive_with_fds().unwrap().0, Received::Nothing);
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
