//! Simulated processes, and the code that they run.

use std::{collections::VecDeque, time::Duration};

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
    pub(crate) generation: u32,
    pub(crate) born: Monotonic,
    pub(crate) ready: bool,
    /// The request that each of its lanes runs. With one, its loop does.
    pub(crate) lanes: Vec<Option<Request>>,
    /// Since when the master knows.
    pub(crate) ready_since: Option<Monotonic>,
    /// Since when it does nothing at all.
    pub(crate) stopped_since: Option<Monotonic>,
    /// Will not do what it is told.
    pub(crate) deaf: bool,
    /// Was told to leave, whether it heard it or not.
    pub(crate) told: bool,
    /// Was told to leave because it was worn.
    pub(crate) recycled: bool,
    /// Bytes that it takes in a second.
    pub(crate) growth: u64,
}

/// A request that the app runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request {
    /// No other has it.
    pub(crate) number: u64,
    /// Since when, or since its last chunk.
    pub(crate) since: Monotonic,
    /// Until when it has asked for time.
    pub(crate) extended_until: Option<Monotonic>,
    /// When it gave back some of that.
    pub(crate) hurried_at: Option<Monotonic>,
    /// Whether the master has ended it since then.
    pub(crate) ended: bool,
    /// Its client was told so.
    pub(crate) expired: bool,
}

impl Process {
    pub(crate) fn is_busy(&self) -> bool {
        self.lanes.iter().any(Option::is_some)
    }

    /// Whether its loop turns, if the process runs at all.
    pub(crate) fn turns(&self) -> bool {
        self.lanes.len() > 1 || !self.is_busy()
    }

    /// Its last sign of life.
    pub(crate) fn heartbeat(&self, now: Monotonic) -> Monotonic {
        let in_app = self.lanes[0].filter(|_| !self.turns()).map(|request| request.since);
        [self.stopped_since, in_app].into_iter().flatten().min().unwrap_or(now)
    }

    pub(crate) fn memory(&self, now: Monotonic) -> u64 {
        let lived = now.since(self.born).as_secs();
        100_000 + self.growth * lived
    }
}

/// A zygote process.
#[derive(Debug)]
pub(crate) struct Zygote {
    pub(crate) generation: u32,
    /// What it has imported.
    pub(crate) code: Code,
    pub(crate) ready: bool,
    pub(crate) stopped: bool,
    /// The forks that it was asked for and has not answered.
    pub(crate) asked: VecDeque<usize>,
}

/// What will happen to a process, or to the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Happening {
    BecomesReady,
    Dies {
        code: i32,
        signal: i32,
    },
    DrainsByItself,
    ClosesItsChannel,
    /// A request begins in a lane, and ends after so many milliseconds, if it does by itself.
    RequestBegins {
        lane: usize,
        takes: Option<u64>,
    },
    RequestExtends {
        number: u64,
    },
    RequestProgresses {
        number: u64,
    },
    RequestEnds {
        number: u64,
    },
    IsStopped,
    TurnsDeaf,
    WearsOut,
    Forks,
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
        let what = match random.below(10) {
            0 => Self::DrainsByItself,
            1 => Self::ClosesItsChannel,
            2 => Self::RequestBegins { lane: 0, takes: None },
            3 => Self::IsStopped,
            4 => Self::TurnsDeaf,
            5 | 6 => Self::WearsOut,
            _ => Self::dies(death(random)),
        };
        (some_time(random), what)
    }

    /// What may befall a zygote.
    pub(crate) fn any_to_zygote(random: &mut Random) -> (Duration, Self) {
        let what = match random.below(4) {
            0 => Self::IsStopped,
            _ => Self::dies(death(random)),
        };
        (some_time(random), what)
    }
}

pub(crate) fn some_time(random: &mut Random) -> Duration {
    Duration::from_millis(match random.below(3) {
        0 => random.between(0, 2_000),
        1 => random.between(0, 20_000),
        _ => random.between(0, 200_000),
    })
}
