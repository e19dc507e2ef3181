//! Decodes a chunked body (RFC 9112 §7.1), however it is cut up.
//!
//! One byte at a time in the framing, whole slices in the content. The hex digits are read here:
//! library parsers take signs, white space or underscores. Trailers are checked, bounded and
//! dropped, which RFC 9110 §6.5.1 allows for all of them and demands for those that frame or route.

use crate::error::Refusal;
use crate::extension::{Extension, Step};
use crate::headers::{is_field_value_byte, is_token_byte};
use crate::limits::Limits;

/// The longest chunk extension, from the size's digits to CR.
pub const MAX_EXTENSION: u16 = 1024;

/// As many digits as 64 bits need; more could only be zeros in front or an overflow.
const MAX_SIZE_DIGITS: u8 = 16;

/// A chunk may spend this many bytes on framing, and twice its content; what goes beyond adds up.
const FREE_OVERHEAD: u64 = 16;

/// How much of that may add up over a body: enough for any signature in extensions, too little to
/// keep the server busy with nothing.
const MAX_OVERHEAD: u64 = 16 * 1024;

/// The decoder's place in a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Decoder {
    state: State,
    /// Content announced by the chunks so far.
    total: u64,
    /// Framing beyond what is free.
    overhead: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Size { size: u64, digits: u8 },
    Extension { size: u64, at: Extension, length: u16 },
    SizeLf { size: u64, length: u16 },
    Content { left: u64 },
    ContentCr,
    ContentLf,
    Trailer { at: Trailer, line: u32, total: u32, fields: u16 },
    End,
}

/// Where in a line of the trailers the next byte falls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trailer {
    LineStart,
    Name,
    Value,
    ValueLf,
    LastLf,
}

/// What a piece of input held.
pub(crate) struct Decoded<'b> {
    /// A piece of content; empty if there was none.
    pub(crate) content: &'b [u8],
    /// How much of the input is done with, content and the framing before it.
    pub(crate) consumed: usize,
}

impl Decoder {
    pub(crate) fn new() -> Self {
        Self { state: State::Size { size: 0, digits: 0 }, total: 0, overhead: 0 }
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.state == State::End
    }

    /// Eats framing up to the next content, and takes that; or all of it, or up to the end.
    pub(crate) fn decode<'b>(
        &mut self,
        input: &'b [u8],
        limits: &Limits,
    ) -> Result<Decoded<'b>, Refusal> {
        let mut consumed = 0;
        while consumed < input.len() && self.state != State::End {
            if let State::Content { left } = &mut self.state {
                let rest = &input[consumed..];
                let take = usize::try_from(*left).map_or(rest.len(), |left| left.min(rest.len()));
                *left -= take as u64;
                if *left == 0 {
                    self.state = State::ContentCr;
                }
                return Ok(Decoded { content: &rest[..take], consumed: consumed + take });
            }
            self.state = self.step(input[consumed], limits)?;
            consumed += 1;
        }
        Ok(Decoded { content: b"", consumed })
    }

    /// Takes one byte of framing.
    fn step(&mut self, byte: u8, limits: &Limits) -> Result<State, Refusal> {
        Ok(match self.state {
            State::Size { size, digits } => match hex_value(byte) {
                Some(_) if digits == MAX_SIZE_DIGITS => return Err(Refusal::ChunkSizeTooLong),
                Some(value) => {
                    State::Size { size: size << 4 | u64::from(value), digits: digits + 1 }
                }
                None if digits == 0 => return Err(Refusal::ChunkSizeInvalid),
                None => {
                    self.count_content(size, limits)?;
                    match Extension::start(byte) {
                        Step::Stay(at) => State::Extension { size, at, length: 1 },
                        Step::End => State::SizeLf { size, length: 0 },
                        Step::Malformed => return Err(Refusal::ChunkSizeInvalid),
                    }
                }
            },
            State::Extension { size, at, length } => {
                if length == MAX_EXTENSION && byte != b'\r' {
                    return Err(Refusal::ChunkExtensionTooLong);
                }
                match at.step(byte) {
                    Step::Stay(at) => State::Extension { size, at, length: length + 1 },
                    Step::End => State::SizeLf { size, length },
                    Step::Malformed => return Err(Refusal::ChunkExtensionInvalid),
                }
            }
            State::SizeLf { size, length } => {
                if byte != b'\n' {
                    return Err(Refusal::BareCr);
                }
                self.count_overhead(size, length)?;
                match size {
                    0 => State::Trailer { at: Trailer::LineStart, line: 0, total: 0, fields: 0 },
                    left => State::Content { left },
                }
            }
            State::ContentCr if byte == b'\r' => State::ContentLf,
            State::ContentLf if byte == b'\n' => State::Size { size: 0, digits: 0 },
            State::ContentCr | State::ContentLf => return Err(Refusal::ChunkEndMissing),
            State::Trailer { at, line, total, fields } => {
                return trailer_step(byte, at, line, total, fields, limits);
            }
            // Neither takes a byte of framing.
            state @ (State::Content { .. } | State::End) => state,
        })
    }

    fn count_content(&mut self, size: u64, limits: &Limits) -> Result<(), Refusal> {
        self.total = self.total.saturating_add(size);
        if limits.allows_body(self.total) { Ok(()) } else { Err(Refusal::BodyTooLarge) }
    }

    fn count_overhead(&mut self, size: u64, extension: u16) -> Result<(), Refusal> {
        let free = size.saturating_mul(2).saturating_add(FREE_OVERHEAD);
        self.overhead = (self.overhead + u64::from(extension)).saturating_sub(free);
        if self.overhead > MAX_OVERHEAD {
            return Err(Refusal::ChunkOverhead);
        }
        Ok(())
    }
}

fn trailer_step(
    byte: u8,
    at: Trailer,
    line: u32,
    total: u32,
    fields: u16,
    limits: &Limits,
) -> Result<State, Refusal> {
    let next = match (at, byte) {
        (Trailer::LineStart, b'\r') => Trailer::LastLf,
        (Trailer::LastLf, b'\n') => return Ok(State::End),
        (Trailer::LineStart | Trailer::Name, _) if is_token_byte(byte) => Trailer::Name,
        (Trailer::Name, b':') => Trailer::Value,
        (Trailer::Value, b'\r') => Trailer::ValueLf,
        (Trailer::Value, _) if is_field_value_byte(byte) => Trailer::Value,
        (Trailer::ValueLf, b'\n') => Trailer::LineStart,
        (Trailer::LastLf | Trailer::ValueLf, _) => return Err(Refusal::BareCr),
        _ => return Err(Refusal::TrailerInvalid),
    };
    let (line, fields) = match next {
        Trailer::LineStart => (0, fields.saturating_add(1)),
        Trailer::Name | Trailer::Value => (line.saturating_add(1), fields),
        Trailer::ValueLf | Trailer::LastLf => (line, fields),
    };
    let total = total.saturating_add(1);
    let within = |count: u32, most: usize| usize::try_from(count).is_ok_and(|count| count <= most);
    if within(line, limits.field)
        && within(total, limits.head)
        && usize::from(fields) <= limits.field_count()
    {
        Ok(State::Trailer { at: next, line, total, fields })
    } else {
        Err(Refusal::TrailersTooLong)
    }
}

fn hex_value(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The content and what follows the body; the input is given in pieces of `size` bytes.
    fn decode(input: &[u8], size: usize, limits: &Limits) -> Result<(Vec<u8>, usize), Refusal> {
        let mut decoder = Decoder::new();
        let (mut content, mut at) = (Vec::new(), 0);
        for end in (size..input.len() + size).step_by(size) {
            let end = end.min(input.len());
            while at < end && !decoder.is_finished() {
                let decoded = decoder.decode(&input[at..end], limits)?;
                content.extend_from_slice(decoded.content);
                at += decoded.consumed;
            }
        }
        assert!(decoder.is_finished(), "unfinished: {:?}", decoder.state);
        Ok((content, at))
    }

    #[track_caller]
    fn good(input: &str, content: &str) {
        for size in 1..=input.len() {
            let result = decode(input.as_bytes(), size, &Limits::default());
            assert_eq!(result, Ok((content.into(), input.len())), "{input:?} by {size}");
        }
    }

    #[track_caller]
    fn bad(input: &str, refusal: Refusal) {
        bad_within(input, refusal, &Limits::default());
    }

    #[track_caller]
    fn bad_within(input: &str, refusal: Refusal, limits: &Limits) {
        for size in 1..=input.len() {
            assert_eq!(decode(input.as_bytes(), size, limits), Err(refusal), "by {size}");
        }
    }

    #[test]
    fn content() {
        good("0\r\n\r\n", "");
        good("5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", "hello world");
        good("A\r\n0123456789\r\n00a\r\nabcdefghij\r\n000\r\n\r\n", "0123456789abcdefghij");
        good("3;a=b;c=\"\\\";\"\r\n\r\n0\r\n0;x\r\nA: b\r\nC:\r\n\r\n", "\r\n0");
        good("0000000000000001\r\nx\r\n0\r\n\r\n", "x");
    }

    #[test]
    fn bytes_after_the_end_are_left_alone() {
        let input = b"1\r\nx\r\n0\r\n\r\nGET /";
        assert_eq!(decode(input, input.len(), &Limits::default()), Ok((b"x".to_vec(), 11)));
    }

    #[test]
    fn sizes() {
        for size in ["", "+5", "-5", " 5", "0x5", "g", "5_0", ";a", "\u{e9}"] {
            bad(&format!("{size}\r\nhello\r\n0\r\n\r\n"), Refusal::ChunkSizeInvalid);
        }
        bad("5 \r\nhello\r\n", Refusal::ChunkExtensionInvalid);
        bad("5\nhello\r\n", Refusal::ChunkSizeInvalid);
        bad("5\rhello\r\n", Refusal::BareCr);
        bad("00000000000000005\r\nhello", Refusal::ChunkSizeTooLong);
        bad("fffffffffffffffff\r\nhello", Refusal::ChunkSizeTooLong);
    }

    #[test]
    fn chunk_ends() {
        bad("5\r\nhelloX\r\n", Refusal::ChunkEndMissing);
        bad("5\r\nhello\n0\r\n", Refusal::ChunkEndMissing);
        bad("5\r\nhello\rX", Refusal::ChunkEndMissing);
    }

    #[test]
    fn extensions_are_bounded() {
        let most = usize::from(MAX_EXTENSION);
        let line = |length: usize| format!("5;{}\r\n", "a".repeat(length - 1));
        good(&format!("{}hello\r\n0\r\n\r\n", line(most)), "hello");
        bad(&line(most + 1), Refusal::ChunkExtensionTooLong);
        bad("5;a\0", Refusal::ChunkExtensionInvalid);
        let tiny = format!("1;{}\r\nx\r\n", "a".repeat(900));
        let result = decode(tiny.repeat(20).as_bytes(), 4096, &Limits::default());
        assert_eq!(result, Err(Refusal::ChunkOverhead));
    }

    #[test]
    fn overhead_in_proportion_is_fine() {
        let chunk = format!("100;signature={}\r\n{}\r\n", "f".repeat(64), "x".repeat(256));
        let input = chunk.repeat(1000) + "0\r\n\r\n";
        let (content, _) = decode(input.as_bytes(), 4096, &Limits::default()).unwrap();
        assert_eq!(content.len(), 256_000);
    }

    #[test]
    fn body_limit_counts_what_is_announced() {
        let limits = Limits { body: Some(8), ..Limits::default() };
        assert!(decode(b"5\r\nhello\r\n3\r\nyou\r\n0\r\n\r\n", 3, &limits).is_ok());
        bad_within("9\r\n", Refusal::BodyTooLarge, &limits);
        bad_within("5\r\nhello\r\n4;a\r\n", Refusal::BodyTooLarge, &limits);
        bad_within("ffffffffffffffff\r\n", Refusal::BodyTooLarge, &limits);
    }

    #[test]
    fn sizes_that_add_up_to_more_than_64_bits_are_counted() {
        let mut decoder = Decoder::new();
        decoder.total = u64::MAX - 1;
        let limits = Limits { body: Some(u64::MAX - 1), ..Limits::default() };
        assert_eq!(decoder.decode(b"5\r\n", &limits).err(), Some(Refusal::BodyTooLarge));
    }

    #[test]
    fn trailers() {
        for line in
            [" a: b", "a : b", ": b", "a", "a\u{e9}: b", "a: \0", "a: b\nc: d", "a: b\u{7f}"]
        {
            bad(&format!("0\r\n{line}\r\n\r\n"), Refusal::TrailerInvalid);
        }
        bad("0\r\na: b\r\n c\r\n\r\n", Refusal::TrailerInvalid);
        bad("0\r\na: b\rc: d\r\n\r\n", Refusal::BareCr);
        bad("0\r\n\rX", Refusal::BareCr);
        bad("0\r\n\n", Refusal::TrailerInvalid);
    }

    #[test]
    fn trailers_are_bounded() {
        let limits = Limits { field: 6, fields: 2, head: 16, ..Limits::default() };
        assert!(decode(b"0\r\na: bcd\r\ne: f\r\n\r\n", 1, &limits).is_ok());
        bad_within("0\r\na: bcde\r\n\r\n", Refusal::TrailersTooLong, &limits);
        bad_within("0\r\na:\r\nb:\r\nc:\r\n\r\n", Refusal::TrailersTooLong, &limits);
        bad_within("0\r\na:bcde\r\nb:cdef\r\n\r\n", Refusal::TrailersTooLong, &limits);
    }
}
