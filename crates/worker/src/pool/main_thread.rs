//! The process's main thread, which starts the others and waits for the loop's end.
//!
//! It runs nothing of a request. But Python calls signal handlers on this thread alone, so it is kept
//! free for them: they run promptly however busy all the others are.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::thread;

use ironhorn_unix::State;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};

use super::seat::Seat;
use super::{Pool, Shared};
use crate::event_loop::Loop;
use crate::serve::Surroundings;
use crate::{Context, Left};

const MAIL: Token = Token(0);
const INTERRUPTS: Token = Token(1);

/// What the main thread of a process does for the app while others run it.
pub trait MainThread<C, R> {
    /// Starts a thread that makes itself an app and [serves](Seat::serve) with it.
    fn start(&mut self, seat: Seat<C, R>) -> io::Result<()>;

    /// Waits without holding the interpreter.
    fn while_idle<T: Send>(&mut self, wait: impl FnOnce() -> T + Send) -> T;

    /// A descriptor that is readable when [`MainThread::interrupted`] is to be called.
    fn interrupts(&self) -> Option<BorrowedFd<'_>>;

    /// A signal that isn't the server's has come: the app's own handlers run.
    fn interrupted(&mut self);

    /// Ends a response that no app thread has ended.
    fn finish(&mut self, rest: R);
}

/// Serves with an app on each of [`Options::threads`](crate::Options::threads) threads until told to
/// leave.
///
/// A worker that has drained has ended its app threads. One that leaves at once hasn't: what they do
/// ends with the process.
///
/// # Errors
/// A thread can't be started or has no app, an app thread has panicked, or the poll itself fails.
pub fn run_on_threads<M, C, R>(context: Context<'_>, main: &mut M) -> io::Result<Left>
where
    M: MainThread<C, R>,
    C: AsRef<[u8]> + Send,
    R: Send,
{
    let threads = context.options.threads;
    let shared = Arc::new(Shared::new(threads));
    let seats = start(&context, &shared, main)?;
    let pool = Pool::new(Arc::clone(&shared), threads, context.options.queue);

    let mut poll = Poll::new()?;
    if let Some(interrupts) = main.interrupts() {
        let interrupts = interrupts.as_raw_fd();
        poll.registry().register(&mut SourceFd(&interrupts), INTERRUPTS, Interest::READABLE)?;
    }
    // Held here too: a waker that is dropped takes along what it has not told of yet.
    let waker = Arc::new(Waker::new(poll.registry(), MAIL)?);
    let (mail, received) = mailbox(&waker);
    let mut enters = mail.enters();
    let left = thread::scope(|scope| -> io::Result<Left> {
        let Context {
            options,
            entrances,
            channel,
            signals,
            slot,
            access_log,
            reopen_logs,
            enters: main_enters,
        } = context;
        let ended = mail;
        let the_loop =
            thread::Builder::new().name("ironhorn-loop".into()).spawn_scoped(scope, move || {
                let _ended = Ended(ended);
                let context = Context {
                    options,
                    entrances,
                    channel,
                    signals,
                    slot,
                    access_log,
                    reopen_logs,
                    enters: &mut enters,
                };
                Loop::new(context, pool)?.run()
            })?;
        if let Err(error) = attend(main, &mut poll, &received, main_enters) {
            log::error!(error:%; "the main thread can't wait; signal handlers of the app won't run");
        }
        match main.while_idle(|| the_loop.join()) {
            Ok(left) => left,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    });
    shared.queue.stop();
    if matches!(left, Ok(Left::Drained)) {
        // Each holds its end of this until it is done.
        main.while_idle(move || while seats.recv().is_ok() {});
    }
    // Nobody will run them.
    while shared.queue.withdraw_first(|_| true).is_some() {}
    while let Some(rest) = shared.queue.take_rest() {
        main.finish(rest);
    }
    left
}

/// Starts the app threads, and waits until each has its app. They are gone when nothing can be
/// received any more.
fn start<M, C, R>(
    context: &Context<'_>,
    shared: &Arc<Shared<C, R>>,
    main: &mut M,
) -> io::Result<Receiver<Result<(), String>>>
where
    M: MainThread<C, R>,
    C: AsRef<[u8]> + Send,
    R: Send,
{
    let Context { options, slot, access_log, .. } = context;
    let environ_names =
        access_log.as_ref().map(|log| log.environ_names().to_vec()).unwrap_or_default();
    let threads = options.threads;
    let (begins, begun) = mpsc::sync_channel(threads);
    for index in 0..threads {
        let (lane, names) = (slot.lane(index), environ_names.clone());
        let around = Surroundings::new(options.clone(), slot.clone(), lane, names, false);
        let seat = Seat { index, shared: Arc::clone(shared), around, begins: begins.clone() };
        main.start(seat).map_err(|error| {
            shared.queue.stop();
            let text = format!("cannot start app thread {} of {threads}: {error}", index + 1);
            io::Error::new(error.kind(), text)
        })?;
    }
    drop(begins);
    let (failed, begun) = main.while_idle(move || {
        let failed = (0..threads).find_map(|_| match begun.recv() {
            Ok(begun) => begun.err(),
            Err(_) => Some("an app thread has panicked".to_owned()),
        });
        (failed, begun)
    });
    match failed {
        None => Ok(begun),
        Some(why) => {
            shared.queue.stop();
            Err(io::Error::other(why))
        }
    }
}

/// Waits for the loop's end, and runs what is to be run here.
fn attend<C, R>(
    main: &mut impl MainThread<C, R>,
    poll: &mut Poll,
    received: &Receiver<Letter>,
    enters: &mut dyn FnMut(State),
) -> io::Result<()> {
    let mut events = Events::with_capacity(2);
    loop {
        match main.while_idle(|| poll.poll(&mut events, None)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                events.clear();
                main.interrupted();
            }
            result => result?,
        }
        if events.iter().any(|event| event.token() == INTERRUPTS) {
            main.interrupted();
        }
        for letter in received.try_iter() {
            match letter {
                Letter::Entered(state, heard) => {
                    enters(state);
                    let _ = heard.send(());
                }
                Letter::Ended => return Ok(()),
            }
        }
    }
}

/// What the loop tells the main thread.
enum Letter {
    /// The worker's state is another; who waits for that to be heard is told.
    Entered(State, SyncSender<()>),
    /// It has ended.
    Ended,
}

/// The loop's end of the line to the main thread.
#[derive(Clone)]
struct Mail {
    letters: Sender<Letter>,
    waker: Arc<Waker>,
}

fn mailbox(waker: &Arc<Waker>) -> (Mail, Receiver<Letter>) {
    let (letters, received) = mpsc::channel();
    (Mail { letters, waker: Arc::clone(waker) }, received)
}

impl Mail {
    fn post(&self, letter: Letter) {
        // The main thread waits for the loop's end, and so until the last letter.
        let _ = self.letters.send(letter);
        if let Err(error) = self.waker.wake() {
            log::error!(error:%; "cannot wake the main thread");
        }
    }

    /// Has the main thread told of states. What it does when the worker is ready is waited for, as
    /// nothing is served before; afterwards the loop waits for nobody.
    fn enters(&self) -> impl FnMut(State) + Send + use<> {
        let mail = self.clone();
        move |state| {
            let (hears, heard) = mpsc::sync_channel(1);
            mail.post(Letter::Entered(state, hears));
            if state == State::Ready {
                let _ = heard.recv();
            }
        }
    }
}

/// Says that the loop has ended, however it has.
struct Ended(Mail);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.post(Letter::Ended);
    }
}
