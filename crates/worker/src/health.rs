//! The health check: the loop says whether the worker is one to send requests to.
//!
//! The app isn't asked, so the answer says that requests are taken, and no more; and a check isn't a
//! request of the app's: it isn't counted, and its time has no limit. A worker that retires is
//! ready for all that anybody can tell from outside: others have taken its place. It is the server
//! that a load balancer should learn of, and before that takes no more connections.

use ironhorn_http::Request as Head;
use ironhorn_unix::Monotonic;

use crate::runs::Runs;
use crate::serve::{ConnectionOf, Next, Service};
use crate::trust::Believed;

impl<A: Runs> Service<A> {
    /// Whether a request is the loop's to answer.
    pub(crate) fn is_health_check(&self, head: &Head<'_, '_>) -> bool {
        let Some(path) = &self.around.options.health_path else { return false };
        head.path() == path.as_bytes() && matches!(head.method, "GET" | "HEAD")
    }

    /// Answers it. `more`: bytes of another request have arrived.
    pub(crate) fn check_health(
        &mut self,
        connection: &mut ConnectionOf<A>,
        head: &Head<'_, '_>,
        believed: &Believed<'_>,
        bytes: &[u8],
        more: bool,
    ) -> Option<Next> {
        let (status, body) = if self.is_stopping() {
            (&b"503 Service Unavailable"[..], &b"stopping\n"[..])
        } else {
            (&b"200 OK"[..], &b"ready\n"[..])
        };
        let client = &connection.client;
        let now = Monotonic::now();
        let mut response = self.response_to(head, now, believed.sender.peer, more);
        let progress = response.answer(status, body, client, &self.around);
        let served = match self.suspends(progress) {
            Some(next) => Self::suspended(bytes, response, next),
            None => self.conclude(client, head, &mut response, progress),
        };
        self.settle(connection, served, more)
    }

    /// Whether the server stops or is about to.
    fn is_stopping(&self) -> bool {
        !self.retiring && (self.closing || self.around.slot.is_asked_to_leave())
    }
}
