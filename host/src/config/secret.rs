//! Values that must not be seen, and where they come from.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::{Serialize, Serializer};

/// What stands in place of a secret wherever something is shown.
pub const REDACTED: &str = "***";
/// A secret is a password or a URL; a larger file is another file by mistake.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// A text that shows itself to nobody but [`Secret::expose`].
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself: for a connection, never for a message.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(REDACTED)
    }
}

/// Where variables are looked up: the environment, except in tests.
pub type Variables<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Puts values in place of `${NAME}` and `${file:PATH}`, and a file's content in place of a whole `file:PATH`. Each value goes through
/// `each`. Paths are relative to `base`.
pub fn expand(
    text: &str,
    base: &Path,
    variables: Variables<'_>,
    each: impl Fn(String) -> String,
) -> Result<String, String> {
    if let Some(path) = text.strip_prefix("file:") {
        return read(base, path);
    }
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let (name, behind) = after.split_once('}').ok_or("has a ${ without a }")?;
        expanded.push_str(before);
        let value = match name.strip_prefix("file:") {
            Some(path) => read(base, path)?,
            None if name.is_empty() => return Err("has a ${} that names no variable".to_owned()),
            None => {
                variables(name).ok_or_else(|| format!("needs the variable {name}, and it is not set: export it"))?
            }
        };
        expanded.push_str(&each(value));
        rest = behind;
    }
    expanded.push_str(rest);
    Ok(expanded)
}

/// A file's text without the line end that editors add.
fn read(base: &Path, path: &str) -> Result<String, String> {
    let path = base.join(path);
    let unreadable = |reason: &dyn fmt::Display| format!("needs the file {}: {reason}", path.display());
    let file = File::open(&path).map_err(|error| unreadable(&error))?;
    let mut text = String::new();
    let length = file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(|error| unreadable(&error))?;
    if length as u64 > FILE_BYTES_MAX {
        return Err(unreadable(&format!("it is larger than {FILE_BYTES_MAX} bytes, so it is no secret")));
    }
    text.truncate(text.trim_end_matches(['\n', '\r']).len());
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(text: &str) -> Result<String, String> {
        let variables = |name: &str| (name == "PASSWORD").then(|| "hunter2".to_owned());
        expand(text, Path::new("/nowhere"), &variables, |value| value)
    }

    #[test]
    fn a_secret_is_never_shown() {
        let secret = Secret::new("hunter2");
        let shown = format!("{secret} {secret:?} {}", serde_json::to_string(&secret).unwrap());
        assert_eq!(shown, "*** *** \"***\"");
        assert_eq!(secret.expose(), "hunter2");
    }

    #[test]
    fn variables_are_put_in_and_a_missing_one_is_named() {
        assert_eq!(expanded("a${PASSWORD}b${PASSWORD}").unwrap(), "ahunter2bhunter2");
        assert_eq!(expanded("$PASSWORD {id}").unwrap(), "$PASSWORD {id}");
        assert!(expanded("${NONE}").unwrap_err().contains("NONE"));
        assert!(expanded("${PASSWORD").is_err() && expanded("${}").is_err());
        assert!(expanded("file:absent").unwrap_err().contains("/nowhere/absent"));
    }

    #[test]
    fn a_file_loses_its_last_line_end_only() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("secret"), " p w \r\n").unwrap();
        let none = |_: &str| None;
        for text in ["file:secret", "${file:secret}"] {
            assert_eq!(expand(text, folder.path(), &none, |value| value).unwrap(), " p w ");
        }
        std::fs::write(folder.path().join("large"), vec![b'x'; FILE_BYTES_MAX as usize + 1]).unwrap();
        assert!(expand("file:large", folder.path(), &none, |value| value).unwrap_err().contains("larger"));
    }
}
