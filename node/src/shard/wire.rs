//! Packets as links carry them, and back.

use std::sync::Arc;

use freshet_relay_proto::header::{Extensions as Carried, MediaHeader};

use crate::media::packet::{CaptureMicros, Extensions, Packet};
use crate::quic::{MediaIn, MediaOut};
use crate::sfu::HopPacket;

/// A packet that came by a link.
pub(super) fn packet(media: MediaIn) -> Arc<Packet> {
    let MediaHeader { index, timestamp, marker, keyframe, codec, capture, exts, .. } = media.header;
    let Carried { audio_level, orientation, playout_delay, abs_capture_time } = exts;
    Arc::new(Packet {
        index,
        timestamp,
        marker,
        keyframe,
        codec,
        capture: CaptureMicros(capture),
        arrived: media.arrived,
        exts: Extensions { audio_level, orientation, playout_delay, abs_capture_time },
        payload: media.payload,
    })
}

/// Puts a packet into a link's queue. A queue that is full drops it and counts.
pub(super) fn send(media: &MediaOut, out: &HopPacket) {
    let (track, layer) = out.lane;
    let Packet { index, timestamp, marker, keyframe, codec, capture, exts, payload, .. } = &*out.packet;
    let Extensions { audio_level, orientation, playout_delay, abs_capture_time } = *exts;
    let header = MediaHeader {
        alias: out.alias,
        track,
        layer,
        index: *index,
        timestamp: *timestamp,
        marker: *marker,
        keyframe: *keyframe,
        codec: *codec,
        capture: capture.0,
        exts: Carried { audio_level, orientation, playout_delay, abs_capture_time },
    };
    media.try_send(out.kind, header, payload.clone());
}
