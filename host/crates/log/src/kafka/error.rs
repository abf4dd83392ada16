//! Everything that can be wrong with a log on Kafka.

use mysync_change::envelope::EnvelopeError;
use mysync_change::schema::Fingerprint;
use mysync_pipeline::failure::{Failure, Kind};
use rdkafka::error::{KafkaError as ClientError, RDKafkaErrorCode as Code};

#[derive(Debug, Clone, thiserror::Error)]
pub enum KafkaError {
    #[error(
        "Kafka cannot be reached while {doing}: {reason}. See that a broker of [log] brokers listens there, that this machine can reach it, and that it wants the TLS and the \
         login that [log.tls] and [log.sasl] say"
    )]
    Unreachable { doing: String, reason: String },
    #[error(
        "Kafka does not let this user in while {doing}: {reason}. Correct [log.sasl] and [log.tls], or give the user this right"
    )]
    Denied { doing: String, reason: String },
    #[error("the brokers are of a release that lacks what {doing} needs ({reason}): the log needs Kafka 4.0 or newer")]
    Release { doing: String, reason: String },
    #[error("Kafka refuses {doing}: {reason}")]
    Refused { doing: String, reason: String },
    #[error("another process captures into this log now: this one has stopped writing, and stands by")]
    Fenced,
    #[error(
        "a transaction of the log has failed: {reason}. It is not in the log, or it is there whole: the log is asked"
    )]
    Transaction { reason: String },
    #[error(
        "{what} takes {bytes} bytes, and topic {topic} takes {max}: raise max.message.bytes of that topic \
         (kafka-configs --alter --topic {topic} --add-config max.message.bytes=…), or leave the large column out with \
         source.exclude_columns; then restart"
    )]
    TooLarge { topic: String, what: String, bytes: usize, max: usize },
    #[error(
        "topic {topic} was deleted while it was in use, and with it what writers had not read. A restart makes it anew unless it was a \
         compacted one; writers that had read everything go on, and others say how they can"
    )]
    TopicGone { topic: String },
    #[error(
        "topic {topic} of a compacted log was deleted: made anew it would pass for one that holds the last record of every row. Delete the \
         other topics of the log too; then a new log begins, and 'mysync writer rebase NAME --to end' and 'mysync dump --writer NAME' let each \
         writer go on with it"
    )]
    RecordsGone { topic: String },
    #[error(
        "the log under prefix {prefix} is of source {stored}, and source.name is {configured}: their rows would lie in one log. Give [log] \
         another prefix"
    )]
    OtherSource { prefix: String, stored: String, configured: String },
    #[error("topic {topic} does not exist, and Kafka does not let it be made: {reason}")]
    TopicMissing { topic: String, reason: String },
    #[error(
        "topic {topic} cannot be made with {replication} copies while fewer brokers are there: bring the others back; or, where there are no \
         others, set log.replication"
    )]
    FewBrokers { topic: String, replication: u16 },
    #[error(
        "log {former} was replaced by log {now} while this process ran, and partitions have other numbers in it: restart the process, then \
         'mysync writer rebase NAME' lets a writer go on with the new log"
    )]
    Renumbered { former: String, now: String },
    #[error(
        "table {table} cannot have topic {topic}, which {what}: capture stops before the table's first row. Leave the table out with \
         source.exclude; or, with a new log.prefix, choose another log.topic"
    )]
    TopicName { topic: String, table: String, what: &'static str },
    #[error("{0}")]
    Setting(String),
    #[error("the control topic {topic} holds no log yet: the process that captures makes it at its start")]
    Absent { topic: String },
    #[error(
        "topic {topic} holds records, but its control topic {control} holds no log: it was deleted or made anew, and with it is lost where \
         the source is to be read on. Delete {topic} too; then a new log begins where source.start says, and 'mysync writer rebase' lets \
         each writer go on with it"
    )]
    ControlLost { topic: String, control: String },
    #[error(
        "the control topic {topic} cannot be read (key {key}): {reason}: use the release that wrote it, or a newer one"
    )]
    Control { topic: String, key: String, reason: String },
    #[error(
        "the log was made with {stored} and the configuration says {configured}: a key's changes would lie in two places. Set back what was \
         changed; or let every writer finish, give [log] another prefix, and run 'mysync writer rebase' for each"
    )]
    Routing { stored: String, configured: String },
    #[error(
        "topic {topic}, partition {partition}, offset {offset} holds a record that is none of this log ({what}): somebody else writes to this \
         topic. Take that right away from them: only the user of MySync may write there. What is there already is passed over, and told, with \
         log.allow = [\"foreign.records\"]; nothing of the log is lost by that, because each of its records names the one before it"
    )]
    Foreign { topic: String, partition: u32, offset: i64, what: String },
    #[error(
        "topic {topic}, partition {partition} ends behind seq {last}, and the store holds changes up to {seq}: the topic has lost its end (an \
         unclean leader election, or a topic that was made anew). Compare the store with the source, then 'mysync writer rewind NAME' or \
         'mysync writer rebase NAME'"
    )]
    TailLost { topic: String, partition: u32, last: u64, seq: u64 },
    #[error(
        "topic {topic}, partition {partition} and the control topic do not tell the same yet: a transaction is not ended everywhere. It is \
         waited for"
    )]
    Disagreeing { topic: String, partition: u32 },
    #[error("the control topic has not told yet where partition {partition} is: it is waited for")]
    Untold { partition: u32 },
    #[error(
        "log {former} was deleted while it was read, and log {now} has taken its place. 'mysync writer rebase NAME' lets a writer go on with it, \
         and then 'mysync dump --writer NAME' brings what changed in between"
    )]
    Replaced { former: String, now: String },
    #[error(
        "topic {topic}, partition {partition}: the place to read at is gone while it was read: it is looked for again"
    )]
    PlaceGone { topic: String, partition: u32 },
    #[error(
        "the log has no shape {fingerprint}, though it has rows of it: wait until the control topic can be read to its end"
    )]
    ShapeMissing { fingerprint: Fingerprint },
    #[error(transparent)]
    Record(#[from] RecordError),
    /// What the group has told.
    #[error("{0}")]
    Group(Failure),
    #[error("the process is ending")]
    Ending,
}

/// An envelope's error, which cannot be copied, in words.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct RecordError {
    code: &'static str,
    message: String,
}

impl From<EnvelopeError> for KafkaError {
    fn from(error: EnvelopeError) -> Self {
        Self::Record(RecordError { code: error.code(), message: error.to_string() })
    }
}

impl KafkaError {
    /// What a client's error means while `doing` something.
    pub fn of(doing: &str, error: &ClientError) -> Self {
        let code = match error {
            ClientError::AdminOp(code) => Some(*code),
            other => other.rdkafka_error_code(),
        };
        Self::of_code(doing, code, error.to_string())
    }

    /// The same by its code.
    pub fn of_code(doing: &str, code: Option<Code>, reason: String) -> Self {
        let doing = doing.to_owned();
        match code {
            Some(Code::Fenced | Code::InvalidProducerEpoch | Code::Fatal) => Self::Fenced,
            Some(
                Code::Authentication
                | Code::SSL
                | Code::SaslAuthenticationFailed
                | Code::UnsupportedSASLMechanism
                | Code::TopicAuthorizationFailed
                | Code::GroupAuthorizationFailed
                | Code::ClusterAuthorizationFailed
                | Code::TransactionalIdAuthorizationFailed,
            ) => Self::Denied { doing, reason },
            Some(Code::UnsupportedVersion | Code::UnsupportedFeature) => Self::Release { doing, reason },
            Some(
                Code::InvalidTopic
                | Code::InvalidPartitions
                | Code::InvalidReplicationFactor
                | Code::InvalidConfig
                | Code::PolicyViolation
                | Code::InvalidTransactionTimeout
                | Code::InvalidSessionTimeout
                | Code::InconsistentGroupProtocol,
            ) => Self::Refused { doing, reason },
            _ => Self::Unreachable { doing, reason },
        }
    }

    /// Stable name, documented with cause and cure.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "KAFKA_UNREACHABLE",
            Self::Denied { .. } => "KAFKA_DENIED",
            Self::Release { .. } => "KAFKA_RELEASE",
            Self::Refused { .. } => "KAFKA_REFUSED",
            Self::Fenced => "KAFKA_FENCED",
            Self::Transaction { .. } => "KAFKA_TRANSACTION",
            Self::TooLarge { .. } => "KAFKA_RECORD_TOO_LARGE",
            Self::TopicGone { .. } => "KAFKA_TOPIC_GONE",
            Self::TopicMissing { .. } | Self::RecordsGone { .. } => "KAFKA_TOPIC_MISSING",
            Self::OtherSource { .. } => "KAFKA_SOURCE",
            Self::FewBrokers { .. } => "KAFKA_FEW_BROKERS",
            Self::Renumbered { .. } => "KAFKA_RENUMBERED",
            Self::TopicName { .. } => "KAFKA_TOPIC_NAME",
            Self::Setting(_) => "KAFKA_SETTING",
            Self::Absent { .. } => "KAFKA_LOG_ABSENT",
            Self::ControlLost { .. } => "KAFKA_CONTROL_LOST",
            Self::Control { .. } => "KAFKA_CONTROL",
            Self::Routing { .. } => "KAFKA_ROUTING",
            Self::Foreign { .. } => "KAFKA_FOREIGN_RECORD",
            Self::TailLost { .. } => "KAFKA_TAIL_LOST",
            Self::PlaceGone { .. } => "KAFKA_PLACE_GONE",
            Self::Disagreeing { .. } | Self::Untold { .. } => "KAFKA_DISAGREEING",
            Self::Replaced { .. } => "LOG_REPLACED",
            Self::ShapeMissing { .. } => "KAFKA_SHAPE_MISSING",
            Self::Record(error) => error.code,
            Self::Group(failure) => failure.code,
            Self::Ending => "LOG_ENDING",
        }
    }

    /// What the failure calls for.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Unreachable { .. }
            | Self::Fenced
            | Self::Transaction { .. }
            | Self::Absent { .. }
            | Self::FewBrokers { .. }
            | Self::PlaceGone { .. }
            | Self::Disagreeing { .. }
            | Self::Untold { .. }
            | Self::ShapeMissing { .. }
            | Self::Ending => Kind::Transient,
            _ => Kind::Definite,
        }
    }
}

impl From<KafkaError> for Failure {
    fn from(error: KafkaError) -> Self {
        if let KafkaError::Group(failure) = error {
            return failure;
        }
        Failure { kind: error.kind(), code: error.code(), message: error.to_string() }
    }
}
