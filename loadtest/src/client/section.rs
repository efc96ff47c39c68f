//! What an answer says of each medium that a viewer counts by itself: payload types, feedback, extensions.

use std::collections::BTreeMap;

use super::sdp;
use crate::media::VideoCodec;

/// What a payload type carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Load {
    /// First transmissions, of video whose keyframes can be told if a codec is named.
    Media { codec: Option<VideoCodec> },
    /// Retransmissions of such media (RFC 4588).
    Again { codec: Option<VideoCodec> },
}

/// A medium of an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Section {
    pub mid: String,
    pub loads: Vec<(u8, Option<Load>)>,
    /// The clock of its timestamps, in Hz.
    pub clock: u32,
    /// The server takes requests for lost packets.
    pub nack: bool,
    /// The server takes requests for keyframes.
    pub pli: bool,
    /// Names of the simulcast layers that the server takes (RFC 8853).
    pub layers: Vec<String>,
    /// The extension of transport-wide numbers, where feedback about them is wanted.
    pub transport: Option<u8>,
}

const TRANSPORT: &str = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";

/// The media of an answer, in its order.
pub(super) fn sections(answer: &str) -> Vec<Section> {
    let mut all: Vec<Section> = Vec::new();
    let mut wanted = Vec::new();
    for line in answer.lines() {
        if line.starts_with("m=") {
            all.push(Section::default());
            wanted.push(false);
        }
        let (Some(section), Some(wanted)) = (all.last_mut(), wanted.last_mut()) else { continue };
        if let Some(mid) = line.strip_prefix("a=mid:") {
            mid.trim().clone_into(&mut section.mid);
        } else if let Some((number, format)) = numbered(line, "a=rtpmap:") {
            section.format(number, format);
        } else if let Some((id, uri)) = numbered(line, "a=extmap:") {
            if uri.split_ascii_whitespace().next() == Some(TRANSPORT) {
                section.transport = Some(id);
            }
        } else if let Some(simulcast) = line.strip_prefix("a=simulcast:") {
            section.layers = received(simulcast);
        } else if let Some((_, feedback)) =
            line.strip_prefix("a=rtcp-fb:").and_then(|rest| rest.split_once(' '))
        {
            section.nack |= feedback.trim() == "nack";
            section.pli |= feedback.trim() == "nack pli";
            *wanted |= feedback.trim() == "transport-cc";
        }
    }
    let repairs = sdp::rtx_payload_types(answer);
    for (section, wanted) in all.iter_mut().zip(wanted) {
        section.pair(&repairs);
        section.transport = section.transport.filter(|_| wanted);
    }
    all
}

/// The names behind `recv`; of alternatives the first, as it is said, paused or not.
fn received(simulcast: &str) -> Vec<String> {
    let mut words = simulcast.split_ascii_whitespace().skip_while(|word| *word != "recv").skip(1);
    let name = |layer: &str| layer.split(',').next().unwrap_or_default().trim_start_matches('~').to_owned();
    words.next().map(|layers| layers.split(';').map(name).collect()).unwrap_or_default()
}

/// `a=name:7 rest` or `a=name:7/direction rest`.
fn numbered<'a>(line: &'a str, name: &str) -> Option<(u8, &'a str)> {
    let (number, rest) = line.strip_prefix(name)?.split_once(' ')?;
    let number = number.split('/').next()?.parse().ok()?;
    Some((number, rest.trim()))
}

impl Section {
    /// What is asked for again comes as it was sent first: nothing else was agreed on.
    pub fn resends(&self) -> bool {
        let rtx = self.loads.iter().any(|(_, load)| matches!(load, Some(Load::Again { .. })));
        self.nack && !rtx
    }

    /// A retransmission is of the codec that it repairs.
    fn pair(&mut self, repairs: &BTreeMap<u8, u8>) {
        let loads = self.loads.clone();
        let codec_of = |number: &u8| {
            let of = loads.iter().find(|(known, _)| Some(known) == repairs.get(number))?;
            if let Some(Load::Media { codec }) = of.1 { codec } else { None }
        };
        for (number, load) in &mut self.loads {
            if let Some(Load::Again { codec }) = load {
                *codec = codec_of(number);
            }
        }
    }

    fn format(&mut self, number: u8, format: &str) {
        let mut parts = format.split('/');
        let name = parts.next().unwrap_or_default().to_ascii_lowercase();
        let clock = parts.next().and_then(|clock| clock.parse().ok()).unwrap_or(0);
        let load = match name.as_str() {
            "rtx" => Some(Load::Again { codec: None }),
            // Redundancy and forward error correction are no first transmissions.
            "red" | "ulpfec" | "flexfec-03" => None,
            "h264" => Some(Load::Media { codec: Some(VideoCodec::H264) }),
            "vp8" => Some(Load::Media { codec: Some(VideoCodec::Vp8) }),
            _ => Some(Load::Media { codec: None }),
        };
        if self.clock == 0 {
            self.clock = clock;
        }
        self.loads.push((number, load));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_medium_by_medium() {
        let answer = "v=0\r\na=mid:none\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=rtpmap:111 opus/48000/2\r\n\
            a=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01\r\n\
            m=video 9 UDP/TLS/RTP/SAVPF 108 109\r\na=mid:1\r\na=rtpmap:108 H264/90000\r\na=rtcp-fb:108 nack\r\n\
            a=rtcp-fb:108 nack pli\r\na=rtcp-fb:* transport-cc\r\na=rtpmap:109 rtx/90000\r\na=fmtp:109 apt=108\r\n\
            a=extmap:3/sendonly http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01 x\r\n\
            a=rtpmap:x y\r\na=extmap:999 z\r\na=rtcp-fb:\r\na=simulcast:send x recv f,g;~h\r\n";
        let (found, h264) = (sections(answer), Some(VideoCodec::H264));
        let audio = Section {
            mid: "0".into(),
            loads: vec![(111, Some(Load::Media { codec: None }))],
            clock: 48_000,
            ..Section::default()
        };
        let video = Section {
            mid: "1".into(),
            loads: vec![(108, Some(Load::Media { codec: h264 })), (109, Some(Load::Again { codec: h264 }))],
            clock: 90_000,
            nack: true,
            pli: true,
            layers: vec!["f".into(), "h".into()],
            transport: Some(3),
        };
        let plain = Section { loads: video.loads.iter().take(1).cloned().collect(), ..video.clone() };
        assert_eq!([&audio, &video, &plain].map(Section::resends), [false, false, true]);
        assert_eq!(found, [audio, video]);
        assert_eq!(sections("nonsense"), []);
    }
}
