//! The fields by which proxies speak of a request.

/// A field that is understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// `Forwarded`
    Forwarded,
    /// `X-Forwarded-For`
    For,
    /// `X-Forwarded-Host`
    Host,
    /// `X-Forwarded-Port`
    Port,
    /// `X-Forwarded-Proto`
    Proto,
    /// `X-Forwarded-Protocol`
    Protocol,
    /// `X-Forwarded-Ssl`
    Ssl,
    /// `X-Forwarded-Prefix`
    Prefix,
    /// `SCRIPT_NAME`, with the underscore, as Gunicorn's users send it.
    ScriptName,
}

const PREFIX: &[u8] = b"x-forwarded-";

impl Name {
    /// Finds a name whatever its case.
    pub fn find(name: &[u8]) -> Option<Self> {
        // The first byte sorts out nearly every other field.
        match name.first()? {
            b'x' | b'X' => Self::find_x(name),
            b'f' | b'F' if name.eq_ignore_ascii_case(b"forwarded") => Some(Self::Forwarded),
            b's' | b'S' if name.eq_ignore_ascii_case(b"script_name") => Some(Self::ScriptName),
            _ => None,
        }
    }

    fn find_x(name: &[u8]) -> Option<Self> {
        let (prefix, rest) = name.split_at_checked(PREFIX.len())?;
        if !prefix.eq_ignore_ascii_case(PREFIX) {
            return None;
        }
        const NAMES: [(&[u8], Name); 7] = [
            (b"for", Name::For),
            (b"proto", Name::Proto),
            (b"host", Name::Host),
            (b"port", Name::Port),
            (b"ssl", Name::Ssl),
            (b"protocol", Name::Protocol),
            (b"prefix", Name::Prefix),
        ];
        NAMES.iter().find(|(name, _)| rest.eq_ignore_ascii_case(name)).map(|&(_, name)| name)
    }
}

/// Whether by a field of this name only a proxy speaks: `Forwarded`, `X-Forwarded-*` and
/// `X-Real-IP`, also with underscores, which a program that is given variables can't tell apart.
pub fn is_forwarding(name: &[u8]) -> bool {
    name.split_at_checked(PREFIX.len()).is_some_and(|(prefix, _)| is_same_key(prefix, PREFIX))
        || name.eq_ignore_ascii_case(b"forwarded")
        || is_same_key(name, b"x-real-ip")
}

/// Whether two names are the same variable to a CGI or WSGI program: case is lost, and hyphen and
/// underscore are one (RFC 3875 §4.1.18).
pub fn is_same_key(a: &[u8], b: &[u8]) -> bool {
    let key = |byte: &u8| if *byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    a.len() == b.len() && a.iter().map(key).eq(b.iter().map(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_any_case() {
        for (text, name) in [
            ("Forwarded", Name::Forwarded),
            ("X-Forwarded-For", Name::For),
            ("x-forwarded-host", Name::Host),
            ("X-FORWARDED-PORT", Name::Port),
            ("X-Forwarded-Proto", Name::Proto),
            ("X-Forwarded-Protocol", Name::Protocol),
            ("X-Forwarded-Ssl", Name::Ssl),
            ("X-Forwarded-Prefix", Name::Prefix),
            ("SCRIPT_NAME", Name::ScriptName),
        ] {
            assert_eq!(Name::find(text.as_bytes()), Some(name), "{text}");
        }
        for text in ["", "x", "X-Forwarded-", "X_Forwarded_For", "Script-Name", "Forwarded-For"] {
            assert_eq!(Name::find(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn what_only_proxies_send() {
        for text in
            ["Forwarded", "X-Forwarded-For", "x_forwarded-Anything", "X-Real-IP", "X_Real_IP"]
        {
            assert!(is_forwarding(text.as_bytes()), "{text}");
        }
        for text in ["", "Host", "X-Request-Id", "X-Forwarded", "Forwarded-For", "Real-IP"] {
            assert!(!is_forwarding(text.as_bytes()), "{text}");
        }
    }
}
