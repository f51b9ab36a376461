//! Where files live and what may be changed: flags, environment, `config.toml`, built-in values, in that order.

use std::path::PathBuf;

use crate::fetch::limit::Limits;

/// What the command line overrides.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--sources`.
    pub sources: Option<PathBuf>,
    /// `--socket`.
    pub socket: Option<PathBuf>,
    /// `--state-dir`.
    pub state_dir: Option<PathBuf>,
    /// `--system`.
    pub system: bool,
    /// `--offline`.
    pub offline: bool,
}

/// The settings in force.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The sources file.
    pub sources_file: PathBuf,
    /// The socket.
    pub socket: PathBuf,
    /// Store, shelf, generation files, lock.
    pub state_dir: PathBuf,
    /// The socket is for a group (0660), not for one user (0600).
    pub system: bool,
    /// Nothing is fetched; the shelf answers.
    pub offline: bool,
    /// The limits of a sync.
    pub limits: Limits,
}

/// Why the configuration cannot be used: the file, the place in it, what was found and expected.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is wrong.
    #[error("{path}: {found}")]
    Invalid {
        /// Which.
        path: PathBuf,
        /// What was found and expected, with line and column.
        found: String,
    },
    /// No home directory is known, and no directory was given.
    #[error("no place for {what}: neither {variable} nor HOME is set")]
    Homeless {
        /// What needs a place.
        what: &'static str,
        /// The variable that would say it.
        variable: &'static str,
    },
}

impl Settings {
    /// Reads the settings; `env` gives environment variables.
    pub fn load(
        _overrides: &Overrides,
        _env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Settings, ConfigError> {
        todo!()
    }
}
