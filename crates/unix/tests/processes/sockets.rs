//! Listeners that several processes have, or have had.

use std::io::ErrorKind;
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use ironhorn_unix::{
    Address, BindError, BindOptions, Exit, Listener, Local, Signal, ToMaster, add_exclusive,
    bind_private, channel, kill, peer_uid, remove, set_umask,
};
use mio::{Events, Poll, Token};

use crate::{
    Case, DEADLINE, await_readable, await_sleep, end_of, readable_within, spawn, spawn_with,
};

pub(crate) const CASES: &[Case] = &[
    ("sockets::a_stale_unix_socket_is_replaced_a_live_one_is_not_disturbed", stale_and_live),
    ("sockets::a_private_one_is_its_users_and_removed_by_its_owner", private),
    ("sockets::one_connection_wakes_one_worker", one_wakes),
    ("sockets::a_removed_listener_wakes_nobody", removed),
];

fn stale_and_live() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let address = Address::Unix(path.clone());
    let (ours, theirs) = channel().unwrap();
    let child = spawn(|_| {
        let listener = Listener::bind(&address, &BindOptions::default()).unwrap();
        theirs.send(ToMaster::Ready).unwrap();
        await_readable(&theirs);
        // The attempts of the other process were no connections.
        assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
        theirs.send(ToMaster::Draining).unwrap();
        loop {
            nix::unistd::pause();
        }
    });
    await_readable(&ours);
    ours.receive().unwrap();
    for _ in 0..2 {
        let error = Listener::bind(&address, &BindOptions::default()).unwrap_err();
        assert!(matches!(error, BindError::InUse { .. }), "{error}");
        let error = Listener::check(&address).unwrap_err();
        assert!(matches!(error, BindError::InUse { .. }), "{error}");
    }
    ours.send(ironhorn_unix::ToWorker::Stop).unwrap();
    await_readable(&ours);
    kill(child, Signal::SIGKILL).unwrap();
    end_of(child);

    assert!(path.exists());
    Listener::check(&address).unwrap();
    assert!(path.exists());
    let listener = Listener::bind(&address, &BindOptions::default()).unwrap();
    UnixStream::connect(&path).unwrap();
    listener.accept().unwrap();
    listener.unlink();
    assert!(!path.exists());
}

fn private() {
    // What the umask would allow is of no account.
    set_umask(0);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ctl");
    let (ours, theirs) = channel().unwrap();
    let child = spawn(|_| {
        let _bound = bind_private(&path).unwrap();
        theirs.send(ToMaster::Ready).unwrap();
        loop {
            nix::unistd::pause();
        }
    });
    await_readable(&ours);
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(matches!(bind_private(&path).unwrap_err(), BindError::InUse { .. }));
    kill(child, Signal::SIGKILL).unwrap();
    end_of(child);

    assert!(path.exists());
    let bound = bind_private(&path).unwrap();
    let (client, bound) = spawn_with(bound, |_, (listener, file)| {
        // Copies of its parent's.
        drop(file);
        drop(listener);
        let client = UnixStream::connect(&path).unwrap();
        assert_eq!(peer_uid(&client).unwrap(), nix::unistd::getuid().as_raw());
        0
    });
    assert_eq!(end_of(client), Exit::Code(0));
    assert!(path.exists());
    let (connection, _) = bound.0.accept().unwrap();
    // As it was when it connected: the process has gone.
    assert_eq!(peer_uid(&connection).unwrap(), nix::unistd::getuid().as_raw());
    drop(bound);
    assert!(!path.exists());
}

/// Two processes wait for a listener; each writes its token when it is woken, and waits for ever.
fn one_wakes() {
    let address: Address = "127.0.0.1:0".parse().unwrap();
    let listener = Listener::bind(&address, &BindOptions::default()).unwrap();
    let (read, write) = nix::unistd::pipe().unwrap();
    let start = |token: usize| {
        let child = spawn(|_| {
            let mut poll = Poll::new().unwrap();
            add_exclusive(epoll(&poll), listener.as_fd(), token).unwrap();
            let mut events = Events::with_capacity(4);
            nix::unistd::write(&write, b"+").unwrap();
            poll.poll(&mut events, None).unwrap();
            let event = events.iter().next().unwrap();
            assert_eq!(event.token(), Token(token));
            assert!(event.is_readable());
            nix::unistd::write(&write, &[u8::try_from(token).unwrap()]).unwrap();
            loop {
                nix::unistd::pause();
            }
        });
        assert_eq!(next(read.as_fd()), b'+');
        await_sleep(child);
        child
    };
    let children = [start(7), start(8)];
    let Local::Inet(local) = listener.local() else { panic!("no port") };
    let _first = TcpStream::connect(local).unwrap();
    let one = next(read.as_fd());
    assert!(!readable_within(read.as_fd(), Duration::from_millis(50)), "both were woken");
    let _second = TcpStream::connect(local).unwrap();
    let other = next(read.as_fd());
    let mut woken = [one, other];
    woken.sort_unstable();
    assert_eq!(woken, [7, 8]);
    for child in children {
        kill(child, Signal::SIGKILL).unwrap();
        end_of(child);
    }
}

fn removed() {
    let address: Address = format!("unix:@ironhorn-test-{}", std::process::id()).parse().unwrap();
    let listener = Listener::bind(&address, &BindOptions::default()).unwrap();
    let mut poll = Poll::new().unwrap();
    let mut events = Events::with_capacity(4);
    add_exclusive(epoll(&poll), listener.as_fd(), 1).unwrap();
    assert!(add_exclusive(epoll(&poll), listener.as_fd(), 1).is_err());
    let Local::Abstract(name) = listener.local() else { panic!("no name") };
    let place = {
        use std::os::linux::net::SocketAddrExt;
        std::os::unix::net::SocketAddr::from_abstract_name(name).unwrap()
    };
    let _client = UnixStream::connect_addr(&place).unwrap();
    poll.poll(&mut events, Some(DEADLINE)).unwrap();
    assert_eq!(events.iter().map(|event| event.token()).collect::<Vec<_>>(), [Token(1)]);
    // Level-triggered: it is told again until somebody accepts.
    poll.poll(&mut events, Some(DEADLINE)).unwrap();
    assert!(!events.is_empty());
    remove(epoll(&poll), listener.as_fd()).unwrap();
    assert!(remove(epoll(&poll), listener.as_fd()).is_err());
    poll.poll(&mut events, Some(Duration::ZERO)).unwrap();
    assert!(events.is_empty());
}

fn epoll(poll: &Poll) -> BorrowedFd<'_> {
    // SAFETY: the descriptor is open as long as `poll` is borrowed. mio gives no BorrowedFd.
    unsafe { BorrowedFd::borrow_raw(poll.as_raw_fd()) }
}

fn next(read: BorrowedFd<'_>) -> u8 {
    await_readable(read);
    let mut byte = [0];
    assert_eq!(nix::unistd::read(read, &mut byte).unwrap(), 1);
    byte[0]
}
