//! What an app may do to its client while it is being called.

use std::io;
use std::os::fd::{AsRawFd, RawFd};

use ironhorn_http::{ResponseHead, Version, interim};
use ironhorn_unix::{Monotonic, claim_response, open_request};

use crate::application::{Exchange, Gone, Idle};
use crate::connection::Client;
use crate::serve::Surroundings;
use crate::wire::Wire;

/// An app that uses `write()` may run this many bytes ahead of its client; then it waits.
const WRITE_AHEAD: usize = 1 << 20;

/// The [`Exchange`] of one call.
pub(crate) struct Live<'a, C> {
    wire: &'a mut Wire<C>,
    environ: &'a mut Vec<Option<Vec<u8>>>,
    client: &'a Client,
    around: &'a Surroundings,
}

impl<'a, C: AsRef<[u8]>> Live<'a, C> {
    pub(crate) fn new(
        wire: &'a mut Wire<C>,
        environ: &'a mut Vec<Option<Vec<u8>>>,
        client: &'a Client,
        around: &'a Surroundings,
    ) -> Self {
        Self { wire, environ, client, around }
    }
}

/// Sends what waits in `wire`, until the app isn't more than `ahead` bytes ahead of its client.
pub(crate) fn catch_up<C: AsRef<[u8]>>(
    wire: &mut Wire<C>,
    client: &Client,
    around: &Surroundings,
    ahead: usize,
    idle: &mut Idle<'_>,
) -> io::Result<()> {
    let stream = &client.stream;
    // What is encrypted and not sent waits too, if nothing is to.
    while wire.waiting() > ahead || (ahead == 0 && !stream.flush()?) {
        let before = (wire.waiting(), stream.flushed());
        wait_writable(client, around, idle)?;
        // Also if it isn't called writable: a slow client frees its buffer bit by bit.
        wire.flush(stream)?;
        stream.flush()?;
        if (wire.waiting(), stream.flushed()) == before {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
    Ok(())
}

/// Waits until the client takes more, or for the write timeout. The app isn't to blame for that, so
/// its time doesn't count; but if the loop waits too, the board is told again and again that it
/// lives.
fn wait_writable(client: &Client, around: &Surroundings, idle: &mut Idle<'_>) -> io::Result<()> {
    let options = &around.options;
    let deadline = options.write_timeout.map(|timeout| Monotonic::now() + timeout);
    loop {
        let now = Monotonic::now();
        if around.in_loop {
            around.lane.progress(now);
        } else {
            around.lane.pause_request();
        }
        let left = deadline.map_or(options.heartbeat, |deadline| deadline.since(now));
        let step = left.min(options.heartbeat);
        if left.is_zero() {
            return Ok(());
        }
        let mut writable = None;
        idle(&mut || writable = Some(client.stream.wait_writable(step)));
        if writable.unwrap_or(Err(io::ErrorKind::ConnectionAborted.into()))? {
            return Ok(());
        }
    }
}

impl<C: AsRef<[u8]>> Exchange for Live<'_, C> {
    fn head(&mut self) -> &mut ResponseHead {
        &mut self.wire.head
    }

    fn interim(&mut self, status: u16, fields: &[(Vec<u8>, Vec<u8>)]) -> Result<(), Gone> {
        if self.wire.version == Version::Http10 || self.head_sent() {
            return Ok(());
        }
        let mut head = Vec::new();
        let fields = fields.iter().map(|(name, value)| (name.as_slice(), value.as_slice()));
        if let Err(error) = interim(status, fields, &mut head) {
            log::warn!(status, error:%; "interim response not sent");
            return Ok(());
        }
        // An interim response is followed by another, the app's or a 504, once it is out itself.
        if !claim_response(self.around.lane.index()) {
            return Ok(());
        }
        self.wire.send_interim(&self.client.stream, head).map_err(|_| Gone)?;
        if self.wire.is_flushed() {
            open_request(self.around.lane.index(), self.client.answer(self.wire.head_request()));
        }
        Ok(())
    }

    fn write_idling(&mut self, data: &[u8], idle: &mut Idle<'_>) -> Result<(), Gone> {
        let stream = &self.client.stream;
        if !self.head_sent() {
            if !claim_response(self.around.lane.index()) {
                return Err(Gone);
            }
            self.wire.complete_head(None, self.around.head_context());
            self.wire.send_head(stream).map_err(|_| Gone)?;
        }
        self.wire.send_bytes(stream, data).map_err(|_| Gone)?;
        catch_up(self.wire, self.client, self.around, WRITE_AHEAD, idle).map_err(|_| Gone)?;
        self.around.lane.progress(Monotonic::now());
        Ok(())
    }

    fn close_after(&mut self) {
        self.wire.persistent = false;
    }

    fn head_sent(&self) -> bool {
        self.wire.head_sent()
    }

    fn connection(&self) -> RawFd {
        self.client.stream.as_raw_fd()
    }

    fn environ_atoms(&self) -> &[String] {
        &self.around.environ_names
    }

    fn set_environ_atom(&mut self, index: usize, value: Vec<u8>) {
        if self.environ.len() <= index {
            self.environ.resize(index + 1, None);
        }
        self.environ[index] = Some(value);
    }
}
