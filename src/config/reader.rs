//! Typed access to the values in force, with errors that say where a wrong value was written.

use std::fmt::Display;
use std::str::FromStr;

use freshet_cluster::secret::Secret;

use super::error::ConfigError;
use super::layers::{Given, Layers};
use super::print;

/// Reads files; a value, so that tests need none on disk.
pub type ReadFile<'a> = &'a dyn Fn(&str) -> std::io::Result<String>;

/// The values in force, and the files that they name.
pub struct Reader<'a> {
    /// The values.
    pub layers: &'a Layers,
    /// The files.
    pub files: ReadFile<'a>,
}

impl Reader<'_> {
    /// The text of a setting with one value; `None` when it is not set or empty.
    pub fn text(&self, key: &str) -> Option<&str> {
        let text = self.layers.get(key)?.texts.first()?;
        Some(text.as_str()).filter(|t| !t.is_empty())
    }

    /// A wrong value as an error.
    pub fn wrong(&self, key: &'static str, text: &str, reason: impl Display) -> ConfigError {
        let shown = print::masked(key, text);
        // Parsers quote what they were given; of a secret only the masked form leaves.
        let mut reason = reason.to_string();
        if shown != text && !text.is_empty() {
            reason = reason.replace(text, &shown);
        }
        let origin = self.layers.get(key).map(|g| g.origin.to_string()).unwrap_or_default();
        ConfigError::Value { key, shown: format!("{shown:?}"), origin, reason }
    }

    /// One value by a parser of its own; `None` when it is not set.
    pub fn parse_with<T, E: Display>(
        &self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Result<Option<T>, ConfigError> {
        let read = |text: &str| parse(text).map_err(|e| self.wrong(key, text, e));
        self.text(key).map(read).transpose()
    }

    /// All values by a parser of its own.
    pub fn parse_all<T, E: Display>(
        &self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Result<Vec<T>, ConfigError> {
        let texts = self.layers.get(key).map(|g| g.texts.as_slice()).unwrap_or_default();
        texts.iter().map(|text| parse(text).map_err(|e| self.wrong(key, text, e))).collect()
    }

    /// One value that has a default, by its own parser; `advice` says what to write.
    pub fn need<T: FromStr>(&self, key: &'static str, advice: &'static str) -> Result<T, ConfigError> {
        self.need_with(key, |text| text.parse::<T>().map_err(|_| advice), advice)
    }

    /// One value that has a default, by a parser of its own.
    pub fn need_with<T, E: Display>(
        &self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, E>,
        advice: &'static str,
    ) -> Result<T, ConfigError> {
        let found = self.parse_with(key, parse)?;
        found.ok_or(ConfigError::Missing { role: self.layers.role, key, advice })
    }

    /// `true` or `false`.
    pub fn switch(&self, key: &'static str) -> Result<bool, ConfigError> {
        Ok(self
            .parse_with(key, |t| t.parse::<bool>().map_err(|_| "write true or false"))?
            .unwrap_or_default())
    }

    /// The text of the file that a setting names, without white space at its ends.
    pub fn file(&self, key: &'static str) -> Result<Option<String>, ConfigError> {
        let Some(path) = self.text(key) else { return Ok(None) };
        let text = (self.files)(path).map_err(|e| ConfigError::Unreadable {
            key: key.to_owned(),
            origin: self.layers.get(key).map(|g| g.origin.to_string()).unwrap_or_default(),
            path: path.to_owned(),
            reason: e.to_string(),
        })?;
        Ok(Some(text.trim().to_owned()))
    }

    /// The secret of a file that a setting names.
    pub fn secret_file(&self, key: &'static str) -> Result<Option<Secret>, ConfigError> {
        match self.file(key)? {
            Some(text) if text.is_empty() => {
                let path = self.text(key).unwrap_or_default().to_owned();
                Err(self.wrong(key, &path, "the file is empty: write the secret into it"))
            }
            found => Ok(found.as_deref().map(Secret::new)),
        }
    }

    /// A secret that is given as text or as a file, whichever was said at the higher place.
    pub fn secret(&self, key: &'static str, file_key: &'static str) -> Result<Option<Secret>, ConfigError> {
        let rank = |given: Option<&Given>| given.map(|g| g.origin.rank());
        let (text, file) = (rank(self.layers.get(key)), rank(self.layers.get(file_key)));
        if text.is_some() && text == file {
            let said = format!("{key} and {file_key} are both given: give one of them, rather the file");
            return Err(ConfigError::Contradiction(said));
        }
        if file > text { self.secret_file(file_key) } else { Ok(self.text(key).map(Secret::new)) }
    }
}
