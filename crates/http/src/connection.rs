//! The machine of one connection's receive direction.
//!
//! Knows how far a request has come, never what was in it: bytes stay with the caller, who says
//! where they begin and drops what is consumed. Whatever the cuts between calls, the outcome is the
//! same. After a refusal it stays refused: where the next request begins is unknown.

use crate::chunked::Decoder;
use crate::error::Refusal;
use crate::framing::BodyLength;
use crate::limits::Limits;
use crate::lines::LineScan;
use crate::request::{FieldStorage, Request};

/// One connection's receive direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connection {
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Head(LineScan),
    Length { left: u64 },
    Chunked(Decoder),
    Finished,
    Refused(Refusal),
}

impl Default for State {
    fn default() -> Self {
        Self::Head(LineScan::default())
    }
}

/// Something that may need more bytes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received<T> {
    /// More bytes are needed.
    Incomplete,
    /// Here it is.
    Complete(T),
}

/// A step through a request body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyEvent<'b> {
    /// A piece of content, never empty.
    Data {
        /// The content, a part of the input.
        content: &'b [u8],
        /// Input that is done with: the content and the framing before it.
        consumed: usize,
    },
    /// More bytes are needed.
    Incomplete {
        /// Input that is done with: framing.
        consumed: usize,
    },
    /// The body is complete.
    End {
        /// Input that is done with: framing.
        consumed: usize,
    },
}

impl Connection {
    /// A connection on which nothing has been received.
    pub fn new() -> Self {
        Self::default()
    }

    /// Looks for a head at the start of `input`: everything received and not yet consumed.
    ///
    /// Goes on looking where the former call stopped. Once complete, the first
    /// [`head_len`](Request::head_len) bytes are consumed. Between a complete head and
    /// [`next_cycle`](Self::next_cycle) there is no head to be had: `Incomplete`.
    pub fn receive_head<'h, 'b>(
        &mut self,
        input: &'b [u8],
        storage: &'h mut FieldStorage<'b>,
        limits: &Limits,
    ) -> Result<Received<Request<'h, 'b>>, Refusal> {
        let result = match &mut self.state {
            State::Head(lines) => match lines.scan(input, limits) {
                Ok(Some(length)) => Request::from_lines(&input[..length], storage, limits),
                Ok(None) => return Ok(Received::Incomplete),
                Err(refusal) => Err(refusal),
            },
            State::Refused(refusal) => return Err(*refusal),
            _ => return Ok(Received::Incomplete),
        };
        self.state = match &result {
            Ok(request) => match request.body {
                BodyLength::None | BodyLength::Length(0) => State::Finished,
                BodyLength::Length(left) => State::Length { left },
                BodyLength::Chunked => State::Chunked(Decoder::new()),
            },
            Err(refusal) => State::Refused(*refusal),
        };
        result.map(Received::Complete)
    }

    /// Takes a step through the body at the start of `input`: everything received after the head
    /// and not yet consumed. To be called until it is `Incomplete` or at its `End`.
    pub fn receive_body<'b>(
        &mut self,
        input: &'b [u8],
        limits: &Limits,
    ) -> Result<BodyEvent<'b>, Refusal> {
        match &mut self.state {
            State::Head(_) => Ok(BodyEvent::Incomplete { consumed: 0 }),
            State::Finished => Ok(BodyEvent::End { consumed: 0 }),
            State::Refused(refusal) => Err(*refusal),
            State::Length { left } => {
                let take = usize::try_from(*left).map_or(input.len(), |left| left.min(input.len()));
                if take == 0 {
                    return Ok(BodyEvent::Incomplete { consumed: 0 });
                }
                *left -= take as u64;
                if *left == 0 {
                    self.state = State::Finished;
                }
                Ok(BodyEvent::Data { content: &input[..take], consumed: take })
            }
            State::Chunked(decoder) => match decoder.decode(input, limits) {
                Ok(decoded) => {
                    let consumed = decoded.consumed;
                    if decoder.is_finished() {
                        self.state = State::Finished;
                        return Ok(BodyEvent::End { consumed });
                    }
                    if decoded.content.is_empty() {
                        return Ok(BodyEvent::Incomplete { consumed });
                    }
                    Ok(BodyEvent::Data { content: decoded.content, consumed })
                }
                Err(refusal) => {
                    self.state = State::Refused(refusal);
                    Err(refusal)
                }
            },
        }
    }

    /// How many bytes of the body are still to come, where its length was announced and some are.
    pub fn body_left(&self) -> Option<u64> {
        match self.state {
            State::Length { left } => Some(left),
            _ => None,
        }
    }

    /// Whether the request is complete, head and body.
    pub fn body_finished(&self) -> bool {
        self.state == State::Finished
    }

    /// Gets ready for the next request; its bytes begin where the former one's ended.
    pub fn next_cycle(&mut self) {
        self.state = State::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POST: &[u8] = b"POST / HTTP/1.1\r\nHost: a\r\n";

    fn head(connection: &mut Connection, input: &[u8]) -> Result<Received<usize>, Refusal> {
        let mut storage = FieldStorage::new();
        let received = connection.receive_head(input, &mut storage, &Limits::default())?;
        Ok(match received {
            Received::Complete(request) => Received::Complete(request.head_len),
            Received::Incomplete => Received::Incomplete,
        })
    }

    #[test]
    fn is_small() {
        assert!(size_of::<Connection>() <= 48, "{}", size_of::<Connection>());
    }

    #[test]
    fn without_a_body_the_cycle_is_finished_at_once() {
        let mut connection = Connection::new();
        let input = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET";
        assert_eq!(head(&mut connection, &input[..9]), Ok(Received::Incomplete));
        assert!(!connection.body_finished());
        assert_eq!(head(&mut connection, input), Ok(Received::Complete(27)));
        assert!(connection.body_finished());
        let limits = Limits::default();
        assert_eq!(
            connection.receive_body(&input[27..], &limits),
            Ok(BodyEvent::End { consumed: 0 })
        );
        assert_eq!(head(&mut connection, input), Ok(Received::Incomplete));
        connection.next_cycle();
        assert_eq!(head(&mut connection, &input[27..]), Ok(Received::Incomplete));
    }

    #[test]
    fn a_body_of_known_length() {
        let mut connection = Connection::new();
        let limits = Limits::default();
        assert_eq!(
            connection.receive_body(b"x", &limits),
            Ok(BodyEvent::Incomplete { consumed: 0 }),
            "no body before a head"
        );
        let input = [POST, b"Content-Length: 5\r\n\r\n"].concat();
        assert_eq!(head(&mut connection, &input), Ok(Received::Complete(input.len())));
        let mut body = |input: &'static [u8]| connection.receive_body(input, &limits);
        assert_eq!(body(b""), Ok(BodyEvent::Incomplete { consumed: 0 }));
        assert_eq!(body(b"he"), Ok(BodyEvent::Data { content: b"he", consumed: 2 }));
        assert_eq!(body(b"lloGET"), Ok(BodyEvent::Data { content: b"llo", consumed: 3 }));
        assert_eq!(body(b"GET"), Ok(BodyEvent::End { consumed: 0 }));
        assert!(connection.body_finished());
    }

    #[test]
    fn a_chunked_body() {
        let mut connection = Connection::new();
        let limits = Limits::default();
        let input = [POST, b"Transfer-Encoding: chunked\r\n\r\n"].concat();
        assert_eq!(head(&mut connection, &input), Ok(Received::Complete(input.len())));
        let mut body = |input: &'static [u8]| connection.receive_body(input, &limits);
        assert_eq!(body(b"5\r"), Ok(BodyEvent::Incomplete { consumed: 2 }));
        assert_eq!(body(b"\nhel"), Ok(BodyEvent::Data { content: b"hel", consumed: 4 }));
        assert_eq!(body(b"lo\r\n0\r\n"), Ok(BodyEvent::Data { content: b"lo", consumed: 2 }));
        assert_eq!(body(b"\r\n0\r\n"), Ok(BodyEvent::Incomplete { consumed: 5 }));
        assert_eq!(body(b"\r\nGET"), Ok(BodyEvent::End { consumed: 2 }));
        assert!(connection.body_finished());
    }

    #[test]
    fn a_refusal_stays() {
        let mut connection = Connection::new();
        assert_eq!(head(&mut connection, b"\x16\x03\x01"), Err(Refusal::MethodInvalid));
        assert_eq!(head(&mut connection, b"GET"), Err(Refusal::MethodInvalid));
        let body = connection.receive_body(b"x", &Limits::default());
        assert_eq!(body, Err(Refusal::MethodInvalid));
    }
}
