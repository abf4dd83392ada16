//! `[connectors.NAME]`: the stores.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::error::ConfigError;
use super::names::checked_name;
use super::section::{Section, Value};
use super::url::Url;

/// A store that writers may be granted.
#[derive(Debug, Clone)]
pub enum ConnectorSettings {
    Redis(RedisSettings),
}

#[derive(Debug, Clone)]
pub struct RedisSettings {
    /// `redis://`, or `rediss://` for TLS.
    pub url: Url,
    /// PEM files for `rediss://`.
    pub ca: Option<PathBuf>,
    pub cert: Option<PathBuf>,
    pub key: Option<PathBuf>,
}

#[derive(Clone, Copy)]
enum Kind {
    Redis,
}

pub fn read(value: &Value<'_>) -> Result<BTreeMap<String, ConnectorSettings>, ConfigError> {
    let mut connectors = BTreeMap::new();
    for (name, value) in value.section("[connectors]")?.entries() {
        let name = checked_name(name).map_err(|message| value.wrong(message))?;
        let mut section = value.section(&format!("[connectors.{name}]"))?;
        let connector = match section.required("kind")?.one_of(&[("redis", Kind::Redis)])? {
            Kind::Redis => ConnectorSettings::Redis(read_redis(section, &name)?),
        };
        connectors.insert(name, connector);
    }
    Ok(connectors)
}

fn read_redis(mut section: Section<'_>, name: &str) -> Result<RedisSettings, ConfigError> {
    let url = section.required("url")?;
    let tls = section.get("tls");
    section.finish()?;
    let mut redis = RedisSettings { url: url.url(&["redis", "rediss"])?, ca: None, cert: None, key: None };
    if !redis.url.database.is_empty() && redis.url.database.parse::<u32>().is_err() {
        return Err(url.wrong("names a database that is no number"));
    }
    if !redis.url.user.is_empty() && redis.url.password.is_none() {
        return Err(url.wrong("has a user without a password: write redis://user:password@host"));
    }
    let Some(tls) = tls else { return Ok(redis) };
    if redis.url.scheme != "rediss" {
        return Err(tls.wrong("is given, and the URL asks for no encryption: write rediss://"));
    }
    let mut files = tls.section(&format!("[connectors.{name}.tls]"))?;
    redis.ca = files.get("ca").map(|value| value.path()).transpose()?;
    redis.cert = files.get("cert").map(|value| value.path()).transpose()?;
    redis.key = files.get("key").map(|value| value.path()).transpose()?;
    super::check_pair(&files, &redis.cert, &redis.key)?;
    files.finish()?;
    Ok(redis)
}
