//! Pairs of which one side says which requests or files the other is for.

use std::path::PathBuf;

use super::{FilePath, Form, Kind, Pairing, Shape, Text};

/// Any number of pairs, each name once.
pub(crate) struct Routes<K> {
    pub kind: K,
    pub pairing: &'static Pairing,
}

impl<K: Kind<Value = (String, T)>, T> Shape for Routes<K> {
    type Value = Vec<(String, T)>;

    fn form(&self) -> Form {
        Form::Pairs(self.pairing)
    }

    fn read<'i>(&self, items: &'i [String]) -> Result<Self::Value, Option<&'i str>> {
        let mut routes: Self::Value = Vec::new();
        for item in items {
            match self.kind.parse(item) {
                Some(route) if routes.iter().all(|(name, _)| *name != route.0) => {
                    routes.push(route);
                }
                _ => return Err(Some(item)),
            }
        }
        Ok(routes)
    }

    fn allowed(&self) -> String {
        self.kind.allowed()
    }
}

/// A prefix of paths and the directory or file that is served there.
pub(crate) struct StaticMap;

impl Kind for StaticMap {
    type Value = (String, PathBuf);

    fn parse(&self, text: &str) -> Option<(String, PathBuf)> {
        let (prefix, path) = text.split_once('=')?;
        Some((parse_prefix(prefix)?, FilePath("").parse(path)?))
    }

    fn allowed(&self) -> String {
        "PREFIX=PATH with a prefix that begins with / and is there once, as in /static=./assets"
            .to_owned()
    }
}

/// A prefix of paths and the app that answers there.
pub(crate) struct Mount;

impl Kind for Mount {
    type Value = (String, String);

    fn parse(&self, text: &str) -> Option<(String, String)> {
        let (prefix, app) = text.split_once('=')?;
        Some((parse_prefix(prefix)?, Text("").parse(app)?))
    }

    fn allowed(&self) -> String {
        "PREFIX=APP with a prefix that begins with / and is there once, as in /api=api.wsgi:app"
            .to_owned()
    }
}

/// A pattern of file names and the Cache-Control of files that match.
pub(crate) struct CacheRule;

impl Kind for CacheRule {
    type Value = (String, String);

    fn parse(&self, text: &str) -> Option<(String, String)> {
        let (pattern, value) = text.split_once('=')?;
        // RFC 9110 section 5.5, without what is obsolete.
        let visible = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
        let good = !pattern.is_empty() && !value.trim().is_empty() && value.bytes().all(visible);
        good.then(|| (pattern.to_owned(), value.trim().to_owned()))
    }

    fn allowed(&self) -> String {
        "PATTERN=VALUE, each pattern once, as in *.css=max-age=3600".to_owned()
    }
}

/// The name of a file, without a directory.
pub(crate) struct FileName;

impl Kind for FileName {
    type Value = String;

    fn parse(&self, text: &str) -> Option<String> {
        let good = !matches!(text, "." | "..") && !text.contains('/');
        Text("").parse(text).filter(|_| good)
    }

    fn allowed(&self) -> String {
        "the name of a file, without a directory".to_owned()
    }
}

/// A prefix of decoded paths that ends where a part of them does; without a slash at its end, so
/// that the one of all paths is empty.
fn parse_prefix(text: &str) -> Option<String> {
    let parts = text.strip_prefix('/')?.strip_suffix('/').or(text.strip_prefix('/'))?;
    if parts.is_empty() {
        return (text == "/").then(String::new);
    }
    let odd = |c: char| c.is_control() || matches!(c, '?' | '#' | '%');
    let good = |part: &str| !matches!(part, "" | "." | "..") && !part.contains(odd);
    parts.split('/').all(good).then(|| format!("/{parts}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes() {
        for (text, prefix) in [
            ("/", ""),
            ("/static", "/static"),
            ("/static/", "/static"),
            ("/a/b", "/a/b"),
            ("/.well-known", "/.well-known"),
            ("/é", "/é"),
            ("/a b", "/a b"),
        ] {
            assert_eq!(parse_prefix(text).as_deref(), Some(prefix), "{text}");
        }
        for text in [
            "", "static", "//", "/a//b", "/a//", "/..", "/a/../b", "/.", "/%41", "/a?", "/a#",
            "/\n",
        ] {
            assert_eq!(parse_prefix(text), None, "{text:?}");
        }
    }

    #[test]
    fn pairs() {
        assert_eq!(StaticMap.parse("/a=b=c"), Some(("/a".into(), "b=c".into())));
        assert_eq!(Mount.parse("/=m:make(a='b')"), Some((String::new(), "m:make(a='b')".into())));
        let rule = CacheRule.parse("*.css= max-age=60, public");
        assert_eq!(rule, Some(("*.css".into(), "max-age=60, public".into())));
        for text in ["/a", "/a=", "a=b", "=b", ""] {
            assert_eq!((StaticMap.parse(text), Mount.parse(text)), (None, None), "{text}");
        }
        for text in ["*", "*=", "=a", "*= ", "*=a\r\nb: c", "*=é"] {
            assert_eq!(CacheRule.parse(text), None, "{text:?}");
        }
        for text in ["", ".", "..", "a/b", "/"] {
            assert_eq!(FileName.parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_name_is_there_once() {
        const PAIRING: Pairing = Pairing { pair: "", name: "", names: "", values: "" };
        let routes = Routes { kind: StaticMap, pairing: &PAIRING };
        let items = ["/a=x", "/b=y", "/a/=z"].map(str::to_owned);
        assert_eq!(routes.read(&items[..2]).unwrap().len(), 2);
        assert_eq!(routes.read(&items), Err(Some("/a/=z")));
    }
}
