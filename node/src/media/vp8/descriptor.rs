//! Reading the payload descriptor (RFC 7741 section 4.2). It comes from strangers: every read is checked.

const EXTENDED: u8 = 0x80;
const START: u8 = 0x10;
const PARTITION: u8 = 0x07;
const HAS_PICTURE_ID: u8 = 0x80;
const HAS_TL0PICIDX: u8 = 0x40;
const HAS_LAYER: u8 = 0x20;
const HAS_KEYIDX: u8 = 0x10;
const LONG_PICTURE_ID: u8 = 0x80;
const SYNC: u8 = 0x20;
const KEYIDX: u8 = 0x1f;
/// The P bit of the frame tag: set on interframes.
const INTERFRAME: u8 = 0x01;
/// Where the optional fields begin.
const FIELDS: usize = 2;

/// A PictureID as wide as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PictureId {
    /// The number.
    pub value: u16,
    /// 15 bits wide, not 7.
    pub long: bool,
}

impl PictureId {
    /// Largest number of this width.
    pub fn mask(self) -> u16 {
        if self.long { 0x7fff } else { 0x7f }
    }
}

/// The temporal layer of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layer {
    /// TID: 0 is the base.
    pub tid: u8,
    /// Y: the picture depends on the base layer alone.
    pub sync: bool,
}

/// A payload descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descriptor {
    /// The payload begins a picture: S, and the first partition.
    pub starts: bool,
    /// The payload begins a key frame.
    pub keyframe: bool,
    /// PictureID.
    pub picture_id: Option<PictureId>,
    /// TL0PICIDX: counts pictures of the base layer.
    pub tl0: Option<u8>,
    /// TID and Y.
    pub layer: Option<Layer>,
    /// KEYIDX, 5 bits: counts key frames.
    pub keyidx: Option<u8>,
}

impl Descriptor {
    /// Of a payload; none when it is cut short.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let mut bytes = payload.iter().copied();
        let required = bytes.next()?;
        let mut descriptor = Self {
            starts: required & START != 0 && required & PARTITION == 0,
            keyframe: false,
            picture_id: None,
            tl0: None,
            layer: None,
            keyidx: None,
        };
        if required & EXTENDED != 0 {
            let extension = bytes.next()?;
            if extension & HAS_PICTURE_ID != 0 {
                let first = bytes.next()?;
                let long = first & LONG_PICTURE_ID != 0;
                let first = first & !LONG_PICTURE_ID;
                let value = if long { u16::from_be_bytes([first, bytes.next()?]) } else { first.into() };
                descriptor.picture_id = Some(PictureId { value, long });
            }
            if extension & HAS_TL0PICIDX != 0 {
                descriptor.tl0 = Some(bytes.next()?);
            }
            if extension & (HAS_LAYER | HAS_KEYIDX) != 0 {
                let both = bytes.next()?;
                let layer = Layer { tid: both >> 6, sync: both & SYNC != 0 };
                descriptor.layer = (extension & HAS_LAYER != 0).then_some(layer);
                descriptor.keyidx = (extension & HAS_KEYIDX != 0).then_some(both & KEYIDX);
            }
        }
        descriptor.keyframe = descriptor.starts && bytes.next().is_some_and(|tag| tag & INTERFRAME == 0);
        Some(descriptor)
    }

    /// TID of the picture, 0 where layers are not told.
    pub fn tid(&self) -> u8 {
        self.layer.map_or(0, |layer| layer.tid)
    }

    /// Writes other numbers over those of `payload`, which has this descriptor. The length stays.
    pub(super) fn write(&self, payload: &mut [u8]) {
        let mut fields = payload.iter_mut().skip(FIELDS);
        let mut put = |value: u8, kept: u8| {
            if let Some(byte) = fields.next() {
                *byte = *byte & kept | value;
            }
        };
        if let Some(PictureId { value, long }) = self.picture_id {
            let [high, low] = value.to_be_bytes();
            if long {
                put(high, LONG_PICTURE_ID);
            }
            put(low, 0);
        }
        if let Some(tl0) = self.tl0 {
            put(tl0, 0);
        }
        if let Some(keyidx) = self.keyidx {
            put(keyidx, !KEYIDX);
        }
    }
}
