//! Server addresses with credentials.

use std::fmt;

use super::secret::{REDACTED, Secret};

/// `scheme://[user[:password]@]host[:port][/database]`, checked. Shown without its password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    pub scheme: String,
    /// Empty: none.
    pub user: String,
    pub password: Option<Secret>,
    /// A name or an address, IPv6 without its brackets.
    pub host: String,
    pub port: Option<u16>,
    /// Empty: none.
    pub database: String,
    text: Secret,
}

impl Url {
    /// Reads a URL. The error never quotes it.
    pub fn parse(text: &str, schemes: &[&str]) -> Result<Self, String> {
        let form = || format!("it has the form {}://user:password@host:port", schemes.join(":// or "));
        let (scheme, rest) = text.split_once("://").ok_or_else(|| format!("is no URL: {}", form()))?;
        if !schemes.contains(&scheme) {
            return Err(format!("has another scheme than {}: {}", schemes.join(" or "), form()));
        }
        if rest.contains(['?', '#']) {
            return Err("has options behind a ? or #: they are keys of their own here".to_owned());
        }
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, address) = match authority.rsplit_once('@') {
            Some((login, address)) => (Some(login), address),
            None => (None, authority),
        };
        let (user, password) = match login.map(|login| login.split_once(':').unwrap_or((login, ""))) {
            Some((user, "")) => (decode(user)?, None),
            Some((user, password)) => (decode(user)?, Some(Secret::new(decode(password)?))),
            None => (String::new(), None),
        };
        let (host, port) = address_of(address)?;
        let (scheme, host) = (scheme.to_owned(), host.to_owned());
        let database = database.trim_end_matches('/').to_owned();
        Ok(Self { scheme, user, password, host, port, database, text: Secret::new(text) })
    }

    /// The whole URL with its password: for a connection, never for a message.
    pub fn expose(&self) -> &str {
        self.text.expose()
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.scheme)?;
        match (&self.user, &self.password) {
            (user, None) if user.is_empty() => {}
            (user, None) => write!(f, "{user}@")?,
            (user, Some(_)) => write!(f, "{user}:{REDACTED}@")?,
        }
        if self.host.contains(':') {
            write!(f, "[{}]", self.host)?
        } else {
            f.write_str(&self.host)?
        }
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        if self.database.is_empty() { Ok(()) } else { write!(f, "/{}", self.database) }
    }
}

/// A host, IPv6 without its brackets, and its port.
pub fn address_of(address: &str) -> Result<(&str, Option<u16>), String> {
    let (host, port) = match address.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']').ok_or("has a [ without a ]")?;
            match rest.strip_prefix(':') {
                None if !rest.is_empty() => return Err("has something between the ] and the port".to_owned()),
                port => (host, port),
            }
        }
        None => address.split_once(':').map_or((address, None), |(host, port)| (host, Some(port))),
    };
    if host.is_empty() {
        return Err("names no host".to_owned());
    }
    match port.map(str::parse) {
        None => Ok((host, None)),
        Some(Ok(port)) if port > 0 => Ok((host, Some(port))),
        Some(_) => Err("has a port that is no number from 1 to 65535".to_owned()),
    }
}

/// Where user and password stand in a URL: what is put in there is taken as it is, so it has to be encoded.
pub fn split_login(text: &str) -> (&str, &str) {
    let from = text.find("://").map_or(0, |at| at + 3);
    let to = text[from..].find('/').map_or(text.len(), |at| from + at);
    match text[from..to].rfind('@') {
        Some(at) => text.split_at(from + at),
        None => ("", text),
    }
}

/// Percent-encodes everything but letters, digits and `-._~`.
pub fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(byte as char),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// Undoes percent-encoding.
fn decode(text: &str) -> Result<String, String> {
    let wrong = || "has a % in its user or password that encodes nothing: write it as %25".to_owned();
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(|byte| (byte as char).to_digit(16)).ok_or_else(wrong);
        decoded.push((digit()? * 16 + digit()?) as u8);
    }
    String::from_utf8(decoded).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text, &["mysql"]).unwrap()
    }

    #[test]
    fn every_part_is_found() {
        let full = url("mysql://app:p%40ss:w%2Frd@[::1]:3307/shop/");
        assert_eq!((full.user.as_str(), full.host.as_str(), full.port), ("app", "::1", Some(3307)));
        assert_eq!((full.password.as_ref().map(Secret::expose), full.database.as_str()), (Some("p@ss:w/rd"), "shop"));
        assert_eq!(full.to_string(), "mysql://app:***@[::1]:3307/shop");
        let bare = url("mysql://db.example");
        assert_eq!((bare.to_string().as_str(), bare.port, bare.password), ("mysql://db.example", None, None));
    }

    #[test]
    fn a_password_is_never_shown() {
        let shown = format!("{0} {0:?}", url("mysql://app:hunter2@h:1"));
        assert!(!shown.contains("hunter2"), "{shown}");
        for text in [
            "app:hunter2@h",
            "http://app:hunter2@h",
            "mysql://app:hunter2@",
            "mysql://app:hunter2@h:x",
            "mysql://app:hunter2@h:0",
            "mysql://app:hunter2%zz@h",
            "mysql://app:hunter2@h?a=b",
            "mysql://app:hunter2@[::1",
            "mysql://app:hunter2@[::1]x",
        ] {
            let error = Url::parse(text, &["mysql"]).unwrap_err();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn what_a_variable_puts_into_the_login_is_encoded() {
        assert_eq!(split_login("mysql://a:${P}@h/d"), ("mysql://a:${P}", "@h/d"));
        assert_eq!(split_login("mysql://h/d@e"), ("", "mysql://h/d@e"));
        assert_eq!(split_login("${URL}"), ("", "${URL}"));
        assert_eq!(decode(&encode("p@ss:w/rd%ü")).unwrap(), "p@ss:w/rd%ü");
    }
}
