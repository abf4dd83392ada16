//! The directory's lock: one process at a time.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::Path;

use crate::error::LogError;

const NAME: &str = "lock";
/// A process id and no more.
const HOLDER_BYTES_MAX: u64 = 20;

/// Held as long as it lives; the system lets go of it however the process ends.
#[derive(Debug)]
pub struct DirectoryLock {
    _file: File,
}

impl DirectoryLock {
    pub fn take(dir: &Path) -> Result<Self, LogError> {
        let path = dir.join(NAME);
        let unusable = |error: std::io::Error| LogError::Directory { path: path.clone(), reason: error.to_string() };
        let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = open.map_err(unusable)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(LogError::Locked { dir: dir.to_owned(), holder: holder(&mut file) });
            }
            Err(TryLockError::Error(error)) => return Err(unusable(error)),
        }
        file.set_len(0).and_then(|()| write!(file, "{}", std::process::id())).map_err(unusable)?;
        Ok(Self { _file: file })
    }
}

fn holder(file: &mut File) -> String {
    let mut text = String::new();
    match file.take(HOLDER_BYTES_MAX).read_to_string(&mut text) {
        Ok(1..) => format!("process {text}"),
        _ => "another process".to_owned(),
    }
}
