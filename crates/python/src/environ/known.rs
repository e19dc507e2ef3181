//! The field names that clients and proxies send, known in advance so that their environ keys are
//! made once a worker: interned, hashed, and the very object that an app's `environ["HTTP_HOST"]`
//! is compared with first.

/// A field's place in [`NAMES`].
pub(super) type Known = usize;

pub(super) const CONTENT_LENGTH: Known = position("content-length");
pub(super) const COOKIE: Known = position("cookie");
pub(super) const HOST: Known = position("host");
pub(super) const PROXY: Known = position("proxy");
pub(super) const TRANSFER_ENCODING: Known = position("transfer-encoding");

/// Finds a name whatever its case.
pub(super) fn find(name: &[u8]) -> Option<Known> {
    let &(start, end) = BY_LENGTH.get(name.len())?;
    (start..end).find(|&known| NAMES[known].as_bytes().eq_ignore_ascii_case(name))
}

/// Whether the value is what a client proves itself by, or an address that may have that in it.
pub(super) fn is_secret(known: Known) -> bool {
    const SECRETS: [Known; 7] = [
        position("authorization"),
        position("proxy-authorization"),
        COOKIE,
        position("referer"),
        position("x-api-key"),
        position("x-csrftoken"),
        position("x-csrf-token"),
    ];
    SECRETS.contains(&known)
}

/// The environ key of a field (PEP 3333, "environ Variables"; RFC 3875 §4.1.18).
pub(super) fn key(name: &[u8]) -> String {
    let upper = name.iter().map(|&byte| match byte {
        b'-' => '_',
        other => char::from(other.to_ascii_uppercase()),
    });
    match name {
        b"content-length" | b"content-type" => upper.collect(),
        _ => "HTTP_".chars().chain(upper).collect(),
    }
}

/// As on the wire but in lower case, ordered by length. One more than 128 would need a wider
/// bit set in the loop over a request's fields.
pub(super) const NAMES: [&str; 84] = [
    "te",
    "dnt",
    "via",
    "date",
    "from",
    "host",
    "proxy",
    "range",
    "accept",
    "cf-ray",
    "cookie",
    "expect",
    "origin",
    "pragma",
    "prefer",
    "baggage",
    "referer",
    "sec-gpc",
    "trailer",
    "upgrade",
    "cdn-loop",
    "if-match",
    "if-range",
    "priority",
    "x-scheme",
    "forwarded",
    "save-data",
    "sec-ch-ua",
    "x-api-key",
    "x-real-ip",
    "cf-visitor",
    "connection",
    "keep-alive",
    "tracestate",
    "user-agent",
    "traceparent",
    "x-csrftoken",
    "cf-ipcountry",
    "content-type",
    "max-forwards",
    "x-csrf-token",
    "x-request-id",
    "authorization",
    "cache-control",
    "if-none-match",
    "last-event-id",
    "accept-charset",
    "content-length",
    "sec-fetch-dest",
    "sec-fetch-mode",
    "sec-fetch-site",
    "sec-fetch-user",
    "true-client-ip",
    "accept-encoding",
    "accept-language",
    "idempotency-key",
    "x-amzn-trace-id",
    "x-forwarded-for",
    "x-forwarded-ssl",
    "cf-connecting-ip",
    "content-encoding",
    "content-language",
    "content-location",
    "sec-ch-ua-mobile",
    "x-correlation-id",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-requested-with",
    "if-modified-since",
    "sec-websocket-key",
    "transfer-encoding",
    "x-forwarded-proto",
    "sec-ch-ua-platform",
    "x-forwarded-prefix",
    "x-forwarded-scheme",
    "x-forwarded-server",
    "content-disposition",
    "if-unmodified-since",
    "proxy-authorization",
    "x-cloud-trace-context",
    "x-http-method-override",
    "upgrade-insecure-requests",
    "access-control-request-method",
    "access-control-request-headers",
];

const LONGEST: usize = NAMES[NAMES.len() - 1].len();

/// Where in [`NAMES`] those of each length start and end.
const BY_LENGTH: [(Known, Known); LONGEST + 1] = {
    let mut by_length = [(0, 0); LONGEST + 1];
    let mut known = 0;
    while known < NAMES.len() {
        let length = NAMES[known].len();
        assert!(known == 0 || NAMES[known - 1].len() <= length, "NAMES is ordered by length");
        if by_length[length].1 == 0 {
            by_length[length].0 = known;
        }
        known += 1;
        by_length[length].1 = known;
    }
    by_length
};

const _: () = assert!(NAMES.len() <= 128);

const fn position(name: &str) -> Known {
    let mut known = 0;
    while !is_same(NAMES[known].as_bytes(), name.as_bytes()) {
        known += 1;
    }
    known
}

const fn is_same(a: &[u8], b: &[u8]) -> bool {
    let mut at = 0;
    while at < a.len() && at < b.len() && a[at] == b[at] {
        at += 1;
    }
    at == a.len() && at == b.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_in_any_case() {
        for (known, name) in NAMES.iter().enumerate() {
            assert_eq!(find(name.as_bytes()), Some(known), "{name}");
            assert_eq!(find(name.to_uppercase().as_bytes()), Some(known), "{name}");
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || b"-".contains(&byte)));
        }
        assert_eq!(NAMES[HOST], "host");
        assert_eq!(NAMES[COOKIE], "cookie");
    }

    #[test]
    fn others_are_not_found() {
        for name in ["", "x", "hosts", "user_agent", "x-unheard-of", &"x".repeat(100)] {
            assert_eq!(find(name.as_bytes()), None, "{name}");
        }
    }

    #[test]
    fn keys() {
        assert_eq!(key(b"user-agent"), "HTTP_USER_AGENT");
        assert_eq!(key(b"X-Real-IP"), "HTTP_X_REAL_IP");
        assert_eq!(key(b"content-length"), "CONTENT_LENGTH");
        assert_eq!(key(b"content-type"), "CONTENT_TYPE");
        assert_eq!(key(b"content-encoding"), "HTTP_CONTENT_ENCODING");
        // Not the field that frames the body, so not its key either.
        assert_eq!(key(b"content_length"), "HTTP_CONTENT_LENGTH");
    }
}
