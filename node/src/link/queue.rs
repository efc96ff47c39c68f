//! Packets that wait to be sent on a link, and what is dropped when the link is too slow.
//!
//! QUIC's own datagram buffer is first in, first out, and throws away the oldest: the wrong ones. So it is kept
//! short, and what does not fit waits here: audio goes first, always; video in order. When video waits too long, the
//! newest packet goes, and with it the rest of its layer until the next keyframe, which nothing could decode. A
//! keyframe may wait longer, so that a burst of one passes. Audio goes last.
//!
//! Not every layer may wait alike: higher layers before lower ones, newer streams before older ones are dropped at
//! shorter waits. So on a link that is too slow the same few go and stay away, and the others stay whole; if all were
//! dropped alike, all would be broken.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use freshet_relay_proto::header::MediaHeader;
use freshet_relay_proto::track::MediaKind;

/// Video may wait this long, by what the link carries: that of the first layer to go, that of the last.
const DELTA_WAIT: (Duration, Duration) = (Duration::from_millis(80), Duration::from_millis(150));
/// Keyframes may wait this long.
const KEYFRAME_WAIT: (Duration, Duration) = (Duration::from_millis(150), Duration::from_millis(300));
/// Audio may wait this long behind other audio.
const AUDIO_WAIT: Duration = Duration::from_millis(100);
/// So many bytes may wait on the slowest link: a burst of some frames, a keyframe, some hundred audio packets.
const DELTA_MIN: u64 = 64 * 1024;
const KEYFRAME_MIN: u64 = 128 * 1024;
const AUDIO_MIN: u64 = 32 * 1024;
/// So many bytes may wait on the fastest.
const BYTES_MAX: u64 = 8 * 1024 * 1024;
/// What has waited so long is not sent any more: the link has become slower since.
const AGE_MAX: Duration = Duration::from_millis(500);
/// How often the order in which layers go is made anew.
const RANK_EVERY: Duration = Duration::from_millis(100);
/// Layers that are remembered; beyond them those that were silent longest are forgotten.
const LANES_MAX: usize = 4_096;
/// A layer that sent nothing for so long is not counted among those that send.
const LANE_AGE: Duration = Duration::from_secs(10);

/// A packet that waits.
#[derive(Debug, Clone)]
pub struct Waiting {
    /// Audio or video.
    pub kind: MediaKind,
    /// Header.
    pub header: MediaHeader,
    /// Payload.
    pub payload: Bytes,
    at: Instant,
}

/// Packets dropped, by what they were.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Dropped {
    /// Audio.
    pub audio: u64,
    /// Video that belongs to a keyframe.
    pub keyframe: u64,
    /// Other video.
    pub delta: u64,
}

impl Dropped {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.audio.saturating_add(self.keyframe).saturating_add(self.delta)
    }
}

#[derive(Debug)]
struct Lane {
    /// A packet was dropped: nothing more until a keyframe with another timestamp begins.
    broken: Option<u32>,
    /// Timestamp of the keyframe that passes.
    keyframe: Option<u32>,
    last: Instant,
    /// How soon it goes: 0 last, 1,000 first.
    rank: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Audio,
    Keyframe,
    Delta,
}

/// The machine.
#[derive(Debug, Default)]
pub struct MediaQueue {
    audio: VecDeque<Waiting>,
    video: VecDeque<Waiting>,
    audio_bytes: u64,
    video_bytes: u64,
    lanes: HashMap<(u32, u8, u8), Lane>,
    ranked: Option<Instant>,
    dropped: Dropped,
}

impl MediaQueue {
    /// Takes a packet, or drops it. `rate`: what the link carries, in bytes a second.
    pub fn push(
        &mut self,
        now: Instant,
        kind: MediaKind,
        header: MediaHeader,
        payload: Bytes,
        rate: u64,
    ) -> bool {
        let size = size(&payload);
        let (class, rank) = match kind {
            MediaKind::Audio => (Class::Audio, 0),
            MediaKind::Video => match self.class(now, &header) {
                Some(class) => class,
                None => return self.drop_one(Class::Delta),
            },
        };
        let ranked =
            |(first, last): (Duration, Duration)| first + (last - first) * (1_000 - rank.min(1_000)) / 1_000;
        let (waiting, wait, least) = match class {
            Class::Audio => (self.audio_bytes, AUDIO_WAIT, AUDIO_MIN),
            Class::Keyframe => (self.bytes(), ranked(KEYFRAME_WAIT), KEYFRAME_MIN),
            Class::Delta => (self.bytes(), ranked(DELTA_WAIT), DELTA_MIN),
        };
        let limit = carried(rate, wait).clamp(least, BYTES_MAX);
        if waiting.saturating_add(size) > limit {
            self.break_lane(kind, &header);
            return self.drop_one(class);
        }
        let packet = Waiting { kind, header, payload, at: now };
        match kind {
            MediaKind::Audio => {
                self.audio_bytes = self.audio_bytes.saturating_add(size);
                self.audio.push_back(packet);
            }
            MediaKind::Video => {
                self.video_bytes = self.video_bytes.saturating_add(size);
                self.video.push_back(packet);
            }
        }
        true
    }

    /// The next packet to send.
    pub fn pop(&mut self, now: Instant) -> Option<Waiting> {
        loop {
            let packet = match self.audio.pop_front() {
                Some(packet) => {
                    self.audio_bytes = self.audio_bytes.saturating_sub(size(&packet.payload));
                    packet
                }
                None => {
                    let packet = self.video.pop_front()?;
                    self.video_bytes = self.video_bytes.saturating_sub(size(&packet.payload));
                    packet
                }
            };
            if now.saturating_duration_since(packet.at) <= AGE_MAX {
                return Some(packet);
            }
            self.break_lane(packet.kind, &packet.header);
            self.drop_one(if packet.kind == MediaKind::Audio { Class::Audio } else { Class::Delta });
        }
    }

    /// A packet that was popped could not be sent after all.
    pub fn give_up(&mut self, packet: &Waiting) {
        self.break_lane(packet.kind, &packet.header);
        self.drop_one(if packet.kind == MediaKind::Audio { Class::Audio } else { Class::Delta });
    }

    /// Bytes of payload that wait.
    pub fn bytes(&self) -> u64 {
        self.audio_bytes.saturating_add(self.video_bytes)
    }

    /// Nothing waits.
    pub fn is_empty(&self) -> bool {
        self.audio.is_empty() && self.video.is_empty()
    }

    /// What was dropped so far.
    pub fn dropped(&self) -> Dropped {
        self.dropped
    }

    /// What a packet is to its layer, and the layer's rank; `None` when its layer waits for a keyframe.
    fn class(&mut self, now: Instant, header: &MediaHeader) -> Option<(Class, u32)> {
        if self.ranked.is_none_or(|at| now.saturating_duration_since(at) >= RANK_EVERY) {
            self.rank(now);
        }
        let key = (header.alias, header.track, header.layer);
        let new = Lane { broken: None, keyframe: None, last: now, rank: 0 };
        let lane = self.lanes.entry(key).or_insert(new);
        lane.last = now;
        if header.keyframe && lane.broken != Some(header.timestamp) {
            lane.broken = None;
            lane.keyframe = Some(header.timestamp);
        }
        match (lane.broken, lane.keyframe) {
            (Some(_), _) => None,
            (None, Some(timestamp)) if timestamp == header.timestamp => Some((Class::Keyframe, lane.rank)),
            _ => Some((Class::Delta, lane.rank)),
        }
    }

    /// Orders the layers that send: lower layers last, and of these older streams last, whose aliases are smaller.
    fn rank(&mut self, now: Instant) {
        self.ranked = Some(now);
        if self.lanes.len() > LANES_MAX {
            self.lanes.retain(|_, lane| now.saturating_duration_since(lane.last) < LANE_AGE);
        }
        let mut lanes: Vec<_> = self
            .lanes
            .iter_mut()
            .filter(|(_, lane)| now.saturating_duration_since(lane.last) < LANE_AGE)
            .map(|(&(alias, track, layer), lane)| ((layer, alias, track), lane))
            .collect();
        lanes.sort_unstable_by_key(|(key, _)| *key);
        let step = 1_000 / u32::try_from(lanes.len()).unwrap_or(u32::MAX).max(1);
        for (rank, (_, lane)) in (0_u32..).zip(lanes) {
            lane.rank = rank.saturating_mul(step);
        }
    }

    fn break_lane(&mut self, kind: MediaKind, header: &MediaHeader) {
        if kind == MediaKind::Video
            && let Some(lane) = self.lanes.get_mut(&(header.alias, header.track, header.layer))
        {
            lane.broken = Some(header.timestamp);
        }
    }

    fn drop_one(&mut self, class: Class) -> bool {
        let count = match class {
            Class::Audio => &mut self.dropped.audio,
            Class::Keyframe => &mut self.dropped.keyframe,
            Class::Delta => &mut self.dropped.delta,
        };
        *count = count.saturating_add(1);
        false
    }
}

fn size(payload: &Bytes) -> u64 {
    u64::try_from(payload.len()).unwrap_or(u64::MAX)
}

/// Bytes that a rate carries in a time.
fn carried(rate: u64, time: Duration) -> u64 {
    let bytes = u128::from(rate).saturating_mul(time.as_micros()) / 1_000_000;
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
