//! A pretended worker, and the host that runs it.

use std::{
    fs,
    io::Read,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
        unix::net::UnixStream,
    },
    path::Path,
    time::Duration,
};

use ironhorn_master::{
    About, Attended, Host, Options, WorkerSeat, ZygoteSeat,
    report::{Report, Who},
};
use ironhorn_unix::{
    Answer, ForkHooks, Forked, Monotonic, NoHooks, Pid, Received, Signal, StackFile, State,
    ToMaster, ToWorker, answer_examinations, close_request, exit_now, fork, ignore, open_request,
};
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
    /// Ready when the test opens the gate.
    BootAtGate,
    /// Panic instead of being ready.
    Panic,
    /// Exit as soon as ready.
    DieOnceReady,
    /// One is in a request that never ends. The gate is its client's connection.
    GetStuck { nr: usize },
    /// One has three lanes, and requests that never end in the last two. The gate is the client's
    /// connection of the first of them; the other's is one that no handler can speak to.
    GetStuckInThreads { nr: usize },
    /// One is in a request that ends when the test opens the gate. Others are told nothing of it.
    Work { nr: usize },
    /// Crash as soon as ready, with something in the file of stacks.
    Crash,
    /// One lets go of its channel and stays.
    CloseChannel { nr: usize },
    /// Ready, and deaf to everything.
    Deaf,
    /// Serves, as the board says, and never tells the master.
    ServeUnheard,
    /// As deaf, and doesn't even say what it does.
    Unexaminable,
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
    /// What the host is called for.
    pub(crate) bell: UnixStream,
    /// Whether a new master can be started.
    pub(crate) upgrades: bool,
    /// A signal that a hook of the master's takes when a worker has exited.
    pub(crate) taken: Option<Signal>,
    /// What this process has imported, as a zygote or from one.
    pub(crate) preloaded: Option<u32>,
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

    fn about(&self) -> About {
        About {
            version: "9.9".to_owned(),
            app: "pretended:app".to_owned(),
            directory: "/".to_owned(),
            listeners: vec!["127.0.0.1:80".to_owned()],
        }
    }

    fn run_worker(&mut self, seat: WorkerSeat) -> i32 {
        let (worker, generation, conduct) =
            (seat.nr, seat.generation, self.conduct(seat.generation));
        let preloaded = self.preloaded == Some(generation);
        let ppid = nix::unistd::getppid();
        info!(worker, generation, preloaded, ppid:%, descriptors = descriptors(); "booting");
        // It keeps the channel open.
        if !matches!(conduct, Conduct::CloseChannel { .. } | Conduct::Unexaminable) {
            answer_examinations(&seat.slot, &seat.channel).expect("the first to answer");
        }
        write_stacks(&seat.stacks, &format!("stacks of worker {worker}"));
        if self.options.preload != preloaded {
            error!(worker, generation; "the app was imported by somebody else");
        }
        match conduct {
            _ if preloaded => {}
            Conduct::FailToBoot(code) => {
                if seat.board.claim_boot_report(generation, Monotonic::now()) {
                    info!(worker, generation; "traceback");
                }
                return code;
            }
            Conduct::HangInBoot => wait_for_ever(),
            Conduct::BootAtGate => self.gate.read_exact(&mut [0]).expect("the gate opens"),
            Conduct::Panic => panic!("on purpose"),
            _ => {}
        }
        if conduct == Conduct::ServeUnheard {
            assert!(seat.slot.begin_serving(), "nobody has condemned it");
            info!(worker, generation; "unheard");
            wait_for_ever();
        }
        seat.slot.set_state(State::Ready);
        seat.slot.beat(Monotonic::now());
        seat.channel.send(ToMaster::Ready).expect("the master is there");
        match conduct {
            Conduct::DieOnceReady => return 7,
            Conduct::Crash => {
                let _ = ironhorn_unix::kill(Pid::this(), Signal::SIGABRT);
                wait_for_ever();
            }
            Conduct::Deaf | Conduct::Unexaminable => wait_for_ever(),
            Conduct::GetStuck { nr } if nr == worker => {
                for _ in 0..3 {
                    seat.slot.lane(0).begin_request(b"GET", b"/", Monotonic::now());
                    seat.slot.lane(0).end_request();
                }
                seat.slot.lane(0).begin_request(b"GET", b"/slow?a=b", Monotonic::now());
                open_request(
                    0,
                    Answer::Direct { connection: self.gate.as_raw_fd(), is_head: false },
                );
                wait_for_ever();
            }
            Conduct::GetStuckInThreads { nr } if nr == worker => {
                let (gate, now) = (self.gate.as_raw_fd(), Monotonic::now());
                let direct = Answer::Direct { connection: gate, is_head: false };
                seat.slot.lane(0).begin_request(b"GET", b"/quick", now);
                seat.slot.lane(0).end_request();
                seat.slot.lane(1).begin_request(b"GET", b"/slow", now);
                open_request(1, direct);
                seat.slot.lane(2).begin_request(b"PUT", b"/encrypted", now);
                open_request(2, Answer::ByThread { token: 7 });
                info!(worker, generation; "working");
                wait_for_ever();
            }
            Conduct::Work { nr } if nr == worker => {
                seat.slot.lane(0).begin_request(b"GET", b"/work", Monotonic::now());
                seat.slot.leave_log_lines(b"done before", 0);
                info!(worker, generation; "working");
                self.gate.read_exact(&mut [0]).expect("the gate opens");
                close_request(0);
                seat.slot.lane(0).end_request();
                seat.slot.leave_log_lines(b"", 0);
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

    fn preload(&mut self, seat: &ZygoteSeat) -> Result<(), i32> {
        let generation = seat.generation;
        info!(generation, descriptors = descriptors(); "importing");
        write_stacks(&seat.stacks, "stacks of the zygote");
        match self.conduct(generation) {
            Conduct::FailToBoot(code) => return Err(code),
            Conduct::HangInBoot => wait_for_ever(),
            Conduct::Panic => panic!("on purpose"),
            _ => {}
        }
        self.preloaded = Some(generation);
        Ok(())
    }

    fn request_lost(&mut self, _: u32, request: &str, _: Duration, status: Option<u16>) {
        info!(request, status:?; "lost");
    }

    fn log_lines_left(&mut self, _: u32, lines: &[u8]) {
        info!(lines:% = lines.escape_ascii(); "left");
    }

    fn before_fork(&mut self, nr: usize, generation: u32) {
        info!(worker = nr, generation; "about to fork");
    }

    fn observe(&mut self, report: &Report) {
        if let Report::Exited { who: Who { nr, .. }, .. } = report {
            info!(worker = nr; "observed");
            if let Some(signal) = self.taken.take() {
                ignore(signal).expect("it can be ignored");
            }
        }
    }

    fn upgrade(&mut self) -> Result<Pid, String> {
        if !self.upgrades {
            return Err("not here".to_owned());
        }
        match fork(&NoHooks) {
            Ok(Forked::Parent { child }) => Ok(child),
            Ok(Forked::Child { mask: _mask }) => {
                let _ = self.gate.read_exact(&mut [0]);
                exit_now(5)
            }
            Err(error) => Err(error.to_string()),
        }
    }

    fn take_back(&mut self) {
        info!("taken back");
    }

    fn attention(&self) -> Option<BorrowedFd<'_>> {
        Some(self.bell.as_fd())
    }

    /// A bell that rings wants a reload; once it has rung, it wants to be asked again.
    fn attend(&mut self, now: Monotonic) -> Attended {
        let mut rung = [b'-'];
        let reload = matches!((&self.bell).read(&mut rung), Ok(1)) && rung[0] == b'r';
        let again = (rung[0] == b'a').then(|| now + Duration::from_millis(20));
        info!(reload, rung:% = rung[0] as char; "attended");
        Attended { again, reload }
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
        let WorkerSeat { nr: worker, generation, channel, mut signals, .. } = seat;
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

/// What Python would write when it is asked.
fn write_stacks(file: &StackFile, text: &str) {
    nix::unistd::write(file, text.as_bytes()).expect("it can be written");
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
