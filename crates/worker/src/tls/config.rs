//! What the connections of a server have in common.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::default_provider;
use rustls::server::{
    ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};

use super::certificate::{Identity, read_certificates};
use super::ticket::TicketKeys;

/// Protocols that a client may choose from (RFC 7301), all of them HTTP/1.
const ALPN: [&[u8]; 2] = [b"http/1.1", b"http/1.0"];

/// How TLS is spoken.
#[derive(Debug)]
pub struct TlsOptions<'a> {
    /// The first is for whoever asks for a name that none is for, or for no name.
    pub identities: &'a [Identity],
    /// What is asked of clients.
    pub clients: ClientCertificates<'a>,
    /// The oldest version that is spoken.
    pub oldest: TlsVersion,
    /// Cipher suites by their numbers in IANA's registry. Of a version of which none is named, all
    /// are used.
    pub suites: &'a [u16],
    /// The keys to session tickets.
    pub tickets: TicketKeys,
}

/// Whether clients are to show a certificate. One that isn't signed as it should be ends the
/// handshake in either case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertificates<'a> {
    /// They aren't asked for one.
    None,
    /// They may; these authorities sign it (PEM).
    Optional(&'a [u8]),
    /// They must.
    Required(&'a [u8]),
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsVersion {
    /// RFC 5246
    V1_2,
    /// RFC 8446
    V1_3,
}

/// TLS as a server speaks it.
#[derive(Clone)]
pub struct Tls(pub(super) Arc<ServerConfig>);

impl Tls {
    /// Makes what connections need once for all of them.
    pub fn new(options: &TlsOptions<'_>) -> Result<Self, TlsError> {
        let versions: &[&SupportedProtocolVersion] = match options.oldest {
            TlsVersion::V1_2 => &[&TLS12, &TLS13],
            TlsVersion::V1_3 => &[&TLS13],
        };
        let provider = Arc::new(provider(options.suites));
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .map_err(|error| TlsError::Refused(error.to_string()))?;
        let builder = match options.clients {
            ClientCertificates::None => builder.with_no_client_auth(),
            ClientCertificates::Optional(roots) | ClientCertificates::Required(roots) => {
                let roots = Arc::new(authorities(roots)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
                let verifier = match options.clients {
                    ClientCertificates::Optional(_) => verifier.allow_unauthenticated(),
                    _ => verifier,
                };
                let verifier = verifier.build();
                builder.with_client_cert_verifier(
                    verifier.map_err(|error| TlsError::Authorities(error.to_string()))?,
                )
            }
        };
        let mut config = builder.with_cert_resolver(Arc::new(Names::new(options.identities)?));
        config.alpn_protocols = ALPN.iter().map(|name| name.to_vec()).collect();
        config.ticketer = Arc::new(options.tickets.clone());
        // A worker's memory of sessions would be no other's.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(Self(Arc::new(config)))
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

/// Why there is no [`Tls`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsError {
    /// There is nobody to be.
    NoIdentity,
    /// The text of the authorities can't be used.
    Authorities(String),
    /// These options don't go together.
    Refused(String),
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoIdentity => f.write_str("no certificate is given"),
            Self::Authorities(why) => write!(f, "authorities not readable: {why}"),
            Self::Refused(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for TlsError {}

fn provider(suites: &[u16]) -> CryptoProvider {
    let mut provider = default_provider();
    let is_named = |number: u16| suites.contains(&number);
    let names_any = |version: &SupportedProtocolVersion| {
        let mut of_version = default_provider().cipher_suites.into_iter();
        of_version.any(|suite| suite.version() == version && is_named(suite.suite().into()))
    };
    let (some_12, some_13) = (names_any(&TLS12), names_any(&TLS13));
    provider.cipher_suites.retain(|suite| {
        let choosy = if suite.version() == &TLS13 { some_13 } else { some_12 };
        !choosy || is_named(suite.suite().into())
    });
    provider
}

fn authorities(text: &[u8]) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in read_certificates(text).map_err(TlsError::Authorities)? {
        roots.add(certificate).map_err(|error| TlsError::Authorities(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(TlsError::Authorities("no certificate in it: PEM is expected".to_owned()));
    }
    Ok(roots)
}

/// Which certificate is for which name.
#[derive(Debug)]
struct Names {
    /// A name, or what follows the `*.` of one with a wildcard after a dot.
    of: HashMap<String, Arc<CertifiedKey>>,
    default: Arc<CertifiedKey>,
}

impl Names {
    fn new(identities: &[Identity]) -> Result<Self, TlsError> {
        let default = Arc::clone(&identities.first().ok_or(TlsError::NoIdentity)?.key);
        let mut of = HashMap::new();
        for identity in identities {
            for name in identity.names() {
                let name = name.strip_prefix('*').unwrap_or(name).to_owned();
                // Of two that have the name, the first.
                of.entry(name).or_insert_with(|| Arc::clone(&identity.key));
            }
        }
        Ok(Self { of, default })
    }

    /// A wildcard stands for one label (RFC 9525 section 6.3), and a whole name goes before it.
    fn find(&self, name: &str) -> &Arc<CertifiedKey> {
        let name = name.to_ascii_lowercase();
        let found = self.of.get(&name).or_else(|| self.of.get(&name[name.find('.')?..]));
        found.unwrap_or(&self.default)
    }
}

impl ResolvesServerCert for Names {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(hello.server_name().map_or(&self.default, |name| self.find(name))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(names: &[&str]) -> Identity {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        let key = made.signing_key.serialize_pem();
        Identity::read(made.cert.pem().as_bytes(), key.as_bytes()).unwrap()
    }

    #[test]
    fn the_certificate_is_the_one_for_the_name() {
        let identities =
            [identity(&["a.example"]), identity(&["*.b.example"]), identity(&["x.b.example"])];
        let names = Names::new(&identities).unwrap();
        for (name, index) in [
            ("a.example", 0),
            ("A.Example", 0),
            ("www.b.example", 1),
            ("X.b.example", 2),
            ("b.example", 0),
            ("y.x.b.example", 0),
            ("example", 0),
            (".b.example", 1),
            ("", 0),
        ] {
            assert!(Arc::ptr_eq(names.find(name), &identities[index].key), "{name}");
        }
        assert_eq!(Names::new(&[]).unwrap_err(), TlsError::NoIdentity);
    }

    #[test]
    fn suites_of_a_version_that_is_not_named_are_all_used() {
        let count = |suites: &[u16]| {
            let suites = provider(suites).cipher_suites;
            let new = suites.iter().filter(|suite| suite.version() == &TLS13).count();
            (suites.len() - new, new)
        };
        assert_eq!(count(&[]), (6, 3));
        assert_eq!(count(&[0xc02f, 0xc030]), (2, 3));
        assert_eq!(count(&[0x1301]), (6, 1));
        assert_eq!(count(&[0x1301, 0xc02f]), (1, 1));
    }

    #[test]
    fn authorities_have_to_be_some() {
        for text in ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            assert!(
                matches!(authorities(text.as_bytes()), Err(TlsError::Authorities(_))),
                "{text}"
            );
        }
    }
}
