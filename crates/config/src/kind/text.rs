//! Texts: addresses, paths, names, choices.

use std::path::PathBuf;

use super::Kind;

/// Any text on one line.
pub(crate) struct Text(pub &'static str);

impl Kind for Text {
    type Value = String;

    fn parse(&self, text: &str) -> Option<String> {
        (!text.is_empty() && !text.chars().any(char::is_control)).then(|| text.to_owned())
    }

    fn allowed(&self) -> String {
        self.0.to_owned()
    }
}

/// A path. NUL can't be in one.
pub(crate) struct FilePath(pub &'static str);

impl Kind for FilePath {
    type Value = PathBuf;

    fn parse(&self, text: &str) -> Option<PathBuf> {
        (!text.is_empty() && !text.contains('\0')).then(|| PathBuf::from(text))
    }

    fn allowed(&self) -> String {
        self.0.to_owned()
    }
}

/// The path of a URL, as it stands in a request line (RFC 9112 section 3.2.1), without a query.
pub(crate) struct UrlPath;

impl Kind for UrlPath {
    type Value = String;

    fn parse(&self, text: &str) -> Option<String> {
        let visible = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#');
        (text.starts_with('/') && text.bytes().all(visible)).then(|| text.to_owned())
    }

    fn allowed(&self) -> String {
        "a path that begins with / and has no query, as in /health".to_owned()
    }
}

/// Where a server is controlled from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// From a socket in a directory that is found without being told.
    Auto,
    /// From a socket with this path.
    Path(PathBuf),
    /// From nowhere.
    None,
}

/// `auto`, `none` or a path.
pub(crate) struct ControlSocket;

impl Kind for ControlSocket {
    type Value = Control;

    fn parse(&self, text: &str) -> Option<Control> {
        match text {
            "auto" => Some(Control::Auto),
            "none" => Some(Control::None),
            path => FilePath("").parse(path).map(Control::Path),
        }
    }

    fn allowed(&self) -> String {
        "auto, none or the path of a unix socket".to_owned()
    }
}

/// A variable for the environment of the application.
pub(crate) struct Pair;

impl Kind for Pair {
    type Value = (String, String);

    fn parse(&self, text: &str) -> Option<(String, String)> {
        let (name, value) = text.split_once('=')?;
        // setenv(3) can hold neither.
        let allowed = !name.is_empty() && !text.contains('\0');
        allowed.then(|| (name.to_owned(), value.to_owned()))
    }

    fn allowed(&self) -> String {
        "NAME=VALUE".to_owned()
    }
}

/// true or false.
pub(crate) struct Flag;

impl Kind for Flag {
    type Value = bool;

    fn parse(&self, text: &str) -> Option<bool> {
        match text {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    fn allowed(&self) -> String {
        "true or false".to_owned()
    }
}

/// One of some words, in any case.
pub(crate) struct Choice<T: 'static>(pub &'static [(&'static str, T)]);

impl<T: Copy> Kind for Choice<T> {
    type Value = T;

    fn parse(&self, text: &str) -> Option<T> {
        let &(_, value) = self.0.iter().find(|(word, _)| word.eq_ignore_ascii_case(text))?;
        Some(value)
    }

    fn allowed(&self) -> String {
        let words: Vec<_> = self.0.iter().map(|(word, _)| *word).collect();
        match words.split_last() {
            Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
            _ => words.concat(),
        }
    }
}

/// What is done with a request that has a header whose name has an underscore, which WSGI can't
/// tell from the one with a dash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderMap {
    /// The application doesn't see it.
    Drop,
    /// The request is answered with 400.
    Refuse,
    /// The application gets it.
    Allow,
}

/// Which symbolic links in the directories of static files are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Symlinks {
    /// None.
    Never,
    /// Those that don't lead out of the directory.
    Inside,
    /// All.
    Follow,
}

/// The least severe level that is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// An operator must act.
    Error,
    /// Degraded, but dealt with.
    Warning,
    /// Lifecycle.
    Info,
    /// Each connection.
    Debug,
    /// Each event.
    Trace,
}

/// How the server's log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// A line with key=value fields.
    Text,
    /// A JSON object a line.
    Json,
}

/// Where a log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogFile {
    /// The standard stream of that log: stderr for the server's, stdout for the access log.
    Standard,
    /// This file, appended to.
    Path(PathBuf),
}

/// A file to log to, or `-`.
pub(crate) struct Log(pub &'static str);

impl Kind for Log {
    type Value = LogFile;

    fn parse(&self, text: &str) -> Option<LogFile> {
        match text {
            "-" => Some(LogFile::Standard),
            path => FilePath("").parse(path).map(LogFile::Path),
        }
    }

    fn allowed(&self) -> String {
        format!("the path of a file, or - for {}", self.0)
    }
}

/// How a line of the access log is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessLogFormat {
    /// Apache's combined format.
    Combined,
    /// A JSON object a line.
    Json,
    /// A line with Gunicorn's atoms, like `%(h)s`, to fill in.
    Atoms(String),
}

/// `combined`, `json` or atoms.
pub(crate) struct AccessFormat;

impl Kind for AccessFormat {
    type Value = AccessLogFormat;

    fn parse(&self, text: &str) -> Option<AccessLogFormat> {
        match text {
            "combined" => Some(AccessLogFormat::Combined),
            "json" => Some(AccessLogFormat::Json),
            // A misspelt preset would otherwise be logged word by word for each request.
            atoms if atoms.contains("%(") => Text("").parse(atoms).map(AccessLogFormat::Atoms),
            _ => None,
        }
    }

    fn allowed(&self) -> String {
        "combined, json or a line with atoms such as %(h)s".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_listed_and_match_in_any_case() {
        let kind = Choice(&[("drop", 1), ("refuse", 2), ("allow", 3)]);
        assert_eq!(kind.parse("Refuse"), Some(2));
        assert_eq!(kind.parse("dangerous"), None);
        assert_eq!(kind.allowed(), "drop, refuse or allow");
        assert_eq!(Choice(&[("only", ())]).allowed(), "only");
    }

    #[test]
    fn pairs_split_at_the_first_equals_sign() {
        assert_eq!(Pair.parse("A=b=c"), Some(("A".into(), "b=c".into())));
        assert_eq!(Pair.parse("A="), Some(("A".into(), String::new())));
        for text in ["", "A", "=b", "A=\0"] {
            assert_eq!(Pair.parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_path_of_a_url_is_one_that_a_request_line_can_have() {
        assert_eq!(UrlPath.parse("/health"), Some("/health".into()));
        assert_eq!(UrlPath.parse("/a/%20b"), Some("/a/%20b".into()));
        for text in ["", "health", "/a b", "/a?b", "/a#b", "/é", "http://x/"] {
            assert_eq!(UrlPath.parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_control_socket_is_a_word_or_a_path() {
        assert_eq!(ControlSocket.parse("auto"), Some(Control::Auto));
        assert_eq!(ControlSocket.parse("none"), Some(Control::None));
        assert_eq!(ControlSocket.parse("./none"), Some(Control::Path("./none".into())));
        assert_eq!(ControlSocket.parse(""), None);
    }

    #[test]
    fn a_dash_is_the_standard_stream() {
        assert_eq!(Log("stdout").parse("-"), Some(LogFile::Standard));
        assert_eq!(Log("stdout").parse("./-"), Some(LogFile::Path("./-".into())));
        assert_eq!(Log("stdout").parse(""), None);
    }

    #[test]
    fn access_format_without_an_atom_is_a_misspelt_preset() {
        assert_eq!(AccessFormat.parse("combined"), Some(AccessLogFormat::Combined));
        assert_eq!(AccessFormat.parse("%(h)s"), Some(AccessLogFormat::Atoms("%(h)s".into())));
        assert_eq!(AccessFormat.parse("combine"), None);
        assert_eq!(AccessFormat.parse("%(h)s\n"), None);
    }
}
