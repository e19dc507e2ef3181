//! How requests are refused and connections closed, so that the client gets its last answer.
//!
//! Closing a socket that holds unread bytes resets the connection, and the reset may overtake the
//! response in the client's buffers (RFC 9112 §9.6). So only the sending side is shut at first, and
//! what the client still sends is read and thrown away: the connection lingers.

use std::time::Duration;

use ironhorn_http::{Refusal, refusal_response};
use ironhorn_unix::Monotonic;

use crate::access_log::Entry;
use crate::body::BodyError;
use crate::connection::Phase;
use crate::runs::Runs;
use crate::serve::{ConnectionOf, Next, Service};
use crate::wire::HeadContext;

/// How long a client may go on sending after its last response, however busily.
const LINGER_AT_MOST: Duration = Duration::from_secs(30);

impl<A: Runs> Service<A> {
    /// What a connection waited for hasn't come in time.
    pub(crate) fn time_out(&mut self, connection: &mut ConnectionOf<A>) -> Next {
        if connection.is_idle() {
            return Next::Close;
        }
        let received = match &mut connection.phase {
            Phase::Responding(_) => return self.lost(connection),
            Phase::Lingering { .. } | Phase::WithApp | Phase::HeldBack { .. } => {
                return Next::Close;
            }
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
        log::debug!(peer:? = connection.client.sender.peer, status = refusal.status(), why:% = refusal,
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
        }
    }

    fn answer_refusal(
        &mut self,
        connection: &mut ConnectionOf<A>,
        received: &[u8],
        status: u16,
        text: &str,
    ) -> Next {
        let client = &connection.client;
        let HeadContext { date, server } = self.around.head_context();
        let mut answer = Vec::new();
        refusal_response(&mut answer, status, date, server, text);
        if let Some(access_log) = &mut self.access_log {
            access_log.add(&Entry {
                request: None,
                received,
                peer: &client.sender.peer,
                status,
                response: None,
                body_bytes: text.len() as u64 + 1, // LF
                elapsed: Duration::ZERO,
                environ: &[],
            });
        }
        // A client that is refused and doesn't even take a few hundred bytes gets no more.
        match client.stream.send(&answer) {
            Ok(_) => self.linger(connection),
            Err(_) => Next::Close,
        }
    }

    /// The last response is with the kernel. `more`: the client has sent what won't be answered, or
    /// may be about to.
    pub(crate) fn close(&mut self, connection: &mut ConnectionOf<A>, more: bool) -> Next {
        if connection.readable || more { self.linger(connection) } else { Next::Close }
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
