//! Why workers could not boot, as the master is told: the operator who has asked for a reload learns
//! it in the answer, and not in the log alone.

use crate::app_loader::LoadError;
use crate::notes::Notes;

/// Longer than this, the log is the place.
const LONGEST: usize = 500;

static TOLD: Notes = Notes::new();

/// The master wants to be told.
pub(crate) fn expect() -> std::io::Result<()> {
    TOLD.begin()
}

/// In a process of `generation`: it can't boot.
pub(crate) fn tell(generation: u32, error: &LoadError) {
    TOLD.write(&line(generation, &error.to_string()));
}

fn line(generation: u32, error: &str) -> String {
    let words: Vec<_> = error.split_whitespace().collect();
    let text: String = words.join(" ").chars().take(LONGEST).collect();
    format!("{generation} {text}\n")
}

/// What the last one of `generation` has told since anybody asked.
pub(crate) fn told(generation: u32) -> Option<String> {
    of(generation, &TOLD.take())
}

fn of(generation: u32, told: &str) -> Option<String> {
    let mut lines = told.lines().rev().filter_map(|line| line.split_once(' '));
    let (_, text) = lines.find(|(number, _)| number.parse() == Ok(generation))?;
    Some(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_generation_has_its_error() {
        let told =
            [line(2, "importing a failed"), line(3, "first\n  second"), line(2, "x")].concat();
        assert_eq!(of(2, &told).unwrap(), "x");
        assert_eq!(of(3, &told).unwrap(), "first second");
        assert_eq!(of(1, &told), None);
        assert_eq!(of(1, &line(1, &"é".repeat(900))).unwrap().chars().count(), LONGEST);
    }
}
