//! A listener that demands TLS and a password.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use rdkafka::ClientConfig;

/// Where it is, and whom to trust.
#[derive(Debug, Clone)]
pub struct Secure {
    /// Where clients begin.
    pub brokers: String,
    /// Who has signed the brokers' certificate, which is for 127.0.0.1 and localhost.
    pub authority: PathBuf,
    /// Somebody who has not.
    pub stranger: PathBuf,
    /// Key and certificate of all nodes.
    identity: PathBuf,
}

impl Secure {
    pub(super) fn make(dir: &Path) -> Result<Self> {
        let files =
            ["authority", "stranger"].map(|name| (dir.join(format!("{name}.pem")), dir.join(format!("{name}.key"))));
        for (certificate, key) in &files {
            openssl(key, certificate, &["-addext", "keyUsage=critical,keyCertSign"])?;
        }
        let [(authority, authority_key), (stranger, _)] = files;
        let (key, certificate) = (dir.join("node.key"), dir.join("node.pem"));
        let signer = [authority.display().to_string(), authority_key.display().to_string()];
        openssl(
            &key,
            &certificate,
            &["-CA", &signer[0], "-CAkey", &signer[1], "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"],
        )?;
        let identity = dir.join("identity.pem");
        std::fs::write(&identity, [std::fs::read(key)?, std::fs::read(certificate)?].concat())?;
        Ok(Self { brokers: String::new(), authority, stranger, identity })
    }

    /// A client that is let in.
    pub fn client(&self, user: &str, password: &str) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers).set("security.protocol", "SASL_SSL");
        config.set("ssl.ca.location", self.authority.display().to_string());
        config.set("sasl.mechanisms", "SCRAM-SHA-256").set("sasl.username", user).set("sasl.password", password);
        config
    }

    /// Settings of every node.
    pub(super) fn settings(&self, users: &[(String, String)]) -> String {
        let known: String = users.iter().map(|(name, password)| format!(" user_{name}=\"{password}\"")).collect();
        let modules = "org.apache.kafka.common.security";
        let scram = format!("{modules}.scram.ScramLoginModule required;");
        let settings = [
            ("ssl.keystore.type", "PEM".to_owned()),
            ("ssl.keystore.location", self.identity.display().to_string()),
            ("sasl.enabled.mechanisms", "SCRAM-SHA-256,SCRAM-SHA-512,PLAIN".to_owned()),
            ("scram-sha-256.sasl.jaas.config", scram.clone()),
            ("scram-sha-512.sasl.jaas.config", scram),
            ("plain.sasl.jaas.config", format!("{modules}.plain.PlainLoginModule required{known};")),
        ];
        settings.map(|(name, value)| format!("listener.name.secure.{name}={value}\n")).concat()
    }
}

/// A new key and a certificate for it, for two days.
fn openssl(key: &Path, certificate: &Path, arguments: &[&str]) -> Result<()> {
    let name = key.file_stem().unwrap_or_default().display();
    let mut command = Command::new("openssl");
    command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]);
    command
        .args(["-subj", &format!("/CN={name}")])
        .arg("-keyout")
        .arg(key)
        .arg("-out")
        .arg(certificate)
        .args(arguments);
    let output = command.output().context("openssl, which makes certificates for tests, cannot be run")?;
    if !output.status.success() {
        bail!("openssl cannot make {}: {}", certificate.display(), String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}
