//! What is known of a connection once its handshake is done.

use rustls::pki_types::CertificateDer;
use rustls::{CipherSuite, ProtocolVersion, ServerConnection};
use x509_cert::Certificate;
use x509_cert::der::Decode;

/// What a handshake has agreed on, in OpenSSL's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFacts {
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// As in `openssl ciphers`.
    pub cipher: &'static str,
    /// The name that the client has asked for.
    pub server_name: Option<String>,
    /// The client's own certificate, which was verified.
    pub client: Option<ClientCertificate>,
}

/// A certificate that a client has shown, and that its key is in the client's hands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// Whose it is (RFC 4514).
    pub subject: String,
    /// The certificate itself (RFC 7468).
    pub pem: String,
}

impl TlsFacts {
    /// Those of a connection whose handshake is done.
    pub(super) fn of(connection: &ServerConnection) -> Self {
        let chain = connection.peer_certificates();
        Self {
            version: match connection.protocol_version() {
                Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
                _ => "TLSv1.3",
            },
            cipher: connection
                .negotiated_cipher_suite()
                .map_or("", |suite| cipher_name(suite.suite())),
            server_name: connection.server_name().map(str::to_owned),
            client: chain.and_then(<[_]>::first).map(ClientCertificate::of),
        }
    }
}

impl ClientCertificate {
    fn of(der: &CertificateDer<'_>) -> Self {
        // rustls has verified it. If this reader is stricter, nobody is told a name.
        let subject = Certificate::from_der(der)
            .map(|certificate| certificate.tbs_certificate.subject.to_string())
            .unwrap_or_default();
        Self { subject, pem: pem(der) }
    }
}

fn cipher_name(suite: CipherSuite) -> &'static str {
    use CipherSuite as Suite;
    match suite {
        Suite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        Suite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        Suite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        Suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 => "ECDHE-ECDSA-AES256-GCM-SHA384",
        Suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 => "ECDHE-ECDSA-AES128-GCM-SHA256",
        Suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 => "ECDHE-ECDSA-CHACHA20-POLY1305",
        Suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => "ECDHE-RSA-AES256-GCM-SHA384",
        Suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => "ECDHE-RSA-AES128-GCM-SHA256",
        Suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => "ECDHE-RSA-CHACHA20-POLY1305",
        other => other.as_str().unwrap_or(""),
    }
}

/// RFC 7468 section 3: 64 characters a line.
fn pem(der: &[u8]) -> String {
    const LINE: usize = 48;
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in der.chunks(LINE) {
        push_base64(&mut text, line);
        text.push('\n');
    }
    text.push_str("-----END CERTIFICATE-----\n");
    text
}

/// RFC 4648 section 4.
fn push_base64(text: &mut String, bytes: &[u8]) {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for group in bytes.chunks(3) {
        let of = |index: usize| u32::from(group.get(index).copied().unwrap_or(0));
        let bits = of(0) << 16 | of(1) << 8 | of(2);
        for place in 0..4 {
            text.push(if place <= group.len() {
                char::from(ALPHABET[(bits >> (18 - 6 * place) & 0x3f) as usize])
            } else {
                '='
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use rustls::crypto::ring::ALL_CIPHER_SUITES;
    use rustls::pki_types::pem::PemObject;

    use super::*;

    #[test]
    fn base64() {
        for (bytes, expected) in [
            (&b""[..], ""),
            (b"f", "Zg=="),
            (b"fo", "Zm8="),
            (b"foo", "Zm9v"),
            (b"foobar", "Zm9vYmFy"),
            (b"\xff\xff\xfe", "///+"),
        ] {
            let mut text = String::new();
            push_base64(&mut text, bytes);
            assert_eq!(text, expected);
        }
    }

    #[test]
    fn a_certificate_is_written_so_that_it_can_be_read() {
        let made = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
        let written = ClientCertificate::of(made.cert.der());
        assert_eq!(written.subject, "CN=rcgen self signed cert");
        let read = CertificateDer::from_pem_slice(written.pem.as_bytes()).unwrap();
        assert_eq!(read, *made.cert.der());
        assert!(written.pem.lines().all(|line| line.len() <= 64));
        assert_eq!(ClientCertificate::of(&CertificateDer::from(vec![1])).subject, "");
    }

    #[test]
    fn every_suite_has_a_name() {
        for suite in ALL_CIPHER_SUITES {
            let name = cipher_name(suite.suite());
            assert!(!name.is_empty() && !name.contains("WITH") && !name.starts_with("TLS13"));
        }
    }
}
