//! The answer to a request for a static file.

use std::fmt::Write;

use ironhorn_http::{DateCache, Request as Head, ResponseHead};

use super::conditional::now;
use super::find::{Found, Representation, Selected};
use crate::connection::Client;
use crate::path::{Path, encode};
use crate::respond::ResponseOf;
use crate::response::Progress;
use crate::runs::Runs;
use crate::serve::Service;

impl<A: Runs> Service<A> {
    /// What the loop has to answer to a request; `None`: that is for the app.
    pub(crate) fn find_static(&self, client: &Client, head: &Head<'_, '_>) -> Option<StaticAnswer> {
        let files = self.around.options.static_files.as_ref()?;
        let before_long = || self.app.before_long();
        files.find(Path::of(client, head), head, now(), before_long).map(StaticAnswer)
    }

    /// Answers it.
    pub(crate) fn serve_static(
        &self,
        response: &mut ResponseOf<A>,
        client: &Client,
        head: &Head<'_, '_>,
        found: StaticAnswer,
    ) -> Progress {
        match found.0 {
            Found::File(representation) => {
                let selected = representation.put_head(&mut response.wire.head);
                match selected {
                    Some((offset, length)) => {
                        let file = representation.file;
                        response.send_file(file, offset, length, client, &self.around)
                    }
                    None => response.send_text(b"", client, &self.around),
                }
            }
            other => self.decline(response, client, head, &other),
        }
    }

    /// Says that there is no file to send.
    fn decline(
        &self,
        response: &mut ResponseOf<A>,
        client: &Client,
        head: &Head<'_, '_>,
        found: &Found,
    ) -> Progress {
        let path = || Path::of(client, head).bytes().escape_ascii();
        let out = &mut response.wire.head;
        let text: &[u8] = match found {
            Found::Directory => {
                begin(out, "301 Moved Permanently");
                put(out, "Location", &with_slash(client, head));
                b"Moved Permanently\n"
            }
            Found::MethodNotAllowed => {
                begin(out, "405 Method Not Allowed");
                put(out, "Allow", b"GET, HEAD");
                b"Method Not Allowed\n"
            }
            Found::Forbidden => {
                log::debug!(path:% = path(); "static file may not be read");
                begin(out, "403 Forbidden");
                b"Forbidden\n"
            }
            Found::NotAcceptable => {
                begin(out, "406 Not Acceptable");
                put(out, "Vary", b"Accept-Encoding");
                b"Not Acceptable\n"
            }
            Found::Failed(error) => {
                log::error!(error:%, path:% = path(); "cannot open a static file");
                begin(out, "500 Internal Server Error");
                b"Internal Server Error\n"
            }
            Found::Missing | Found::File(_) => {
                begin(out, "404 Not Found");
                b"Not Found\n"
            }
        };
        put(out, "Content-Type", b"text/plain; charset=utf-8");
        response.send_text(text, client, &self.around)
    }
}

/// The URL of a directory, which ends in a slash.
fn with_slash(client: &Client, head: &Head<'_, '_>) -> Vec<u8> {
    let query = head.query();
    let mark: &[u8] = if query.is_empty() { b"" } else { b"?" };
    // No empty part was before, so this can't be taken for another host's (RFC 3986 §4.2).
    match Path::of(client, head) {
        Path::Encoded(path) => [path, b"/", mark, query].concat(),
        Path::Decoded(_) => {
            // As the app would put it together. What the client has asked for may have any number
            // of slashes.
            let variable = |name| client.sender.variables.get(name).unwrap_or_default();
            let path = encode(&[variable("SCRIPT_NAME"), variable("PATH_INFO")].concat());
            [&path, &b"/"[..], mark, query].concat()
        }
    }
}

/// What the loop has found for a request.
#[derive(Debug)]
pub(crate) struct StaticAnswer(Found);

impl Representation {
    /// Fills in the head; returns offset and length of what is to follow it of the file, if any.
    fn put_head(&self, out: &mut ResponseHead) -> Option<(u64, u64)> {
        let size = self.size;
        let selected = match self.selected {
            Selected::Whole => {
                begin(out, "200 OK");
                Some((0, size))
            }
            Selected::Part { first, last } => {
                begin(out, "206 Partial Content");
                put_text(out, "Content-Range", format_args!("bytes {first}-{last}/{size}"));
                Some((first, last - first + 1))
            }
            Selected::Unsatisfiable => {
                begin(out, "416 Range Not Satisfiable");
                put_text(out, "Content-Range", format_args!("bytes */{size}"));
                return None;
            }
            Selected::PreconditionFailed => {
                begin(out, "412 Precondition Failed");
                return None;
            }
            Selected::NotModified => {
                begin(out, "304 Not Modified");
                None
            }
        };
        if selected.is_some() {
            let charset = if self.is_text { "; charset=utf-8" } else { "" };
            put_text(out, "Content-Type", format_args!("{}{charset}", self.media_type));
            if let Some(coding) = self.coding {
                put(out, "Content-Encoding", coding.name().as_bytes());
            }
            let date = *DateCache::new().at(self.validators.modified());
            put(out, "Last-Modified", &date);
            put(out, "Accept-Ranges", b"bytes");
            // What a file is, its name says: no browser is to guess otherwise from its bytes.
            put(out, "X-Content-Type-Options", b"nosniff");
        }
        // RFC 9110 §15.4.5: a 304 has those that a 200 would have had.
        put(out, "ETag", self.validators.etag().as_bytes());
        if self.varies {
            put(out, "Vary", b"Accept-Encoding");
        }
        if let Some(value) = &self.cache_control {
            put(out, "Cache-Control", value.as_bytes());
        }
        selected
    }
}

fn begin(out: &mut ResponseHead, status: &str) {
    out.set_status(status.as_bytes()).expect("invariant: our own status is well-formed");
}

fn put(out: &mut ResponseHead, name: &str, value: &[u8]) {
    let put = out.push_field(name.as_bytes(), value);
    put.expect("invariant: our own fields are well-formed");
}

fn put_text(out: &mut ResponseHead, name: &str, value: std::fmt::Arguments<'_>) {
    let mut text = String::with_capacity(64);
    text.write_fmt(value).expect("invariant: a String takes any text");
    put(out, name, text.as_bytes());
}
