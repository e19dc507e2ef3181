//! Whom a request is believed to be from.
//!
//! A connection has a peer: whoever is at its other end, or who a proxy says it is, by the PROXY
//! protocol ([`proxied`](crate::proxied)). Only of a peer that is listed are the fields believed by
//! which proxies speak of a request. It is the peer that sends the HTTP that is looked up: a client
//! whose bytes a proxy merely passes on is trusted no more than one that comes itself.

use std::net::{IpAddr, SocketAddr};

use ironhorn_http::forwarded::{Claims, Node, Policy, Prefix, is_forwarding};
use ironhorn_http::proxy::Versions;
use ironhorn_http::{Refusal, Request as Head};
use ironhorn_unix::{Peer, PeerList};

use crate::application::{Forwarded, Sender};
use crate::connection::Client;

/// Who is trusted with what. By default nobody is.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// The peers whose fields are believed.
    pub forwarders: PeerList,
    /// Which of these fields are heeded.
    pub policy: Policy,
    /// The header that stands before everything else on the connections of [`proxies`](Self::proxies).
    pub proxy_protocol: Option<Versions>,
    /// The peers whose connections begin with that header. Those of others don't.
    pub proxies: PeerList,
}

/// A request as it is believed to be.
#[derive(Clone, Debug)]
pub(crate) struct Believed<'b> {
    pub(crate) sender: Sender,
    pub(crate) forwarded: Forwarded<'b>,
}

impl Trust {
    /// Which header a peer's connections begin with; `None`: theirs begin with a request.
    pub(crate) fn header_from(&self, peer: &Peer) -> Option<Versions> {
        self.proxy_protocol.filter(|_| self.proxies.contains(peer))
    }

    /// What to believe of a request. The same each time it is asked.
    pub(crate) fn read<'b>(
        &self,
        head: &Head<'_, 'b>,
        client: &Client,
    ) -> Result<Believed<'b>, Refusal> {
        let mut sender = client.sender.clone();
        // A proxy that speaks the uwsgi protocol says all this by variables. It is trusted, as it may
        // connect, but the fields that it passes on are for the app.
        if client.speaks_uwsgi() {
            let forwarded = Forwarded { trusted: true, ..Forwarded::default() };
            return Ok(Believed { sender, forwarded });
        }
        if !client.trusted {
            return Ok(Believed { sender, forwarded: Forwarded::default() });
        }
        let claims = Claims::read(head, &self.policy, &|address| self.forwarders.names(address))?;
        sender.secure = claims.secure.unwrap_or(sender.secure);
        sender.peer = claims.client.map_or(sender.peer, peer);
        let (script_name, path) = match claims.prefix {
            None => (None, None),
            Some(Prefix::Taken(prefix)) => (Some(prefix), None),
            Some(Prefix::Kept(prefix)) => (Some(prefix), head.path().get(prefix.len()..)),
        };
        let Claims { host, port, .. } = claims;
        let forwarded = Forwarded { trusted: true, host, port, script_name, path };
        Ok(Believed { sender, forwarded })
    }

    /// The name of a field in `head` by which only proxies speak.
    pub(crate) fn proxys_field<'b>(head: &Head<'_, 'b>) -> Option<&'b str> {
        head.fields.iter().map(|field| field.name).find(|name| is_forwarding(name.as_bytes()))
    }
}

/// A port of 0 is none.
fn peer(node: Node) -> Peer {
    match node {
        Node::Address(address, port) => inet(address, port.unwrap_or(0)),
        Node::Unnamed => Peer::Unnamed,
    }
}

fn inet(address: IpAddr, port: u16) -> Peer {
    Peer::Inet(SocketAddr::new(address, port))
}
