//! The configuration file: TOML in, [`Switch`] out, or every error of the file with its place.
//!
//! ```toml
//! [workers]
//! cpus = [1]
//!
//! [bridges.br0]
//! flows = ["priority=0 actions=NORMAL"]
//!
//! [bridges.br0.ports.vm1]
//! type = "vhost-user"
//! path = "/run/ringswitch/vm1.sock"
//! tag = 10
//! ```
//!
//! Keys are the settings of `model::schema`, without `options:` and `other_config:`. Trust: operators; nothing of a file
//! with an error is used. Neighbours: the daemon loads it at start and on reload.

mod read;
mod write;

use std::fmt;
use std::path::{Path, PathBuf};

pub use write::to_toml;

use crate::model::Switch;

/// Largest file that is read.
const FILE_MAX: u64 = 64 << 20;

/// One error of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Line and column, from 1; none when the file could not be read.
    pub at: Option<(usize, usize)>,
    /// Key, what was found, what was expected.
    pub message: String,
}

/// All errors of a file, in its order. Prints as `file:line:column: message`, one a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors {
    /// The file.
    pub file: PathBuf,
    /// At least one.
    pub errors: Vec<ConfigError>,
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.errors.iter().enumerate() {
            let newline = if index > 0 { "\n" } else { "" };
            match error.at {
                Some((line, column)) => {
                    write!(f, "{newline}{}:{line}:{column}: {}", self.file.display(), error.message)?
                }
                None => write!(f, "{newline}{}: {}", self.file.display(), error.message)?,
            }
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// Reads and checks a file. `allowed_cpus` are those that this process may run on.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load(file: &Path, allowed_cpus: &[usize]) -> Result<Switch, ConfigErrors> {
    let unreadable = |message: String| ConfigErrors {
        file: file.to_owned(),
        errors: vec![ConfigError { at: None, message: format!("cannot read the file: {message}") }],
    };
    let length = std::fs::metadata(file).map_err(|error| unreadable(error.to_string()))?.len();
    if length > FILE_MAX {
        return Err(unreadable(format!("{length} bytes, at most {FILE_MAX} are read")));
    }
    let bytes = std::fs::read(file).map_err(|error| unreadable(error.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let sound = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let at = Some(place(&String::from_utf8_lossy(sound)));
        ConfigErrors { file: file.to_owned(), errors: vec![ConfigError { at, message: "not UTF-8".to_owned() }] }
    })?;
    parse(&text, file, allowed_cpus)
}

/// Line and column, from 1, of what stands behind this text.
fn place(before: &str) -> (usize, usize) {
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// The same for text that was read already; `file` is for messages.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse(text: &str, file: &Path, allowed_cpus: &[usize]) -> Result<Switch, ConfigErrors> {
    read::switch(text, allowed_cpus).map_err(|errors| ConfigErrors { file: file.to_owned(), errors })
}

#[cfg(test)]
mod tests;
