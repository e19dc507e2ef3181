//! The grammar of chunk extensions (RFC 9112 §7.1.1), byte by byte.
//!
//! Extensions mean nothing here and are dropped, but a malformed one is refused: parties that read
//! it differently disagree on where the chunk begins.

use crate::headers::{is_field_value_byte, is_token_byte};

/// Where in `*( BWS ";" BWS name [ BWS "=" BWS ( token / quoted-string ) ] )` the next byte falls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extension {
    /// After white space that only a semicolon may end.
    Semicolon,
    NameStart,
    Name,
    /// After white space that follows a name.
    NameEnd,
    ValueStart,
    Value,
    Quoted,
    /// After a backslash in quotes.
    Escaped,
    QuoteEnd,
}

/// What a byte does to an extension.
pub(crate) enum Step {
    Stay(Extension),
    /// CR: the extension is over.
    End,
    Malformed,
}

impl Extension {
    /// The first byte after the digits of a size.
    pub(crate) fn start(byte: u8) -> Step {
        match byte {
            b'\r' => Step::End,
            b';' => Step::Stay(Self::NameStart),
            b' ' | b'\t' => Step::Stay(Self::Semicolon),
            _ => Step::Malformed,
        }
    }

    pub(crate) fn step(self, byte: u8) -> Step {
        let space = matches!(byte, b' ' | b'\t');
        match (self, byte) {
            (Self::Quoted, b'"') => Step::Stay(Self::QuoteEnd),
            (Self::Quoted, b'\\') => Step::Stay(Self::Escaped),
            (Self::Quoted | Self::Escaped, _) if is_field_value_byte(byte) => {
                Step::Stay(Self::Quoted)
            }
            (Self::Semicolon | Self::NameStart | Self::NameEnd | Self::ValueStart, _) if space => {
                Step::Stay(self)
            }
            (Self::Name, _) if space => Step::Stay(Self::NameEnd),
            (Self::Value | Self::QuoteEnd, _) if space => Step::Stay(Self::Semicolon),
            (Self::NameStart | Self::Name, _) if is_token_byte(byte) => Step::Stay(Self::Name),
            (Self::ValueStart, b'"') => Step::Stay(Self::Quoted),
            (Self::ValueStart | Self::Value, _) if is_token_byte(byte) => Step::Stay(Self::Value),
            (Self::Name | Self::NameEnd, b'=') => Step::Stay(Self::ValueStart),
            (Self::Semicolon | Self::Name | Self::NameEnd | Self::Value | Self::QuoteEnd, b';') => {
                Step::Stay(Self::NameStart)
            }
            (Self::Name | Self::Value | Self::QuoteEnd, b'\r') => Step::End,
            _ => Step::Malformed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the bytes between a size and CRLF are good.
    fn accepts(text: &str) -> bool {
        let mut bytes = text.bytes().chain([b'\r']);
        let mut step = bytes.next().map_or(Step::Malformed, Extension::start);
        for byte in bytes {
            step = match step {
                Step::Stay(state) => state.step(byte),
                Step::End | Step::Malformed => return false,
            };
        }
        matches!(step, Step::End)
    }

    #[test]
    fn grammar() {
        for good in [
            "",
            ";a",
            ";a=b",
            " ; a = b ;c",
            ";a=\"b\"",
            ";a=\"\"",
            ";a=\"x;y\\\"z\" ;b",
            ";a;b;c=1",
            ";a ;b",
        ] {
            assert!(accepts(good), "{good:?}");
        }
        for bad in [
            " ",
            ";",
            "; ",
            ";=b",
            ";a=",
            ";a= ",
            ";a b",
            ";a=b c",
            ";a=\"b",
            ";a=\"b\"c",
            "a",
            ";;",
            ";a ",
            ";a=b ",
            ";a=\"\\",
            ";a\0",
            ";a=\"\n\"",
            ";a=b=c",
            "\u{b}",
        ] {
            assert!(!accepts(bad), "{bad:?}");
        }
    }
}
