//! Settings that are each allowed, and not with one another; or that do nothing without another.

use crate::all_settings;
use crate::definition::Setting;
use crate::error::{ConfigError, Problem};
use crate::kind::{Bind, Protocol, ProxyProtocol};
use crate::origin::Origin;
use crate::settings::Settings;
use crate::values::Values;

/// A setting that has an effect only together with others.
struct Dependent {
    key: &'static str,
    /// Whether the others are what they must be, or what it says holds without them: a list that
    /// lets nobody in, where nobody can come in.
    is_effective: fn(&Settings) -> bool,
    /// What is missing, and what to do.
    why: &'static str,
    /// What becomes of a value that has no effect.
    verdict: Verdict,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// Whoever has written it relies on something that isn't there.
    Refuse,
    /// Nothing is worse for it.
    Warn,
}

use Verdict::{Refuse, Warn};

const WITHOUT_TLS: &str = "there is no TLS without certfile; set that, or leave this out";
const WITHOUT_STATIC: &str = "no files are served without static; set that, or leave this out";
const TRUSTS_NOBODY: &str =
    "forwarded_allow_ips is empty; name the proxies there, or leave this out";

/// Those without a certificate that are not here are refused where its files are read.
const DEPENDENTS: &[Dependent] = &[
    Dependent {
        key: "protocol",
        is_effective: |settings| settings.bind.iter().any(|bind| bind.protocol.is_none()),
        why: "every address of bind says by itself what is spoken there; leave this out",
        verdict: Warn,
    },
    Dependent {
        key: "uwsgi_allow_from",
        is_effective: |settings| {
            settings.uwsgi_allow_from.is_empty()
                || settings.bind.iter().any(|bind| speaks_uwsgi(bind, settings))
        },
        why: "no address speaks the uwsgi protocol; set protocol, or begin one of bind with \
              uwsgi://, or leave this out",
        verdict: Refuse,
    },
    Dependent {
        key: "tls_min_version",
        is_effective: |settings| settings.certfile.is_some(),
        why: WITHOUT_TLS,
        verdict: Refuse,
    },
    Dependent {
        key: "handshake_timeout",
        is_effective: |settings| settings.certfile.is_some(),
        why: WITHOUT_TLS,
        verdict: Refuse,
    },
    Dependent {
        key: "queue",
        is_effective: |settings| settings.threads > 1,
        why: "with one thread requests wait in the kernel; raise threads, or leave this out",
        verdict: Warn,
    },
    Dependent {
        key: "max_requests_jitter",
        is_effective: |settings| settings.max_requests.is_some(),
        why: "there is no max_requests; set that, or leave this out",
        verdict: Warn,
    },
    Dependent {
        key: "forwarded_for",
        is_effective: trusts_somebody,
        why: TRUSTS_NOBODY,
        verdict: Warn,
    },
    Dependent {
        key: "forwarded_host",
        is_effective: trusts_somebody,
        why: TRUSTS_NOBODY,
        verdict: Warn,
    },
    Dependent {
        key: "proxy_allow_from",
        is_effective: |settings| {
            settings.proxy_allow_from.is_empty() || settings.proxy_protocol != ProxyProtocol::Off
        },
        why: "proxy_protocol is off; set that, or leave this out",
        verdict: Refuse,
    },
    Dependent {
        key: "static_index",
        is_effective: serves_files,
        why: WITHOUT_STATIC,
        verdict: Warn,
    },
    Dependent {
        key: "static_cache",
        is_effective: serves_files,
        why: WITHOUT_STATIC,
        verdict: Warn,
    },
    Dependent {
        key: "static_symlinks",
        is_effective: serves_files,
        why: WITHOUT_STATIC,
        verdict: Warn,
    },
    Dependent {
        key: "static_fallthrough",
        is_effective: serves_files,
        why: WITHOUT_STATIC,
        verdict: Warn,
    },
    Dependent {
        key: "initgroups",
        is_effective: |settings| settings.user.is_some(),
        why: "there is no user; set that, or leave this out",
        verdict: Warn,
    },
    Dependent {
        key: "reload_extra_files",
        is_effective: |settings| settings.reload,
        why: "nothing is watched without reload; set that, or leave this out",
        verdict: Warn,
    },
    Dependent {
        key: "access_logformat",
        is_effective: |settings| settings.access_logfile.is_some(),
        why: "there is no access log without access_logfile; set that, or leave this out",
        verdict: Warn,
    },
];

fn speaks_uwsgi(bind: &Bind, settings: &Settings) -> bool {
    bind.protocol.unwrap_or(settings.protocol) == Protocol::Uwsgi
}

fn trusts_somebody(settings: &Settings) -> bool {
    !settings.forwarded_allow_ips.is_empty()
}

fn serves_files(settings: &Settings) -> bool {
    !settings.r#static.is_empty()
}

/// What is wrong with the settings as a whole.
pub(crate) fn check(settings: &Settings, values: &Values) -> Vec<ConfigError> {
    let mut errors = Vec::new();
    if let (Some(soft), Some(hard)) = (settings.max_memory, settings.max_memory_hard)
        && hard < soft
    {
        let expected = format!("no less than max_memory, which is {}", given(values, "max_memory"));
        let problem = Problem::Value { found: given(values, "max_memory_hard"), expected };
        errors.push(blame(values, "max_memory_hard", problem));
    }
    errors.extend(without_effect(settings, values, Refuse));
    errors
}

/// What of the settings has no effect, and does no harm by that.
pub(crate) fn warnings(settings: &Settings, values: &Values) -> Vec<ConfigError> {
    without_effect(settings, values, Warn).collect()
}

/// The settings that are set, have no effect, and get this verdict.
fn without_effect(
    settings: &Settings,
    values: &Values,
    verdict: Verdict,
) -> impl Iterator<Item = ConfigError> {
    let dependents = DEPENDENTS.iter().filter(move |dependent| {
        verdict_on(dependent, values) == Some(verdict) && !(dependent.is_effective)(settings)
    });
    dependents.map(|Dependent { key, why, .. }| {
        blame(values, key, Problem::NoEffect { found: given(values, key), why })
    })
}

/// What becomes of a dependent's value if it has no effect; nothing if it is the default, also where
/// that was written down, as `--print-config` does it.
fn verdict_on(dependent: &Dependent, values: &Values) -> Option<Verdict> {
    let value = values.get(dependent.key)?;
    if value.items == setting(dependent.key).default_items() {
        return None;
    }
    // What a file for another server has always had in it is no reason not to start.
    Some(match value.origin {
        Origin::Imported(_) => Warn,
        _ => dependent.verdict,
    })
}

/// What is wrong is the value of `key`.
fn blame(values: &Values, key: &str, problem: Problem) -> ConfigError {
    let origin = values.get(key).expect("invariant: every setting has a value").origin.clone();
    ConfigError::at(setting(key), origin, problem)
}

fn setting(key: &str) -> &'static Setting {
    all_settings()
        .find(|setting| setting.key == key)
        .expect("invariant: a rule is about settings that there are")
}

/// The value of `key` as it was written.
fn given(values: &Values, key: &str) -> String {
    let items = values.get(key).map_or(&[][..], |given| &given.items);
    format!("{:?}", items.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_is_about_a_setting() {
        for dependent in DEPENDENTS {
            assert_eq!(setting(dependent.key).key, dependent.key);
        }
    }
}
