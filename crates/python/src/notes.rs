//! What processes that are forked from the master tell it, besides what the channel is for.
//!
//! A file in memory that they inherit: they write a few lines to it before they say on the channel
//! that they are ready, or exit, and the master reads it when it hears of that. Nothing is lost if
//! the process dies right after, and nobody waits.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::OnceLock;

use ironhorn_unix::StackFile;

/// The file, from the moment that the master wants to be told.
pub(crate) struct Notes(OnceLock<StackFile>);

impl Notes {
    /// Nobody is told anything yet.
    pub(crate) const fn new() -> Self {
        Self(OnceLock::new())
    }

    /// Processes that are forked from now on can tell.
    pub(crate) fn begin(&self) -> io::Result<()> {
        if self.0.get().is_none() {
            // Nobody else could have set it: the master has one thread.
            let _ = self.0.set(StackFile::new()?);
        }
        Ok(())
    }

    /// Whether anybody wants to be told.
    pub(crate) fn are_wanted(&self) -> bool {
        self.0.get().is_some()
    }

    /// Tells the master.
    pub(crate) fn write(&self, lines: &str) {
        let Some(file) = self.0.get() else { return };
        let file = file.as_fd().try_clone_to_owned().map(File::from);
        // One write(2), so that lines of several processes do not mix.
        if let Err(error) = file.and_then(|mut file| file.write_all(lines.as_bytes())) {
            log::warn!(error:%; "cannot tell the master");
        }
    }

    /// What was told since the last time.
    pub(crate) fn take(&self) -> String {
        let taken = self.0.get().map_or_else(|| Ok(String::new()), StackFile::take);
        taken.unwrap_or_else(|error| {
            log::warn!(error:%; "cannot read what a worker has told");
            String::new()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Notes;

    #[test]
    fn who_wants_nothing_is_told_nothing() {
        let notes = Notes::new();
        notes.write("lost\n");
        assert!(!notes.are_wanted());
        assert_eq!(notes.take(), "");
        notes.begin().unwrap();
        notes.begin().unwrap();
        notes.write("a\n");
        notes.write("b\n");
        assert!(notes.are_wanted());
        assert_eq!(notes.take(), "a\nb\n");
        assert_eq!(notes.take(), "");
    }
}
