//! Where lines go: each at once, or those of a turn together.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ironhorn_unix::{BoardSlot, Fate, Sink};

/// The error log learns of lost lines this often at most.
const BETWEEN_COMPLAINTS: Duration = Duration::from_secs(10);

/// The way out of an access log, which a thread beside the loop may have too.
#[derive(Clone, Debug)]
pub(crate) struct Outlet(Arc<Mutex<Lines>>);

#[derive(Debug)]
struct Lines {
    sink: Sink,
    /// What waits to be written: whole lines, which are on the board too.
    gathered: Vec<u8>,
    /// How many lines that is.
    count: u64,
    /// Where they are found if the worker is killed; none: nothing is gathered.
    slot: Option<BoardSlot>,
    failed: bool,
    /// Lines that were lost since that was said.
    lost: u64,
    complained_at: Option<Instant>,
}

impl Outlet {
    pub(crate) fn new(sink: Sink) -> Self {
        Self(Arc::new(Mutex::new(Lines {
            sink,
            gathered: Vec::new(),
            count: 0,
            slot: None,
            failed: false,
            lost: 0,
            complained_at: None,
        })))
    }

    /// From here on lines wait for [`Outlet::flush`], or until there are many.
    pub(crate) fn gather(&self, slot: BoardSlot) {
        let mut lines = self.lock();
        lines.gathered.reserve(BoardSlot::LOG_LINES);
        lines.slot = Some(slot);
    }

    /// From here on each line is written at once.
    pub(crate) fn stop_gathering(&self) {
        let mut lines = self.lock();
        lines.flush();
        lines.slot = None;
    }

    /// Takes whole lines.
    pub(crate) fn add(&self, bytes: &[u8]) {
        self.lock().add(bytes);
    }

    /// Writes what waits.
    pub(crate) fn flush(&self) {
        self.lock().flush();
    }

    /// Goes on in another file.
    pub(crate) fn replace(&self, sink: Sink) {
        let mut lines = self.lock();
        lines.flush();
        lines.sink.replace(sink);
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lines {
    fn add(&mut self, bytes: &[u8]) {
        if self.gathered.len() + bytes.len() > BoardSlot::LOG_LINES {
            self.flush();
        }
        match &self.slot {
            Some(slot) if bytes.len() <= BoardSlot::LOG_LINES => {
                let known = self.gathered.len();
                self.gathered.extend_from_slice(bytes);
                slot.leave_log_lines(&self.gathered, known);
                self.count += 1;
            }
            _ => {
                let written = self.sink.write(bytes);
                let count = bytes.iter().filter(|&&byte| byte == b'\n').count();
                self.report(written, count as u64);
            }
        }
    }

    fn flush(&mut self) {
        if self.gathered.is_empty() {
            return;
        }
        let written = self.sink.write(&self.gathered);
        self.gathered.clear();
        // A worker that is killed just now has these lines twice.
        if let Some(slot) = &self.slot {
            slot.leave_log_lines(&[], 0);
        }
        let count = std::mem::take(&mut self.count);
        self.report(written, count);
    }

    /// Says once that the log can't be written, and once that it can again.
    fn report(&mut self, written: io::Result<Fate>, count: u64) {
        if matches!(written, Ok(Fate::Lost)) {
            self.lost += count;
        }
        if self.lost > 0 {
            self.complain();
        }
        match written {
            Ok(Fate::Written) if self.failed => {
                self.failed = false;
                log::info!("access log can be written again");
            }
            Err(error) if !self.failed => {
                self.failed = true;
                log::error!(error:%; "cannot write the access log; lines are lost");
            }
            Ok(_) | Err(_) => {}
        }
    }

    /// Says how many lines were lost because nobody reads them, once in a while.
    fn complain(&mut self) {
        if self.complained_at.is_none_or(|at| at.elapsed() >= BETWEEN_COMPLAINTS) {
            self.complained_at = Some(Instant::now());
            let count = std::mem::take(&mut self.lost);
            log::warn!(count; "access log lines lost: nobody reads them");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use ironhorn_unix::{Board, Links};

    use super::*;

    #[test]
    fn lines_wait_on_the_board_and_are_written_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let slot = Board::new(1).unwrap().slot(1);
        let outlet = Outlet::new(Sink::open(&path, Links::All).unwrap());
        let written = || fs::read(&path).unwrap();
        outlet.add(b"at once\n");
        assert_eq!(written(), b"at once\n");

        outlet.gather(slot.clone());
        outlet.add(b"one\n");
        outlet.add(b"two\n");
        assert_eq!(written(), b"at once\n");
        assert_eq!(slot.log_lines(), b"one\ntwo\n");
        outlet.flush();
        assert_eq!(written(), b"at once\none\ntwo\n");
        assert!(slot.log_lines().is_empty());

        // One that is too long for the board comes after those before it, at once.
        let long = [&[b'x'; BoardSlot::LOG_LINES][..], b"\n"].concat();
        outlet.add(b"three\n");
        outlet.add(&long);
        assert_eq!(written(), [b"at once\none\ntwo\nthree\n", &long[..]].concat());
        assert!(slot.log_lines().is_empty());

        fs::remove_file(&path).unwrap();
        outlet.add(b"four\n");
        outlet.replace(Sink::open(&path, Links::All).unwrap());
        assert_eq!(written(), b"", "four belongs to the file before");
        let line = [b"y".repeat(99), b"\n".to_vec()].concat();
        for count in 1..=BoardSlot::LOG_LINES / 100 {
            outlet.add(&line);
            assert_eq!(slot.log_lines().len(), count * 100);
        }
        outlet.add(&line);
        assert_eq!(
            written().len(),
            BoardSlot::LOG_LINES / 100 * 100,
            "no more than there is room for"
        );
        assert_eq!(slot.log_lines(), line);
        outlet.stop_gathering();
        outlet.add(b"five\n");
        assert!(written().ends_with(b"y\nfive\n"));
    }
}
