//! How much of a request is taken before it is refused.
//!
//! Every limit is checked as bytes arrive, so that a peer can make the server hold no more than a
//! limit and one byte, however slowly it sends.

/// The most fields that one head may be allowed to have: what [`FieldStorage`] has room for.
///
/// [`FieldStorage`]: crate::FieldStorage
pub const MAX_FIELDS: usize = 512;

/// The limits of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest request line in bytes, without its CRLF. Beyond it: 414.
    pub request_line: usize,
    /// Most field lines in a head, and again in the trailers of a chunked body. Beyond it: 431.
    /// Values over [`MAX_FIELDS`] mean `MAX_FIELDS`.
    pub fields: usize,
    /// Longest field line in bytes, name and value, without its CRLF. Beyond it: 431.
    pub field: usize,
    /// Longest head in bytes, with its empty line and the empty line that may precede it; also the
    /// most bytes of trailers. Beyond it: 431.
    pub head: usize,
    /// Longest body in bytes, announced or counted. Beyond it: 413. `None`: no limit.
    pub body: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { request_line: 8190, fields: 100, field: 8190, head: 65536, body: None }
    }
}

impl Limits {
    pub(crate) fn field_count(&self) -> usize {
        self.fields.min(MAX_FIELDS)
    }

    pub(crate) fn allows_body(&self, length: u64) -> bool {
        self.body.is_none_or(|most| length <= most)
    }
}
