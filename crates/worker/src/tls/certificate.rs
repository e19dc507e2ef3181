//! Certificates and keys as they are read from PEM files (RFC 7468).

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::Error;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

/// A certificate chain with its key: who a server is to those who ask for one of its names.
#[derive(Clone, Debug)]
pub struct Identity {
    pub(super) key: Arc<CertifiedKey>,
    /// The DNS names of the certificate, in lower case; `*.` may begin one.
    names: Vec<String>,
    valid: [SystemTime; 2],
}

impl Identity {
    /// Reads a chain, the server's own certificate first, and the key to that one.
    ///
    /// Other items in either text are passed over, so one file may hold both.
    pub fn read(chain: &[u8], key: &[u8]) -> Result<Self, IdentityError> {
        let chain = read_certificates(chain).map_err(IdentityError::Certificate)?;
        let first = chain.first().ok_or(IdentityError::NoCertificate)?;
        let certificate = Certificate::from_der(first)
            .map_err(|error| IdentityError::Certificate(error.to_string()))?;
        let validity = &certificate.tbs_certificate.validity;
        let valid = [validity.not_before, validity.not_after];
        let valid = valid.map(|time| UNIX_EPOCH + time.to_unix_duration());
        let names = dns_names(&certificate);
        let key = read_key(key)?;
        let key = CertifiedKey::from_der(chain, key, &default_provider())
            .map_err(IdentityError::refused)?;
        Ok(Self { key: Arc::new(key), names, valid })
    }

    /// The DNS names that the certificate is for, in lower case.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// How long the certificate is still valid at `now`; `None` if it isn't, or not yet.
    pub fn valid_for(&self, now: SystemTime) -> Option<Duration> {
        let [from, until] = self.valid;
        if now < from {
            return None;
        }
        until.duration_since(now).ok()
    }

    /// Whether the certificate is for later than `now`.
    pub fn is_early(&self, now: SystemTime) -> bool {
        now < self.valid[0]
    }
}

/// Why there is no [`Identity`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdentityError {
    /// The text of the chain has none.
    NoCertificate,
    /// A certificate can't be read.
    Certificate(String),
    /// The text of the key has none.
    NoKey,
    /// The key has a passphrase.
    EncryptedKey,
    /// The key can't be read, or is of a kind that isn't used in TLS.
    Key(String),
    /// The key is another certificate's.
    Mismatch,
}

impl IdentityError {
    /// Whether it is in the text of the key, and not in that of the chain.
    pub fn concerns_key(&self) -> bool {
        matches!(self, Self::NoKey | Self::EncryptedKey | Self::Key(_) | Self::Mismatch)
    }

    fn refused(error: Error) -> Self {
        match error {
            Error::InconsistentKeys(_) => Self::Mismatch,
            Error::InvalidCertificate(error) => Self::Certificate(format!("{error:?}")),
            error => Self::Key(error.to_string()),
        }
    }
}

impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCertificate => f.write_str("no certificate in it: PEM is expected"),
            Self::Certificate(why) => write!(f, "certificate not readable: {why}"),
            Self::NoKey => f.write_str("no private key in it: PEM is expected"),
            Self::EncryptedKey => f.write_str(
                "the private key is encrypted: nobody is there to type a passphrase, so store it \
                 without one (openssl pkey -in FILE)",
            ),
            Self::Key(why) => write!(f, "private key not readable: {why}"),
            Self::Mismatch => f.write_str("the private key is not the certificate's"),
        }
    }
}

impl std::error::Error for IdentityError {}

/// Every certificate in a text.
pub(super) fn read_certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let read: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(text).collect();
    read.map_err(|error| error.to_string())
}

fn read_key(text: &[u8]) -> Result<PrivateKeyDer<'static>, IdentityError> {
    let says = |words: &[u8]| text.windows(words.len()).any(|window| window == words);
    match PrivateKeyDer::from_pem_slice(text) {
        // What OpenSSL wrote of old says so in a field (RFC 1421), and else looks like a key.
        Ok(_) if says(b"Proc-Type: 4,ENCRYPTED") => Err(IdentityError::EncryptedKey),
        Ok(key) => Ok(key),
        Err(_) if says(b"ENCRYPTED") => Err(IdentityError::EncryptedKey),
        Err(pem::Error::NoItemsFound) => Err(IdentityError::NoKey),
        Err(error) => Err(IdentityError::Key(error.to_string())),
    }
}

/// The names of RFC 5280 section 4.2.1.6, which are all that RFC 9525 wants looked at.
fn dns_names(certificate: &Certificate) -> Vec<String> {
    let Ok(Some((_, names))) = certificate.tbs_certificate.get::<SubjectAltName>() else {
        return Vec::new();
    };
    let dns = |name: GeneralName| match name {
        GeneralName::DnsName(name) => Some(name.as_str().to_ascii_lowercase()),
        _ => None,
    };
    names.0.into_iter().filter_map(dns).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(names: &[&str]) -> (String, String) {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn a_chain_and_a_key_are_read_from_one_text_or_two() {
        let (chain, key) = made(&["A.example", "*.b.example"]);
        let identity = Identity::read(chain.as_bytes(), key.as_bytes()).unwrap();
        assert_eq!(identity.names(), ["a.example", "*.b.example"]);
        let both = format!("{key}{chain}");
        assert!(Identity::read(both.as_bytes(), both.as_bytes()).is_ok());
        assert!(identity.valid_for(SystemTime::now()).is_some());
        assert!(identity.is_early(UNIX_EPOCH));
        assert_eq!(identity.valid_for(UNIX_EPOCH), None);
    }

    #[test]
    fn what_is_wrong_is_told_apart() {
        let (chain, key) = made(&["a.example"]);
        let (_, other) = made(&["a.example"]);
        let read =
            |chain: &str, key: &str| Identity::read(chain.as_bytes(), key.as_bytes()).unwrap_err();
        assert_eq!(read("", &key), IdentityError::NoCertificate);
        assert_eq!(read(&key, &key), IdentityError::NoCertificate);
        assert_eq!(read(&chain, &chain), IdentityError::NoKey);
        assert_eq!(read(&chain, &other), IdentityError::Mismatch);
        let encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
        assert_eq!(read(&chain, &encrypted), IdentityError::EncryptedKey);
        let old = key.replacen('\n', "\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\n", 1);
        assert!(read(&chain, &old).concerns_key());
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(matches!(read(broken, &key), IdentityError::Certificate(_)));
        let broken = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        assert!(matches!(read(&chain, broken), IdentityError::Key(_)));
    }
}
