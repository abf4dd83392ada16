//! The first words of a connection: who we are, and whether this server can keep what is promised.

use tracing::warn;

use super::ask::{Answer, Ask};
use super::client::Client;
use super::error::{RedisError, shown_reply};
use super::settings::Settings;

/// The oldest version that is tested and still mended by somebody.
const OLDEST: (u32, u32) = (6, 2);

/// A name that CLIENT SETNAME takes: printable ASCII without spaces.
pub fn connection_name(writer: &str, partition: u32) -> String {
    let writer: String = writer.chars().map(|c| if c.is_ascii_graphic() { c } else { '_' }).collect();
    format!("mysync:{writer}:{partition}")
}

/// Logs in, selects the database and refuses a server that cannot do.
pub async fn introduce(client: &mut Client, settings: &Settings, name: &str) -> Result<(), RedisError> {
    let mut hello: Vec<&[u8]> = vec![b"HELLO", b"2"];
    if let Some(login) = &settings.login {
        hello.extend([b"AUTH", login.user.as_bytes(), login.password.as_bytes()]);
    }
    hello.extend([b"SETNAME".as_slice(), name.as_bytes()]);
    let mut ask = Ask::default().command(&hello);
    client.exchange(&mut ask).await?;
    let words = match ask.answers().pop() {
        Some(Ok(words)) => words,
        Some(Err(text)) => return Err(not_welcome(settings, &text)),
        None => return Err(RedisError::Nonsense("no answer to HELLO")),
    };
    check_server(settings, &words)?;

    // An empty transaction shows that MULTI and EXEC are allowed: refused later, MULTI would let a batch's commands through one by one.
    let database = settings.database.to_string();
    let mut ask = Ask::default()
        .command(&[b"SELECT", database.as_bytes()])
        .command(&[b"MULTI"])
        .command(&[b"EXEC"])
        .command(&[b"INFO", b"memory"]);
    client.exchange(&mut ask).await?;
    let mut answers = ask.answers().into_iter();
    if let Some(Err(text)) = answers.next() {
        return Err(RedisError::of_server(&text).unwrap_or_else(|| RedisError::Database {
            address: settings.to_string(),
            database: settings.database,
            text: shown_reply(&text),
        }));
    }
    for answer in answers.by_ref().take(2) {
        answer.map_err(|text| RedisError::of_reply(&text))?;
    }
    check_eviction(settings, answers.next())
}

fn not_welcome(settings: &Settings, text: &[u8]) -> RedisError {
    let address = settings.to_string();
    RedisError::of_server(text).unwrap_or_else(|| {
        let text = shown_reply(text);
        match text.split(' ').next() {
            Some("WRONGPASS" | "NOAUTH") => RedisError::Login { address, text },
            _ if text.contains("unknown command") => {
                RedisError::Version { address, version: "older than 6.0".to_owned() }
            }
            _ => RedisError::Refused { text },
        }
    })
}

/// Looks at HELLO's answer: names and values in turn.
fn check_server(settings: &Settings, words: &[Option<Vec<u8>>]) -> Result<(), RedisError> {
    let value = |name: &[u8]| {
        let at = words.iter().position(|word| word.as_deref() == Some(name))?;
        Some(String::from_utf8_lossy(words.get(at + 1)?.as_deref()?).into_owned())
    };
    let address = settings.to_string();
    let version = value(b"version").unwrap_or_default();
    let mut numbers = version.split('.').map_while(|part| part.parse::<u32>().ok());
    if (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) < OLDEST {
        return Err(RedisError::Version { address, version });
    }
    let mode = value(b"mode").unwrap_or_default();
    if mode != "standalone" {
        return Err(RedisError::Mode { address, mode });
    }
    let role = value(b"role").unwrap_or_default();
    if role != "master" {
        let text = format!("{address} is a {role}, not the master");
        return Err(RedisError::Unready { code: "REDIS_READ_ONLY", text });
    }
    Ok(())
}

/// A store that drops what it likes cannot be kept equal to anything.
fn check_eviction(settings: &Settings, memory: Option<Answer>) -> Result<(), RedisError> {
    let address = settings.to_string();
    let Some(Ok(words)) = memory else {
        warn!(address, "the eviction policy of redis cannot be checked, INFO is not allowed: it must be noeviction");
        return Ok(());
    };
    let text = words.first().and_then(Option::as_deref).map(String::from_utf8_lossy).unwrap_or_default();
    let policy = text.lines().find_map(|line| line.strip_prefix("maxmemory_policy:")).unwrap_or_default().trim();
    if policy.starts_with("allkeys-") {
        return Err(RedisError::Eviction { address, policy: policy.to_owned() });
    }
    // Fences have no time to live, so they stay: only entries that were to go anyway may go early.
    if policy != "noeviction" {
        warn!(address, policy, "redis may evict entries with a time to live before their time: noeviction keeps them");
    }
    Ok(())
}
