//! Names: which setting is meant, and which one may have been.

use crate::definition::Setting;
use crate::error::Problem;
use crate::{SETTINGS, all_settings};

/// What Gunicorn or a later Ironhorn has, and this version has not. Flags in their long form with
/// underscores; refused like any unknown name, but not as if it were a typing error.
const UNSUPPORTED: &[&str] = &[
    "dogstatsd_tags",
    "log_config",
    "log_config_json",
    "log_syslog",
    "log_syslog_facility",
    "log_syslog_prefix",
    "log_syslog_to",
    "logconfig",
    "logconfig_dict",
    "logger_class",
    "no_sendfile",
    "paste",
    "reload_engine",
    "reuse_port",
    "secure_scheme_headers",
    "sendfile",
    "spew",
    "statsd_host",
    "statsd_prefix",
    "syslog",
    "syslog_addr",
    "worker_tmp_dir",
];

/// Gunicorn's short flags for some of them.
const UNSUPPORTED_SHORT: &[&str] = &["-R"];

/// The setting with this key in YAML.
pub(crate) fn in_file(key: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.key == key)
}

/// Why `key` isn't a key in YAML.
pub(crate) fn unknown_key(key: &str) -> Problem {
    let known = |setting: &'static Setting| setting.in_file().then(|| setting.key.to_owned());
    unknown("setting", &key.replace('-', "_"), known)
}

/// Why `variable`, which begins with IRONHORN_, isn't one that sets anything.
pub(crate) fn unknown_variable(variable: &str) -> Problem {
    let key = variable.trim_start_matches("IRONHORN_").to_ascii_lowercase();
    unknown("variable", &key, Setting::variable)
}

/// Why `flag`, as typed, isn't an option.
pub(crate) fn unknown_flag(flag: &str) -> Problem {
    if UNSUPPORTED_SHORT.contains(&flag) {
        return Problem::Unsupported;
    }
    match flag.strip_prefix("--") {
        Some(name) => {
            let known = |setting: &'static Setting| Some(format!("--{}", setting.long()));
            unknown("option", &name.replace('-', "_"), known)
        }
        None if flag.starts_with('-') => Problem::Unknown { what: "option", similar: None },
        None => Problem::Syntax("unexpected argument, there is only one APP".to_owned()),
    }
}

/// That of the `names` which may have been meant by `text`.
pub(crate) fn similar_to(text: &str, names: &[&str]) -> Option<String> {
    let distance = |name: &str| strsim::damerau_levenshtein(text, name);
    let closest = names.iter().min_by_key(|name| distance(name))?;
    (distance(closest) <= furthest(text)).then(|| (*closest).to_owned())
}

/// A third of the letters may be wrong: more is another word.
fn furthest(text: &str) -> usize {
    text.chars().count().div_ceil(3).min(3)
}

fn unknown(
    what: &'static str,
    key: &str,
    written: impl Fn(&'static Setting) -> Option<String>,
) -> Problem {
    if UNSUPPORTED.contains(&key) {
        return Problem::Unsupported;
    }
    let furthest = furthest(key);
    let distance = |setting: &Setting| {
        let names = setting.other_names.iter().chain(setting.aliases).chain([&setting.key]);
        let distances = names.map(|name| strsim::damerau_levenshtein(key, &name.replace('-', "_")));
        distances.min().unwrap_or(usize::MAX)
    };
    let similar = all_settings()
        .filter_map(|setting| Some((distance(setting), written(setting)?)))
        .filter(|(distance, _)| *distance <= furthest)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name);
    Problem::Unknown { what, similar }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn similar(problem: Problem) -> Option<String> {
        match problem {
            Problem::Unknown { similar, .. } => similar,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_typing_error_is_recognised() {
        assert_eq!(similar(unknown_key("wrokers")).unwrap(), "workers");
        assert_eq!(similar(unknown_key("graceful-timeout")).unwrap(), "graceful_timeout");
        assert_eq!(similar(unknown_key("loglevel")).unwrap(), "log_level");
        assert_eq!(similar(unknown_flag("--worker")).unwrap(), "--workers");
        assert_eq!(similar(unknown_flag("--keepalive-")).unwrap(), "--keep-alive");
        assert_eq!(similar(unknown_variable("IRONHORN_WORKRES")).unwrap(), "IRONHORN_WORKERS");
    }

    #[test]
    fn what_others_call_a_setting_is_known() {
        assert_eq!(similar(unknown_key("pidfile")).unwrap(), "pid");
        assert_eq!(similar(unknown_key("port")).unwrap(), "bind");
        assert_eq!(similar(unknown_key("preload_app")).unwrap(), "preload");
        assert_eq!(similar(unknown_key("control_socket")).unwrap(), "control");
        assert_eq!(similar(unknown_key("proxy_allow_ips")).unwrap(), "proxy_allow_from");
        assert_eq!(similar(unknown_flag("--errorlog")).unwrap(), "--error-logfile");
    }

    #[test]
    fn another_word_is_not_taken_for_a_typing_error() {
        assert_eq!(similar(unknown_key("colour")), None);
        assert_eq!(similar(unknown_key("x")), None);
        assert_eq!(similar(unknown_key("")), None);
        assert_eq!(similar(unknown_flag("-x")), None);
    }

    #[test]
    fn what_belongs_elsewhere_is_not_suggested() {
        assert_eq!(similar(unknown_key("check_confg")), None);
        assert_eq!(similar(unknown_variable("IRONHORN_CHECK_CONFIG")), None);
    }

    #[test]
    fn what_gunicorn_has_is_no_typing_error() {
        assert_eq!(unknown_key("secure_scheme_headers"), Problem::Unsupported);
        assert_eq!(unknown_flag("--log-config"), Problem::Unsupported);
        assert_eq!(unknown_flag("-R"), Problem::Unsupported);
        assert_eq!(unknown_variable("IRONHORN_STATSD_HOST"), Problem::Unsupported);
    }

    #[test]
    fn nothing_is_both_supported_and_not() {
        for setting in all_settings() {
            assert!(!UNSUPPORTED.contains(&setting.key), "{}", setting.key);
        }
    }
}
