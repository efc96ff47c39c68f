//! What a run found: one JSON object, documented in `docs/loadtest.md`.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{ChatReport, ChatSecond, DecodeReport, HlsReport, HlsSecond, Percentiles, ViewerRow};
use crate::media::MAX_LAYERS;
use crate::num;

/// How often values occurred, for a picture of their spread.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Bars {
    /// Where each bar ends, in milliseconds, rising; a bar in which nothing occurred may be left out.
    pub upper_ms: Vec<f64>,
    /// Values of each bar; as many as there are ends.
    pub counts: Vec<u64>,
}

/// The spread of what percentiles sum up.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Figures {
    /// From scheduled capture to arrival.
    pub latency: Bars,
    /// From the scheduled join to SRTP keys.
    pub connected: Bars,
    /// From the scheduled join to the first packet of the first keyframe.
    pub first_keyframe: Bars,
    /// The longest gap of each viewer's tracks.
    pub longest_gap: Bars,
}

/// What the server used and did in one second, all its processes or pages together; none where nobody told.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ServerSecond {
    /// Cores' worth of CPU.
    pub cores: Option<f64>,
    /// Resident memory.
    pub resident_bytes: Option<u64>,
    /// Context switches.
    pub switches_per_second: Option<f64>,
    /// Packets that it sent to viewers.
    pub packets_per_second: Option<f64>,
    /// Bits that it sent to viewers.
    pub bits_per_second: Option<f64>,
    /// Sessions that it took.
    pub joins_per_second: Option<f64>,
}

/// One second of a run.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Second {
    /// From when the first join was due to its end.
    pub at_s: f64,
    /// How long it was: about a second.
    pub seconds: f64,
    /// Viewers that are due and not connected yet, at its end.
    pub joining: u64,
    /// Viewers that are connected, at its end.
    pub watching: u64,
    /// Viewers that could not connect, or that lost their session for good, so far.
    pub failed: u64,
    /// Viewers that left when their stay was over, so far.
    pub left: u64,
    /// Viewers that connected in it.
    pub joined: u64,
    /// Different packets that came in it.
    pub packets: u64,
    /// Packets that are missing at its end; they may still come.
    pub missing: u64,
    /// Payload bits that came, a second, all viewers together.
    pub bits_per_second: u64,
    /// Latency of the packets that came in it.
    pub latency_ms: Option<Percentiles>,
    /// Of viewers whose first keyframe came in it: how long after their scheduled join.
    pub first_keyframe_ms: Option<Percentiles>,
    /// The longest that any viewer's track stood still, as far as seen in it.
    pub longest_gap_ms: f64,
    /// Gaps of more than 200 ms that ended in it, over all viewers' video.
    pub freezes: u64,
    /// Cores' worth of CPU of this process.
    pub client_cores: Option<f64>,
    /// The server, where a process or page of it was named.
    pub server: Option<ServerSecond>,
    /// Those who watch by HLS, if there are any.
    #[serde(default)]
    pub hls: Option<HlsSecond>,
    /// Those who chat, if there are any.
    #[serde(default)]
    pub chat: Option<ChatSecond>,
}

/// Something that was done to the server or the network in the run.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Happening {
    /// From when the first join was due to when it was done.
    pub at_s: f64,
    /// What was done, in words: `kill -9 4711`, `drain`.
    pub what: String,
    /// It could be done.
    pub ok: bool,
    /// What came of it, in words.
    pub said: String,
}

/// What the server used and did over the run, all its processes or pages together; none where nobody told.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ServerReport {
    /// Its processes. Where there are any, CPU, memory and context switches are theirs.
    pub pids: Vec<u32>,
    /// The pages on which it tells of itself.
    pub metrics: Vec<String>,
    /// Cores' worth of CPU on average.
    pub cores: Option<f64>,
    /// In the busiest second.
    pub cores_max: Option<f64>,
    /// Resident memory at its highest.
    pub resident_bytes_max: Option<u64>,
    /// Context switches a second.
    pub switches_per_second: Option<f64>,
    /// Packets that it sent to viewers, by its own count.
    pub packets: Option<u64>,
    /// Bits that it sent to viewers a second, by its own count.
    pub bits_per_second: Option<f64>,
    /// Sessions that it took, by its own count.
    pub joins: Option<u64>,
    /// CPU time for each packet that it sent, in microseconds; where it does not tell of those, for each that viewers
    /// received.
    pub cpu_us_per_packet: Option<f64>,
    /// CPU time of the whole run for each session that it took, in milliseconds; where it does not tell of those, for each
    /// viewer that connected.
    pub cpu_ms_per_join: Option<f64>,
    /// How often a page could not be read.
    pub unread: u64,
}

impl ServerReport {
    /// What CPU is divided by: packets that were sent by the server's count, or that viewers received; and joins.
    pub fn counted(&self) -> (&'static str, &'static str) {
        let packet = if self.packets.is_some() { "it sent" } else { "viewers received" };
        let join = if self.joins.is_some() { "session that it took" } else { "viewer that connected" };
        (packet, join)
    }
}

/// What was aimed at.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct TargetReport {
    /// WHIP endpoint, if this run published.
    pub whip: Option<String>,
    /// WHEP endpoint; empty where nobody watched by WHEP.
    pub whep: String,
}

/// The publishers.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct PublishersReport {
    /// Publishers of the plan.
    pub wanted: u64,
    /// Those whose session ended before the run did.
    pub ended_early: u64,
    /// Why, and how many.
    #[serde(default)]
    pub reasons: BTreeMap<String, u64>,
    /// Packets sent.
    pub packets: u64,
    /// Payload bytes sent.
    pub bytes: u64,
    /// Keyframes sent.
    pub keyframes: u64,
    /// PLI and FIR that came.
    pub keyframe_requests: u64,
    /// Longest time by which a packet left later than it was due.
    pub worst_lateness_ms: f64,
}

/// How much of their media viewers decrypted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ModeReport {
    /// `full` or `sampled`.
    pub name: String,
    /// One in so many viewers was to decrypt every packet; 1 in full.
    pub every: u64,
    /// Connected ones that decrypted every packet: latency, order and damage are theirs.
    pub whole: u64,
    /// Connected ones that counted media by its headers.
    pub headers: u64,
}

/// The viewers.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ViewersReport {
    /// Places of the plan, each with one viewer at a time.
    pub wanted: u64,
    /// Places at which somebody was connected, for however long.
    #[serde(default)]
    pub seated: u64,
    /// Sessions that connected: a place has several where stays end, and a viewer that lost its session and came back.
    #[serde(alias = "connected")]
    pub sessions: u64,
    /// Viewers that could not connect, and those that lost their session and are not back.
    pub failed: u64,
    /// Sessions that ended before the run did, or the viewer's stay.
    pub ended_early: u64,
    /// Viewers that left when their stay was over.
    pub left: u64,
    /// Sessions with a track that received nothing.
    pub silent: u64,
    /// Why viewers failed or ended, and how many.
    pub reasons: BTreeMap<String, u64>,
    /// Sessions whose media came by a TURN server.
    #[serde(default)]
    pub relayed: u64,
    /// How often a server asked to come again later before it let a viewer in, by the status with which it did.
    #[serde(default)]
    pub put_off: BTreeMap<String, u64>,
    /// Viewers that lost their session and came back.
    #[serde(default)]
    pub reconnects: ReconnectsReport,
}

/// Viewers that lost their session and joined again.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ReconnectsReport {
    /// How often a session was lost, or left because the server said so, by the reason.
    pub reasons: BTreeMap<String, u64>,
    /// How often somebody was back: a packet came by the next session.
    pub back: u64,
    /// Viewers that were not back when their stay or the run was over.
    pub not_back: u64,
    /// Attempts that failed, by the reason.
    pub failed: BTreeMap<String, u64>,
    /// From the last packet of the old session to the first of the next; of who is not back, as far as it went.
    pub away_ms: Option<Percentiles>,
    /// Of those who are back: from the last packet of the old session to the first of the next.
    pub first_packet_ms: Option<Percentiles>,
    /// Of those who are back: from the last packet of the old session to the next one's first keyframe.
    pub first_keyframe_ms: Option<Percentiles>,
}

impl ReconnectsReport {
    /// How often a session was lost.
    pub fn lost(&self) -> u64 {
        self.reasons.values().sum()
    }
}

impl ViewersReport {
    /// Viewers that are not back, of all that had a session, in per cent; none where nobody had one.
    pub fn not_back_percent(&self) -> Option<f64> {
        // Whoever is back had one before.
        let came = self.sessions.saturating_sub(self.reconnects.back);
        (came > 0).then(|| num::float(self.reconnects.not_back) * 100.0 / num::float(came))
    }
}

/// Loss of one kind of media.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct LossReport {
    /// What each viewer should have received from its first packet to the last that was sent.
    pub expected: u64,
    /// Packets that never came.
    pub lost: u64,
    /// Lost of expected; none where nothing came.
    pub loss_percent: Option<f64>,
}

/// Packets of all viewers together.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct PacketReport {
    /// What each viewer should have received from its first packet to the last that was sent.
    pub expected: u64,
    /// Different packets that came.
    pub received: u64,
    /// Packets that never came.
    pub lost: u64,
    /// Lost of expected.
    pub loss_percent: Option<f64>,
    /// Loss of video.
    pub video: LossReport,
    /// Loss of audio, for which browsers ask no retransmission.
    pub audio: LossReport,
    /// Packets that did not come by first transmission.
    pub lost_before_recovery: u64,
    /// The same, of expected.
    pub loss_before_recovery_percent: Option<f64>,
    /// Packets that came as retransmissions.
    pub recovered: u64,
    /// Packets that came more than once.
    pub duplicates: u64,
    /// Packets that came behind one that was captured later, and were no retransmissions.
    #[serde(default)]
    pub overtaken: u64,
    /// Packets whose RTP numbers contradict the order of capture.
    pub out_of_order: u64,
    /// Payloads that are not what was sent.
    pub mismatched: u64,
    /// Packets of publishers' simulcast layers, the largest first.
    #[serde(default)]
    pub layers: [u64; MAX_LAYERS as usize],
    /// How often a viewer was sent another layer than before.
    #[serde(default)]
    pub layer_switches: u64,
    /// Packets captured before their viewer was connected: sent from the server's history.
    pub history: u64,
    /// Packets of other media.
    pub unstamped: u64,
    /// Packets that could not be decrypted or belong to no track.
    pub rejected: u64,
    /// Datagrams that this run dropped on purpose.
    pub injected_loss: u64,
    /// Payload bits received a second, all viewers together, over the whole run.
    pub bits_per_second: u64,
}

/// Phases of viewers' first joins, from when each was due. Who joins again is in [`ReconnectsReport`].
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct JoinReport {
    /// To the SDP answer.
    pub answered_ms: Option<Percentiles>,
    /// To a working ICE pair.
    pub ice_ms: Option<Percentiles>,
    /// To SRTP keys.
    pub connected_ms: Option<Percentiles>,
    /// To the first packet of any track.
    pub first_packet_ms: Option<Percentiles>,
    /// To the first packet of the first keyframe.
    pub first_keyframe_ms: Option<Percentiles>,
}

/// This side of the run.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ClientReport {
    /// Cores' worth of CPU used on average.
    pub cpu_cores: Option<f64>,
    /// Cores of this host.
    pub host_cores: u64,
    /// Threads that drove viewers.
    pub threads: u64,
    /// Datagrams that this host dropped at full receive buffers.
    pub socket_drops: Option<u64>,
    /// By how much this process's own timers were late.
    pub late_ms: Option<Percentiles>,
    /// Seconds in which the threads that drove viewers had no CPU time left.
    pub full_seconds: u64,
    /// This process was the limit: its figures of time do not speak of the server.
    pub saturated: bool,
}

/// An agent that watched for this run.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct AgentReport {
    /// Its name.
    pub name: String,
    /// Places of its share.
    pub viewers: u64,
    /// Places at which somebody was connected.
    pub connected: u64,
    /// Viewers that could not connect, or that lost their session and are not back.
    pub failed: u64,
    /// Different packets that came.
    pub packets: u64,
    /// Packets whose latency is in the run's.
    pub latencies: u64,
    /// What was added to its clock to have the publishers', in milliseconds; none where that was not known.
    pub clock_offset_ms: Option<f64>,
    /// How well that was known, at its worst.
    pub clock_uncertainty_ms: Option<f64>,
    /// It was not known well enough, or it jumped: none of this agent's latencies are in the run's.
    pub latency_refused: bool,
    /// Why, where that is so.
    #[serde(default)]
    pub clock_doubt: Option<String>,
    /// Cores' worth of CPU used on average.
    pub cpu_cores: Option<f64>,
    /// Cores of its host.
    pub host_cores: u64,
    /// Datagrams that its host dropped at full receive buffers.
    pub socket_drops: Option<u64>,
    /// Why its figures speak of itself, where it had no time to measure.
    pub saturated: Option<String>,
    /// By how much its own timers were late.
    #[serde(default)]
    pub late_ms: Option<Percentiles>,
    /// Why it was lost before the end.
    pub lost: Option<String>,
    /// When it was heard last, where it was lost, from when the first join was due.
    pub heard_s: Option<f64>,
}

/// How a run stood against a bound.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// The bound as it was given.
    pub bound: String,
    /// The figure, in per cent, milliseconds or a count; none where nothing was measured.
    pub value: Option<f64>,
    /// The run broke it.
    pub broken: bool,
    /// It would be broken, by a time that this process may have made itself.
    #[serde(default)]
    pub not_measured: bool,
}

impl Verdict {
    /// In one word, or two.
    pub fn word(&self) -> &'static str {
        match (self.broken, self.not_measured) {
            (true, _) => "broken",
            (false, true) => "not measured",
            (false, false) => "kept",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = self.word();
        match self.value {
            Some(value) if self.not_measured => {
                write!(f, "{word}: {} (it is {value:.3}, and the client was the limit)", self.bound)
            }
            Some(value) => write!(f, "{word}: {} (it is {value:.3})", self.bound),
            None => write!(f, "{word}: {} (nothing was measured)", self.bound),
        }
    }
}

/// Version of [`RunReport`]. Another one may mean other things by the same names.
pub const SCHEMA: u32 = 3;

/// What a run found.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct RunReport {
    /// Version of this object: [`SCHEMA`].
    pub schema: u32,
    /// The scenario's name.
    pub name: String,
    /// When the first join was due, in milliseconds since the Unix epoch.
    pub started_ms: u64,
    /// What was aimed at.
    pub target: TargetReport,
    /// From the first join to the end of measuring.
    pub seconds: f64,
    /// The run was stopped by hand.
    pub interrupted: bool,
    /// The publishers.
    pub publishers: PublishersReport,
    /// How much of their media viewers decrypted.
    #[serde(default)]
    pub mode: ModeReport,
    /// The viewers.
    pub viewers: ViewersReport,
    /// Packets of all viewers together.
    pub packets: PacketReport,
    /// From scheduled capture to arrival, all packets of all viewers that decrypted them but those of the history.
    pub latency_ms: Option<Percentiles>,
    /// By how much longer sound or picture took than the other, in each second of each viewer.
    #[serde(default)]
    pub av_skew_ms: Option<Percentiles>,
    /// By how much longer the picture took, on average over these; below 0 where the sound did.
    #[serde(default)]
    pub video_behind_ms: Option<f64>,
    /// Phases of joining.
    pub join: JoinReport,
    /// The longest gap of each viewer's tracks.
    pub longest_gap_ms: Option<Percentiles>,
    /// Gaps of more than 200 ms in viewers' video.
    pub freezes: u64,
    /// How long video stood still in them, all viewers together, in milliseconds.
    pub frozen_ms: f64,
    /// The spread of the percentiles' values.
    pub figures: Figures,
    /// Sessions of those viewers who had it worst, the worst first.
    #[serde(default)]
    pub worst: Vec<ViewerRow>,
    /// Every session, which is in a file of its own.
    #[serde(skip)]
    pub rows: Vec<ViewerRow>,
    /// What real decoders made of viewers' video, if some had them.
    #[serde(default)]
    pub decode: Option<DecodeReport>,
    /// Those who watched by HLS, if there were any.
    #[serde(default)]
    pub hls: Option<HlsReport>,
    /// Those who chatted, if there were any.
    #[serde(default)]
    pub chat: Option<ChatReport>,
    /// Second by second.
    pub timeline: Vec<Second>,
    /// What was done in the run.
    pub happenings: Vec<Happening>,
    /// The server, where a process or page of it was named.
    pub server: Option<ServerReport>,
    /// This side.
    pub client: ClientReport,
    /// Agents that watched; none where this side did.
    #[serde(default)]
    pub agents: Vec<AgentReport>,
    /// Why the figures do not speak of the server.
    pub invalid: Vec<String>,
    /// How the run stood against its bounds.
    pub bounds: Vec<Verdict>,
}

impl RunReport {
    /// This process, or an agent, had no time to measure.
    pub fn saturated(&self) -> bool {
        self.client.saturated || self.agents.iter().any(|agent| agent.saturated.is_some())
    }

    /// By how much one in a hundred timers was late, at least, of this process or the agent that was worst; in milliseconds.
    pub fn late_p99_ms(&self) -> f64 {
        let all = self.agents.iter().map(|agent| agent.late_ms).chain([self.client.late_ms]);
        all.flatten().map(|late| late.p99).fold(0.0, f64::max)
    }

    /// A bound is broken, or the run is invalid, or an agent was lost, or it was stopped before its end.
    pub fn failed(&self) -> bool {
        let lost = self.agents.iter().any(|agent| agent.lost.is_some());
        lost || self.interrupted
            || !self.invalid.is_empty()
            || self.bounds.iter().any(|verdict| verdict.broken)
    }
}
