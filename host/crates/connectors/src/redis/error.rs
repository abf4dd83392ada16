//! What goes wrong with a Redis, and what each calls for.

use std::time::Duration;

use mysync_pipeline::failure::{Failure, Kind};

/// Longer keys are cut in messages.
const SHOWN: usize = 200;

/// An error of the Redis connector.
#[derive(Debug, thiserror::Error)]
pub enum RedisError {
    #[error("Redis at {address} cannot be reached: {reason}")]
    Unreachable { address: String, reason: String },
    #[error(
        "the TLS handshake with Redis at {address} failed: {reason}. Check the certificate of the server and the authorities in 'ca'"
    )]
    Tls { address: String, reason: String },
    #[error(
        "Redis at {address} does not let us in: {text}. Check user and password in the connector's URL, then restart"
    )]
    Login { address: String, text: String },
    #[error(
        "Redis does not allow the connector's user what it needs: {text}. It needs the keys of its writers and of their fences \
         (mysync:fence:*), and +hello +select +watch +get +set +multi +exec beside the writers' own commands"
    )]
    Permission { text: String },
    #[error("Redis at {address} is version {version}: upgrade it to 6.2 or newer")]
    Version { address: String, version: String },
    #[error(
        "Redis at {address} is a {mode} node, which is not supported: name a server of its own in the connector's URL"
    )]
    Mode { address: String, mode: String },
    #[error("Redis at {address} has no database {database} ({text}): name another in the connector's URL")]
    Database { address: String, database: u32, text: String },
    #[error(
        "Redis at {address} evicts any key when memory is short (maxmemory-policy {policy}), rows and fences too, and nobody would know. \
         Run CONFIG SET maxmemory-policy noeviction, and set it in redis.conf"
    )]
    Eviction { address: String, policy: String },
    /// A server that says by itself that it cannot write at the moment.
    #[error("Redis cannot write at the moment: {text}")]
    Unready { code: &'static str, text: String },
    #[error(
        "Redis did not answer for {0:?} in the middle of an exchange; whether the batch took effect is read from the fence"
    )]
    Silent(Duration),
    #[error(
        "the connection to Redis was lost in the middle of an exchange ({0}); whether the batch took effect is read from the fence"
    )]
    LostAnswer(String),
    #[error("Redis sent {0}: is this a Redis server, without anything in between that changes what it says?")]
    Nonsense(&'static str),
    #[error(
        "Redis refused {command} on key {key} (row {row} of the batch): {text}. Others of the batch may be in effect, and all of it is \
         applied again once the key is right: rename or delete it, or change the mapping, then resume the writer or restart"
    )]
    CommandRefused { row: u32, command: String, key: String, text: String },
    #[error("Redis refused an exchange: {text}. Mend that on the server, then resume the writer or restart")]
    Refused { text: String },
    #[error("a batch is not well formed, its lists contradict each other: a defect of this program, report it")]
    Contradiction,
    #[error(
        "the fence at key {key} is not readable ({reason}): something else has written there. Delete the key, then rewind the writer"
    )]
    FenceUnreadable { key: String, reason: String },
    #[error(
        "another process ({owner}) has written the fence at key {key}: two must not share a writer's name. Nothing was written. Stop one of \
         them, then resume the writer in the other or restart it"
    )]
    FenceTaken { key: String, owner: String },
    #[error(
        "the fence at key {key} is gone: the store was emptied or restored, so rows are missing too. Nothing was written. \
         'mysync writer rewind {writer}' writes everything in the log again, or says what does if the log is not whole"
    )]
    StoreEmptied { key: String, writer: String },
    #[error("a batch sent over an earlier connection has arrived late; on from the fence at key {key}")]
    LateWrite { key: String },
    #[error(
        "the fence at key {key} is not the one that was to be replaced: a writer is running, or another command was faster. Stop it, and \
         try again"
    )]
    FenceChanged { key: String },
    #[error("there is no connection to Redis: an exchange before this one failed")]
    Closed,
}

impl RedisError {
    pub fn code(&self) -> &'static str {
        self.code_and_kind().0
    }

    fn code_and_kind(&self) -> (&'static str, Kind) {
        use Kind::{Definite, Transient};
        match self {
            RedisError::Unreachable { .. } => ("REDIS_UNREACHABLE", Transient),
            RedisError::Tls { .. } => ("REDIS_TLS", Definite),
            RedisError::Login { .. } => ("REDIS_LOGIN", Definite),
            RedisError::Permission { .. } => ("REDIS_PERMISSION", Definite),
            RedisError::Version { .. } => ("REDIS_VERSION", Definite),
            RedisError::Mode { .. } => ("REDIS_MODE", Definite),
            RedisError::Database { .. } => ("REDIS_DATABASE", Definite),
            RedisError::Eviction { .. } => ("REDIS_EVICTION", Definite),
            RedisError::Unready { code, .. } => (code, Transient),
            RedisError::Silent(_) | RedisError::LostAnswer(_) => ("REDIS_LOST_ANSWER", Transient),
            // A machine in between may say such things while its server is away.
            RedisError::Nonsense(_) => ("REDIS_PROTOCOL", Transient),
            RedisError::CommandRefused { .. } => ("REDIS_COMMAND_REFUSED", Definite),
            RedisError::Refused { .. } => ("REDIS_REFUSED", Definite),
            RedisError::Contradiction => ("REDIS_BATCH", Definite),
            RedisError::FenceUnreadable { .. } => ("FENCE_UNREADABLE", Definite),
            RedisError::FenceTaken { .. } => ("FENCE_TAKEN", Definite),
            RedisError::StoreEmptied { .. } => ("STORE_EMPTIED", Definite),
            RedisError::LateWrite { .. } => ("REDIS_LATE_WRITE", Transient),
            RedisError::FenceChanged { .. } => ("FENCE_CHANGED", Definite),
            RedisError::Closed => ("REDIS_CLOSED", Transient),
        }
    }

    /// What an error reply means that says nothing about a single command; none if it does.
    pub fn of_server(text: &[u8]) -> Option<Self> {
        let text = shown_reply(text);
        // A discarded transaction names its reason behind the word.
        let reason = text.split_once("because of: ").map_or(text.as_str(), |(_, reason)| reason);
        let code = match reason.split(' ').next().unwrap_or_default() {
            "OOM" => "REDIS_OUT_OF_MEMORY",
            "MISCONF" => "REDIS_MISCONF",
            "READONLY" => "REDIS_READ_ONLY",
            "LOADING" => "REDIS_LOADING",
            "BUSY" | "UNKILLABLE" => "REDIS_BUSY",
            "NOREPLICAS" => "REDIS_NO_REPLICAS",
            "CLUSTERDOWN" | "MASTERDOWN" | "TRYAGAIN" => "REDIS_DOWN",
            "NOPERM" => return Some(RedisError::Permission { text }),
            _ if reason.contains("max number of clients") => "REDIS_TOO_MANY_CLIENTS",
            _ => return None,
        };
        Some(RedisError::Unready { code, text })
    }

    /// What an error reply means that belongs to none of a writer's commands.
    pub fn of_reply(text: &[u8]) -> Self {
        Self::of_server(text).unwrap_or_else(|| RedisError::Refused { text: shown_reply(text) })
    }
}

/// An error reply, without the values of the command it may quote.
pub(crate) fn shown_reply(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let text = text.split(", with args beginning with").next().unwrap_or_default();
    text.chars().take(SHOWN).collect::<String>().escape_debug().to_string()
}

/// A key, fit for messages.
pub(crate) fn shown_key(key: &[u8]) -> String {
    let key = String::from_utf8_lossy(key);
    let cut: String = key.chars().take(SHOWN).collect();
    let dots = if cut.len() < key.len() { "…" } else { "" };
    format!("'{}{dots}'", cut.escape_debug())
}

impl From<RedisError> for Failure {
    fn from(error: RedisError) -> Self {
        let (code, kind) = error.code_and_kind();
        Failure { kind, code, message: error.to_string() }
    }
}
