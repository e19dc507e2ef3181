//! A simulated worker process, and the code that it runs.

use std::time::Duration;

use ironhorn_unix::{Exit, Monotonic};

use crate::random::Random;

/// What a boot from the disk leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    /// Ready after some milliseconds at most.
    Boots { within: u64 },
    /// Exits while booting.
    Fails(Exit),
    /// Never ready.
    Hangs,
    /// Ready, and dead within a second.
    DiesSoon,
}

impl Code {
    pub(crate) const GOOD: Self = Self::Boots { within: 500 };

    pub(crate) fn any(random: &mut Random) -> Self {
        match random.below(10) {
            0..=4 => Self::GOOD,
            5 => Self::Boots { within: 20_000 },
            6 => Self::Fails(Exit::Code(3)),
            7 => Self::Fails(death(random)),
            8 => Self::Hangs,
            _ => Self::DiesSoon,
        }
    }
}

/// Some unasked end.
pub(crate) fn death(random: &mut Random) -> Exit {
    match random.below(5) {
        0 => Exit::Code(0),
        1 => Exit::Code(1),
        2 => Exit::Code(4),
        3 => Exit::Signal { signal: 9, core_dumped: false },
        _ => Exit::Signal { signal: 11, core_dumped: true },
    }
}

/// A worker process.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) nr: usize,
    pub(crate) ready: bool,
    /// Since when it runs a request that will never end.
    pub(crate) stuck_since: Option<Monotonic>,
    /// Since when it does nothing at all.
    pub(crate) stopped_since: Option<Monotonic>,
    /// Will not do what it is told.
    pub(crate) deaf: bool,
}

/// What will happen to a process, or to the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Happening {
    BecomesReady,
    Dies { code: i32, signal: i32 },
    DrainsByItself,
    ClosesItsChannel,
    GetsStuck,
    IsStopped,
    TurnsDeaf,
}

impl Happening {
    pub(crate) fn dies(exit: Exit) -> Self {
        match exit {
            Exit::Code(code) => Self::Dies { code, signal: 0 },
            Exit::Signal { signal, .. } => Self::Dies { code: 0, signal },
        }
    }

    /// What may befall a worker that serves, in times of trouble.
    pub(crate) fn any(random: &mut Random) -> (Duration, Self) {
        let after = match random.below(3) {
            0 => random.between(0, 2_000),
            1 => random.between(0, 20_000),
            _ => random.between(0, 200_000),
        };
        let what = match random.below(8) {
            0 => Self::DrainsByItself,
            1 => Self::ClosesItsChannel,
            2 => Self::GetsStuck,
            3 => Self::IsStopped,
            4 => Self::TurnsDeaf,
            _ => Self::dies(death(random)),
        };
        (Duration::from_millis(after), what)
    }
}
