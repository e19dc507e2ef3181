//! From the path of a URL to a name below a directory.
//!
//! Invariant: what comes out as a name has no empty part, none that begins with a dot, no NUL, and
//! no slash that was one only after decoding. So it can't mean anything that its spelling doesn't
//! show, here or to a cache or proxy in front; what it leads to is for the kernel to keep inside.

use std::borrow::Cow;

use crate::path::Path;

/// What a path of a URL means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Resolved<'a> {
    /// It is under none of the prefixes.
    Elsewhere,
    /// It is under a prefix, but no file can have that name.
    NoName,
    /// The name below the directory of prefix `nr`; empty for the directory itself.
    Name { nr: usize, name: Cow<'a, [u8]>, is_directory: bool },
}

/// Finds the first of `prefixes` that `path` is under: they are in the order in which they count,
/// decoded, without a slash at their end.
pub(super) fn resolve<'a>(path: Path<'a>, prefixes: &[Vec<u8>]) -> Resolved<'a> {
    let (decoded, escaped_slash) = path.decoded();
    let under = |prefix: &Vec<u8>| {
        let rest = decoded.strip_prefix(&prefix[..])?;
        let at_a_slash = matches!(rest, [] | [b'/', ..]);
        // Up to and with the slash behind the prefix, all of them must stand there as such.
        (at_a_slash && escaped_slash.is_none_or(|at| at > prefix.len())).then_some(prefix.len())
    };
    let found = prefixes.iter().enumerate().find_map(|(nr, prefix)| Some((nr, under(prefix)?)));
    let Some((nr, length)) = found else { return Resolved::Elsewhere };
    if escaped_slash.is_some() {
        return Resolved::NoName;
    }
    let rest = &decoded[length..];
    let is_directory = rest.ends_with(b"/");
    // The slash behind the prefix, and the one at the end.
    let start = length + usize::from(!rest.is_empty());
    let end = decoded.len() - usize::from(is_directory && rest.len() > 1);
    if start < decoded.len() && !is_name(&decoded[start..end]) {
        return Resolved::NoName;
    }
    let name = match decoded {
        Cow::Borrowed(decoded) => Cow::Borrowed(&decoded[start..end]),
        Cow::Owned(decoded) => Cow::Owned(decoded[start..end].to_vec()),
    };
    Resolved::Name { nr, name, is_directory }
}

fn is_name(name: &[u8]) -> bool {
    let is_good = |part: &[u8]| !part.is_empty() && part[0] != b'.';
    !name.contains(&0) && name.split(|&byte| byte == b'/').all(is_good)
}

#[cfg(test)]
mod tests {
    use std::path::{self, Component};

    use proptest::prelude::*;

    use super::*;

    fn prefixes(prefixes: &[&str]) -> Vec<Vec<u8>> {
        prefixes.iter().map(|prefix| prefix.as_bytes().to_vec()).collect()
    }

    /// `NR:NAME`, with a slash at the end for a directory.
    fn resolved(path: &str, under: &[&str]) -> String {
        resolved_path(Path::Encoded(path.as_bytes()), under)
    }

    fn resolved_path(path: Path<'_>, under: &[&str]) -> String {
        match resolve(path, &prefixes(under)) {
            Resolved::Elsewhere => "elsewhere".to_owned(),
            Resolved::NoName => "no name".to_owned(),
            Resolved::Name { nr, name, is_directory } => {
                let slash = if is_directory { "/" } else { "" };
                format!("{nr}:{}{slash}", String::from_utf8_lossy(&name))
            }
        }
    }

    #[test]
    fn names() {
        for (path, expected) in [
            ("/static/a.css", "0:a.css"),
            ("/static/sub/a.css", "0:sub/a.css"),
            ("/static/sub/", "0:sub/"),
            ("/static/", "0:/"),
            ("/static", "0:"),
            ("/static/a%20b", "0:a b"),
            ("/static/%C3%A9", "0:é"),
            ("/%73tatic/a", "0:a"),
            ("/static/a%2", "0:a%2"),
            ("/static/%zz", "0:%zz"),
            ("/static/%252e%252e/a", "0:%2e%2e/a"),
            ("/static/a\\b", "0:a\\b"),
            ("/static/a..b", "0:a..b"),
            ("/statics/a", "elsewhere"),
            ("/stati", "elsewhere"),
            ("/", "elsewhere"),
            ("", "elsewhere"),
            ("*", "elsewhere"),
            ("//static/a", "elsewhere"),
            ("/./static/a", "elsewhere"),
            ("/x/../static/a", "elsewhere"),
            ("/static%2fa", "elsewhere"),
            ("/%2fstatic/a", "elsewhere"),
            ("%2fstatic/a", "elsewhere"),
            ("/Static/a", "elsewhere"),
        ] {
            assert_eq!(resolved(path, &["/static"]), expected, "{path}");
        }
    }

    #[test]
    fn a_decoded_path_is_not_decoded_again() {
        for (path, expected) in [
            ("/static/a b", "0:a b"),
            ("/static/%61", "0:%61"),
            ("/static/%2e%2e/a", "0:%2e%2e/a"),
            ("/static/a%2fb", "0:a%2fb"),
            ("/static%2fa", "elsewhere"),
            ("/%73tatic/a", "elsewhere"),
            ("static/a", "elsewhere"),
            ("", "elsewhere"),
            ("/static", "0:"),
            ("/static/../a", "no name"),
            ("/static//a", "no name"),
            ("/static/.env", "no name"),
            ("/static/a\0", "no name"),
        ] {
            let path_info = Path::Decoded(path.as_bytes());
            assert_eq!(resolved_path(path_info, &["/static"]), expected, "{path}");
        }
        assert_eq!(resolved_path(Path::Decoded(b""), &[""]), "0:");
        assert_eq!(resolved_path(Path::Decoded(b"/"), &[""]), "0:/");
        assert_eq!(resolved_path(Path::Decoded(b"a"), &[""]), "elsewhere");
    }

    #[test]
    fn no_names() {
        for path in [
            "/static/..",
            "/static/../a",
            "/static/a/../b",
            "/static/a/..",
            "/static/./a",
            "/static/.",
            "/static//a",
            "/static//",
            "/static/a//",
            "/static/a//b",
            "/static/%2e%2e/a",
            "/static/.%2e/a",
            "/static/%2E%2E",
            "/static/%2e",
            "/static/a%2fb",
            "/static/a%2F",
            "/static/%2f",
            "/static/..%2fa",
            "/static/a%00",
            "/static/%00",
            "/static/.env",
            "/static/.git/config",
            "/static/a/.htpasswd",
            "/static/%2eenv",
            "/static/...",
            "/static/..%5ca",
            "/static/..\\a",
            "/static/.../a",
            "/static/..;/a",
        ] {
            assert_eq!(resolved(path, &["/static"]), "no name", "{path}");
        }
    }

    #[test]
    fn the_first_prefix_counts() {
        let under = ["/a/b", "/a", "/.well-known", ""];
        for (path, expected) in [
            ("/a/b/c", "0:c"),
            ("/a/b", "0:"),
            ("/a/bc", "1:bc"),
            ("/a/c", "1:c"),
            ("/.well-known/x", "2:x"),
            ("/.well-known/.x", "no name"),
            ("/b", "3:b"),
            ("/", "3:/"),
            ("/.env", "no name"),
            ("//", "no name"),
            ("//a", "no name"),
            ("/a%2fb/c", "no name"),
            ("*", "elsewhere"),
        ] {
            assert_eq!(resolved(path, &under), expected, "{path}");
        }
    }

    proptest! {
        #[test]
        fn no_path_escapes(
            path in "/(static|s%74atic|)(/|%2f|)([a.%/\\\\]|%2e|%2E|%2f|%2F|%00|%5c|%25|\\.\\.|/){0,12}",
        ) {
            let (as_it_is, decoded) = (Path::Encoded(path.as_bytes()), Path::Decoded(path.as_bytes()));
            for under in [&["/static"][..], &[""], &["/static/a", "/static", ""]] {
                for asked in [as_it_is, decoded] {
                    if let Resolved::Name { name, .. } = resolve(asked, &prefixes(under)) {
                        let name = String::from_utf8_lossy(&name);
                        prop_assert!(!name.contains('\0') && !name.starts_with('/'));
                        prop_assert!(!name.split('/').any(|part| part.starts_with('.')));
                        let normal = |part| matches!(part, Component::Normal(_));
                        prop_assert!(path::Path::new(&*name).components().all(normal));
                        let has_slash = path.to_ascii_lowercase().contains("%2f");
                        prop_assert!(asked == decoded || !has_slash);
                    }
                }
            }
        }

        #[test]
        fn no_bytes_panic(path in any::<Vec<u8>>()) {
            resolve(Path::Encoded(&path), &prefixes(&["/static", ""]));
            resolve(Path::Decoded(&path), &prefixes(&["/static", ""]));
        }

        #[test]
        fn what_is_encoded_is_found(name in "[a-z é%]{1,9}(/[a-z ]{1,5}){0,3}") {
            let encoded: String = name.bytes().map(|byte| match byte {
                b'/' => "/".to_owned(),
                byte => format!("%{byte:02X}"),
            }).collect();
            let path = format!("/static/{encoded}");
            let expected =
                Resolved::Name { nr: 0, name: Cow::Borrowed(name.as_bytes()), is_directory: false };
            let path = Path::Encoded(path.as_bytes());
            prop_assert_eq!(resolve(path, &prefixes(&["/static"])), expected);
        }
    }
}
