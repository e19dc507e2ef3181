//! What the loop answers by itself, without the app: health checks and static files.

use ironhorn_http::Request as Head;
use ironhorn_unix::Monotonic;

use crate::connection::Client;
use crate::runs::Runs;
use crate::serve::{ConnectionOf, Next, Service};
use crate::static_files::StaticAnswer;
use crate::trust::Believed;

/// What is to be answered.
pub(crate) enum Own {
    Health,
    File(StaticAnswer),
}

/// What a client sends behind the head of such a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Behind {
    /// Nothing so far.
    Nothing,
    /// Other requests.
    Requests,
    /// A body that nobody wants, or some of it, so that no request can follow.
    Body,
}

impl Behind {
    /// `more`: bytes of another request have arrived.
    pub(crate) fn whole_request(more: bool) -> Self {
        if more { Self::Requests } else { Self::Nothing }
    }

    /// Whether the client has sent more, or may be about to.
    pub(crate) fn is_more(self) -> bool {
        self != Self::Nothing
    }
}

impl<A: Runs> Service<A> {
    /// What the loop has to answer to a request; `None`: that is for the app.
    pub(crate) fn find_own(&self, client: &Client, head: &Head<'_, '_>) -> Option<Own> {
        if self.is_health_check(client, head) {
            return Some(Own::Health);
        }
        self.find_static(client, head).map(Own::File)
    }

    /// Answers it.
    pub(crate) fn answer_own(
        &mut self,
        connection: &mut ConnectionOf<A>,
        head: &Head<'_, '_>,
        believed: &Believed<'_>,
        bytes: &[u8],
        own: Own,
        behind: Behind,
    ) -> Option<Next> {
        let client = &connection.client;
        let (now, peer) = (Monotonic::now(), believed.sender.peer);
        let mut response = self.response_to(head, now, peer, behind.is_more());
        response.wire.persistent &= behind != Behind::Body;
        let progress = match own {
            Own::Health => self.check_health(&mut response, client),
            Own::File(found) => self.serve_static(&mut response, client, head, found),
        };
        let served = match self.suspends(progress) {
            Some(next) => Self::suspended(bytes, response, next),
            None => self.conclude(client, head, &mut response, progress),
        };
        self.settle(connection, served, behind.is_more())
    }
}
