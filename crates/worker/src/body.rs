//! A request body on its way in: in memory while it is small, then in a file without a name.
//!
//! The app is called only when the body is whole, so a client that sends slowly costs a
//! connection and never the worker.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Seek, Write};
use std::rc::Rc;

use ironhorn_http::{BodyEvent, BodyLength, Connection as Http, Limits, Refusal};
use ironhorn_unix::Monotonic;

use crate::application::Body;

/// Bodies up to this many bytes stay in memory,
const MEMORY_LIMIT: usize = 1 << 20;
/// unless all that are on their way have more than this: who opens many connections could make a
/// worker hold a body for each.
const MEMORY_OF_ALL: usize = 64 << 20;
/// Then bodies that grow beyond this are spooled.
const SCARCE_LIMIT: usize = 1 << 16;

/// A body announced with a length is given room at once, but a length is only a promise:
/// not more than this many bytes before the first has arrived.
const FIRST_ROOM: usize = 1 << 16;

/// A request whose body isn't whole.
#[derive(Debug)]
pub(crate) struct Upload {
    /// The head as received.
    pub(crate) head: Vec<u8>,
    /// When the head was whole.
    pub(crate) began: Monotonic,
    pub(crate) spool: Spool,
}

/// Why a body can't be taken.
#[derive(Debug)]
pub(crate) enum BodyError {
    Refused(Refusal),
    /// It can't be kept.
    Spool(io::Error),
}

/// How far `input` has brought a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrived {
    /// How much of the input is done with.
    pub(crate) consumed: usize,
    /// Whether the body is whole.
    pub(crate) whole: bool,
}

/// The memory of all the bodies that are on their way to a worker.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory(Rc<Cell<usize>>);

impl Memory {
    /// How much a body may have of it at present.
    fn limit(&self) -> usize {
        if self.0.get() < MEMORY_OF_ALL { MEMORY_LIMIT } else { SCARCE_LIMIT }
    }
}

/// What one body has of the memory, until it is given to the app or dropped.
#[derive(Debug)]
struct Share {
    of: Memory,
    taken: usize,
}

impl Share {
    fn set(&mut self, taken: usize) {
        let Memory(total) = &self.of;
        total.set(total.get() - self.taken + taken);
        self.taken = taken;
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[derive(Debug)]
pub(crate) struct Spool {
    memory: Vec<u8>,
    share: Share,
    file: Option<File>,
    length: u64,
}

impl Spool {
    pub(crate) fn new(announced: BodyLength, of: Memory) -> Self {
        let room = match announced {
            BodyLength::Length(length) => {
                usize::try_from(length).map_or(FIRST_ROOM, |length| length.min(FIRST_ROOM))
            }
            BodyLength::None | BodyLength::Chunked => 0,
        };
        let memory = Vec::with_capacity(room);
        let mut share = Share { of, taken: 0 };
        share.set(memory.capacity());
        Self { memory, share, file: None, length: 0 }
    }

    /// Takes what `input` has of the body that `http` is at.
    pub(crate) fn receive(
        &mut self,
        http: &mut Http,
        input: &[u8],
        limits: &Limits,
    ) -> Result<Arrived, BodyError> {
        let mut done = 0;
        loop {
            match http.receive_body(&input[done..], limits).map_err(BodyError::Refused)? {
                BodyEvent::Data { content, consumed } => {
                    self.push(content).map_err(BodyError::Spool)?;
                    done += consumed;
                }
                BodyEvent::Incomplete { consumed } => {
                    return Ok(Arrived { consumed: done + consumed, whole: false });
                }
                BodyEvent::End { consumed } => {
                    return Ok(Arrived { consumed: done + consumed, whole: true });
                }
            }
        }
    }

    fn push(&mut self, content: &[u8]) -> io::Result<()> {
        self.length += content.len() as u64;
        if let Some(file) = &mut self.file {
            return file.write_all(content);
        }
        if self.memory.len() + content.len() <= self.share.of.limit() {
            self.memory.extend_from_slice(content);
            self.share.set(self.memory.capacity());
            return Ok(());
        }
        let mut file = tempfile::tempfile()?;
        file.write_all(&self.memory)?;
        file.write_all(content)?;
        self.memory = Vec::new();
        self.share.set(0);
        self.file = Some(file);
        Ok(())
    }

    /// How much of it has come, in bytes.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// The body is whole.
    pub(crate) fn finish(self) -> Result<Body, BodyError> {
        Ok(match self.file {
            Some(mut file) => {
                file.rewind().map_err(BodyError::Spool)?;
                Body::File { file, length: self.length }
            }
            None if self.memory.is_empty() => Body::Empty,
            None => Body::Memory(self.memory),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn a_small_body_stays_in_memory() {
        let mut spool = Spool::new(BodyLength::Length(5), Memory::default());
        spool.push(b"he").unwrap();
        spool.push(b"llo").unwrap();
        assert!(matches!(spool.finish().unwrap(), Body::Memory(bytes) if bytes == b"hello"));
    }

    #[test]
    fn an_empty_body_is_no_body() {
        let spool = Spool::new(BodyLength::Chunked, Memory::default());
        assert!(matches!(spool.finish().unwrap(), Body::Empty));
    }

    #[test]
    fn a_large_body_goes_to_a_file_whole_and_in_order() {
        let piece: Vec<u8> = (0..=255).cycle().take(300_000).collect();
        let mut spool = Spool::new(BodyLength::Length(1 << 40), Memory::default());
        for _ in 0..4 {
            spool.push(&piece).unwrap();
        }
        let Body::File { mut file, length } = spool.finish().unwrap() else {
            panic!("1.2 MB must not stay in memory");
        };
        let mut back = Vec::new();
        file.read_to_end(&mut back).unwrap();
        assert_eq!(length, 1_200_000);
        assert_eq!(back, piece.repeat(4));
    }

    #[test]
    fn memory_is_given_back_however_a_body_ends() {
        let memory = Memory::default();
        let spool = |length| {
            let mut spool = Spool::new(BodyLength::Chunked, memory.clone());
            spool.push(&vec![b'x'; length]).unwrap();
            spool
        };
        let hoard: Vec<Spool> = (0..64).map(|_| spool(MEMORY_LIMIT)).collect();
        assert!(memory.0.get() >= MEMORY_OF_ALL);
        assert!(matches!(spool(SCARCE_LIMIT).finish().unwrap(), Body::Memory(_)));
        assert!(matches!(spool(SCARCE_LIMIT + 1).finish().unwrap(), Body::File { .. }));
        drop(hoard);
        assert_eq!(memory.0.get(), 0);
        assert!(matches!(spool(SCARCE_LIMIT + 1).finish().unwrap(), Body::Memory(_)));
        drop(spool(MEMORY_LIMIT + 1));
        assert_eq!(memory.0.get(), 0);
    }
}
