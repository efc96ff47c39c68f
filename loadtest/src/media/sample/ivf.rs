//! VP8 in IVF: a header of 32 bytes, then each frame behind its size and time.

use std::time::Duration;

use super::frame::{Frame, SampleError, add};

/// Largest frame, in bytes.
const FRAME_MAX: usize = 4 << 20;

pub(super) fn read(bytes: &[u8]) -> Result<Vec<Frame>, SampleError> {
    let bad = |why: &str| SampleError::new(why);
    let head = bytes.first_chunk::<32>().ok_or_else(|| bad("it is shorter than a header of IVF"))?;
    let [b'D', b'K', b'I', b'F', _, _, l0, l1, codec @ ..] = head else {
        return Err(bad("it does not begin with DKIF: it is no IVF"));
    };
    let [c0, c1, c2, c3, _, _, _, _, r0, r1, r2, r3, s0, s1, s2, s3, ..] = codec;
    if [*c0, *c1, *c2, *c3] != *b"VP80" {
        return Err(bad("its codec is not VP8"));
    }
    let rate = u64::from(u32::from_le_bytes([*r0, *r1, *r2, *r3]));
    let scale = u64::from(u32::from_le_bytes([*s0, *s1, *s2, *s3]));
    if rate == 0 || scale == 0 {
        return Err(bad("its header has no time base"));
    }
    let header = usize::from(u16::from_le_bytes([*l0, *l1]));
    let mut rest = bytes.get(header.max(head.len())..).ok_or_else(|| bad("its header is cut"))?;
    let mut found: Vec<(u64, &[u8])> = Vec::new();
    while !rest.is_empty() {
        let (size, behind) = rest.split_first_chunk::<4>().ok_or_else(|| bad("its last frame is cut"))?;
        let (at, behind) = behind.split_first_chunk::<8>().ok_or_else(|| bad("its last frame is cut"))?;
        let size = usize::try_from(u32::from_le_bytes(*size)).unwrap_or(usize::MAX);
        if size > FRAME_MAX {
            return Err(SampleError::new(format!(
                "a frame of {size} bytes; at most {FRAME_MAX} can be sent"
            )));
        }
        let (frame, behind) = behind.split_at_checked(size).ok_or_else(|| bad("its last frame is cut"))?;
        rest = behind;
        // An encoder that drops a frame writes an empty one: the one before lasts longer.
        if !frame.is_empty() {
            add(&mut found, (u64::from_le_bytes(*at), frame))?;
        }
    }
    let nanos = |ticks: u64| {
        let nanos = u128::from(ticks) * u128::from(scale) * 1_000_000_000 / u128::from(rate);
        u64::try_from(nanos).unwrap_or(u64::MAX)
    };
    let mut frames = Vec::with_capacity(found.len());
    let mut ticks = 1;
    for (place, (at, frame)) in found.iter().enumerate() {
        // The last one lasts as long as the one before.
        let next = found.get(place + 1).map_or_else(|| at.saturating_add(ticks), |(next, _)| *next);
        if next <= *at {
            return Err(bad("its frames are not in the order of time"));
        }
        ticks = next - at;
        let lasts = nanos(next).saturating_sub(nanos(*at));
        frames.push(Frame {
            lasts: Duration::from_nanos(lasts),
            keyframe: frame.first().is_some_and(|first| first & 1 == 0),
            units: vec![frame.to_vec()],
        });
    }
    Ok(frames)
}
