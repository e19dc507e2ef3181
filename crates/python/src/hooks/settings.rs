//! The settings as hooks see them: `master.settings` and `worker.settings`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ironhorn_config::{
    AccessLogFormat, HeaderMap, LogFile, LogLevel, Protocol, ProxyProtocol, Settings,
};
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// A dict by the settings' names, with numbers, texts, lists and None for what is off or unset.
pub(super) fn shown<'py>(py: Python<'py>, settings: &Settings) -> PyResult<Bound<'py, PyDict>> {
    let shown = PyDict::new(py);
    let s = settings;
    shown.set_item("app", &s.app)?;
    let mount = PyDict::new(py);
    s.mount.iter().try_for_each(|(prefix, app)| mount.set_item(prefix, app))?;
    shown.set_item("mount", mount)?;
    shown.set_item("chdir", s.chdir.as_deref().map(Path::to_string_lossy))?;
    shown.set_item("pythonpath", paths(&s.pythonpath))?;
    let env = PyDict::new(py);
    s.env.iter().try_for_each(|(name, value)| env.set_item(name, value))?;
    shown.set_item("env", env)?;
    shown.set_item("bind", texts(&s.bind))?;
    shown.set_item("protocol", if s.protocol == Protocol::Uwsgi { "uwsgi" } else { "http" })?;
    shown.set_item("uwsgi_allow_from", texts(&s.uwsgi_allow_from))?;
    shown.set_item("backlog", s.backlog)?;
    shown.set_item("workers", s.workers)?;
    shown.set_item("threads", s.threads)?;
    shown.set_item("worker_connections", s.worker_connections)?;
    shown.set_item("max_requests", s.max_requests.unwrap_or_default())?;
    shown.set_item("max_requests_jitter", s.max_requests_jitter)?;
    shown.set_item("preload", s.preload)?;
    shown.set_item("timeout", seconds(s.timeout.unwrap_or_default()))?;
    shown.set_item("graceful_timeout", seconds(s.graceful_timeout))?;
    shown.set_item("boot_timeout", seconds(s.boot_timeout.unwrap_or_default()))?;
    shown.set_item("keepalive", seconds(s.keepalive.unwrap_or_default()))?;
    shown.set_item("limit_request_line", s.limit_request_line)?;
    shown.set_item("limit_request_fields", s.limit_request_fields)?;
    shown.set_item("limit_request_field_size", s.limit_request_field_size)?;
    shown.set_item(
        "header_map",
        match s.header_map {
            HeaderMap::Drop => "drop",
            HeaderMap::Refuse => "refuse",
            HeaderMap::Allow => "allow",
        },
    )?;
    shown.set_item("forwarded_allow_ips", texts(&s.forwarded_allow_ips))?;
    shown.set_item("forwarder_headers", &s.forwarder_headers)?;
    shown.set_item(
        "proxy_protocol",
        match s.proxy_protocol {
            ProxyProtocol::Off => "off",
            ProxyProtocol::V1 => "v1",
            ProxyProtocol::V2 => "v2",
            ProxyProtocol::Auto => "auto",
        },
    )?;
    shown.set_item("proxy_allow_from", texts(&s.proxy_allow_from))?;
    shown.set_item("pid", s.pid.as_deref().map(Path::to_string_lossy))?;
    shown.set_item("umask", s.umask)?;
    shown.set_item("name", &s.name)?;
    shown.set_item("daemon", s.daemon)?;
    shown.set_item("user", &s.user)?;
    shown.set_item("group", &s.group)?;
    shown.set_item("initgroups", s.initgroups)?;
    shown.set_item("error_logfile", file(&s.error_logfile))?;
    shown.set_item(
        "log_level",
        match s.log_level {
            LogLevel::Trace => "trace",
            LogLevel::Debug => "debug",
            LogLevel::Info => "info",
            LogLevel::Warning => "warning",
            LogLevel::Error => "error",
        },
    )?;
    shown.set_item("capture_output", s.capture_output)?;
    shown.set_item("access_logfile", s.access_logfile.as_ref().map(file))?;
    shown.set_item(
        "access_logformat",
        match &s.access_logformat {
            AccessLogFormat::Combined => "combined",
            AccessLogFormat::Json => "json",
            AccessLogFormat::Atoms(atoms) => atoms,
        },
    )?;
    shown.set_item("reload", s.reload)?;
    shown.set_item("reload_extra_files", paths(&s.reload_extra_files))?;
    Ok(shown)
}

fn file(file: &LogFile) -> String {
    match file {
        LogFile::Standard => "-".to_owned(),
        LogFile::Path(path) => path.to_string_lossy().into_owned(),
    }
}

fn texts<T: ToString>(items: &[T]) -> Vec<String> {
    items.iter().map(ToString::to_string).collect()
}

fn paths(paths: &[PathBuf]) -> Vec<String> {
    paths.iter().map(|path| path.to_string_lossy().into_owned()).collect()
}

/// A whole number where it is one: hooks compare and print it.
fn seconds(time: Duration) -> Seconds {
    if time.subsec_nanos() == 0 {
        Seconds::Whole(time.as_secs())
    } else {
        Seconds::Part(time.as_secs_f64())
    }
}

#[derive(IntoPyObject)]
enum Seconds {
    Whole(u64),
    Part(f64),
}
