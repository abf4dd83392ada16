//! Kafka, of Maven Central: a home is the folder of a Kafka distribution as far as a broker needs it, its jars in `libs`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::server::{self, Server};
use crate::places::{cache, on_path};
use crate::step::{Lock, command, read, read_patiently, say};

const NAME: &str = "kafka-4.4.0";
/// Without a binding of slf4j a broker says nothing of what keeps it from starting.
const ARTIFACTS: [[&str; 3]; 2] =
    [["org.apache.kafka", "kafka_2.13", "4.4.0"], ["org.slf4j", "slf4j-simple", "1.7.36"]];
const MAVEN_COPY: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies";
const JAVA_FROM: u32 = 17;
/// Classes as the JVM keeps them in memory: with it a broker starts in half the time. Only for the JVM that wrote it; others pass over it.
const CLASSES: &str = "broker.jsa";

/// A small broker that starts quickly.
const JVM: [&str; 6] = [
    "-Xms256m",
    "-Xmx256m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Djava.net.preferIPv4Stack=true",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
];

/// The Kafka that is named, or fetched.
pub fn home() -> Result<PathBuf> {
    let java = java()?;
    if let Some(home) = std::env::var_os("MYSYNC_KAFKA_HOME").map(PathBuf::from) {
        if !has_jars(&home.join("libs")) {
            bail!("MYSYNC_KAFKA_HOME is no folder of a Kafka: {} has no jars", home.join("libs").display());
        }
        return Ok(std::path::absolute(home)?);
    }
    let servers = cache()?.join("servers");
    let dir = servers.join(NAME);
    let _lock = Lock::take(&servers.join(format!("{NAME}.lock")))?;
    server::install(&dir, |dir| {
        if on_path("mvn").is_none() {
            bail!("Maven (mvn) is missing, which fetches it");
        }
        let project = dir.join("pom.xml");
        std::fs::write(&project, pom())?;
        say(format!("Maven: downloading {}", ARTIFACTS.map(|artifact| artifact.join(":")).join(", ")));
        read_patiently(
            command("mvn").current_dir(dir).args(["-q", "-B", MAVEN_COPY]).args([
                "-DincludeScope=runtime".to_owned(),
                format!("-DoutputDirectory={}", dir.join("libs").display()),
            ]),
        )?;
        std::fs::remove_file(project)?;
        keep_classes(&java, dir)
    })?;
    Ok(dir)
}

/// The Java of `JAVA_HOME`, or of `PATH`, if it is new enough.
fn java() -> Result<PathBuf> {
    let named =
        std::env::var_os("JAVA_HOME").map(|home| Path::new(&home).join("bin/java")).filter(|java| java.is_file());
    let java = named.or_else(|| on_path("java")).with_context(|| format!("Java {JAVA_FROM} or newer is missing"))?;
    // One that is older than 9 does not know this argument.
    let said = read(command(&java).arg("--version"))
        .with_context(|| format!("Java {JAVA_FROM} or newer is needed, and {} is older", java.display()))?;
    if java_version(&said) < Some(JAVA_FROM) {
        bail!(
            "Java {JAVA_FROM} or newer is needed, and {} is {}",
            java.display(),
            said.lines().next().unwrap_or_default()
        );
    }
    Ok(java)
}

/// `openjdk 17.0.15 2025-04-15`, `java 21 2023-09-19 LTS`, `openjdk 25-ea …`
fn java_version(said: &str) -> Option<u32> {
    said.split_whitespace().nth(1)?.split(['.', '-', '+']).next()?.parse().ok()
}

fn has_jars(libs: &Path) -> bool {
    let entries = std::fs::read_dir(libs).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| entry.path().extension().is_some_and(|extension| extension == "jar"))
}

fn pom() -> String {
    let dependencies = ARTIFACTS.map(|[group, artifact, version]| {
        format!("<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId><version>{version}</version></dependency>\n")
    });
    format!(
        "<project>\n<modelVersion>4.0.0</modelVersion>\n<groupId>mysync</groupId><artifactId>kafka-home</artifactId><version>1</version>\n\
         <packaging>pom</packaging>\n<dependencies>\n{}</dependencies>\n</project>\n",
        dependencies.concat()
    )
}

/// Runs a broker once, which proves the home, and keeps the classes that it needed.
fn keep_classes(java: &Path, home: &Path) -> Result<()> {
    let (trial, classes) = (home.join("trial"), home.join(CLASSES));
    run(java, home, &trial, &format!("-XX:ArchiveClassesAtExit={}", classes.display()), false)?.stop()?;
    if !classes.exists() {
        say(format!("{NAME}: {} keeps no classes, so each start takes longer", java.display()));
    }
    Ok(std::fs::remove_dir_all(trial)?)
}

/// Starts a broker on its folder, alone and its own controller; a lasting one outlives this process.
pub fn start(home: &Path, dir: &Path, lasting: bool) -> Result<Server> {
    run(&java()?, home, dir, &format!("-XX:SharedArchiveFile={}", home.join(CLASSES).display()), lasting)
}

fn run(java: &Path, home: &Path, dir: &Path, classes: &str, lasting: bool) -> Result<Server> {
    std::fs::create_dir_all(dir)?;
    let [port, controller] = server::ports(dir)?;
    let jars = format!("{}/*", home.join("libs").display());
    let (settings, data) = (dir.join("server.properties"), dir.join("data"));
    if !data.exists() {
        // Renamed when complete: half of it would never start.
        let half = dir.join("half");
        let _ = std::fs::remove_dir_all(&half);
        std::fs::write(&settings, properties(port, controller, &half))?;
        let tool = || {
            let mut tool = command(java);
            tool.args(JVM).args(["-cp", &jars, "kafka.tools.StorageTool"]);
            tool
        };
        let cluster = read(tool().arg("random-uuid"))?;
        read(tool().args(["format", "--cluster-id", cluster.trim(), "--config"]).arg(&settings))?;
        std::fs::rename(&half, &data)?;
    }
    std::fs::write(&settings, properties(port, controller, &data))?;
    let settings = settings.display().to_string();
    let arguments = JVM.into_iter().chain([classes, "-cp", &jars, "kafka.Kafka", &settings]).map(str::to_owned);
    server::start(dir, format!("127.0.0.1:{port}"), java, &arguments.collect::<Vec<_>>(), lasting, || {
        // Which versions of its requests does it know? One that is of use answers this question, 1, without an error.
        let answer = server::ask(port, "\0\0\0\x0a\0\x12\0\0\0\0\0\x01\0\0", 10)?;
        if answer.ends_with(&[0, 0, 0, 1, 0, 0]) { Ok(()) } else { bail!("it answers {answer:?}") }
    })
}

/// One broker, that has all of what a cluster would share, and makes no topic because of a name that was mistyped.
fn properties(port: u16, controller: u16, data: &Path) -> String {
    format!(
        "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.voters=1@127.0.0.1:{controller}\n\
         listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\ncontroller.listener.names=CONTROLLER\n\
         listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\nlog.dirs={}\n\
         offsets.topic.replication.factor=1\noffsets.topic.num.partitions=4\ntransaction.state.log.replication.factor=1\n\
         transaction.state.log.min.isr=1\ntransaction.state.log.num.partitions=4\nauto.create.topics.enable=false\n\
         group.initial.rebalance.delay.ms=0\nlog.cleaner.dedupe.buffer.size=16777216\n",
        data.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_java_that_is_too_old_is_told_from_one_that_is_not() {
        assert_eq!(java_version("openjdk 17.0.15 2025-04-15\nOpenJDK Runtime Environment"), Some(17));
        assert_eq!(java_version("java 21 2023-09-19 LTS"), Some(21));
        assert_eq!(java_version("openjdk 25-ea 2025-09-16"), Some(25));
        assert!(java_version("openjdk 11.0.2 2019-01-15") < Some(JAVA_FROM));
        assert_eq!(java_version(""), None);
    }
}
