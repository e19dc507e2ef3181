//! Why workers could not boot, as the master is told: the operator who has asked for a reload learns
//! it in the answer, and not in the log alone.

use crate::app_loader::LoadError;
use crate::notes::Notes;

/// Longer than this, the log is the place.
const LONGEST: usize = 500;

static TOLD: Notes = Notes::new();

/// In a process of `generation`: it can't boot.
pub(crate) fn tell(generation: u32, error: &LoadError) {
    TOLD.write(&line(generation, &error.to_string()));
}

fn line(generation: u32, error: &str) -> String {
    let words: Vec<_> = error.split_whitespace().collect();
    let text: String = words.join(" ").chars().take(LONGEST).collect();
    format!("{generation} {text}\n")
}

/// In the master: what the last process that has told something could not boot for.
#[derive(Default)]
pub(crate) struct BootErrors(Option<(u32, String)>);

impl BootErrors {
    /// The master wants to be told.
    pub(crate) fn expect() -> std::io::Result<Self> {
        TOLD.begin()?;
        Ok(Self::default())
    }

    /// A process could not boot. Asked each time: what is told in a crash loop would add up.
    pub(crate) fn collect(&mut self) {
        self.add(&TOLD.take());
    }

    /// What was told last, if it is of `generation`.
    pub(crate) fn take(&mut self, generation: u32) -> Option<String> {
        self.collect();
        self.0.take_if(|(number, _)| *number == generation).map(|(_, text)| text)
    }

    fn add(&mut self, told: &str) {
        let last = told.lines().rev().find_map(|line| {
            let (number, text) = line.split_once(' ')?;
            Some((number.parse().ok()?, text.to_owned()))
        });
        self.0 = last.or(self.0.take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_error_is_kept_for_its_generation() {
        let mut errors = BootErrors::default();
        errors.add(&[line(3, "importing a failed"), line(2, "first\n  second")].concat());
        errors.add("");
        assert_eq!(errors.take(3), None);
        assert_eq!(errors.take(2).unwrap(), "first second");
        assert_eq!(errors.take(2), None);
        errors.add(&line(1, &"é".repeat(900)));
        assert_eq!(errors.take(1).unwrap().chars().count(), LONGEST);
    }
}
