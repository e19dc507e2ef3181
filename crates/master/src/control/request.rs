//! What an operator can ask: one JSON object on one line.

use serde::Deserialize;

/// The longest line, without its end.
pub(crate) const LONGEST: usize = 4096;

/// A request. Fields that it does not have are refused: a `wait` that was mistyped would be
/// missed by who relies on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(tag = "command", rename_all = "lowercase", deny_unknown_fields)]
pub(crate) enum Request {
    /// How the server is.
    Status {},
    /// What each worker is and does.
    Workers {},
    /// What is in flight.
    Requests {},
    /// Load settings and code again.
    Reload {
        /// Answer when it has succeeded or failed.
        #[serde(default)]
        wait: bool,
    },
    /// So many workers.
    Scale {
        /// How many.
        workers: usize,
    },
    /// Replace a worker.
    Recycle {
        /// Its process id.
        pid: i32,
    },
    /// Show a worker's stacks.
    Stack {
        /// Its process id.
        pid: i32,
    },
    /// Open the log files again.
    Reopen {},
    /// End gracefully.
    Stop {},
    /// End at once.
    Quit {},
    /// What is known of the last workers that died.
    Deaths {},
}

impl Request {
    /// The request of a line, or what is wrong with it.
    pub(crate) fn parse(line: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(line).map_err(|error| format!("not a request: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_told_apart() {
        let parse = |text: &str| Request::parse(text.as_bytes()).unwrap();
        assert_eq!(parse(r#"{"command":"status"}"#), Request::Status {});
        assert_eq!(parse(r#"{"command":"reload"}"#), Request::Reload { wait: false });
        assert_eq!(parse(r#"{"wait":true,"command":"reload"}"#), Request::Reload { wait: true });
        assert_eq!(parse(r#" {"command":"scale","workers":3} "#), Request::Scale { workers: 3 });
        assert_eq!(parse(r#"{"command":"stack","pid":7}"#), Request::Stack { pid: 7 });
    }

    #[test]
    fn anything_else_is_refused_with_the_reason() {
        for (text, reason) in [
            ("", "EOF"),
            ("status", "expected value"),
            ("[1,2]", "not a request"),
            ("{}", "missing field `command`"),
            (r#"{"command":"dance"}"#, "unknown variant `dance`"),
            (r#"{"command":"status","wait":true}"#, "unknown field `wait`"),
            (r#"{"command":"reload","wiat":true}"#, "unknown field `wiat`"),
            (r#"{"command":"scale"}"#, "missing field `workers`"),
            (r#"{"command":"scale","workers":-1}"#, "-1"),
            (r#"{"command":"stack","pid":"x"}"#, "invalid type"),
            (r#"{"command":"status"} {}"#, "trailing"),
            ("\u{0}\u{ff}", "expected value"),
        ] {
            let error = Request::parse(text.as_bytes()).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
