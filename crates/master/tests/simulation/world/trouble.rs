//! What an operator or a machine does.

use std::time::Duration;

use ironhorn_master::{Options, command::Command};

use super::{CAPACITY, GRACEFUL, LONGEST_DELAY, World};
use crate::{process::Code, random::Random};

impl World {
    pub(super) fn make_trouble(&mut self) {
        let pause = if self.random.chance(30) { 50 } else { 10_000 };
        self.next_trouble = self.now + self.millis(1, pause);
        match self.random.below(20) {
            0..=3 => {
                self.settings_are_wrong = self.random.chance(20);
                self.command(Command::Reload);
            }
            4..=7 => self.code = Code::any(&mut self.random),
            8 => self.command(Command::Add),
            9 => self.command(Command::Remove),
            10 => self.command(Command::ReopenLogs),
            11 => self.command(Command::Upgrade),
            12 => {
                let slept = Duration::from_secs(self.random.between(1, 7_200));
                self.now = self.now + slept;
                self.slept = true;
                self.awake_since = self.now;
                self.note(&format!("slept {slept:?}"));
            }
            13 => {
                let workers = self.some(0, CAPACITY);
                let workers = if self.random.chance(80) { workers.min(8) } else { workers };
                self.command(Command::Scale(workers));
            }
            14 if self.random.chance(50) => self.command(Command::RetireAll),
            15 | 16 => {
                let nr = self.some(0, CAPACITY + 1);
                self.command(Command::Recycle(nr));
            }
            17 => self.wear_everybody(),
            18 => self.unforkable = self.random.chance(30),
            _ => self.workers = self.some(1, 6),
        }
    }

    fn some(&mut self, first: usize, last: usize) -> usize {
        let number = |number: usize| u64::try_from(number).expect("a small number");
        let some = self.random.between(number(first), number(last));
        usize::try_from(some).expect("a small number")
    }
}

pub(super) fn options(workers: usize, random: &mut Random) -> Options {
    let seconds = |random: &mut Random, most| Duration::from_secs(random.between(0, most));
    Options {
        workers,
        timeout: Some(Duration::from_secs(random.between(3, 30))),
        graceful_timeout: GRACEFUL,
        boot_timeout: Some(Duration::from_secs(60)),
        boots_abreast: usize::try_from(random.between(1, 4)).expect("a small number"),
        reload_surge: usize::try_from(random.between(1, 3)).expect("a small number"),
        max_memory: random.chance(30).then_some(1_000_000),
        max_memory_hard: random.chance(30).then_some(2_000_000),
        max_lifetime: random.chance(20).then(|| Duration::from_secs(50) + seconds(random, 100)),
        preload: random.chance(50),
        shutdown_delay: if random.chance(30) {
            seconds(random, LONGEST_DELAY.as_secs())
        } else {
            Duration::ZERO
        },
        keep_trying: random.chance(20),
    }
}
