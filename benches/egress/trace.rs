//! The stream that is forwarded: 2 Mbit/s of video and Opus, as its packets come.

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

/// Packets by the moment of their coming: those of a frame come together and are flushed together.
pub struct Trace {
    pub moments: Vec<Vec<Sample>>,
}

impl Trace {
    /// 30 frames a second of seven packets, a keyframe of 27 every two seconds, and 50 packets of audio.
    pub fn new(seconds: u32) -> Self {
        let mut timed: Vec<(u32, Vec<Sample>)> = vec![];
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
            timed.push((frame * 33_333, (0..count).map(packet).collect()));
        }
        for nth in 0..seconds * 50 {
            let audio = Sample {
                video: false,
                marker: false,
                keyframe: false,
                timestamp: nth * 960,
                payload: vec![nth as u8; 100].into(),
            };
            timed.push((nth * 20_000 + 5_000, vec![audio]));
        }
        timed.sort_by_key(|(at, _)| *at);
        Self { moments: timed.into_iter().map(|(_, packets)| packets).collect() }
    }

    /// Packets of the whole trace.
    pub fn packets(&self) -> usize {
        self.moments.iter().map(Vec::len).sum()
    }
}
