//! A worker that is stuck answers in a signal handler, once.

use std::hint::spin_loop;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ironhorn_unix::{
    Answer, Board, BoardLane, BoardSlot, EXAMINE, Exit, LANES, MasterEnd, Monotonic, Pid, Received,
    Signal, ToMaster, answer_examinations, channel, claim_response, close_request, examine, kill,
    open_request, watch_expiries,
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
    ("examine::each_lane_has_its_client_and_its_time", lanes),
    ("examine::what_the_handler_cannot_say_another_thread_does", by_thread),
    ("examine::without_a_loop_nobody_waits_for_it", by_nobody),
];

const HEAD: &str = "HTTP/1.1 504 Gateway Timeout\r\n\
    Content-Type: text/plain; charset=utf-8\r\nContent-Length: 16\r\nConnection: close\r\n\r\n";

/// A worker that runs `app`, after it has opened a request.
struct Stuck {
    worker: Pid,
    channel: MasterEnd,
    slot: BoardSlot,
    lane: BoardLane,
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
            slot.lane(0).begin_request(b"GET", b"/slow", busy_since);
            open_request(0, Answer::Direct { connection: connection.as_raw_fd(), is_head });
            worker.send(ToMaster::Ready).unwrap();
            app(&connection, &slot);
            0
        });
        let lane = slot.lane(0);
        let stuck = Self { worker: child, channel, slot, lane, client, busy_since };
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
        assert!(!self.lane.is_expired());
    }

    fn kill(self) {
        kill(self.worker, Signal::SIGKILL).unwrap();
        end_of(self.worker);
    }
}

fn direct(connection: &UnixStream) -> Answer {
    Answer::Direct { connection: connection.as_raw_fd(), is_head: false }
}

fn for_ever(_: &UnixStream, _: &BoardSlot) {
    loop {
        spin_loop();
    }
}

fn stuck() {
    let mut stuck = Stuck::start(false, for_ever);
    stuck.lane.ask_to_expire(stuck.busy_since);
    stuck.examine();
    assert!(stuck.lane.is_expired());
    assert_eq!(stuck.answer(), format!("{HEAD}Gateway Timeout\n"));
    // Once for each request, but examined it is as often as it is asked.
    stuck.examine();
    stuck.kill();
}

fn head() {
    let mut stuck = Stuck::start(true, for_ever);
    stuck.lane.ask_to_expire(stuck.busy_since);
    stuck.examine();
    assert_eq!(stuck.answer(), HEAD);
    stuck.kill();
}

fn claimed() {
    let mut stuck = Stuck::start(false, |mut connection, slot| {
        assert!(claim_response(0));
        slot.set_connections(1);
        await_expiry(slot);
        assert!(claim_response(0));
        connection.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        connection.shutdown(std::net::Shutdown::Write).unwrap();
        for_ever(connection, slot);
    });
    stuck.await_connection();
    stuck.lane.ask_to_expire(stuck.busy_since);
    stuck.examine();
    assert!(!stuck.lane.is_expired());
    assert_eq!(stuck.answer(), "HTTP/1.1 200 OK\r\n\r\n");
    stuck.kill();
}

/// Until the master has named the request.
fn await_expiry(slot: &BoardSlot) {
    while !slot.lane(0).is_asked_to_expire() {
        spin_loop();
    }
}

fn another() {
    let stuck = Stuck::start(false, for_ever);
    stuck.examine();
    stuck.assert_not_answered();
    stuck.lane.ask_to_expire(Monotonic::from_nanos(stuck.busy_since.as_nanos() - 1));
    stuck.examine();
    stuck.assert_not_answered();
    stuck.kill();
}

fn idle() {
    let stuck = Stuck::start(false, |connection, slot| {
        close_request(0);
        slot.lane(0).end_request();
        slot.set_connections(1);
        for_ever(connection, slot);
    });
    stuck.await_connection();
    stuck.lane.ask_to_expire(stuck.busy_since);
    stuck.examine();
    stuck.assert_not_answered();
    stuck.kill();
}

fn next_request() {
    let stuck = Stuck::start(false, |connection, slot| {
        while !slot.lane(0).is_expired() {
            spin_loop();
        }
        assert!(!claim_response(0));
        assert!(!claim_response(0));
        close_request(0);
        slot.lane(0).end_request();
        assert!(claim_response(0));
        slot.lane(0).begin_request(b"GET", b"/", Monotonic::now());
        open_request(0, direct(connection));
        assert!(!slot.lane(0).is_expired());
        assert!(claim_response(0));
        close_request(0);
    });
    stuck.lane.ask_to_expire(stuck.busy_since);
    stuck.examine();
    assert_eq!(end_of(stuck.worker), Exit::Code(0));
}

fn errno_kept() {
    let (go, at_gate) = UnixStream::pair().unwrap();
    let stuck = Stuck::start(false, |_, slot| {
        (&at_gate).read_exact(&mut [0]).unwrap();
        Errno::EXDEV.set();
        slot.set_connections(1);
        while !slot.lane(0).is_expired() {
            spin_loop();
        }
        assert_eq!(Errno::last(), Errno::EXDEV);
    });
    // Sending fails in the handler, with an errno of its own.
    stuck.client.shutdown(std::net::Shutdown::Both).unwrap();
    (&go).write_all(b"x").unwrap();
    stuck.await_connection();
    stuck.lane.ask_to_expire(stuck.busy_since);
    stuck.examine();
    assert_eq!(end_of(stuck.worker), Exit::Code(0));
}

fn restarted() {
    let (go, at_gate) = UnixStream::pair().unwrap();
    let stuck = Stuck::start(false, |_, _| {
        assert_eq!(nix::unistd::read(&at_gate, &mut [0]), Ok(1));
    });
    await_sleep(stuck.worker);
    stuck.lane.ask_to_expire(stuck.busy_since);
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
    stuck.lane.ask_to_expire(stuck.busy_since);
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
        while !slot.lane(0).is_expired() {
            spin_loop();
        }
        assert_eq!((FORMER.load(Ordering::Relaxed), Errno::last()), (1, Errno::EXDEV));
    });
    stuck.await_connection();
    stuck.lane.ask_to_expire(stuck.busy_since);
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
    while !slot.lane(0).is_expired() {
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
    slot.lane(0).begin_request(b"GET", b"/", Monotonic::now());
    open_request(0, direct(&connection));
    app();
    let is_claimed = claim_response(0);
    if is_claimed {
        connection.write_all(b"200").unwrap();
    }
    close_request(0);
    slot.lane(0).end_request();
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
        let lane = slot.lane(0);
        if let Some(running) = lane.read() {
            lane.ask_to_expire(running.busy_since);
            asked.fetch_add(1, Ordering::Release);
            nix::sys::signal::raise(EXAMINE).unwrap();
            assert_eq!(master.receive().unwrap(), Received::Message(ToMaster::Examined));
        }
    }
}

/// One thread with a signal handler for all, many lanes: those that were named are answered, in one
/// examination, and nobody else.
fn lanes() {
    const NAMED: [usize; 4] = [0, 3, 40, LANES - 1];
    let slot = Board::new(1).unwrap().slot(1);
    let (master, worker) = channel().unwrap();
    let pairs: Vec<_> = (0..LANES).map(|_| UnixStream::pair().unwrap()).collect();
    answer_examinations(&slot, &worker).unwrap();
    let since = |index: usize| Monotonic::from_nanos(1 + u64::try_from(index).unwrap());
    // The last lane is idle, and so is every seventh.
    let is_open = |index: usize| index % 7 != 6 && index != LANES - 1;
    for (index, (_, connection)) in pairs.iter().enumerate().filter(|(index, _)| is_open(*index)) {
        slot.lane(index).begin_request(b"GET", b"/", since(index));
        open_request(index, direct(connection));
    }
    // In this one the app was first.
    assert!(claim_response(40));
    for index in NAMED {
        slot.lane(index).ask_to_expire(since(index));
    }
    let asked = slot.ask_to_examine();
    nix::sys::signal::raise(EXAMINE).unwrap();
    assert_eq!(slot.examined(), asked);
    assert_eq!(master.receive().unwrap(), Received::Message(ToMaster::Examined));
    assert_eq!(master.receive().unwrap(), Received::Nothing, "it is said once");
    for (index, (client, connection)) in pairs.into_iter().enumerate() {
        let told = NAMED.contains(&index) && is_open(index) && index != 40;
        assert_eq!(slot.lane(index).is_expired(), told, "lane {index}");
        assert_eq!(claim_response(index), !told, "lane {index}");
        close_request(index);
        drop(connection);
        let mut answer = String::new();
        (&client).read_to_string(&mut answer).unwrap();
        let expected = if told { format!("{HEAD}Gateway Timeout\n") } else { String::new() };
        assert_eq!(answer, expected, "lane {index}");
    }
}

fn by_thread() {
    const TOKEN: u32 = 77;
    let slot = Board::new(1).unwrap().slot(1);
    let (master, worker) = channel().unwrap();
    answer_examinations(&slot, &worker).unwrap();
    let expiries = watch_expiries().unwrap();
    let readable = || readable_within(expiries.as_fd(), Duration::ZERO);
    let since = Monotonic::from_nanos(5);
    let begin = |index: usize| {
        slot.lane(index).begin_request(b"GET", b"/", since);
        open_request(index, Answer::ByThread { token: TOKEN });
    };
    [0, 1, 2].into_iter().for_each(begin);
    nix::sys::signal::raise(EXAMINE).unwrap();
    assert_eq!(master.receive().unwrap(), Received::Message(ToMaster::Examined));
    assert!(!readable(), "nothing is to expire");

    slot.lane(1).ask_to_expire(since);
    nix::sys::signal::raise(EXAMINE).unwrap();
    assert_eq!(master.receive().unwrap(), Received::Nothing, "that is the thread's to say");
    assert!(readable());
    expiries.wait().unwrap();
    assert_eq!([0, 1, 2].map(claim_response), [true, false, true]);
    assert!(!slot.lane(1).is_expired(), "its client was told nothing so far");
    for _ in 0..2 {
        assert_eq!(expiries.take().collect::<Vec<_>>(), [(1, TOKEN)]);
        assert!(!readable());
    }
    slot.lane(1).set_expired();
    assert_eq!(expiries.take().collect::<Vec<_>>(), []);
    // The app comes back, and the lane serves the next one.
    assert!(!claim_response(1));
    close_request(1);
    begin(1);
    assert_eq!(expiries.take().collect::<Vec<_>>(), []);
    assert!(claim_response(1));
}

fn by_nobody() {
    let slot = Board::new(1).unwrap().slot(1);
    let (master, worker) = channel().unwrap();
    answer_examinations(&slot, &worker).unwrap();
    let since = Monotonic::from_nanos(5);
    slot.lane(0).begin_request(b"GET", b"/", since);
    open_request(0, Answer::ByThread { token: 1 });
    slot.lane(0).ask_to_expire(since);
    nix::sys::signal::raise(EXAMINE).unwrap();
    assert_eq!(master.receive().unwrap(), Received::Message(ToMaster::Examined));
    assert!(!claim_response(0));
    assert!(!slot.lane(0).is_expired());
}
