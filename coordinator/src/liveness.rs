//! Alive, Suspect, Draining or Dead: the verdict on one incarnation of a node.
//!
//! A store that is away or wiped kills nothing. *Dead* needs three witnesses to agree: the key is gone from a store
//! that we can read, the heartbeat has been silent for [`SILENCE`] on a bus that works, and no live link of another
//! node that is itself heard reports it. The one shortcut: a newer incarnation of the same id is proof enough.

use std::time::Duration;

/// How long a heartbeat may be missing, on a bus that works, before silence means something.
pub const SILENCE: Duration = Duration::from_secs(5);

/// What is known of one incarnation at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Evidence {
    /// A newer incarnation of the same id has registered.
    pub superseded: bool,
    /// The registry was read and does not hold it.
    pub key_gone: bool,
    /// Time since its last heartbeat, counted only while the bus worked.
    pub silent_for: Duration,
    /// A node that is heard reports a live link with it.
    pub linked: bool,
    /// It says that it takes no new sessions.
    pub draining: bool,
}

/// The verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Liveness {
    /// Registered and heard.
    Alive,
    /// One witness is missing. It keeps its rooms and gets new sessions only when nobody better is there.
    Suspect,
    /// It takes no new sessions.
    Draining,
    /// It is gone: its streams have ended and its children need a new parent.
    Dead,
}

impl Liveness {
    /// The word used in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::Suspect => "suspect",
            Self::Draining => "draining",
            Self::Dead => "dead",
        }
    }
}

/// Judges one incarnation.
pub fn judge(evidence: &Evidence) -> Liveness {
    let silent = evidence.silent_for >= SILENCE;
    if evidence.superseded || (evidence.key_gone && silent && !evidence.linked) {
        Liveness::Dead
    } else if evidence.draining {
        Liveness::Draining
    } else if evidence.key_gone || silent {
        Liveness::Suspect
    } else {
        Liveness::Alive
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEARD: Evidence = Evidence {
        superseded: false,
        key_gone: false,
        silent_for: Duration::ZERO,
        linked: false,
        draining: false,
    };

    #[test]
    fn every_witness_alone_is_not_death() {
        let table = [
            (HEARD, Liveness::Alive),
            (Evidence { key_gone: true, ..HEARD }, Liveness::Suspect),
            (Evidence { silent_for: SILENCE, ..HEARD }, Liveness::Suspect),
            (Evidence { key_gone: true, silent_for: SILENCE, linked: true, ..HEARD }, Liveness::Suspect),
            (
                Evidence { key_gone: true, silent_for: SILENCE - Duration::from_millis(1), ..HEARD },
                Liveness::Suspect,
            ),
            (Evidence { key_gone: true, silent_for: SILENCE, ..HEARD }, Liveness::Dead),
            (Evidence { superseded: true, linked: true, ..HEARD }, Liveness::Dead),
            (Evidence { draining: true, ..HEARD }, Liveness::Draining),
            (Evidence { draining: true, silent_for: SILENCE, ..HEARD }, Liveness::Draining),
            (Evidence { draining: true, silent_for: SILENCE, key_gone: true, ..HEARD }, Liveness::Dead),
        ];
        for (evidence, verdict) in table {
            assert_eq!(judge(&evidence), verdict, "{evidence:?}");
        }
    }
}
