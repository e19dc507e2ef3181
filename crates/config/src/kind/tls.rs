//! What TLS is set up with: files, versions, cipher suites.

use std::path::PathBuf;

use super::Kind;

/// A certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The file of the certificate and those that vouch for it.
    pub certfile: PathBuf,
    /// The file of the key; none if it is in the other one.
    pub keyfile: Option<PathBuf>,
}

/// `CERTFILE` or `CERTFILE:KEYFILE`.
pub(crate) struct Certificate;

impl Kind for Certificate {
    type Value = CertificateFiles;

    fn parse(&self, text: &str) -> Option<CertificateFiles> {
        let (certfile, keyfile) = match text.split_once(':') {
            Some((certfile, keyfile)) => (certfile, Some(keyfile)),
            None => (text, None),
        };
        let is_path = |path: &str| !path.is_empty() && !path.contains(['\0', ':']);
        let allowed = is_path(certfile) && keyfile.is_none_or(is_path);
        allowed.then(|| CertificateFiles {
            certfile: certfile.into(),
            keyfile: keyfile.map(PathBuf::from),
        })
    }

    fn allowed(&self) -> String {
        "CERTFILE or CERTFILE:KEYFILE, the paths of PEM files".to_owned()
    }
}

/// Whether clients are to show a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertificates {
    /// They aren't asked.
    None,
    /// They may.
    Optional,
    /// They must.
    Required,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsVersion {
    /// TLS 1.2
    V1_2,
    /// TLS 1.3
    V1_3,
}

/// A cipher suite, by its number in IANA's registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CipherSuite(pub u16);

/// IANA's name of a suite, or OpenSSL's.
pub(crate) struct Suite;

/// The suites that are spoken: the number, OpenSSL's name, and IANA's if it is another.
const SUITES: [(u16, &str, &str); 9] = [
    (0x1302, "TLS_AES_256_GCM_SHA384", ""),
    (0x1301, "TLS_AES_128_GCM_SHA256", ""),
    (0x1303, "TLS_CHACHA20_POLY1305_SHA256", ""),
    (0xc02c, "ECDHE-ECDSA-AES256-GCM-SHA384", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"),
    (0xc02b, "ECDHE-ECDSA-AES128-GCM-SHA256", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"),
    (0xcca9, "ECDHE-ECDSA-CHACHA20-POLY1305", "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"),
    (0xc030, "ECDHE-RSA-AES256-GCM-SHA384", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"),
    (0xc02f, "ECDHE-RSA-AES128-GCM-SHA256", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"),
    (0xcca8, "ECDHE-RSA-CHACHA20-POLY1305", "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"),
];

impl Kind for Suite {
    type Value = CipherSuite;

    fn parse(&self, text: &str) -> Option<CipherSuite> {
        let named = |&&(_, openssl, iana): &&(u16, &str, &str)| {
            !text.is_empty()
                && (openssl.eq_ignore_ascii_case(text) || iana.eq_ignore_ascii_case(text))
        };
        SUITES.iter().find(named).map(|&(number, ..)| CipherSuite(number))
    }

    fn allowed(&self) -> String {
        let names: Vec<&str> = SUITES.iter().map(|&(_, openssl, _)| openssl).collect();
        format!("names of suites, and no patterns: {}", names.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_may_be_in_a_file_of_its_own() {
        let files = |certfile: &str, keyfile: Option<&str>| {
            Some(CertificateFiles { certfile: certfile.into(), keyfile: keyfile.map(Into::into) })
        };
        assert_eq!(Certificate.parse("/a b.pem"), files("/a b.pem", None));
        assert_eq!(Certificate.parse("a.crt:a.key"), files("a.crt", Some("a.key")));
        for text in ["", ":", "a:", ":b", "a:b:c", "a\0"] {
            assert_eq!(Certificate.parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_suite_has_two_names_and_no_pattern() {
        assert_eq!(Suite.parse("ECDHE-RSA-AES128-GCM-SHA256"), Some(CipherSuite(0xc02f)));
        let iana = "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256";
        assert_eq!(Suite.parse(iana), Some(CipherSuite(0xc02f)));
        assert_eq!(Suite.parse("TLS_AES_128_GCM_SHA256"), Some(CipherSuite(0x1301)));
        for text in ["", "HIGH", "!aNULL", "ECDHE+AESGCM", "AES128-SHA", "DEFAULT@SECLEVEL=2"] {
            assert_eq!(Suite.parse(text), None, "{text}");
        }
    }
}
