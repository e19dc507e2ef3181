//! The answer to a request for a static file.

use std::fmt::Write;

use ironhorn_http::{DateCache, Request as Head, ResponseHead};
use ironhorn_unix::Monotonic;

use super::conditional::now;
use super::find::{Found, Representation, Selected};
use crate::respond::ResponseOf;
use crate::response::Progress;
use crate::runs::Runs;
use crate::serve::{ConnectionOf, Next, Service};
use crate::trust::Believed;

impl<A: Runs> Service<A> {
    /// What the loop has to answer to a request; `None`: that is for the app.
    pub(crate) fn find_static(&self, head: &Head<'_, '_>) -> Option<StaticAnswer> {
        let files = self.around.options.static_files.as_ref()?;
        files.find(head, now()).map(StaticAnswer)
    }

    /// Answers it. `more`: bytes of another request have arrived.
    pub(crate) fn serve_static(
        &mut self,
        connection: &mut ConnectionOf<A>,
        head: &Head<'_, '_>,
        believed: &Believed<'_>,
        bytes: &[u8],
        found: StaticAnswer,
        more: bool,
    ) -> Option<Next> {
        let client = &connection.client;
        let mut response = self.response_to(head, Monotonic::now(), believed.sender.peer, more);
        let progress = match found.0 {
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
            other => self.decline(&mut response, client, head, &other),
        };
        let served = match self.suspends(progress) {
            Some(next) => Self::suspended(bytes, response, next),
            None => self.conclude(client, head, &mut response, progress),
        };
        self.settle(connection, served, more)
    }

    /// Says that there is no file to send.
    fn decline(
        &self,
        response: &mut ResponseOf<A>,
        client: &crate::connection::Client,
        head: &Head<'_, '_>,
        found: &Found,
    ) -> Progress {
        let out = &mut response.wire.head;
        let text: &[u8] = match found {
            Found::Directory => {
                // No empty part was before, so this can't be taken for another host's (RFC 3986 §4.2).
                let (path, query) = (head.path(), head.query());
                let mark: &[u8] = if query.is_empty() { b"" } else { b"?" };
                begin(out, "301 Moved Permanently");
                put(out, "Location", &[path, b"/", mark, query].concat());
                b"Moved Permanently\n"
            }
            Found::MethodNotAllowed => {
                begin(out, "405 Method Not Allowed");
                put(out, "Allow", b"GET, HEAD");
                b"Method Not Allowed\n"
            }
            Found::Forbidden => {
                log::debug!(path:% = head.path().escape_ascii(); "static file may not be read");
                begin(out, "403 Forbidden");
                b"Forbidden\n"
            }
            Found::NotAcceptable => {
                begin(out, "406 Not Acceptable");
                put(out, "Vary", b"Accept-Encoding");
                b"Not Acceptable\n"
            }
            Found::Failed(error) => {
                log::error!(error:%, path:% = head.path().escape_ascii(); "cannot open a static file");
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
