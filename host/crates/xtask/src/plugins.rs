//! Writers, and the guests that tests run: built for the sandbox, in a target folder of their own.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use wit_component::ComponentEncoder;

use crate::places::{cargo, repository, target};
use crate::step::{command, read, read_patiently, say, show};

const TARGET: &str = "wasm32-unknown-unknown";

/// `cargo x plugins`.
pub fn run() -> Result<ExitCode> {
    let dir = build()?;
    for writer in packages("plugins", "-writer", "")? {
        println!("{}", dir.join(format!("{writer}.wasm")).display());
    }
    Ok(ExitCode::SUCCESS)
}

/// Builds all of them, and answers the folder of the writers' components.
pub fn build() -> Result<PathBuf> {
    ensure_target()?;
    let writers = packages("plugins", "-writer", "")?;
    say(format!("building {} and the guests of tests for {TARGET}", writers.join(", ")));
    show(&mut sandbox_cargo("build")?)?;
    let built = sandbox_target().join(TARGET).join("plugin");
    let dir = target().join("plugins");
    std::fs::create_dir_all(&dir)?;
    for writer in writers {
        let module = built.join(format!("{}.wasm", writer.replace('-', "_")));
        let component = component(&module).with_context(|| format!("{} is no writer", module.display()))?;
        // Renamed when complete: a running mysync may be watching it.
        let part = dir.join(format!("{writer}.part"));
        std::fs::write(&part, component)?;
        std::fs::rename(part, dir.join(format!("{writer}.wasm")))?;
    }
    Ok(dir)
}

/// A cargo command over everything that is built for the sandbox.
pub fn sandbox_cargo(verb: &str) -> Result<Command> {
    let mut command = cargo(&[verb, "--quiet", "--locked", "--profile", "plugin", "--target", TARGET]);
    command.arg("--target-dir").arg(sandbox_target());
    command.args(sandboxed()?.iter().flat_map(|package| ["--package", package]));
    Ok(command)
}

/// Tests find their guests there too.
fn sandbox_target() -> PathBuf {
    target().join("guests")
}

fn component(module: &Path) -> Result<Vec<u8>> {
    ComponentEncoder::default().module(&std::fs::read(module)?)?.validate(true).encode()
}

/// Every package that is built for the sandbox.
fn sandboxed() -> Result<Vec<String>> {
    let mut names = packages("plugins", "-writer", "")?;
    names.extend(packages("tests/guests", "", "guest-")?.into_iter().filter(|name| name != "guest-kit"));
    Ok(names)
}

/// The packages in a folder, in order; each is called like its own folder.
fn packages(folder: &str, ending: &str, prefix: &str) -> Result<Vec<String>> {
    let dir = repository().join(folder);
    let mut names = Vec::new();
    for entry in dir.read_dir().with_context(|| dir.display().to_string())? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(ending) && entry.path().join("Cargo.toml").exists() {
            names.push(format!("{prefix}{name}"));
        }
    }
    names.sort();
    Ok(names)
}

/// rustup brings the target with the toolchain, unless it was told to install nothing by itself.
pub fn ensure_target() -> Result<()> {
    let sysroot = read(command("rustc").current_dir(repository()).args(["--print", "sysroot"]))?;
    if Path::new(sysroot.trim()).join("lib/rustlib").join(TARGET).join("lib").exists() {
        return Ok(());
    }
    say(format!("adding {TARGET} to the toolchain"));
    let added = read_patiently(command("rustup").current_dir(repository()).args(["target", "add", TARGET]));
    added.with_context(|| format!("the toolchain has no {TARGET}, which writers are built for"))?;
    Ok(())
}
