//! How one encoding of a publisher arrives: its rate, its holes, its keyframes, and what in it is unusual.

use std::time::{Duration, Instant};

use super::clock::{NtpTime, ticks_to_micros};
use super::packet::CaptureMicros;

/// Rates are taken over so much time.
const WINDOW: Duration = Duration::from_secs(2);
/// Longest packet to which all that a viewer's copy needs can be added within 1,250 bytes.
pub const PACKET_MAX: usize = 1_200;
/// A keyframe that was asked for should come within this time.
const KEYFRAME_WAIT: Duration = Duration::from_secs(2);
/// An encoder that sends keyframes by itself should not send them further apart: some send none that are asked for.
const OWN_MIN: Duration = Duration::from_millis(4_100);
/// Nobody sets an interval that is longer. Browsers answer requests, and by themselves send no keyframe for minutes: they
/// are not to be warned of, whatever comes of a change of size or scene.
const OWN_MAX: Duration = Duration::from_secs(30);
/// For so long is told what happened once.
const RECENT: Duration = Duration::from_secs(60);
/// Media and wall time of consecutive sender reports may differ by so much, in microseconds.
const SKEW_MAX: u64 = 500_000;
/// Wall time of them and their arrival by so much: reports may wait on their way.
const DELAY_MAX: u64 = 2_000_000;
/// The usual rate is believed from so many bits a second on.
const USUAL_MIN: u64 = 64_000;
/// Windows of silence that are taken into the usual rate at a time: it is gone by then.
const SILENT_MAX: u64 = 64;

/// A packet as it came.
#[derive(Debug, Clone, Copy)]
pub struct Heard {
    /// Its extended sequence number.
    pub seq: u64,
    /// Its RTP timestamp.
    pub timestamp: u32,
    /// Its bytes without what SRTP adds.
    pub bytes: usize,
    /// It belongs to a keyframe's beginning.
    pub keyframe: bool,
}

#[derive(Debug, Default)]
struct Window {
    since: Option<Instant>,
    bytes: u64,
    frames: u64,
    /// Sequence numbers that went by, and packets that came.
    expected: u64,
    came: u64,
}

/// Rates of the last whole window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rates {
    /// Bits a second.
    pub bps: u64,
    /// Pictures in a thousand seconds.
    pub frames_per_1000_s: u64,
    /// Of a thousand packets so many had not come.
    pub loss_permille: u64,
}

/// The newest picture or sound, by sequence number.
#[derive(Debug, Clone, Copy)]
struct Newest {
    seq: u64,
    timestamp: u32,
    /// Media time since the first, and the latest such time of all, in ticks.
    time: i64,
    latest: i64,
}

/// A sender report.
#[derive(Debug, Clone, Copy)]
struct Told {
    ntp: i64,
    rtp: u32,
    arrival: CaptureMicros,
}

/// One encoding.
#[derive(Debug)]
pub struct Monitor {
    rate: u32,
    video: bool,
    window: Window,
    rates: Rates,
    usual: u64,
    began: Option<Instant>,
    newest: Option<Newest>,
    packets: u64,
    /// Packets that should have come, by their numbers.
    expected: u64,
    transit: Option<i64>,
    jitter: i64,
    keyframe: Option<(Instant, u32)>,
    interval: Option<Duration>,
    asked: Option<Instant>,
    waited: Option<(Instant, Duration)>,
    /// The next keyframe may be an answer, and not of the encoder's own accord.
    prompted: bool,
    /// The last two intervals between keyframes, the newer first; none for one that ended with a keyframe that was prompted.
    own: [Option<Duration>; 2],
    reordered: Option<Instant>,
    told: Option<Told>,
    jumped: Option<CaptureMicros>,
    oversized: u64,
}

impl Monitor {
    /// Of an encoding whose media clock has so many ticks in a second.
    pub fn new(rate: u32, video: bool) -> Self {
        Self {
            rate,
            video,
            window: Window::default(),
            rates: Rates::default(),
            usual: 0,
            began: None,
            newest: None,
            packets: 0,
            expected: 0,
            transit: None,
            jitter: 0,
            keyframe: None,
            interval: None,
            asked: None,
            waited: None,
            prompted: false,
            own: [None; 2],
            reordered: None,
            told: None,
            jumped: None,
            oversized: 0,
        }
    }

    /// Another SSRC takes over, or another clock rate: numbers and times begin anew.
    pub fn restart(&mut self, rate: u32) {
        self.rate = rate;
        (self.newest, self.transit, self.told) = (None, None, None);
        // What begins anew begins with a keyframe.
        (self.prompted, self.own) = (true, [None; 2]);
    }

    /// A packet came.
    pub fn note(&mut self, now: Instant, heard: Heard) {
        self.roll(now);
        let began = *self.began.get_or_insert(now);
        self.window.since.get_or_insert(now);
        self.window.bytes = self.window.bytes.saturating_add(u64::try_from(heard.bytes).unwrap_or(u64::MAX));
        self.window.came = self.window.came.saturating_add(1);
        self.packets = self.packets.saturating_add(1);
        self.oversized = self.oversized.saturating_add(u64::from(heard.bytes > PACKET_MAX));
        if heard.keyframe && self.keyframe.is_none_or(|(_, timestamp)| timestamp != heard.timestamp) {
            self.note_keyframe(now, heard.timestamp);
        }
        let Some(before) = self.newest else {
            self.newest = Some(Newest { seq: heard.seq, timestamp: heard.timestamp, time: 0, latest: 0 });
            self.expect(1);
            self.window.frames = self.window.frames.saturating_add(1);
            return;
        };
        // What comes late, or again, fills a hole and says nothing of time.
        let Some(passed) = heard.seq.checked_sub(before.seq).filter(|passed| *passed > 0) else { return };
        self.expect(passed);
        let step = i64::from(heard.timestamp.wrapping_sub(before.timestamp).cast_signed());
        let time = before.time.saturating_add(step);
        self.newest = Some(Newest {
            seq: heard.seq,
            timestamp: heard.timestamp,
            time,
            latest: before.latest.max(time),
        });
        if step == 0 {
            return;
        }
        self.window.frames = self.window.frames.saturating_add(1);
        if self.video && step < 0 && step > -i64::from(self.rate) {
            self.reordered = Some(now);
        }
        if time > before.latest {
            self.note_transit(now.saturating_duration_since(began), time);
        }
    }

    fn expect(&mut self, packets: u64) {
        self.expected = self.expected.saturating_add(packets);
        self.window.expected = self.window.expected.saturating_add(packets);
    }

    fn note_transit(&mut self, arrival: Duration, time: i64) {
        let arrival = i64::try_from(arrival.as_micros()).unwrap_or(i64::MAX);
        let transit = arrival.saturating_sub(ticks_to_micros(time, self.rate));
        if let Some(before) = self.transit.replace(transit) {
            let differ = transit.saturating_sub(before).saturating_abs();
            self.jitter = self.jitter.saturating_add(differ.saturating_sub(self.jitter) / 16);
        }
    }

    fn note_keyframe(&mut self, now: Instant, timestamp: u32) {
        let prompted = std::mem::take(&mut self.prompted);
        if let Some((before, _)) = self.keyframe.replace((now, timestamp)) {
            let interval = now.saturating_duration_since(before);
            self.interval = Some(interval);
            let [newer, _] = self.own;
            self.own = [(!prompted).then_some(interval), newer];
        }
        if let Some(asked) = self.asked.take() {
            self.waited = Some((now, now.saturating_duration_since(asked)));
        }
    }

    /// A keyframe is asked for.
    pub fn ask_keyframe(&mut self, now: Instant) {
        self.asked.get_or_insert(now);
        self.prompted = true;
    }

    /// A keyframe of another layer of the track is asked for: browsers answer with one of each.
    pub fn ask_other(&mut self) {
        self.prompted = true;
    }

    /// A sender report came: the publisher's wall time and its media time are of one moment.
    pub fn report(&mut self, ntp: NtpTime, rtp: u32, arrival: CaptureMicros) {
        let told = Told { ntp: ntp.micros(), rtp, arrival };
        let Some(before) = self.told.replace(told) else { return };
        let wall = told.ntp.saturating_sub(before.ntp);
        let step = i64::from(rtp.wrapping_sub(before.rtp).cast_signed());
        let media = ticks_to_micros(step, self.rate);
        let here = arrival.micros_since(before.arrival);
        if wall.saturating_sub(media).unsigned_abs() > SKEW_MAX
            || wall.saturating_sub(here).unsigned_abs() > DELAY_MAX
        {
            self.jumped = Some(arrival);
        }
    }

    fn roll(&mut self, now: Instant) {
        let Some(since) = self.window.since else { return };
        let passed = now.saturating_duration_since(since);
        if passed < WINDOW {
            return;
        }
        let millis = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX).max(1);
        let Window { bytes, frames, expected, came, .. } = self.window;
        let bps = bytes.saturating_mul(8_000) / millis;
        let missing = expected.saturating_sub(came);
        self.rates = Rates {
            bps,
            frames_per_1000_s: frames.saturating_mul(1_000_000) / millis,
            loss_permille: missing.saturating_mul(1_000).checked_div(expected).unwrap_or(0),
        };
        let windows = passed.as_millis() / WINDOW.as_millis();
        for _ in 0..u64::try_from(windows).unwrap_or(SILENT_MAX).min(SILENT_MAX) {
            self.usual =
                if self.usual == 0 { bps } else { (self.usual.saturating_mul(7).saturating_add(bps)) / 8 };
        }
        self.window = Window { since: Some(now), ..Window::default() };
    }

    /// Rates of late. Time passes though nothing comes.
    pub fn rates(&mut self, now: Instant) -> Rates {
        self.roll(now);
        self.rates
    }

    /// What comes in of pictures is a quarter of what did lately, or less: the usual rate.
    pub fn collapsed_from(&self) -> Option<u64> {
        // Sound that pauses sends next to nothing (DTX, RFC 7587 section 3.1.3).
        (self.video && self.usual >= USUAL_MIN && self.rates.bps.saturating_mul(4) <= self.usual)
            .then_some(self.usual)
    }

    /// Packets that came.
    pub fn packets(&self) -> u64 {
        self.packets
    }

    /// Packets that have not.
    pub fn lost(&self) -> u64 {
        self.expected.saturating_sub(self.packets)
    }

    /// Interarrival jitter in microseconds.
    pub fn jitter_micros(&self) -> u64 {
        self.jitter.unsigned_abs()
    }

    /// Time between the last two keyframes.
    pub fn keyframe_interval(&self) -> Option<Duration> {
        self.interval
    }

    /// Time since the last keyframe.
    pub fn keyframe_age(&self, now: Instant) -> Option<Duration> {
        self.keyframe.map(|(at, _)| now.saturating_duration_since(at))
    }

    /// How long a keyframe that was asked for has been awaited, or was of late, where that is too long.
    pub fn keyframe_late(&self, now: Instant) -> Option<Duration> {
        let waits = self.asked.map(|asked| now.saturating_duration_since(asked));
        let waited =
            self.waited.filter(|(at, _)| now.saturating_duration_since(*at) < RECENT).map(|(_, time)| time);
        waits.max(waited).filter(|time| *time >= KEYFRAME_WAIT)
    }

    /// The interval that the encoder keeps by itself, where it is too long: of two in a row, about the same, in which nobody
    /// asked for a keyframe, the newer. So who has no viewer yet hears of it, too.
    pub fn own_interval(&self, now: Instant) -> Option<Duration> {
        let [Some(newer), Some(older)] = self.own else { return None };
        let (shorter, longer) = (newer.min(older), newer.max(older));
        let alike = longer.saturating_sub(shorter) <= longer / 5;
        let goes_on = self.keyframe_age(now).is_some_and(|age| age <= OWN_MAX);
        (shorter > OWN_MIN && longer <= OWN_MAX && alike && goes_on).then_some(newer)
    }

    /// Pictures came in another order than they are shown in.
    pub fn has_bframes(&self, now: Instant) -> bool {
        self.reordered.is_some_and(|at| now.saturating_duration_since(at) < RECENT)
    }

    /// The publisher's clock jumped, or its media time went another way than its clock.
    pub fn clock_jumped(&self, wall: CaptureMicros) -> bool {
        let recent = i64::try_from(RECENT.as_micros()).unwrap_or(i64::MAX);
        self.jumped.is_some_and(|at| wall.micros_since(at) < recent)
    }

    /// Packets longer than [`PACKET_MAX`].
    pub fn oversized(&self) -> u64 {
        self.oversized
    }
}

#[cfg(test)]
mod tests;
