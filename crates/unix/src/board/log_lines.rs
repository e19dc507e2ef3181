//! Lines of a log that their worker has not written yet, so that its end doesn't lose them.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU32, AtomicU64};

use super::BoardSlot;

/// With the length, 4 KiB.
const WORDS: usize = 511;

/// The shared memory: touched by those workers alone that gather lines.
#[repr(C, align(64))]
pub(super) struct LogLines {
    length: AtomicU32,
    words: [AtomicU64; WORDS],
}

impl LogLines {
    pub(super) fn reset(&self) {
        self.length.store(0, Relaxed);
    }
}

impl BoardSlot {
    /// How many bytes of lines a worker can leave.
    pub const LOG_LINES: usize = WORDS * size_of::<u64>();

    /// Leaves `lines`, of which the first `known` bytes are there already; none: all are written.
    ///
    /// # Panics
    /// If they are more than [`BoardSlot::LOG_LINES`].
    pub fn leave_log_lines(&self, lines: &[u8], known: usize) {
        assert!(lines.len() <= Self::LOG_LINES, "{} bytes of lines", lines.len());
        let memory = &self.memory().log_lines;
        let first = known / size_of::<u64>();
        let chunks = lines.chunks(size_of::<u64>()).skip(first);
        for (word, chunk) in memory.words[first..].iter().zip(chunks) {
            let mut bytes = [0; size_of::<u64>()];
            bytes[..chunk.len()].copy_from_slice(chunk);
            word.store(u64::from_ne_bytes(bytes), Relaxed);
        }
        memory.length.store(u32::try_from(lines.len()).unwrap_or_default(), Release);
    }

    /// What a worker has left that is no more.
    pub fn log_lines(&self) -> Vec<u8> {
        let memory = &self.memory().log_lines;
        let length = memory.length.load(Acquire) as usize;
        let words = memory.words.iter().map(|word| word.load(Relaxed).to_ne_bytes());
        words.flatten().take(length).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::Board;

    #[test]
    fn what_is_left_is_found() {
        let board = Board::new(2).unwrap();
        let slot = board.slot(1);
        assert!(slot.log_lines().is_empty());
        let mut lines = Vec::new();
        for number in 0.. {
            let line = format!("line {number}\n");
            if lines.len() + line.len() > BoardSlot::LOG_LINES {
                break;
            }
            let known = lines.len();
            lines.extend(line.bytes());
            slot.leave_log_lines(&lines, known);
            assert_eq!(slot.log_lines(), lines);
        }
        assert!(board.slot(2).log_lines().is_empty());
        slot.leave_log_lines(&[], 0);
        assert!(slot.log_lines().is_empty());
        slot.leave_log_lines(b"one more\n", 0);
        assert_eq!(slot.log_lines(), b"one more\n");
        slot.reset();
        assert!(slot.log_lines().is_empty());
    }
}
