//! What the fleet is like, for those who ask: the process title, the control socket.

use ironhorn_unix::Pid;

use super::{Action, Fleet, Phase, upgrade::Upgrade};
use crate::{command::Stop, slot::Slot};

/// What the server is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// No worker has been ready yet.
    Starting,
    /// The start failed; the next reload begins anew.
    Waiting,
    /// Workers serve.
    Serving,
    /// The workers were told to leave; a reload brings them back.
    Retired,
    /// A stop was asked for; workers serve until load balancers have learned of it.
    Leaving,
    /// Workers finish what they have.
    Stopping(Stop),
    /// Nobody is left.
    Stopped,
}

impl State {
    /// One word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Waiting => "waiting",
            Self::Serving => "serving",
            Self::Retired => "retired",
            Self::Leaving => "leaving",
            Self::Stopping(_) => "stopping",
            Self::Stopped => "stopped",
        }
    }
}

impl Fleet {
    /// What the server is doing.
    #[must_use]
    pub fn state(&self) -> State {
        match self.phase {
            Phase::Starting => State::Starting,
            Phase::Waiting => State::Waiting,
            Phase::Serving if self.retired => State::Retired,
            Phase::Serving => State::Serving,
            Phase::Leaving { .. } => State::Leaving,
            Phase::Stopping { mode, .. } => State::Stopping(mode),
            Phase::Stopped => State::Stopped,
        }
    }

    /// How many workers should serve.
    #[must_use]
    pub fn target(&self) -> usize {
        self.target
    }

    /// The most that [`Fleet::target`] can be: room is left for a reload to boot in.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.slots.len() - 1
    }

    /// The generation that dead workers are replaced by.
    #[must_use]
    pub fn serving(&self) -> u32 {
        self.serving
    }

    /// The number of the newest generation whose settings were valid.
    #[must_use]
    pub fn latest(&self) -> u32 {
        self.latest
    }

    /// Whether a reload is under way.
    #[must_use]
    pub fn is_reloading(&self) -> bool {
        self.reload.is_some()
    }

    /// The generation that a reload is under way to, if one is.
    #[must_use]
    pub fn reloading_to(&self) -> Option<u32> {
        self.reload.as_ref().map(|reload| reload.generation)
    }

    /// Why the last reload failed, or the start that waits for one, if it did.
    #[must_use]
    pub fn failed(&self) -> Option<&str> {
        self.failed.as_deref()
    }

    /// The slot of the worker that is being replaced because it is worn, if there is one.
    #[must_use]
    pub fn recycling(&self) -> Option<usize> {
        self.recycled()
    }

    /// The new master that was started from disk, if it lives.
    #[must_use]
    pub fn upgrading_to(&self) -> Option<Pid> {
        match self.upgrade {
            Upgrade::To(pid) => Some(pid),
            Upgrade::None | Upgrade::Asked => None,
        }
    }

    /// The zygotes that live: generation, process id, whether workers can be forked from it.
    pub fn zygotes(&self) -> impl Iterator<Item = (u32, Pid, bool)> {
        self.generations.iter().filter_map(|generation| {
            let zygote = &generation.zygote;
            Some((generation.nr, zygote.pid()?, zygote.is_ready()))
        })
    }

    /// Each slot with its number.
    pub fn slots(&self) -> impl Iterator<Item = (usize, &Slot)> {
        (1..).zip(&self.slots)
    }

    /// The generations that are in use.
    pub fn generations(&self) -> impl Iterator<Item = u32> {
        self.generations.iter().map(|generation| generation.nr)
    }

    /// What the worker in slot `nr` runs, if there is one.
    #[must_use]
    pub fn generation_of(&self, nr: usize) -> Option<u32> {
        self.slots[nr - 1].generation()
    }

    /// Shows the state where it has changed.
    pub(super) fn describe(&mut self) {
        let state = self.title();
        if state != self.described {
            self.described.clone_from(&state);
            self.act(Action::Describe(state));
        }
    }

    fn title(&self) -> String {
        let workers = if self.target == 1 { "worker" } else { "workers" };
        let mut title = match self.state() {
            State::Stopping(_) | State::Stopped => return "stopping".to_owned(),
            State::Leaving => return "shutdown delayed".to_owned(),
            State::Waiting => return "start failed, waiting for a reload".to_owned(),
            State::Starting | State::Serving => {
                format!("{} {workers}, generation {}", self.target, self.serving)
            }
            State::Retired => format!("workers retired, generation {}", self.serving),
        };
        if self.phase == Phase::Serving {
            if let Some(generation) = self.reloading_to() {
                title.push_str(&format!(", reloading to {generation}"));
            } else if let Some(reason) = self.failed() {
                title.push_str(&format!(", reload failed: {reason}"));
            }
            if let Some(pid) = self.upgrading_to() {
                title.push_str(&format!(", upgrading to pid {pid}"));
            }
        }
        title
    }
}
