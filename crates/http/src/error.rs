//! The rules that a request can break, one variant each.
//!
//! A refusal is the peer's error, never ours: it is answered with its status, logged at debug, and
//! the connection is closed, because after it nobody knows where the next request would begin.

use std::fmt;

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The bytes end before the head does, though no more are to come.
    HeadIncomplete,
    /// A line of the head ends in LF without CR.
    BareLf,
    /// A CR that is not followed by LF.
    BareCr,
    /// The method is empty or has a byte that no token may have; also what a TLS hello gets.
    MethodInvalid,
    /// The request line is not method, target and version, each one space apart.
    RequestLineMalformed,
    /// The request line is longer than the limit.
    RequestLineTooLong,
    /// A control, a non-ASCII byte or a `#` in the target.
    TargetByte,
    /// The target has none of the four forms, or one that its method may not have.
    TargetForm,
    /// The authority of an absolute or authority target is no host and port.
    TargetAuthority,
    /// What stands for the version is none.
    VersionMalformed,
    /// A well-formed version, but neither 1.0 nor 1.1.
    VersionUnsupported,
    /// A field name is empty or has a byte that no token may have.
    FieldNameInvalid,
    /// A field line without a colon.
    ColonMissing,
    /// White space between a field name and its colon.
    SpaceBeforeColon,
    /// A line that begins with white space (obs-fold).
    LineFolded,
    /// NUL or another control in a field value.
    FieldValueInvalid,
    /// A field line is longer than the limit.
    FieldTooLong,
    /// More field lines than the limit.
    TooManyFields,
    /// The head is longer than the limit.
    HeadTooLong,
    /// No Host field in HTTP/1.1.
    HostMissing,
    /// More than one Host field.
    HostRepeated,
    /// The value of Host is no host and port.
    HostInvalid,
    /// Content-Length is not a plain decimal number that fits 64 bits.
    LengthMalformed,
    /// More than one Content-Length field, be they equal or not.
    LengthRepeated,
    /// Both Content-Length and Transfer-Encoding.
    LengthAndCoding,
    /// Transfer-Encoding in HTTP/1.0.
    CodingInHttp10,
    /// Transfer-Encoding is not a list of codings, or gives chunked a parameter.
    CodingMalformed,
    /// A transfer coding other than chunked.
    CodingUnknown,
    /// chunked applied more than once.
    ChunkedRepeated,
    /// chunked is not the last coding.
    ChunkedNotLast,
    /// An expectation other than 100-continue.
    ExpectationUnknown,
    /// The body is longer than the limit, by its announcement or by count.
    BodyTooLarge,
    /// A chunk size that is not hexadecimal digits.
    ChunkSizeInvalid,
    /// A chunk size of more digits than 64 bits need.
    ChunkSizeTooLong,
    /// A malformed chunk extension.
    ChunkExtensionInvalid,
    /// A chunk extension longer than [`MAX_EXTENSION`](crate::MAX_EXTENSION).
    ChunkExtensionTooLong,
    /// Too much framing for too little content.
    ChunkOverhead,
    /// The content of a chunk is not followed by CRLF.
    ChunkEndMissing,
    /// A malformed field line in the trailers.
    TrailerInvalid,
    /// Trailers beyond the limits of a head.
    TrailersTooLong,
    /// What begins a uwsgi packet, where HTTP is spoken.
    UwsgiOnHttp,
    /// What begins an HTTP message, where the uwsgi protocol is spoken.
    HttpOnUwsgi,
    /// A uwsgi packet that is no request for WSGI.
    ModifierUnknown,
    /// The variables of a uwsgi packet don't fill it exactly.
    PacketMalformed,
    /// More variables in a uwsgi packet than [`MAX_VARIABLES`](crate::uwsgi::MAX_VARIABLES).
    TooManyVariables,
    /// The name of a variable is empty or has a NUL.
    VariableName,
    /// The value of a variable has a NUL.
    VariableValue,
    /// There is no REQUEST_METHOD or no REQUEST_URI.
    VariableMissing,
    /// `Forwarded` breaks its grammar.
    ForwardedMalformed,
    /// What a proxy says of the scheme is none of the words for it.
    ForwardedSchemeUnknown,
    /// Two fields, or two values of one, say different things of the scheme.
    ForwardedSchemesDiffer,
    /// Where `X-Forwarded-For` has to name the client it doesn't.
    ForwardedClientInvalid,
    /// `Forwarded` and `X-Forwarded-For` name different clients.
    ForwardedClientsDiffer,
    /// What a proxy says of the host or the port is none.
    ForwardedHostInvalid,
    /// Two fields, or two values of one, name different hosts or ports.
    ForwardedHostsDiffer,
    /// What a proxy says of the path's prefix is no path.
    ForwardedPrefixInvalid,
    /// Two fields name different prefixes.
    ForwardedPrefixesDiffer,
    /// The path isn't below the prefix.
    ForwardedPrefixElsewhere,
    /// A header of the PROXY protocol where a request has to be.
    ProxyHeaderUnexpected,
}

impl Refusal {
    /// The status to answer with.
    pub fn status(self) -> u16 {
        self.describe().0
    }

    /// The phrase of that status.
    pub fn reason(self) -> &'static str {
        reason_phrase(self.status())
    }

    /// Where the broken rule stands.
    pub fn section(self) -> &'static str {
        self.describe().1
    }

    fn describe(self) -> (u16, &'static str, &'static str) {
        match self {
            Self::HeadIncomplete => (400, "RFC 9112 §8", "head ends before its empty line"),
            Self::BareLf => (400, "RFC 9112 §2.2", "line ends in LF without CR"),
            Self::BareCr => (400, "RFC 9112 §2.2", "CR without LF"),
            Self::MethodInvalid => (400, "RFC 9110 §9.1", "method is not a token"),
            Self::RequestLineMalformed => (400, "RFC 9112 §3", "malformed request line"),
            Self::RequestLineTooLong => (414, "RFC 9112 §3", "request line is too long"),
            Self::TargetByte => (400, "RFC 9112 §3.2", "forbidden byte in the request target"),
            Self::TargetForm => {
                (400, "RFC 9112 §3.2", "request target has no form that its method may have")
            }
            Self::TargetAuthority => {
                (400, "RFC 9112 §3.2.2", "invalid authority in the request target")
            }
            Self::VersionMalformed => (400, "RFC 9112 §2.3", "malformed HTTP version"),
            Self::VersionUnsupported => {
                (505, "RFC 9110 §15.6.6", "HTTP version is neither 1.0 nor 1.1")
            }
            Self::FieldNameInvalid => (400, "RFC 9110 §5.1", "field name is not a token"),
            Self::ColonMissing => (400, "RFC 9112 §5", "field line without a colon"),
            Self::SpaceBeforeColon => (400, "RFC 9112 §5.1", "white space before a colon"),
            Self::LineFolded => (400, "RFC 9112 §5.2", "folded field line"),
            Self::FieldValueInvalid => (400, "RFC 9110 §5.5", "control in a field value"),
            Self::FieldTooLong => (431, "RFC 6585 §5", "field line is too long"),
            Self::TooManyFields => (431, "RFC 6585 §5", "too many fields"),
            Self::HeadTooLong => (431, "RFC 6585 §5", "head is too long"),
            Self::HostMissing => (400, "RFC 9112 §3.2", "no Host field"),
            Self::HostRepeated => (400, "RFC 9112 §3.2", "more than one Host field"),
            Self::HostInvalid => (400, "RFC 9112 §3.2", "invalid Host field"),
            Self::LengthMalformed => (400, "RFC 9110 §8.6", "malformed Content-Length"),
            Self::LengthRepeated => (400, "RFC 9110 §8.6", "more than one Content-Length"),
            Self::LengthAndCoding => {
                (400, "RFC 9112 §6.1", "both Content-Length and Transfer-Encoding")
            }
            Self::CodingInHttp10 => (400, "RFC 9112 §6.1", "Transfer-Encoding in HTTP/1.0"),
            Self::CodingMalformed => (400, "RFC 9112 §6.1", "malformed Transfer-Encoding"),
            Self::CodingUnknown => (501, "RFC 9112 §6.1", "transfer coding other than chunked"),
            Self::ChunkedRepeated => (400, "RFC 9112 §6.1", "chunked more than once"),
            Self::ChunkedNotLast => (400, "RFC 9112 §6.3", "chunked is not the last coding"),
            Self::ExpectationUnknown => {
                (417, "RFC 9110 §10.1.1", "expectation other than 100-continue")
            }
            Self::BodyTooLarge => (413, "RFC 9110 §15.5.14", "body is too large"),
            Self::ChunkSizeInvalid => (400, "RFC 9112 §7.1", "malformed chunk size"),
            Self::ChunkSizeTooLong => (400, "RFC 9112 §7.1", "chunk size of too many digits"),
            Self::ChunkExtensionInvalid => (400, "RFC 9112 §7.1.1", "malformed chunk extension"),
            Self::ChunkExtensionTooLong => (400, "RFC 9112 §7.1.1", "chunk extension is too long"),
            Self::ChunkOverhead => (400, "RFC 9112 §7.1.1", "more chunk framing than content"),
            Self::ChunkEndMissing => (400, "RFC 9112 §7.1", "chunk is not followed by CRLF"),
            Self::TrailerInvalid => (400, "RFC 9112 §7.1.2", "malformed trailer field"),
            Self::TrailersTooLong => (431, "RFC 9112 §7.1.2", "trailers are too long"),
            Self::UwsgiOnHttp => (
                400,
                "RFC 9110 §9.1",
                "this looks like the uwsgi protocol, but HTTP is spoken here: \
                 use proxy_pass in nginx, or listen with uwsgi://",
            ),
            Self::HttpOnUwsgi => (
                400,
                "uwsgi protocol",
                "this looks like HTTP, but the uwsgi protocol is spoken here: \
                 use uwsgi_pass in nginx, or listen without uwsgi://",
            ),
            Self::ModifierUnknown => {
                (400, "uwsgi protocol", "neither modifier1 0 nor 30, or a modifier2")
            }
            Self::PacketMalformed => {
                (400, "uwsgi protocol", "lengths of variables don't add up to the packet's")
            }
            Self::TooManyVariables => (431, "uwsgi protocol", "too many variables"),
            Self::VariableName => {
                (400, "uwsgi protocol", "name of a variable is empty or has a NUL")
            }
            Self::VariableValue => (400, "uwsgi protocol", "NUL in the value of a variable"),
            Self::VariableMissing => (400, "uwsgi protocol", "no REQUEST_METHOD or no REQUEST_URI"),
            Self::ForwardedMalformed => (400, "RFC 7239 §4", "malformed Forwarded field"),
            Self::ForwardedSchemeUnknown => {
                (400, "RFC 7239 §5.4", "a proxy names a scheme that is neither http nor https")
            }
            Self::ForwardedSchemesDiffer => {
                (400, "RFC 7239 §5.4", "proxies don't agree on whether the request is https")
            }
            Self::ForwardedClientInvalid => {
                (400, "RFC 7239 §6", "the client's place in X-Forwarded-For holds no address")
            }
            Self::ForwardedClientsDiffer => {
                (400, "RFC 7239 §5.2", "Forwarded and X-Forwarded-For don't agree on the client")
            }
            Self::ForwardedHostInvalid => {
                (400, "RFC 7239 §5.3", "a proxy names a host or port that is none")
            }
            Self::ForwardedHostsDiffer => {
                (400, "RFC 7239 §5.3", "proxies don't agree on the host or port")
            }
            Self::ForwardedPrefixInvalid => {
                (400, "RFC 3875 §4.1.13", "a proxy names a SCRIPT_NAME that is no path")
            }
            Self::ForwardedPrefixesDiffer => {
                (400, "RFC 3875 §4.1.13", "proxies don't agree on SCRIPT_NAME")
            }
            Self::ForwardedPrefixElsewhere => {
                (400, "RFC 3875 §4.1.13", "the path doesn't begin with the proxy's SCRIPT_NAME")
            }
            Self::ProxyHeaderUnexpected => (
                400,
                "proxy-protocol.txt §2",
                "PROXY header from a peer that may send none: see proxy_protocol and proxy_allow_from",
            ),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.describe().2)
    }
}

impl std::error::Error for Refusal {}

/// The phrase that RFC 9110 §15, RFC 6585 and RFC 4918 give a status that this server itself
/// answers with; empty for others.
pub fn reason_phrase(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        103 => "Early Hints",
        200 => "OK",
        206 => "Partial Content",
        301 => "Moved Permanently",
        304 => "Not Modified",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        507 => "Insufficient Storage",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_of_the_servers_own_has_a_phrase() {
        let statuses = [
            100, 103, 200, 206, 301, 304, 308, 400, 403, 404, 405, 406, 408, 412, 413, 414, 416,
            417, 431, 500, 501, 503, 504, 505, 507,
        ];
        for status in statuses {
            assert!(!reason_phrase(status).is_empty(), "{status}");
        }
    }
}
