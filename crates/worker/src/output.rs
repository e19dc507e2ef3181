//! What a connection still owes its client: bytes that the socket didn't take at once.
//!
//! A response that fits into the socket never comes here. What doesn't fit waits in order, and
//! chunks are held by reference, not copied.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::sync::Arc;

use ironhorn_http::Prefix;

use crate::garbage::Garbage;
use crate::transport::Transport;

/// How many pieces one system call takes.
const BATCH: usize = 64;

#[derive(Debug)]
pub(crate) enum Piece<C> {
    Owned {
        bytes: Vec<u8>,
        /// Which of them are of the body.
        body: Range<usize>,
    },
    Static(&'static [u8]),
    /// What precedes a chunk on the wire.
    Prefix(Prefix),
    /// The first `take` bytes of an app's chunk.
    Chunk {
        chunk: C,
        take: usize,
        /// How much memory the chunk keeps.
        size: usize,
    },
}

impl<C> Piece<C> {
    /// How much memory of the app's it keeps.
    fn kept(&self) -> usize {
        match self {
            Self::Chunk { size, .. } => *size,
            Self::Owned { .. } | Self::Static(_) | Self::Prefix(_) => 0,
        }
    }
}

impl<C: AsRef<[u8]>> Piece<C> {
    /// Bytes that are none of a body.
    pub(crate) fn framing(bytes: Vec<u8>) -> Self {
        Self::Owned { bytes, body: 0..0 }
    }

    /// Bytes of a body.
    pub(crate) fn body(bytes: Vec<u8>) -> Self {
        let body = 0..bytes.len();
        Self::Owned { bytes, body }
    }

    /// The first `take` bytes of an app's chunk.
    pub(crate) fn chunk(chunk: C, take: usize) -> Self {
        let size = chunk.as_ref().len();
        Self::Chunk { chunk, take, size }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Owned { bytes, .. } => bytes,
            Self::Static(bytes) => bytes,
            Self::Prefix(prefix) => prefix.as_bytes(),
            Self::Chunk { chunk, take, .. } => &chunk.as_ref()[..*take],
        }
    }

    /// How many bytes of a body there are behind the first `sent` bytes of it.
    fn body_after(&self, sent: usize) -> usize {
        match self {
            Self::Owned { body, .. } => body.end.saturating_sub(sent.max(body.start)),
            Self::Chunk { take, .. } => take.saturating_sub(sent),
            Self::Static(_) | Self::Prefix(_) => 0,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Output<C> {
    pieces: VecDeque<Piece<C>>,
    /// How much of the first piece is sent already.
    sent: usize,
    /// Bytes that wait.
    waiting: usize,
    /// Where chunks are counted when they are dropped, if that doesn't free them.
    garbage: Option<Arc<Garbage>>,
}

impl<C> Output<C> {
    pub(crate) fn new() -> Self {
        Self { pieces: VecDeque::new(), sent: 0, waiting: 0, garbage: None }
    }

    /// What waits is given to a thread that can't free it.
    pub(crate) fn leave_to(&mut self, garbage: &Arc<Garbage>) {
        if !self.pieces.is_empty() {
            self.garbage = Some(Arc::clone(garbage));
        }
    }

    /// How much memory of the app's what waits keeps.
    pub(crate) fn kept(&self) -> usize {
        self.pieces.iter().map(Piece::kept).sum()
    }

    fn drop_first(&mut self) {
        let kept = self.pieces.pop_front().map_or(0, |piece| piece.kept());
        // Not before it is dropped: who frees what is counted would find nothing.
        if let Some(garbage) = &self.garbage {
            garbage.add(kept);
        }
    }
}

/// However a response ends, what it still has of the app's is counted.
impl<C> Drop for Output<C> {
    fn drop(&mut self) {
        if let Some(garbage) = &self.garbage {
            let kept = self.kept();
            self.pieces.clear();
            garbage.add(kept);
        }
    }
}

impl<C: AsRef<[u8]>> Output<C> {
    pub(crate) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// How many bytes of the body wait.
    pub(crate) fn body_waiting(&self) -> usize {
        let mut sent = self.sent;
        let after = |piece: &Piece<C>| piece.body_after(std::mem::take(&mut sent));
        self.pieces.iter().map(after).sum()
    }

    pub(crate) fn push(&mut self, piece: Piece<C>) {
        let length = piece.bytes().len();
        if length > 0 {
            self.waiting += length;
            self.pieces.push_back(piece);
        }
    }

    /// Sends until everything is gone or the socket is full: then something is left.
    pub(crate) fn flush(&mut self, stream: &Transport) -> io::Result<()> {
        while !self.pieces.is_empty() {
            match self.send_batch(stream) {
                Ok(sent) => self.consume(sent),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn send_batch(&self, stream: &Transport) -> io::Result<usize> {
        let mut slices = [IoSlice::new(&[]); BATCH];
        let mut count = 0;
        for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
            let skip = if count == 0 { self.sent } else { 0 };
            *slice = IoSlice::new(&piece.bytes()[skip..]);
            count += 1;
        }
        match count {
            1 => stream.send(&slices[0]),
            _ => stream.send_vectored(&slices[..count]),
        }
    }

    /// The first `sent` bytes of what waits are with the kernel already.
    pub(crate) fn consume(&mut self, mut sent: usize) {
        self.waiting -= sent;
        while let Some(first) = self.pieces.front() {
            let left = first.bytes().len() - self.sent;
            if sent < left {
                self.sent += sent;
                return;
            }
            sent -= left;
            self.sent = 0;
            self.drop_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output() -> Output<Vec<u8>> {
        let mut output = Output::new();
        output.push(Piece::framing(b"head".to_vec()));
        output.push(Piece::Static(b""));
        output.push(Piece::chunk(b"chunk and more".to_vec(), 5));
        output.push(Piece::Static(b"\r\n"));
        output
    }

    #[test]
    fn consumes_across_pieces_and_skips_empty_ones() {
        let mut output = output();
        assert_eq!(output.waiting(), 11);
        output.consume(3);
        assert_eq!((output.pieces.len(), output.sent), (3, 3));
        output.consume(4);
        assert_eq!((output.pieces.len(), output.sent), (2, 3));
        output.consume(4);
        assert!(output.is_empty());
        assert_eq!((output.waiting(), output.sent), (0, 0));
    }

    #[test]
    fn knows_how_much_of_the_body_waits() {
        let mut output = output();
        output.push(Piece::Owned { bytes: b"headbody\r\n".to_vec(), body: 4..8 });
        output.push(Piece::body(b"body".to_vec()));
        // "head", "chunk", CRLF, "head", "body", CRLF, "body"
        let bodies = [4..9, 15..19, 21..25];
        for sent in 0..25 {
            let left = |body: &Range<usize>| body.end - body.end.min(sent.max(body.start));
            let expected: usize = bodies.iter().map(left).sum();
            assert_eq!(output.body_waiting(), expected, "after {sent} bytes");
            output.consume(1);
        }
        assert!(output.is_empty());
    }

    #[test]
    fn chunks_are_counted_when_they_are_dropped() {
        let garbage = Arc::new(Garbage::default());
        let large = || Piece::chunk(vec![b'x'; 1 << 20], 1 << 20);
        let mut output = output();
        output.push(large());
        output.push(large());
        output.leave_to(&garbage);
        output.consume(11 + (1 << 20) - 1);
        assert!(!garbage.is_much());
        output.consume(1);
        assert!(garbage.is_much());
        garbage.forget();
        assert_eq!(output.kept(), 1 << 20);
        drop(output);
        assert!(garbage.is_much());
    }
}
