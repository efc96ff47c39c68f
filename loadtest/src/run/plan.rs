//! What a scenario comes to, checked before anything is sent.

use std::sync::Arc;
use std::time::Duration;

use super::ServerMetrics;
use super::beside::{BesideAccess, BesidePlan};
use super::real::Media;
use crate::client::{ClientError, Depth, Gate, Loss, PublisherConfig, Trust, ViewerConfig};
use crate::media::{MAX_LAYERS, VideoConfig};
use crate::num;
use crate::scenario::{Act, Arrival, Chance, Event, Impairment, Mode, Publishers, Scenario, Server, Stay};

/// Most processes that viewers are spread over.
pub const MAX_PROCESSES: u32 = 100;
/// Most viewers of one process.
const MAX_VIEWERS: u32 = 20_000;
const MAX_PUBLISHERS: u32 = 1_000;
/// Longest name of a run, in characters.
const NAME_MAX: usize = 200;
/// Most threads that drive viewers.
const THREADS_MAX: usize = 256;
/// Threads for viewers where none were asked for: at most so many.
const THREADS: usize = 8;
/// What joining and leaving may take beyond arrival and duration.
const SLACK: Duration = Duration::from_secs(60);
/// Stands for a publisher's number in URLs.
const NUMBER: &str = "{i}";
/// Each use of chance has a sequence of its own, so that one does not shift the others.
const ARRIVALS: u64 = 1;
const ROOMS: u64 = 2;
const VIEWERS: u64 = 1_000;
const IMPAIRED: u64 = 1_000_000;
const SAMPLED: u64 = 2_000_000;
const REJOINING: u64 = 3_000_000;

/// What a scenario does not say, because it is not for files.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// Bearer token of publishers.
    pub publish: Option<String>,
    /// Bearer token of viewers.
    pub watch: Option<String>,
    /// The target is the user's own though it is neither loopback nor private.
    pub allow_public: bool,
    /// Whose certificates are believed where a URL begins with https.
    pub trust: Trust,
    /// Bearer token of viewers of HLS.
    pub hls: Option<String>,
    /// Bearer tokens of those who chat.
    pub chat: Vec<String>,
    /// Hosts that playlists and redirects may lead to, beside those of the URLs.
    pub hosts: Vec<String>,
}

/// When a viewer comes first, and whom it watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seat {
    /// Its number among all of the audience, from 0.
    pub number: u32,
    /// From the start of the run.
    pub due: Duration,
    /// Number of the publisher.
    pub room: u32,
}

/// A plan.
#[derive(Debug, Clone)]
pub struct RunPlan {
    /// Its name in the report.
    pub name: String,
    /// What they send, where that is real.
    pub media: Media,
    /// How publishers connect; its URL is the WHIP endpoint and may hold `{i}`.
    pub publisher: PublisherConfig,
    /// How many; 0: watch what others publish.
    pub publishers: u32,
    /// How viewers connect; its URL is the WHEP endpoint and may hold `{i}`.
    pub viewer: ViewerConfig,
    /// Viewers of this process, in the order in which they come.
    pub seats: Vec<Seat>,
    /// Viewers of all processes.
    pub audience: u32,
    /// When the last one of them is due.
    pub last_due: Duration,
    /// How long each stays.
    pub stay: Stay,
    /// How much of their media they decrypt.
    pub mode: Mode,
    /// Where they are sampled, one in so many decrypts all.
    pub sample: u32,
    /// One in so many hands its video to a real decoder.
    pub decode: Option<u32>,
    /// Who loses its session joins again.
    pub reconnect: bool,
    /// What is left to chance follows from this.
    pub seed: u64,
    /// Time measured after the last viewer is due.
    pub duration: Duration,
    /// Threads that drive viewers.
    pub threads: usize,
    /// The run is over by then, whatever hangs.
    pub time_limit: Duration,
    /// What is done in the run, in the order of time.
    pub events: Vec<Event>,
    /// The server's processes.
    pub pids: Vec<u32>,
    /// Where it tells of itself.
    pub server: ServerMetrics,
    /// Viewers of HLS, and those who chat.
    pub beside: BesidePlan,
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
    /// Real media is impossible.
    #[error("{0}")]
    Media(String),
    /// Nothing to receive.
    #[error("neither video nor audio is left to send or receive")]
    NoMedia,
    /// A number has nothing to number.
    #[error("the WHEP URL has {{i}} but there are no publishers to count")]
    NothingToNumber,
    /// Nowhere to watch.
    #[error("there is no WHEP URL: give --whep, or url under [viewers]; or --hls-url, or --chat-url")]
    NoTarget,
    /// Viewers of HLS or chat are impossible.
    #[error("{0}")]
    Beside(String),
    /// A bound that no run of this plan can keep.
    #[error("the bound {bound:?} cannot be kept: {why}")]
    Bound {
        /// As it was written.
        bound: String,
        /// What is in its way.
        why: &'static str,
    },
    /// An event would end this process.
    #[error("{0} is this process itself: an event cannot kill it")]
    Myself(u32),
    /// An event comes too late.
    #[error("the event {what:?} at {at:?} would come after the end, {end:?} after the first viewer")]
    TooLate {
        /// Which.
        what: String,
        /// When it is due.
        at: Duration,
        /// When the run ends.
        end: Duration,
    },
}

/// Keeps out whom sessions' servers lead to: what is public and was not named.
fn gate(scenario: &Scenario, access: &Access) -> Result<Arc<Gate>, ClientError> {
    let numbers = || 0..scenario.publishers.count.max(1);
    let urls = scenario.publishers.url.iter().chain([&scenario.viewers.url]).filter(|url| !url.is_empty());
    let all = urls.flat_map(|url| {
        // Most have the number in their path, if at all; those that have it in their host name many.
        let many = if url.contains(NUMBER) { numbers() } else { 0..1 };
        many.map(move |number| url.replace(NUMBER, &number.to_string()))
    });
    let called = scenario.events.iter().filter_map(|event| match &event.act {
        Act::Call(call) => Some(call.url.clone()),
        _ => None,
    });
    let all = all.chain(called).chain(scenario.server.metrics.iter().cloned());
    // What is no URL is told where it is asked, with all that is wrong with it.
    let all: Vec<String> = all.filter(|url| Gate::new(&[url.as_str()], &[], true).is_ok()).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let hosts: Vec<String> = access.hosts.iter().chain(&scenario.viewers.allow_hosts).cloned().collect();
    Gate::of_sessions(&all, &hosts, access.allow_public).map(Arc::new)
}

impl RunPlan {
    /// What a scenario comes to.
    pub fn of(scenario: &Scenario, access: Access) -> Result<Self, PlanError> {
        Self::among(scenario, access, 1)
    }

    /// What a scenario comes to whose viewers are spread over so many processes. All of them have a seat in it:
    /// [`Self::share`] takes one process's.
    pub fn among(scenario: &Scenario, access: Access, processes: u32) -> Result<Self, PlanError> {
        let (publishers, viewers) = (&scenario.publishers, &scenario.viewers);
        // Both make lists as long as they say.
        let most = MAX_VIEWERS.saturating_mul(processes.clamp(1, MAX_PROCESSES));
        within("viewers", viewers.count, 1, most, " in one process")?;
        within("sample", viewers.sample, 1, MAX_VIEWERS, ": one in so many viewers")?;
        within("publishers", publishers.count, 0, MAX_PUBLISHERS, "")?;
        let (allow_public, trust) = (access.allow_public, access.trust.clone());
        let gate = gate(scenario, &access).map_err(|error| PlanError::Beside(error.to_string()))?;
        let besides =
            BesideAccess { hls: access.hls, chat: access.chat, hosts: access.hosts, allow_public, trust };
        let beside = BesidePlan::of(scenario, &besides).map_err(PlanError::Beside)?;
        // Without a WHEP URL those beside are the whole audience.
        let alone = viewers.url.is_empty() && beside.anybody();
        let wanted = if alone { 0 } else { viewers.count };
        within("decode", viewers.decode.unwrap_or(1), 1, MAX_VIEWERS, ": one in so many viewers")?;
        let (media, codec) = Media::of(publishers).map_err(PlanError::Media)?;
        let &Publishers { bitrate, fps, gop, layers, oversized, .. } = publishers;
        within("layers", layers.into(), 1, MAX_LAYERS.into(), " of a publisher")?;
        let max_payload = VideoConfig::default().max_payload;
        let video =
            codec.map(|codec| VideoConfig { codec, bitrate, layers, fps, gop, max_payload, oversized });
        let real = media != Media::default();
        let publisher = PublisherConfig {
            token: access.publish,
            video,
            audio: publishers.audio,
            bind: viewers.bind,
            connect_timeout: viewers.connect_timeout,
            http_timeout: viewers.http_timeout,
            retry_for: viewers.retry_for,
            turn: viewers.turn,
            allow_public: access.allow_public,
            gate: Some(Arc::clone(&gate)),
            trust: access.trust.clone(),
            ..PublisherConfig::new(publishers.url.clone().unwrap_or_default())
        };
        let viewer = ViewerConfig {
            token: access.watch,
            video: video.is_some(),
            audio: publishers.audio,
            nack: viewers.nack,
            audio_nack: viewers.audio_nack,
            capture_time: real,
            loss: (viewers.loss > 0.0).then_some(Loss { fraction: viewers.loss, seed: scenario.seed }),
            seed: scenario.seed,
            bind: viewers.bind,
            connect_timeout: viewers.connect_timeout,
            http_timeout: viewers.http_timeout,
            retry_for: viewers.retry_for,
            turn: viewers.turn,
            allow_public: access.allow_public,
            gate: Some(gate),
            trust: access.trust,
            ..ViewerConfig::new(viewers.url.clone())
        };
        let count = if publishers.url.is_some() { publishers.count } else { 0 };
        let due = viewers.arrival.due(wanted, &mut Chance::of(scenario.seed, ARRIVALS));
        let rooms = viewers.rooms.of(wanted, count, &mut Chance::of(scenario.seed, ROOMS));
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let last_due = due.last().copied().unwrap_or_default();
        let mut plan = Self {
            name: name(&scenario.name, wanted, &viewers.arrival, &beside),
            media,
            publisher,
            publishers: count,
            viewer,
            seats: (0..)
                .zip(due.into_iter().zip(rooms))
                .map(|(number, (due, room))| Seat { number, due, room })
                .collect(),
            audience: wanted,
            last_due,
            stay: viewers.stay,
            mode: viewers.mode,
            sample: viewers.sample,
            decode: viewers.decode,
            reconnect: viewers.reconnect,
            seed: scenario.seed,
            duration: scenario.duration,
            threads: viewers.threads.unwrap_or(cores.min(THREADS)).clamp(1, THREADS_MAX),
            time_limit: Duration::MAX,
            events: scenario.events.clone(),
            pids: scenario.server.pids.clone(),
            server: metrics(&scenario.server),
            beside,
        };
        plan.time_limit = scenario.time_limit.unwrap_or(plan.end().saturating_add(SLACK));
        plan.check()?;
        Ok(plan)
    }

    fn check(&self) -> Result<(), PlanError> {
        let range = |what, value: Duration, range: String| {
            let value = if value.is_zero() { "0s".to_owned() } else { format!("{value:?}") };
            Err(PlanError::Range { what, value, range })
        };
        if self.viewer.url.is_empty() && !self.beside.anybody() {
            return Err(PlanError::NoTarget);
        }
        if self.duration < Duration::from_secs(1) {
            return range("duration", self.duration, "at least 1s".into());
        }
        if self.time_limit <= self.end() {
            return range(
                "time limit",
                self.time_limit,
                format!("joining and measuring take {:?}", self.end()),
            );
        }
        if self.publishers > 1 && !self.publisher.url.contains(NUMBER) {
            return Err(PlanError::SameStream { publishers: self.publishers });
        }
        if self.publishers == 0 && self.viewer.url.contains(NUMBER) {
            return Err(PlanError::NothingToNumber);
        }
        if !(self.viewer.video || self.viewer.audio) {
            return Err(PlanError::NoMedia);
        }
        if self.decode.is_some() && !self.viewer.video {
            return Err(PlanError::Media("there is no video to decode".to_owned()));
        }
        for event in &self.events {
            if event.at >= self.end() {
                let (what, at, end) = (event.to_string(), event.at, self.end());
                return Err(PlanError::TooLate { what, at, end });
            }
            if let Act::Kill(pid) = event.act
                && pid == std::process::id()
            {
                return Err(PlanError::Myself(pid));
            }
        }
        Ok(())
    }

    /// Leaves the seats of one of so many processes, counted from 0.
    #[must_use]
    pub fn share(mut self, process: u32, of: u32) -> Self {
        self.seats.retain(|seat| seat.number % of.max(1) == process);
        self
    }

    /// When the last viewer is due.
    pub fn arrival(&self) -> Duration {
        self.last_due.max(self.beside.arrival())
    }

    /// What is aimed at, in one line.
    pub fn target(&self) -> String {
        let whep = Some(&self.viewer.url).filter(|url| !url.is_empty());
        let hls = self.beside.hls.as_ref().map(|hls| &hls.url);
        let chat = self.beside.chat.as_ref().map(|chat| &chat.url);
        [whep, hls, chat].into_iter().flatten().map(String::as_str).collect::<Vec<_>>().join(", ")
    }

    /// Everybody who watches or chats here.
    pub fn everybody(&self) -> usize {
        let BesidePlan { hls, chat } = &self.beside;
        let hls = hls.as_ref().map_or(0, |hls| hls.due.len());
        self.seats.len() + hls + chat.as_ref().map_or(0, |chat| chat.due.len())
    }

    /// When measuring ends, from when the first viewer is due.
    pub fn end(&self) -> Duration {
        self.arrival().saturating_add(self.duration)
    }

    /// The URL with a publisher's number in it.
    pub fn whip(&self, publisher: u32) -> String {
        self.publisher.url.replace(NUMBER, &publisher.to_string())
    }

    /// Where who watches this publisher asks.
    pub fn whep(&self, room: u32) -> String {
        self.viewer.url.replace(NUMBER, &room.to_string())
    }

    /// What a bad network is to this viewer, if it is one of its share.
    pub fn impaired(&self, viewer: u32, bad: Impairment) -> Option<Impairment> {
        let mut chance = Chance::of(self.seed, IMPAIRED.saturating_add(viewer.into()));
        (chance.unit() < bad.share).then_some(bad)
    }

    /// Whether this viewer hands its video to a real decoder.
    pub fn decodes(&self, viewer: u32) -> bool {
        self.decode.is_some_and(|each| viewer.is_multiple_of(each.max(1)))
    }

    /// How much of its media this viewer decrypts: all where it is decoded.
    pub fn depth(&self, viewer: u32) -> Depth {
        let sample = self.sample.max(1);
        // The first one always, so that there is one. Then by chance in each group, lest it be always the same room's.
        let (group, place) = (viewer / sample, viewer % sample);
        let chosen = match group {
            0 => 0.0,
            _ => Chance::of(self.seed, SAMPLED.saturating_add(group.into())).unit() * f64::from(sample),
        };
        if self.mode == Mode::Full || self.decodes(viewer) || num::count(chosen) == u64::from(place) {
            Depth::Whole
        } else {
            Depth::Headers
        }
    }

    /// What is left to chance when one viewer joins again.
    pub fn rejoining(&self, viewer: u32) -> Chance {
        Chance::of(self.seed, REJOINING.saturating_add(viewer.into()))
    }

    /// What is left to chance at one viewer's place.
    pub fn chance(&self, viewer: u32) -> Chance {
        Chance::of(self.seed, VIEWERS.saturating_add(viewer.into()))
    }
}

/// Names of series that are not said are Freshet's.
fn metrics(server: &Server) -> ServerMetrics {
    let usual = ServerMetrics::default();
    ServerMetrics {
        urls: server.metrics.clone(),
        packets: server.packets.clone().unwrap_or(usual.packets),
        bytes: server.bytes.clone().unwrap_or(usual.bytes),
        joins: server.joins.clone().unwrap_or(usual.joins),
    }
}

fn within(what: &'static str, value: u32, least: u32, most: u32, more: &str) -> Result<(), PlanError> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(PlanError::Range { what, value: value.to_string(), range: format!("{least} to {most}{more}") })
}

/// A name for one that has none.
fn name(name: &str, viewers: u32, arrival: &Arrival, beside: &BesidePlan) -> String {
    if name.is_empty() {
        let whep = (viewers > 0).then(|| format!("{viewers} viewers, {arrival}"));
        let hls = beside.hls.as_ref().map(|hls| format!("{} viewers of HLS", hls.due.len()));
        let chat = beside.chat.as_ref().map(|chat| format!("{} in chat", chat.due.len()));
        return [whep, hls, chat].into_iter().flatten().collect::<Vec<_>>().join(", ");
    }
    name.chars().take(NAME_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{Codec, Publishers, Rooms, Viewers};

    fn scenario() -> Scenario {
        Scenario {
            publishers: Publishers {
                url: Some("http://127.0.0.1/whip/r-{i}".to_owned()),
                count: 3,
                ..Publishers::default()
            },
            viewers: Viewers {
                url: "http://127.0.0.1/whep/r-{i}".to_owned(),
                count: 100,
                ..Viewers::default()
            },
            ..Scenario::default()
        }
    }

    fn plan(edit: impl FnOnce(&mut Scenario)) -> Result<RunPlan, PlanError> {
        let mut scenario = scenario();
        edit(&mut scenario);
        RunPlan::of(&scenario, Access::default())
    }

    fn refused(edit: impl FnOnce(&mut Scenario)) -> String {
        plan(edit).unwrap_err().to_string()
    }

    #[test]
    fn viewers_come_as_they_arrive_and_are_spread_over_publishers() {
        let plan = plan(|_| {}).unwrap();
        assert_eq!((plan.seats[0].due, plan.seats[25].due), (Duration::ZERO, Duration::from_millis(500)));
        assert_eq!((plan.seats[4].room, plan.whep(1)), (1, "http://127.0.0.1/whep/r-1".to_owned()));
        assert_eq!(plan.whip(2), "http://127.0.0.1/whip/r-2");
        assert_eq!(plan.end(), Duration::from_millis(1_980) + Duration::from_secs(10));
        assert_eq!(plan.time_limit, plan.end() + SLACK);
        assert_eq!(plan.name, "100 viewers, 50/s");
        let storm = super::tests::plan(|s| s.viewers.arrival = Arrival::Storm(Duration::ZERO)).unwrap();
        assert_eq!((storm.arrival(), storm.name.as_str()), (Duration::ZERO, "100 viewers, all at once"));
    }

    #[test]
    fn every_seat_is_in_one_share_and_the_run_is_as_long_for_all() {
        let whole = plan(|_| {}).unwrap();
        let shares: Vec<RunPlan> = (0..3).map(|process| whole.clone().share(process, 3)).collect();
        assert_eq!(shares.iter().map(|share| share.seats.len()).collect::<Vec<_>>(), [34, 33, 33]);
        let mut seats: Vec<Seat> = shares.iter().flat_map(|share| share.seats.clone()).collect();
        seats.sort_by_key(|seat| seat.number);
        assert_eq!(seats, whole.seats);
        assert!(shares.iter().all(|share| share.end() == whole.end() && share.audience == 100));
        let many = Scenario { viewers: Viewers { count: 50_000, ..scenario().viewers }, ..scenario() };
        assert!(RunPlan::among(&many, Access::default(), 2).unwrap_err().to_string().contains("40000"));
        assert_eq!(RunPlan::among(&many, Access::default(), 3).unwrap().seats.len(), 50_000);
    }

    #[test]
    fn one_seed_is_one_run() {
        let by = |seed| {
            plan(|s| {
                s.seed = seed;
                s.viewers.arrival = Arrival::Poisson(20.0);
                s.viewers.rooms = Rooms::Zipf(1.0);
            })
            .unwrap()
            .seats
        };
        assert_eq!(by(4), by(4));
        assert_ne!(by(4), by(5));
    }

    #[test]
    fn one_in_so_many_viewers_decrypts_all_and_not_always_the_same_rooms() {
        let whole = |edit: fn(&mut Scenario)| {
            let plan = plan(edit).unwrap();
            (0..100).filter(|viewer| plan.depth(*viewer) == Depth::Whole).collect::<Vec<_>>()
        };
        assert_eq!(whole(|_| {}).len(), 100);
        let sampled = whole(|s| s.viewers.mode = Mode::Sampled);
        assert_eq!((sampled.len(), sampled[0]), (5, 0));
        assert!(sampled.iter().any(|viewer| viewer % 20 != sampled[1] % 20), "{sampled:?}");
        let all = whole(|s| (s.viewers.mode, s.viewers.sample) = (Mode::Sampled, 1));
        assert_eq!(all.len(), 100);
    }

    #[test]
    fn sound_alone_is_watched_without_pictures() {
        let plan = plan(|s| s.publishers.codec = Codec::Opus).unwrap();
        assert!(plan.publisher.video.is_none() && !plan.viewer.video && plan.viewer.audio);
    }

    #[test]
    fn those_beside_can_be_the_whole_audience() {
        let alone = plan(|s| {
            (s.viewers.url, s.publishers.url) = (String::new(), None);
            s.hls.url = "http://127.0.0.1/live.m3u8".to_owned();
        })
        .unwrap();
        assert!(alone.seats.is_empty());
        assert_eq!((alone.everybody(), alone.name.as_str()), (10, "10 viewers of HLS"));
        assert_eq!(alone.end(), Duration::from_millis(180) + Duration::from_secs(10));
        assert_eq!(alone.target(), "http://127.0.0.1/live.m3u8");
        let refused = refused(|s| s.hls.url = "http://".to_owned());
        assert!(refused.contains("cannot be used"), "{refused}");
        let both = plan(|s| s.chat.clients = Some(6)).unwrap();
        assert_eq!((both.everybody(), both.name.as_str()), (106, "100 viewers, 50/s, 6 in chat"));
    }

    #[test]
    fn impossible_plans_are_refused_with_the_reason() {
        let event = |at, act| Event { at: Duration::from_secs(at), name: None, act };
        assert!(refused(|s| s.viewers.count = 0).contains("1 to 20000"));
        assert!(refused(|s| s.viewers.count = MAX_VIEWERS + 1).contains("out of range"));
        assert!(refused(|s| s.viewers.sample = 0).contains("one in so many"));
        assert!(refused(|s| s.publishers.count = 5_000).contains("0 to 1000"));
        assert!(refused(|s| s.duration = Duration::from_millis(10)).contains("at least 1s"));
        assert!(refused(|s| s.time_limit = Some(Duration::from_secs(11))).contains("take 11.98s"));
        assert!(refused(|s| s.publishers.url = Some("http://127.0.0.1/whip/r".into())).contains("need {i}"));
        assert!(refused(|s| s.publishers.url = None).contains("no publishers to count"));
        assert!(refused(|s| s.viewers.url.clear()).contains("--whep"));
        let mute = |s: &mut Scenario| (s.publishers.codec, s.publishers.audio) = (Codec::Opus, false);
        assert!(refused(mute).contains("neither video nor audio"));
        let suicide = Act::Kill(std::process::id());
        assert!(refused(|s| s.events.push(event(1, suicide))).contains("itself"));
        assert!(refused(|s| s.events.push(event(12, Act::Kill(2)))).contains("after the end, 11.98s"));
    }
}
