//! The audience of a run: viewers of this process, or of agents.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use super::crowd::{Crowd, Look};
use super::tally::Truth;
use crate::agents::Field;
use crate::report::AgentReport;
use crate::scenario::Impairment;

/// Between two looks at viewers of this process.
const LOOK: Duration = Duration::from_secs(1);

/// Who watches.
pub(super) enum Audience {
    /// Viewers of this process.
    Here(Arc<Crowd>),
    /// Viewers of agents.
    There(Arc<Field>),
}

impl Audience {
    /// The first one is due at `start`. Must be called inside a runtime.
    pub fn come(&self, start: Instant) {
        match self {
            Self::Here(crowd) => crowd.come(),
            Self::There(field) => field.come(start),
        }
    }

    /// It is time for another look, the last one having been then.
    pub fn ready(&self, looked: Instant) -> bool {
        match self {
            Self::Here(_) => looked.elapsed() >= LOOK,
            Self::There(field) => field.ready(),
        }
    }

    /// Nobody is left to look at; `alone` says that nobody is there beside viewers by WHEP.
    pub fn deserted(&self, alone: bool) -> bool {
        match self {
            Self::Here(crowd) => alone && crowd.deserted(),
            Self::There(field) => field.deserted(),
        }
    }

    /// How it goes.
    pub fn look(&self) -> Look {
        match self {
            Self::Here(crowd) => crowd.look(),
            Self::There(field) => field.look(),
        }
    }

    /// What decoders were given is decoded to the end, within seconds; agents do that by themselves.
    pub fn finish_decoding(&self, runtime: &Runtime) {
        if let Self::Here(crowd) = self {
            runtime.block_on(crowd.finish_all_decoding());
        }
    }

    /// How it went, knowing what was sent.
    pub fn finish(&self, truth: &Truth) -> Look {
        match self {
            Self::Here(crowd) => crowd.finish(truth),
            Self::There(field) => field.finish(truth),
        }
    }

    /// Nobody comes or goes from now on.
    pub fn close(&self) {
        match self {
            Self::Here(crowd) => crowd.close(),
            Self::There(field) => field.close(),
        }
    }

    /// The network becomes bad for some; its number, and for how many. Must be called inside a runtime.
    pub fn impair(&self, bad: Impairment) -> (u64, u64) {
        match self {
            Self::Here(crowd) => crowd.impair(bad),
            Self::There(field) => field.impair(bad),
        }
    }

    /// It is good again, if nothing has made it bad in another way since.
    pub fn heal(&self, nth: u64) -> bool {
        match self {
            Self::Here(crowd) => crowd.heal(nth),
            Self::There(field) => field.heal(nth),
        }
    }

    /// Agents, and what became of each.
    pub fn agents(&self) -> Vec<AgentReport> {
        match self {
            Self::Here(_) => Vec::new(),
            Self::There(field) => field.reports(),
        }
    }
}
