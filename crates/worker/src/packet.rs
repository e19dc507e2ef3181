//! The uwsgi protocol on a connection: who may speak it, and how a packet becomes a request.
//!
//! What is behind it, a body and a response, goes the way of every request: the head that the packet
//! is translated to says that the connection isn't kept.

use ironhorn_http::uwsgi::{Packet, Translation};
use ironhorn_http::{FieldStorage, Received, Refusal};
use ironhorn_unix::Peer;

use crate::application::Sender;
use crate::connection::Client;
use crate::runs::Runs;
use crate::serve::{ConnectionOf, Next, Service, Step};

impl<A: Runs> Service<A> {
    /// Whether a client may speak at all. Who may send a packet says who the client is.
    pub(crate) fn admits(&mut self, client: &Client) -> bool {
        let peer = &client.sender.peer;
        let allowed = &self.around.options.uwsgi_allow_from;
        if !client.speaks_uwsgi() || allowed.contains(peer) {
            return true;
        }
        self.strangers += 1;
        log::debug!(peer:%, count = self.strangers;
            "connection closed: uwsgi_allow_from doesn't have its peer");
        false
    }

    /// One request from its packet on.
    pub(crate) fn take_packet(&mut self, connection: &mut ConnectionOf<A>, input: &[u8]) -> Step {
        let packet = match Packet::receive(input) {
            Ok(Received::Complete(packet)) => packet,
            Ok(Received::Incomplete) => return (0, Some(Next::Wait)),
            Err(refusal) => {
                // Of a packet there is no line to be shown.
                let received = if refusal == Refusal::HttpOnUwsgi { input } else { b"" };
                return (input.len(), Some(self.refuse_as(connection, received, refusal)));
            }
        };
        let translation = Translation::of(&packet);
        let Translation { head: bytes, path, variables, client, secure } = match translation {
            Ok(translation) => translation,
            Err(refusal) => {
                return (input.len(), Some(self.refuse_as(connection, b"", refusal)));
            }
        };
        let peer = client.map_or(connection.client.sender.peer, Peer::Inet);
        connection.client.sender = Sender { variables, ..Sender::new(peer, secure) };
        connection.client.path = path.map(Vec::into_boxed_slice);

        let mut storage = FieldStorage::new();
        let limits = &self.around.options.limits;
        let received = connection.http.receive_head(&bytes, &mut storage, limits);
        let refusal = match received {
            Ok(Received::Complete(head)) => {
                let rest = &input[packet.len..];
                let believed = match self.believe_head(connection, &head) {
                    Ok(believed) => believed,
                    Err(refusal) => {
                        return (input.len(), Some(self.refuse_as(connection, &bytes, refusal)));
                    }
                };
                let (consumed, next) =
                    self.take_request(connection, &head, &believed, &bytes, rest);
                return (packet.len + consumed, next);
            }
            Ok(Received::Incomplete) => Refusal::HeadIncomplete,
            Err(refusal) => refusal,
        };
        (input.len(), Some(self.refuse_as(connection, &bytes, refusal)))
    }
}
