//! What a request for a static file finds: a representation, or why there is none.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::time::Duration;

use ironhorn_http::Request as Head;
use ironhorn_unix::{Entry, RegularFile};

use super::conditional::{Validators, Verdict};
use super::encoding::{Accepted, Coding};
use super::range::{self, Ranged};
use super::resolve::{Resolved, resolve};
use super::{Place, StaticFiles, content_type};
use crate::path::Path;

/// What is to be answered.
#[derive(Debug)]
pub(super) enum Found {
    File(Representation),
    /// A directory, whose path has to end in a slash for relative links to work.
    Directory,
    Missing,
    Forbidden,
    MethodNotAllowed,
    /// The client doesn't take the file in any form that it is there in.
    NotAcceptable,
    /// The server can't open files.
    Failed(io::Error),
}

/// A file in the form in which it is to be sent.
#[derive(Debug)]
pub(super) struct Representation {
    pub(super) file: File,
    pub(super) size: u64,
    pub(super) validators: Validators,
    pub(super) media_type: &'static str,
    pub(super) is_text: bool,
    /// Whether it depends on Accept-Encoding.
    pub(super) varies: bool,
    pub(super) coding: Option<Coding>,
    pub(super) cache_control: Option<Arc<str>>,
    pub(super) selected: Selected,
}

/// What of a representation is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Selected {
    Whole,
    Part {
        first: u64,
        last: u64,
    },
    /// The range isn't there.
    Unsatisfiable,
    /// The client has it already.
    NotModified,
    /// A precondition doesn't hold.
    PreconditionFailed,
}

impl StaticFiles {
    /// Looks for what `head` asks for at `path`, at the time `now`, and calls `before_long` before it
    /// asks the file system. `None`: that is for the app to answer.
    pub(super) fn find(
        &self,
        path: Path<'_>,
        head: &Head<'_, '_>,
        now: Duration,
        before_long: impl FnOnce(),
    ) -> Option<Found> {
        let found = match resolve(path, &self.prefixes) {
            Resolved::Elsewhere => return None,
            _ if !matches!(head.method, "GET" | "HEAD") => Found::MethodNotAllowed,
            Resolved::NoName => Found::Missing,
            Resolved::Name { nr, name, is_directory } => {
                before_long();
                let request = Lookup { files: self, nr, head, now };
                request.look_up(&name, is_directory).unwrap_or_else(Found::of)
            }
        };
        let is_for_app =
            matches!(found, Found::Missing | Found::Forbidden | Found::MethodNotAllowed);
        (!(is_for_app && self.fallthrough)).then_some(found)
    }

    fn cache_control(&self, path: &[u8]) -> Option<Arc<str>> {
        let (_, value) = self.cache.iter().find(|(pattern, _)| pattern.matches(path))?;
        Some(Arc::clone(value))
    }
}

impl Found {
    /// What an error of open(2) comes to. Most of them say that there is no file of this name that
    /// may be served.
    fn of(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(
                libc::ENOENT
                | libc::ENOTDIR
                | libc::ELOOP
                | libc::EXDEV
                | libc::ENAMETOOLONG
                | libc::ENXIO
                | libc::ENODEV
                | libc::EINVAL,
            ) => Self::Missing,
            Some(libc::EACCES | libc::EPERM) => Self::Forbidden,
            _ => Self::Failed(error),
        }
    }
}

/// One request on its way to a file.
struct Lookup<'a> {
    files: &'a StaticFiles,
    /// Of the map that the path is under.
    nr: usize,
    head: &'a Head<'a, 'a>,
    now: Duration,
}

impl Lookup<'_> {
    fn place(&self) -> &Place {
        &self.files.places[self.nr]
    }

    fn look_up(&self, name: &[u8], is_directory: bool) -> io::Result<Found> {
        let Some(path) = self.place().name(name, is_directory) else { return Ok(Found::Missing) };
        if is_directory {
            return Ok(match self.index(name)? {
                Some((path, file)) => self.represent(&path, file)?,
                None => Found::Missing,
            });
        }
        match self.place().directory.look_up(&path)? {
            Entry::File(file) => self.represent(path.as_bytes(), file),
            Entry::Directory if self.index(name)?.is_some() => Ok(Found::Directory),
            Entry::Directory | Entry::Other => Ok(Found::Missing),
        }
    }

    /// The file that is served for the directory `name`.
    fn index(&self, name: &[u8]) -> io::Result<Option<(Vec<u8>, RegularFile)>> {
        for index in &self.files.index {
            let slash = if name.is_empty() { &b""[..] } else { b"/" };
            let path = [name, slash, index].concat();
            if let Some(file) = self.regular(&path)? {
                return Ok(Some((path, file)));
            }
        }
        Ok(None)
    }

    /// The regular file of this name, if there is one.
    fn regular(&self, path: &[u8]) -> io::Result<Option<RegularFile>> {
        match self.place().directory.look_up(OsStr::from_bytes(path)) {
            Ok(Entry::File(file)) => Ok(Some(file)),
            Ok(_) => Ok(None),
            Err(error) => match Found::of(error) {
                Found::Failed(error) => Err(error),
                _ => Ok(None),
            },
        }
    }

    fn represent(&self, path: &[u8], plain: RegularFile) -> io::Result<Found> {
        let (media_type, is_text) = content_type::of(path);
        let varies = content_type::is_compressible(media_type);
        let (mut coding, mut file) = (None, plain);
        if varies {
            let named = |field: &&ironhorn_http::Field<'_>| {
                field.name.eq_ignore_ascii_case("accept-encoding")
            };
            let fields = self.head.fields.iter().filter(named);
            let accepted = Accepted::parse(fields.map(|field| field.value));
            for candidate in accepted.codings() {
                let beside = [path, candidate.suffix().as_bytes()].concat();
                if let Some(compressed) = self.regular(&beside)? {
                    (coding, file) = (Some(candidate), compressed);
                    break;
                }
            }
            if coding.is_none() && !accepted.identity() {
                return Ok(Found::NotAcceptable);
            }
        }
        let RegularFile { file, size, modified } = file;
        let suffix = coding.map_or_else(String::new, |coding| format!("-{}", coding.name()));
        let validators = Validators::new(size, modified, &suffix, self.now);
        Ok(Found::File(Representation {
            selected: self.select(size, &validators),
            cache_control: self.files.cache_control(&self.url(path)),
            file,
            size,
            validators,
            media_type,
            is_text,
            varies,
            coding,
        }))
    }

    fn select(&self, size: u64, validators: &Validators) -> Selected {
        match validators.weigh(self.head) {
            Verdict::NotModified => Selected::NotModified,
            Verdict::Failed => Selected::PreconditionFailed,
            // RFC 9110 §14.2: Range is for GET alone.
            Verdict::Proceed { ranged } if ranged && self.head.method == "GET" => {
                match self.range().map(|value| range::parse(value, size)) {
                    Some(Ranged::Part { first, last }) => Selected::Part { first, last },
                    Some(Ranged::Unsatisfiable) => Selected::Unsatisfiable,
                    Some(Ranged::Whole) | None => Selected::Whole,
                }
            }
            Verdict::Proceed { .. } => Selected::Whole,
        }
    }

    /// The only field Range.
    fn range(&self) -> Option<&[u8]> {
        let named = |field: &&ironhorn_http::Field<'_>| field.name.eq_ignore_ascii_case("range");
        let mut fields = self.head.fields.iter().filter(named);
        let (field, None) = (fields.next()?, fields.next()) else { return None };
        Some(field.value)
    }

    /// The decoded path in the URL of what is at `path`, for patterns.
    fn url(&self, path: &[u8]) -> Vec<u8> {
        let prefix = &self.files.prefixes[self.nr][..];
        match self.place().file {
            Some(_) => prefix.to_vec(),
            None => [prefix, b"/", path].concat(),
        }
    }
}
