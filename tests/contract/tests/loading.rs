//! Files that shall become writers: what is refused before it runs, and what is kept of what was compiled.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use mysync_contract_tests::components;
use mysync_contract_tests::writers::{self, settings};
use mysync_wasm::{Component, Engine, EngineSettings, PluginSettings, WasmError};

async fn refusal(bytes: &[u8]) -> WasmError {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("writer.wasm");
    fs::write(&path, bytes).unwrap();
    Component::load(writers::engine(), &path).await.err().expect("a refusal")
}

fn identity() -> Vec<u8> {
    fs::read(components::guest("identity")).unwrap()
}

/// A core module that imports `module.name`, a function without parameters.
fn importing(module: &str, name: &str) -> Vec<u8> {
    let mut import = vec![1, module.len() as u8];
    import.extend_from_slice(module.as_bytes());
    import.push(name.len() as u8);
    import.extend_from_slice(name.as_bytes());
    import.extend_from_slice(&[0, 0]);
    let mut bytes = b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x02".to_vec();
    bytes.push(import.len() as u8);
    bytes.extend_from_slice(&import);
    bytes
}

fn replaced(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut bytes = bytes.to_vec();
    let mut found = 0;
    for at in 0..bytes.len() - from.len() {
        if &bytes[at..at + from.len()] == from.as_bytes() {
            bytes[at..at + from.len()].copy_from_slice(to.as_bytes());
            found += 1;
        }
    }
    assert!(found > 0, "{from} is in the file");
    bytes
}

#[tokio::test]
async fn there_is_no_such_file() {
    let missing = Component::load(writers::engine(), Path::new("no/such/writer.wasm")).await.err().unwrap();
    assert_eq!(missing.code(), "COMPONENT_UNREADABLE");
}

#[tokio::test]
async fn it_is_no_webassembly() {
    for bytes in [&b""[..], b"\0", b"#!/bin/sh\nexit 0\n", b"\0asm", b"\0asm\x02\0\0\0", b"\0asm\x0d\0\x02\0"] {
        assert_eq!(refusal(bytes).await.code(), "COMPONENT_INVALID", "{bytes:?}");
    }
}

#[tokio::test]
async fn it_is_larger_than_anything_that_makes_sense() {
    let mut bytes = identity();
    bytes.resize((16 << 20) + 1, 0);
    assert_eq!(refusal(&bytes).await.code(), "COMPONENT_TOO_LARGE");
}

#[tokio::test]
async fn it_was_built_for_wasi() {
    for module in ["wasi_snapshot_preview1", "env", "wasi:clocks/wall-clock@0.2.6"] {
        let error = refusal(&importing(module, "now")).await;
        assert_eq!(error.code(), "WASM_IMPORT_REFUSED");
        assert!(error.to_string().contains(&format!("`{module}.now`")), "{error}");
    }
}

#[tokio::test]
async fn it_is_a_module_that_knows_nothing_of_writers() {
    let code = refusal(b"\0asm\x01\0\0\0").await.code();
    assert!(["WASM_WORLD_MISMATCH", "COMPONENT_INVALID"].contains(&code), "{code}");
}

#[tokio::test]
async fn it_was_built_for_another_contract() {
    let other = replaced(&identity(), "@0.1.0", "@0.2.0");
    let error = refusal(&other).await;
    assert_eq!(error.code(), "WASM_WORLD_MISMATCH", "{error}");
    assert!(error.to_string().contains("@0.2.0"), "{error}");
}

#[tokio::test]
async fn it_was_built_for_a_later_contract_that_only_adds() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("later.wasm");
    fs::write(&path, replaced(&identity(), "@0.1.0", "@0.1.7")).unwrap();
    let plugin = writers::load(PluginSettings { component: path, ..settings("identity", "") }).await;
    plugin.start().await.unwrap();
}

#[tokio::test]
async fn it_was_cut_or_damaged_on_its_way() {
    let whole = identity();
    for cut in (0..whole.len()).step_by(whole.len() / 40) {
        let code = refusal(&whole[..cut]).await.code();
        assert!(["COMPONENT_INVALID", "WASM_WORLD_MISMATCH"].contains(&code), "cut at {cut}: {code}");
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("damaged.wasm");
    for at in (8..whole.len()).step_by(whole.len() / 40) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x55;
        fs::write(&path, damaged).unwrap();
        // Many a flipped byte leaves a valid module: it may load, or be refused, but nothing else.
        if let Err(error) = Component::load(writers::engine(), &path).await {
            assert!(
                ["COMPONENT_INVALID", "WASM_WORLD_MISMATCH", "WASM_IMPORT_REFUSED", "COMPONENT_TOO_LARGE"]
                    .contains(&error.code()),
                "{error}"
            );
        }
    }
}

/// The files of compiled components in a directory.
fn compiled(dir: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> = paths.filter(|path| path.extension().is_some_and(|e| e == "code")).collect();
    paths.sort();
    paths
}

#[tokio::test]
async fn a_compiled_component_is_kept_and_never_run_after_it_was_changed() {
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("components");
    let engine = Engine::new(&EngineSettings { cache_dir: Some(cache.clone()) }).unwrap();
    let load = async |guest: &str| Component::load(&engine, &components::guest(guest)).await.unwrap();
    load("identity").await;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let files = compiled(&cache);
    let [file] = files.as_slice() else { panic!("one file, not {files:?}") };
    assert_eq!((mode(&cache), mode(file)), (0o700, 0o600));

    let good = fs::read(file).unwrap();
    let modified = || fs::metadata(file).unwrap().modified().unwrap();
    let first = modified();
    load("identity").await;
    assert_eq!(modified(), first, "the second start compiles nothing");

    for at in [0, good.len() / 2, good.len() - 1] {
        let mut changed = good.clone();
        changed[at] ^= 1;
        fs::write(file, &changed).unwrap();
        load("identity").await;
        assert_eq!(fs::read(file).unwrap().len(), good.len(), "compiled anew after a change at {at}");
        assert_ne!(fs::read(file).unwrap(), changed);
    }
    fs::write(file, &good[..good.len() / 2]).unwrap();
    load("identity").await;
    assert_eq!(fs::read(file).unwrap().len(), good.len());

    // A file of another component, whole and of our own making, in the place of this one.
    load("lies").await;
    let other = compiled(&cache).into_iter().find(|path| path != file).unwrap();
    fs::copy(&other, file).unwrap();
    load("identity").await;
    assert_ne!(fs::read(file).unwrap(), fs::read(&other).unwrap());
}

#[tokio::test]
async fn a_directory_that_others_could_read_the_key_of_is_not_used() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("key"), [7; 32]).unwrap();
    fs::set_permissions(dir.path().join("key"), fs::Permissions::from_mode(0o644)).unwrap();
    let engine = Engine::new(&EngineSettings { cache_dir: Some(dir.path().to_owned()) }).unwrap();
    Component::load(&engine, &components::guest("identity")).await.unwrap();
    assert!(compiled(dir.path()).is_empty());
}

#[tokio::test]
async fn a_writers_digest_changes_with_its_component_and_its_mapping() {
    use mysync_pipeline::ports::Plugin;
    let digest = async |guest: &str, mapping: &str| writers::load(settings(guest, mapping)).await.digest().to_owned();
    let first = digest("identity", "a").await;
    assert_eq!(first.len(), 64);
    assert_eq!(first, digest("identity", "a").await);
    assert_ne!(first, digest("identity", "b").await);
    assert_ne!(first, digest("lies", "a").await);
}
