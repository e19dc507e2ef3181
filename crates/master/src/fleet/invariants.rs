//! What holds after every step, whatever came before.

use ironhorn_unix::Monotonic;

use super::{Action, Fleet, Phase};
use crate::{report::Reason, slot::Slot};

impl Fleet {
    /// Checks what must hold between two events.
    ///
    /// # Panics
    /// If something does not.
    pub fn check_invariants(&self, now: Monotonic) {
        self.check_slots();
        let active = self.active();
        match self.phase {
            Phase::Starting | Phase::Serving | Phase::Leaving { .. } => {
                // Forks that were asked for before there was less to fork are waited for.
                let most = self.strength() + self.surge() + self.extra() + self.forking();
                assert!(active <= most, "{active} workers where {most} are the most");
                self.check_rest(active, now);
            }
            Phase::Waiting | Phase::Stopping { .. } | Phase::Stopped => {
                let serving = self.count(|slot| slot.is_ready() || is_booting(slot));
                assert_eq!(serving, 0, "who serves or boots was not told of the stop");
                assert!(self.reload.is_none(), "a stop ends a reload");
            }
        }
        if let Some(reload) = &self.reload {
            assert!(reload.generation > self.serving, "a reload goes forward");
            assert_eq!(reload.generation, self.latest, "the newest reload is the one that counts");
        }
        let recycled = self.count(is_recycled);
        assert!(recycled <= 1, "{recycled} workers are recycled at a time");
        assert!(self.target >= 1, "the last worker is never given up");
        assert!(self.target < self.slots.len(), "a reload always has room");
    }

    fn check_slots(&self) {
        let live = || self.slots().filter_map(|(nr, slot)| Some((nr, slot.worker()?)));
        for (nr, worker) in live() {
            let twins = live().filter(|(_, other)| other.pid == worker.pid).count();
            assert_eq!(twins, 1, "process {} of worker {nr} is in {twins} slots", worker.pid);
        }
        for (nr, slot) in self.slots() {
            if let Some(generation) = slot.generation() {
                let known = self.generations().any(|known| known == generation);
                assert!(known, "worker {nr} runs generation {generation}, which was dropped");
            }
        }
        assert!(
            self.generations().any(|known| known == self.serving),
            "generation {} serves and was dropped",
            self.serving
        );
    }

    /// Who is missing without a reason to wait is on its way, and nobody who was sent away stays.
    fn check_rest(&self, active: usize, now: Monotonic) {
        let waits = self.respawn_at(now).is_some() || !self.is_forkable(self.serving);
        let full = self.slots.iter().all(|slot| !slot.is_empty());
        if self.reload.is_some() || self.asked {
            return;
        }
        let wanted = self.wanted().min(self.abreast(now));
        if !waits && !full {
            assert!(active >= wanted, "workers are missing and nothing is done");
        }
        let most = self.wanted() + self.forking();
        assert!(active <= most, "workers are too many and nothing is done");
    }

    fn forking(&self) -> usize {
        self.count(|slot| matches!(slot, Slot::Forking { .. }))
    }

    /// An action concerns somebody.
    pub(super) fn check_action(&self, action: &Action) {
        match action {
            Action::Fork { nr, generation } => {
                debug_assert!(matches!(self.slots[nr - 1], Slot::Forking { .. }));
                debug_assert!(self.is_forkable(*generation), "forked from no zygote");
            }
            Action::Tell { nr, .. } | Action::Expire { nr, .. } => {
                let slot = &self.slots[nr - 1];
                let told = slot.worker().is_some() && !matches!(slot, Slot::Killed { .. });
                debug_assert!(told, "worker {nr} is told something and is not there");
            }
            Action::Kill { nr, .. } => {
                debug_assert!(matches!(self.slots[nr - 1], Slot::Killed { .. }));
            }
            _ => {}
        }
    }
}

fn is_booting(slot: &Slot) -> bool {
    matches!(slot, Slot::Booting { .. })
}

/// Whether it leaves because it was worn.
fn is_recycled(slot: &Slot) -> bool {
    let Slot::Retiring { retirement, .. } = slot else { return false };
    matches!(
        retirement.reason,
        Reason::MaxRequests | Reason::MaxMemory | Reason::MaxLifetime | Reason::Recycled
    )
}
