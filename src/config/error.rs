//! What is wrong with a configuration, where it was said, and what to do.

use super::settings::Role;

/// Why a process does not start with this configuration. Secrets are never part of the message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The file is no TOML.
    #[error("configuration file {path} is not valid TOML: {message}")]
    Toml {
        /// Which file.
        path: String,
        /// What the parser said, with line and column.
        message: String,
    },
    /// A key that no role has.
    #[error("configuration file {path}: unknown key {key:?}{hint}")]
    UnknownKey {
        /// Which file.
        path: String,
        /// As written, with its table.
        key: String,
        /// What may have been meant, and where to look.
        hint: String,
    },
    /// A value of another type.
    #[error("configuration file {path}: {key} is of type {found}: write {wanted}")]
    FileValue {
        /// Which file.
        path: String,
        /// Which key.
        key: String,
        /// The TOML type found.
        found: &'static str,
        /// The types that do.
        wanted: &'static str,
    },
    /// A file that a setting names cannot be read.
    #[error("{key} ({origin}): cannot read {path}: {reason}")]
    Unreadable {
        /// Which setting.
        key: String,
        /// Where it was said.
        origin: String,
        /// Which file.
        path: String,
        /// What the system said.
        reason: String,
    },
    /// A value that does not parse.
    #[error("{key} = {shown} ({origin}): {reason}")]
    Value {
        /// Which setting.
        key: &'static str,
        /// The value as it may be shown.
        shown: String,
        /// Where it was said.
        origin: String,
        /// What is wrong and what to write.
        reason: String,
    },
    /// A setting that the role cannot do without.
    #[error("{role} needs {key}: {advice}")]
    Missing {
        /// Which role.
        role: Role,
        /// Which setting.
        key: &'static str,
        /// What to do.
        advice: &'static str,
    },
    /// Settings that exclude each other.
    #[error("{0}")]
    Contradiction(String),
}
