//! A worker that is stuck answers in a signal handler, once.

use std::hint::spin_loop;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ironhorn_unix::{
    Board, BoardSlot, EXAMINE, Exit, MasterEnd, Monotonic, Pid, Received, Signal, ToMaster,
    answer_examinations, channel, claim_response, close_request, examine, kill, open_request,
};
use nix::errno::Errno;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, sigaction};

use crate::{
    Case, DEADLINE, await_readable, await_sleep, end_of, readable_within, spawn, spawn_with,
};

pub(crate) const CASES: &[Case] = &[
    ("examine::a_stuck_workers_client_is_told_504", stuck),
    ("examine::an_answer_to_head_has_no_body", head),
    ("examine::a_claimed_response_is_the_apps", claimed),
    ("examine::another_request_is_not_expired", another),
    ("examine::no_request_is_no_harm", idle),
    ("examine::an_expired_request_is_over_before_the_next", next_request),
    ("examine::errno_is_kept", errno_kept),
    ("examine::system_calls_go_on", restarted),
    ("examine::a_process_forked_by_the_app_does_not_answer", forked_by_app),
    ("examine::who_does_not_answer_is_not_harmed", unprepared),
    ("examine::the_former_handler_runs_first", former),
    ("examine::a_process_answers_for_one_worker", one_worker),
    ("examine::a_client_gets_one_answer_whoever_is_first", race),
];

const HEAD: &str = "HTTP/1.1 504 Gateway Timeout\r\n\
    Content-Type: text/plain; charset=utf-8\r\nContent-Length: 16\r\nConnection: close\r\n\r\n";

/// A worker that runs `app`, after it has opened a request.
struct Stuck {
    worker: Pid,
    channel: MasterEnd,
    slot: BoardSlot,
    client: UnixStream,
    busy_since: Monotonic,
}

impl Stuck {
    fn start(is_head: bool, app: impl FnOnce(&UnixStream, &BoardSlot)) -> Self {
        let slot = Board::new(1).unwrap().slot(1);
        let (master, worker) = channel().unwrap();
        let (client, connection) = UnixStream::pair().unwrap();
        let busy_since = Monotonic::now();
        let inherited = (master, worker, client, connection);
        let (child, (channel, _, client, _)) = spawn_with(inherited, |mask, inherited| {
            let (master, worker, client, connection) = inherited;
            drop((master, client));
            answer_examinations(&slot, &worker).unwrap();
            mask.unblock();
            slot.begin_request(b"GET", b"/slow", busy_since);
            open_request(connection.as_raw_fd(), is_head);
            worker.send(ToMaster::Ready).unwrap();
            app(&connection, &slot);
            0
        });
        let stuck = Self { worker: child, channel, slot, client, busy_since };
        assert_eq!(stuck.hear(), ToMaster::Ready);
        stuck
    }

    fn hear(&self) -> ToMaster {
        await_readable(&self.channel);
        match self.channel.receive().unwrap() {
            Received::Message(message) => message,
            other => panic!("{other:?}"),
        }
    }

    /// Until the app has gone as far as saying so.
    fn await_connection(&self) {
        while self.slot.read().connections == 0 {
            spin_loop();
        }
    }

    /// Has it examine itself, and waits until it has.
    fn examine(&self) {
        examine(self.worker).unwrap();
        assert_eq!(self.hear(), ToMaster::Examined);
    }

    /// All that the client gets.
    fn answer(&mut self) -> String {
        self.client.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut text = String::new();
        self.client.read_to_string(&mut text).unwrap();
        text
    }

    fn assert_not_answered(&self) {
        assert!(!readable_within(self.client.as_fd(), Duration::ZERO));
        assert!(!self.slot.read().expired);
    }

    fn kill(self) {
        kill(self.worker, Signal::SIGKILL).unwrap();
        end_of(self.worker);
    }
}

fn for_ever(_: &UnixStream, _: &BoardSlot) {
    loop {
        spin_loop();
    }
}

fn stuck() {
    let mut stuck = Stuck::start(false, for_ever);
    stuck.slot.ask_to_expire(stuck.busy_since);
    stuck.examine();
    assert!(stuck.slot.read().expired);
    assert_eq!(stuck.answer(), format!("{HEAD}Gateway Timeout\n"));
    // Once for each request, but examined it is as often as it is asked.
    stuck.examine();
    stuck.kill();
}

fn head() {
    let mut stuck = Stuck::start(true, for_ever);
    stuck.slot.ask_to_expire(stuck.busy_since);
    stuck.examine();
    assert_eq!(stuck.answer(), HEAD);
    stuck.kill();
}

fn claimed() {
    let mut stuck = Stuck::start(false, |mut connection, slot| {
        assert!(claim_response());
        slot.set_connections(1);
        await_expiry(slot);
        assert!(claim_response());
        connection.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        connection.shutdown(std::net::Shutdown::Write).unwrap();
        for_ever(connection, slot);
    });
    stuck.await_connection();
    stuck.slot.ask_to_expire(stuck.busy_since);
    stuck.examine();
    assert!(!stuck.slot.read().expired);
    assert_eq!(stuck.answer(), "HTTP/1.1 200 OK\r\n\r\n");
    stuck.kill();
}

/// Until the master has named the request.
fn await_expiry(slot: &BoardSlot) {
    while !slot.is_asked_to_expire() {
        spin_loop();
    }
}

fn another() {
    let stuck = Stuck::start(false, for_ever);
    stuck.examine();
    stuck.assert_not_answered();
    stuck.slot.ask_to_expire(Monotonic::from_nanos(stuck.busy_since.as_nanos() - 1));
    stuck.examine();
    stuck.assert_not_answered();
    stuck.kill();
}

fn idle() {
    let stuck = Stuck::start(false, |connection, slot| {
        close_request();
        slot.end_request();
        slot.set_connections(1);
        for_ever(connection, slot);
    });
    stuck.await_connection();
    stuck.slot.ask_to_expire(stuck.busy_since);
    stuck.examine();
    stuck.assert_not_answered();
    stuck.kill();
}

fn next_request() {
    let stuck = Stuck::start(false, |connection, slot| {
        while !slot.read().expired {
            spin_loop();
        }
        assert!(!claim_response());
        assert!(!claim_response());
        close_request();
        slot.end_request();
        assert!(claim_response());
        slot.begin_request(b"GET", b"/", Monotonic::now());
        open_request(connection.as_raw_fd(), false);
        assert!(!slot.read().expired);
        assert!(claim_response());
        close_request();
    });
    stuck.slot.ask_to_expire(stuck.busy_since);
    stuck.examine();
    assert_eq!(end_of(stuck.worker), Exit::Code(0));
}

fn errno_kept() {
    let (go, at_gate) = UnixStream::pair().unwrap();
    let stuck = Stuck::start(false, |_, slot| {
        (&at_gate).read_exact(&mut [0]).unwrap();
        Errno::EXDEV.set();
        slot.set_connections(1);
        while !slot.read().expired {
            spin_loop();
        }
        assert_eq!(Errno::last(), Errno::EXDEV);
    });
    // Sending fails in the handler, with an errno of its own.
    stuck.client.shutdown(std::net::Shutdown::Both).unwrap();
    (&go).write_all(b"x").unwrap();
    stuck.await_connection();
    stuck.slot.ask_to_expire(stuck.busy_since);
    stuck.examine();
    assert_eq!(end_of(stuck.worker), Exit::Code(0));
}

fn restarted() {
    let (go, at_gate) = UnixStream::pair().unwrap();
    let stuck = Stuck::start(false, |_, _| {
        assert_eq!(nix::unistd::read(&at_gate, &mut [0]), Ok(1));
    });
    await_sleep(stuck.worker);
    stuck.slot.ask_to_expire(stuck.busy_since);
    stuck.examine();
    (&go).write_all(b"x").unwrap();
    assert_eq!(end_of(stuck.worker), Exit::Code(0));
}

fn forked_by_app() {
    let stuck = Stuck::start(false, |connection, slot| {
        await_expiry(slot);
        let app = spawn(|mask| {
            mask.unblock();
            nix::sys::signal::raise(EXAMINE).unwrap();
            0
        });
        assert_eq!(end_of(app), Exit::Code(0));
        slot.set_connections(1);
        for_ever(connection, slot);
    });
    stuck.slot.ask_to_expire(stuck.busy_since);
    stuck.await_connection();
    assert_eq!(stuck.channel.receive().unwrap(), Received::Nothing);
    stuck.assert_not_answered();
    stuck.kill();
}

fn unprepared() {
    let (go, at_gate) = UnixStream::pair().unwrap();
    let child = spawn(|mask| {
        mask.unblock();
        (&at_gate).read_exact(&mut [0]).unwrap();
        0
    });
    examine(child).unwrap();
    (&go).write_all(b"x").unwrap();
    assert_eq!(end_of(child), Exit::Code(0));
}

/// How often the former handler has run.
static FORMER: AtomicUsize = AtomicUsize::new(0);

extern "C" fn on_former(_signal: i32) {
    FORMER.fetch_add(1, Ordering::Relaxed);
    Errno::ENOTTY.set();
}

fn former() {
    let flags = SaFlags::SA_RESTART;
    let action = SigAction::new(SigHandler::Handler(on_former), flags, SigSet::empty());
    // SAFETY: the handler does nothing but atomic operations, and errno is kept by who calls it.
    unsafe { sigaction(EXAMINE, &action) }.unwrap();
    let mut stuck = Stuck::start(false, |_, slot| {
        Errno::EXDEV.set();
        slot.set_connections(1);
        while !slot.read().expired {
            spin_loop();
        }
        assert_eq!((FORMER.load(Ordering::Relaxed), Errno::last()), (1, Errno::EXDEV));
    });
    stuck.await_connection();
    stuck.slot.ask_to_expire(stuck.busy_since);
    stuck.examine();
    assert_eq!(stuck.answer(), format!("{HEAD}Gateway Timeout\n"));
    assert_eq!(end_of(stuck.worker), Exit::Code(0));
}

fn one_worker() {
    let slot = Board::new(1).unwrap().slot(1);
    let (_master, worker) = channel().unwrap();
    answer_examinations(&slot, &worker).unwrap();
    let error = answer_examinations(&slot, &worker).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
}

/// The handler runs in another thread than the worker's, and both are after the same request: each
/// client gets one answer, and no answer reaches a connection that has since been closed.
fn race() {
    const TURNS: usize = 2000;
    let slot = Board::new(1).unwrap().slot(1);
    let (master, worker) = channel().unwrap();
    answer_examinations(&slot, &worker).unwrap();
    let asked = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| expire_all(&slot, &master, &asked));
        // Threads start with the mask of the one that makes them.
        let mut blocked = SigSet::empty();
        blocked.add(EXAMINE);
        blocked.thread_block().unwrap();
        let _over = Over(&asked);
        for turn in 0..TURNS {
            let is_claimed = one_request(&slot, || match turn % 3 {
                // The handler is let win: who wins otherwise is the machine's to say.
                0 => await_answer(&slot),
                // The handler is about to run, runs, or has run.
                1 => {
                    let before = asked.load(Ordering::Acquire);
                    while asked.load(Ordering::Acquire) == before {
                        std::thread::yield_now();
                    }
                    (0..turn % 128).for_each(|_| spin_loop());
                }
                _ => {}
            });
            assert!(!is_claimed || turn % 3 != 0, "both were first, turn {turn}");
        }
    });
}

/// Until the handler has answered.
fn await_answer(slot: &BoardSlot) {
    while !slot.read().expired {
        std::thread::yield_now();
    }
}

/// No more is to be asked.
const OVER: usize = usize::MAX / 2;

/// Ends [`expire_all`], also when the test fails.
struct Over<'a>(&'a AtomicUsize);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(OVER, Ordering::Release);
    }
}

/// True: the app was first.
fn one_request(slot: &BoardSlot, app: impl FnOnce()) -> bool {
    let (mut client, mut connection) = UnixStream::pair().unwrap();
    slot.begin_request(b"GET", b"/", Monotonic::now());
    open_request(connection.as_raw_fd(), false);
    app();
    let is_claimed = claim_response();
    if is_claimed {
        connection.write_all(b"200").unwrap();
    }
    close_request();
    slot.end_request();
    drop(connection);
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    let expected = if is_claimed { "200" } else { &format!("{HEAD}Gateway Timeout\n") };
    assert_eq!(answer, expected);
    is_claimed
}

/// Names whatever request runs, and runs the handler in this thread.
fn expire_all(slot: &BoardSlot, master: &MasterEnd, asked: &AtomicUsize) {
    while asked.load(Ordering::Relaxed) < OVER {
        if let Some(busy_since) = slot.read().busy_since {
            slot.ask_to_expire(busy_since);
            asked.fetch_add(1, Ordering::Release);
            nix::sys::signal::raise(EXAMINE).unwrap();
            assert_eq!(master.receive().unwrap(), Received::Message(ToMaster::Examined));
        }
    }
}
