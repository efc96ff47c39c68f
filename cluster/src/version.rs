//! Versions of stored values: readers ignore what they do not know, writers keep it.
//!
//! Every value carries `v` (the version that wrote it) and `min_v` (the oldest reader that understands it). A value
//! whose `min_v` is above ours is left alone and reported, never rewritten. Fields that we do not know are kept
//! in [`Unknown`] and written back as they were.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Fields that this version does not know, kept for the next writer.
pub type Unknown = serde_json::Map<String, serde_json::Value>;

/// The version that this build writes and the newest `min_v` that it reads.
pub const VERSION: u32 = 1;
/// The oldest reader that understands what this build writes.
pub const MIN_VERSION: u32 = 1;
/// Longest stored value or bus message that is decoded, in bytes.
pub const VALUE_MAX: usize = 512 * 1024;

/// Why stored bytes are not a value.
#[derive(Debug, thiserror::Error)]
pub enum ValueError {
    /// Written by a newer Freshet that says older readers must not touch it.
    #[error(
        "value needs version {min_v} to be read and this build knows {VERSION}: upgrade this process; the value is left as it is"
    )]
    TooNew {
        /// The oldest reader that the writer allows.
        min_v: u32,
    },
    /// Not JSON of the expected shape.
    #[error("value is not valid {what}: {source}")]
    Malformed {
        /// The type that was expected.
        what: &'static str,
        /// What the decoder said.
        source: serde_json::Error,
    },
    /// Longer than [`VALUE_MAX`].
    #[error("value has {len} bytes: at most {VALUE_MAX} are read")]
    TooLong {
        /// Length found, in bytes.
        len: usize,
    },
}

#[derive(Deserialize)]
struct Header {
    #[serde(default)]
    min_v: u32,
}

/// Decodes a value from the store or the bus.
pub fn decode<T: DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T, ValueError> {
    if bytes.len() > VALUE_MAX {
        return Err(ValueError::TooLong { len: bytes.len() });
    }
    let malformed = |source| ValueError::Malformed { what, source };
    let header: Header = serde_json::from_slice(bytes).map_err(malformed)?;
    if header.min_v > VERSION {
        return Err(ValueError::TooNew { min_v: header.min_v });
    }
    serde_json::from_slice(bytes).map_err(malformed)
}

/// Encodes a value for the store or the bus.
pub fn encode<T: Serialize>(value: &T) -> bytes::Bytes {
    // Our own types are maps with string keys: encoding them cannot fail.
    serde_json::to_vec(value).unwrap_or_default().into()
}
