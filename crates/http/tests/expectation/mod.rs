//! The `.expect` files of tests/requests; the README there tells the format.

use ironhorn_http::{BodyLength, Limits};

use crate::drive::{Last, Outcome, Seen};

/// What must come of a file.
#[derive(Default)]
pub(crate) struct Expectation {
    pub(crate) limits: Limits,
    requests: Vec<Expected>,
    last: String,
}

#[derive(Default)]
struct Expected {
    line: Vec<u8>,
    path: Option<Vec<u8>>,
    query: Option<Vec<u8>>,
    authority: Option<Vec<u8>>,
    fields: Vec<Vec<u8>>,
    persistent: Option<Vec<u8>>,
    waits: Option<Vec<u8>>,
    body: Option<Vec<u8>>,
    content: Vec<u8>,
}

impl Expectation {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut expectation = Self::default();
        for line in text.lines() {
            let (key, value) = line.split_once(':').ok_or_else(|| format!("no key in {line:?}"))?;
            expectation.take(key, value.strip_prefix(' ').unwrap_or(value))?;
        }
        Ok(expectation)
    }

    fn take(&mut self, key: &str, value: &str) -> Result<(), String> {
        let number = || value.parse::<usize>().map_err(|error| format!("{key}: {error}"));
        match key {
            "limit-request-line" => self.limits.request_line = number()?,
            "limit-fields" => self.limits.fields = number()?,
            "limit-field" => self.limits.field = number()?,
            "limit-head" => self.limits.head = number()?,
            "limit-body" => self.limits.body = Some(number()? as u64),
            "request" => {
                self.requests.push(Expected { line: unescape(value)?, ..Expected::default() });
            }
            "incomplete" | "refusal" => self.last = format!("{key}: {value}"),
            _ => {
                let request = self.requests.last_mut().ok_or("no request yet")?;
                let value = unescape(value)?;
                match key {
                    "path" => request.path = Some(value),
                    "query" => request.query = Some(value),
                    "authority" => request.authority = Some(value),
                    "field" => request.fields.push(value),
                    "persistent" => request.persistent = Some(value),
                    "continue" => request.waits = Some(value),
                    "body" => request.body = Some(value),
                    "content" => request.content = value,
                    _ => return Err(format!("unknown key {key:?}")),
                }
            }
        }
        Ok(())
    }

    pub(crate) fn compare(&self, outcome: &Outcome) -> Result<(), String> {
        same("number of requests", &self.requests.len(), &outcome.requests.len())?;
        for (nr, (expected, seen)) in self.requests.iter().zip(&outcome.requests).enumerate() {
            expected.compare(seen).map_err(|difference| format!("request {nr}: {difference}"))?;
        }
        let last = match &outcome.last {
            Last::Clean => String::new(),
            Last::IncompleteHead => "incomplete: head".to_owned(),
            Last::IncompleteBody => "incomplete: body".to_owned(),
            Last::Refused(refusal) => format!("refusal: {refusal:?} {}", refusal.status()),
        };
        same("end", &self.last, &last)
    }
}

impl Expected {
    fn compare(&self, seen: &Seen) -> Result<(), String> {
        let line = format!("{} {} {}", seen.method, seen.target, seen.version).into_bytes();
        same("request line", &self.line, &line)?;
        same("path", self.path.as_ref().unwrap_or(&seen.path), &seen.path)?;
        same("query", self.query.as_ref().unwrap_or(&seen.query), &seen.query)?;
        same("authority", &self.authority, &seen.authority)?;
        if !self.fields.is_empty() {
            let fields: Vec<_> = seen
                .fields
                .iter()
                .map(|(name, value)| [name.as_bytes(), b"=", value].concat())
                .collect();
            same("fields", &self.fields, &fields)?;
        }
        let answer = |yes: bool| if yes { b"yes".to_vec() } else { b"no".to_vec() };
        let persistent = self.persistent.clone().unwrap_or(answer(true));
        same("persistent", &persistent, &answer(seen.persistent))?;
        let waits = self.waits.clone().unwrap_or(answer(false));
        same("continue", &waits, &answer(seen.expects_continue))?;
        let body: &[u8] = match seen.body {
            BodyLength::None => b"none",
            BodyLength::Length(_) => b"length",
            BodyLength::Chunked => b"chunked",
        };
        same("body", &self.body.as_deref().unwrap_or(body), &body)?;
        same("content", &self.content, &seen.content)
    }
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, expected: &T, seen: &T) -> Result<(), String> {
    if expected == seen {
        Ok(())
    } else {
        Err(format!("{what}: expected {expected:?}, got {seen:?}"))
    }
}

fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let malformed = || format!("malformed escape in {text:?}");
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'\\' {
            bytes.push(*first);
            continue;
        }
        let (byte, length) = match rest {
            [b'r', ..] => (b'\r', 1),
            [b'n', ..] => (b'\n', 1),
            [b't', ..] => (b'\t', 1),
            [b'\\', ..] => (b'\\', 1),
            [b'x', high, low, ..] => {
                let digit = |byte: u8| char::from(byte).to_digit(16).ok_or_else(malformed);
                let value = digit(*high)? * 16 + digit(*low)?;
                (u8::try_from(value).map_err(|_| malformed())?, 3)
            }
            _ => return Err(malformed()),
        };
        bytes.push(byte);
        rest = &rest[length..];
    }
    Ok(bytes)
}
