//! Which certificates are let pass, by a server that has TLS and nothing else.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

use mysync_binlog::connection::{Connection, ConnectionSettings, SourceError};
use mysync_binlog::tls::{TlsMode, TlsSettings};
use mysync_pipeline::failure::Kind;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::login::{OK, TLS_FLAG, greeting, settings};

/// An authority, another one, and certificates of the first.
struct Certificates(TempDir);

impl Certificates {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let run = |arguments: &str| {
            let mut openssl = Command::new("openssl");
            let status = openssl.args(arguments.split(' ')).current_dir(&dir).stderr(Stdio::null()).status().unwrap();
            assert!(status.success(), "openssl {arguments}");
        };
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
        for authority in ["ca", "stranger"] {
            run(&format!("req -x509 {key} -days 2 -subj /CN={authority} -keyout {authority}.key -out {authority}.crt"));
        }
        for (name, names) in [("here", "DNS:localhost,IP:127.0.0.1"), ("elsewhere", "DNS:mysql.example")] {
            std::fs::write(dir.path().join("names"), format!("subjectAltName={names}\n")).unwrap();
            run(&format!("req {key} -subj /CN={name} -keyout {name}.key -out {name}.csr"));
            let signed = "-CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile names";
            run(&format!("x509 -req -in {name}.csr {signed} -out {name}.crt"));
        }
        Self(dir)
    }

    fn path(&self, file: &str) -> PathBuf {
        self.0.path().join(file)
    }

    fn of(&self, name: &str) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let chain = vec![CertificateDer::from_pem_file(self.path(&format!("{name}.crt"))).unwrap()];
        (chain, PrivateKeyDer::from_pem_file(self.path(&format!("{name}.key"))).unwrap())
    }

    /// A server with a certificate, which lets everybody in who gets through TLS.
    async fn server(&self, name: &str, wants_client: bool) -> u16 {
        let (chain, key) = self.of(name);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder =
            ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions().unwrap();
        let builder = if wants_client {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(self.of("ca").0.remove(0)).unwrap();
            builder.with_client_cert_verifier(
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap(),
            )
        } else {
            builder.with_no_client_auth()
        };
        let acceptor = TlsAcceptor::from(Arc::new(builder.with_single_cert(chain, key).unwrap()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let first = greeting("8.0.31", "mysql_native_password", TLS_FLAG);
            stream.write_all(&[&[first.len() as u8, 0, 0, 0], &*first].concat()).await.unwrap();
            stream.read_exact(&mut [0; 36]).await.unwrap();
            // The client may turn away here; then there is nobody to answer.
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            let mut login = [0; 1024];
            if stream.read(&mut login).await.is_ok_and(|bytes| bytes > 0) {
                stream.write_all(&[&[OK.len() as u8, 0, 0, 3], OK].concat()).await.unwrap();
                let _ = stream.read(&mut login).await;
            }
        });
        port
    }
}

async fn connect(port: u16, host: &str, tls: TlsSettings) -> Result<bool, SourceError> {
    let settings = ConnectionSettings { host: host.into(), tls, ..settings(port, TlsMode::Disabled) };
    Connection::connect(&settings).await.map(|connection| connection.is_encrypted())
}

#[tokio::test]
async fn a_certificate_passes_only_where_the_mode_allows_it() {
    use TlsMode::{Preferred, Required, VerifyCa, VerifyIdentity};
    let certificates = Certificates::new();
    let cases = [
        ("here", VerifyIdentity, Some("ca.crt"), "127.0.0.1", true),
        ("here", VerifyIdentity, Some("ca.crt"), "localhost", true),
        ("elsewhere", VerifyIdentity, Some("ca.crt"), "localhost", false),
        ("elsewhere", VerifyCa, Some("ca.crt"), "localhost", true),
        ("here", VerifyCa, Some("stranger.crt"), "localhost", false),
        ("here", VerifyCa, None, "localhost", false),
        ("here", Required, Some("stranger.crt"), "localhost", false),
        ("elsewhere", Required, None, "localhost", true),
        ("elsewhere", Preferred, Some("stranger.crt"), "localhost", true),
    ];
    for (name, mode, ca, host, passes) in cases {
        let port = certificates.server(name, false).await;
        let tls = TlsSettings { mode, ca: ca.map(|file| certificates.path(file)), identity: None };
        match connect(port, host, tls).await {
            Ok(encrypted) => assert!(encrypted && passes, "{name} {mode:?} {ca:?} {host}"),
            Err(error) => {
                assert!(!passes, "{name} {mode:?} {ca:?} {host}: {error}");
                assert_eq!((error.code(), error.kind()), ("SOURCE_TLS", Kind::Definite), "{error}");
            }
        }
    }
}

#[tokio::test]
async fn a_server_that_wants_to_know_us_sees_our_certificate() {
    let certificates = Certificates::new();
    let identity = Some((certificates.path("here.crt"), certificates.path("here.key")));
    for (identity, passes) in [(identity, true), (None, false)] {
        let port = certificates.server("here", true).await;
        let tls = TlsSettings { mode: TlsMode::VerifyIdentity, ca: Some(certificates.path("ca.crt")), identity };
        assert_eq!(connect(port, "localhost", tls).await.is_ok(), passes);
    }
}

#[tokio::test]
async fn a_file_that_holds_no_certificate_is_named() {
    let certificates = Certificates::new();
    let port = certificates.server("here", false).await;
    let tls = TlsSettings { mode: TlsMode::VerifyCa, ca: Some(certificates.path("ca.key")), identity: None };
    let error = connect(port, "localhost", tls).await.unwrap_err();
    assert!(error.code() == "SOURCE_TLS" && error.to_string().contains("ca.key"), "{error}");
}
