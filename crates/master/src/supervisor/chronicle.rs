//! What has become of reloads, as far as an operator may ask.

use std::time::{Duration, SystemTime};

use crate::report::Report;

/// The last reload, and what the present one was answered.
#[derive(Debug, Default)]
pub(super) struct Chronicle {
    pub(super) last_reload: Option<LastReload>,
    /// How the reload that was asked for last was taken.
    answer: Option<Result<u32, String>>,
}

#[derive(Debug)]
pub(super) struct LastReload {
    pub(super) generation: u32,
    pub(super) outcome: Outcome,
    /// When it began, or came to its end.
    pub(super) at: SystemTime,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    Running,
    Done,
    Failed(String),
}

impl Outcome {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed(_) => "failed",
        }
    }
}

/// The end of a reload, for those who wait for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct End {
    pub(super) generation: u32,
    pub(super) result: Result<Duration, String>,
}

impl Chronicle {
    /// A reload is about to be asked for.
    pub(super) fn expect_answer(&mut self) {
        self.answer = None;
    }

    /// How it was taken: the number of its generation, or the refusal; none: not at all.
    pub(super) fn answer(&mut self) -> Option<Result<u32, String>> {
        self.answer.take()
    }

    /// `under_way`: the reload that goes on when `report` is made.
    pub(super) fn note(&mut self, report: &Report, under_way: Option<u32>) -> Option<End> {
        match report {
            Report::Reloading { generation } => {
                self.answer.get_or_insert(Ok(*generation));
                self.set(*generation, Outcome::Running);
                None
            }
            Report::Reloaded { generation, after } => {
                self.set(*generation, Outcome::Done);
                Some(End { generation: *generation, result: Ok(*after) })
            }
            Report::ReloadFailed { generation, reason, .. }
            | Report::ReloadEnded { generation, reason } => {
                self.answer.get_or_insert_with(|| Err(reason.clone()));
                // A refusal leaves the reload alone that is under way.
                if under_way.is_some() {
                    return None;
                }
                self.set(*generation, Outcome::Failed(reason.clone()));
                Some(End { generation: *generation, result: Err(reason.clone()) })
            }
            Report::StartFailed { who, reason } => {
                self.failed_start(who.generation, format!("worker {}: {reason}", who.nr))
            }
            Report::PreloadFailed { generation, reason, .. } => {
                self.failed_start(*generation, format!("the zygote: {reason}"))
            }
            _ => None,
        }
    }

    /// Nobody serves yet, and the newest generation doesn't boot either.
    fn failed_start(&mut self, generation: u32, reason: String) -> Option<End> {
        self.last_reload.as_ref()?;
        self.set(generation, Outcome::Failed(reason.clone()));
        Some(End { generation, result: Err(reason) })
    }

    /// Workers of `generation` serve for the first time since the start: if it was reloaded
    /// before, that has succeeded.
    pub(super) fn started(&mut self, generation: u32) -> Option<End> {
        let last = self.last_reload.as_ref()?;
        if last.generation != generation || last.outcome != Outcome::Running {
            return None;
        }
        let after = last.at.elapsed().unwrap_or_default();
        self.set(generation, Outcome::Done);
        Some(End { generation, result: Ok(after) })
    }

    fn set(&mut self, generation: u32, outcome: Outcome) {
        self.last_reload = Some(LastReload { generation, outcome, at: SystemTime::now() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RELOADING: Report = Report::Reloading { generation: 2 };
    const RELOADED: Report = Report::Reloaded { generation: 2, after: Duration::from_secs(1) };

    fn failed(generation: u32) -> Report {
        Report::ReloadFailed { generation, reason: "why".to_owned(), serving: 1, mixed: 0 }
    }

    fn last(chronicle: &Chronicle) -> (u32, Outcome) {
        let last = chronicle.last_reload.as_ref().unwrap();
        (last.generation, last.outcome.clone())
    }

    #[test]
    fn a_reload_has_an_end() {
        let mut chronicle = Chronicle::default();
        chronicle.expect_answer();
        assert_eq!(chronicle.note(&RELOADING, Some(2)), None);
        assert_eq!(chronicle.answer(), Some(Ok(2)));
        assert_eq!(last(&chronicle), (2, Outcome::Running));
        let end = End { generation: 2, result: Ok(Duration::from_secs(1)) };
        assert_eq!(chronicle.note(&RELOADED, None), Some(end));
        assert_eq!(last(&chronicle), (2, Outcome::Done));
    }

    #[test]
    fn a_reload_that_was_overruled_has_not_succeeded() {
        let mut chronicle = Chronicle::default();
        chronicle.note(&RELOADING, Some(2));
        let ended = Report::ReloadEnded { generation: 2, reason: "why".to_owned() };
        let end = End { generation: 2, result: Err("why".to_owned()) };
        assert_eq!(chronicle.note(&ended, None), Some(end));
        assert_eq!(last(&chronicle), (2, Outcome::Failed("why".to_owned())));
    }

    #[test]
    fn a_refusal_does_not_end_another_reload() {
        let mut chronicle = Chronicle::default();
        chronicle.note(&RELOADING, Some(2));
        chronicle.expect_answer();
        assert_eq!(chronicle.note(&failed(3), Some(2)), None);
        assert_eq!(chronicle.answer(), Some(Err("why".to_owned())));
        assert_eq!(last(&chronicle), (2, Outcome::Running));
        let end = End { generation: 2, result: Err("why".to_owned()) };
        assert_eq!(chronicle.note(&failed(2), None), Some(end));
        assert_eq!(last(&chronicle), (2, Outcome::Failed("why".to_owned())));
    }

    #[test]
    fn a_reload_before_anybody_serves_ends_when_somebody_does() {
        let mut chronicle = Chronicle::default();
        assert_eq!(chronicle.started(1), None);
        chronicle.note(&RELOADING, None);
        assert_eq!(chronicle.started(1), None);
        assert_eq!(chronicle.started(2).map(|end| end.generation), Some(2));
        assert_eq!(last(&chronicle), (2, Outcome::Done));
        assert_eq!(chronicle.started(2), None);
    }
}
