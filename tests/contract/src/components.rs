//! Where components come from: always from the sources beside this crate, built by the time a test has their path.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// A writer of this repository. `cargo x` builds them all and says where they are; without it they are built here.
pub fn plugin(name: &str) -> PathBuf {
    match std::env::var_os("MYSYNC_PLUGINS_DIR") {
        Some(dir) => existing(Path::new(&dir).join(format!("{name}.wasm"))),
        None => existing(guests_dir().join(format!("{}.wasm", name.replace('-', "_")))),
    }
}

/// A guest of `tests/guests`, by its folder's name.
pub fn guest(name: &str) -> PathBuf {
    existing(guests_dir().join(format!("guest_{name}.wasm")))
}

/// Where everything is that is built here: all at once.
fn guests_dir() -> &'static Path {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| {
        let guests = guests().into_iter().map(|guest| format!("guest-{guest}"));
        let plugins = std::env::var_os("MYSYNC_PLUGINS_DIR").is_none().then(|| "redis-writer".to_owned());
        built(&guests.chain(plugins).collect::<Vec<_>>())
    })
}

/// The guests that there are: every folder but the one they are all made of.
pub fn guests() -> Vec<String> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../guests");
    let names = dir.read_dir().expect("tests/guests is readable").map(|entry| entry.expect("an entry").file_name());
    let mut names: Vec<String> =
        names.map(|name| name.into_string().expect("UTF-8")).filter(|name| name != "kit").collect();
    names.sort();
    names
}

fn existing(path: PathBuf) -> PathBuf {
    assert!(path.exists(), "{} does not exist: `cargo x plugins` builds the writers", path.display());
    path
}

/// Builds packages for the sandbox, in a target directory of their own, and answers where they are.
fn built(packages: &[String]) -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from).join("guests");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(&workspace).args([
        "build",
        "--quiet",
        "--profile",
        "plugin",
        "--target",
        "wasm32-unknown-unknown",
    ]);
    cargo.arg("--target-dir").arg(&target).args(packages.iter().flat_map(|package| ["--package", package]));
    let status = cargo.status().expect("cargo runs");
    assert!(status.success(), "cargo cannot build {packages:?} for wasm32-unknown-unknown");
    target.join("wasm32-unknown-unknown/plugin")
}
