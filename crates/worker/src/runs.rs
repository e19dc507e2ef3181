//! How a loop has its requests run: by an app on its own thread, or by the threads of a
//! [pool](crate::pool).
//!
//! What is the same for both is in [`Service`] and [`Loop`], which know this trait only; what differs
//! is decided when the program is compiled, so that a loop that runs the app itself pays nothing for
//! there being another way.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use ironhorn_http::Request as Head;
use ironhorn_unix::Monotonic;
use mio::{Registry, Token};

use crate::application::{Application, Body, Stream};
use crate::event_loop::Loop;
use crate::serve::{ConnectionOf, Next, Service};
use crate::trust::Believed;

/// A request that is complete.
pub(crate) struct Complete<'a> {
    pub(crate) head: &'a Head<'a, 'a>,
    /// Who it is believed to be from.
    pub(crate) believed: &'a Believed<'a>,
    /// The head as received.
    pub(crate) bytes: &'a [u8],
    pub(crate) body: Body,
    /// Bytes of another request have arrived.
    pub(crate) more: bool,
}

/// Runs requests for a loop. The defaults are those of a loop that runs them itself.
pub(crate) trait Runs: Sized {
    /// A piece of a body that waits in the loop.
    type Chunk: AsRef<[u8]>;
    /// What makes the rest of a body, or only ends with it.
    type Stream: Stream<Chunk = Self::Chunk>;

    /// Whether the app runs on the loop's own thread, and so in its lane.
    const INLINE: bool;

    /// Has a request run; `None`: it is answered already, and the next may come.
    fn run(
        service: &mut Service<Self>,
        connection: &mut ConnectionOf<Self>,
        request: Complete<'_>,
    ) -> Option<Next>;

    /// Waits without holding the interpreter: `wait` is the poll.
    fn while_idle<T: Send>(&mut self, wait: impl FnOnce() -> T + Send) -> T;

    /// What comes next may take long: it waits, for a disk perhaps.
    fn before_long(&self) {}

    /// A connection was dealt with, of perhaps many in this turn.
    fn dealt_with(&self) {}

    /// A descriptor that is readable when [`Runs::interrupted`] is to be called.
    fn interrupts(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// A signal that isn't the server's has come.
    fn interrupted(&mut self) {}

    /// Whether no further request can be run, or wait for that, at present.
    fn is_full(&self) -> bool {
        false
    }

    /// How many requests are known to wait.
    fn waiting(&self) -> usize {
        0
    }

    /// A connection has sent what can't be run at present: it will be resumed.
    fn hold_back(&mut self, _connection: &mut ConnectionOf<Self>) {}

    /// Has the loop wake up with `token` when there is something to [attend to](Runs::attend), and
    /// with `expiries` when there are clients to [tell 504](Runs::answer_expired).
    fn wakes(&mut self, _registry: &Registry, _token: Token, _expiries: Token) -> io::Result<()> {
        Ok(())
    }

    /// Requests have expired whose clients only the loop can tell so, or the worker is about to be
    /// ended.
    fn answer_expired(_worker: &mut Loop<'_, Self>) -> io::Result<()> {
        Ok(())
    }

    /// Once a turn, when what the poll has told of is done.
    fn attend(_worker: &mut Loop<'_, Self>) -> io::Result<()> {
        Ok(())
    }

    /// The client of a connection whose request isn't the loop's at present sends no more, or is
    /// away altogether.
    fn leave(_worker: &mut Loop<'_, Self>, _key: usize, _is_broken: bool) {}

    /// The longest that the loop may sleep.
    fn sleep_at_most(_service: &Service<Self>, _now: Monotonic) -> Option<Duration> {
        None
    }

    /// Whether new connections should rather go to a sibling.
    fn leaves_accepting(_service: &Service<Self>) -> bool {
        false
    }

    /// The worker leaves at once, and closes a connection whose request is with the app.
    fn abandon(&self, _connection: &ConnectionOf<Self>) {}

    /// The worker has begun to leave.
    fn begin_leaving(&self) {}
}

/// The app runs on the loop's thread.
impl<A: Application> Runs for A {
    type Chunk = A::Chunk;
    type Stream = A::Stream;

    const INLINE: bool = true;

    fn run(
        service: &mut Service<Self>,
        connection: &mut ConnectionOf<Self>,
        request: Complete<'_>,
    ) -> Option<Next> {
        service.run_here(connection, request)
    }

    fn while_idle<T: Send>(&mut self, wait: impl FnOnce() -> T + Send) -> T {
        Application::while_idle(self, wait)
    }

    fn interrupts(&self) -> Option<BorrowedFd<'_>> {
        Application::interrupts(self)
    }

    fn interrupted(&mut self) {
        Application::interrupted(self);
    }
}
