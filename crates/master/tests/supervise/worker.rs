//! A pretended worker, and the host that runs it.

use std::{
    fs,
    io::Read,
    os::{
        fd::{AsRawFd, RawFd},
        unix::net::UnixStream,
    },
    path::Path,
};

use ironhorn_master::{Host, Options, WorkerSeat};
use ironhorn_unix::{ForkHooks, Monotonic, NoHooks, Received, Signal, State, ToMaster, ToWorker};
use log::{error, info};
use mio::{Events, Interest, Poll, Token, unix::SourceFd};

/// What the workers of a generation do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Conduct {
    /// Everything right.
    Serve,
    /// Exit instead of being ready.
    FailToBoot(i32),
    /// Never ready.
    HangInBoot,
    /// Panic instead of being ready.
    Panic,
    /// Exit as soon as ready.
    DieOnceReady,
    /// One is in a request that never ends.
    GetStuck { nr: usize },
    /// One lets go of its channel and stays.
    CloseChannel { nr: usize },
    /// Ready, and deaf to everything.
    Deaf,
    /// Asked to leave, one waits for the test to open the gate.
    FinishAtGate { nr: usize },
    /// There is no such generation: the settings are wrong.
    WrongSettings,
}

pub(crate) struct Pretender {
    pub(crate) options: Options,
    /// Of each generation; the last one's goes for all that follow.
    pub(crate) conducts: Vec<Conduct>,
    pub(crate) gate: UnixStream,
}

impl Pretender {
    fn conduct(&self, generation: u32) -> Conduct {
        let index = usize::try_from(generation).expect("a small number") - 1;
        self.conducts[index.min(self.conducts.len() - 1)]
    }
}

impl Host for Pretender {
    fn reload(&mut self, generation: u32) -> Result<Options, String> {
        if self.conduct(generation) == Conduct::WrongSettings {
            return Err("no such setting".to_owned());
        }
        Ok(self.options.clone())
    }

    fn adopt(&mut self, _generation: u32) {}

    fn drop_generation(&mut self, generation: u32) {
        info!("generation {generation} dropped");
    }

    fn keeps_listeners(&self, _old: u32, _new: u32) -> bool {
        true
    }

    fn run_worker(&mut self, seat: WorkerSeat) -> i32 {
        let (worker, generation, conduct) =
            (seat.nr, seat.generation, self.conduct(seat.generation));
        info!(worker, generation, descriptors = descriptors(); "booting");
        match conduct {
            Conduct::FailToBoot(code) => {
                if seat.board.claim_boot_report(generation, Monotonic::now()) {
                    info!(worker, generation; "traceback");
                }
                return code;
            }
            Conduct::HangInBoot => wait_for_ever(),
            Conduct::Panic => panic!("on purpose"),
            _ => {}
        }
        seat.slot.set_state(State::Ready);
        seat.slot.beat(Monotonic::now());
        seat.channel.send(ToMaster::Ready).expect("the master is there");
        match conduct {
            Conduct::DieOnceReady => return 7,
            Conduct::Deaf => wait_for_ever(),
            Conduct::GetStuck { nr } if nr == worker => {
                for _ in 0..3 {
                    seat.slot.begin_request(b"GET", b"/", Monotonic::now());
                    seat.slot.end_request();
                }
                seat.slot.begin_request(b"GET", b"/slow?a=b", Monotonic::now());
                wait_for_ever();
            }
            Conduct::CloseChannel { nr } if nr == worker => {
                drop(seat.channel);
                wait_for_ever();
            }
            _ => {}
        }
        self.serve(seat, conduct == Conduct::FinishAtGate { nr: worker })
    }

    fn fork_hooks(&self) -> &dyn ForkHooks {
        &NoHooks
    }

    fn reopen_logs(&mut self) {
        info!("reopened by the master");
    }

    fn stop_listening(&mut self) {
        info!("listeners closed");
    }
}

impl Pretender {
    /// Does nothing but leave when asked to.
    fn serve(&mut self, seat: WorkerSeat, slow: bool) -> i32 {
        let WorkerSeat { nr: worker, generation, channel, mut signals, mask, .. } = seat;
        mask.unblock();
        let mut poll = Poll::new().expect("a poll");
        watch(&poll, channel.as_raw_fd(), 0);
        watch(&poll, signals.as_raw_fd(), 1);
        let mut events = Events::with_capacity(8);
        loop {
            loop {
                match channel.receive().expect("the channel works") {
                    Received::Message(ToWorker::Retire | ToWorker::RetireLast | ToWorker::Stop) => {
                        if slow {
                            info!(worker, generation; "finishing");
                            self.gate.read_exact(&mut [0]).expect("the gate opens");
                        }
                        return 0;
                    }
                    Received::Message(ToWorker::Quit) | Received::Closed => return 0,
                    Received::Message(ToWorker::ReopenLogs) => {
                        info!(worker, generation; "reopened");
                    }
                    Received::Nothing => break,
                }
            }
            for signal in signals.drain() {
                match signal {
                    Signal::SIGTERM => {
                        channel.send(ToMaster::Draining).expect("the master is there");
                        return 0;
                    }
                    Signal::SIGINT | Signal::SIGQUIT => return 0,
                    other => error!(worker; "unexpected signal {other}"),
                }
            }
            if let Err(error) = poll.poll(&mut events, None) {
                assert_eq!(error.kind(), std::io::ErrorKind::Interrupted, "{error}");
            }
        }
    }
}

fn watch(poll: &Poll, fd: RawFd, token: usize) {
    let watched = poll.registry().register(&mut SourceFd(&fd), Token(token), Interest::READABLE);
    watched.expect("watched");
}

fn wait_for_ever() -> ! {
    let (end, _other) = UnixStream::pair().expect("a pair");
    loop {
        let _ = (&end).read(&mut [0]);
    }
}

/// How many descriptors are open; none may be an epoll of the master's.
fn descriptors() -> usize {
    let open = fs::read_dir("/proc/self/fd").expect("procfs");
    open.filter_map(|entry| fs::read_link(entry.expect("an entry").path()).ok())
        .inspect(|link| assert_ne!(link, Path::new("anon_inode:[eventpoll]")))
        .count()
}
