//! How a response body goes out: bounded by its length, in chunks, or until the connection closes.
//!
//! Invariant: never more content than Content-Length announced, never a byte after a head that has
//! no body (RFC 9112 §6.3), so that the peer and we agree on where the next response begins.

use std::fmt;

/// The framing of one response body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyEncoder {
    /// HEAD, 204, 304: the application's body is dropped.
    Nothing,
    /// Content-Length was sent.
    Length {
        /// Bytes that are still owed.
        left: u64,
    },
    /// Transfer-Encoding: chunked was sent.
    Chunked,
    /// The end of the connection is the end of the body.
    UntilClose,
}

impl BodyEncoder {
    /// How `len` bytes of content go out. What [`Frame::take`] leaves over must be dropped: it is
    /// beyond what the head announced.
    pub fn frame(&mut self, len: usize) -> Frame {
        match self {
            Self::Nothing => Frame::plain(0),
            Self::UntilClose => Frame::plain(len),
            Self::Length { left } => {
                let take = usize::try_from(*left).map_or(len, |left| left.min(len));
                *left -= take as u64;
                Frame::plain(take)
            }
            // An empty chunk would be the last one.
            Self::Chunked if len == 0 => Frame::plain(0),
            Self::Chunked => Frame::chunk(len),
        }
    }

    /// The bytes that end the body, or how much of it is missing: then the connection must be
    /// closed, that the peer can tell.
    pub fn finish(&self) -> Result<&'static [u8], ShortBody> {
        match *self {
            Self::Length { left } if left > 0 => Err(ShortBody { missing: left }),
            Self::Chunked => Ok(b"0\r\n\r\n"),
            _ => Ok(b""),
        }
    }

    /// Whether no further content can go out.
    pub fn is_complete(&self) -> bool {
        matches!(self, Self::Nothing | Self::Length { left: 0 })
    }
}

/// What goes on the wire around a piece of content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What precedes the content.
    pub prefix: Prefix,
    /// How many bytes of the content go out.
    pub take: usize,
    /// What follows the content.
    pub suffix: &'static [u8],
}

impl Frame {
    fn plain(take: usize) -> Self {
        Self { prefix: Prefix::NOTHING, take, suffix: b"" }
    }

    fn chunk(take: usize) -> Self {
        Self { prefix: Prefix::chunk_size(take), take, suffix: b"\r\n" }
    }
}

/// A chunk size and its CRLF, or nothing; held inline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    bytes: [u8; Prefix::ROOM],
    start: usize,
}

impl Prefix {
    /// Sixteen digits and CRLF.
    const ROOM: usize = 18;

    const NOTHING: Self = Self { bytes: [0; Self::ROOM], start: Self::ROOM };

    fn chunk_size(mut size: usize) -> Self {
        let mut prefix = Self { start: Self::ROOM - 2, ..Self::NOTHING };
        prefix.bytes[prefix.start..].copy_from_slice(b"\r\n");
        loop {
            prefix.start -= 1;
            prefix.bytes[prefix.start] = b"0123456789abcdef"[size & 15];
            size >>= 4;
            if size == 0 {
                return prefix;
            }
        }
    }

    /// The bytes to send.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[self.start..]
    }
}

/// The body ended before its Content-Length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShortBody {
    /// Bytes that were announced and never came.
    pub missing: u64,
}

impl fmt::Display for ShortBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "response body is {} bytes shorter than its Content-Length", self.missing)
    }
}

impl std::error::Error for ShortBody {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_is_never_exceeded() {
        let mut encoder = BodyEncoder::Length { left: 5 };
        assert_eq!(encoder.frame(3), Frame::plain(3));
        assert!(!encoder.is_complete());
        assert_eq!(encoder.finish(), Err(ShortBody { missing: 2 }));
        assert_eq!(encoder.frame(3), Frame::plain(2));
        assert!(encoder.is_complete());
        assert_eq!(encoder.frame(3), Frame::plain(0));
        assert_eq!(encoder.finish(), Ok(&b""[..]));
    }

    #[test]
    fn chunks() {
        let mut encoder = BodyEncoder::Chunked;
        for (len, prefix) in [(1, "1\r\n"), (15, "f\r\n"), (16, "10\r\n"), (0x1a2b3, "1a2b3\r\n")] {
            let frame = encoder.frame(len);
            assert_eq!(frame.prefix.as_bytes(), prefix.as_bytes());
            assert_eq!((frame.take, frame.suffix), (len, &b"\r\n"[..]));
        }
        assert_eq!(encoder.frame(usize::MAX).prefix.as_bytes(), b"ffffffffffffffff\r\n");
        assert_eq!(encoder.finish(), Ok(&b"0\r\n\r\n"[..]));
        assert!(!encoder.is_complete());
    }

    #[test]
    fn an_empty_piece_is_no_last_chunk() {
        let frame = BodyEncoder::Chunked.frame(0);
        assert_eq!((frame.prefix.as_bytes(), frame.take, frame.suffix), (&b""[..], 0, &b""[..]));
    }

    #[test]
    fn bodiless_drops_and_until_close_passes() {
        assert_eq!(BodyEncoder::Nothing.frame(9).take, 0);
        assert!(BodyEncoder::Nothing.is_complete());
        assert_eq!(BodyEncoder::UntilClose.frame(9), Frame::plain(9));
        assert_eq!(BodyEncoder::UntilClose.finish(), Ok(&b""[..]));
    }
}
