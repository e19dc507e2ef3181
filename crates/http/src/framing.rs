//! The length of a request body (RFC 9112 §6), and every way of smuggling that is refused.
//!
//! Two parties that disagree on where a request ends can be made to disagree on what the next one
//! is. So there is exactly one way to say each thing here, and whatever another server might read
//! otherwise is refused: one Content-Length of plain digits, or one `chunked`, never both.

use crate::error::Refusal;
use crate::headers::{decimal, is_token, list_elements, trim};
use crate::limits::Limits;
use crate::request::Version;

/// How long a request body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength {
    /// Neither Content-Length nor Transfer-Encoding: no body.
    None,
    /// Content-Length.
    Length(u64),
    /// Transfer-Encoding: chunked.
    Chunked,
}

impl BodyLength {
    /// Whether no byte of a body is to come.
    pub fn is_empty(self) -> bool {
        matches!(self, Self::None | Self::Length(0))
    }
}

/// Gathers the framing fields of one head.
#[derive(Default)]
pub(crate) struct FramingFields {
    length: Option<u64>,
    chunked: bool,
    unknown_coding: bool,
    coded: bool,
}

impl FramingFields {
    /// Takes a Content-Length field. A second one is refused even if it is equal, as is a list:
    /// RFC 9110 §8.6 leaves that choice, and refusing is the safe one.
    pub(crate) fn content_length(&mut self, value: &[u8]) -> Result<(), Refusal> {
        let length = decimal(value).ok_or(Refusal::LengthMalformed)?;
        match self.length.replace(length) {
            None => Ok(()),
            Some(_) => Err(Refusal::LengthRepeated),
        }
    }

    /// Takes a Transfer-Encoding field; several make one list (RFC 9110 §5.3).
    pub(crate) fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), Refusal> {
        self.coded = true;
        for coding in list_elements(value) {
            let (name, parameters) =
                coding.split_at(coding.iter().position(|&b| b == b';').unwrap_or(coding.len()));
            let name = trim(name);
            if !is_token(name) {
                return Err(Refusal::CodingMalformed);
            }
            if name.eq_ignore_ascii_case(b"chunked") {
                if !parameters.is_empty() {
                    return Err(Refusal::CodingMalformed);
                }
                if self.chunked {
                    return Err(Refusal::ChunkedRepeated);
                }
                self.chunked = true;
            } else if self.chunked {
                return Err(Refusal::ChunkedNotLast);
            } else {
                self.unknown_coding = true;
            }
        }
        Ok(())
    }

    /// The body's length, all fields seen.
    pub(crate) fn body_length(
        &self,
        version: Version,
        limits: &Limits,
    ) -> Result<BodyLength, Refusal> {
        if self.coded {
            return match version {
                Version::Http10 => Err(Refusal::CodingInHttp10),
                Version::Http11 if self.length.is_some() => Err(Refusal::LengthAndCoding),
                Version::Http11 if self.unknown_coding => Err(Refusal::CodingUnknown),
                Version::Http11 => Ok(BodyLength::Chunked),
            };
        }
        match self.length {
            None => Ok(BodyLength::None),
            Some(length) if !limits.allows_body(length) => Err(Refusal::BodyTooLarge),
            Some(length) => Ok(BodyLength::Length(length)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lengths: &[&str], codings: &[&str], version: Version) -> Result<BodyLength, Refusal> {
        let mut fields = FramingFields::default();
        for value in lengths {
            fields.content_length(value.as_bytes())?;
        }
        for value in codings {
            fields.transfer_encoding(value.as_bytes())?;
        }
        fields.body_length(version, &Limits::default())
    }

    #[test]
    fn lengths() {
        let read = |lengths: &[&str]| read(lengths, &[], Version::Http11);
        assert_eq!(read(&[]), Ok(BodyLength::None));
        assert_eq!(read(&["0"]), Ok(BodyLength::Length(0)));
        assert_eq!(read(&["007"]), Ok(BodyLength::Length(7)));
        assert_eq!(read(&["18446744073709551615"]), Ok(BodyLength::Length(u64::MAX)));
        for bad in
            ["", "+5", "-5", "5 5", "1, 1", "1,", "0x5", "5.0", "1e3", "18446744073709551616"]
        {
            assert_eq!(read(&[bad]), Err(Refusal::LengthMalformed), "{bad}");
        }
        assert_eq!(read(&["5", "5"]), Err(Refusal::LengthRepeated));
        assert_eq!(read(&["5", "6"]), Err(Refusal::LengthRepeated));
    }

    #[test]
    fn codings() {
        let read = |codings: &[&str]| read(&[], codings, Version::Http11);
        assert_eq!(read(&["chunked"]), Ok(BodyLength::Chunked));
        assert_eq!(read(&["CHUNKED"]), Ok(BodyLength::Chunked));
        for unknown in ["gzip", "gzip, chunked", "identity", "xchunked", "gzip;q=1, chunked"] {
            assert_eq!(read(&[unknown]), Err(Refusal::CodingUnknown), "{unknown}");
        }
        assert_eq!(read(&["gzip", "chunked"]), Err(Refusal::CodingUnknown));
        for bad in ["", ",", "chunked,", ", chunked", "chunked;a", "\"chunked\"", "chun ked", "a/b"]
        {
            assert_eq!(read(&[bad]), Err(Refusal::CodingMalformed), "{bad}");
        }
        assert_eq!(read(&["chunked, chunked"]), Err(Refusal::ChunkedRepeated));
        assert_eq!(read(&["chunked", "chunked"]), Err(Refusal::ChunkedRepeated));
        assert_eq!(read(&["chunked, gzip"]), Err(Refusal::ChunkedNotLast));
        assert_eq!(read(&["chunked", "identity"]), Err(Refusal::ChunkedNotLast));
    }

    #[test]
    fn never_both_and_never_in_http_1_0() {
        let both = read(&["5"], &["chunked"], Version::Http11);
        assert_eq!(both, Err(Refusal::LengthAndCoding));
        assert_eq!(read(&["5"], &["gzip"], Version::Http11), Err(Refusal::LengthAndCoding));
        assert_eq!(read(&[], &["chunked"], Version::Http10), Err(Refusal::CodingInHttp10));
    }
}
