//! What TLS is set up with: the settings' files, read and checked.
//!
//! The master reads them, which keeps its privileges, at start and at each reload; its workers have
//! what came of it through the fork. See [`ironhorn_worker::tls`].

use std::fmt;
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use ironhorn_config::{
    CertificateFiles, CipherSuite, ClientCertificates as Asked, Origin, Protocol, Resolved,
    Settings,
};
use ironhorn_unix::Address;
use ironhorn_worker::tls::{
    ClientCertificates, Identity, TicketKeys, Tls, TlsError, TlsOptions, TlsVersion,
};

/// How long before its end a certificate is worth a warning.
const SOON: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// TLS as the workers of a generation speak it.
pub(crate) struct ServerTls {
    pub(crate) tls: Tls,
    tickets: TicketKeys,
    /// What a session has been through. A ticket of another generation must not spare a client more.
    vetting: Vetting,
    /// What is not as it should be with the certificates.
    pub(crate) warnings: Vec<String>,
}

#[derive(PartialEq, Eq)]
struct Vetting {
    asked: Asked,
    authorities: Vec<u8>,
}

/// Why TLS can't be set up.
#[derive(Debug)]
pub(crate) struct TlsProblem {
    /// The setting that is to blame.
    pub(crate) key: &'static str,
    why: String,
}

impl TlsProblem {
    fn new(key: &'static str, why: impl Into<String>) -> Self {
        Self { key, why: why.into() }
    }
}

impl fmt::Display for TlsProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.why)
    }
}

/// Reads what the settings name, if TLS is to be spoken. `former` is what was spoken before, whose
/// sessions can go on.
pub(crate) fn read(
    settings: &Settings,
    former: Option<&ServerTls>,
) -> Result<Option<ServerTls>, TlsProblem> {
    let Some(certfile) = &settings.certfile else {
        return refuse_the_rest(settings).map(|()| None);
    };
    let speaks = |bind: &ironhorn_config::Bind| match bind.protocol {
        Some(Protocol::Https) => true,
        None if settings.protocol == Protocol::Http => {
            matches!(bind.address, Address::Tcp { .. } | Address::Fd(_))
        }
        None | Some(Protocol::Http | Protocol::Redirect | Protocol::Uwsgi) => false,
    };
    if !settings.bind.iter().any(speaks) {
        let why = "HTTPS is spoken nowhere: bind has only http:// and unix sockets";
        return Err(TlsProblem::new("certfile", why));
    }
    let mut identities = vec![("certfile", identity(certfile, settings.keyfile.as_deref())?)];
    for CertificateFiles { certfile, keyfile } in &settings.certificates {
        let further = read_identity("certificates", certfile, "certificates", keyfile.as_deref())?;
        if further.names().is_empty() {
            let why = "the certificate is for no DNS name, so nobody can ask for it";
            return Err(TlsProblem::new("certificates", in_file(certfile, why)));
        }
        identities.push(("certificates", further));
    }
    let authorities = match (&settings.ca_certs, settings.cert_reqs) {
        (None, Asked::None) => Vec::new(),
        (Some(path), _) => read_file("ca_certs", path)?,
        (None, _) => {
            let why = "needs ca_certs, whose certificates those of clients are signed by";
            return Err(TlsProblem::new("cert_reqs", why));
        }
    };
    let now = SystemTime::now();
    let files =
        std::iter::once(certfile).chain(settings.certificates.iter().map(|files| &files.certfile));
    let mut warnings: Vec<String> = files
        .zip(&identities)
        .filter_map(|(path, (key, identity))| {
            Some(format!("{key}: {}", in_file(path, &expiry(identity, now)?)))
        })
        .collect();
    if settings.ca_certs.is_some() && settings.cert_reqs == Asked::None {
        warnings.push("ca_certs: no effect: cert_reqs is none".to_owned());
    }
    let vetting = Vetting { asked: settings.cert_reqs, authorities };
    let alike = former.filter(|former| former.vetting == vetting);
    let tickets = alike.map_or_else(TicketKeys::new, |former| former.tickets.succeed());
    let tickets =
        tickets.ok_or_else(|| TlsProblem::new("certfile", "the kernel has no random numbers"))?;
    let identities: Vec<Identity> = identities.into_iter().map(|(_, identity)| identity).collect();
    let options = TlsOptions {
        identities: &identities,
        clients: match vetting.asked {
            Asked::None => ClientCertificates::None,
            Asked::Optional => ClientCertificates::Optional(&vetting.authorities),
            Asked::Required => ClientCertificates::Required(&vetting.authorities),
        },
        oldest: match settings.tls_min_version {
            ironhorn_config::TlsVersion::V1_2 => TlsVersion::V1_2,
            ironhorn_config::TlsVersion::V1_3 => TlsVersion::V1_3,
        },
        suites: &settings.ciphers.iter().map(|&CipherSuite(number)| number).collect::<Vec<_>>(),
        tickets: tickets.clone(),
    };
    let tls = Tls::new(&options).map_err(|error| match (&error, &settings.ca_certs) {
        (TlsError::Authorities(_), Some(path)) => {
            TlsProblem::new("ca_certs", in_file(path, &error.to_string()))
        }
        _ => TlsProblem::new("certfile", error.to_string()),
    })?;
    Ok(Some(ServerTls { tls, tickets, vetting, warnings }))
}

/// Says where the setting is, and what is wrong.
pub(crate) fn blame(resolved: &Resolved, problem: &TlsProblem) -> String {
    match resolved.origin(problem.key) {
        None | Some(Origin::Default) => problem.to_string(),
        // They name the setting themselves.
        Some(origin @ (Origin::Imported(_) | Origin::Variable(_))) => {
            format!("{origin}: {}", problem.why)
        }
        Some(origin) => format!("{origin}: {problem}"),
    }
}

/// Without a certificate nothing of TLS has an effect, and whoever wrote it thinks that it has.
fn refuse_the_rest(settings: &Settings) -> Result<(), TlsProblem> {
    for bind in &settings.bind {
        if matches!(bind.protocol, Some(Protocol::Https | Protocol::Redirect)) {
            return Err(TlsProblem::new("bind", format!("{bind} needs certfile")));
        }
    }
    for (key, is_set) in [
        ("keyfile", settings.keyfile.is_some()),
        ("certificates", !settings.certificates.is_empty()),
        ("ca_certs", settings.ca_certs.is_some()),
        ("cert_reqs", settings.cert_reqs != Asked::None),
        ("ciphers", !settings.ciphers.is_empty()),
    ] {
        if is_set {
            return Err(TlsProblem::new(key, "needs certfile: without it there is no TLS"));
        }
    }
    Ok(())
}

fn identity(certfile: &Path, keyfile: Option<&Path>) -> Result<Identity, TlsProblem> {
    let key = if keyfile.is_some() { "keyfile" } else { "certfile" };
    read_identity("certfile", certfile, key, keyfile)
}

fn read_identity(
    chain_setting: &'static str,
    certfile: &Path,
    key_setting: &'static str,
    keyfile: Option<&Path>,
) -> Result<Identity, TlsProblem> {
    let chain = read_file(chain_setting, certfile)?;
    let key = match keyfile {
        Some(keyfile) => &read_file(key_setting, keyfile)?,
        None => &chain,
    };
    Identity::read(&chain, key).map_err(|error| {
        let (setting, path) = match keyfile {
            Some(keyfile) if error.concerns_key() => (key_setting, keyfile),
            _ => (chain_setting, certfile),
        };
        TlsProblem::new(setting, in_file(path, &error.to_string()))
    })
}

fn read_file(key: &'static str, path: &Path) -> Result<Vec<u8>, TlsProblem> {
    fs::read(path)
        .map_err(|error| TlsProblem::new(key, format!("cannot read {}: {error}", path.display())))
}

fn in_file(path: &Path, why: &str) -> String {
    format!("{}: {why}", path.display())
}

/// What is to be said of a certificate's time.
fn expiry(identity: &Identity, now: SystemTime) -> Option<String> {
    const DAY: u64 = 24 * 60 * 60;
    if identity.is_early(now) {
        return Some("the certificate is not valid yet".to_owned());
    }
    match identity.valid_for(now) {
        None => Some("the certificate has expired".to_owned()),
        Some(left) if left < SOON => {
            let days = left.as_secs() / DAY;
            let unit = if days == 1 { "day" } else { "days" };
            Some(format!("the certificate expires in {days} {unit}"))
        }
        Some(_) => None,
    }
}
