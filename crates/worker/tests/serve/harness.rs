//! A worker on a thread, and the app that it runs.
//!
//! The program that the tests are in says how: `THREADS` is 0 for a loop that runs the app itself, or
//! else how many app threads there are, which take turns if the app is one that can't be shared.

use std::io::{self, Read};
use std::net::TcpStream;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use ironhorn_http::{Limits, Version};
use ironhorn_unix::{
    Address, BindOptions, Board, BoardSlot, Listener, Local, MasterEnd, Peer, PeerPattern,
    Received, Signal, Signals, State, ToMaster, ToWorker, answer_examinations, channel,
};
use ironhorn_worker::access_log::Format;
use ironhorn_worker::tls::TlsFacts;
use ironhorn_worker::{
    AccessLog, Application, Body, Chunks, Context, Entrance, Exchange, Failed, Forwarded, Left,
    MainThread, Options, Protocol, Reply, Request, Seat, Sender, Stream, ThreadApplication, Trust,
    run, run_on_threads,
};

use crate::client::Client;

/// What no step of a test takes, however busy the machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A timeout that plays no part.
const LONG: Duration = Duration::from_secs(600);

/// A request as the app got it.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) version: Version,
    pub(crate) fields: Vec<(String, Vec<u8>)>,
    pub(crate) body: Vec<u8>,
    pub(crate) spooled: bool,
    pub(crate) peer: Peer,
    pub(crate) sender: Sender,
    pub(crate) forwarded: String,
    pub(crate) listener: usize,
    pub(crate) tls: Option<TlsFacts>,
}

pub(crate) type Answer = Reply<Vec<u8>, Made>;

/// A body that is made as it goes.
pub(crate) struct Made {
    next: Box<NextChunk>,
    closes: Arc<AtomicUsize>,
    closed: bool,
}

type NextChunk = dyn FnMut(&mut dyn Exchange) -> Result<Option<Vec<u8>>, Failed> + Send;

/// Counts how many bodies were closed.
#[derive(Clone, Default)]
pub(crate) struct Closes(Arc<AtomicUsize>);

impl Closes {
    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    pub(crate) fn made(
        &self,
        next: impl FnMut(&mut dyn Exchange) -> Result<Option<Vec<u8>>, Failed> + Send + 'static,
    ) -> Made {
        Made { next: Box::new(next), closes: Arc::clone(&self.0), closed: false }
    }

    /// A body of these chunks.
    pub(crate) fn of<const N: usize>(&self, chunks: [&'static [u8]; N]) -> Made {
        let mut chunks = chunks.into_iter();
        self.made(move |_| Ok(chunks.next().map(<[u8]>::to_vec)))
    }
}

impl Stream for Made {
    type Chunk = Vec<u8>;

    fn next(&mut self, exchange: &mut dyn Exchange) -> Result<Option<Vec<u8>>, Failed> {
        assert!(!self.closed, "asked for a chunk after close()");
        (self.next)(exchange)
    }

    fn close(&mut self) {
        if !std::mem::replace(&mut self.closed, true) {
            self.closes.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        self.close();
    }
}

/// Sets a status and fields.
pub(crate) fn head(exchange: &mut dyn Exchange, status: &str, fields: &[(&str, &str)]) {
    exchange.head().set_status(status.as_bytes()).unwrap();
    for (name, value) in fields {
        exchange.head().push_field(name.as_bytes(), value.as_bytes()).unwrap();
    }
}

/// A 200 with a body that is known.
pub(crate) fn ok(exchange: &mut dyn Exchange, body: impl Into<Vec<u8>>) -> Answer {
    head(exchange, "200 OK", &[]);
    Reply::Complete(Chunks::One(body.into()))
}

/// Answers with the target, then the body, of the request.
pub(crate) fn echo(asked: &Asked, exchange: &mut dyn Exchange) -> Answer {
    ok(exchange, [asked.target.as_bytes(), b" ", &asked.body].concat())
}

/// What a proxy has said, on one line.
fn forwarded(forwarded: &Forwarded<'_>) -> String {
    let text =
        |part: Option<&[u8]>| part.map_or("-".into(), |part| part.escape_ascii().to_string());
    let Forwarded { trusted, host, port, script_name, path } = *forwarded;
    let port = port.map_or("-".to_owned(), |port| port.to_string());
    format!("{trusted} {} {port} {} {}", text(host), text(script_name), text(path))
}

/// An app that waits at `/meeting` until it is sent a word, and echoes.
pub(crate) fn meeting() -> (mpsc::Sender<()>, impl FnMut(&Asked, &mut dyn Exchange) -> Answer + Send)
{
    let (meets, met) = mpsc::channel();
    let app = move |asked: &Asked, exchange: &mut dyn Exchange| {
        if asked.target == "/meeting" {
            met.recv().unwrap();
        }
        echo(asked, exchange)
    };
    (meets, app)
}

/// A door that is open or shut.
#[derive(Clone, Default)]
pub(crate) struct Door(Arc<(Mutex<bool>, Condvar)>);

#[allow(dead_code, reason = "not for tests of a loop that runs the app")]
impl Door {
    /// One that is shut.
    pub(crate) fn shut() -> Self {
        let door = Self::default();
        door.shuts();
        door
    }

    /// Waits until it is open.
    pub(crate) fn pass(&self) {
        let (shut, opened) = &*self.0;
        drop(opened.wait_while(shut.lock().unwrap(), |shut| *shut).unwrap());
    }

    pub(crate) fn open(&self) {
        *self.0.0.lock().unwrap() = false;
        self.0.1.notify_all();
    }

    pub(crate) fn shuts(&self) {
        *self.0.0.lock().unwrap() = true;
    }
}

struct App<F> {
    call: F,
    turns: Arc<Turns>,
    interpreter: Door,
}

impl<F> Application for App<F>
where
    F: FnMut(&Asked, &mut dyn Exchange) -> Answer,
{
    type Chunk = Vec<u8>;
    type Stream = Made;

    fn call(
        &mut self,
        request: &Request<'_>,
        body: Body,
        exchange: &mut dyn Exchange,
    ) -> Reply<Vec<u8>, Made> {
        let spooled = matches!(body, Body::File { .. });
        let body = match body {
            Body::Empty => Vec::new(),
            Body::Memory(bytes) => bytes,
            Body::File { mut file, length } => {
                let mut bytes = Vec::new();
                file.read_to_end(&mut bytes).unwrap();
                assert_eq!(bytes.len() as u64, length);
                bytes
            }
        };
        let head = request.head;
        let fields = head.fields.iter();
        let asked = Asked {
            method: head.method.to_owned(),
            target: head.target.to_owned(),
            version: head.version,
            fields: fields.map(|field| (field.name.to_owned(), field.value.to_vec())).collect(),
            body,
            spooled,
            peer: request.sender.peer,
            sender: request.sender.clone(),
            forwarded: forwarded(&request.forwarded),
            listener: request.listener,
            tls: request.tls.cloned(),
        };
        (self.call)(&asked, exchange)
    }

    fn while_idle<T: Send>(&mut self, wait: impl FnOnce() -> T + Send) -> T {
        let result = wait();
        self.interpreter.pass();
        self.turns.another();
        result
    }
}

impl<F> ThreadApplication for App<F>
where
    F: FnMut(&Asked, &mut dyn Exchange) -> Answer,
{
    type Rest = Made;

    fn leave(stream: Made) -> Made {
        stream
    }

    fn finish(&mut self, mut rest: Made) {
        rest.close();
    }
}

/// The main thread of a worker with app threads, which it starts.
struct Main<F>(F);

impl<F: Fn(Seat<Vec<u8>, Made>) + Clone + Send + 'static> MainThread<Vec<u8>, Made> for Main<F> {
    fn start(&mut self, seat: Seat<Vec<u8>, Made>) -> io::Result<()> {
        let serve = self.0.clone();
        thread::Builder::new().spawn(move || serve(seat)).map(drop)
    }

    fn while_idle<T: Send>(&mut self, wait: impl FnOnce() -> T + Send) -> T {
        wait()
    }

    fn interrupts(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn interrupted(&mut self) {}

    fn finish(&mut self, mut rest: Made) {
        rest.close();
    }
}

/// How often the loop has turned.
#[derive(Default)]
pub(crate) struct Turns {
    count: Mutex<u64>,
    turned: Condvar,
    /// Where a loop that doesn't run the app tells of its turns.
    beats: OnceLock<BoardSlot>,
    /// How often the app was called: the board tells of a request before, while its thread may
    /// still wait for its turn.
    calls: AtomicUsize,
}

impl Turns {
    fn another(&self) {
        *self.count.lock().unwrap() += 1;
        self.turned.notify_all();
    }

    fn another_call(&self) {
        self.calls.fetch_add(1, Ordering::SeqCst);
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    /// How many turns so far.
    pub(crate) fn count(&self) -> u64 {
        *self.count.lock().unwrap()
    }

    /// Waits until `condition` holds, looking each time that the loop has turned, and now and then
    /// while it stands still in the app.
    #[track_caller]
    pub(crate) fn wait_until(&self, what: &str, condition: impl Fn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        let mut count = self.count.lock().unwrap();
        while !condition() {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "in vain: {what}");
            count = self.turned.wait_timeout(count, Duration::from_millis(10)).unwrap().0;
        }
    }

    /// Waits for that many turns, and says how long they took.
    #[track_caller]
    pub(crate) fn time(&self, turns: u64) -> Duration {
        if let Some(slot) = self.beats.get() {
            return time_beats(slot, turns);
        }
        let from = self.count();
        let began = Instant::now();
        let deadline = began + PATIENCE;
        let mut count = self.count.lock().unwrap();
        while *count < from + turns {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "the loop stands still");
            count = self.turned.wait_timeout(count, left).unwrap().0;
        }
        began.elapsed()
    }
}

/// Like [`Turns::time`], by the heart beats on the board: of several in a moment one is seen.
#[track_caller]
fn time_beats(slot: &BoardSlot, turns: u64) -> Duration {
    let began = Instant::now();
    let mut seen = slot.read().heartbeat;
    for _ in 0..turns {
        while slot.read().heartbeat == seen {
            assert!(began.elapsed() < PATIENCE, "the loop stands still");
            thread::sleep(Duration::from_millis(1));
        }
        seen = slot.read().heartbeat;
    }
    began.elapsed()
}

/// What a test wants to be different.
pub(crate) struct Setup {
    pub(crate) options: Options,
    addresses: Vec<Address>,
    protocol: Protocol,
    access_log: Option<AccessLog>,
    signals: Vec<Signal>,
    examined: bool,
    /// What it has in common with others.
    shared: Option<(BoardSlot, Listener)>,
    /// While this is shut, no thread that has let the interpreter go comes by it again.
    pub(crate) interpreter: Door,
}

impl Setup {
    pub(crate) fn new() -> Self {
        let options = Options {
            handshake_timeout: Some(LONG),
            header_timeout: Some(LONG),
            body_timeout: Some(LONG),
            body_min_rate: 0,
            keepalive: LONG,
            write_timeout: Some(LONG),
            write_min_rate: 0,
            worker_connections: 1000,
            spool_limit: None,
            limits: Limits::default(),
            server: "ironhorn".to_owned(),
            heartbeat: Duration::from_millis(20),
            expires: false,
            max_requests: None,
            threads: 1,
            queue: 4,
            queue_timeout: None,
            health_path: None,
            static_files: None,
            uwsgi_allow_from: [PeerPattern::Any].into_iter().collect(),
            trust: Trust::default(),
        };
        let addresses = vec!["127.0.0.1:0".parse().unwrap()];
        Self {
            options,
            addresses,
            protocol: Protocol::Http,
            access_log: None,
            signals: Vec::new(),
            examined: false,
            shared: None,
            interpreter: Door::default(),
        }
    }

    pub(crate) fn options(mut self, change: impl FnOnce(&mut Options)) -> Self {
        change(&mut self.options);
        self
    }

    pub(crate) fn speaking(mut self, protocol: Protocol) -> Self {
        self.protocol = protocol;
        self
    }

    /// A unix socket, whose buffers are small and whose end is seen at once.
    pub(crate) fn unix(mut self, directory: &Path) -> Self {
        self.addresses = vec![Address::Unix(directory.join("socket"))];
        self
    }

    pub(crate) fn listeners(mut self, addresses: Vec<Address>) -> Self {
        self.addresses = addresses;
        self
    }

    /// All listeners speak the uwsgi protocol.
    #[allow(dead_code, reason = "not for all that share this file")]
    pub(crate) fn uwsgi(mut self) -> Self {
        self.protocol = Protocol::Uwsgi;
        self
    }

    pub(crate) fn access_log(mut self, format: &str, path: &Path) -> Self {
        let format = Format::parse(format).unwrap();
        self.access_log =
            Some(AccessLog::to_file(format, path, ironhorn_unix::Links::All).unwrap());
        self
    }

    /// Signals are the process's: for a test that is alone in it.
    #[allow(dead_code, reason = "not for tests that share their process")]
    pub(crate) fn signals(mut self, signals: &[Signal]) -> Self {
        self.signals = signals.to_vec();
        self
    }

    /// It answers examinations: for a test that is alone in its process, and once there.
    #[allow(dead_code, reason = "not for tests that share their process")]
    pub(crate) fn examined(mut self) -> Self {
        self.examined = true;
        self
    }

    pub(crate) fn start(
        self,
        app: impl FnMut(&Asked, &mut dyn Exchange) -> Answer + Send + 'static,
    ) -> Server {
        let bind = |address| Listener::bind(address, &BindOptions::default()).unwrap();
        let listeners: Vec<Listener> = self.addresses.iter().map(bind).collect();
        let locals = listeners.iter().map(|listener| listener.local().clone()).collect();
        self.start_on(listeners, locals, app)
    }

    /// Two workers with a listener between them, as they are in a server.
    #[allow(dead_code, reason = "not for tests of a loop that runs the app")]
    pub(crate) fn pair(board: &Board, start: impl Fn(Self) -> Server) -> (Server, Server) {
        let address = "127.0.0.1:0".parse().unwrap();
        let listener = Listener::bind(&address, &BindOptions::default()).unwrap();
        let worker = |nr| start(Self::new().sharing(board, nr, &listener));
        (worker(1), worker(2))
    }

    /// It is worker number `nr` of a server.
    #[allow(dead_code, reason = "not for tests of a loop that runs the app")]
    pub(crate) fn sharing(mut self, board: &Board, nr: usize, listener: &Listener) -> Self {
        self.shared = Some((board.slot(nr), listener.try_clone().unwrap()));
        self
    }

    /// Starts it with so many app threads.
    #[allow(dead_code, reason = "not for tests of a loop that runs the app")]
    pub(crate) fn start_pool(
        mut self,
        threads: usize,
        app: impl Fn(&Asked, &mut dyn Exchange) -> Answer + Send + Sync + 'static,
    ) -> Server {
        self.options.threads = threads;
        let bind = |address| Listener::bind(address, &BindOptions::default()).unwrap();
        let listeners: Vec<Listener> = match &self.shared {
            Some((_, listener)) => vec![listener.try_clone().unwrap()],
            None => self.addresses.iter().map(bind).collect(),
        };
        let locals = listeners.iter().map(|listener| listener.local().clone()).collect();
        let turns = Arc::new(Turns::default());
        let (of_threads, called) = (Arc::clone(&turns), Arc::clone(&turns));
        let app = Arc::new(move |asked: &Asked, exchange: &mut dyn Exchange| {
            called.another_call();
            app(asked, exchange)
        });
        let interpreter = self.interpreter.clone();
        self.launch(listeners, locals, turns, true, move |context| {
            let mut main = Main(move |seat: Seat<Vec<u8>, Made>| {
                let app = Arc::clone(&app);
                let call = move |asked: &Asked, exchange: &mut dyn Exchange| app(asked, exchange);
                let (turns, interpreter) = (Arc::clone(&of_threads), interpreter.clone());
                seat.serve(App { call, turns, interpreter });
            });
            run_on_threads(context, &mut main)
        })
    }

    pub(crate) fn start_on(
        mut self,
        listeners: Vec<Listener>,
        locals: Vec<Local>,
        mut app: impl FnMut(&Asked, &mut dyn Exchange) -> Answer + Send + 'static,
    ) -> Server {
        let turns = Arc::new(Turns::default());
        let (counted, called) = (Arc::clone(&turns), Arc::clone(&turns));
        let app = move |asked: &Asked, exchange: &mut dyn Exchange| {
            called.another_call();
            app(asked, exchange)
        };
        if crate::THREADS == 0 {
            let app = App { call: app, turns: counted, interpreter: self.interpreter.clone() };
            return self.launch(listeners, locals, turns, false, move |context| run(context, app));
        }
        self.options.threads = crate::THREADS;
        let app = Arc::new(Mutex::new(app));
        self.launch(listeners, locals, turns, true, move |context| {
            let mut main = Main(move |seat: Seat<Vec<u8>, Made>| {
                let app = Arc::clone(&app);
                let call = move |asked: &Asked, exchange: &mut dyn Exchange| {
                    let mut app = app.lock().unwrap();
                    (*app)(asked, exchange)
                };
                let turns = Arc::clone(&counted);
                seat.serve(App { call, turns, interpreter: Door::default() });
            });
            run_on_threads(context, &mut main)
        })
    }

    fn launch(
        self,
        listeners: Vec<Listener>,
        locals: Vec<Local>,
        turns: Arc<Turns>,
        pooled: bool,
        serve: impl FnOnce(Context<'_>) -> io::Result<Left> + Send + 'static,
    ) -> Server {
        let (master, channel) = channel().unwrap();
        let slot = match &self.shared {
            Some((slot, _)) => slot.clone(),
            None => Board::new(1).unwrap().slot(1),
        };
        let (leaves, left) = mpsc::channel();
        let seat = slot.clone();
        let reopens = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&reopens);
        let entered = Arc::new(Mutex::new(Vec::new()));
        let entering = Arc::clone(&entered);
        if pooled {
            turns.beats.set(slot.clone()).unwrap();
        }
        if self.examined {
            answer_examinations(&slot, &channel).unwrap();
        }
        thread::spawn(move || {
            let mut signals = Signals::install(&self.signals).unwrap();
            let context = Context {
                options: self.options,
                entrances: listeners
                    .into_iter()
                    .map(|listener| Entrance {
                        listener: listener.into(),
                        protocol: self.protocol.clone(),
                    })
                    .collect(),
                channel,
                signals: &mut signals,
                slot: seat,
                access_log: self.access_log,
                reopen_logs: &mut || _ = counted.fetch_add(1, Ordering::SeqCst),
                enters: &mut |state| entering.lock().unwrap().push(state),
            };
            let result = serve(context);
            // Its descriptors are closed when the test learns that it has left.
            drop(signals);
            // A test that has failed doesn't listen any more.
            let _ = leaves.send(result);
        });
        let server = Server { master: Some(master), slot, turns, reopens, entered, left, locals };
        server.wait_until("the worker is ready", || {
            server.master().receive().unwrap() == Received::Message(ToMaster::Ready)
        });
        server
    }
}

/// A running worker. Dropped, it is told to quit.
pub(crate) struct Server {
    master: Option<MasterEnd>,
    pub(crate) slot: BoardSlot,
    pub(crate) turns: Arc<Turns>,
    /// How often the other logs were opened anew.
    pub(crate) reopens: Arc<AtomicUsize>,
    /// What it has said of its state.
    pub(crate) entered: Arc<Mutex<Vec<State>>>,
    left: Receiver<io::Result<Left>>,
    locals: Vec<Local>,
}

impl Server {
    pub(crate) fn start(
        app: impl FnMut(&Asked, &mut dyn Exchange) -> Answer + Send + 'static,
    ) -> Self {
        Setup::new().start(app)
    }

    pub(crate) fn master(&self) -> &MasterEnd {
        self.master.as_ref().unwrap()
    }

    pub(crate) fn tell(&self, order: ToWorker) {
        self.master().send(order).unwrap();
    }

    /// The master dies.
    pub(crate) fn orphan(&mut self) {
        self.master = None;
    }

    pub(crate) fn connect(&self) -> Client {
        self.connect_to(0)
    }

    pub(crate) fn connect_to(&self, listener: usize) -> Client {
        Client::connect(&self.locals[listener])
    }

    /// Where it listens first.
    pub(crate) fn local(&self) -> &Local {
        &self.locals[0]
    }

    /// Tries to connect by TCP.
    pub(crate) fn try_connect(&self) -> io::Result<TcpStream> {
        match &self.locals[0] {
            Local::Inet(address) => TcpStream::connect(address),
            local => panic!("{local:?} isn't TCP"),
        }
    }

    #[track_caller]
    pub(crate) fn wait_until(&self, what: &str, condition: impl Fn() -> bool) {
        self.turns.wait_until(what, condition);
    }

    /// Waits until so many connections are open.
    #[track_caller]
    pub(crate) fn wait_for_connections(&self, count: u32) {
        let what = format!("{count} connections, not {}", self.slot.read().connections);
        self.wait_until(&what, || self.slot.read().connections == count);
    }

    /// The request that the app is called for; empty: none.
    pub(crate) fn request(&self) -> String {
        self.slot.read().oldest().map(|running| running.request.clone()).unwrap_or_default()
    }

    /// Connects and asks for `/meeting`; the worker waits there now.
    #[track_caller]
    pub(crate) fn hold(&self) -> Client {
        let calls = self.turns.calls();
        let mut client = self.connect();
        client.get("/meeting");
        self.wait_until("the app is called", || {
            self.turns.calls() > calls && self.request() == "GET /meeting"
        });
        client
    }

    /// Waits until so many requests have been answered: a client knows that a moment earlier.
    #[track_caller]
    pub(crate) fn wait_for_requests(&self, count: u64) {
        let what = format!("{count} requests, not {}", self.slot.read().requests);
        self.wait_until(&what, || self.slot.read().requests == count);
    }

    /// Waits until the worker has left.
    #[track_caller]
    pub(crate) fn left(&self) -> Left {
        self.left.recv_timeout(PATIENCE).expect("the worker stays").unwrap()
    }

    /// Why the worker can't go on.
    #[allow(dead_code, reason = "not for tests of a loop that runs the app")]
    #[track_caller]
    pub(crate) fn failed(&self) -> io::Error {
        self.left.recv_timeout(PATIENCE).expect("the worker stays").unwrap_err()
    }

    /// Whether the worker is still there.
    pub(crate) fn is_running(&self) -> bool {
        matches!(self.left.try_recv(), Err(mpsc::TryRecvError::Empty))
    }

    /// Stops it gracefully, and checks that it does so.
    #[track_caller]
    pub(crate) fn stop(self) {
        self.tell(ToWorker::Stop);
        assert_eq!(self.left(), Left::Drained);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(master) = &self.master {
            // It may have left.
            let _ = master.send(ToWorker::Quit);
        }
    }
}
