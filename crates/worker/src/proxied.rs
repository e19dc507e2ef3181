//! The header of the PROXY protocol at the start of a connection.
//!
//! It is looked at in the kernel's buffer and taken from there exactly, so what follows it, be it a
//! request or the hello of TLS, is received by whoever receives it otherwise.

use std::io;

use ironhorn_http::Received;
use ironhorn_http::proxy::{self, Header, MAX_HEADER, Origin, ProxyError};
use ironhorn_unix::Peer;
use mio::Token;

use crate::application::Proxied;
use crate::connection::{Client, Connection, Phase};
use crate::event_loop::key_of;
use crate::runs::Runs;
use crate::serve::{ConnectionOf, Next, Service};

impl<A: Runs> Service<A> {
    /// A connection, and what it begins with.
    pub(crate) fn admit(&self, mut client: Client, token: Token) -> ConnectionOf<A> {
        let trust = &self.around.options.trust;
        client.key = key_of(token);
        client.trusted = trust.forwarders.contains(&client.sender.peer);
        // A proxy that speaks the uwsgi protocol says by that who its client is.
        let begins = client.passed.times == 0 && !client.speaks_uwsgi();
        let header = trust.header_from(&client.sender.peer).filter(|_| begins);
        let mut connection = Connection::new(client, token);
        if let Some(versions) = header {
            connection.phase = Phase::Proxy(versions);
        }
        connection
    }

    /// Receives the header. `None`: it is there, and the first request may come.
    pub(crate) fn receive_header(
        &mut self,
        connection: &mut ConnectionOf<A>,
        versions: proxy::Versions,
        scratch: &mut [u8],
    ) -> Option<Next> {
        let stream = &connection.client.stream;
        let count = match stream.peek_wire(&mut scratch[..MAX_HEADER]) {
            Ok(0) => return Some(Next::Close),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                connection.readable = false;
                return Some(Next::Wait);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Some(Next::Again),
            Err(_) => return Some(Next::Close),
        };
        let received = &scratch[..count];
        let header = match proxy::receive(received, versions) {
            Ok(Received::Incomplete) if connection.read_closed => {
                return Some(self.close_unheard(connection));
            }
            Ok(Received::Incomplete) => {
                connection.readable = false;
                return Some(Next::Wait);
            }
            Ok(Received::Complete(header)) => header,
            Err(why) => return Some(self.refuse_header(connection, received, why)),
        };
        if stream.take_wire(header.length).is_err() {
            return Some(Next::Close);
        }
        connection.phase = Phase::Head;
        let client = &mut connection.client;
        self.believe(client, header);
        log::debug!(proxy:? = client.sender.connected, peer:? = client.sender.peer; "proxied");
        None
    }

    /// Closes a connection of which no request has come. A part of the header that were left unread
    /// would turn the close into a reset.
    pub(crate) fn close_unheard(&self, connection: &ConnectionOf<A>) -> Next {
        if let Phase::Proxy(_) = connection.phase {
            // It ends with what there is.
            let _ = connection.client.stream.take_wire(MAX_HEADER);
        }
        Next::Close
    }

    /// What the header says holds for the whole connection.
    fn believe(&self, client: &mut Client, header: Header) {
        let trust = &self.around.options.trust;
        let sender = &mut client.sender;
        sender.secure |= header.secure;
        match header.origin {
            // Its own requests: it is what it was.
            Origin::Proxy => {}
            // The address is the proxy's, as there is no other; the words aren't.
            Origin::Unknown => client.trusted = false,
            // Somebody on the proxy's machine: ours has not let it in.
            Origin::Unix => {
                sender.peer = Peer::Unnamed;
                client.trusted = false;
            }
            Origin::Client { protocol, source, destination } => {
                sender.peer = Peer::Inet(source);
                sender.proxied = Some(Proxied { protocol: protocol.name(), destination });
                client.trusted = trust.forwarders.contains(&sender.peer);
            }
        }
    }

    fn refuse_header(
        &mut self,
        connection: &mut ConnectionOf<A>,
        received: &[u8],
        why: ProxyError,
    ) -> Next {
        // What is left unread would turn the close into a reset.
        let _ = connection.client.stream.take_wire(received.len());
        log::debug!(peer:? = connection.client.sender.peer, why:%; "connection refused");
        self.answer_refusal(connection, received, 400, &why.to_string())
    }
}
