//! The look of an access line: Gunicorn's format strings, compiled once.

use std::fmt;
use std::time::SystemTime;

use super::Entry;
use super::atom::{Atom, Context};
use super::escape;

/// The usual format of web servers, which Gunicorn has by default.
const COMBINED: &str = r#"%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s""#;

/// A compiled format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Format {
    style: Style,
    environ_names: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Style {
    Text(Vec<Segment>),
    Json,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Literal(Vec<u8>),
    Atom(Atom),
}

/// A format string that can't be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FormatError {
    /// An atom that doesn't exist.
    UnknownAtom(String),
    /// A `%` that begins no atom.
    StrayPercent {
        /// Where it stands, counted in bytes from 0.
        position: usize,
    },
}

impl Format {
    /// Compiles `combined`, `json`, or a string of Gunicorn's atoms such as
    /// `%(h)s "%(r)s" %(s)s %({x-request-id}i)s`.
    pub fn parse(format: &str) -> Result<Self, FormatError> {
        let text = match format {
            "json" => return Ok(Self { style: Style::Json, environ_names: Vec::new() }),
            "combined" => COMBINED,
            other => other,
        };
        let mut environ_names = Vec::new();
        let segments = segments(text, &mut environ_names)?;
        Ok(Self { style: Style::Text(segments), environ_names })
    }

    pub(super) fn environ_names(&self) -> &[String] {
        &self.environ_names
    }

    pub(super) fn write(&self, entry: &Entry<'_>, now: SystemTime, out: &mut Vec<u8>) {
        let context = Context { entry, now };
        match &self.style {
            Style::Text(segments) => {
                for segment in segments {
                    match segment {
                        Segment::Literal(bytes) => out.extend_from_slice(bytes),
                        Segment::Atom(atom) => context.write(atom, escape::text, out),
                    }
                }
            }
            Style::Json => write_json(&context, out),
        }
    }
}

fn segments(text: &str, environ_names: &mut Vec<String>) -> Result<Vec<Segment>, FormatError> {
    let mut segments = Vec::new();
    let mut rest = text;
    while let Some(percent) = rest.find('%') {
        let (before, at) = rest.split_at(percent);
        if !before.is_empty() {
            segments.push(Segment::Literal(before.as_bytes().to_vec()));
        }
        if let Some(after) = at.strip_prefix("%%") {
            segments.push(Segment::Literal(b"%".to_vec()));
            rest = after;
            continue;
        }
        let stray = || FormatError::StrayPercent { position: text.len() - at.len() };
        let inner = at.strip_prefix("%(").ok_or_else(stray)?;
        let (name, after) = inner.split_once(")s").ok_or_else(stray)?;
        let atom = Atom::parse(name, environ_names)
            .ok_or_else(|| FormatError::UnknownAtom(name.to_owned()))?;
        segments.push(Segment::Atom(atom));
        rest = after;
    }
    if !rest.is_empty() {
        segments.push(Segment::Literal(rest.as_bytes().to_vec()));
    }
    Ok(segments)
}

/// The `json` preset: one object, every key always there.
fn write_json(context: &Context<'_>, out: &mut Vec<u8>) {
    const STRINGS: [(&str, Atom); 8] = [
        ("time", Atom::IsoTime),
        ("remote_addr", Atom::RemoteAddress),
        ("method", Atom::Method),
        ("path", Atom::Path),
        ("query", Atom::Query),
        ("protocol", Atom::Protocol),
        ("referer", Atom::Referer),
        ("user_agent", Atom::UserAgent),
    ];
    const NUMBERS: [(&str, Atom); 4] = [
        ("status", Atom::Status),
        ("body_bytes", Atom::BodyBytes),
        ("duration_us", Atom::Microseconds),
        ("pid", Atom::ProcessNumber),
    ];
    out.push(b'{');
    for (index, (key, atom)) in STRINGS.iter().enumerate() {
        let separator = if index == 0 { "" } else { "," };
        out.extend_from_slice(format!("{separator}\"{key}\":\"").as_bytes());
        context.write(atom, escape::json, out);
        out.push(b'"');
    }
    for (key, atom) in &NUMBERS {
        out.extend_from_slice(format!(",\"{key}\":").as_bytes());
        context.write(atom, escape::json, out);
    }
    out.push(b'}');
}

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownAtom(name) => write!(
                f,
                "%({name})s is no atom; there are h l u t r m U q H s B b f a T M D L p, \
                 {{name}}i, {{name}}o and {{name}}e"
            ),
            Self::StrayPercent { position } => write!(
                f,
                "the % at position {position} begins no atom; an atom is %(name)s, a percent %%"
            ),
        }
    }
}

impl std::error::Error for FormatError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_it_does_not_know() {
        assert_eq!(Format::parse("%(z)s"), Err(FormatError::UnknownAtom("z".into())));
        assert_eq!(Format::parse("ab %h"), Err(FormatError::StrayPercent { position: 3 }));
        assert_eq!(Format::parse("%(h"), Err(FormatError::StrayPercent { position: 0 }));
    }

    #[test]
    fn names_each_environ_key_once() {
        let format = Format::parse("%({REMOTE_USER}e)s 100%% %({X}e)s %({REMOTE_USER}e)s").unwrap();
        assert_eq!(format.environ_names(), ["REMOTE_USER", "X"]);
    }
}
