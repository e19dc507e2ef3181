//! Tells clients of expired requests 504 over TLS, where the app runs on the loop's own thread.
//!
//! ```text
//!  the loop:     lend ─► the app runs … ───────────────────► reclaim
//!  the handler:               takes the response, wakes ─┐
//!  this thread:                                          └─► tells the client, if it is still lent
//! ```
//!
//! A signal handler can't encrypt, and the loop is in the app: so a thread that does nothing else
//! waits for the handler's word. It is never attached to the interpreter: C code that holds the GIL
//! doesn't hold it up. All signals are blocked in it: they are to interrupt the main thread, which runs
//! the app.
//!
//! A connection that is lent is one thread's at a time. The handler wakes this one only when the app's
//! side may send nothing any more (`claim_response`); and who then takes the [`Loan`], under the
//! lock, tells the client: this thread, or the loop if the app comes back in that very moment. The
//! lock is held meanwhile, so that the loop doesn't go on to another request before its client is
//! told; that takes microseconds, as the socket isn't waited for.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use ironhorn_http::{DateCache, refusal_response};
use ironhorn_unix::{
    BlockedSignals, BoardLane, BoardSlot, Expiries, ToMaster, WorkerEnd, name_thread,
    watch_expiries,
};

use crate::transport::Transport;
use crate::wire::HeadContext;
use crate::{Entrance, Options, Protocol};

const TEXT: &str = "Gateway Timeout";

/// The loop's hold on the thread, which lives as long as the process: like the handler's, its word is
/// never taken back.
#[derive(Debug)]
pub(crate) struct ExpiryThread {
    lent: Arc<Lent>,
}

/// The connection whose request the app runs, unless its client was told 504.
#[derive(Debug, Default)]
struct Lent(Mutex<Option<Loan>>);

/// A connection whose client may have to be told 504.
#[derive(Debug)]
pub(crate) struct Loan {
    stream: Arc<Transport>,
    is_head: bool,
}

impl ExpiryThread {
    /// Starts it for a worker that runs the app in its loop, if its clients may have to be told.
    pub(crate) fn start_if_needed(
        options: &Options,
        entrances: &[Entrance],
        slot: &BoardSlot,
        channel: &WorkerEnd,
    ) -> io::Result<Option<Self>> {
        let speaks_tls = |entrance: &Entrance| matches!(entrance.protocol, Protocol::Https(_));
        if !options.expires || !entrances.iter().any(speaks_tls) {
            return Ok(None);
        }
        let lent = Arc::new(Lent::default());
        let attendant = Attendant {
            lent: Arc::clone(&lent),
            expiries: watch_expiries()?,
            lane: slot.lane(0),
            channel: channel.try_clone()?,
            server: options.server.clone(),
        };
        // A thread begins with the mask of the one that starts it.
        let _blocked = BlockedSignals::block()?;
        thread::Builder::new().spawn(move || attendant.attend())?;
        Ok(Some(Self { lent }))
    }

    /// The app is about to be called for a request of this connection.
    pub(crate) fn lend(&self, stream: &Arc<Transport>, is_head: bool) {
        *self.lent.lock() = Some(Loan { stream: Arc::clone(stream), is_head });
    }

    /// The app has come back. From here on the thread leaves the connection alone; if it has told the
    /// client, or nothing was lent, there is none.
    pub(crate) fn reclaim(&self) -> Option<Loan> {
        self.lent.lock().take()
    }
}

impl Lent {
    fn lock(&self) -> MutexGuard<'_, Option<Loan>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Loan {
    /// Answers 504 in the app's stead.
    pub(crate) fn tell(&self, context: HeadContext<'_>) {
        tell_504(&self.stream, self.is_head, context);
    }
}

/// Sends 504 in the app's stead, as the last answer.
pub(crate) fn tell_504(stream: &Transport, is_head: bool, context: HeadContext<'_>) {
    let HeadContext { date, server } = context;
    let mut answer = Vec::new();
    refusal_response(&mut answer, 504, date, server, TEXT);
    if is_head {
        answer.truncate(answer.len() - TEXT.len() - "\n".len());
    }
    // What a client doesn't take now, it learns by the end of the connection.
    let _ = stream.send(&answer);
    let _ = stream.flush();
    let _ = stream.shutdown_write();
}

/// What the thread works with.
struct Attendant {
    lent: Arc<Lent>,
    expiries: &'static Expiries,
    lane: BoardLane,
    channel: WorkerEnd,
    server: String,
}

impl Attendant {
    fn attend(&self) {
        name_thread("ironhorn-504");
        // No descriptor of ours that is open fails to be polled.
        while self.expiries.wait().is_ok() {
            self.tell();
            // A master that is gone has no use for it.
            let _ = self.channel.send(ToMaster::Examined);
        }
    }

    fn tell(&self) {
        let mut lent = self.lent.lock();
        // Asked under the lock: the loop opens a request after it has lent its connection, and lends
        // none before the one before is closed. So it is the lent one's that has expired.
        let has_expired = self.expiries.take().any(|(lane, _)| lane == self.lane.index());
        if has_expired && let Some(loan) = lent.take() {
            let date = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let mut dates = DateCache::new();
            let date = dates.at(date.as_secs());
            loan.tell(HeadContext { date, server: self.server.as_bytes() });
            self.lane.set_expired();
        }
    }
}
