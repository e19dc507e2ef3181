//! One app thread: takes requests, calls the app, sends.
//!
//! The thread is attached to the interpreter while it runs the app and lets go of it once a request:
//! it sends the response, gives the request back and waits for the next one in one go. A response
//! that the app makes as it goes holds its thread to its end; its chunks are sent without letting go,
//! as a socket that has room takes a chunk in less time than it costs to come by the interpreter
//! again, and a full one is waited for like the next request, within the write timeout.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use ironhorn_http::FieldStorage;
use ironhorn_unix::{
    BoardLane, Monotonic, claim_response, close_request, current_thread, name_thread, open_request,
};
use mio::Token;

use super::queue::Work;
use super::{Done, Job, Leftover, Outcome, Shared, ThreadApplication};
use crate::application::{Reply, Request};
use crate::connection::{Client, Suspended};
use crate::exchange::catch_up;
use crate::response::{Cut, Progress, Response};
use crate::serve::{Surroundings, parsed_before};

/// Who has waited longer than this may have lost its client.
const FRESH: Duration = Duration::from_millis(5);
/// A loop that takes longer than this to tell a client 504 is not waited for.
const TOLD_WITHIN: Duration = Duration::from_secs(1);

/// Where one app thread works.
pub struct Seat<C, R> {
    /// From 0; its lane's too.
    pub(super) index: usize,
    pub(super) shared: Arc<Shared<C, R>>,
    pub(super) around: Surroundings,
    /// Told when the app is there, or why it isn't.
    pub(super) begins: SyncSender<Result<(), String>>,
}

/// A response that is ready to be sent.
struct Answered<C, R> {
    token: Token,
    client: Client,
    suspended: Box<Suspended<C, Leftover<C, R>>>,
    reply: Reply<C, Leftover<C, R>>,
}

impl<C: AsRef<[u8]> + Send, R: Send> Seat<C, R> {
    /// The thread's number, from 0, which is that of its lane on the board.
    pub fn index(&self) -> usize {
        self.index
    }

    /// The thread's name.
    pub fn name(&self) -> String {
        name(self.index)
    }

    /// There is no app for this thread, and so none for the worker.
    pub fn give_up(self, why: String) {
        // Nobody who doesn't listen wants to know.
        let _ = self.begins.send(Err(why));
    }

    /// Serves until the worker has nothing left for it.
    pub fn serve<A>(mut self, mut app: A)
    where
        A: ThreadApplication<Chunk = C, Rest = R>,
    {
        let _alarm = Alarm(Arc::clone(&self.shared));
        name_thread(&self.name());
        self.around.lane.set_thread(current_thread());
        let _ = self.begins.send(Ok(()));
        let mut answered = None;
        loop {
            let seat = &mut self;
            let sent = answered.take();
            app.while_idle(move || {
                if let Some(answered) = sent {
                    seat.send(answered);
                }
                seat.wait_for_work();
            });
            match self.shared.queue.take() {
                Work::Request(job) => {
                    self.shared.entered.fetch_add(1, Ordering::Relaxed);
                    answered = self.call(&mut app, job);
                }
                Work::Rest(rest) => app.finish(rest),
                Work::Nothing => {}
                Work::Stop => return,
            }
        }
    }

    /// Waits for work, but not while there is much that this thread frees by coming back.
    fn wait_for_work(&self) {
        let Shared { garbage, queue, .. } = &*self.shared;
        if garbage.is_much() {
            queue.come();
        } else {
            queue.wait(self.index);
        }
        garbage.forget();
    }

    /// Calls the app. What it answers is sent later, unless the app makes it as it goes.
    fn call<A>(&mut self, app: &mut A, job: Job<C, R>) -> Option<Answered<C, R>>
    where
        A: ThreadApplication<Chunk = C, Rest = R>,
    {
        let Job { token, client, mut suspended, body, more, since, unseen, .. } = job;
        let now = Monotonic::now();
        if (unseen || now.since(since) >= FRESH) && client.stream.is_hung_up() {
            log::debug!(peer:? = client.sender.peer; "client gone before its request was run");
            self.shared.leave();
            self.shared.give_back(Done { token, suspended, outcome: Outcome::Left });
            return None;
        }
        self.around.look_at_clock();
        let Suspended { head: bytes, response } = &mut *suspended;
        let mut storage = FieldStorage::new();
        let head = parsed_before(bytes, &mut storage, &self.around.options.limits);
        let lane = &self.around.lane;
        lane.begin_request(head.method.as_bytes(), head.target.as_ref(), now);
        open_request(lane.index(), client.answer(head.method == "HEAD"));
        let believed = self.around.options.trust.read(&head, &client);
        let believed = believed.expect("invariant: it was believed when the head came");
        let request = Request {
            head: &head,
            sender: &believed.sender,
            listener: client.listener,
            tls: client.stream.tls_facts(),
            forwarded: believed.forwarded,
        };
        let reply = app.call(&request, body, &mut response.live(&client, &self.around));
        if !claim_response(lane.index()) {
            // What the app answered goes nowhere; dropping it closes it.
            drop(reply);
            if client.stream.direct().is_none() {
                let lane = lane.clone();
                app.while_idle(move || await_told(&lane));
            }
            let progress = response.cut(Cut::Expired);
            self.shared.leave();
            self.give_back(token, suspended, progress);
            return None;
        }
        if !response.wire.head_sent() {
            // The worker may have been asked to leave in the meantime.
            response.wire.persistent &= more || !self.is_leaving();
        }
        match reply {
            Reply::Stream { first, rest } => {
                self.stream(app, token, &client, *suspended, first, rest);
                None
            }
            reply => {
                let reply = reply.map_rest(|rest| Leftover::new(A::leave(rest), &self.shared));
                self.shared.leave();
                Some(Answered { token, client, suspended, reply })
            }
        }
    }

    /// Sends a body as the app makes it.
    fn stream<A>(
        &self,
        app: &mut A,
        token: Token,
        client: &Client,
        suspended: Suspended<C, Leftover<C, R>>,
        first: Option<C>,
        rest: A::Stream,
    ) where
        A: ThreadApplication<Chunk = C, Rest = R>,
    {
        let Suspended { head, response } = suspended;
        let mut response: Response<C, A::Stream> =
            response.map_rest(|_| unreachable!("invariant: nothing was answered so far"));
        let mut progress = response.begin(Reply::Stream { first, rest }, client, &self.around);
        while response.is_streaming() && matches!(progress, Progress::Blocked | Progress::Yielded) {
            let idle = &mut |wait: &mut (dyn FnMut() + Send)| {
                // A worker that leaves at once is done with what it has begun.
                if !self.shared.quitting.load(Ordering::Acquire) {
                    app.while_idle(wait);
                }
            };
            progress = match catch_up(&mut response.wire, client, &self.around, 0, idle) {
                Ok(()) if !self.shared.quitting.load(Ordering::Acquire) => {
                    response.advance(client, &self.around)
                }
                Ok(()) | Err(_) => response.cut(Cut::ClientGone),
            };
        }
        self.shared.leave();
        // What the socket hasn't taken of the last chunk is the loop's to send.
        let response = response.map_rest(|rest| Leftover::new(A::leave(rest), &self.shared));
        self.give_back(token, Box::new(Suspended { head, response }), progress);
    }

    /// Sends what the socket takes.
    fn send(&self, answered: Answered<C, R>) {
        let Answered { token, client, mut suspended, reply } = answered;
        let made = reply.length();
        let progress = suspended.response.begin(reply, &client, &self.around);
        // The rest is counted where it is dropped.
        let dropped = made.saturating_sub(suspended.response.wire.kept());
        self.give_back(token, suspended, progress);
        // Not before: the loop, which wakes up now, would have another thread free it.
        self.shared.garbage.add(dropped);
    }

    /// The app's part is over.
    fn give_back(
        &self,
        token: Token,
        suspended: Box<Suspended<C, Leftover<C, R>>>,
        progress: Progress,
    ) {
        let lane = &self.around.lane;
        lane.end_request();
        close_request(lane.index());
        self.shared.give_back(Done { token, suspended, outcome: Outcome::Answered(progress) });
    }

    fn is_leaving(&self) -> bool {
        self.shared.closing.load(Ordering::Acquire) || self.around.slot.is_asked_to_leave()
    }
}

/// Until the loop has told the client 504: it finds the request by its lane.
fn await_told(lane: &BoardLane) {
    let deadline = Monotonic::now() + TOLD_WITHIN;
    while !lane.is_expired() && Monotonic::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A name that the kernel keeps whole: it has room for 15 bytes.
fn name(index: usize) -> String {
    let number = index + 1;
    if number < 100 { format!("ironhorn-app-{number}") } else { format!("ironhorn-app{number}") }
}

/// Tells the loop if its thread dies.
struct Alarm<C, R>(Arc<Shared<C, R>>);

impl<C, R> Drop for Alarm<C, R> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail();
        }
    }
}
