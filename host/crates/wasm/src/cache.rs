//! Compiled components on disk.
//!
//! What is read from here is run as machine code, so it must be what this program wrote: the directory belongs to its user alone, and each
//! file carries a code made with a key that only that user can read. A file that was changed, cut or renamed is compiled anew.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use sha2::{Digest, Sha256};

/// Files kept: each version of each component leaves one behind.
const FILES_MAX: usize = 64;
const KEY_FILE: &str = "key";
const KEY_LEN: usize = 32;
const CODE_LEN: usize = 32;

#[derive(Debug)]
pub(crate) struct Cache {
    dir: PathBuf,
    key: [u8; KEY_LEN],
    turn: Mutex<()>,
}

impl Cache {
    /// Opens the directory, or makes it.
    pub fn open(dir: &Path) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        fs::set_permissions(dir, Permissions::from_mode(0o700))?;
        let (mut key, key_path) = ([0; KEY_LEN], dir.join(KEY_FILE));
        File::open("/dev/urandom")?.read_exact(&mut key)?;
        write_new(dir, KEY_FILE, &[&key], Replace::No)?;
        let mut file = File::open(&key_path)?;
        // Only an owner may change modes, except for root, whom files of others would mislead.
        let (owner, metadata) = (fs::metadata(dir)?.uid(), file.metadata()?);
        if metadata.uid() != owner
            || metadata.uid() != fs::metadata("/proc/self")?.uid()
            || metadata.mode() & 0o077 != 0
        {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it belongs to another user"));
        }
        file.read_exact(&mut key)?;
        Ok(Self { dir: dir.to_owned(), key, turn: Mutex::default() })
    }

    /// Held from a look to what is stored if nothing was found: writers that share a component start together, and one of them compiles it.
    pub fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was stored as `name`, unless it is missing or not exactly that.
    pub fn load(&self, name: &str) -> Option<Vec<u8>> {
        let mut bytes = fs::read(self.dir.join(name)).ok()?;
        let body_len = bytes.len().checked_sub(CODE_LEN)?;
        let code = bytes.split_off(body_len);
        (self.code(name, &bytes)[..] == code[..]).then_some(bytes)
    }

    pub fn store(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        write_new(&self.dir, name, &[bytes, &self.code(name, bytes)], Replace::Yes)?;
        self.trim()
    }

    /// HMAC-SHA-256 of a file's name and bytes.
    fn code(&self, name: &str, bytes: &[u8]) -> [u8; CODE_LEN] {
        let keyed = |pad: u8| {
            let mut block = [pad; 64];
            block.iter_mut().zip(self.key).for_each(|(byte, key)| *byte ^= key);
            Sha256::new_with_prefix(block)
        };
        let inner = keyed(0x36).chain_update((name.len() as u64).to_le_bytes()).chain_update(name).chain_update(bytes);
        keyed(0x5c).chain_update(inner.finalize()).finalize().into()
    }

    fn trim(&self) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            if entry.file_name() != KEY_FILE {
                files.push((entry.metadata()?.modified()?, entry.path()));
            }
        }
        files.sort();
        let surplus = files.len().saturating_sub(FILES_MAX);
        files[..surplus].iter().try_for_each(|(_, path)| fs::remove_file(path))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Replace {
    Yes,
    No,
}

/// Writes a file under another name and moves it into place, so that no reader ever sees half of it.
fn write_new(dir: &Path, name: &str, parts: &[&[u8]], replace: Replace) -> io::Result<()> {
    let path = dir.join(name);
    if replace == Replace::No && path.exists() {
        return Ok(());
    }
    let draft = dir.join(format!("{name}.{}.draft", std::process::id()));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    parts.iter().try_for_each(|part| file.write_all(part))?;
    match replace {
        Replace::Yes => fs::rename(&draft, &path),
        // Another process may have been first: its key stands.
        Replace::No => {
            let linked = fs::hard_link(&draft, &path);
            fs::remove_file(&draft)?;
            linked.or_else(|error| if error.kind() == io::ErrorKind::AlreadyExists { Ok(()) } else { Err(error) })
        }
    }
}
