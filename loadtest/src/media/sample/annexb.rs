//! H.264 as a byte stream (ITU-T H.264 annex B).

use super::bits::{Bits, period};
use super::frame::{Frame, SampleError, add, lasts};
use crate::num;

const IDR: u8 = 5;
const SPS: u8 = 7;
const PPS: u8 = 8;
/// Most parameter sets that are repeated in front of a keyframe that has none.
const SETS_MAX: usize = 32;
/// Bytes of a slice that are looked at.
const SLICE_HEAD: usize = 16;

fn kind(unit: &[u8]) -> u8 {
    unit.first().map_or(0, |first| first & 0x1f)
}

/// Pictures as they are put together.
#[derive(Default)]
struct Pictures {
    done: Vec<(bool, Vec<Vec<u8>>)>,
    now: Vec<Vec<u8>>,
    /// Something of the picture itself is in it.
    sliced: bool,
    keyframe: bool,
    /// The parameter sets that hold.
    sets: Vec<Vec<u8>>,
}

impl Pictures {
    fn close(&mut self) -> Result<(), SampleError> {
        if !self.sliced {
            return Ok(());
        }
        let mut units = std::mem::take(&mut self.now);
        let sets = || units.iter().filter(|unit| matches!(kind(unit), SPS | PPS)).cloned();
        if units.iter().any(|unit| kind(unit) == SPS) {
            self.sets = sets().take(SETS_MAX).collect();
        } else {
            let more: Vec<Vec<u8>> = sets().collect();
            self.sets.extend(more);
            self.sets.truncate(SETS_MAX);
            if self.keyframe {
                // Who joins here has no other way to know them.
                units.retain(|unit| kind(unit) != PPS);
                units.splice(0..0, self.sets.iter().cloned());
            }
        }
        if !self.sets.iter().any(|set| kind(set) == SPS) {
            return Err(SampleError::new("its first picture has no parameter sets (SPS, PPS) before it"));
        }
        self.sliced = false;
        let keyframe = std::mem::replace(&mut self.keyframe, false);
        add(&mut self.done, (keyframe, units))
    }
}

pub(super) fn read(bytes: &[u8], fps: u32) -> Result<Vec<Frame>, SampleError> {
    let mut pictures = Pictures::default();
    let mut told = None;
    for unit in units(bytes)? {
        let Some(first) = unit.first() else { continue };
        if first & 0x80 != 0 {
            return Err(SampleError::new("one of its NAL units has the forbidden bit set: it is damaged"));
        }
        match kind(unit) {
            slice @ (1 | IDR) => {
                let mut bits = Bits::of(unit, SLICE_HEAD);
                let (Some(first), Some(how)) = (bits.number(), bits.number()) else {
                    return Err(SampleError::new("one of its slices is cut"));
                };
                if how % 5 == 1 {
                    return Err(SampleError::new(
                        "it has B-frames, which WebRTC does not; encode it with -bf 0",
                    ));
                }
                if first == 0 {
                    pictures.close()?;
                }
                pictures.sliced = true;
                pictures.keyframe |= slice == IDR;
            }
            2..=4 => return Err(SampleError::new("it has data partitions, which cannot be sent")),
            6 | PPS => pictures.close()?,
            SPS => {
                pictures.close()?;
                told = told.or_else(|| period(unit));
            }
            9 => {
                pictures.close()?;
                continue;
            }
            // What is no picture need not be sent.
            _ => continue,
        }
        add(&mut pictures.now, unit.to_vec())?;
    }
    pictures.close()?;
    let (numerator, denominator) = told.unwrap_or((1, u64::from(fps.max(1))));
    let frames = pictures.done.into_iter().enumerate();
    Ok(frames
        .map(|(number, (keyframe, units))| Frame {
            lasts: lasts(num::len(number), numerator, denominator),
            keyframe,
            units,
        })
        .collect())
}

fn start(bytes: &[u8]) -> Option<usize> {
    bytes.windows(3).position(|window| window == [0, 0, 1])
}

/// The NAL units, without start codes and the zeros in front of these.
fn units(bytes: &[u8]) -> Result<impl Iterator<Item = &[u8]>, SampleError> {
    let none = || SampleError::new("it does not begin with a start code: it is no H.264 byte stream");
    let first = start(bytes).ok_or_else(none)?;
    if bytes.iter().take(first).any(|byte| *byte != 0) {
        return Err(none());
    }
    let mut rest = bytes.get(first + 3..);
    Ok(std::iter::from_fn(move || {
        let bytes = rest?;
        let end = start(bytes);
        rest = end.and_then(|end| bytes.get(end + 3..));
        let unit = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
        let zeros = unit.iter().rev().take_while(|byte| **byte == 0).count();
        unit.get(..unit.len() - zeros)
    }))
}
