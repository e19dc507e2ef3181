//! Which file is sent with which Cache-Control.

/// Which files a rule is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Pattern {
    /// Those whose name holds a digest of what is in them.
    Hashed,
    /// Those whose name matches.
    Name(Vec<u8>),
    /// Those whose path in the URL matches.
    Path(Vec<u8>),
}

/// The word that stands for [`Pattern::Hashed`].
const HASHED: &str = "hashed";

/// A digest shorter than this could be a word or a year, and a longer one is none.
const DIGEST: std::ops::RangeInclusive<usize> = 8..=64;

impl Pattern {
    pub(super) fn parse(text: &str) -> Self {
        match text {
            HASHED => Self::Hashed,
            path if path.starts_with('/') => Self::Path(path.into()),
            name => Self::Name(name.into()),
        }
    }

    /// Whether the file with this decoded path in the URL is meant.
    pub(super) fn matches(&self, path: &[u8]) -> bool {
        let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
        match self {
            Self::Hashed => is_hashed(name),
            Self::Name(pattern) => matches(pattern, name),
            Self::Path(pattern) => matches(pattern, path),
        }
    }
}

/// Whether a name is like `base.5af3f1a8c2d1.css` or `main-5af3f1a8.js`: between a dot or a dash
/// and the next dot stand hexadecimal digits, letters and figures among them.
fn is_hashed(name: &[u8]) -> bool {
    let mut parts = name.split(|&byte| byte == b'.');
    let first = parts.next().unwrap_or_default();
    let parts: Vec<_> = parts.collect();
    let Some((_, inner)) = parts.split_last() else { return false };
    let after_dash = |part: &[u8]| {
        part.iter().rposition(|&byte| byte == b'-').is_some_and(|dash| is_digest(&part[dash + 1..]))
    };
    after_dash(first) || inner.iter().any(|part| is_digest(part) || after_dash(part))
}

fn is_digest(text: &[u8]) -> bool {
    DIGEST.contains(&text.len())
        && text.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        && text.iter().any(u8::is_ascii_digit)
        && text.iter().any(u8::is_ascii_lowercase)
}

/// Whether all of `text` matches: `*` stands for any bytes, `?` for one.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut read) = (0, 0);
    // Where the last `*` is, and how much of the text it is taken to stand for.
    let mut star: Option<(usize, usize)> = None;
    while read < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, read));
                at += 1;
            }
            Some(&byte) if byte == b'?' || byte == text[read] => {
                at += 1;
                read += 1;
            }
            _ => {
                let Some((place, until)) = star else { return false };
                star = Some((place, until + 1));
                at = place + 1;
                read = until + 1;
            }
        }
    }
    pattern[at..].iter().all(|&byte| byte == b'*')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn digests_in_names() {
        for name in [
            "base.5af3f1a8c2d1.css",
            "main-5af3f1a8.js",
            "main.5af3f1a8c2d1b3f4a5b6.chunk.js",
            "a.b-0123abcd.min.js",
            "jquery.min.0a1b2c3d4e5f.js",
        ] {
            assert!(is_hashed(name.as_bytes()), "{name}");
        }
        for name in [
            "base.css",
            "report.20240115.pdf",
            "a-20240115.txt",
            "jquery.autocomplete.js",
            "cafe.deadbeef.css",
            "index-DiwrgTda.js",
            "5af3f1a8c2d1.css",
            "a.5af3f1a8c2d1",
            "a.5AF3F1A8C2D1.css",
            "a.5af3f1a.css",
            "",
            ".",
            "...",
        ] {
            assert!(!is_hashed(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn patterns() {
        for (pattern, path, expected) in [
            ("*.css", "/static/a.css", true),
            ("*.css", "/static/a.css.map", false),
            ("a.*", "/static/sub/a.js", true),
            ("a.*", "/static/ba.js", false),
            ("*", "/anything", true),
            ("?.js", "/a.js", true),
            ("?.js", "/ab.js", false),
            ("/static/*", "/static/a/b", true),
            ("/static/*", "/media/static/a", false),
            ("/*/b", "/a/a/b", true),
            ("*a*b*c", "/xaybzc", true),
            ("*a*b*c", "/xaybz", false),
            ("hashed", "/static/base.5af3f1a8c2d1.css", true),
            ("hashed", "/static/hashed", false),
        ] {
            assert_eq!(
                Pattern::parse(pattern).matches(path.as_bytes()),
                expected,
                "{pattern} {path}"
            );
        }
    }

    /// The plain definition.
    fn slowly(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern, text) {
            ([], text) => text.is_empty(),
            ([b'*', rest @ ..], text) => (0..=text.len()).any(|nr| slowly(rest, &text[nr..])),
            ([b'?', rest @ ..], [_, more @ ..]) => slowly(rest, more),
            ([byte, rest @ ..], [found, more @ ..]) => byte == found && slowly(rest, more),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn as_defined(pattern in "[ab*?]{0,8}", text in "[ab]{0,10}") {
            let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
            prop_assert_eq!(matches(pattern, text), slowly(pattern, text));
        }
    }
}
