//! A request as the environ dict of PEP 3333 ("environ Variables").
//!
//! What is the same for every request of a listener stands in a template dict, which is copied for
//! each request and never reused, since apps keep their environ. Keys are made once a worker, so
//! their hashes are too.
//!
//! Three things differ from a plain translation of the request:
//! - A chunked body is whole before the app runs, so its length is known: `CONTENT_LENGTH` says it
//!   and `HTTP_TRANSFER_ENCODING` is left out. Frameworks that read by `CONTENT_LENGTH` alone would
//!   take the body for empty otherwise, and none has to undo a coding that is gone.
//! - What a proxy says by the uwsgi protocol stands in the environ as it is, over what the request
//!   itself would say: that is the proxy's client's, its server and its paths.
//! - `Proxy` has no key: `HTTP_PROXY` is how a CGI program's libraries find their outgoing proxy
//!   (CVE-2016-5385).

mod forwarded;
mod known;
mod names;
mod repeated;
mod template;
mod values;
mod visible;

use ironhorn_http::{BodyLength, Field, Version};
use ironhorn_unix::{Local, Peer};
use ironhorn_worker::Request;
use ironhorn_worker::tls::TlsFacts;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use crate::ffi::latin1;
use names::Names;
use repeated::Repeated;
pub(crate) use template::Constants;
use template::template;
pub(crate) use values::percent_decode;
pub(crate) use visible::Visible;

/// What becomes of a field whose name has an underscore. Its environ key would be that of another
/// field with a hyphen there, which a proxy may have set and the client must not (CVE-2015-0219).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum HeaderMap {
    /// The field is left out.
    #[default]
    Drop,
    /// The request is answered 400.
    Refuse,
    /// The field is passed on, joined with its namesake.
    Allow,
}

/// Why there is no environ.
pub(crate) enum EnvironError {
    /// By [`HeaderMap::Refuse`].
    Underscore,
    /// The interpreter failed, for want of memory.
    Python(PyErr),
}

impl From<PyErr> for EnvironError {
    fn from(error: PyErr) -> Self {
        Self::Python(error)
    }
}

/// Makes the environs of one worker.
pub(crate) struct Environs<'py> {
    py: Python<'py>,
    listeners: Vec<Listening<'py>>,
    header_map: HeaderMap,
    visible: Visible,
    names: Names<'py>,
    repeated: Repeated<'py>,
    scratch: Vec<u8>,
}

/// What is known of a listener in advance.
struct Listening<'py> {
    template: Bound<'py, PyDict>,
    /// A unix socket has no name that a URL could hold, so Host has to tell.
    named_by_host: bool,
}

impl<'py> Environs<'py> {
    pub(crate) fn new(
        py: Python<'py>,
        listeners: &[Local],
        header_map: HeaderMap,
        visible: Visible,
        constants: &Constants<'py>,
    ) -> PyResult<Self> {
        let listeners = listeners
            .iter()
            .map(|local| {
                Ok(Listening {
                    template: template(py, local, constants)?,
                    named_by_host: !matches!(local, Local::Inet(_)),
                })
            })
            .collect::<PyResult<_>>()?;
        Ok(Self {
            py,
            listeners,
            header_map,
            visible,
            names: Names::new(py),
            repeated: Repeated::new(),
            scratch: Vec::new(),
        })
    }

    /// Makes the environ of one request; `content_length` is what was received of its body.
    /// `shifted` is what goes from PATH_INFO to SCRIPT_NAME since its app is mounted there.
    /// `wsgi.input` is the empty one and `wsgi.early_hints` isn't there yet.
    pub(crate) fn build(
        &mut self,
        request: &Request<'_>,
        content_length: u64,
        shifted: Option<&Bound<'py, PyString>>,
    ) -> Result<Bound<'py, PyDict>, EnvironError> {
        let py = self.py;
        let head = request.head;
        let listening = &self.listeners[request.listener];
        let named_by_host = listening.named_by_host;
        let environ = listening.template.copy()?;

        // The template says GET, HTTP/1.1 and no query.
        if head.method != "GET" {
            environ.set_item(intern!(py, "REQUEST_METHOD"), method(py, head.method))?;
        }
        if head.version == Version::Http10 {
            environ.set_item(intern!(py, "SERVER_PROTOCOL"), intern!(py, "HTTP/1.0"))?;
        }
        if !head.query().is_empty() {
            environ.set_item(intern!(py, "QUERY_STRING"), latin1(py, head.query())?)?;
        }
        let forwarded = &request.forwarded;
        let path = forwarded.path.unwrap_or(head.path());
        let path = percent_decode(path, &mut self.scratch).unwrap_or(path);
        environ.set_item(intern!(py, "PATH_INFO"), latin1(py, path)?)?;
        let target = latin1(py, head.target.as_bytes())?;
        environ.set_item(intern!(py, "RAW_URI"), &target)?;
        environ.set_item(intern!(py, "REQUEST_URI"), target)?;
        if request.sender.secure {
            environ.set_item(intern!(py, "wsgi.url_scheme"), intern!(py, "https"))?;
        }
        if let Some(tls) = request.tls {
            set_tls(&environ, tls)?;
        }
        self.set_peer(&environ, &request.sender.peer)?;
        forwarded::set_connection(&environ, request.sender)?;

        self.set_fields(&environ, head.fields, head.authority(), forwarded.trusted)?;
        if head.body == BodyLength::Chunked {
            let length = PyString::new(py, &content_length.to_string());
            environ.set_item(intern!(py, "CONTENT_LENGTH"), length)?;
        }
        if named_by_host {
            let host = head.authority().map(values::without_user).or_else(|| head.field("host"));
            let usual: &[u8] = if request.tls.is_some() { b"443" } else { b"" };
            set_server(&environ, host.unwrap_or_default(), usual)?;
        }
        for (name, value) in request.sender.variables.iter() {
            environ.set_item(self.names.variable(py, name)?, latin1(py, value)?)?;
        }
        if !forwarded.is_silent() {
            let host = self.names.known(known::HOST);
            forwarded::set(&environ, forwarded, request.sender.secure, host, &mut self.scratch)?;
        }
        if let Some(shifted) = shifted {
            shift(&environ, shifted)?;
        }
        Ok(environ)
    }

    /// The template's REMOTE_ADDR is empty, as for a unix socket.
    fn set_peer(&mut self, environ: &Bound<'py, PyDict>, peer: &Peer) -> PyResult<()> {
        let py = self.py;
        let Peer::Inet(peer) = peer else { return Ok(()) };
        environ.set_item(intern!(py, "REMOTE_ADDR"), self.repeated.address(py, peer.ip()))?;
        match peer.port() {
            0 => Ok(()), // not known
            port => environ.set_item(intern!(py, "REMOTE_PORT"), self.repeated.port(py, port)?),
        }
    }

    /// Whether a name is one that [`HeaderMap`] is about.
    fn is_unwelcome(&self, name: &[u8], trusted: bool) -> bool {
        name.contains(&b'_') && !(trusted && self.visible.is_listed(name))
    }

    fn set_fields(
        &mut self,
        environ: &Bound<'py, PyDict>,
        fields: &[Field<'_>],
        authority: Option<&[u8]>,
        trusted: bool,
    ) -> Result<(), EnvironError> {
        let py = self.py;
        let hides = self.visible.hides_from(trusted);
        if let Some(authority) = authority {
            // The target's authority replaces Host (RFC 9112 §3.2.2).
            let host = latin1(py, values::without_user(authority))?;
            environ.set_item(self.names.known(known::HOST), host)?;
        }
        // With underscores allowed, another name may have set a known key already.
        let mut seen: u128 = if self.header_map == HeaderMap::Allow { u128::MAX } else { 0 };
        for field in fields {
            let name = field.name.as_bytes();
            if hides && self.visible.is_hidden(name, trusted) {
                if self.header_map == HeaderMap::Refuse && self.is_unwelcome(name, trusted) {
                    return Err(EnvironError::Underscore);
                }
                continue;
            }
            match known::find(name) {
                Some(known::PROXY | known::TRANSFER_ENCODING) => {}
                Some(known::HOST) if authority.is_some() => {}
                Some(known) => {
                    let bit = 1 << known;
                    let key = self.names.known(known);
                    let value = self.repeated.field(py, known, field.value)?;
                    if seen & bit == 0 {
                        seen |= bit;
                        environ.set_item(key, value)?;
                    } else if known == known::COOKIE {
                        join(environ, key, value, intern!(py, "; "))?;
                    } else if known == known::CONTENT_LENGTH {
                        // Only equal ones get this far.
                        environ.set_item(key, value)?;
                    } else {
                        join(environ, key, value, intern!(py, ","))?;
                    }
                }
                None => {
                    if self.is_unwelcome(name, trusted) {
                        match self.header_map {
                            HeaderMap::Drop => continue,
                            HeaderMap::Refuse => return Err(EnvironError::Underscore),
                            HeaderMap::Allow => {}
                        }
                    }
                    let key = self.names.other(py, name);
                    join(environ, &key, latin1(py, field.value)?, intern!(py, ","))?;
                }
            }
        }
        Ok(())
    }
}

/// Sets a key, or adds to what it has (RFC 9110 §5.3; RFC 6265 §5.4 for cookies).
fn join<'py>(
    environ: &Bound<'py, PyDict>,
    key: &Bound<'py, PyString>,
    value: Bound<'py, PyString>,
    separator: &Bound<'py, PyString>,
) -> PyResult<()> {
    match environ.get_item(key)? {
        None => environ.set_item(key, value),
        Some(former) => environ.set_item(key, former.add(separator)?.add(value)?),
    }
}

/// What mod_ssl calls the facts of a connection.
fn set_tls(environ: &Bound<'_, PyDict>, tls: &TlsFacts) -> PyResult<()> {
    let py = environ.py();
    environ.set_item(intern!(py, "HTTPS"), intern!(py, "on"))?;
    environ.set_item(intern!(py, "SSL_PROTOCOL"), PyString::intern(py, tls.version))?;
    environ.set_item(intern!(py, "SSL_CIPHER"), PyString::intern(py, tls.cipher))?;
    if let Some(name) = &tls.server_name {
        environ.set_item(intern!(py, "SSL_TLS_SNI"), latin1(py, name.as_bytes())?)?;
    }
    let Some(client) = &tls.client else {
        return environ.set_item(intern!(py, "SSL_CLIENT_VERIFY"), intern!(py, "NONE"));
    };
    environ.set_item(intern!(py, "SSL_CLIENT_VERIFY"), intern!(py, "SUCCESS"))?;
    let subject = latin1(py, client.subject.as_bytes())?;
    environ.set_item(intern!(py, "SSL_CLIENT_S_DN"), subject)?;
    environ.set_item(intern!(py, "SSL_CLIENT_CERT"), latin1(py, client.pem.as_bytes())?)
}

/// Moves the start of PATH_INFO to SCRIPT_NAME, behind what a proxy has put there.
fn shift(environ: &Bound<'_, PyDict>, shifted: &Bound<'_, PyString>) -> PyResult<()> {
    let py = environ.py();
    let (script_name, path_info) = (intern!(py, "SCRIPT_NAME"), intern!(py, "PATH_INFO"));
    if let Some(before) = environ.get_item(script_name)? {
        environ.set_item(script_name, before.add(shifted)?)?;
    }
    if let Some(path) = environ.get_item(path_info)? {
        let rest = path.call_method1(intern!(py, "removeprefix"), (shifted,))?;
        environ.set_item(path_info, rest)?;
    }
    Ok(())
}

/// SERVER_NAME and SERVER_PORT of a request that came by a unix socket. `usual` is the port that
/// Host leaves out, if it isn't the template's.
fn set_server(environ: &Bound<'_, PyDict>, host: &[u8], usual: &[u8]) -> PyResult<()> {
    let py = environ.py();
    let (name, port) = values::split_host(host);
    let port = if port.is_empty() { usual } else { port };
    if !name.is_empty() {
        environ.set_item(intern!(py, "SERVER_NAME"), latin1(py, name)?)?;
    }
    if !port.is_empty() {
        environ.set_item(intern!(py, "SERVER_PORT"), latin1(py, port)?)?;
    }
    Ok(())
}

fn method<'py>(py: Python<'py>, method: &str) -> Bound<'py, PyString> {
    let interned = match method {
        "POST" => intern!(py, "POST"),
        "HEAD" => intern!(py, "HEAD"),
        "PUT" => intern!(py, "PUT"),
        "DELETE" => intern!(py, "DELETE"),
        "PATCH" => intern!(py, "PATCH"),
        "OPTIONS" => intern!(py, "OPTIONS"),
        other => return PyString::new(py, other),
    };
    interned.clone()
}

#[cfg(test)]
mod tests;
