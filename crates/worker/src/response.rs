//! One response from the app's reply to its last byte.
//!
//! ```text
//!  Reply ─► begin ─► advance ─► Finished
//!                     │  ▲
//!             Blocked ▼  │ socket writable, or another turn
//!                  (waits in the connection)
//! ```
//!
//! Most responses are finished by `begin` and one `advance`, and never leave the stack.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use ironhorn_unix::{Monotonic, Peer};

use crate::Options;
use crate::application::{Failed, Reply, Stream};
use crate::connection::Client;
use crate::exchange::Live;
use crate::file::{FileRest, Step};
use crate::pace::Pace;
use crate::serve::Surroundings;
use crate::wire::Wire;

/// Chunks of one body that may be made before other connections get a turn.
const CHUNKS_A_TURN: usize = 64;
/// And how long that may take; an app that is slower has made one.
const TIME_A_TURN: Duration = Duration::from_millis(1);
/// Up to this many bytes of a file are read and sent with the head.
const READ: u64 = 8 << 10;
/// Steps of a file that may be sent before other connections get a turn.
const STEPS_A_TURN: usize = 8;

/// A response that has been begun.
#[derive(Debug)]
pub(crate) struct Response<C, S> {
    pub(crate) wire: Wire<C>,
    source: Source<S>,
    /// Whether it is the app's, whose time and requests are counted.
    pub(crate) is_apps: bool,
    /// When the app was called.
    pub(crate) started: Monotonic,
    /// Whom it is for, as the access log has it.
    pub(crate) peer: Peer,
    /// The client has taken something since this was last set to false, or it never was.
    pub(crate) progressed: bool,
    /// While it waits for its client.
    wait: Wait,
    /// Values for the access log, by the index of their name.
    pub(crate) environ: Vec<Option<Vec<u8>>>,
}

/// Where the rest of the body comes from.
#[derive(Debug)]
enum Source<S> {
    Ended,
    Stream(S),
    /// `rest` is what the app made of it, if it is the app's.
    File {
        file: FileRest,
        rest: Option<S>,
    },
}

/// How long a response has waited for its client, and how much the client has taken meanwhile.
#[derive(Clone, Copy, Debug, Default)]
struct Wait {
    /// Of the waits that are over.
    elapsed: Duration,
    /// When the present one began.
    since: Option<Monotonic>,
    /// What had been taken when the first one began, in bytes of the body.
    from: Option<u64>,
}

/// How far a response has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Every byte is with the kernel.
    Finished,
    /// The socket is full.
    Blocked,
    /// There is more to do, after the others had a turn.
    Yielded,
    /// It can't be completed, and the client shall be able to tell.
    Cut(Cut),
}

/// Why a response is cut short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    ClientGone,
    /// The app raised after the head was sent; the traceback is logged.
    AppFailed,
    /// The file can't be read, or ended before what was announced.
    FileFailed,
    /// The client was told 504 while the app ran.
    Expired,
}

impl<C: AsRef<[u8]>, S: Stream<Chunk = C>> Response<C, S> {
    pub(crate) fn new(wire: Wire<C>, started: Monotonic, peer: Peer) -> Self {
        Self {
            wire,
            source: Source::Ended,
            is_apps: true,
            started,
            peer,
            progressed: true,
            wait: Wait::default(),
            environ: Vec::new(),
        }
    }

    /// What the app may use while it is called.
    pub(crate) fn live<'a>(
        &'a mut self,
        client: &'a Client,
        around: &'a Surroundings,
    ) -> Live<'a, C> {
        Live::new(&mut self.wire, &mut self.environ, client, around)
    }

    /// Takes the app's reply and sends what can be sent of it at once.
    pub(crate) fn begin(
        &mut self,
        reply: Reply<C, S>,
        client: &Client,
        around: &Surroundings,
    ) -> Progress {
        if matches!(reply, Reply::Failed) && self.wire.head_sent() {
            return self.cut(Cut::AppFailed);
        }
        let sent = self.take(reply, client, around);
        self.advance_if(sent, client, around)
    }

    /// Sends a response that isn't the app's.
    pub(crate) fn answer(
        &mut self,
        status: &[u8],
        body: &[u8],
        client: &Client,
        around: &Surroundings,
    ) -> Progress {
        self.is_apps = false;
        let sent = self.wire.send_own(&client.stream, status, body, around.head_context());
        self.advance_if(sent, client, around)
    }

    /// Sends a response that isn't the app's, and whose head has its fields.
    pub(crate) fn send_text(
        &mut self,
        text: &[u8],
        client: &Client,
        around: &Surroundings,
    ) -> Progress {
        self.is_apps = false;
        let sent = self.wire.send_with(&client.stream, text, around.head_context());
        self.advance_if(sent, client, around)
    }

    /// As [`send_text`](Self::send_text), with a part of a file.
    pub(crate) fn send_file(
        &mut self,
        file: File,
        offset: u64,
        length: u64,
        client: &Client,
        around: &Surroundings,
    ) -> Progress {
        self.is_apps = false;
        if length > READ {
            let sent = self.begin_file(file.into(), offset, length, None, client, around);
            return self.advance_if(sent, client, around);
        }
        let context = around.head_context();
        match self.wire.send_with_part(&client.stream, &file, offset, length, context) {
            Ok(0) => self.advance(client, around),
            Ok(missing) => {
                self.wire.file_is_short(missing);
                self.cut(Cut::FileFailed)
            }
            Err(_) => self.cut(Cut::ClientGone),
        }
    }

    fn advance_if(
        &mut self,
        sent: io::Result<()>,
        client: &Client,
        around: &Surroundings,
    ) -> Progress {
        match sent {
            Ok(()) => self.advance(client, around),
            Err(_) => self.cut(Cut::ClientGone),
        }
    }

    /// Sends a 308 to `location`.
    pub(crate) fn redirect(
        &mut self,
        location: &[u8],
        client: &Client,
        around: &Surroundings,
    ) -> Progress {
        match self.wire.send_redirect(&client.stream, location, around.head_context()) {
            Ok(()) => self.advance(client, around),
            Err(_) => self.cut(Cut::ClientGone),
        }
    }

    /// Sends 503 to a request that the app is not called for.
    pub(crate) fn turn_away(&mut self, client: &Client, around: &Surroundings) -> Progress {
        let (status, body) = (b"503 Service Unavailable", b"Service Unavailable\n");
        let later: (&[u8], &[u8]) = (b"Retry-After", b"1");
        let context = around.head_context();
        match self.wire.send_own_with(&client.stream, status, &[later], body, context) {
            Ok(()) => self.advance(client, around),
            Err(_) => self.cut(Cut::ClientGone),
        }
    }

    /// The same response with another kind of rest.
    pub(crate) fn map_rest<T>(self, map: impl FnOnce(S) -> T) -> Response<C, T> {
        let Self { wire, source, is_apps, started, peer, progressed, wait, environ } = self;
        let source = match source {
            Source::Ended => Source::Ended,
            Source::Stream(rest) => Source::Stream(map(rest)),
            Source::File { file, rest } => Source::File { file, rest: rest.map(map) },
        };
        Response { wire, source, is_apps, started, peer, progressed, wait, environ }
    }

    /// Whether the app has more of the body to make.
    pub(crate) fn is_streaming(&self) -> bool {
        matches!(self.source, Source::Stream(_))
    }

    fn take(
        &mut self,
        reply: Reply<C, S>,
        client: &Client,
        around: &Surroundings,
    ) -> io::Result<()> {
        let stream = &client.stream;
        let context = around.head_context();
        let head_sent = self.wire.head_sent();
        match reply {
            Reply::Failed => self.wire.send_error(stream, context)?,
            Reply::Complete(chunks) if head_sent => self.wire.send_chunks(stream, chunks)?,
            Reply::Complete(chunks) => self.wire.send_complete(stream, chunks, context)?,
            Reply::Stream { first, rest } => {
                self.source = Source::Stream(rest);
                match first {
                    Some(chunk) if head_sent => self.wire.send_chunk(stream, chunk)?,
                    Some(chunk) => {
                        self.wire.complete_head(None, context);
                        self.wire.send_head_and_chunk(stream, chunk)?;
                    }
                    None => {
                        if !head_sent {
                            self.wire.complete_head(Some(0), context);
                            self.wire.send_head(stream)?;
                        }
                        return self.end(client);
                    }
                }
            }
            Reply::File { file, offset, length, rest } => {
                return self.begin_file(file, offset, length, Some(rest), client, around);
            }
        }
        self.end_if_known(client)
    }

    /// Sends the head, if it isn't out yet, and gets ready to send a part of a file behind it.
    fn begin_file(
        &mut self,
        file: OwnedFd,
        offset: u64,
        length: u64,
        rest: Option<S>,
        client: &Client,
        around: &Surroundings,
    ) -> io::Result<()> {
        let stream = &client.stream;
        let head_sent = self.wire.head_sent();
        if !head_sent {
            self.wire.complete_head(Some(length), around.head_context());
        }
        let (left, suffix) = self.wire.frame_file(length);
        let file = FileRest::new(file, offset, left, suffix);
        self.source = Source::File { file, rest };
        match head_sent {
            true => {}
            false if left > 0 => self.wire.send_head_before_file(stream)?,
            false => self.wire.send_head(stream)?,
        }
        self.end_if_known(client)
    }

    fn end_if_known(&mut self, client: &Client) -> io::Result<()> {
        // Nobody would see what the app still made.
        if matches!(self.source, Source::Ended) || self.wire.drops_body() {
            return self.end(client);
        }
        Ok(())
    }

    /// Goes on until the response is finished, the socket is full, or others should have a turn.
    pub(crate) fn advance(&mut self, client: &Client, around: &Surroundings) -> Progress {
        match self.try_advance(client, around) {
            Ok(Progress::Cut(why)) => self.cut(why),
            Ok(progress) => progress,
            Err(_) => self.cut(Cut::ClientGone),
        }
    }

    fn try_advance(&mut self, client: &Client, around: &Surroundings) -> io::Result<Progress> {
        let stream = &client.stream;
        let (mut chunks, mut steps) = (0, 0);
        let mut entered = None;
        loop {
            let (waiting, flushed) = (self.wire.waiting(), stream.flushed());
            self.wire.flush(stream)?;
            let all = stream.flush()?;
            self.progressed |= self.wire.waiting() < waiting || stream.flushed() > flushed;
            if !self.wire.is_flushed() || !all {
                return Ok(Progress::Blocked);
            }
            match &mut self.source {
                Source::Ended => return Ok(Progress::Finished),
                Source::Stream(_) if chunks == CHUNKS_A_TURN => return Ok(Progress::Yielded),
                // What doesn't go out needn't be made.
                Source::Stream(_) if self.wire.excess > 0 => self.end(client)?,
                Source::Stream(rest) => {
                    let now = Monotonic::now();
                    if now.since(*entered.get_or_insert(now)) >= TIME_A_TURN {
                        return Ok(Progress::Yielded);
                    }
                    chunks += 1;
                    around.lane.progress(now);
                    let mut live = Live::new(&mut self.wire, &mut self.environ, client, around);
                    match rest.next(&mut live) {
                        Ok(Some(chunk)) => self.wire.send_chunk(stream, chunk)?,
                        Ok(None) => self.end(client)?,
                        Err(Failed) => return Ok(Progress::Cut(Cut::AppFailed)),
                    }
                }
                Source::File { file, .. } if file.is_sent() => {
                    self.wire.send_static(stream, file.suffix())?;
                    self.end(client)?;
                }
                Source::File { .. } if steps == STEPS_A_TURN => return Ok(Progress::Yielded),
                Source::File { file, .. } => {
                    steps += 1;
                    match file.step(stream) {
                        Step::Sent => self.progressed = true,
                        Step::Copied(bytes) => self.wire.send_of_file(stream, bytes)?,
                        Step::Blocked => return Ok(Progress::Blocked),
                        Step::Short { missing } => {
                            self.wire.file_is_short(missing);
                            return Ok(Progress::Cut(Cut::FileFailed));
                        }
                    }
                }
            }
        }
    }

    /// It waits for its client from now on.
    pub(crate) fn begin_wait(&mut self, now: Monotonic) {
        let taken = self.taken();
        self.wait.from.get_or_insert(taken);
        self.wait.since = Some(now);
    }

    /// The wait is over. Whether the client has been too slow altogether.
    pub(crate) fn end_wait(&mut self, now: Monotonic, options: &Options) -> bool {
        if self.wait.since.is_none() {
            return false;
        }
        let pace = self.pace(now);
        (self.wait.elapsed, self.wait.since) = (pace.elapsed, None);
        pace.is_too_slow(options.write_min_rate, options.write_timeout)
    }

    /// How its client has been taking it, in the time that it waited for that.
    pub(crate) fn pace(&self, now: Monotonic) -> Pace {
        let Wait { elapsed, since, from } = self.wait;
        let present = since.map_or(Duration::ZERO, |since| now.since(since));
        let bytes = self.taken().saturating_sub(from.unwrap_or_default());
        Pace { bytes, elapsed: elapsed + present }
    }

    /// What the kernel has of the body, in bytes, or a little less: framing waits too.
    fn taken(&self) -> u64 {
        let left = match &self.source {
            Source::File { file, .. } => file.left(),
            Source::Stream(_) | Source::Ended => 0,
        };
        self.wire.body_bytes.saturating_sub(self.wire.waiting() as u64 + left)
    }

    /// The body is at its end: the client learns it, then the app.
    fn end(&mut self, client: &Client) -> io::Result<()> {
        self.wire.end(&client.stream)?;
        self.close();
        Ok(())
    }

    /// Nobody wants more of the body: the app's `close()` runs, once.
    fn close(&mut self) {
        let rest = match std::mem::replace(&mut self.source, Source::Ended) {
            Source::Stream(rest) => Some(rest),
            Source::File { file, rest } => {
                self.wire.withdraw(file.left());
                rest
            }
            Source::Ended => None,
        };
        if let Some(mut rest) = rest {
            rest.close();
        }
    }

    /// The connection is given up.
    pub(crate) fn cut(&mut self, why: Cut) -> Progress {
        self.close();
        self.wire.persistent = false;
        Progress::Cut(why)
    }
}
