//! The sending side of one response: head, framing, and what the socket didn't take.

use std::fs::File;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use ironhorn_http::{BodyEncoder, Frame, Framing, ResponseHead, Version};

use crate::application::Chunks;
use crate::garbage::Garbage;
use crate::output::{Output, Piece};
use crate::transport::Transport;

/// Up to this many bytes of a body are copied behind the head, so that one plain `send` does.
/// Beyond it a vectored send of the parts is cheaper than the copy.
const COALESCE: usize = 8192;

/// What every head of a turn has in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeadContext<'a> {
    pub(crate) date: &'a [u8],
    pub(crate) server: &'a [u8],
}

#[derive(Debug)]
pub(crate) struct Wire<C> {
    pub(crate) head: ResponseHead,
    /// How the body is framed; set when the head is complete.
    encoder: Option<BodyEncoder>,
    head_request: bool,
    pub(crate) version: Version,
    /// Whether the connection may serve another request after this one.
    pub(crate) persistent: bool,
    output: Output<C>,
    /// Whether the client has asked for the end of the connection, which can then be in one packet
    /// with a body that is known as a whole.
    pub(crate) ends_at_once: bool,
    /// Body bytes handed over so far.
    pub(crate) body_bytes: u64,
    /// Body bytes that the app made beyond its Content-Length, before it was stopped.
    pub(crate) excess: u64,
    /// Body bytes that were announced and never came.
    pub(crate) missing: u64,
}

impl<C> Wire<C> {
    /// What waits is given to a thread that can't free the app's chunks.
    pub(crate) fn leave_to(&mut self, garbage: &Arc<Garbage>) {
        self.output.leave_to(garbage);
    }

    /// How much memory of the app's what waits keeps.
    pub(crate) fn kept(&self) -> usize {
        self.output.kept()
    }
}

impl<C: AsRef<[u8]>> Wire<C> {
    /// `head` is any used one: its memory is what counts.
    pub(crate) fn new(mut head: ResponseHead, request: &ironhorn_http::Request<'_, '_>) -> Self {
        head.clear();
        Self {
            head,
            encoder: None,
            head_request: request.method == "HEAD",
            version: request.version,
            persistent: request.persistent,
            output: Output::new(),
            ends_at_once: false,
            body_bytes: 0,
            excess: 0,
            missing: 0,
        }
    }

    pub(crate) fn head_sent(&self) -> bool {
        self.encoder.is_some()
    }

    /// Whether it answers a HEAD.
    pub(crate) fn head_request(&self) -> bool {
        self.head_request
    }

    /// Whether the client would see nothing of a body (HEAD, 204, 304).
    pub(crate) fn drops_body(&self) -> bool {
        matches!(self.encoder, Some(BodyEncoder::Nothing))
    }

    /// Whether the end of the connection says that the body is whole.
    pub(crate) fn ends_with_connection(&self) -> bool {
        matches!(self.encoder, Some(BodyEncoder::UntilClose))
    }

    /// Whether everything handed over has gone to the kernel.
    pub(crate) fn is_flushed(&self) -> bool {
        self.output.is_empty()
    }

    /// Bytes that wait for the socket.
    pub(crate) fn waiting(&self) -> usize {
        self.output.waiting()
    }

    /// Sends what waits, as far as the socket takes it.
    pub(crate) fn flush(&mut self, stream: &Transport) -> io::Result<()> {
        self.output.flush(stream)
    }

    /// How many of the body's bytes the kernel has. With TLS, those that were given to it encrypted,
    /// as far as whole records tell; framing that waits may count as some of the body.
    pub(crate) fn body_sent(&self, stream: &Transport) -> u64 {
        let waiting = self.output.body_waiting() + stream.held();
        self.body_bytes.saturating_sub(waiting as u64)
    }

    /// Sends an interim response.
    pub(crate) fn send_interim(&mut self, stream: &Transport, head: Vec<u8>) -> io::Result<()> {
        self.output.push(Piece::framing(head));
        self.flush(stream)
    }

    /// Sends bytes of a file that was [framed](Self::frame_file).
    pub(crate) fn send_of_file(&mut self, stream: &Transport, bytes: Vec<u8>) -> io::Result<()> {
        self.output.push(Piece::body(bytes));
        self.flush(stream)
    }

    /// Completes the head for a body of `length` bytes, or of a length nobody knows yet.
    pub(crate) fn complete_head(&mut self, length: Option<u64>, context: HeadContext<'_>) {
        let finished = self.head.finish(&Framing {
            head_request: self.head_request,
            version: self.version,
            persistent: self.persistent,
            length,
            date: context.date,
            server: context.server,
        });
        self.persistent = finished.persistent;
        self.encoder = Some(finished.encoder);
    }

    /// Sends a response whose body is known as a whole.
    pub(crate) fn send_complete(
        &mut self,
        stream: &Transport,
        chunks: Chunks<C>,
        context: HeadContext<'_>,
    ) -> io::Result<()> {
        self.complete_head(Some(chunks.length() as u64), context);
        match chunks {
            Chunks::None if self.ends_at_once => self.send_head_and_end(stream, 0..0),
            Chunks::None => self.send_head(stream),
            Chunks::One(chunk) if self.ends_at_once && chunk.as_ref().len() <= COALESCE => {
                let body = self.copy_behind_head(chunk.as_ref());
                // The chunk is dropped after that, which may run code of the app's.
                self.send_head_and_end(stream, body)
            }
            Chunks::One(chunk) => self.send_head_and_chunk(stream, chunk),
            chunks @ Chunks::Many(_) => {
                self.queue_head(0..0);
                self.send_chunks(stream, chunks)
            }
        }
    }

    /// Sends chunks after the head, or after what waits of it.
    pub(crate) fn send_chunks(&mut self, stream: &Transport, chunks: Chunks<C>) -> io::Result<()> {
        match chunks {
            Chunks::None => {}
            Chunks::One(chunk) => self.queue_chunk(chunk),
            Chunks::Many(chunks) => chunks.into_iter().for_each(|chunk| self.queue_chunk(chunk)),
        }
        self.flush(stream)
    }

    /// Sends a response of our own in place of the app's, which has failed. The connection isn't
    /// used again.
    pub(crate) fn send_error(
        &mut self,
        stream: &Transport,
        context: HeadContext<'_>,
    ) -> io::Result<()> {
        self.persistent = false;
        self.send_own(stream, b"500 Internal Server Error", b"Internal Server Error\n", context)
    }

    /// Sends a response that isn't the app's.
    pub(crate) fn send_own(
        &mut self,
        stream: &Transport,
        status: &[u8],
        body: &[u8],
        context: HeadContext<'_>,
    ) -> io::Result<()> {
        self.send_own_with(stream, status, &[], body, context)
    }

    /// Sends a client to another place. `location` has no byte that a field may not have.
    pub(crate) fn send_redirect(
        &mut self,
        stream: &Transport,
        location: &[u8],
        context: HeadContext<'_>,
    ) -> io::Result<()> {
        let field: (&[u8], &[u8]) = (b"Location", location);
        self.send_own_with(stream, b"308 Permanent Redirect", &[field], b"use HTTPS\n", context)
    }

    /// Sends a response that isn't the app's, with these fields.
    pub(crate) fn send_own_with(
        &mut self,
        stream: &Transport,
        status: &[u8],
        fields: &[(&[u8], &[u8])],
        body: &[u8],
        context: HeadContext<'_>,
    ) -> io::Result<()> {
        self.head.clear();
        let content_type: (&[u8], &[u8]) = (b"Content-Type", b"text/plain; charset=utf-8");
        self.head
            .set_status(status)
            .and_then(|()| {
                let mut all = [content_type].into_iter().chain(fields.iter().copied());
                all.try_for_each(|(name, value)| self.head.push_field(name, value))
            })
            .expect("invariant: our own head is well-formed");
        self.send_with(stream, body, context)
    }

    /// Completes the head, which has its fields, and sends it with `body`.
    pub(crate) fn send_with(
        &mut self,
        stream: &Transport,
        body: &[u8],
        context: HeadContext<'_>,
    ) -> io::Result<()> {
        self.complete_head(Some(body.len() as u64), context);
        let frame = self.frame(body.len());
        let buffer = self.head.buffer_mut();
        let start = buffer.len();
        buffer.extend_from_slice(&body[..frame.take]);
        self.send_head_with(stream, start..start + frame.take, Transport::send)
    }

    /// Completes the head, which has its fields, and sends it with `length` bytes of `file`, as far
    /// as they are there: for few of them, to read them is cheaper than to have them sent by
    /// another call. Returns how many are not.
    pub(crate) fn send_with_part(
        &mut self,
        stream: &Transport,
        file: &File,
        offset: u64,
        length: u64,
        context: HeadContext<'_>,
    ) -> io::Result<u64> {
        self.complete_head(Some(length), context);
        let length = usize::try_from(length).expect("invariant: a pointer has 64 bits");
        let take = self.frame(length).take;
        let buffer = self.head.buffer_mut();
        let start = buffer.len();
        buffer.resize(start + take, 0);
        let read = read_at_most(file, &mut buffer[start..], offset);
        buffer.truncate(start + read);
        let missing = (take - read) as u64;
        self.withdraw(missing);
        self.send_head_with(stream, start..start + read, Transport::send)?;
        Ok(missing)
    }

    /// Sends the complete head alone.
    pub(crate) fn send_head(&mut self, stream: &Transport) -> io::Result<()> {
        self.send_head_with(stream, 0..0, Transport::send)
    }

    /// Sends the complete head, telling the kernel that more follows at once.
    pub(crate) fn send_head_before_file(&mut self, stream: &Transport) -> io::Result<()> {
        self.send_head_with(stream, 0..0, Transport::send_more)
    }

    /// Sends the head and what was copied behind it; `body` is where the body's bytes are in that.
    fn send_head_with(
        &mut self,
        stream: &Transport,
        body: Range<usize>,
        send: fn(&Transport, &[u8]) -> io::Result<usize>,
    ) -> io::Result<()> {
        if !self.is_flushed() {
            self.queue_head(body);
            return self.flush(stream);
        }
        let accepted = accepted(send(stream, self.head.bytes()));
        // Also if the client is away: what it wasn't sent is known by its waiting.
        let sent = *accepted.as_ref().unwrap_or(&0);
        if sent < self.head.bytes().len() {
            self.queue_head(body);
            self.output.consume(sent);
        }
        accepted.map(drop)
    }

    /// Sends the complete head and the first or only chunk in one system call.
    pub(crate) fn send_head_and_chunk(&mut self, stream: &Transport, chunk: C) -> io::Result<()> {
        let length = chunk.as_ref().len();
        if length > COALESCE {
            return self.send_head_and_large_chunk(stream, chunk);
        }
        let body = self.copy_behind_head(chunk.as_ref());
        self.send_head_with(stream, body, Transport::send)
    }

    /// Frames a chunk in the memory of the head; returns where the body's bytes are.
    fn copy_behind_head(&mut self, chunk: &[u8]) -> Range<usize> {
        let frame = self.frame(chunk.len());
        let buffer = self.head.buffer_mut();
        buffer.extend_from_slice(frame.prefix.as_bytes());
        let start = buffer.len();
        buffer.extend_from_slice(&chunk[..frame.take]);
        buffer.extend_from_slice(frame.suffix);
        start..start + frame.take
    }

    /// Sends the head, what was copied behind it and the end of the connection in one packet: each
    /// would wake the client up.
    fn send_head_and_end(&mut self, stream: &Transport, body: Range<usize>) -> io::Result<()> {
        self.send_head_with(stream, body, Transport::send_more)?;
        if self.is_flushed() {
            // To close the socket would do the same, unless something was received meanwhile that
            // nobody has read: then it resets the connection, and what waits in it is lost. Who is
            // gone already can't be told.
            let _ = stream.shutdown_write();
        }
        Ok(())
    }

    fn send_head_and_large_chunk(&mut self, stream: &Transport, chunk: C) -> io::Result<()> {
        if !self.is_flushed() {
            self.queue_head(0..0);
            return self.send_chunk(stream, chunk);
        }
        let frame = self.frame(chunk.as_ref().len());
        let parts = [
            IoSlice::new(self.head.bytes()),
            IoSlice::new(frame.prefix.as_bytes()),
            IoSlice::new(&chunk.as_ref()[..frame.take]),
            IoSlice::new(frame.suffix),
        ];
        let total: usize = parts.iter().map(|part| part.len()).sum();
        let accepted = accepted(stream.send_vectored(&parts));
        let sent = *accepted.as_ref().unwrap_or(&0);
        if sent < total {
            self.queue_head(0..0);
            self.queue_framed(&frame, chunk);
            self.output.consume(sent);
        }
        accepted.map(drop)
    }

    /// Sends one more chunk of a body, after what waits already.
    pub(crate) fn send_chunk(&mut self, stream: &Transport, chunk: C) -> io::Result<()> {
        self.queue_chunk(chunk);
        self.flush(stream)
    }

    /// Hands over one more chunk without sending it yet.
    fn queue_chunk(&mut self, chunk: C) {
        let frame = self.frame(chunk.as_ref().len());
        self.queue_framed(&frame, chunk);
    }

    /// Like [`Wire::send_chunk`] for bytes that the caller keeps, which are copied.
    pub(crate) fn send_bytes(&mut self, stream: &Transport, bytes: &[u8]) -> io::Result<()> {
        let frame = self.frame(bytes.len());
        let start = frame.prefix.as_bytes().len();
        self.output.push(Piece::Owned {
            bytes: [frame.prefix.as_bytes(), &bytes[..frame.take], frame.suffix].concat(),
            body: start..start + frame.take,
        });
        self.flush(stream)
    }

    /// Frames `length` bytes of a file, which go out by themselves. Returns how many of them the
    /// framing lets through, and what is to follow them.
    pub(crate) fn frame_file(&mut self, length: u64) -> (u64, &'static [u8]) {
        let length = usize::try_from(length).expect("invariant: a pointer has 64 bits");
        let frame = self.frame(length);
        self.output.push(Piece::Prefix(frame.prefix));
        (frame.take as u64, frame.suffix)
    }

    /// Sends framing that stands by itself.
    pub(crate) fn send_static(
        &mut self,
        stream: &Transport,
        bytes: &'static [u8],
    ) -> io::Result<()> {
        self.output.push(Piece::Static(bytes));
        self.flush(stream)
    }

    /// Fewer bytes have come of a file than were announced.
    pub(crate) fn file_is_short(&mut self, missing: u64) {
        self.missing += missing;
    }

    /// So many bytes of a file that was framed don't go out.
    pub(crate) fn withdraw(&mut self, unsent: u64) {
        self.body_bytes -= unsent;
    }

    /// The body is at its end: what ends it on the wire is sent. If it is shorter than announced,
    /// the connection can't go on: its end tells the client.
    pub(crate) fn end(&mut self, stream: &Transport) -> io::Result<()> {
        match self.encoder.as_ref().map(BodyEncoder::finish) {
            Some(Ok(last)) => self.send_static(stream, last),
            Some(Err(short)) => {
                self.missing += short.missing;
                self.persistent = false;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn frame(&mut self, length: usize) -> Frame {
        let encoder = self.encoder.as_mut().expect("invariant: the head is complete before a body");
        let frame = encoder.frame(length);
        self.body_bytes += frame.take as u64;
        if frame.take < length && !matches!(encoder, BodyEncoder::Nothing) {
            self.excess += (length - frame.take) as u64;
        }
        frame
    }

    /// The head waits, and what was copied behind it; `body` is where the body's bytes are in that.
    fn queue_head(&mut self, body: Range<usize>) {
        self.output.push(Piece::Owned { bytes: self.head.bytes().to_vec(), body });
    }

    fn queue_framed(&mut self, frame: &Frame, chunk: C) {
        self.output.push(Piece::Prefix(frame.prefix));
        self.output.push(Piece::chunk(chunk, frame.take));
        self.output.push(Piece::Static(frame.suffix));
    }
}

/// Fills `buffer` from `offset` on, as far as the file goes and can be read.
fn read_at_most(file: &File, buffer: &mut [u8], offset: u64) -> usize {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                log::error!(error:%, offset; "cannot read the file of a response");
                break;
            }
        }
    }
    filled
}

/// A full socket took nothing; anything else that went wrong means that the client is away.
fn accepted(sent: io::Result<usize>) -> io::Result<usize> {
    match sent {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        other => other,
    }
}
