//! Whether a request wants a file at all (RFC 9110 §13).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ironhorn_http::Request as Head;

/// Within this time a file may change again without its Last-Modified telling (RFC 9110 §8.8.2.2).
const RECENT: Duration = Duration::from_secs(1);

/// What tells one state of a file from another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Validators {
    /// The entity tag without its `W/`.
    tag: String,
    /// Whether equal tags mean equal bytes.
    is_strong: bool,
    /// In whole seconds; never in the future.
    modified: u64,
}

/// What the preconditions of a request come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is to be answered; `ranged`: by the part that Range names.
    Proceed { ranged: bool },
    /// 304
    NotModified,
    /// 412
    Failed,
}

impl Validators {
    /// Of a file as it is `now`; `suffix` tells its codings apart.
    ///
    /// The tag is made of the time of the last change, to the nanosecond, and of the size: what
    /// wrote other bytes left another tag, unless it wrote as many within one tick of the kernel's
    /// clock. So the tag of a file that was written to just now is weak, and those of the same file
    /// a second later, from then on, are strong.
    pub(super) fn new(size: u64, modified: Duration, suffix: &str, now: Duration) -> Self {
        Self {
            tag: format!("\"{:x}-{size:x}{suffix}\"", modified.as_nanos()),
            is_strong: now.checked_sub(modified).is_some_and(|age| age >= RECENT),
            modified: modified.min(now).as_secs(),
        }
    }

    /// The field ETag.
    pub(super) fn etag(&self) -> String {
        format!("{}{}", if self.is_strong { "" } else { "W/" }, self.tag)
    }

    /// Last-Modified, in seconds since the epoch.
    pub(super) fn modified(&self) -> u64 {
        self.modified
    }

    /// Weighs the preconditions in their order (RFC 9110 §13.2.2).
    pub(super) fn weigh(&self, head: &Head<'_, '_>) -> Verdict {
        if has(head, "if-match") {
            if !self.is_among(head, "if-match", Comparison::Strong) {
                return Verdict::Failed;
            }
        } else if date(head, "if-unmodified-since").is_some_and(|date| self.modified > date) {
            return Verdict::Failed;
        }
        if has(head, "if-none-match") {
            if self.is_among(head, "if-none-match", Comparison::Weak) {
                return Verdict::NotModified;
            }
        } else if date(head, "if-modified-since").is_some_and(|date| self.modified <= date) {
            return Verdict::NotModified;
        }
        Verdict::Proceed { ranged: self.is_range_wanted(head) }
    }

    /// Whether Range counts, by If-Range (RFC 9110 §13.1.5).
    fn is_range_wanted(&self, head: &Head<'_, '_>) -> bool {
        match head.field("if-range") {
            None => true,
            Some(tag) if tag.contains(&b'"') => self.is_among(head, "if-range", Comparison::Strong),
            Some(_) => self.is_strong && date(head, "if-range") == Some(self.modified),
        }
    }

    fn is_among(&self, head: &Head<'_, '_>, name: &str, comparison: Comparison) -> bool {
        values(head, name).any(|value| {
            value.trim_ascii() == b"*" && name != "if-range"
                || Tags(value).any(|Tag { opaque, is_strong }| {
                    opaque == self.tag.as_bytes()
                        && (comparison == Comparison::Weak || is_strong && self.is_strong)
                })
        })
    }
}

/// RFC 9110 §8.8.3.2
#[derive(Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Strong,
    Weak,
}

/// An entity tag of a request.
#[derive(Debug, PartialEq, Eq)]
struct Tag<'a> {
    /// With its quotes.
    opaque: &'a [u8],
    is_strong: bool,
}

/// The entity tags of a list, up to what isn't one.
struct Tags<'a>(&'a [u8]);

impl<'a> Iterator for Tags<'a> {
    type Item = Tag<'a>;

    fn next(&mut self) -> Option<Tag<'a>> {
        let start = self.0.iter().position(|byte| !matches!(byte, b' ' | b'\t' | b','))?;
        let rest = &self.0[start..];
        let (is_strong, rest) = match rest.strip_prefix(b"W/") {
            Some(rest) => (false, rest),
            None => (true, rest),
        };
        let inner = rest.strip_prefix(b"\"").unwrap_or_default();
        let Some(end) = inner.iter().position(|&byte| byte == b'"') else {
            self.0 = b"";
            return None;
        };
        let (opaque, rest) = rest.split_at(end + 2);
        self.0 = rest;
        Some(Tag { opaque, is_strong })
    }
}

fn values<'a>(head: &Head<'a, 'a>, name: &str) -> impl Iterator<Item = &'a [u8]> {
    let named = move |field: &&ironhorn_http::Field<'a>| field.name.eq_ignore_ascii_case(name);
    head.fields.iter().filter(named).map(|field| field.value)
}

fn has(head: &Head<'_, '_>, name: &str) -> bool {
    head.field(name).is_some()
}

/// The date that a field holds, in seconds since the epoch. What is no date, and more than one, is
/// ignored (RFC 9110 §13.1.3).
fn date(head: &Head<'_, '_>, name: &str) -> Option<u64> {
    let mut values = values(head, name);
    let (value, None) = (values.next()?, values.next()) else { return None };
    let date = httpdate::parse_http_date(std::str::from_utf8(value).ok()?).ok()?;
    Some(date.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs())
}

/// The time on the wall, since the epoch.
pub(super) fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use ironhorn_http::{FieldStorage, Limits};
    use proptest::prelude::*;

    use super::*;

    const MODIFIED: Duration = Duration::new(784_111_777, 5);
    const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const EARLIER: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const LATER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

    fn weigh_at(now: Duration, fields: &[&str]) -> Verdict {
        let lines: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
        let bytes = format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
        let mut storage = FieldStorage::new();
        let head = Head::parse(bytes.as_bytes(), &mut storage, &Limits::default()).unwrap();
        Validators::new(16, MODIFIED, "", now).weigh(&head)
    }

    fn weigh(fields: &[&str]) -> Verdict {
        weigh_at(MODIFIED + RECENT, fields)
    }

    fn tag() -> String {
        Validators::new(16, MODIFIED, "", MODIFIED + RECENT).etag()
    }

    const WHOLE: Verdict = Verdict::Proceed { ranged: false };
    const PROCEED: Verdict = Verdict::Proceed { ranged: true };

    #[test]
    fn tags() {
        assert_eq!(tag(), "\"ae1b981bc490a05-10\"");
        let of = |size, suffix, now| Validators::new(size, MODIFIED, suffix, now);
        let later = MODIFIED + Duration::from_secs(100);
        assert_eq!(of(16, "-br", later).etag(), "\"ae1b981bc490a05-10-br\"");
        assert_ne!(of(17, "", later).etag(), tag());
        for recent in [MODIFIED, MODIFIED + Duration::from_millis(999), MODIFIED - RECENT] {
            assert_eq!(of(16, "", recent).etag(), format!("W/{}", tag()));
        }
        assert_eq!(of(16, "", MODIFIED - Duration::from_secs(7)).modified(), 784_111_770);
        assert_eq!(of(16, "", later).modified(), 784_111_777);
    }

    #[test]
    fn if_none_match() {
        let tag = tag();
        for value in [
            tag.clone(),
            format!("W/{tag}"),
            format!("\"a\", \"b,c\",{tag}"),
            format!(" , W/\"x\" ,\t{tag},"),
            "*".to_owned(),
        ] {
            assert_eq!(
                weigh(&[&format!("If-None-Match: {value}")]),
                Verdict::NotModified,
                "{value}"
            );
        }
        let naked = tag.trim_matches('"').to_owned();
        for value in
            ["\"a\"", "", &naked, "\"", "W/", &format!("\"a,{tag}"), &format!("a, {tag}"), "\"*\""]
        {
            assert_eq!(weigh(&[&format!("If-None-Match: {value}")]), PROCEED, "{value}");
        }
        let two = ["If-None-Match: \"a\"", &format!("If-None-Match: {tag}")];
        assert_eq!(weigh(&two), Verdict::NotModified);
    }

    #[test]
    fn if_match() {
        let tag = tag();
        for value in [tag.as_str(), "*", &format!("\"a\", {tag}")] {
            assert_eq!(weigh(&[&format!("If-Match: {value}")]), PROCEED, "{value}");
        }
        for value in ["\"a\"", "", &format!("W/{tag}")] {
            assert_eq!(weigh(&[&format!("If-Match: {value}")]), Verdict::Failed, "{value}");
        }
        // A tag that is weak itself matches none.
        assert_eq!(weigh_at(MODIFIED, &[&format!("If-Match: {tag}")]), Verdict::Failed);
        let none_match = format!("If-None-Match: {tag}");
        assert_eq!(weigh_at(MODIFIED, &[&none_match]), Verdict::NotModified);
    }

    #[test]
    fn dates() {
        let since = |date: &str| weigh(&[&format!("If-Modified-Since: {date}")]);
        assert_eq!(
            [since(EARLIER), since(DATE), since(LATER)],
            [PROCEED, Verdict::NotModified, Verdict::NotModified]
        );
        let unmodified = |date: &str| weigh(&[&format!("If-Unmodified-Since: {date}")]);
        assert_eq!([unmodified(EARLIER), unmodified(DATE)], [Verdict::Failed, PROCEED]);
        // RFC 9110 §5.6.7: the obsolete forms.
        assert_eq!(since("Sunday, 06-Nov-94 08:49:37 GMT"), Verdict::NotModified);
        assert_eq!(since("Sun Nov  6 08:49:37 1994"), Verdict::NotModified);
        for bad in ["", "yesterday", "784111777", "Sun, 06 Nov 1994 08:49:37 CET"] {
            assert_eq!((since(bad), unmodified(bad)), (PROCEED, PROCEED), "{bad}");
        }
        let field = format!("If-Modified-Since: {DATE}");
        assert_eq!(weigh(&[&field, &field]), PROCEED);
    }

    #[test]
    fn tags_count_before_dates() {
        let tag = tag();
        let (old, new) = (format!("If-Modified-Since: {DATE}"), "If-None-Match: \"other\"");
        assert_eq!(weigh(&[&old, new]), PROCEED);
        let (matching, early) =
            (format!("If-Match: {tag}"), format!("If-Unmodified-Since: {EARLIER}"));
        assert_eq!(weigh(&[&matching, &early]), PROCEED);
        assert_eq!(weigh(&["If-Match: \"a\"", &format!("If-None-Match: {tag}")]), Verdict::Failed);
    }

    #[test]
    fn if_range() {
        let tag = tag();
        for value in [tag.as_str(), DATE] {
            assert_eq!(weigh(&[&format!("If-Range: {value}")]), PROCEED, "{value}");
            let recent = weigh_at(MODIFIED, &[&format!("If-Range: {value}")]);
            assert_eq!(recent, WHOLE, "{value}");
        }
        for value in ["\"a\"", &format!("W/{tag}"), EARLIER, LATER, "", "*", "x"] {
            assert_eq!(weigh(&[&format!("If-Range: {value}")]), WHOLE, "{value}");
        }
    }

    proptest! {
        #[test]
        fn no_value_panics(value in "[ -~\t]{0,60}", name in 0..5usize) {
            let names = ["If-Match", "If-None-Match", "If-Range", "If-Modified-Since", "If-Unmodified-Since"];
            weigh(&[&format!("{}: {value}", names[name])]);
        }

        #[test]
        fn a_tag_is_found_in_any_list(before in prop::collection::vec("(W/)?\"[!#-~]{0,9}\"", 0..4)) {
            let mut list = before;
            list.push(tag());
            let field = format!("If-None-Match: {}", list.join(", "));
            prop_assert_eq!(weigh(&[&field]), Verdict::NotModified);
        }
    }
}
