//! A worker that is stuck tells its client, and its master, from a signal handler.
//!
//! A worker whose app doesn't return runs nothing of ours but signal handlers: so the master's
//! question is a signal, and the answer is given in its handler. `SIGURG`, because who doesn't
//! handle it ignores it (signal(7)): a process that is booting, or that the app has forked, comes
//! to no harm.
//!
//! The app may run in several threads, each with a [lane](crate::BoardLane) of its own; one handler
//! looks after all of them, in whichever thread the kernel runs it. A client gets one answer: the
//! app's, if its first byte is [claimed](claim_response) before, else the handler's; or another
//! thread's, where the connection is one that takes more than a system call to speak to.

use std::io;
use std::os::fd::RawFd;
use std::process;
use std::sync::OnceLock;

use nix::errno::Errno;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::sys::socket::{self, MsgFlags, Shutdown};
use nix::unistd::Pid;

use crate::board::{BoardSlot, LANES};
use crate::channel::{ToMaster, WorkerEnd};
use crate::child::kill;
use crate::fork::BlockedSignals;
pub use expiries::{Expiries, watch_expiries};
use request::Request;

mod expiries;
mod request;

/// Asks a worker to [examine](examine()) itself.
pub const EXAMINE: Signal = Signal::SIGURG;

/// The response in the app's stead, head and body.
///
/// RFC 9110 §6.6.1 wants a Date of 2xx, 3xx and 4xx only: no clock has to be read in the handler.
const RESPONSE: &[u8] = b"HTTP/1.1 504 Gateway Timeout\r\n\
    Content-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 16\r\n\
    Connection: close\r\n\
    \r\n\
    Gateway Timeout\n";

/// Bytes of [`RESPONSE`] without its body.
const HEAD: usize = RESPONSE.len() - 16;

/// The requests that the app runs, by their lanes.
static REQUESTS: [Request; LANES] = [const { Request::new() }; LANES];

/// What the handler needs; never freed, as the handler is never taken away.
static EXAMINEE: OnceLock<Examinee> = OnceLock::new();

struct Examinee {
    slot: BoardSlot,
    channel: WorkerEnd,
    /// Whose slot and channel they are: a process that the app forks has copies.
    owner: u32,
    /// What was done at the signal before.
    former: SigHandler,
}

/// How the client of a request is told 504 in the app's stead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The handler writes to this connection. Everything sent there before has been handed to the
    /// kernel.
    Direct {
        /// Where.
        connection: RawFd,
        /// Whether the answer has no body.
        is_head: bool,
    },
    /// The handler takes the response away from the app, and another thread answers
    /// ([`Expiries`]): for a connection that is encrypted.
    ByThread {
        /// What that thread knows the connection by, of 31 bits.
        token: u32,
    },
}

/// Has worker `pid` examine itself: it writes its stacks (if that was arranged), has the clients of
/// the requests that are [to be expired](crate::BoardLane::ask_to_expire) told 504, and says
/// [`ToMaster::Examined`], once. Before its [end](BoardSlot::announce_end) all clients are told that
/// can be.
pub fn examine(pid: Pid) -> io::Result<()> {
    kill(pid, EXAMINE)
}

/// In a worker: from now on, for the process's life, it answers when it is asked to examine itself.
///
/// The handler that it finds (one that writes stacks, such as CPython's faulthandler) runs first,
/// each time. It must not put itself in again when it has run (faulthandler's `chain`): it would
/// be in this one's place.
///
/// Err with `AlreadyExists`: this process answers for another slot.
pub fn answer_examinations(slot: &BoardSlot, channel: &WorkerEnd) -> io::Result<()> {
    let _blocked = BlockedSignals::block()?;
    // signal(7): system calls that are interrupted go on. sigaction(2): a thread that has a stack
    // for signals has it because its own may be too small.
    let flags = SaFlags::SA_RESTART | SaFlags::SA_ONSTACK;
    let action = SigAction::new(SigHandler::SigAction(on_examine), flags, SigSet::empty());
    let channel = channel.try_clone()?;
    if EXAMINEE.get().is_some() {
        let text = "the process answers examinations already";
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
    }
    // SAFETY: the handler does what signal-safety(7) allows: atomic operations on statics and on the
    // board, which is mapped as long as EXAMINEE is, that is for ever; getpid, send, shutdown and
    // write; and what the handler found did. It takes no lock and waits for nobody, allocates
    // nothing, keeps errno and can't panic: lanes are only gone through, and the slot's number was
    // checked when it was made. There is no safe way to put a handler in.
    let former = unsafe { sigaction(EXAMINE, &action) }?.handler();
    let owner = process::id();
    EXAMINEE.get_or_init(|| Examinee { slot: slot.clone(), channel, owner, former });
    Ok(())
}

/// Says that the app is called in this lane, and how its client is told if that takes too long.
///
/// # Panics
/// If there is no such lane, as do the others.
pub fn open_request(lane: usize, answer: Answer) {
    REQUESTS[lane].open(answer);
}

/// Asks for the right to answer, before the first byte of the response leaves. False: the client
/// was told 504, or is being told by another thread. The app's side may send nothing any more, and
/// the connection is to be closed when the answer is out.
///
/// To be asked as often as one likes; the answer stays the same until [`close_request`].
#[must_use = "a client that was told 504 must not be sent anything else"]
pub fn claim_response(lane: usize) -> bool {
    REQUESTS[lane].claim()
}

/// Says that the request is over, and its connection may be closed.
pub fn close_request(lane: usize) {
    REQUESTS[lane].close();
}

/// The signal handler.
extern "C" fn on_examine(
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    let errno = Errno::last_raw();
    // OnceLock: once it is set, a load.
    if let Some(examinee) = EXAMINEE.get() {
        // First: what is asked for from here on has another signal.
        let asked = examinee.slot.asked();
        match examinee.former {
            SigHandler::Handler(former) => former(signal),
            SigHandler::SigAction(former) => former(signal, info, context),
            SigHandler::SigDfl | SigHandler::SigIgn => {}
        }
        if examinee.owner == process::id() {
            examinee.conclude(asked);
        }
    }
    Errno::set_raw(errno);
}

impl Examinee {
    /// Does all that was asked, and says so.
    fn conclude(&self, asked: u32) {
        let left_to_thread = self.expire();
        self.slot.set_examined(asked);
        // The thread says it when it has told them, if there is one that hears of it.
        if !(left_to_thread && expiries::wake()) {
            // A master that doesn't listen has waited long enough.
            let _ = self.channel.send(ToMaster::Examined);
        }
    }

    /// Tells the clients of those requests that are to be expired and have no response yet. True:
    /// some are left to another thread.
    fn expire(&self) -> bool {
        let ending = self.slot.is_ending();
        // Of requests that were not begun the handler doesn't know.
        let mut left_to_thread = ending;
        for (request, lane) in REQUESTS.iter().zip(self.slot.used()) {
            // In this order: if it is another request by the time that the board has been asked,
            // then it is not the open one any more.
            let Some(open) = request.look() else { continue };
            if !ending && !lane.is_asked_to_expire() {
                continue;
            }
            request.answer(open, |answer| match answer {
                Answer::Direct { connection, is_head } => {
                    tell(connection, is_head);
                    lane.set_expired();
                }
                Answer::ByThread { .. } => left_to_thread = true,
            });
        }
        left_to_thread
    }
}

fn tell(connection: RawFd, is_head: bool) {
    let response = if is_head { &RESPONSE[..HEAD] } else { RESPONSE };
    // If the kernel doesn't take it, for a client that has gone or reads nothing, then the end of
    // the connection says as much.
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    let _ = socket::send(connection, response, flags);
    let _ = socket::shutdown(connection, Shutdown::Write);
}
