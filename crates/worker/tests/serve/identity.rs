//! Who a server over TLS is, and clients that trust it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use ironhorn_unix::Local;
use ironhorn_worker::Protocol;
use ironhorn_worker::tls::{ClientCertificates, Identity, TicketKeys, Tls, TlsOptions, TlsVersion};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::client::Client;
use crate::harness::{PATIENCE, Server, Setup};

/// A server's identity, and what a client has to know of it.
pub(crate) struct Made {
    tls: Tls,
    certificate: CertificateDer<'static>,
}

pub(crate) fn made() -> Made {
    let made = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
    let key = made.signing_key.serialize_pem();
    let identity = Identity::read(made.cert.pem().as_bytes(), key.as_bytes()).unwrap();
    let tls = Tls::new(&TlsOptions {
        identities: &[identity],
        clients: ClientCertificates::None,
        oldest: TlsVersion::V1_2,
        suites: &[],
        tickets: TicketKeys::new().unwrap(),
    });
    Made { tls: tls.unwrap(), certificate: made.cert.der().clone() }
}

impl Made {
    pub(crate) fn setup(&self) -> Setup {
        Setup::new().speaking(Protocol::Https(self.tls.clone()))
    }

    pub(crate) fn handshake(&self) -> ClientConnection {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("a.example").unwrap();
        ClientConnection::new(Arc::new(config), name).unwrap()
    }

    pub(crate) fn open<S: Read + Write>(&self, socket: S) -> StreamOwned<ClientConnection, S> {
        StreamOwned::new(self.handshake(), socket)
    }

    pub(crate) fn connect(&self, server: &Server) -> Client {
        Client::through(self.open(socket(server)))
    }
}

pub(crate) fn socket(server: &Server) -> TcpStream {
    let Local::Inet(address) = server.local() else { panic!("TCP") };
    let socket = TcpStream::connect(address).unwrap();
    socket.set_nodelay(true).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.set_write_timeout(Some(PATIENCE)).unwrap();
    socket
}
