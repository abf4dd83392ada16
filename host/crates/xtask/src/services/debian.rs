//! Programs of any Debian suite, unpacked into a folder with all they need, libc included.
//!
//! apt works on a state of its own there: the machine's packages are not touched, nothing is installed, no service starts, and root is not
//! needed. The mirror is the one that this machine uses already; signatures are checked.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::places::on_path;
use crate::step::{command, read, read_patiently, say};

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
const LIBRARIES: &str = "lib/x86_64-linux-gnu";

/// Which packages are unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum With {
    Dependencies,
    NothingElse,
}

/// Why nothing can be fetched here, if so.
fn obstacles() -> Vec<String> {
    let mut obstacles = Vec::new();
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        obstacles.push("Linux on x86-64".to_owned());
    }
    obstacles.extend(["apt-get", "dpkg-deb"].into_iter().filter(|name| on_path(name).is_none()).map(str::to_owned));
    if !Path::new(KEYRING).exists() {
        obstacles.push(format!("Debian's keys ({KEYRING})"));
    }
    obstacles
}

/// Unpacks packages of a suite into `root`.
pub fn unpack(suite: &str, packages: &[&str], with: With, root: &Path) -> Result<()> {
    let obstacles = obstacles();
    if !obstacles.is_empty() {
        bail!("packages of Debian cannot be unpacked here: missing: {}", obstacles.join(", "));
    }
    let apt = root.with_extension("apt");
    let debs = apt.join("debs");
    let config = private_state(suite, &apt)?;
    let apt_get = |arguments: &[&str]| {
        let mut apt_get = command("apt-get");
        apt_get.env("APT_CONFIG", &config).env("LC_ALL", "C").current_dir(&debs).arg("-qq").args(arguments);
        apt_get
    };
    say(format!("Debian {suite}: reading what there is"));
    read_patiently(&mut apt_get(&["update"]))?;
    say(format!("Debian {suite}: downloading {}", packages.join(", ")));
    let verb: &[&str] = match with {
        With::Dependencies => &["install", "--yes", "--download-only"],
        With::NothingElse => &["download"],
    };
    read_patiently(apt_get(verb).args(packages))?;
    let mut files: Vec<PathBuf> = std::fs::read_dir(&debs)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "deb"));
    say(format!("Debian {suite}: unpacking {} packages", files.len()));
    for file in &files {
        read(command("dpkg-deb").arg("-x").arg(file).arg(root))?;
    }
    std::fs::remove_dir_all(&apt)?;
    Ok(())
}

/// A state for apt that knows one suite only, and believes that nothing is installed. Answers its configuration file.
fn private_state(suite: &str, apt: &Path) -> Result<PathBuf> {
    if apt.exists() {
        std::fs::remove_dir_all(apt)?;
    }
    for dir in ["etc", "lists/partial", "debs/partial", "cache"] {
        std::fs::create_dir_all(apt.join(dir))?;
    }
    std::fs::write(apt.join("status"), "")?;
    let sources = format!("deb [signed-by={KEYRING}] {} {suite} main\n", mirror()?);
    std::fs::write(apt.join("etc/sources.list"), sources)?;
    let at = apt.display();
    // A frozen mirror is past its date soon, and apt would refuse it.
    let config = format!(
        "Dir::Etc \"{at}/etc\"; Dir::Etc::sourcelist \"{at}/etc/sources.list\"; Dir::Etc::sourceparts \"/dev/null\";\n\
         Dir::Etc::main \"/dev/null\"; Dir::Etc::parts \"/dev/null\"; Dir::Etc::preferencesparts \"/dev/null\";\n\
         Dir::State \"{at}\"; Dir::State::lists \"{at}/lists\"; Dir::State::status \"{at}/status\";\n\
         Dir::Cache \"{at}/cache\"; Dir::Cache::archives \"{at}/debs\";\n\
         APT::Architecture \"amd64\"; APT::Install-Recommends \"false\"; APT::Sandbox::User \"\"; Debug::NoLocking \"true\";\n\
         Acquire::Languages \"none\"; Acquire::Check-Valid-Until \"false\"; Acquire::Retries \"3\";\n{}",
        ways_out()?
    );
    let file = apt.join("apt.conf");
    std::fs::write(&file, config)?;
    Ok(file)
}

/// How this machine's own apt reaches its mirror: proxies and the like.
fn ways_out() -> Result<String> {
    let all = read(command("apt-config").arg("dump"))?;
    let ours = ["Acquire::http::", "Acquire::https::"];
    Ok(all.lines().filter(|line| ours.iter().any(|prefix| line.starts_with(prefix))).collect::<Vec<_>>().join("\n"))
}

/// The Debian mirror in this machine's own sources.
fn mirror() -> Result<String> {
    let etc = Path::new("/etc/apt");
    let mut files = vec![etc.join("sources.list")];
    if let Ok(entries) = std::fs::read_dir(etc.join("sources.list.d")) {
        files.extend(entries.flatten().map(|entry| entry.path()));
    }
    let texts = files.iter().filter_map(|file| std::fs::read_to_string(file).ok());
    let found = texts.into_iter().find_map(|text| mirror_in(&text));
    found.context("packages of Debian cannot be fetched: this machine's apt sources name no Debian mirror")
}

/// In either form: `URIs: MIRROR` or `deb [options] MIRROR suite …`.
fn mirror_in(text: &str) -> Option<String> {
    let named = text.lines().map(str::trim).filter(|line| line.starts_with("URIs:") || line.starts_with("deb "));
    let mut words = named.flat_map(str::split_whitespace);
    words.find(|word| word.contains("://") && word.trim_end_matches('/').ends_with("/debian")).map(str::to_owned)
}

/// Writes a launcher for a program of an unpacked root, which runs on the root's own libc.
pub fn write_launcher(root: &Path, program: &str, launcher: &Path) -> Result<()> {
    // Suites before trixie keep libc in /lib.
    let usr = [root.join("usr").join(LIBRARIES), root.join(LIBRARIES)];
    let loader = usr.iter().map(|dir| dir.join("ld-linux-x86-64.so.2")).find(|file| file.exists());
    let loader = loader.with_context(|| format!("{} holds no libc", root.display()))?;
    let dirs = [&usr[0], &usr[1], &usr[0].join("mysql/private"), &usr[0].join("systemd")];
    let libraries = dirs.map(|dir| dir.display().to_string()).join(":");
    let program = root.join(program).display().to_string();
    write_script(
        launcher,
        &format!(
            "exec \"{}\" --argv0 \"{program}\" --library-path \"{libraries}\" \"{program}\" \"$@\"",
            loader.display()
        ),
    )
}

/// Writes an executable shell script.
pub fn write_script(file: &Path, text: &str) -> Result<()> {
    std::fs::write(file, format!("#!/bin/sh\n{text}\n"))?;
    Ok(std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o755))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_found_in_both_forms_of_sources() {
        let new = "Types: deb\n# URIs: http://old/debian\nURIs: http://security/debian-security\nSuites: x\n\nURIs: http://near/debian/\n";
        assert_eq!(mirror_in(new).as_deref(), Some("http://near/debian/"));
        let old = "# deb http://old/debian x main\ndeb-src http://src/debian x main\ndeb [signed-by=/k arch=amd64] http://near/debian x main\n";
        assert_eq!(mirror_in(old).as_deref(), Some("http://near/debian"));
        assert_eq!(mirror_in("deb http://near/ubuntu x main\n"), None);
    }
}
