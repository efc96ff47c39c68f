//! What is to be run, checked before anything is sent.

use std::time::Duration;

use crate::client::{PublisherConfig, ViewerConfig};

/// Most viewers of one process.
const MAX_VIEWERS: u32 = 20_000;
const MAX_PUBLISHERS: u32 = 1_000;
/// Stands for a publisher's number in URLs.
const NUMBER: &str = "{i}";

/// A plan. URLs may hold `{i}`: the publisher's number, over which viewers are spread evenly.
#[derive(Debug, Clone)]
pub struct RunPlan {
    /// How publishers connect; its URL is the WHIP endpoint.
    pub publisher: PublisherConfig,
    /// How many; 0: watch what others publish.
    pub publishers: u32,
    /// How viewers connect; its URL is the WHEP endpoint.
    pub viewer: ViewerConfig,
    /// How many.
    pub viewers: u32,
    /// Viewers started a second; `None`: all at once.
    pub ramp: Option<f64>,
    /// Time measured after the last viewer was started.
    pub duration: Duration,
    /// Threads that drive viewers.
    pub threads: usize,
    /// The run is over by then, whatever hangs.
    pub time_limit: Duration,
}

/// Why a plan is impossible.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A number is out of range.
    #[error("{what} {value} is out of range; {range}")]
    Range {
        /// Which number.
        what: &'static str,
        /// Its value.
        value: String,
        /// What it may be.
        range: String,
    },
    /// Publishers would take each other's stream over.
    #[error(
        "{publishers} publishers need {{i}} in the WHIP URL, such as …/whip/room-{{i}}: each one its own stream"
    )]
    SameStream {
        /// Publishers of the plan.
        publishers: u32,
    },
    /// Nothing to receive.
    #[error("neither video nor audio is left to send or receive")]
    NoMedia,
    /// A number has nothing to number.
    #[error("the WHEP URL has {{i}} but there are no publishers to count")]
    NothingToNumber,
}

impl RunPlan {
    /// Checks what can be checked without a network.
    pub fn check(&self) -> Result<(), PlanError> {
        let range = |what, value: String, range: String| Err(PlanError::Range { what, value, range });
        if !(1..=MAX_VIEWERS).contains(&self.viewers) {
            return range("viewers", self.viewers.to_string(), format!("1 to {MAX_VIEWERS} in one process"));
        }
        if self.publishers > MAX_PUBLISHERS {
            return range("publishers", self.publishers.to_string(), format!("0 to {MAX_PUBLISHERS}"));
        }
        if self.duration < Duration::from_secs(1) {
            return range("duration", format!("{:?}", self.duration), "at least 1s".into());
        }
        if self.time_limit <= self.arrival() + self.duration {
            return range(
                "time limit",
                format!("{:?}", self.time_limit),
                format!("joining and measuring take {:?}", self.arrival() + self.duration),
            );
        }
        if self.publishers > 1 && !self.publisher.url.contains(NUMBER) {
            return Err(PlanError::SameStream { publishers: self.publishers });
        }
        if self.publishers == 0 && self.viewer.url.contains(NUMBER) {
            return Err(PlanError::NothingToNumber);
        }
        let sends = self.publishers == 0 || self.publisher.video.is_some() || self.publisher.audio;
        if !sends || !(self.viewer.video || self.viewer.audio) {
            return Err(PlanError::NoMedia);
        }
        Ok(())
    }

    /// When the last viewer is due.
    pub fn arrival(&self) -> Duration {
        self.due(self.viewers.saturating_sub(1))
    }

    /// When a viewer is due, from the start.
    pub fn due(&self, viewer: u32) -> Duration {
        self.ramp.map_or(Duration::ZERO, |rate| Duration::from_secs_f64(f64::from(viewer) / rate))
    }

    /// The URL with a publisher's number in it.
    pub fn whip(&self, publisher: u32) -> String {
        self.publisher.url.replace(NUMBER, &publisher.to_string())
    }

    /// The URL of a viewer: they are spread over publishers.
    pub fn whep(&self, viewer: u32) -> String {
        self.viewer.url.replace(NUMBER, &(viewer % self.publishers.max(1)).to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> RunPlan {
        RunPlan {
            publisher: PublisherConfig::new("http://127.0.0.1/whip/r-{i}"),
            publishers: 3,
            viewer: ViewerConfig::new("http://127.0.0.1/whep/r-{i}"),
            viewers: 100,
            ramp: Some(50.0),
            duration: Duration::from_secs(10),
            threads: 1,
            time_limit: Duration::from_secs(60),
        }
    }

    #[test]
    fn viewers_are_due_by_the_ramp_and_spread_over_publishers() {
        let plan = plan();
        plan.check().unwrap();
        assert_eq!((plan.due(0), plan.due(25)), (Duration::ZERO, Duration::from_millis(500)));
        assert_eq!(RunPlan { ramp: None, ..plan.clone() }.arrival(), Duration::ZERO);
        assert_eq!(plan.whep(4), "http://127.0.0.1/whep/r-1");
        assert_eq!(plan.whip(2), "http://127.0.0.1/whip/r-2");
    }

    #[test]
    fn impossible_plans_are_refused() {
        let same = PublisherConfig::new("http://127.0.0.1/whip/r");
        let mute = PublisherConfig { video: None, audio: false, ..plan().publisher };
        for bad in [
            RunPlan { viewers: 0, ..plan() },
            RunPlan { viewers: MAX_VIEWERS + 1, ..plan() },
            RunPlan { publishers: 5_000, ..plan() },
            RunPlan { duration: Duration::from_millis(10), ..plan() },
            RunPlan { time_limit: Duration::from_secs(11), ..plan() },
            RunPlan { publisher: same, ..plan() },
            RunPlan { publisher: mute, ..plan() },
            RunPlan { publishers: 0, ..plan() },
            RunPlan { viewer: ViewerConfig { video: false, audio: false, ..plan().viewer }, ..plan() },
        ] {
            assert!(bad.check().is_err(), "{bad:?}");
        }
    }
}
