//! What is done to the server and to the network in the course of a run.

use std::fmt;
use std::time::Duration;

use freshet_cluster::unit::Bitrate;
use serde::{Deserialize, Serialize};

/// Something that is done at a time.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// When, from when the first viewer is due.
    pub at: Duration,
    /// Its name in the report; without one the act says what it is.
    pub name: Option<String>,
    /// What is done.
    pub act: Act,
}

/// What is done.
#[derive(Debug, Clone, PartialEq)]
pub enum Act {
    /// A process on this machine is killed (SIGKILL).
    Kill(u32),
    /// A program is run, without a shell; its exit status says whether it went well.
    Command(Vec<String>),
    /// An HTTP request is made; a status below 400 says that it went well.
    Call(Call),
    /// The path of some viewers becomes worse.
    Impair(Impairment),
}

/// An HTTP request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Its method.
    pub method: String,
    /// Where to.
    pub url: String,
    /// The environment variable that holds a bearer token.
    pub token_env: Option<String>,
    /// A JSON body.
    pub body: Option<String>,
}

/// What a bad network does to the datagrams of some viewers, each way.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Impairment {
    /// Share of viewers, 0–1.
    pub share: f64,
    /// Share of datagrams that are lost, 0–1.
    pub loss: f64,
    /// Each datagram is late by this.
    pub delay: Duration,
    /// And by up to this more, evenly; a datagram may overtake another.
    pub jitter: Duration,
    /// A link of this speed, whose queue holds a quarter of a second; datagrams beyond it are lost.
    pub rate: Option<Bitrate>,
    /// For so long; to the end of the run without it.
    pub lasts: Option<Duration>,
}

impl Impairment {
    /// Nothing at all, for all.
    pub const NONE: Self = Self {
        share: 1.0,
        loss: 0.0,
        delay: Duration::ZERO,
        jitter: Duration::ZERO,
        rate: None,
        lasts: None,
    };
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => f.write_str(name),
            None => self.act.fmt(f),
        }
    }
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill(pid) => write!(f, "kill -9 {pid}"),
            Self::Command(words) => f.write_str(&words.join(" ")),
            Self::Call(call) => write!(f, "{} {}", call.method, call.url),
            Self::Impair(impairment) => impairment.fmt(f),
        }
    }
}

impl fmt::Display for Impairment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} % of viewers:", self.share * 100.0)?;
        if self.loss > 0.0 {
            write!(f, " {} % loss", self.loss * 100.0)?;
        }
        if self.delay + self.jitter > Duration::ZERO {
            write!(f, " {:?} to {:?} late", self.delay, self.delay + self.jitter)?;
        }
        if let Some(rate) = self.rate {
            write!(f, " {rate}")?;
        }
        self.lasts.map_or(Ok(()), |lasts| write!(f, " for {lasts:?}"))
    }
}
