//! Whole configurations: those that work, and those that are refused with the words that stand in their first line.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::kafka::{KafkaTls, Sasl};
use super::*;

fn fixtures(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/config").join(folder)
}

fn variables(name: &str) -> Option<String> {
    match name {
        "MYSYNC_PASSWORD" => Some("hunter2:@/%".to_owned()),
        "REDIS_PASSWORD" => Some("hunter2?#".to_owned()),
        _ => None,
    }
}

fn load(path: &Path) -> Result<Settings, Vec<ConfigError>> {
    Settings::load_with(path, &variables)
}

fn texts(patterns: &[mysync_change::pattern::Pattern]) -> Vec<&str> {
    patterns.iter().map(|pattern| pattern.as_str()).collect()
}

#[test]
fn the_smallest_configuration_has_good_defaults() {
    let settings = load(&fixtures("good/smallest.toml")).unwrap();
    assert_eq!(settings.source.start, Start::Now);
    assert_eq!((settings.source.tls.mode, settings.source.server_id), (TlsMode::Preferred, None));
    assert_eq!(settings.log.dir, fixtures("good/data"));
    assert_eq!(settings.log.partitions, 1);
    let LogKind::Embedded(embedded) = settings.log.kind else { panic!("{:?}", settings.log) };
    assert_eq!(embedded, EmbeddedSettings { max_bytes: 10 << 30, retention: Duration::from_secs(86_400) });
    assert_eq!(settings.dump.rows_per_second, None);
    assert_eq!(settings.admin.listen.unwrap().to_string(), "127.0.0.1:7070");
    assert_eq!((settings.telemetry.log, settings.telemetry.level.as_str()), (LogFormat::Human, "info"));
    assert_eq!(settings.warnings.len(), 1, "{:?}", settings.warnings);
}

#[test]
fn every_key_is_read() {
    let settings = load(&fixtures("good/full.toml")).unwrap();
    let source = &settings.source;
    assert_eq!(source.url.password.as_ref().unwrap().expose(), "hunter2:@/%", "a variable is taken as it is");
    assert_eq!(
        (source.url.host.as_str(), source.url.port, source.server_id),
        ("db.example", Some(3307), Some(4_000_017))
    );
    assert_eq!(texts(&source.tables), ["shop.*", "billing.invoices"]);
    assert_eq!((texts(&source.exclude), texts(&source.exclude_columns)), (vec!["shop.tmp_*"], vec!["*.password"]));
    assert!(matches!(&source.start, Start::File(at) if at.to_string() == "binlog.000017:4"));
    assert_eq!(source.tls.mode, TlsMode::VerifyIdentity);
    assert_eq!(source.tls.key.as_ref().unwrap(), &fixtures("good/client.key"));
    assert_eq!(settings.log.dir, fixtures("good/state"));
    assert_eq!(settings.log.partitions, 4);
    let LogKind::Embedded(embedded) = settings.log.kind else { panic!("{:?}", settings.log) };
    assert_eq!(embedded, EmbeddedSettings { max_bytes: 2 << 30, retention: Duration::from_secs(36 * 3600) });
    let ConnectorSettings::Redis(cache) = &settings.connectors["cache"];
    assert_eq!(cache.url.password.as_ref().unwrap().expose(), "hunter2:@/%", "a file is taken as it is");
    assert_eq!(cache.url.database, "3");
    let ConnectorSettings::Redis(far) = &settings.connectors["far"];
    assert_eq!(far.url.password.as_ref().unwrap().expose(), "hunter2?#");
    assert_eq!((far.url.host.as_str(), far.ca.as_deref()), ("2001:db8::1", Some(Path::new("/etc/ssl/far.pem"))));
    assert_eq!(settings.dump.rows_per_second, Some(50_000));
    assert_eq!(settings.admin.listen.unwrap().to_string(), "0.0.0.0:9090");
    assert_eq!((settings.telemetry.log, settings.telemetry.level.as_str()), (LogFormat::Json, "info,mysync_log=debug"));
}

fn kafka(settings: Settings) -> KafkaSettings {
    let LogKind::Kafka(kafka) = settings.log.kind else { panic!("{:?}", settings.log) };
    *kafka
}

/// The smallest configuration with this `[log]` on Kafka.
fn with_kafka(more: &str) -> Result<Settings, Vec<ConfigError>> {
    let folder = tempfile::tempdir().unwrap();
    let main = std::fs::read_to_string(fixtures("good/smallest.toml")).unwrap();
    let path = folder.path().join("mysync.toml");
    std::fs::write(&path, format!("{main}[log]\nkind = \"kafka\"\nbrokers = \"kafka-1.example\"\n{more}")).unwrap();
    load(&path)
}

#[test]
fn a_log_on_kafka_needs_its_brokers_only() {
    let settings = with_kafka("").unwrap();
    assert_eq!((settings.log.partitions, settings.warnings.len()), (1, 1), "{:?}", settings.warnings);
    let expected = KafkaSettings {
        brokers: vec!["kafka-1.example:9092".to_owned()],
        source: "shop".to_owned(),
        prefix: "mysync.shop".to_owned(),
        topics: Topics::One("mysync.shop".to_owned()),
        replication: 3,
        cleanup: Cleanup::Delete,
        retention: Duration::from_secs(7 * 86_400),
        group_time: Duration::from_millis(5),
        compression: Compression::Lz4,
        allow: Vec::new(),
        tls: None,
        sasl: None,
    };
    assert_eq!(kafka(settings), expected);
}

#[test]
fn every_key_of_a_log_on_kafka_is_read() {
    let settings = load(&fixtures("good/kafka.toml")).unwrap();
    assert_eq!((settings.log.dir.clone(), settings.log.partitions), (fixtures("good/state"), 4));
    assert!(!format!("{settings:?}").contains("hunter2"), "a password is never shown");
    let brokers = ["kafka-1.example:9092", "kafka-2.example:9093", "[2001:db8::1]:9094"];
    let expected = KafkaSettings {
        brokers: brokers.map(str::to_owned).to_vec(),
        source: "shop".to_owned(),
        prefix: "prod.shop".to_owned(),
        topics: Topics::PerTable("prod.shop.{database}.{table}".to_owned()),
        replication: 2,
        cleanup: Cleanup::Compact,
        retention: Duration::from_secs(36 * 3600),
        group_time: Duration::from_millis(10),
        compression: Compression::Zstd,
        allow: vec!["replication.factor", "min.insync.replicas"],
        tls: Some(KafkaTls {
            ca: Some(fixtures("good/ca.pem")),
            cert: Some(fixtures("good/client.pem")),
            key: Some(fixtures("good/client.key")),
            verify_hostname: false,
        }),
        sasl: Some(Sasl {
            mechanism: SaslMechanism::ScramSha512,
            user: "mysync".to_owned(),
            password: Secret::new("hunter2:@/%"),
        }),
    };
    assert_eq!(kafka(settings), expected);
}

#[test]
fn a_password_that_the_network_could_read_is_warned_of() {
    let warned = |more: &str| with_kafka(more).unwrap().warnings.iter().any(|doubt| doubt.contains("log.sasl"));
    let sasl = |mechanism| {
        format!("sasl = {{ mechanism = \"{mechanism}\", user = \"mysync\", password = \"${{MYSYNC_PASSWORD}}\" }}\n")
    };
    assert!(warned(&sasl("plain")));
    assert!(!warned(&sasl("scram-sha-256")), "only a proof of it is sent");
    assert!(!warned(&(sasl("plain") + "tls = {}\n")));
    let kafka = kafka(with_kafka("tls = {}\n").unwrap());
    assert_eq!(kafka.tls, Some(KafkaTls { ca: None, cert: None, key: None, verify_hostname: true }));
}

#[test]
fn the_log_is_looked_at_without_a_login_to_mysql() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mysync.toml");
    let text = "[source]\nname = \"shop\"\nurl = \"${NOT_SET_ANYWHERE}\"\n";
    std::fs::write(&path, format!("{text}[log]\nkind = \"kafka\"\nbrokers = \"h\"\n")).unwrap();
    let log = load_log(&path).unwrap();
    assert!(matches!(&log.kind, LogKind::Kafka(kafka) if kafka.prefix == "mysync.shop"), "{log:?}");
}

#[test]
fn a_writer_is_a_pair_of_files_under_its_folders_ceiling() {
    let settings = load(&fixtures("good/full.toml")).unwrap();
    let names: Vec<&str> = settings.writers.iter().map(|writer| writer.name.as_str()).collect();
    assert_eq!(names, ["cities", "users-cache", "audit"]);
    let [cities, users, audit] = settings.writers.as_slice() else { panic!("{names:?}") };
    assert_eq!(texts(&users.keys), ["user:*"]);
    assert_eq!(texts(&cities.keys), ["user:*", "users:by-city:*"], "without wants: all that the folder may");
    assert!(users.mapping.contains("key = \"user:{id}\""));
    assert_eq!(users.component, fixtures("good/plugins/shop-team/redis-writer.wasm"));
    assert_eq!(users.connector, "cache");
    assert_eq!(users.limits.memory, Some(64 << 20));
    assert_eq!(users.limits.deadline, Some(Duration::from_millis(250)));
    assert_eq!(audit.limits, folders::LimitSettings::default());
    assert_eq!((users.dump, audit.dump), (FirstLoad::Initial, FirstLoad::Never));
    assert_eq!(
        settings.warnings,
        [
            "writer cities may write the same keys as users-cache: narrow them with [wants] keys, or they may overwrite each other",
            "writer audit waits for elsewhere.audit, which the source does not capture",
            "writer audit waits for shop.tmp_one, which the source does not capture",
        ]
    );
}

#[test]
fn two_writers_never_share_a_name() {
    let folder = tempfile::tempdir().unwrap();
    let main = std::fs::read_to_string(fixtures("good/smallest.toml")).unwrap();
    let more = "[connectors.cache]\nkind = \"redis\"\nurl = \"redis://h\"\n\
                [[folders]]\npath = \"a\"\nconnectors = [\"cache\"]\nkeys = [\"*\"]\n\
                [[folders]]\npath = \"b\"\nconnectors = [\"cache\"]\nkeys = [\"*\"]\n";
    std::fs::write(folder.path().join("mysync.toml"), main + more).unwrap();
    for team in ["a", "b"] {
        let team = folder.path().join(team);
        std::fs::create_dir(&team).unwrap();
        std::fs::write(team.join("w.wasm"), "").unwrap();
        let text = "component = \"w.wasm\"\nconnector = \"cache\"\ntables = [\"shop.users\"]\n";
        std::fs::write(team.join("users.toml"), text).unwrap();
    }
    let mistakes = load(&folder.path().join("mysync.toml")).unwrap_err();
    assert_eq!(mistakes.len(), 1);
    assert!(mistakes[0].message.contains("a/users.toml") && mistakes[0].path.ends_with("b/users.toml"), "{mistakes:?}");
}

#[test]
fn every_mistake_is_told_with_its_line_and_cure() {
    let refused = refusals("bad", |path| load(path).unwrap_err());
    assert!(refused >= 55, "{refused} fixtures");
}

#[test]
fn every_mistake_in_a_writers_file_is_told_with_its_line_and_cure() {
    let settings = load(&fixtures("good/full.toml")).unwrap();
    let refused = refusals("bad-writers", |path| vec![settings.folders[0].read_writer(path).unwrap_err()]);
    assert!(refused >= 8, "{refused} fixtures");
}

/// Compares what is said of each file with its first line, `# refused: CODE LINE MESSAGE`.
fn refusals(folder: &str, read: impl Fn(&Path) -> Vec<ConfigError>) -> usize {
    let mut wrong = Vec::new();
    let mut files: Vec<PathBuf> = fixtures(folder).read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    for path in &files {
        let text = std::fs::read_to_string(path).unwrap();
        let expected = text.lines().next().unwrap().strip_prefix("# refused: ").unwrap_or_default();
        let mistakes = read(path);
        let here = format!("{}/", fixtures(folder).display());
        let said = mistakes.iter().map(|mistake| {
            let line = mistake.line.map_or(String::new(), |line| format!("{line} "));
            format!("{} {line}{}", mistake.code(), mistake.message.replace(&here, ""))
        });
        let said = said.collect::<Vec<_>>().join(" | ");
        assert!(!said.contains("hunter2"), "{said}");
        if said != expected {
            wrong.push(format!("{}: {said}", path.file_name().unwrap().display()));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    files.len()
}
