//! Where a Redis is and how to reach it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};

const PORT: u16 = 6379;
/// A server on the same continent answers a handshake within a fraction of it.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longer than a server stands still for a fork or a large key; shorter than anybody waits for a dead one.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// A server's address, credentials and TLS, checked.
#[derive(Debug, Clone)]
pub struct Settings {
    pub host: String,
    pub port: u16,
    pub database: u32,
    pub(crate) login: Option<Login>,
    pub(crate) tls: Option<Tls>,
    pub connect_timeout: Duration,
    /// How long a connection may stand still in the middle of an exchange.
    pub answer_timeout: Duration,
}

/// Files for `rediss://` in PEM form.
#[derive(Debug, Clone, Default)]
pub struct TlsFiles {
    /// Authorities to trust; without it those of the system.
    pub ca: Option<PathBuf>,
    /// The client's own certificate; with `key`.
    pub certificate: Option<PathBuf>,
    pub key: Option<PathBuf>,
}

#[derive(Clone)]
pub(crate) struct Login {
    pub user: String,
    pub password: String,
}

#[derive(Clone)]
pub(crate) struct Tls {
    pub config: Arc<ClientConfig>,
    pub name: ServerName<'static>,
}

/// Settings that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    #[error("the Redis URL {0}; it has the form redis://[user:password@]host[:port][/database], or rediss:// for TLS")]
    Url(&'static str),
    #[error("{} cannot be used for TLS: {reason}", path.display())]
    File { path: PathBuf, reason: String },
    #[error("TLS to Redis cannot be set up: {0}")]
    Tls(String),
}

impl SettingsError {
    pub fn code(&self) -> &'static str {
        match self {
            SettingsError::Url(_) => "REDIS_URL",
            SettingsError::File { .. } | SettingsError::Tls(_) => "REDIS_TLS_SETTINGS",
        }
    }
}

impl Settings {
    /// Reads `redis://[user:password@]host[:port][/database]`, or `rediss://` for TLS. User and password may be percent-encoded.
    pub fn new(url: &str, files: &TlsFiles) -> Result<Self, SettingsError> {
        let (scheme, rest) = url.split_once("://").ok_or(SettingsError::Url("has no scheme"))?;
        let encrypted = match scheme {
            "redis" => false,
            "rediss" => true,
            _ => return Err(SettingsError::Url("has an unknown scheme")),
        };
        if rest.contains(['?', '#']) {
            return Err(SettingsError::Url("has options, which are settings of their own"));
        }
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, address) = match authority.rsplit_once('@') {
            Some((login, address)) => (Login::parse(login)?, address),
            None => (None, authority),
        };
        let (host, port) = split_port(address)?;
        let database = match path.strip_suffix('/').unwrap_or(path) {
            "" => 0,
            number => number.parse().map_err(|_| SettingsError::Url("names a database that is no number"))?,
        };
        let tls = if encrypted {
            Some(Tls::new(&host, files)?)
        } else if files.ca.is_some() || files.certificate.is_some() || files.key.is_some() {
            return Err(SettingsError::Url("is not rediss:// and there are TLS files"));
        } else {
            None
        };
        let (connect_timeout, answer_timeout) = (CONNECT_TIMEOUT, ANSWER_TIMEOUT);
        Ok(Self { host, port, database, login, tls, connect_timeout, answer_timeout })
    }
}

/// The address, fit for messages.
impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = &self.host;
        if host.contains(':') { write!(f, "[{host}]:{}", self.port) } else { write!(f, "{host}:{}", self.port) }
    }
}

fn split_port(address: &str) -> Result<(String, u16), SettingsError> {
    let (host, port) = match address.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or(SettingsError::Url("has a [ without a ]"))?;
            (host, port.strip_prefix(':').unwrap_or(port))
        }
        None => address.split_once(':').unwrap_or((address, "")),
    };
    if host.is_empty() {
        return Err(SettingsError::Url("names no host"));
    }
    let port = match port {
        "" => PORT,
        number => number.parse().map_err(|_| SettingsError::Url("has a port that is none"))?,
    };
    Ok((host.to_owned(), port))
}

impl Login {
    fn parse(text: &str) -> Result<Option<Self>, SettingsError> {
        match text.split_once(':').unwrap_or((text, "")) {
            ("", "") => Ok(None),
            (_, "") => Err(SettingsError::Url("has a user without a password")),
            ("", password) => Ok(Some(Self { user: "default".to_owned(), password: decode(password)? })),
            (user, password) => Ok(Some(Self { user: decode(user)?, password: decode(password)? })),
        }
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:***", self.user)
    }
}

/// Undoes percent-encoding.
fn decode(text: &str) -> Result<String, SettingsError> {
    const WRONG: SettingsError = SettingsError::Url("has a user or password with a % that is no percent-encoding");
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(|byte| (byte as char).to_digit(16)).ok_or(WRONG);
        decoded.push((digit()? * 16 + digit()?) as u8);
    }
    String::from_utf8(decoded).map_err(|_| WRONG)
}

impl Tls {
    fn new(host: &str, files: &TlsFiles) -> Result<Self, SettingsError> {
        let tls = |error: rustls::Error| SettingsError::Tls(error.to_string());
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| SettingsError::Url("names a host that no certificate can name"))?;
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(tls)?
            .with_root_certificates(roots(files.ca.as_deref())?);
        let config = match (&files.certificate, &files.key) {
            (None, None) => builder.with_no_client_auth(),
            (Some(certificate), Some(key)) => {
                let key_der = PrivateKeyDer::from_pem_file(key).map_err(|error| unusable(key, &error))?;
                builder
                    .with_client_auth_cert(certificates(certificate)?, key_der)
                    .map_err(|error| unusable(certificate, &error))?
            }
            _ => {
                return Err(SettingsError::Tls(
                    "a client certificate needs its key, and a key its certificate".to_owned(),
                ));
            }
        };
        Ok(Self { config: Arc::new(config), name })
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tls({:?})", self.name)
    }
}

fn roots(ca: Option<&Path>) -> Result<RootCertStore, SettingsError> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(path) => {
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|error| unusable(path, &error))?;
            }
        }
        None => {
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
            if roots.is_empty() {
                return Err(SettingsError::Tls(
                    "the system has no authorities to trust; name a file of them".to_owned(),
                ));
            }
        }
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, SettingsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    match found {
        Ok(found) if found.is_empty() => Err(unusable(path, &"it holds no certificate")),
        Ok(found) => Ok(found),
        Err(error) => Err(unusable(path, &error)),
    }
}

fn unusable(path: &Path, reason: &dyn fmt::Display) -> SettingsError {
    SettingsError::File { path: path.to_owned(), reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(url: &str) -> Settings {
        Settings::new(url, &TlsFiles::default()).unwrap()
    }

    #[test]
    fn urls_are_read_with_their_defaults() {
        let plain = settings("redis://cache.example");
        assert_eq!((plain.host.as_str(), plain.port, plain.database), ("cache.example", 6379, 0));
        assert!(plain.login.is_none() && plain.tls.is_none());
        let full = settings("redis://app:p%40ss:w%2Frd@[::1]:7000/3/");
        assert_eq!((full.host.as_str(), full.port, full.database), ("::1", 7000, 3));
        let login = full.login.clone().unwrap();
        assert_eq!((login.user.as_str(), login.password.as_str()), ("app", "p@ss:w/rd"));
        assert_eq!(full.to_string(), "[::1]:7000");
        assert_eq!(settings("redis://:secret@h").login.unwrap().user, "default");
        assert!(settings("redis://:@h").login.is_none());
    }

    #[test]
    fn the_password_is_never_shown() {
        let settings = settings("redis://app:hunter2@h:1");
        assert!(!format!("{settings:?} {settings}").contains("hunter2"));
        let errors = [
            "redis://app:hunter2@",
            "http://app:hunter2@h",
            "redis://app:hunter2%zz@h",
            "redis://app:hunter2@h:x",
            "redis://app:hunter2@h?x=1",
        ];
        for url in errors {
            let error = Settings::new(url, &TlsFiles::default()).unwrap_err();
            assert!(!format!("{error:?} {error}").contains("hunter2"), "{error}");
            assert_eq!(error.code(), "REDIS_URL");
        }
    }

    #[test]
    fn tls_files_need_a_url_for_tls() {
        let files = TlsFiles { ca: Some("/nowhere.pem".into()), ..TlsFiles::default() };
        assert_eq!(Settings::new("redis://h", &files).unwrap_err().code(), "REDIS_URL");
        assert_eq!(Settings::new("rediss://h", &files).unwrap_err().code(), "REDIS_TLS_SETTINGS");
    }
}
