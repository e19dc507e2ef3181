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
use crate::pace::Pace;
use crate::transport::Transport;

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

/// Of a body that stays in memory, what comes after so many bytes is received where it stays.
const STRAIGHT_FROM: usize = FIRST_ROOM / 2;

/// A request whose body isn't whole.
#[derive(Debug)]
pub(crate) struct Upload {
    /// The head as received.
    pub(crate) head: Vec<u8>,
    /// When the head was whole.
    pub(crate) began: Monotonic,
    pub(crate) spool: Spool,
}

impl Upload {
    /// How its client has been sending it.
    pub(crate) fn pace(&self, now: Monotonic) -> Pace {
        Pace { bytes: self.spool.length(), elapsed: now.since(self.began) }
    }
}

/// Why a body can't be taken.
#[derive(Debug)]
pub(crate) enum BodyError {
    Refused(Refusal),
    /// It can't be kept.
    Spool(io::Error),
    /// All that are on their way have as much of the disk as they may.
    NoRoom,
}

/// How far `input` has brought a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrived {
    /// How much of the input is done with.
    pub(crate) consumed: usize,
    /// Whether the body is whole.
    pub(crate) whole: bool,
}

/// Where the bodies that are on their way to a worker are kept, and how much they take.
#[derive(Clone, Debug)]
pub(crate) struct Storage {
    memory: Rc<Cell<usize>>,
    disk: Rc<Cell<u64>>,
    disk_limit: u64,
}

impl Storage {
    /// With so many bytes of disk at most; `None`: as many as there are.
    pub(crate) fn new(disk_limit: Option<u64>) -> Self {
        let disk_limit = disk_limit.unwrap_or(u64::MAX);
        Self { memory: Rc::default(), disk: Rc::default(), disk_limit }
    }

    /// How much memory a body may have at present.
    fn memory_limit(&self) -> usize {
        if self.memory.get() < MEMORY_OF_ALL { MEMORY_LIMIT } else { SCARCE_LIMIT }
    }
}

/// What one body takes of it, until it is given to the app or dropped.
#[derive(Debug)]
struct Share {
    of: Storage,
    memory: usize,
    disk: u64,
}

impl Share {
    fn new(of: Storage) -> Self {
        Self { of, memory: 0, disk: 0 }
    }

    fn set_memory(&mut self, memory: usize) {
        let total = &self.of.memory;
        total.set(total.get() - self.memory + memory);
        self.memory = memory;
    }

    /// Takes as much more of the disk.
    fn add_disk(&mut self, more: usize) -> Result<(), BodyError> {
        let taken = self.of.disk.get().saturating_add(more as u64);
        if taken > self.of.disk_limit {
            return Err(BodyError::NoRoom);
        }
        self.of.disk.set(taken);
        self.disk += more as u64;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set_memory(0);
        self.of.disk.set(self.of.disk.get() - self.disk);
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
    pub(crate) fn new(announced: BodyLength, of: Storage) -> Self {
        let room = match announced {
            BodyLength::Length(length) => {
                usize::try_from(length).map_or(FIRST_ROOM, |length| length.min(FIRST_ROOM))
            }
            BodyLength::None | BodyLength::Chunked => 0,
        };
        let memory = Vec::with_capacity(room);
        let mut share = Share::new(of);
        share.set_memory(memory.capacity());
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
                    self.push(content)?;
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

    /// Receives more of a body of which so many bytes are left, without a copy on the way; `None`
    /// unless it will stay in memory whole and enough has come for its length to be believed.
    ///
    /// What has come is to be [taken note of](Self::note).
    pub(crate) fn receive_straight(
        &mut self,
        left: u64,
        stream: &Transport,
    ) -> Option<io::Result<usize>> {
        let left = usize::try_from(left).ok()?;
        let whole = self.memory.len().checked_add(left)?;
        if self.memory.len() < STRAIGHT_FROM || whole > self.share.of.memory_limit() {
            return None;
        }
        stream.recv_behind(&mut self.memory, left)
    }

    /// Takes note of the last `count` bytes in memory, as those of the body that `http` is at.
    pub(crate) fn note(&mut self, http: &mut Http, count: usize, limits: &Limits) {
        let before = self.memory.len() - count;
        let event = http.receive_body(&self.memory[before..], limits);
        debug_assert!(matches!(event, Ok(BodyEvent::Data { consumed, .. }) if consumed == count));
        self.length += count as u64;
        // Room that nothing has been written to takes no memory.
        self.share.set_memory(self.memory.len());
    }

    fn push(&mut self, content: &[u8]) -> Result<(), BodyError> {
        self.length += content.len() as u64;
        if let Some(file) = &mut self.file {
            self.share.add_disk(content.len())?;
            return file.write_all(content).map_err(BodyError::Spool);
        }
        let length = self.memory.len() + content.len();
        if length <= self.share.of.memory_limit() {
            self.memory.extend_from_slice(content);
            self.share.set_memory(self.memory.capacity());
            return Ok(());
        }
        self.share.add_disk(length)?;
        self.file = Some(self.spooled(content).map_err(BodyError::Spool)?);
        self.memory = Vec::new();
        self.share.set_memory(0);
        Ok(())
    }

    /// A file with what is in memory, and then `content`.
    fn spooled(&self, content: &[u8]) -> io::Result<File> {
        let mut file = tempfile::tempfile()?;
        file.write_all(&self.memory)?;
        file.write_all(content)?;
        Ok(file)
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
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    use ironhorn_http::{FieldStorage, Received};
    use ironhorn_unix::Stream;

    #[test]
    fn a_small_body_stays_in_memory() {
        let mut spool = Spool::new(BodyLength::Length(5), Storage::new(None));
        spool.push(b"he").unwrap();
        spool.push(b"llo").unwrap();
        assert!(matches!(spool.finish().unwrap(), Body::Memory(bytes) if bytes == b"hello"));
    }

    #[test]
    fn the_rest_of_a_large_body_is_received_where_it_stays() {
        let (near, mut far) = UnixStream::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        let stream = Transport::plain(Stream::from(OwnedFd::from(near)));
        let (mut http, limits) = (Http::default(), Limits::default());
        let head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 40000\r\n\r\n";
        let mut storage = FieldStorage::new();
        assert!(matches!(
            http.receive_head(head, &mut storage, &limits),
            Ok(Received::Complete(_))
        ));
        let all = Storage::new(None);
        let mut spool = Spool::new(BodyLength::Length(40_000), all.clone());
        let before = vec![b'a'; STRAIGHT_FROM - 1];
        assert!(!spool.receive(&mut http, &before, &limits).unwrap().whole);
        assert!(spool.receive_straight(http.body_left().unwrap(), &stream).is_none());
        assert!(!spool.receive(&mut http, b"a", &limits).unwrap().whole);

        let left = http.body_left().unwrap();
        far.write_all(&[b'b'; 8000]).unwrap();
        far.write_all(b"GET").unwrap();
        let count = spool.receive_straight(left, &stream).unwrap().unwrap();
        assert_eq!(count as u64, left);
        spool.note(&mut http, count, &limits);
        assert!(http.body_finished() && http.body_left().is_none());
        assert_eq!((spool.length(), all.memory.get()), (40_000, 40_000));
        let mut next = [0; 1000];
        assert_eq!(stream.recv(&mut next).unwrap(), 8000 + 3 - count);
        let Body::Memory(bytes) = spool.finish().unwrap() else { panic!("not in memory") };
        assert!(bytes[..STRAIGHT_FROM].iter().all(|&byte| byte == b'a'));
        assert!(bytes[STRAIGHT_FROM..].iter().all(|&byte| byte == b'b'));
    }

    #[test]
    fn an_empty_body_is_no_body() {
        let spool = Spool::new(BodyLength::Chunked, Storage::new(None));
        assert!(matches!(spool.finish().unwrap(), Body::Empty));
    }

    #[test]
    fn a_large_body_goes_to_a_file_whole_and_in_order() {
        let piece: Vec<u8> = (0..=255).cycle().take(300_000).collect();
        let mut spool = Spool::new(BodyLength::Length(1 << 40), Storage::new(None));
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
        let memory = Storage::new(None);
        let spool = |length| {
            let mut spool = Spool::new(BodyLength::Chunked, memory.clone());
            spool.push(&vec![b'x'; length]).unwrap();
            spool
        };
        let hoard: Vec<Spool> = (0..64).map(|_| spool(MEMORY_LIMIT)).collect();
        assert!(memory.memory.get() >= MEMORY_OF_ALL);
        assert!(matches!(spool(SCARCE_LIMIT).finish().unwrap(), Body::Memory(_)));
        assert!(matches!(spool(SCARCE_LIMIT + 1).finish().unwrap(), Body::File { .. }));
        drop(hoard);
        assert_eq!(memory.memory.get(), 0);
        assert!(matches!(spool(SCARCE_LIMIT + 1).finish().unwrap(), Body::Memory(_)));
        drop(spool(MEMORY_LIMIT + 1));
        assert_eq!(memory.memory.get(), 0);
    }

    #[test]
    fn the_disk_has_a_limit_for_all_together() {
        let room = Storage::new(Some(4 << 20));
        let push = |spool: &mut Spool, length: usize| spool.push(&vec![b'x'; length]);
        let mut first = Spool::new(BodyLength::Chunked, room.clone());
        push(&mut first, 3 << 20).unwrap();
        let mut second = Spool::new(BodyLength::Chunked, room.clone());
        // In memory it may stay.
        push(&mut second, MEMORY_LIMIT).unwrap();
        assert!(matches!(push(&mut second, 1), Err(BodyError::NoRoom)));
        push(&mut first, 1 << 20).unwrap();
        assert!(matches!(push(&mut first, 1), Err(BodyError::NoRoom)));
        drop(first);
        assert_eq!(room.disk.get(), 0);
        let mut third = Spool::new(BodyLength::Chunked, room.clone());
        push(&mut third, 4 << 20).unwrap();
        assert!(matches!(third.finish().unwrap(), Body::File { length, .. } if length == 4 << 20));
        assert_eq!(room.disk.get(), 0);
    }
}
