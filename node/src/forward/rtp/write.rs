//! Writing headers.

use super::{ExtensionIds, Header};

const VERSION: u8 = 0x80;
const HAS_EXTENSION: u8 = 0x10;
const MARKER: u8 = 0x80;
const ONE_BYTE: [u8; 2] = [0xbe, 0xde];
const TWO_BYTE: [u8; 2] = [0x10, 0x00];
const FIXED: usize = 12;
/// Largest id and value of the one-byte form.
const ONE_BYTE_ID: u8 = 14;
const ONE_BYTE_VALUE: usize = 16;

impl Header<'_> {
    /// Writes the header to the start of `out` and returns its length; none when it does not fit.
    pub fn write(&self, ids: &ExtensionIds, out: &mut [u8]) -> Option<usize> {
        let (fixed, room) = out.split_first_chunk_mut::<FIXED>()?;
        let [s0, s1] = self.seq.to_be_bytes();
        let [t0, t1, t2, t3] = self.timestamp.to_be_bytes();
        let [i0, i1, i2, i3] = self.ssrc.to_be_bytes();
        let kind = self.pt & 0x7f | if self.marker { MARKER } else { 0 };
        *fixed = [VERSION, kind, s0, s1, t0, t1, t2, t3, i0, i1, i2, i3];

        // Ids above 14 and long values are rare: what is found not to fit the one-byte form is written again.
        let len = self.block(ids, room, false).or_else(|| self.block(ids, room, true))?;
        if len > 0
            && let Some(first) = fixed.first_mut()
        {
            *first |= HAS_EXTENSION;
        }
        Some(FIXED + len)
    }

    /// Writes the extension block in one of its forms, and returns its length; none when it does not fit.
    #[inline]
    fn block(&self, ids: &ExtensionIds, room: &mut [u8], two_byte: bool) -> Option<usize> {
        let mut block = Block { room, used: 4, two_byte, fits: true };
        self.extensions(ids, |id, value| block.put(id, value));
        block.finish()
    }

    /// Tells every extension that has both an id and a value.
    #[inline(always)]
    fn extensions(&self, ids: &ExtensionIds, mut tell: impl FnMut(u8, &[u8])) {
        if let (Some(id), Some(mid)) = (ids.mid, self.mid) {
            tell(id, mid.as_bytes());
        }
        if let (Some(id), Some(time)) = (ids.abs_send_time, self.stamps.abs_send_time) {
            let [_, a, b, c] = time.to_be_bytes();
            tell(id, &[a, b, c]);
        }
        if let (Some(id), Some(seq)) = (ids.transport_cc, self.stamps.transport_cc) {
            tell(id, &seq.to_be_bytes());
        }
        if let (Some(id), Some((level, voice))) = (ids.audio_level, self.exts.audio_level) {
            tell(id, &[level & 0x7f | u8::from(voice) << 7]);
        }
        if let (Some(id), Some(orientation)) = (ids.orientation, self.exts.orientation) {
            tell(id, &[orientation]);
        }
        if let (Some(id), Some((min, max))) = (ids.playout_delay, self.exts.playout_delay) {
            let both = u32::from(min & 0xfff) << 12 | u32::from(max & 0xfff);
            let [_, a, b, c] = both.to_be_bytes();
            tell(id, &[a, b, c]);
        }
        if let (Some(id), Some(time)) = (ids.abs_capture_time, self.exts.abs_capture_time) {
            tell(id, &time.to_be_bytes());
        }
    }
}

/// The extension block as it grows; its first four bytes are the profile and the length.
struct Block<'a> {
    room: &'a mut [u8],
    used: usize,
    two_byte: bool,
    fits: bool,
}

impl Block<'_> {
    #[inline(always)]
    fn put(&mut self, id: u8, value: &[u8]) {
        let head = if self.two_byte { 2 } else { 1 };
        let (Ok(len), true) = (u8::try_from(value.len()), self.two_byte || fits_one_byte(id, value)) else {
            return self.fits = false;
        };
        let end = self.used + head + value.len();
        match self.room.get_mut(self.used..end) {
            Some([first, second, rest @ ..]) if self.two_byte => {
                (*first, *second) = (id, len);
                rest.copy_from_slice(value);
            }
            Some([first, rest @ ..]) if !self.two_byte => {
                *first = id << 4 | len.wrapping_sub(1) & 0x0f;
                rest.copy_from_slice(value);
            }
            _ => return self.fits = false,
        }
        self.used = end;
    }

    /// Pads to whole words and writes the block's own header. Returns the block's length, 0 when it is empty.
    fn finish(self) -> Option<usize> {
        if !self.fits {
            return None;
        }
        if self.used <= 4 {
            return Some(0);
        }
        let len = self.used.next_multiple_of(4);
        self.room.get_mut(self.used..len)?.fill(0);
        let words = u16::try_from(len / 4 - 1).ok()?;
        let [[a, b], [c, d]] = [if self.two_byte { TWO_BYTE } else { ONE_BYTE }, words.to_be_bytes()];
        *self.room.first_chunk_mut::<4>()? = [a, b, c, d];
        Some(len)
    }
}

/// The one-byte form has no place for large ids, and none for long or empty values.
fn fits_one_byte(id: u8, value: &[u8]) -> bool {
    id <= ONE_BYTE_ID && (1..=ONE_BYTE_VALUE).contains(&value.len())
}
