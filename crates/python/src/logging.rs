//! The server's log: one place, one line format, opened anew when asked.
//!
//! ```text
//! 2026-11-22T19:16:09.123Z INFO ironhorn: worker=2 generation=3 pid=812 ready after=0.41s
//! ```
//!
//! The keys that name the actor come first, the message next, other keys last. In a worker every
//! line names it, so that no caller has to. Values are quoted and escaped when they could be taken
//! for something else: what a peer sent never makes a line of its own.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError, RwLock};

use env_logger::Builder;
use env_logger::fmt::Formatter;
use ironhorn_config::{LogFile, LogFormat, LogLevel, Settings};
use log::kv::{Key, Value, VisitSource};
use log::{LevelFilter, Log, Metadata, Record};

/// Keys that name who a line is about, in the order in which they are printed.
const ACTOR: [&str; 3] = ["worker", "generation", "pid"];
/// A key whose text goes onto lines of its own.
const TRACEBACK: &str = "traceback";

static LOGGER: Switch = Switch(RwLock::new(None));
static SINK: Mutex<Sink> = Mutex::new(Sink::Stderr);
static WORKER: OnceLock<Actor> = OnceLock::new();

/// The worker that this process is.
struct Actor {
    nr: usize,
    generation: u32,
}

/// From now on every line of this process names the worker.
pub(crate) fn name_worker(nr: usize, generation: u32) {
    // A process becomes a worker once.
    let _ = WORKER.set(Actor { nr, generation });
}

/// Logs as the settings say, from now on. `filters` is the value of IRONHORN_LOG.
///
/// # Errors
/// The log file can't be opened; logging goes on as before.
pub(crate) fn configure(settings: &Settings, filters: Option<&str>) -> io::Result<()> {
    let sink = match &settings.error_logfile {
        LogFile::Standard => Sink::Stderr,
        LogFile::Path(path) => Sink::open(path)?,
    };
    // The app runs in workers; the master keeps its streams, so that a reload can end this.
    if settings.capture_output && WORKER.get().is_some() {
        sink.capture_output()?;
    }
    *SINK.lock().unwrap_or_else(PoisonError::into_inner) = sink;

    let mut builder = Builder::new();
    builder.filter_level(level(settings.log_level));
    if let Some(filters) = filters {
        builder.parse_filters(filters);
    }
    match settings.log_format {
        LogFormat::Text => builder.format(write_text),
        LogFormat::Json => builder.format(write_json),
    };
    let logger = builder.target(env_logger::Target::Pipe(Box::new(ToSink))).build();
    log::set_max_level(logger.filter());
    *LOGGER.0.write().unwrap_or_else(PoisonError::into_inner) = Some(logger);
    // Set already at a reload.
    let _ = log::set_logger(&LOGGER);
    Ok(())
}

/// Opens the log file by its name again, after it was moved away.
pub(crate) fn reopen(settings: &Settings) {
    let LogFile::Path(path) = &settings.error_logfile else { return };
    let opened = Sink::open(path).and_then(|sink| {
        if settings.capture_output && WORKER.get().is_some() {
            sink.capture_output()?;
        }
        Ok(sink)
    });
    match opened {
        Ok(sink) => *SINK.lock().unwrap_or_else(PoisonError::into_inner) = sink,
        Err(error) => {
            log::error!(error:%; "cannot reopen the log; lines go to the old file");
        }
    }
}

/// Whether the file could be logged to; makes it if it isn't there.
pub(crate) fn check(file: &LogFile) -> io::Result<()> {
    match file {
        LogFile::Standard => Ok(()),
        LogFile::Path(path) => Sink::open(path).map(drop),
    }
}

fn level(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Trace => LevelFilter::Trace,
        LogLevel::Debug => LevelFilter::Debug,
        LogLevel::Info => LevelFilter::Info,
        LogLevel::Warning => LevelFilter::Warn,
        LogLevel::Error => LevelFilter::Error,
    }
}

/// The logger in force: `log` takes one for ever, a reload may bring another.
struct Switch(RwLock<Option<env_logger::Logger>>);

impl Log for Switch {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.with(|logger| logger.enabled(metadata)).unwrap_or(false)
    }

    fn log(&self, record: &Record<'_>) {
        self.with(|logger| logger.log(record));
    }

    fn flush(&self) {}
}

impl Switch {
    fn with<T>(&self, act: impl FnOnce(&env_logger::Logger) -> T) -> Option<T> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(act)
    }
}

enum Sink {
    Stderr,
    File(File),
}

impl Sink {
    fn open(path: &Path) -> io::Result<Self> {
        let opened = OpenOptions::new().append(true).create(true).open(path);
        opened
            .map(Self::File)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
    }

    /// What the app prints comes here too.
    fn capture_output(&self) -> io::Result<()> {
        match self {
            Self::Stderr => ironhorn_unix::redirect_output(io::stderr().as_fd()),
            Self::File(file) => ironhorn_unix::redirect_output(file.as_fd()),
        }
    }
}

/// env_logger's way to the sink of the moment: one write a line, nothing held back.
struct ToSink;

impl Write for ToSink {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match &mut *SINK.lock().unwrap_or_else(PoisonError::into_inner) {
            Sink::Stderr => io::stderr().write_all(line)?,
            Sink::File(file) => file.write_all(line)?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A record taken apart.
#[derive(Default)]
struct Parts {
    actor: [Option<String>; ACTOR.len()],
    others: Vec<Other>,
    traceback: Option<String>,
}

struct Other {
    key: String,
    value: String,
    /// A number or a truth value, which JSON writes without quotes.
    bare: bool,
}

impl Parts {
    fn of(record: &Record<'_>) -> Self {
        let mut parts = Self::default();
        if let Some(worker) = WORKER.get() {
            let pid = std::process::id().to_string();
            parts.actor =
                [Some(worker.nr.to_string()), Some(worker.generation.to_string()), Some(pid)];
        }
        // The visitor never fails.
        let _ = record.key_values().visit(&mut parts);
        parts
    }
}

impl<'kvs> VisitSource<'kvs> for Parts {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), log::kv::Error> {
        let bare = value.to_f64().is_some_and(f64::is_finite) || value.to_bool().is_some();
        let value = value.to_string();
        match ACTOR.iter().position(|actor| *actor == key.as_str()) {
            Some(index) => self.actor[index] = Some(value),
            None if key.as_str() == TRACEBACK => self.traceback = Some(value),
            None => self.others.push(Other { key: key.to_string(), value, bare }),
        }
        Ok(())
    }
}

/// The server's crates are one name to its users; the app's lines keep theirs.
fn origin<'a>(record: &'a Record<'_>) -> &'a str {
    let target = record.target();
    if target.starts_with("ironhorn") || target.starts_with("_ironhorn") {
        "ironhorn"
    } else {
        target
    }
}

fn write_text(out: &mut Formatter, record: &Record<'_>) -> io::Result<()> {
    let parts = Parts::of(record);
    write!(out, "{} {} {}:", out.timestamp_millis(), record.level(), origin(record))?;
    for (key, value) in ACTOR.iter().zip(&parts.actor) {
        if let Some(value) = value {
            write!(out, " {key}={value}")?;
        }
    }
    write!(out, " {}", record.args())?;
    for Other { key, value, .. } in &parts.others {
        write!(out, " {key}={}", Plain(value))?;
    }
    writeln!(out)?;
    if let Some(traceback) = &parts.traceback {
        writeln!(out, "{}", traceback.trim_end())?;
    }
    Ok(())
}

fn write_json(out: &mut Formatter, record: &Record<'_>) -> io::Result<()> {
    let parts = Parts::of(record);
    let mut line = format!(
        r#"{{"time":"{}","level":"{}","target":{},"message":{}"#,
        out.timestamp_millis(),
        record.level(),
        Json(origin(record)),
        Json(&record.args().to_string()),
    );
    let actor = ACTOR.iter().zip(&parts.actor);
    let named = actor.filter_map(|(key, value)| Some((*key, value.as_deref()?)));
    for (key, value) in named {
        let _ = write!(line, r#","{key}":{value}"#);
    }
    for Other { key, value, bare } in &parts.others {
        let _ = match bare {
            true => write!(line, ",{}:{value}", Json(key)),
            false => write!(line, ",{}:{}", Json(key), Json(value)),
        };
    }
    if let Some(traceback) = &parts.traceback {
        let _ = write!(line, r#","{TRACEBACK}":{}"#, Json(traceback));
    }
    writeln!(out, "{line}}}")
}

/// A value as it is, or in quotes where it could be misread.
struct Plain<'a>(&'a str);

impl std::fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let plain = |c: char| !c.is_control() && !c.is_whitespace() && !matches!(c, '"' | '\\');
        if !self.0.is_empty() && self.0.chars().all(plain) {
            f.write_str(self.0)
        } else {
            Json(self.0).fmt(f)
        }
    }
}

/// A JSON string (RFC 8259 §7).
struct Json<'a>(&'a str);

impl std::fmt::Display for Json<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                '\n' => f.write_str("\\n")?,
                c if c.is_control() => write!(f, "\\u{:04x}", u32::from(c))?,
                c => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}

#[cfg(test)]
mod tests {
    use super::{Json, Plain};

    #[test]
    fn values_that_could_be_misread_are_quoted() {
        assert_eq!(Plain("/a?b=c").to_string(), "/a?b=c");
        assert_eq!(Plain("").to_string(), r#""""#);
        assert_eq!(Plain("signal SIGKILL").to_string(), r#""signal SIGKILL""#);
        assert_eq!(Plain("a\r\n2026 INFO").to_string(), r#""a\u000d\n2026 INFO""#);
        assert_eq!(Json("a\"\\\u{1b}é").to_string(), r#""a\"\\\u001bé""#);
    }
}
