//! One handle on a master and its workers: start, signal, wait for log lines, end.
//!
//! All of its processes log into one socket. A line is an event to wait for; end of file means
//! that the last process has gone.

use std::{
    fmt::Write as _,
    io::{self, BufRead, BufReader, Write as _},
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixListener, UnixStream},
    },
    sync::{
        Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use ironhorn_master::{Inputs, Options, command::master_signals, run};
use ironhorn_unix::{Forked, Monotonic, NoHooks, Pid, Signal, Signals, exit_now, fork};
use log::{
    Level, LevelFilter, Log, Metadata, Record,
    kv::{self, Key, VisitSource},
};
use nix::sys::wait::{WaitStatus, waitpid};
use serde_json::Value;

use crate::worker::{Conduct, Pretender};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn options(workers: usize) -> Options {
    Options {
        workers,
        timeout: Some(PATIENCE),
        graceful_timeout: PATIENCE,
        boot_timeout: Some(PATIENCE),
        boots_abreast: usize::MAX,
        reload_surge: 1,
        max_memory: None,
        max_memory_hard: None,
        max_lifetime: None,
        preload: false,
        shutdown_delay: Duration::ZERO,
        keep_trying: false,
    }
}

pub(crate) struct Server {
    master: Pid,
    reaped: bool,
    log: BufReader<UnixStream>,
    lines: Vec<String>,
    /// Lines before this one were waited for.
    next: usize,
    pub(crate) gate: UnixStream,
    bell: UnixStream,
    /// Where operators connect.
    control: SocketAddr,
}

impl Server {
    /// Forks a master whose generations behave as said.
    pub(crate) fn start(options: Options, conducts: &[Conduct]) -> Self {
        Self::start_with(options, conducts, false, None)
    }

    /// As [`Server::start`]; a new master `upgrades` it if asked to, and a hook takes a signal.
    pub(crate) fn start_with(
        options: Options,
        conducts: &[Conduct],
        upgrades: bool,
        taken: Option<Signal>,
    ) -> Self {
        let (log, to_test) = UnixStream::pair().expect("a pair");
        let (gate, at_gate) = UnixStream::pair().expect("a pair");
        let (bell, at_bell) = UnixStream::pair().expect("a pair");
        at_bell.set_nonblocking(true).expect("a mode");
        let listener = UnixListener::bind_addr(&a_name()).expect("a name of its own");
        let control = listener.local_addr().expect("an address");
        let forked = fork(&NoHooks).expect("a fork");
        let master = match forked {
            Forked::Parent { child } => child,
            Forked::Child { mask } => {
                drop((log, gate, bell));
                *LOG.lock().expect("one thread") = Some(to_test);
                std::panic::set_hook(Box::new(|panic| log::info!("{panic}")));
                let signals = Signals::install(&master_signals()).expect("signals");
                mask.unblock();
                let conducts = conducts.to_vec();
                let mut host = Pretender {
                    options: options.clone(),
                    conducts,
                    gate: at_gate,
                    bell: at_bell,
                    upgrades,
                    taken,
                    preloaded: None,
                };
                exit_now(run(&mut host, options, Inputs { signals, control: Some(listener) }));
            }
        };
        log.set_read_timeout(Some(PATIENCE)).expect("a limit");
        gate.set_read_timeout(Some(PATIENCE)).expect("a limit");
        let log = BufReader::new(log);
        Self { master, reaped: false, log, lines: Vec::new(), next: 0, gate, bell, control }
    }

    /// Has the host called.
    pub(crate) fn ring(&mut self, tone: u8) {
        self.bell.write_all(&[tone]).expect("the master listens");
    }

    /// A connection to the control socket.
    pub(crate) fn connect(&self) -> Operator {
        Operator::new(UnixStream::connect_addr(&self.control).expect("the master listens"))
    }

    /// What is answered to one request.
    #[track_caller]
    pub(crate) fn ask(&self, request: &Value) -> Value {
        let mut operator = self.connect();
        operator.say(&format!("{request}\n"));
        operator.hear()
    }

    pub(crate) fn master(&self) -> Pid {
        self.master
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.kill(self.master, signal);
    }

    pub(crate) fn kill(&self, pid: Pid, signal: Signal) {
        ironhorn_unix::kill(pid, signal).expect("it is there");
    }

    /// One worker that waits at the gate may go on.
    pub(crate) fn open_gate(&mut self) {
        self.gate.write_all(&[0]).expect("somebody waits");
    }

    /// The next line that contains all `words`: when it was written.
    #[track_caller]
    pub(crate) fn expect(&mut self, words: &[&str]) -> Monotonic {
        while self.next < self.lines.len() || self.read_line() {
            self.next += 1;
            let line = &self.lines[self.next - 1];
            if has(line, words) {
                let at = line.split(' ').next().and_then(|at| at.parse().ok());
                return Monotonic::from_nanos(at.expect("a line begins with its time"));
            }
        }
        self.fail(&format!("no line with {words:?}"));
    }

    /// A line that contains all `words`, now or earlier.
    #[track_caller]
    pub(crate) fn expect_ever(&mut self, words: &[&str]) {
        if !self.lines[..self.next].iter().any(|line| has(line, words)) {
            self.expect(words);
        }
    }

    #[track_caller]
    pub(crate) fn expect_ready(&mut self, workers: usize) {
        for _ in 0..workers {
            self.expect(&[" ready", "worker="]);
        }
    }

    /// As [`Server::expect`], after a signal.
    #[track_caller]
    pub(crate) fn expect_at_once(&mut self, signal: Signal, words: &[&str]) -> Monotonic {
        self.signal(signal);
        self.expect(words)
    }

    /// The process id in the last line that contains all `words`.
    #[track_caller]
    pub(crate) fn last_pid(&self, words: &[&str]) -> Pid {
        let line = self.lines().filter(|line| has(line, words)).last();
        let pid = line.and_then(|line| line.split_once("pid="));
        let pid = pid.and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
        Pid::from_raw(pid.expect("it was named"))
    }

    /// Reads on until the last process has gone.
    #[track_caller]
    pub(crate) fn expect_silence(&mut self) {
        while self.read_line() {}
    }

    /// The exit code, when all have gone.
    #[track_caller]
    pub(crate) fn end(&mut self) -> i32 {
        self.expect_silence();
        self.reaped = true;
        match waitpid(self.master, None).expect("the master is our child") {
            WaitStatus::Exited(_, code) => code,
            other => panic!("the master ended with {other:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn stop(&mut self) {
        self.signal(Signal::SIGTERM);
        let code = self.end();
        assert_eq!(code, 0, "log:\n{}", self.lines.join("\n"));
    }

    pub(crate) fn lines(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(String::as_str)
    }

    /// The process id of worker `nr`, as it last was ready.
    #[track_caller]
    pub(crate) fn pid_of(&self, nr: usize) -> Pid {
        self.last_pid(&[" ready", &format!("worker={nr} ")])
    }

    #[track_caller]
    pub(crate) fn assert_said(&self, words: &[&str], times: usize) {
        let said = self.lines().filter(|line| has(line, words)).count();
        if said != times {
            self.fail(&format!("{words:?} said {said} times, not {times}"));
        }
    }

    /// Nothing that an operator would have to read.
    #[track_caller]
    pub(crate) fn assert_no_trouble(&self) {
        self.assert_said(&["ERROR"], 0);
        self.assert_said(&["WARN"], 0);
    }

    /// False at the end of file.
    #[track_caller]
    fn read_line(&mut self) -> bool {
        let mut line = String::new();
        match self.log.read_line(&mut line) {
            Ok(0) => false,
            Ok(_) => {
                self.lines.push(line.trim_end().to_owned());
                true
            }
            Err(error) => self.fail(&format!("nothing more is said: {error}")),
        }
    }

    #[track_caller]
    fn fail(&self, why: &str) -> ! {
        panic!("{why}; log:\n{}", self.lines.join("\n"));
    }
}

impl Drop for Server {
    /// Workers die with their master.
    fn drop(&mut self) {
        if !self.reaped {
            let _ = ironhorn_unix::kill(self.master, Signal::SIGKILL);
            let _ = waitpid(self.master, None);
        }
    }
}

/// An address that no other server has.
fn a_name() -> SocketAddr {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("ironhorn-supervise-{}-{count}", std::process::id());
    SocketAddr::from_abstract_name(name).expect("a short name")
}

/// Somebody at the control socket.
pub(crate) struct Operator(BufReader<UnixStream>);

impl Operator {
    fn new(stream: UnixStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
        Self(BufReader::new(stream))
    }

    pub(crate) fn say(&mut self, text: &str) {
        self.0.get_mut().write_all(text.as_bytes()).expect("the master listens");
    }

    /// The answer.
    #[track_caller]
    pub(crate) fn hear(&mut self) -> Value {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("an answer");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    /// Waits until the master has closed the connection without a word.
    #[track_caller]
    pub(crate) fn expect_dropped(&mut self) {
        let mut line = String::new();
        match self.0.read_line(&mut line) {
            Ok(0) => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
            other => panic!("{other:?}: {line:?}"),
        }
    }
}

fn has(line: &str, words: &[&str]) -> bool {
    words.iter().all(|word| line.contains(word))
}

/// Where the processes of the server that was started last log to.
static LOG: Mutex<Option<UnixStream>> = Mutex::new(None);

/// From now on servers log to their test.
pub(crate) fn log_to_the_test() {
    log::set_logger(&ToTest).expect("the first logger");
    log::set_max_level(LevelFilter::Info);
}

struct ToTest;

impl Log for ToTest {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= Level::Info
    }

    fn log(&self, record: &Record<'_>) {
        let at = Monotonic::now().as_nanos();
        let mut line = Line(format!("{at} {} {}", record.level(), record.args()));
        let _ = record.key_values().visit(&mut line);
        line.0.push('\n');
        if let Some(stream) = LOG.lock().ok().as_deref_mut().and_then(Option::as_mut) {
            // One write: lines of several processes do not mix.
            let _: io::Result<()> = stream.write_all(line.0.as_bytes());
        }
    }

    fn flush(&self) {}
}

struct Line(String);

impl<'kvs> VisitSource<'kvs> for Line {
    fn visit_pair(&mut self, key: Key<'kvs>, value: kv::Value<'kvs>) -> Result<(), kv::Error> {
        let value = value.to_string();
        let written = if value.contains(' ') {
            write!(self.0, " {key}={value:?}")
        } else {
            write!(self.0, " {key}={value}")
        };
        Ok(written?)
    }
}
