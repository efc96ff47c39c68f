//! What real decoders made of what viewers got.

use serde::{Deserialize, Serialize};

/// What the decoders of some viewers made of their video, all together.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct DecodeReport {
    /// Sessions whose video was to be decoded.
    pub sessions: u64,
    /// Frames handed to decoders.
    pub handed: u64,
    /// Pictures that they made of them.
    pub decoded: u64,
    /// Frames that should have become pictures and did not: handed over in vain, or not handed over because something of
    /// them was missing.
    pub missing: u64,
    /// Those of them of which something was missing.
    pub broken: u64,
    /// Lines in which decoders complained.
    pub errors: u64,
    /// One of these.
    pub first_error: Option<String>,
    /// Whole frames that were not handed over because this host's decoder was too slow.
    pub dropped: u64,
}

impl DecodeReport {
    /// Adds what others counted.
    pub fn merge(&mut self, other: &Self) {
        let Self { sessions, handed, decoded, missing, broken, errors, first_error, dropped } = other;
        for (mine, theirs) in [
            (&mut self.sessions, sessions),
            (&mut self.handed, handed),
            (&mut self.decoded, decoded),
            (&mut self.missing, missing),
            (&mut self.broken, broken),
            (&mut self.errors, errors),
            (&mut self.dropped, dropped),
        ] {
            *mine = mine.saturating_add(*theirs);
        }
        self.first_error = self.first_error.take().or_else(|| first_error.clone());
    }
}
