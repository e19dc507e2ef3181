//! How requests are refused and connections closed, so that the client gets its last answer.
//!
//! Closing a socket that holds unread bytes resets the connection, and the reset may overtake the
//! response in the client's buffers (RFC 9112 §9.6). So only the sending side is shut at first, and
//! what the client still sends is read and thrown away: the connection lingers.

use std::io;
use std::time::Duration;

use ironhorn_http::{FieldStorage, Refusal, Request as Head, proxy, refusal_response};
use ironhorn_unix::{Monotonic, Peer};

use crate::Options;
use crate::access_log::Entry;
use crate::body::BodyError;
use crate::connection::{Client, Phase};
use crate::runs::Runs;
use crate::serve::{ConnectionOf, Next, Service};
use crate::tls::NotTls;
use crate::wire::HeadContext;

/// How long a client may go on sending after its last response, however busily.
const LINGER_AT_MOST: Duration = Duration::from_secs(30);
/// How a record of a TLS handshake begins (RFC 8446 section 5.1).
const TLS_HANDSHAKE: [u8; 2] = [22, 3];

impl<A: Runs> Service<A> {
    /// What a connection waited for hasn't come in time.
    pub(crate) fn time_out(&mut self, connection: &mut ConnectionOf<A>) -> Next {
        if connection.is_idle() {
            if !connection.client.stream.is_established() {
                log::debug!(peer:? = connection.client.sender.peer; "TLS handshake took too long");
            }
            return self.close_unheard(connection);
        }
        let received = match &mut connection.phase {
            Phase::Responding(_) => return self.lost(connection),
            Phase::Proxy(_) | Phase::Lingering { .. } | Phase::WithApp | Phase::HeldBack { .. } => {
                return Next::Close;
            }
            // Of a packet there is no line to be shown.
            Phase::Head if connection.client.speaks_uwsgi() => Vec::new(),
            Phase::Head => std::mem::take(&mut connection.buffer),
            Phase::Body(upload) => std::mem::take(&mut upload.head),
        };
        let why = "the request took too long";
        log::debug!(peer:? = connection.client.sender.peer, status = 408, why; "request refused");
        self.answer_refusal(connection, &received, 408, why)
    }

    /// A rule of the protocol is broken. `received` is what came of the request, for the log.
    pub(crate) fn refuse_as(
        &mut self,
        connection: &mut ConnectionOf<A>,
        received: &[u8],
        refusal: Refusal,
    ) -> Next {
        let peer = &connection.client.sender.peer;
        if received.starts_with(&TLS_HANDSHAKE) {
            log::debug!(peer:?, status = 400; "TLS on a port for HTTP without it: is https:// missing in bind?");
            // A TLS client takes it for a record of no known version; who looks at the bytes can read it.
            return self.answer_refusal(
                connection,
                received,
                400,
                "this port speaks HTTP without TLS",
            );
        }
        // No method begins with a NUL, and every uwsgi packet of nginx does: a mistake of an
        // operator's, who will look for it in this answer.
        let is_packet = refusal == Refusal::MethodInvalid && received.first() == Some(&0);
        let refusal = match refusal {
            _ if proxy::begins_header(received) => Refusal::ProxyHeaderUnexpected,
            _ if is_packet && !connection.served => Refusal::UwsgiOnHttp,
            refusal => refusal,
        };
        log::debug!(peer:?, status = refusal.status(), why:% = refusal,
            section = refusal.section(); "request refused");
        self.answer_refusal(connection, received, refusal.status(), &refusal.to_string())
    }

    /// The body can't be taken: it breaks a rule, or there is no room for it.
    pub(crate) fn refuse_body(
        &mut self,
        connection: &mut ConnectionOf<A>,
        received: &[u8],
        error: BodyError,
    ) -> Next {
        match error {
            BodyError::Refused(refusal) => self.refuse_as(connection, received, refusal),
            BodyError::Spool(error) => {
                log::error!(error:%, directory:% = std::env::temp_dir().display();
                    "cannot keep a request body; free the disk or set TMPDIR");
                self.answer_refusal(connection, received, 507, "the request body can't be stored")
            }
            BodyError::NoRoom => {
                if let Some(count) = self.out_of_room.another(Monotonic::now()) {
                    let spool_limit = self.around.options.spool_limit.unwrap_or_default();
                    log::warn!(count, spool_limit;
                        "request bodies on their way have all the disk that they may: raise spool_limit");
                }
                self.answer_refusal(connection, received, 507, "the request body can't be stored")
            }
        }
    }

    pub(crate) fn answer_refusal(
        &mut self,
        connection: &mut ConnectionOf<A>,
        received: &[u8],
        status: u16,
        text: &str,
    ) -> Next {
        let HeadContext { date, server } = self.around.head_context();
        let mut answer = Vec::new();
        refusal_response(&mut answer, status, date, server, text);
        let head_bytes = answer.len() - (text.len() + 1); // LF
        let stream = &connection.client.stream;
        let sent = stream.send(&answer);
        let gone = sent.as_ref().map_or(0, |&taken| taken.saturating_sub(stream.held()));
        let body_bytes = gone.saturating_sub(head_bytes) as u64;
        self.log_refusal(connection, received, status, body_bytes);
        // A client that is refused and doesn't even take a few hundred bytes gets no more.
        match sent {
            Ok(_) => self.linger(connection),
            Err(_) => Next::Close,
        }
    }

    fn log_refusal(
        &mut self,
        connection: &ConnectionOf<A>,
        received: &[u8],
        status: u16,
        body_bytes: u64,
    ) {
        let peer = self.believed_peer(&connection.client, received);
        if let Some(access_log) = &mut self.access_log {
            access_log.add(&Entry {
                request: None,
                received,
                peer: &peer,
                variables: &connection.client.sender.variables,
                status,
                response: None,
                body_bytes,
                elapsed: Duration::ZERO,
                environ: &[],
            });
        }
    }

    /// Whom a refused request is from, as far as what has come of it can be understood.
    fn believed_peer(&self, client: &Client, received: &[u8]) -> Peer {
        let Options { limits, trust, .. } = &self.around.options;
        let mut storage = FieldStorage::new();
        let believed = match Head::parse(received, &mut storage, limits) {
            Ok(head) if client.trusted => trust.read(&head, client).ok(),
            _ => None,
        };
        believed.map_or(client.sender.peer, |believed| believed.sender.peer)
    }

    /// Nothing can be received any more.
    pub(crate) fn broken(&mut self, connection: &mut ConnectionOf<A>, error: io::Error) -> Next {
        if error.kind() != io::ErrorKind::InvalidData || connection.is_lingering() {
            return self.lost(connection);
        }
        log::debug!(peer:? = connection.client.sender.peer, error:%; "TLS failed");
        if let Ok(NotTls { received }) = error.downcast() {
            return self.answer_refusal(connection, &received, 400, "this port speaks HTTPS");
        }
        // The client is to see the alert.
        self.lost(connection);
        self.linger(connection)
    }

    /// The last response is with the kernel. `more`: the client has sent what won't be answered, or
    /// may be about to.
    pub(crate) fn close(&mut self, connection: &mut ConnectionOf<A>, more: bool) -> Next {
        // TLS has an end of its own, which the client answers.
        if connection.readable || more || connection.client.stream.is_tls() {
            self.linger(connection)
        } else {
            Next::Close
        }
    }

    fn linger(&mut self, connection: &mut ConnectionOf<A>) -> Next {
        connection.buffer = Vec::new();
        connection.phase = Phase::Lingering { until: Monotonic::now() + LINGER_AT_MOST };
        match connection.client.stream.shutdown_write() {
            Ok(()) => Next::Wait,
            Err(_) => Next::Close,
        }
    }
}
