//! A line of text that one process writes and others read.
//!
//! A sequence lock (Boehm, "Can seqlocks get along with programming language memory models?",
//! 2012): the writer makes `sequence` odd, stores the words, makes it even. A reader that saw it
//! change tries again. The words are atomics, so even a torn text is a defined one.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU32, AtomicU64, fence};

/// Words of text.
const WORDS: usize = 24;

/// Bytes of text; what is longer is cut.
pub(super) const CAPACITY: usize = WORDS * 8;

/// After so many torn reads the text is taken as it is: its writer may have died in mid-write.
const READS: usize = 16;

/// The shared memory of one text.
#[repr(C)]
pub(super) struct Text {
    sequence: AtomicU32,
    length: AtomicU32,
    words: [AtomicU64; WORDS],
}

impl Text {
    /// Stores the parts, one after the other. For the slot's only writer.
    pub(super) fn write(&self, parts: &[&[u8]]) {
        let sequence = self.sequence.load(Relaxed) | 1;
        self.sequence.store(sequence, Relaxed);
        fence(Release);
        let length = self.store(parts);
        self.length.store(length, Relaxed);
        self.sequence.store(sequence.wrapping_add(1), Release);
    }

    /// Empties the text, also one that was left half written.
    pub(super) fn reset(&self) {
        self.write(&[]);
    }

    /// The text with control and non-ASCII bytes escaped, ending in `...` if it was cut.
    pub(super) fn read(&self) -> String {
        let mut bytes = [0; CAPACITY];
        let mut length = 0;
        for _ in 0..READS {
            let before = self.sequence.load(Acquire);
            length = self.load(&mut bytes);
            fence(Acquire);
            if before.is_multiple_of(2) && self.sequence.load(Relaxed) == before {
                break;
            }
            std::hint::spin_loop();
        }
        let mut text = bytes[..length.min(CAPACITY)].escape_ascii().to_string();
        if length > CAPACITY {
            text.push_str("...");
        }
        text
    }

    /// Returns the length before the cut, as far as it matters.
    fn store(&self, parts: &[&[u8]]) -> u32 {
        let mut bytes = [0; CAPACITY];
        let mut length = 0;
        for part in parts {
            let room = (CAPACITY - length).min(part.len());
            bytes[length..length + room].copy_from_slice(&part[..room]);
            length += room;
            if room < part.len() {
                length += 1;
                break;
            }
        }
        for (word, chunk) in self.words.iter().zip(bytes.as_chunks().0).take(length.div_ceil(8)) {
            word.store(u64::from_ne_bytes(*chunk), Relaxed);
        }
        u32::try_from(length).unwrap_or(0)
    }

    fn load(&self, bytes: &mut [u8; CAPACITY]) -> usize {
        let length = usize::try_from(self.length.load(Relaxed)).unwrap_or(0);
        for (word, chunk) in self.words.iter().zip(bytes.as_chunks_mut().0) {
            *chunk = word.load(Relaxed).to_ne_bytes();
        }
        length
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn empty() -> Text {
        Text {
            sequence: AtomicU32::new(0),
            length: AtomicU32::new(0),
            words: [const { AtomicU64::new(0) }; WORDS],
        }
    }

    #[test]
    fn is_read_as_written() {
        let text = empty();
        assert_eq!(text.read(), "");
        text.write(&[b"OPTIONS", b" ", b"*"]);
        assert_eq!(text.read(), "OPTIONS *");
        text.write(&[b"GET", b" ", b"/caf\xc3\xa9\r\n\0"]);
        assert_eq!(text.read(), "GET /caf\\xc3\\xa9\\r\\n\\x00");
        text.reset();
        assert_eq!(text.read(), "");
    }

    #[test]
    fn is_cut_where_it_does_not_fit() {
        let text = empty();
        let whole = vec![b'a'; CAPACITY];
        text.write(&[&whole]);
        assert_eq!(text.read(), "a".repeat(CAPACITY));
        text.write(&[&whole, b"b", b"c"]);
        assert_eq!(text.read(), format!("{}...", "a".repeat(CAPACITY)));
        text.write(&[&whole[1..], b"bb"]);
        assert_eq!(text.read(), format!("{}b...", "a".repeat(CAPACITY - 1)));
        text.write(&[&whole, b""]);
        assert_eq!(text.read(), "a".repeat(CAPACITY));
    }

    #[test]
    fn left_half_written_it_can_be_read_and_written_again() {
        let text = empty();
        text.write(&[b"GET /a"]);
        text.sequence.store(text.sequence.load(Relaxed) | 1, Relaxed);
        text.length.store(u32::MAX, Relaxed);
        assert!(text.read().starts_with("GET /a"));
        text.write(&[b"GET /b"]);
        assert_eq!(text.read(), "GET /b");
    }
}
