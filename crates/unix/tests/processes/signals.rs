//! Signals come out of the pipe of the process that they were sent to.

use std::io::ErrorKind;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use ironhorn_unix::{
    Exit, Pid, Received, Signal, Signals, ToMaster, ToWorker, channel, ignore, kill, reset,
};
use nix::sys::signal::{self, SaFlags, SigAction, SigHandler, SigSet, raise};
use std::os::fd::AsFd;

use crate::{Case, DEADLINE, await_readable, end_of, readable_within, spawn, spawn_with};

pub(crate) const CASES: &[Case] = &[
    ("signals::arrive_in_order_and_are_counted", in_order),
    ("signals::a_storm_hides_no_other", storm),
    ("signals::wake_a_poll", wake),
    ("signals::of_the_child_do_not_reach_the_parent", child_has_its_own),
    ("signals::sent_before_the_child_is_ready_are_kept", before_rebuild),
    ("signals::not_in_the_childs_set_are_reset", rebuild_resets),
    ("signals::a_former_handler_is_not_called_but_restored", former_handler),
    ("signals::are_reclaimed", reclaimed),
    ("signals::can_end_the_process", exits_at_once),
    ("signals::that_are_not_heeded_end_who_insists", unheeded),
    ("signals::that_cannot_be_caught", not_catchable),
    ("signals::ignore_and_reset", ignore_and_reset),
    ("signals::can_be_installed_again", again),
];

static FOREIGN: AtomicU32 = AtomicU32::new(0);

extern "C" fn foreign(_: libc::c_int) {
    FOREIGN.fetch_add(1, Ordering::SeqCst);
}

/// What CPython's `signal.signal` does.
fn install_foreign(signal: Signal) {
    let action = SigAction::new(SigHandler::Handler(foreign), SaFlags::SA_RESTART, SigSet::empty());
    // SAFETY: the handler does one atomic addition, and the handler that it replaces is not
    // called from here.
    unsafe { signal::sigaction(signal, &action) }.unwrap();
}

fn in_order() {
    use Signal::{SIGHUP, SIGTTIN, SIGUSR1};
    let mut signals = Signals::install(&[SIGHUP, SIGTTIN, SIGUSR1, SIGHUP]).unwrap();
    assert!(signals.drain().is_empty());
    let sent = [SIGTTIN, SIGTTIN, SIGUSR1, SIGHUP, SIGTTIN];
    for signal in sent {
        raise(signal).unwrap();
    }
    assert_eq!(signals.drain(), sent);
    assert!(signals.drain().is_empty());
}

fn storm() {
    let mut signals = Signals::install(&[Signal::SIGUSR1, Signal::SIGTERM]).unwrap();
    for _ in 0..10_000 {
        raise(Signal::SIGUSR1).unwrap();
    }
    raise(Signal::SIGTERM).unwrap();
    let drained = signals.drain();
    assert_eq!(drained.len(), 33);
    assert_eq!(drained.last(), Some(&Signal::SIGTERM));
    raise(Signal::SIGUSR1).unwrap();
    assert_eq!(signals.drain(), [Signal::SIGUSR1]);
}

fn wake() {
    let mut signals = Signals::install(&[Signal::SIGCHLD]).unwrap();
    let child = spawn(|_| 0);
    await_readable(&signals);
    assert_eq!(signals.drain(), [Signal::SIGCHLD]);
    assert!(!readable_within(signals.as_fd(), Duration::ZERO));
    assert_eq!(end_of(child), Exit::Code(0));
}

fn child_has_its_own() {
    let set = [Signal::SIGTERM, Signal::SIGHUP];
    let signals = Signals::install(&set).unwrap();
    let (ours, theirs) = channel().unwrap();
    let (child, mut signals) = spawn_with(signals, |mask, signals| {
        let mut signals = signals.rebuild(&set).unwrap();
        mask.unblock();
        theirs.send(ToMaster::Ready).unwrap();
        await_readable(&signals);
        i32::from(signals.drain() != [Signal::SIGTERM])
    });
    await_readable(&ours);
    assert_eq!(ours.receive().unwrap(), Received::Message(ToMaster::Ready));
    kill(child, Signal::SIGTERM).unwrap();
    assert_eq!(end_of(child), Exit::Code(0));
    assert!(!readable_within(signals.as_fd(), Duration::ZERO));
    assert!(signals.drain().is_empty());
    // The child's doings have not touched ours.
    raise(Signal::SIGHUP).unwrap();
    assert_eq!(signals.drain(), [Signal::SIGHUP]);
}

fn before_rebuild() {
    let signals = Signals::install(&[Signal::SIGTERM]).unwrap();
    let (ours, theirs) = channel().unwrap();
    let (child, mut signals) = spawn_with(signals, |mask, signals| {
        await_readable(&theirs);
        assert_eq!(theirs.receive().unwrap(), Received::Message(ToWorker::Stop));
        let mut signals = signals.rebuild(&[Signal::SIGTERM]).unwrap();
        assert!(signals.drain().is_empty());
        mask.unblock();
        i32::from(signals.drain() != [Signal::SIGTERM])
    });
    kill(child, Signal::SIGTERM).unwrap();
    ours.send(ToWorker::Stop).unwrap();
    assert_eq!(end_of(child), Exit::Code(0));
    assert!(signals.drain().is_empty());
}

fn rebuild_resets() {
    let set = [Signal::SIGTERM, Signal::SIGUSR2, Signal::SIGCHLD];
    let (child, _signals) = spawn_with(Signals::install(&set).unwrap(), |mask, signals| {
        let _signals = signals.rebuild(&[Signal::SIGTERM]).unwrap();
        mask.unblock();
        raise(Signal::SIGCHLD).unwrap();
        raise(Signal::SIGUSR2).unwrap();
        0
    });
    assert_eq!(end_of(child), Exit::Signal { signal: libc::SIGUSR2, core_dumped: false });
}

fn former_handler() {
    install_foreign(Signal::SIGINT);
    let mut signals = Signals::install(&[Signal::SIGINT]).unwrap();
    raise(Signal::SIGINT).unwrap();
    assert_eq!(signals.drain(), [Signal::SIGINT]);
    assert_eq!(FOREIGN.load(Ordering::SeqCst), 0);

    let (child, signals) = spawn_with(signals, |mask, signals| {
        let mut signals = signals.rebuild(&[Signal::SIGINT]).unwrap();
        mask.unblock();
        raise(Signal::SIGINT).unwrap();
        assert_eq!(signals.drain(), [Signal::SIGINT]);
        assert_eq!(FOREIGN.load(Ordering::SeqCst), 0);
        drop(signals);
        raise(Signal::SIGINT).unwrap();
        i32::from(FOREIGN.load(Ordering::SeqCst) != 1)
    });
    assert_eq!(end_of(child), Exit::Code(0));

    drop(signals);
    raise(Signal::SIGINT).unwrap();
    assert_eq!(FOREIGN.load(Ordering::SeqCst), 1);
}

fn reclaimed() {
    const ALL: [Signal; 2] = [Signal::SIGTERM, Signal::SIGUSR1];
    let mut signals = Signals::install(&[Signal::SIGTERM, Signal::SIGUSR1]).unwrap();
    assert!(signals.reclaim(&ALL).is_empty());
    install_foreign(Signal::SIGTERM);
    ignore(Signal::SIGUSR1).unwrap();
    raise(Signal::SIGTERM).unwrap();
    raise(Signal::SIGUSR1).unwrap();
    assert!(signals.drain().is_empty());
    assert_eq!(signals.reclaim(&ALL), [Signal::SIGTERM, Signal::SIGUSR1]);
    assert!(signals.reclaim(&ALL).is_empty());
    raise(Signal::SIGTERM).unwrap();
    raise(Signal::SIGUSR1).unwrap();
    assert_eq!(signals.drain(), [Signal::SIGTERM, Signal::SIGUSR1]);
    assert_eq!(FOREIGN.load(Ordering::SeqCst), 1);

    // What somebody else has put in since is theirs, and stays.
    install_foreign(Signal::SIGTERM);
    drop(signals);
    raise(Signal::SIGTERM).unwrap();
    assert_eq!(FOREIGN.load(Ordering::SeqCst), 2);
}

/// What a handler that exits does: the process ends, though nobody reads its pipe.
fn exits_at_once() {
    let signals = Signals::install(&[Signal::SIGTERM]).unwrap();
    let (child, _signals) = spawn_with(signals, |mask, signals| {
        let mut signals = signals.rebuild(&[Signal::SIGTERM, Signal::SIGINT]).unwrap();
        signals.exit_on(&[Signal::SIGINT], 7).unwrap();
        mask.unblock();
        raise(Signal::SIGTERM).unwrap();
        assert_eq!(signals.drain(), [Signal::SIGTERM]);
        raise(Signal::SIGINT).unwrap();
        1
    });
    assert_eq!(end_of(child), Exit::Code(7));
}

fn unheeded() {
    let signals = Signals::install(&[Signal::SIGTERM]).unwrap();
    let (child, _signals) = spawn_with(signals, |mask, signals| {
        let mut signals = signals.rebuild(&[Signal::SIGTERM]).unwrap();
        let unheeded = signals.end_if_unheeded(&[Signal::SIGTERM], 9).unwrap();
        mask.unblock();
        for _ in 0..2 {
            raise(Signal::SIGTERM).unwrap();
        }
        assert!(unheeded.is_asked());
        assert_eq!(signals.drain().len(), 2);
        assert!(!unheeded.is_asked());
        unheeded.begin();
        // The second that a signal is given to be heeded passes.
        let deadline = Instant::now() + DEADLINE;
        while Instant::now() < deadline {
            raise(Signal::SIGTERM).unwrap();
            std::thread::sleep(Duration::from_millis(10));
        }
        1
    });
    assert_eq!(end_of(child), Exit::Code(9));
}

fn not_catchable() {
    for signal in [Signal::SIGKILL, Signal::SIGSTOP, Signal::SIGSEGV] {
        let error = Signals::install(&[Signal::SIGUSR1, signal]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{signal}");
    }
    assert!(ignore(Signal::SIGKILL).is_err());
    // SIGUSR1 is as it was: it kills.
    let child = spawn(|mask| {
        mask.unblock();
        raise(Signal::SIGUSR1).unwrap();
        0
    });
    assert_eq!(end_of(child), Exit::Signal { signal: libc::SIGUSR1, core_dumped: false });
}

fn ignore_and_reset() {
    ignore(Signal::SIGTERM).unwrap();
    raise(Signal::SIGTERM).unwrap();
    let child = spawn(|mask| {
        mask.unblock();
        raise(Signal::SIGTERM).unwrap();
        reset(Signal::SIGTERM).unwrap();
        kill(Pid::this(), Signal::SIGTERM).unwrap();
        0
    });
    assert_eq!(end_of(child), Exit::Signal { signal: libc::SIGTERM, core_dumped: false });
}

fn again() {
    for _ in 0..3 {
        let mut signals = Signals::install(&[Signal::SIGWINCH, Signal::SIGTERM]).unwrap();
        raise(Signal::SIGTERM).unwrap();
        assert_eq!(signals.drain(), [Signal::SIGTERM]);
    }
}
