//! The server's log: one place, one line format, opened anew when asked.
//!
//! ```text
//! 2026-11-22T19:16:09.123Z INFO ironhorn: worker=2 generation=3 pid=812 ready after=0.41s
//! ```
//!
//! The keys that name the actor come first, the message next, other keys last. In a worker every
//! line names it, so that no caller has to. Values are quoted and escaped when they could be taken
//! for something else: what a peer sent never makes a line of its own.
//!
//! Nobody waits for who reads the log: lines that a full pipe doesn't take are lost, and a line says
//! how many as soon as it takes some again.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError, RwLock};

use env_logger::Builder;
use env_logger::fmt::Formatter;
use ironhorn_config::{LogFile, LogFormat, LogLevel, Settings};
use ironhorn_unix::{Links, Sink};
use log::kv::{Key, Value, VisitSource};
use log::{Level, LevelFilter, Log, Metadata, Record};

/// Keys that name who a line is about, in the order in which they are printed.
const ACTOR: [&str; 3] = ["worker", "generation", "pid"];
/// Keys whose text goes onto lines of its own.
const BLOCKS: [&str; 2] = ["traceback", "stacks"];

static LOGGER: Switch = Switch(RwLock::new(None));
static SINK: LazyLock<Mutex<Sink>> = LazyLock::new(|| Mutex::new(Sink::stderr()));
static PROCESS: RwLock<Option<Actor>> = RwLock::new(None);

/// What this process is, if it isn't the master.
#[derive(Clone, Copy)]
struct Actor {
    /// None in a zygote, which is no worker yet.
    worker: Option<usize>,
    generation: u32,
}

/// From now on every line of this process names the worker.
pub(crate) fn name_worker(nr: usize, generation: u32) {
    name(Actor { worker: Some(nr), generation });
}

/// From now on every line of this process names the generation that it is the zygote of.
pub(crate) fn name_zygote(generation: u32) {
    name(Actor { worker: None, generation });
}

fn name(actor: Actor) {
    *PROCESS.write().unwrap_or_else(PoisonError::into_inner) = Some(actor);
}

/// None in the master.
fn actor() -> Option<Actor> {
    *PROCESS.read().unwrap_or_else(PoisonError::into_inner)
}

/// Logs as the settings say, from now on. `filters` is the value of IRONHORN_LOG.
///
/// # Errors
/// The log file can't be opened; logging goes on as before.
pub(crate) fn configure(settings: &Settings, filters: Option<&str>) -> io::Result<()> {
    let sink = match &settings.error_logfile {
        LogFile::Standard => Sink::stderr(),
        LogFile::Path(path) => open(path, settings)?,
    };
    // The app doesn't run in the master, which keeps its streams, so that a reload can end this.
    if settings.capture_output && actor().is_some() {
        sink.redirect_output()?;
    }
    self::sink().replace(sink);

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
    let opened = open(path, settings).and_then(|sink| {
        if settings.capture_output && actor().is_some() {
            sink.redirect_output()?;
        }
        Ok(sink)
    });
    match opened {
        Ok(new) => sink().replace(new),
        Err(error) => {
            log::error!(error:%; "cannot reopen the log; lines go to the old file");
        }
    }
}

/// Whether the file could be logged to; makes it if it isn't there.
pub(crate) fn check(file: &LogFile, settings: &Settings) -> io::Result<()> {
    match file {
        LogFile::Standard => Ok(()),
        LogFile::Path(path) => open(path, settings).map(drop),
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
        self.with(|logger| {
            if logger.matches(record) {
                tell_lost(logger);
                logger.log(record);
            }
        });
    }

    fn flush(&self) {}
}

impl Switch {
    fn with<T>(&self, act: impl FnOnce(&env_logger::Logger) -> T) -> Option<T> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(act)
    }
}

/// Says how many lines were lost, ahead of the first that can be written again.
fn tell_lost(logger: &env_logger::Logger) {
    let count = sink().take_lost();
    if count > 0 {
        let pairs = [("count", count)];
        let mut record = Record::builder();
        record.level(Level::Warn).target("ironhorn").key_values(&pairs);
        logger.log(&record.args(format_args!("lines lost")).build());
        sink().told(count);
    }
}

/// Workers of another user must not lead root to files of root's.
pub(crate) fn links(settings: &Settings) -> Links {
    if settings.user.is_some() { Links::Roots } else { Links::All }
}

fn open(path: &Path, settings: &Settings) -> io::Result<Sink> {
    Sink::open(path, links(settings))
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

fn sink() -> MutexGuard<'static, Sink> {
    SINK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// env_logger's way to the sink of the moment: one write a line, nothing held back.
struct ToSink;

impl Write for ToSink {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // Lost lines are counted there.
        sink().write(line).map(|_| line.len())
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
    /// By their places in [`BLOCKS`].
    blocks: [Option<String>; BLOCKS.len()],
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
        if let Some(Actor { worker, generation }) = actor() {
            let worker = worker.map(|nr| nr.to_string());
            let pid = std::process::id().to_string();
            parts.actor = [worker, Some(generation.to_string()), Some(pid)];
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
        let place = |keys: &[&str]| keys.iter().position(|known| *known == key.as_str());
        if let Some(index) = place(&ACTOR) {
            self.actor[index] = Some(value);
        } else if let Some(index) = place(&BLOCKS) {
            self.blocks[index] = Some(value).filter(|text| !text.is_empty());
        } else {
            self.others.push(Other { key: key.to_string(), value, bare });
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
    for block in parts.blocks.iter().flatten() {
        writeln!(out, "{}", block.trim_end())?;
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
    for (key, block) in BLOCKS.iter().zip(&parts.blocks) {
        if let Some(block) = block {
            let _ = write!(line, r#","{key}":{}"#, Json(block));
        }
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
