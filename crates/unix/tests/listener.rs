//! Every kind of listener, and the connections out of it, in one process.

#![allow(clippy::unwrap_used, reason = "all of it is tests")]

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use ironhorn_unix::{
    Address, BindError, BindOptions, InheritedFault, Listener, Local, Passed, Peer, Stream,
};
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{getsockopt, sockopt};

fn bind(text: &str) -> Result<Listener, BindError> {
    Listener::bind(&text.parse().unwrap(), &BindOptions::default())
}

fn inet(listener: &Listener) -> SocketAddr {
    let Local::Inet(local) = listener.local() else { panic!("{:?}", listener.local()) };
    *local
}

fn await_readable(fd: impl AsFd) {
    let mut polled = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
    assert_eq!(poll(&mut polled, PollTimeout::from(20_000_u16)).unwrap(), 1);
}

fn accept(listener: &Listener) -> (Stream, Peer) {
    await_readable(listener);
    listener.accept().unwrap()
}

/// Nonblocking, and closed on exec.
fn assert_flags(fd: BorrowedFd<'_>) {
    let status = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL).unwrap());
    assert!(status.contains(OFlag::O_NONBLOCK));
    let flags = FdFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFD).unwrap());
    assert!(flags.contains(FdFlag::FD_CLOEXEC));
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn tcp() {
    let listener = bind("127.0.0.1:0").unwrap();
    assert_eq!(listener.address().to_string(), "127.0.0.1:0");
    assert_flags(listener.as_fd());
    assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    let client = TcpStream::connect(inet(&listener)).unwrap();
    let (stream, peer) = accept(&listener);
    assert_eq!(peer, Peer::Inet(client.local_addr().unwrap()));
    assert_flags(stream.as_fd());
    assert!(getsockopt(&stream, sockopt::TcpNoDelay).unwrap());
}

/// Who takes it finds the one behind it.
#[test]
fn a_connection_that_was_reset_is_not_passed_on() {
    let listener = bind("127.0.0.1:0").unwrap();
    let gone = TcpStream::connect(inet(&listener)).unwrap();
    let (first, _) = accept(&listener);
    let client = TcpStream::connect(inet(&listener)).unwrap();
    let (second, _) = accept(&listener);
    socket2::SockRef::from(&gone).set_linger(Some(Duration::ZERO)).unwrap();
    drop(gone);
    await_readable(&first);
    listener.pass(first.as_fd(), Passed::default().again(300)).unwrap();
    let twice = Passed::default().again(300).again(400);
    listener.pass(second.as_fd(), twice).unwrap();
    let (_, peer, passed) = listener.take_passed().unwrap();
    assert_eq!((passed, passed.times), (twice, 2));
    assert!(passed.is_by(400) && !passed.is_by(300));
    assert_eq!(peer, Peer::Inet(client.local_addr().unwrap()));
    assert_eq!(listener.take_passed().unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[test]
fn tcp_v6_is_without_v4() {
    let listener = match bind("[::1]:0") {
        Ok(listener) => listener,
        // A kernel without IPv6 says so, which is all there is to see.
        Err(error) => return assert!(matches!(error, BindError::Io { .. }), "{error}"),
    };
    let client = TcpStream::connect(inet(&listener)).unwrap();
    let (_, peer) = accept(&listener);
    assert_eq!(peer, Peer::Inet(client.local_addr().unwrap()));

    let all = bind("[::]:0").unwrap();
    assert!(getsockopt(&all, sockopt::Ipv6V6Only).unwrap());
}

#[test]
fn mapped_peers_are_shown_as_v4() {
    let Ok(both) = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)) else { return };
    let listener = bind(&format!("fd://{}", both.as_raw_fd())).unwrap();
    let Ok(client) = TcpStream::connect(("127.0.0.1", inet(&listener).port())) else { return };
    let (_, peer) = accept(&listener);
    assert_eq!(peer, Peer::Inet(client.local_addr().unwrap()));
}

#[test]
fn localhost_is_v4() {
    let listener = bind("localhost:0").unwrap();
    assert!(inet(&listener).is_ipv4());
    assert_eq!(listener.address().to_string(), "localhost:0");
}

#[test]
fn a_name_without_address_is_said_to_be_so() {
    let error = bind("nonexistent.invalid:0").unwrap_err();
    assert!(matches!(error, BindError::Unresolved { .. }));
    let text = error.to_string();
    assert!(text.starts_with("cannot bind nonexistent.invalid:0: cannot resolve"), "{text}");
}

#[test]
fn a_port_in_use_is_refused_and_its_owner_undisturbed() {
    let first = bind("127.0.0.1:0").unwrap();
    let text = inet(&first).to_string();
    for error in [bind(&text).unwrap_err(), Listener::check(&text.parse().unwrap()).unwrap_err()] {
        let message = format!("cannot bind {text}: address already in use");
        assert!(error.to_string().starts_with(&message), "{error}");
        assert!(matches!(error, BindError::InUse { .. }));
    }
    assert_eq!(first.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    drop(first);
    Listener::check(&text.parse().unwrap()).unwrap();
    bind(&text).unwrap();
}

#[test]
fn another_hosts_address_is_refused() {
    // RFC 5737: 192.0.2.0/24 is nobody's.
    let error = bind("192.0.2.1:0").unwrap_err();
    assert!(matches!(error, BindError::Io { .. }), "{error}");
}

#[test]
fn reuse_port_lets_two_have_it() {
    let options = BindOptions { reuse_port: true, ..BindOptions::default() };
    let first = Listener::bind(&"127.0.0.1:0".parse().unwrap(), &options).unwrap();
    let address: Address = inet(&first).to_string().parse().unwrap();
    Listener::bind(&address, &options).unwrap();
}

#[test]
fn a_clone_has_the_same_queue() {
    let listener = bind("127.0.0.1:0").unwrap();
    let clone = listener.try_clone().unwrap();
    assert_flags(clone.as_fd());
    assert_eq!((clone.address(), clone.local()), (listener.address(), listener.local()));
    let _client = TcpStream::connect(inet(&listener)).unwrap();
    accept(&clone);
    assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[test]
fn unix() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let address = Address::Unix(path.clone());
    let listener = Listener::bind(&address, &BindOptions::default()).unwrap();
    assert_eq!(listener.local(), &Local::Unix(path.clone()));
    assert_eq!(mode(&path), 0o660);
    assert_flags(listener.as_fd());
    let mut client = UnixStream::connect(&path).unwrap();
    let (stream, peer) = accept(&listener);
    assert_eq!(peer, Peer::Unix);
    stream.send(b"x").unwrap();
    client.read_exact(&mut [0]).unwrap();
    drop(listener.try_clone().unwrap());
    assert!(path.exists());
    listener.unlink();
    assert!(!path.exists());
    listener.unlink();
}

#[test]
fn unix_mode_is_exact() {
    let directory = tempfile::tempdir().unwrap();
    for wanted in [0o600, 0o666, 0o777] {
        let address = Address::Unix(directory.path().join(format!("{wanted:o}")));
        let options = BindOptions { mode: Some(wanted), ..BindOptions::default() };
        let listener = Listener::bind(&address, &options).unwrap();
        let Local::Unix(path) = listener.local() else { panic!("no path") };
        assert_eq!(mode(path), wanted);
    }
}

#[test]
fn unix_file_of_a_successor_is_not_removed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let first = Listener::bind(&Address::Unix(path.clone()), &BindOptions::default()).unwrap();
    // Kept under another name, so that its inode isn't given to the next.
    fs::rename(&path, directory.path().join("old")).unwrap();
    let second = Listener::bind(&Address::Unix(path.clone()), &BindOptions::default()).unwrap();
    first.unlink();
    assert!(path.exists());
    second.unlink();
    assert!(!path.exists());
}

#[test]
fn unix_socket_of_another_type_is_live_until_closed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let datagram = UnixDatagram::bind(&path).unwrap();
    let error = Listener::check(&Address::Unix(path.clone())).unwrap_err();
    assert!(matches!(error, BindError::InUse { .. }), "{error}");
    drop(datagram);
    Listener::bind(&Address::Unix(path), &BindOptions::default()).unwrap();
}

#[test]
fn what_is_no_socket_is_not_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "precious").unwrap();
    for path in [file.clone(), directory.path().to_owned()] {
        let address = Address::Unix(path);
        for error in [
            Listener::bind(&address, &BindOptions::default()).unwrap_err(),
            Listener::check(&address).unwrap_err(),
        ] {
            assert!(matches!(error, BindError::NotASocket { .. }), "{error}");
        }
    }
    assert_eq!(fs::read_to_string(file).unwrap(), "precious");
}

#[test]
fn check_leaves_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    Listener::check(&Address::Unix(path.clone())).unwrap();
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);

    drop(UnixListener::bind(&path).unwrap());
    let inode = fs::symlink_metadata(&path).unwrap().ino();
    Listener::check(&Address::Unix(path.clone())).unwrap();
    assert_eq!(fs::symlink_metadata(&path).unwrap().ino(), inode);

    let missing = Address::Unix(directory.path().join("missing/socket"));
    for error in [
        Listener::check(&missing).unwrap_err(),
        Listener::bind(&missing, &BindOptions::default()).unwrap_err(),
    ] {
        assert!(error.to_string().ends_with(": no such file or directory"), "{error}");
    }
    let long = Address::Unix(directory.path().join("x".repeat(200)));
    assert!(Listener::check(&long).is_err());
    assert!(Listener::bind(&long, &BindOptions::default()).is_err());
}

#[test]
fn abstract_name() {
    let text = format!("unix:@ironhorn-listener-{}", std::process::id());
    let address: Address = text.parse().unwrap();
    Listener::check(&address).unwrap();
    let listener = bind(&text).unwrap();
    let Local::Abstract(name) = listener.local() else { panic!("{:?}", listener.local()) };
    assert_eq!(address, Address::Abstract(name.clone()));
    let place = std::os::unix::net::SocketAddr::from_abstract_name(name).unwrap();
    let _client = UnixStream::connect_addr(&place).unwrap();
    assert_eq!(accept(&listener).1, Peer::Unix);
    assert!(matches!(bind(&text).unwrap_err(), BindError::InUse { .. }));
    assert!(matches!(Listener::check(&address).unwrap_err(), BindError::InUse { .. }));
}

#[test]
fn inherited() {
    let made = TcpListener::bind("127.0.0.1:0").unwrap();
    let address: Address = format!("fd://{}", made.as_raw_fd()).parse().unwrap();
    Listener::check(&address).unwrap();
    let status = OFlag::from_bits_retain(fcntl(&made, FcntlArg::F_GETFL).unwrap());
    assert!(!status.contains(OFlag::O_NONBLOCK), "checking changes nothing");
    // Twice: a reload takes it again.
    for _ in 0..2 {
        let listener = Listener::bind(&address, &BindOptions::default()).unwrap();
        assert_flags(listener.as_fd());
        assert!(getsockopt(&listener, sockopt::TcpNoDelay).unwrap());
        assert_eq!(inet(&listener), made.local_addr().unwrap());
        let _client = TcpStream::connect(inet(&listener)).unwrap();
        accept(&listener);
    }
    let directory = tempfile::tempdir().unwrap();
    let made = UnixListener::bind(directory.path().join("socket")).unwrap();
    let listener = bind(&format!("fd://{}", made.as_raw_fd())).unwrap();
    assert_eq!(listener.local(), &Local::Unix(directory.path().join("socket")));
    listener.unlink();
    assert!(directory.path().join("socket").exists(), "who made it removes it");
}

#[test]
fn inherited_descriptors_of_no_use() {
    let file = tempfile::tempfile().unwrap();
    let (one, _other) = UnixStream::pair().unwrap();
    let datagram = UnixDatagram::unbound().unwrap();
    let cases = [
        (i32::MAX, InheritedFault::Closed),
        (-1, InheritedFault::Closed),
        (file.as_raw_fd(), InheritedFault::NotASocket),
        (one.as_raw_fd(), InheritedFault::NotListening),
        (datagram.as_raw_fd(), InheritedFault::NotListening),
    ];
    for (number, fault) in cases {
        let address = Address::Fd(number);
        for error in [
            Listener::bind(&address, &BindOptions::default()).unwrap_err(),
            Listener::check(&address).unwrap_err(),
        ] {
            assert!(
                matches!(error, BindError::Inherited { fault: found, .. } if found == fault),
                "{error}"
            );
        }
    }
    let seqpacket =
        socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::SEQPACKET, None).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let place = socket2::SockAddr::unix(directory.path().join("socket")).unwrap();
    seqpacket.bind(&place).unwrap();
    seqpacket.listen(1).unwrap();
    let error = Listener::check(&Address::Fd(seqpacket.as_raw_fd())).unwrap_err();
    assert!(error.to_string().ends_with("neither TCP nor a unix stream socket"), "{error}");
}

/// A connection, both ends.
fn connected() -> (Stream, TcpStream) {
    let listener = bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(inet(&listener)).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    (accept(&listener).0, client)
}

fn fill(stream: &Stream) {
    let chunk = vec![b'x'; 1 << 16];
    while stream.send(&chunk).is_ok() {}
}

#[test]
fn stream_sends_and_receives() {
    let (stream, mut client) = connected();
    let mut buffer = [0; 16];
    assert_eq!(stream.recv(&mut buffer).unwrap_err().kind(), ErrorKind::WouldBlock);
    client.write_all(b"hello").unwrap();
    await_readable(&stream);
    assert_eq!(stream.recv(&mut buffer).unwrap(), 5);
    assert_eq!(&buffer[..5], b"hello");

    let pieces = [io::IoSlice::new(b"c"), io::IoSlice::new(b"d")];
    assert_eq!(stream.send_more(b"a").unwrap(), 1);
    assert_eq!(stream.send(b"b").unwrap(), 1);
    assert_eq!(stream.send_vectored(&pieces).unwrap(), 2);
    let many = vec![io::IoSlice::new(b"z"); 3000];
    assert_eq!(stream.send_vectored(&many).unwrap(), 1024);
    stream.shutdown_write().unwrap();
    let mut all = String::new();
    client.read_to_string(&mut all).unwrap();
    assert_eq!(all, format!("abcd{}", "z".repeat(1024)));

    client.write_all(b"still").unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    let mut received = Vec::new();
    loop {
        await_readable(&stream);
        match stream.recv(&mut buffer).unwrap() {
            0 => break,
            length => received.extend_from_slice(&buffer[..length]),
        }
    }
    assert_eq!(received, b"still");
    assert_eq!(stream.send(b"late").unwrap_err().kind(), ErrorKind::BrokenPipe);
}

#[test]
fn stream_sends_files() {
    let (stream, mut client) = connected();
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"0123456789").unwrap();
    let mut offset = 3;
    assert_eq!(stream.send_file(file.as_fd(), &mut offset, 4).unwrap(), 4);
    assert_eq!(offset, 7);
    assert_eq!(stream.send_file(file.as_fd(), &mut offset, 1000).unwrap(), 3);
    assert_eq!(stream.send_file(file.as_fd(), &mut offset, 1000).unwrap(), 0);
    assert_eq!(offset, 10);
    let mut sent = [0; 7];
    client.read_exact(&mut sent).unwrap();
    assert_eq!(&sent, b"3456789");

    let error = stream.send_file(client.as_fd(), &mut 0, 1).unwrap_err();
    assert!(matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ESPIPE)), "{error}");
    assert!(stream.send_file(file.as_fd(), &mut { u64::MAX }, 1).is_err());
}

#[test]
fn stream_waits_until_it_can_send() {
    let (stream, mut client) = connected();
    assert!(stream.wait_writable(Duration::ZERO).unwrap());
    fill(&stream);
    assert!(!stream.wait_writable(Duration::ZERO).unwrap());
    assert!(!stream.wait_writable(Duration::from_micros(1500)).unwrap());
    let reader = std::thread::spawn(move || {
        let mut buffer = vec![0; 1 << 20];
        while client.read(&mut buffer).is_ok_and(|length| length > 0) {}
    });
    assert!(stream.wait_writable(Duration::from_secs(20)).unwrap());
    assert!(stream.wait_writable(Duration::MAX).unwrap());
    drop(stream);
    reader.join().unwrap();
}

#[test]
fn stream_knows_a_hang_up_from_a_half_close() {
    let (stream, client) = connected();
    assert!(!stream.is_hung_up());
    client.shutdown(std::net::Shutdown::Write).unwrap();
    await_readable(&stream);
    assert!(!stream.is_hung_up(), "it may wait for its answer");

    // Closed with data unread: TCP sends a reset (RFC 9293 §3.10.4).
    let (stream, client) = connected();
    stream.send(b"unread").unwrap();
    await_readable(&client);
    drop(client);
    await_readable(&stream);
    assert!(stream.is_hung_up());
    assert!(stream.wait_writable(Duration::from_secs(20)).unwrap(), "sending fails at once");
}
