//! The apps of a worker, and which one answers a request.

use ironhorn_worker::Request;
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::environ::percent_decode;
use crate::ffi::latin1;

/// Apps by the prefixes of the paths that they answer: usually one, for all paths.
pub(crate) struct Apps<'py> {
    root: Option<Bound<'py, PyAny>>,
    /// The longest prefix first.
    mounted: Vec<(Mount<'py>, Bound<'py, PyAny>)>,
    scratch: Vec<u8>,
}

/// Where an app is mounted.
pub(crate) struct Mount<'py> {
    /// Decoded; ends where a part of a path does, and isn't empty.
    prefix: Vec<u8>,
    script_name: Bound<'py, PyString>,
}

impl<'py> Apps<'py> {
    /// These apps, each with its prefix; the one of all paths has an empty one.
    pub(crate) fn new(loaded: Vec<(String, Bound<'py, PyAny>)>) -> PyResult<Self> {
        let mut apps = Self { root: None, mounted: Vec::new(), scratch: Vec::new() };
        for (prefix, app) in loaded {
            if prefix.is_empty() {
                apps.root = Some(app);
            } else {
                let prefix = prefix.into_bytes();
                let script_name = latin1(app.py(), &prefix)?;
                apps.mounted.push((Mount { prefix, script_name }, app));
            }
        }
        apps.mounted.sort_by_key(|(mount, _)| std::cmp::Reverse(mount.prefix.len()));
        Ok(apps)
    }

    /// Which app answers a request.
    pub(crate) fn find(&mut self, request: &Request<'_>) -> Option<Chosen> {
        if self.mounted.is_empty() {
            return self.choose(b"");
        }
        // What will be PATH_INFO if it isn't for a mount.
        let mut scratch = std::mem::take(&mut self.scratch);
        let path = request.forwarded.path.unwrap_or(request.head.path());
        let variables = &request.sender.variables;
        let chosen = match variables.get("PATH_INFO") {
            Some(path) => self.choose_below(variables.get("SCRIPT_NAME").unwrap_or_default(), path),
            None => self.choose(percent_decode(path, &mut scratch).unwrap_or(path)),
        };
        self.scratch = scratch;
        chosen
    }

    /// Which app answers a decoded path.
    fn choose(&self, path: &[u8]) -> Option<Chosen> {
        let mounted = self.mounted.iter().position(|(mount, _)| mount.has(path));
        let chosen = mounted.map(|nr| Chosen::Mounted { nr, named: 0 });
        chosen.or(self.root.is_some().then_some(Chosen::Root))
    }

    /// Which app answers a decoded path, of which a proxy has put the start into SCRIPT_NAME. It may
    /// mean by that where the app is mounted, as in uWSGI, or where the whole server is.
    fn choose_below(&self, script_name: &[u8], path_info: &[u8]) -> Option<Chosen> {
        let is_named = |(mount, _): &(Mount<'_>, _)| mount.continues(script_name, path_info);
        match self.mounted.iter().position(is_named) {
            Some(nr) => Some(Chosen::Mounted { nr, named: script_name.len() }),
            None => self.choose(path_info),
        }
    }

    pub(crate) fn app(&self, chosen: Chosen) -> &Bound<'py, PyAny> {
        match chosen {
            Chosen::Root => self.root.as_ref().expect("invariant: chosen only if it is there"),
            Chosen::Mounted { nr, .. } => &self.mounted[nr].1,
        }
    }

    /// What of PATH_INFO is to go to SCRIPT_NAME, if anything is.
    pub(crate) fn shifted(&self, chosen: Chosen) -> PyResult<Option<Bound<'py, PyString>>> {
        match chosen {
            Chosen::Root => Ok(None),
            Chosen::Mounted { nr, named } => self.mounted[nr].0.shifted(named).map(Some),
        }
    }
}

/// One of the apps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chosen {
    /// The one that answers all paths that no other does.
    Root,
    Mounted {
        /// Its place in the order of prefixes.
        nr: usize,
        /// How much of its prefix is in SCRIPT_NAME already, in bytes.
        named: usize,
    },
}

impl<'py> From<Bound<'py, PyAny>> for Apps<'py> {
    /// One app for all paths.
    fn from(app: Bound<'py, PyAny>) -> Self {
        Self { root: Some(app), mounted: Vec::new(), scratch: Vec::new() }
    }
}

impl<'py> Mount<'py> {
    /// Whether a decoded path is the app's.
    fn has(&self, path: &[u8]) -> bool {
        matches!(path.strip_prefix(&self.prefix[..]), Some([] | [b'/', ..]))
    }

    /// Whether the app's prefix is SCRIPT_NAME, or begins with it and goes on in PATH_INFO.
    fn continues(&self, script_name: &[u8], path_info: &[u8]) -> bool {
        match self.prefix.strip_prefix(script_name) {
            Some([]) => true,
            Some(rest @ [b'/', ..]) => {
                matches!(path_info.strip_prefix(rest), Some([] | [b'/', ..]))
            }
            _ => false,
        }
    }

    /// What SCRIPT_NAME lacks of the prefix if it has the first `named` bytes.
    fn shifted(&self, named: usize) -> PyResult<Bound<'py, PyString>> {
        match named {
            0 => Ok(self.script_name.clone()),
            _ => latin1(self.script_name.py(), &self.prefix[named..]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_counts_where_a_part_ends() {
        Python::initialize();
        Python::attach(|py| {
            let app = |name: &str| PyString::new(py, name).into_any();
            let loaded = |names: &[(&str, &str)]| {
                Apps::new(
                    names.iter().map(|(prefix, name)| ((*prefix).to_owned(), app(name))).collect(),
                )
                .unwrap()
            };
            let apps = loaded(&[("/a", "a"), ("", "root"), ("/a/b", "ab"), ("/é x", "é")]);
            let found = |path: &str| {
                let mut scratch = Vec::new();
                let decoded =
                    percent_decode(path.as_bytes(), &mut scratch).unwrap_or(path.as_bytes());
                let chosen = apps.choose(decoded).unwrap();
                let (app, name) = (apps.app(chosen), apps.shifted(chosen).unwrap());
                let prefix: &[u8] = match chosen {
                    Chosen::Root => b"",
                    Chosen::Mounted { nr, .. } => &apps.mounted[nr].0.prefix,
                };
                let rest = decoded.strip_prefix(prefix).unwrap();
                let name = name.map_or_else(String::new, |name| name.to_string());
                format!("{app} {name:?} {:?}", String::from_utf8_lossy(rest))
            };
            for (path, expected) in [
                ("/a", r#"a "/a" """#),
                ("/a/", r#"a "/a" "/""#),
                ("/a/x", r#"a "/a" "/x""#),
                ("/a/b", r#"ab "/a/b" """#),
                ("/a/bc", r#"a "/a" "/bc""#),
                ("/a/b/c", r#"ab "/a/b" "/c""#),
                ("/%61/b%2Fc", r#"ab "/a/b" "/c""#),
                ("/ab", r#"root "" "/ab""#),
                ("/", r#"root "" "/""#),
                ("*", r#"root "" "*""#),
                ("/A", r#"root "" "/A""#),
                ("//a", r#"root "" "//a""#),
                ("/%C3%A9%20x/y", "é \"/Ã© x\" \"/y\""),
            ] {
                assert_eq!(found(path), expected, "{path}");
            }
            let below = |script_name: &str, path_info: &str| {
                let chosen = apps.choose_below(script_name.as_bytes(), path_info.as_bytes());
                let shifted = apps.shifted(chosen.unwrap()).unwrap();
                let shifted = shifted.map_or_else(String::new, |name| name.to_string());
                format!("{} {shifted:?}", apps.app(chosen.unwrap()))
            };
            for (script_name, path_info, expected) in [
                ("", "/a/x", r#"a "/a""#),
                ("", "/x", r#"root """#),
                // It names the app.
                ("/a", "/x", r#"a """#),
                ("/a", "", r#"a """#),
                ("/a", "/a/x", r#"a """#),
                ("/a/b", "/x", r#"ab """#),
                ("/a", "/b/x", r#"ab "/b""#),
                ("/a", "/b", r#"ab "/b""#),
                ("/a", "/bc", r#"a """#),
                ("/é x", "/x", r#"é """#),
                // It names where the server is.
                ("/shop", "/a/x", r#"a "/a""#),
                ("/shop", "/x", r#"root """#),
                ("/a/c", "/x", r#"root """#),
                ("/ab", "/x", r#"root """#),
                ("/", "/a/x", r#"a "/a""#),
            ] {
                assert_eq!(below(script_name, path_info), expected, "{script_name} {path_info}");
            }
            let apps = loaded(&[("/a", "a")]);
            assert!(apps.choose(b"/").is_none() && apps.choose(b"/ab").is_none());
            assert!(apps.choose(b"/a").is_some());
            assert_eq!(Apps::from(app("only")).choose(b"/a"), Some(Chosen::Root));
        });
    }
}
