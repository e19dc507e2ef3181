//! The health check: the loop says whether the worker is one to send requests to.
//!
//! The app isn't asked, so the answer says that requests are taken, and no more; and a check isn't a
//! request of the app's: it isn't counted, and its time has no limit. A worker that retires is
//! ready for all that anybody can tell from outside: others have taken its place. It is the server
//! that a load balancer should learn of, and before that takes no more connections.

use ironhorn_http::Request as Head;

use crate::connection::Client;
use crate::path::Path;
use crate::respond::ResponseOf;
use crate::response::Progress;
use crate::runs::Runs;
use crate::serve::Service;

impl<A: Runs> Service<A> {
    /// Whether a request is the loop's to answer.
    pub(crate) fn is_health_check(&self, client: &Client, head: &Head<'_, '_>) -> bool {
        let Some(path) = &self.around.options.health_path else { return false };
        Path::of(client, head).is(path.as_bytes()) && matches!(head.method, "GET" | "HEAD")
    }

    /// Answers it.
    pub(crate) fn check_health(&self, response: &mut ResponseOf<A>, client: &Client) -> Progress {
        let (status, body) = if self.is_stopping() {
            (&b"503 Service Unavailable"[..], &b"stopping\n"[..])
        } else {
            (&b"200 OK"[..], &b"ready\n"[..])
        };
        response.answer(status, body, client, &self.around)
    }

    /// Whether the server stops or is about to.
    fn is_stopping(&self) -> bool {
        !self.retiring && (self.closing || self.around.slot.is_asked_to_leave())
    }
}
