use mysql_common::scramble::{scramble_native, scramble_sha256};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject;

use super::SourceError;
use crate::event::Bytes;

/// Ways to prove a password that we know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plugin {
    CachingSha2,
    Native,
}

impl Plugin {
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "caching_sha2_password" => Some(Self::CachingSha2),
            "mysql_native_password" => Some(Self::Native),
            _ => None,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::CachingSha2 => "caching_sha2_password",
            Self::Native => "mysql_native_password",
        }
    }

    /// The answer to the server's challenge; an empty password answers nothing.
    pub fn answer(self, password: &str, nonce: &[u8]) -> Vec<u8> {
        match self {
            Self::CachingSha2 => scramble_sha256(nonce, password.as_bytes()).map(|hash| hash.to_vec()),
            Self::Native => scramble_native(nonce, password.as_bytes()).map(|hash| hash.to_vec()),
        }
        .unwrap_or_default()
    }
}

/// The password as the server wants it on a connection without TLS: mixed with the nonce, and encrypted with the server's public key.
pub(super) fn encrypt(password: &str, nonce: &[u8], key: &[u8]) -> Result<Vec<u8>, SourceError> {
    let der =
        SubjectPublicKeyInfoDer::from_pem_slice(key).map_err(|_| SourceError::ServerKey("it is not in PEM form"))?;
    let key_bytes = match modulus(&der) {
        Some([first, rest @ ..]) if *first >= 0x80 && (127..1024).contains(&rest.len()) => rest.len() + 1,
        _ => return Err(SourceError::ServerKey("it is no RSA key of 1024 to 8192 bits")),
    };
    let mut secret = password.as_bytes().to_vec();
    secret.push(0);
    // Padding with SHA-1 takes two hashes and two bytes.
    if secret.len() > key_bytes - 2 * 20 - 2 {
        return Err(SourceError::ServerKey("the password is too long for it"));
    }
    for (byte, mask) in secret.iter_mut().zip(nonce.iter().cycle()) {
        *byte ^= mask;
    }
    // The library panics on keys it cannot read: it gets the one that was just read, written anew.
    Ok(mysql_common::crypto::encrypt(&secret, pem(&der).as_bytes()))
}

fn pem(der: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = "-----BEGIN PUBLIC KEY-----".to_owned();
    for three in der.chunks(3) {
        let bits = three.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        for i in 0..4 {
            let sextet = bits >> (18 - 6 * i) & 63;
            text.push(if i <= three.len() { ALPHABET[sextet as usize] as char } else { '=' });
        }
    }
    text + "-----END PUBLIC KEY-----"
}

fn modulus(der: &[u8]) -> Option<&[u8]> {
    const SEQUENCE: u8 = 0x30;
    const BIT_STRING: u8 = 0x03;
    const INTEGER: u8 = 0x02;
    let mut outer = Bytes(der_value(&mut Bytes(der), SEQUENCE)?);
    der_value(&mut outer, SEQUENCE)?;
    let mut bits = Bytes(der_value(&mut outer, BIT_STRING)?);
    let mut key = (bits.u8()? == 0).then(|| der_value(&mut bits, SEQUENCE).map(Bytes))??;
    let modulus = der_value(&mut key, INTEGER)?;
    let exponent = der_value(&mut key, INTEGER)?;
    if exponent.is_empty() || exponent.len() > 8 {
        return None;
    }
    modulus.strip_prefix(&[0])
}

fn der_value<'a>(der: &mut Bytes<'a>, tag: u8) -> Option<&'a [u8]> {
    if der.u8()? != tag {
        return None;
    }
    let length = match der.u8()? {
        short @ 0..=0x7f => usize::from(short),
        0x81 => usize::from(der.u8()?),
        0x82 => usize::from(u16::from_be_bytes(der.array()?)),
        _ => return None,
    };
    der.take(length)
}
