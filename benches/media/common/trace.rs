//! The stream that is forwarded: 2 Mbit/s of video and Opus, as its packets come.

use std::time::Duration;

use bytes::Bytes;

/// A packet of the publisher.
#[derive(Debug, Clone)]
pub struct Sample {
    pub video: bool,
    pub marker: bool,
    pub keyframe: bool,
    pub timestamp: u32,
    pub payload: Bytes,
}

/// Packets that come together: those of a frame.
#[derive(Debug, Clone)]
pub struct Moment {
    pub at: Duration,
    pub packets: Vec<Sample>,
}

/// Packets by the moment of their coming.
#[derive(Debug, Clone)]
pub struct Trace {
    pub length: Duration,
    pub moments: Vec<Moment>,
}

impl Trace {
    /// 30 frames a second of seven packets, a keyframe of 27 every two seconds, and 50 packets of audio.
    pub fn new(seconds: u32) -> Self {
        let mut moments: Vec<Moment> = vec![];
        for frame in 0..seconds * 30 {
            let keyframe = frame % 60 == 0;
            let count = if keyframe { 27 } else { 7 };
            let packet = |nth: u32| Sample {
                video: true,
                marker: nth + 1 == count,
                keyframe: keyframe && nth == 0,
                timestamp: frame * 3_000,
                payload: (0..if nth + 1 == count { 800u32 } else { 1_200 })
                    .map(|byte| (byte ^ nth) as u8)
                    .collect(),
            };
            let at = Duration::from_micros(u64::from(frame) * 33_333);
            moments.push(Moment { at, packets: (0..count).map(packet).collect() });
        }
        for nth in 0..seconds * 50 {
            let audio = Sample {
                video: false,
                marker: false,
                keyframe: false,
                timestamp: nth * 960,
                payload: vec![nth as u8; 100].into(),
            };
            let at = Duration::from_micros(u64::from(nth) * 20_000 + 5_000);
            moments.push(Moment { at, packets: vec![audio] });
        }
        moments.sort_by_key(|moment| moment.at);
        Self { length: Duration::from_secs(u64::from(seconds)), moments }
    }

    /// The same from a publisher that sends a frame's packets one after the other.
    pub fn spread(&self, apart: Duration) -> Self {
        let mut moments: Vec<Moment> = vec![];
        for moment in &self.moments {
            let apart = (0u32..).map(|nth| moment.at + apart * nth);
            moments.extend(
                moment.packets.iter().zip(apart).map(|(p, at)| Moment { at, packets: vec![p.clone()] }),
            );
        }
        moments.sort_by_key(|moment| moment.at);
        Self { length: self.length, moments }
    }

    /// The same as a server sends it that lets sound wait so long for the end of a frame.
    pub fn batched(&self, tick: Duration) -> Self {
        let mut moments: Vec<Moment> = vec![];
        let mut waiting: Option<Moment> = None;
        for moment in &self.moments {
            let mut moment = moment.clone();
            if let Some(mut sound) = waiting.take() {
                if moment.at <= sound.at + tick {
                    moment.packets.append(&mut sound.packets);
                } else {
                    moments.push(sound);
                }
            }
            if moment.packets[0].video {
                moments.push(moment);
            } else {
                waiting = Some(moment);
            }
        }
        moments.extend(waiting);
        Self { length: self.length, moments }
    }

    /// Packets of the whole trace.
    pub fn packets(&self) -> usize {
        self.moments.iter().map(|moment| moment.packets.len()).sum()
    }
}
