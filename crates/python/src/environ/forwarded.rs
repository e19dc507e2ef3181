//! What a proxy says of a request, in its environ.

use ironhorn_unix::Peer;
use ironhorn_worker::{Forwarded, Sender};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use super::values::{self, decimal};
use crate::ffi::latin1;

/// Who is at the other end of the connection, where that isn't the client.
pub(super) fn set_connection(environ: &Bound<'_, PyDict>, sender: &Sender) -> PyResult<()> {
    let py = environ.py();
    if sender.connected != sender.peer {
        let address = match sender.connected {
            Peer::Inet(address) => address.ip().to_canonical().to_string(),
            Peer::Unix | Peer::Unnamed => String::new(),
        };
        environ.set_item(intern!(py, "ironhorn.peer_addr"), address)?;
    }
    if let Some(proxied) = &sender.proxied {
        let address = proxied.destination.ip().to_canonical().to_string();
        environ.set_item(intern!(py, "PROXY_PROTOCOL"), proxied.protocol)?;
        environ.set_item(intern!(py, "PROXY_ADDR"), address)?;
        environ.set_item(intern!(py, "PROXY_PORT"), decimal(py, proxied.destination.port())?)?;
    }
    Ok(())
}

/// Host, port and SCRIPT_NAME. `host_key` is that of Host.
pub(super) fn set<'py>(
    environ: &Bound<'py, PyDict>,
    forwarded: &Forwarded<'_>,
    secure: bool,
    host_key: &Bound<'py, PyString>,
    scratch: &mut Vec<u8>,
) -> PyResult<()> {
    let py = environ.py();
    if let Some(prefix) = forwarded.script_name {
        let decoded = values::percent_decode(prefix, scratch).unwrap_or(prefix);
        environ.set_item(intern!(py, "SCRIPT_NAME"), latin1(py, decoded)?)?;
    }
    if forwarded.host.is_none() && forwarded.port.is_none() {
        return Ok(());
    }
    let received = match forwarded.host {
        Some(_) => None,
        None => environ.get_item(host_key)?,
    };
    let received = received.map(|host| host.extract::<String>()).transpose()?;
    let host = forwarded.host.or(received.as_ref().map(String::as_bytes)).unwrap_or_default();
    let default: u16 = if secure { 443 } else { 80 };
    let (name, port) = values::split_host(host);
    // What the client has typed counts; a proxy behind another one may not know its port.
    let (port, host) = match (port, forwarded.port) {
        (b"", Some(port)) if port != default => {
            let host = [name, format!(":{port}").as_bytes()].concat();
            (decimal(py, port)?, latin1(py, &host)?)
        }
        (b"", _) => (decimal(py, default)?, latin1(py, name)?),
        (port, _) => (latin1(py, port)?, latin1(py, host)?),
    };
    if !name.is_empty() {
        environ.set_item(host_key, host)?;
        environ.set_item(intern!(py, "SERVER_NAME"), latin1(py, name)?)?;
    }
    environ.set_item(intern!(py, "SERVER_PORT"), port)
}
