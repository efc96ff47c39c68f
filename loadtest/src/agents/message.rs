//! What a coordinator and its agents say to each other.
//!
//! A call and the answer to it are understood by every version, so that another version can be named; all else only
//! ever passes between equals.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::client::{PublisherStats, TrackSent};
use crate::report::{Percentiles, ViewerRow};
use crate::run::{Look, Tally, Truth};
use crate::scenario::Impairment;
use crate::{clock, num};

/// Raised when messages change.
const PROTOCOL: u32 = 3;

/// Which programs understand each other: those of one version and one protocol.
pub fn version() -> String {
    format!("{} (protocol {PROTOCOL})", env!("CARGO_PKG_VERSION"))
}

/// Who hears what. Names of runs and agents are made here, and are words.
pub mod subject {
    /// Agents that wait hear this.
    pub const CALL: &str = "freshet.loadtest.call";

    /// One agent hears this.
    pub fn agent(agent: &str) -> String {
        format!("freshet.loadtest.agent.{agent}")
    }

    /// All agents of a run hear this.
    pub fn to(run: &str) -> String {
        format!("freshet.loadtest.run.{run}.to")
    }

    /// The coordinator hears all of these.
    pub fn from(run: &str, agent: &str) -> String {
        format!("freshet.loadtest.run.{run}.from.{agent}")
    }

    /// The coordinator's clock is asked here.
    pub fn ask(run: &str) -> String {
        format!("freshet.loadtest.run.{run}.clock")
    }

    /// And answers here.
    pub fn told(run: &str, agent: &str) -> String {
        format!("freshet.loadtest.run.{run}.clock.{agent}")
    }
}

/// A coordinator looks for agents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// Its run.
    pub run: String,
    /// [`version`] of the coordinator.
    pub version: String,
}

/// An agent is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// By this it is addressed.
    pub agent: String,
    /// By this people know it.
    pub name: String,
    /// [`version`] of the agent.
    pub version: String,
    /// Cores of its host.
    pub cores: u64,
}

/// A share of a run, as the coordinator describes it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Brief {
    /// Arguments of the command line, without those that are the coordinator's own.
    pub arguments: Vec<String>,
    /// The scenario's text, variables being replaced.
    pub file: Option<String>,
    /// So many viewers instead of what these say.
    pub viewers: Option<u32>,
    /// Measure for so long instead of what these say.
    pub duration: Option<Duration>,
    /// Bearer token of viewers.
    pub token: Option<String>,
    /// Authorities behind the server's certificate, in PEM.
    pub authorities: Option<String>,
    /// Number of this share, from 0.
    pub share: u32,
    /// How many there are.
    pub of: u32,
    /// The coordinator ends its run within this, counting aside.
    pub limit: Duration,
}

/// What the coordinator says to one agent or to all.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Order {
    /// This is your share: prepare it. Said to one.
    Prepare {
        /// The run.
        run: String,
        /// The share.
        brief: Box<Brief>,
    },
    /// The coordinator is there.
    Beat,
    /// The first viewer is due then, in microseconds since the Unix epoch by the coordinator's clock.
    Start(u64),
    /// The network becomes bad for some; with a number.
    Impair(u64, Impairment),
    /// The bad network of this number is over.
    Heal(u64),
    /// Nobody comes or goes any more.
    Close,
    /// Count, knowing this, and say goodbye to the server.
    Finish(Sent),
    /// The run is over, however it went.
    Over,
}

/// What an agent says to its coordinator.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Word {
    /// It waits for a share.
    Hello(Hello),
    /// It has prepared its share.
    Ready {
        /// Viewers of it.
        viewers: u64,
        /// Its clock.
        clock: Option<Clock>,
    },
    /// It will not do its share; why.
    Refused(String),
    /// How it goes: each second. Says too that the agent is there.
    Tick(Box<Count>),
    /// It is there, between ticks.
    Here,
    /// All that it counted.
    Counted(Box<Count>),
    /// Its viewers are gone.
    Done,
    /// It stops before the end; why.
    Gone(String),
}

/// What an agent knows of the coordinator's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clock {
    /// To be added to the agent's clock, in microseconds.
    pub offset: i64,
    /// How well that is known, at its worst so far, in microseconds.
    pub uncertainty: u64,
    /// One of the two clocks has jumped since the run was prepared.
    pub jumped: bool,
}

/// How an agent's share is going; sums since the start.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Count {
    /// Which second's, from 1.
    pub second: u64,
    /// What viewers saw.
    pub tally: Tally,
    /// As in [`Look`].
    pub joining: u64,
    /// As in [`Look`].
    pub between: u64,
    /// As in [`Look`].
    pub watching: u64,
    /// As in [`Look`].
    pub failed: u64,
    /// As in [`Look`].
    pub left: u64,
    /// As in [`Look`].
    pub gap: Duration,
    /// Cores' worth of CPU on average so far.
    pub cores: Option<f64>,
    /// Datagrams that the agent's host dropped so far.
    pub drops: Option<u64>,
    /// Why its figures would speak of itself: it had no time to measure.
    pub saturated: Option<String>,
    /// By how much the agent's own timers were late.
    pub late_ms: Option<Percentiles>,
    /// The agent's clock.
    pub clock: Option<Clock>,
    /// As in [`Look`].
    #[serde(default)]
    pub rows: Vec<ViewerRow>,
}

impl Count {
    /// What a look found.
    pub fn of(look: Look) -> Self {
        let Look { tally, joining, between, watching, failed, left, gap, rows, .. } = look;
        Self { tally, joining, between, watching, failed, left, gap, rows, ..Self::default() }
    }
}

/// What publishers sent, for those who count what came of it. Times are microseconds since the Unix epoch by the
/// coordinator's clock.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Sent {
    /// Each publisher: its number, its video, its audio.
    publishers: Vec<(u64, Line, Line)>,
    /// Those whose session ended before its time.
    ended: Vec<u64>,
    /// Until then media was due.
    until: u64,
}

/// What was sent of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Line {
    last_index: Option<u64>,
    last_due: Option<u64>,
}

impl From<&Truth> for Sent {
    fn from(truth: &Truth) -> Self {
        let line = |track: &TrackSent| Line {
            last_index: track.last_index,
            last_due: track.last_due.map(clock::unix_micros),
        };
        let of = |stats: &PublisherStats| (stats.publisher, line(&stats.video), line(&stats.audio));
        Self {
            publishers: truth.sent.values().map(of).collect(),
            ended: truth.ended.iter().copied().collect(),
            until: clock::unix_micros(truth.until),
        }
    }
}

impl From<&Sent> for Truth {
    fn from(sent: &Sent) -> Self {
        let line = |line: Line| TrackSent {
            last_index: line.last_index,
            last_due: line.last_due.map(clock::at_unix_micros),
            ..TrackSent::default()
        };
        let of = |(publisher, video, audio): &(u64, Line, Line)| {
            let (video, audio) = (line(*video), line(*audio));
            (*publisher, PublisherStats { publisher: *publisher, video, audio, ..PublisherStats::default() })
        };
        let sent_by: HashMap<u64, PublisherStats> = sent.publishers.iter().map(of).collect();
        let ended: HashSet<u64> = sent.ended.iter().copied().collect();
        Self { sent: sent_by, ended, until: clock::at_unix_micros(sent.until) }
    }
}

/// A question to the coordinator's clock, and its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// Who asks.
    pub agent: String,
    /// Which question.
    pub nth: u64,
    /// When it was read, by the coordinator's clock; in the answer.
    pub read: u64,
    /// When it was answered.
    pub answered: u64,
}

/// The time by this process's clock.
pub fn now() -> u64 {
    clock::unix_micros(Instant::now())
}

/// The number of cores of this host.
pub fn cores() -> u64 {
    std::thread::available_parallelism().map_or(0, |cores| num::len(cores.get()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_is_the_same_at_an_agent() {
        let until = Instant::now();
        let video = TrackSent {
            last_index: Some(900),
            last_due: Some(until - Duration::from_millis(33)),
            ..TrackSent::default()
        };
        let stats = PublisherStats { publisher: 7, video, ..PublisherStats::default() };
        let truth = Truth { sent: HashMap::from([(7, stats)]), ended: HashSet::from([9]), until };
        let text = serde_json::to_string(&Order::Finish(Sent::from(&truth))).unwrap();
        let Order::Finish(sent) = serde_json::from_str(&text).unwrap() else { panic!("{text}") };
        let there = Truth::from(&sent);
        let close = |one: Instant, other: Instant| one.max(other) - one.min(other) < Duration::from_millis(5);
        assert!(close(there.until, until));
        assert_eq!((there.ended, there.sent[&7].video.last_index), (HashSet::from([9]), Some(900)));
        assert!(close(there.sent[&7].video.last_due.unwrap(), video.last_due.unwrap()));
        assert_eq!(there.sent[&7].audio.last_index, None);
    }
}
