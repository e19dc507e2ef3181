//! A version of settings and code, from its reload until nobody runs it.

use super::{Action, Fleet, zygote::Zygote};
use crate::{Options, respawn::Backoff};

#[derive(Debug)]
pub(super) struct Generation {
    pub(super) nr: u32,
    pub(super) options: Options,
    /// Older generations all of whose listeners this one has.
    pub(super) keeps: Vec<u32>,
    /// Its workers that died early.
    pub(super) crashes: Backoff,
    pub(super) zygote: Zygote,
    /// Its zygotes that were lost.
    pub(super) losses: Backoff,
}

impl Generation {
    pub(super) fn new(nr: u32, options: Options, keeps: Vec<u32>) -> Self {
        Self {
            nr,
            options,
            keeps,
            crashes: Backoff::default(),
            zygote: Zygote::None,
            losses: Backoff::default(),
        }
    }

    /// Whether a worker could be forked now.
    pub(super) fn is_forkable(&self) -> bool {
        !self.options.preload || self.zygote.is_ready()
    }
}

impl Fleet {
    /// Drops the generations that nobody runs and nobody will.
    pub(super) fn drop_unused(&mut self) {
        self.kill_unused_zygotes();
        let unused: Vec<u32> = self
            .generations
            .iter()
            .filter(|generation| generation.nr != self.serving && !self.boots(generation.nr))
            .filter(|generation| generation.zygote == Zygote::None)
            .map(|generation| generation.nr)
            .filter(|&nr| self.slots().all(|(_, slot)| slot.generation() != Some(nr)))
            .collect();
        self.generations.retain(|generation| !unused.contains(&generation.nr));
        for generation in unused {
            self.act(Action::DropGeneration { generation });
        }
    }

    /// Whether workers of `generation` are still wanted.
    pub(super) fn boots(&self, generation: u32) -> bool {
        match &self.reload {
            _ if !self.is_kept_up() => false,
            Some(reload) if reload.generation == generation => true,
            _ => generation == self.serving,
        }
    }
}
