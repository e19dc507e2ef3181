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
        let chosen = match request.sender.variables.get("PATH_INFO") {
            Some(path) => self.choose(path),
            None => self.choose(percent_decode(path, &mut scratch).unwrap_or(path)),
        };
        self.scratch = scratch;
        chosen
    }

    /// Which app answers a decoded path.
    fn choose(&self, path: &[u8]) -> Option<Chosen> {
        let mounted = self.mounted.iter().position(|(mount, _)| mount.has(path));
        mounted.map(Chosen::Mounted).or(self.root.is_some().then_some(Chosen::Root))
    }

    pub(crate) fn app(&self, chosen: Chosen) -> &Bound<'py, PyAny> {
        match chosen {
            Chosen::Root => self.root.as_ref().expect("invariant: chosen only if it is there"),
            Chosen::Mounted(nr) => &self.mounted[nr].1,
        }
    }

    /// Where the app is mounted, if not at `/`.
    pub(crate) fn mount(&self, chosen: Chosen) -> Option<&Mount<'py>> {
        match chosen {
            Chosen::Root => None,
            Chosen::Mounted(nr) => Some(&self.mounted[nr].0),
        }
    }
}

/// One of the apps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chosen {
    /// The one that answers all paths that no other does.
    Root,
    /// By its place in the order of prefixes.
    Mounted(usize),
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

    /// `SCRIPT_NAME`
    pub(crate) fn script_name(&self) -> &Bound<'py, PyString> {
        &self.script_name
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
                let (app, mount) = (apps.app(chosen), apps.mount(chosen));
                let prefix: &[u8] = mount.map_or(b"", |mount| &mount.prefix);
                let rest = decoded.strip_prefix(prefix).unwrap();
                let name = mount.map_or_else(String::new, |mount| mount.script_name().to_string());
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
            let apps = loaded(&[("/a", "a")]);
            assert!(apps.choose(b"/").is_none() && apps.choose(b"/ab").is_none());
            assert!(apps.choose(b"/a").is_some());
            assert_eq!(Apps::from(app("only")).choose(b"/a"), Some(Chosen::Root));
        });
    }
}
