//! Offer in, answer and a str0m session out.
//!
//! The codec table is built from the offer itself, with the offer's payload types: so the answer keeps every codec
//! that is forwarded, H.264 is matched by packetization mode and never by profile or level, and a republish in
//! another codec needs no new session. What is not forwarded (RED, ULPFEC, CN, DTMF) is not answered.

use std::sync::Arc;
use std::time::{Duration, Instant};

use freshet_relay_proto::track::{CODECS_MAX, CodecInfo};
use str0m::change::SdpOffer;
use str0m::config::{DtlsCert, DtlsVersion};
use str0m::crypto::CryptoProvider;
use str0m::format::{Codec, CodecConfig, FormatParams};
use str0m::media::Frequency;
use str0m::rtp::{Extension, ExtensionMap};
use str0m::{Candidate, IceCreds, Rtc, RtcConfig};

use super::contain::contained;
use super::keys::Keys;
use super::sdp;
use super::unread::{contradictory, stray, unread};
use crate::book::Book;
use crate::session::{CreateError, Direction};

/// str0m tells so often how it sees the path to a publisher.
const STATS: Duration = Duration::from_secs(1);

/// What is forwarded, for error texts.
pub const SERVED: [&str; 5] = ["H264", "VP8", "VP9", "AV1", "opus"];

/// What every session of a shard has in common.
pub struct Common {
    /// The certificate of all DTLS sessions.
    pub cert: DtlsCert,
    /// Candidates that answers advertise, and what local address each is.
    pub book: Book,
    /// The cryptography; its DTLS shows the keys that it agrees on.
    pub provider: Arc<CryptoProvider>,
    /// Takes the keys that came up while the last session was polled.
    pub take_keys: fn() -> Option<Keys>,
    /// Counts the SRTP packets that sessions of this thread opened.
    pub opened: fn() -> u64,
}

/// A session that has answered.
pub struct Negotiated {
    /// str0m's state.
    pub rtc: Rtc,
    /// The answer as the client gets it.
    pub answer: String,
    /// What the answer says, line by line.
    pub session: sdp::Session,
    /// The offer as it was accepted, for ICE restarts.
    pub offer: String,
}

/// Whether packets of this codec are forwarded.
pub fn is_served(codec: &sdp::Codec) -> bool {
    to_str0m(&codec.name).is_some() && codec.param("packetization-mode") != Some("2")
}

fn to_str0m(name: &str) -> Option<Codec> {
    let known = [
        ("H264", Codec::H264),
        ("VP8", Codec::Vp8),
        ("VP9", Codec::Vp9),
        ("AV1", Codec::Av1),
        ("opus", Codec::Opus),
    ];
    known.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, codec)| *codec)
}

fn format(codec: &sdp::Codec) -> FormatParams {
    let number = |name| codec.param(name).and_then(|v| v.parse::<u32>().ok());
    let small = |name| codec.param(name).and_then(|v| v.parse::<u8>().ok());
    let flag = |name| codec.param(name).map(|v| v == "1");
    let mut format = FormatParams::default();
    match to_str0m(&codec.name) {
        Some(Codec::Opus) => {
            format.min_p_time = small("minptime");
            format.use_inband_fec = flag("useinbandfec");
            format.use_dtx = flag("usedtx");
            format.stereo = flag("stereo");
            format.sprop_stereo = flag("sprop-stereo");
        }
        Some(Codec::H264) => {
            format.level_asymmetry_allowed = flag("level-asymmetry-allowed");
            format.packetization_mode = small("packetization-mode");
            format.profile_level_id =
                codec.param("profile-level-id").and_then(|v| u32::from_str_radix(v, 16).ok());
        }
        Some(Codec::Vp9) => format.profile_id = number("profile-id"),
        Some(Codec::Av1) => {
            format.profile = small("profile");
            format.level_idx = small("level-idx");
            format.tier = small("tier");
        }
        _ => {}
    }
    format
}

fn extension(uri: &str, direction: Direction) -> Option<Extension> {
    // Layers are a publisher's.
    let layered = direction == Direction::Publish;
    match uri {
        "urn:ietf:params:rtp-hdrext:sdes:mid" => Some(Extension::RtpMid),
        "urn:ietf:params:rtp-hdrext:ssrc-audio-level" => Some(Extension::AudioLevel),
        "urn:3gpp:video-orientation" => Some(Extension::VideoOrientation),
        "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay" => Some(Extension::PlayoutDelay),
        "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time" => {
            Some(Extension::AbsoluteCaptureTime)
        }
        "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time" => Some(Extension::AbsoluteSendTime),
        "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01" => {
            Some(Extension::TransportSequenceNumber)
        }
        "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id" if layered => Some(Extension::RtpStreamId),
        "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id" if layered => {
            Some(Extension::RepairedRtpStreamId)
        }
        _ => None,
    }
}

/// Lengths of ICE credentials (RFC 8839 section 5.4).
const UFRAG_LEN: std::ops::RangeInclusive<usize> = 4..=256;
const PWD_LEN: std::ops::RangeInclusive<usize> = 22..=256;

/// Whether a client's ICE credentials have the lengths that they must have.
pub fn credentials_fit(ufrag: &str, pwd: &str) -> bool {
    UFRAG_LEN.contains(&ufrag.len()) && PWD_LEN.contains(&pwd.len())
}

fn useful(media: &sdp::Media, direction: Direction) -> bool {
    let flows = match direction {
        Direction::Publish => matches!(media.flow, sdp::Flow::SendOnly | sdp::Flow::SendRecv),
        Direction::View => matches!(media.flow, sdp::Flow::RecvOnly | sdp::Flow::SendRecv),
    };
    media.kind.is_some() && !media.rejected && flows
}

fn check(offer: &sdp::Session, direction: Direction) -> Result<(), CreateError> {
    let (Some(ufrag), Some(pwd)) = (&offer.ufrag, &offer.pwd) else {
        return Err(CreateError::BadOffer("it has no a=ice-ufrag and a=ice-pwd".into()));
    };
    if !credentials_fit(ufrag, pwd) {
        let text = "its a=ice-ufrag must have 4 to 256 characters and its a=ice-pwd 22 to 256 (RFC 8839 section 5.4)";
        return Err(CreateError::BadOffer(text.into()));
    }
    if !offer.fingerprint {
        return Err(CreateError::BadOffer("it has no a=fingerprint: DTLS is needed".into()));
    }
    if offer.broken_fingerprint {
        let text = "its a=fingerprint by sha-256 must be 32 bytes in hexadecimal, with colons between them";
        return Err(CreateError::BadOffer(text.into()));
    }
    if !offer.media.iter().any(|m| useful(m, direction)) {
        let wanted = match direction {
            Direction::Publish => "it sends nothing: an m=audio or m=video line must be sendonly",
            Direction::View => "it receives nothing: an m=audio or m=video line must be recvonly",
        };
        return Err(CreateError::Unprocessable(wanted.into()));
    }
    let codecs = || offer.media.iter().filter(|m| useful(m, direction)).flat_map(|m| m.codecs.iter());
    if !codecs().any(is_served) {
        return Err(no_common_codec(codecs()));
    }
    match direction {
        Direction::Publish => check_whole(offer),
        Direction::View => Ok(()),
    }
}

fn no_common_codec<'a>(offered: impl Iterator<Item = &'a sdp::Codec>) -> CreateError {
    let mut offered: Vec<String> = offered.map(|codec| codec.name.clone()).collect();
    offered.dedup();
    CreateError::NoCommonCodec { offered, served: SERVED.iter().map(|name| (*name).to_owned()).collect() }
}

/// What a host sends is taken whole or not at all, and at most one track of each kind (RFC 9725 sections 4.4.2 and
/// 4.4.3): a host whose picture was left out of the answer would not know.
fn check_whole(offer: &sdp::Session) -> Result<(), CreateError> {
    let mut kinds = Vec::new();
    for media in offer.media.iter().filter(|m| useful(m, Direction::Publish)) {
        if kinds.contains(&media.kind) {
            let text = "it sends more than one track of a kind: send one audio and one video track at most, and other \
                        pictures as streams of their own";
            return Err(CreateError::Unprocessable(text.into()));
        }
        kinds.push(media.kind);
        if !media.codecs.iter().any(is_served) {
            return Err(no_common_codec(media.codecs.iter()));
        }
    }
    Ok(())
}

pub(super) fn config(
    common: &Common,
    offer: &sdp::Session,
    direction: Direction,
    creds: IceCreds,
) -> RtcConfig {
    let mut config = RtcConfig::new()
        .set_crypto_provider(common.provider.clone())
        .set_rtp_mode(true)
        .set_ice_lite(true)
        .set_dtls_version(DtlsVersion::Dtls12)
        .set_dtls_cert(common.cert.clone())
        .set_local_ice_credentials(creds)
        .set_stats_interval((direction == Direction::Publish).then_some(STATS))
        .clear_codecs();
    let mut extensions = ExtensionMap::empty();
    let mut taken: Vec<u8> = Vec::new();
    // Sound is answered with NACK only where it is put in here: str0m gives it to pictures.
    let mut repaired: Vec<u8> = Vec::new();
    for media in offer.media.iter().filter(|m| useful(m, direction)) {
        for (id, uri) in &media.extensions {
            if let Some(ext) = extension(uri, direction)
                && (1..=14).contains(id)
                && extensions.lookup(*id).is_none()
            {
                extensions.set(*id, ext);
            }
        }
        for codec in media.codecs.iter().filter(|c| is_served(c)).take(CODECS_MAX) {
            let (Some(kind), false) = (to_str0m(&codec.name), taken.contains(&codec.pt)) else { continue };
            let Some(rate) = Frequency::new(codec.clock_rate) else { continue };
            taken.push(codec.pt);
            let channels = (codec.channels > 1).then_some(codec.channels);
            let rtx = codec.rtx.map(Into::into);
            config.codec_config().add_config(codec.pt.into(), rtx, kind, rate, channels, format(codec));
            // A viewer is sent again what it asks for, with RTX or without; a publisher is asked where it has RTX.
            if codec.nack && (direction == Direction::View || codec.rtx.is_some()) {
                repaired.push(codec.pt);
            }
        }
    }
    let mut payloads = config.codec_config().params().to_vec();
    for payload in payloads.iter_mut().filter(|p| repaired.contains(&p.pt())) {
        payload.set_fb_nack(true);
    }
    *config.codec_config() = CodecConfig::new_from_payload_params(payloads);
    config.set_extension_map(extensions)
}

/// Answers an offer whose simulcast fits ([`sdp::simulcast_fits`]) or has been left out ([`sdp::without_simulcast`]).
///
/// `creds` are the local ICE credentials; the user name names the shard, so that the socket layer finds the session
/// by it. `label` becomes media stream id and CNAME of all that is sent.
pub fn accept(
    common: &Common,
    direction: Direction,
    offer: String,
    creds: IceCreds,
    label: &str,
    now: Instant,
) -> Result<Negotiated, CreateError> {
    let read = sdp::read(&offer).map_err(|e| CreateError::BadOffer(e.to_string()))?;
    check(&read, direction)?;
    // All that str0m touches is made in here and dropped with a panic of it.
    let answered = contained(|| {
        let parsed =
            SdpOffer::from_sdp_string(&offer).map_err(|e| CreateError::BadOffer(unread(&offer, &e)))?;
        let mut rtc = config(common, &read, direction, creds).build(now);
        for addr in common.book.candidates() {
            let candidate = Candidate::host(*addr, "udp").map_err(|_| CreateError::Internal)?;
            rtc.add_local_candidate(candidate);
        }
        let answer = rtc.sdp_api().accept_offer(parsed);
        let answer = answer.map_err(|_| CreateError::BadOffer(contradictory(&offer)))?;
        Ok((rtc, answer))
    });
    let contradicts = "its payload types contradict each other: each format needs one of its own";
    let (rtc, answer) = answered.ok_or_else(|| CreateError::BadOffer(contradicts.into()))??;
    let answer = sdp::with_one_stream(&answer.to_sdp_string(), label, label);
    let answer = sdp::with_opus_rate(&answer, &read);
    let session = sdp::read(&answer).map_err(|_| CreateError::Internal)?;
    // str0m leaves out what it does not know, and an answer has as many m-lines as its offer (RFC 3264 section 6).
    if session.media.len() != read.media.len() {
        let text = "an m-line of it is neither audio, nor video, nor application: leave it out";
        return Err(CreateError::Unprocessable(stray(&offer).unwrap_or(text.into())));
    }
    if !session.media.iter().any(|m| !m.codecs.is_empty() && m.flow != sdp::Flow::Inactive) {
        return Err(CreateError::Unprocessable("no m-line of it could be accepted".into()));
    }
    Ok(Negotiated { rtc, answer, session, offer })
}

/// The codec as it is announced to other nodes.
pub fn announced(codec: &sdp::Codec) -> CodecInfo {
    CodecInfo {
        name: codec.name.clone(),
        clock_rate: codec.clock_rate,
        channels: codec.channels,
        fmtp: codec.fmtp.clone(),
    }
}

/// Finds the viewer's payload type for a publisher's codec: the same format best, else any that decodes it.
pub fn pick<'a>(codecs: &'a [sdp::Codec], wanted: &CodecInfo) -> Option<&'a sdp::Codec> {
    let same = |c: &&sdp::Codec| {
        c.name.eq_ignore_ascii_case(&wanted.name)
            && c.clock_rate == wanted.clock_rate
            && (!wanted.name.eq_ignore_ascii_case("H264") || mode(&c.fmtp) == mode(&wanted.fmtp))
    };
    let detail = |fmtp: &str| {
        let key = if wanted.name.eq_ignore_ascii_case("VP9") { "profile-id" } else { "profile-level-id" };
        sdp::param(fmtp, key).map(str::to_ascii_lowercase)
    };
    let wanted_detail = detail(&wanted.fmtp);
    codecs.iter().filter(same).find(|c| detail(&c.fmtp) == wanted_detail).or_else(|| codecs.iter().find(same))
}

fn mode(fmtp: &str) -> &str {
    sdp::param(fmtp, "packetization-mode").unwrap_or("0")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn video(fmtp: &[(&str, u8, &str)]) -> Vec<sdp::Codec> {
        let codec = |(name, pt, fmtp): &(&str, u8, &str)| sdp::Codec {
            pt: *pt,
            rtx: None,
            name: (*name).to_owned(),
            clock_rate: 90_000,
            channels: 1,
            fmtp: (*fmtp).to_owned(),
            nack: true,
        };
        fmtp.iter().map(codec).collect()
    }

    fn picked(codecs: &[sdp::Codec], name: &str, fmtp: &str) -> Option<u8> {
        let wanted =
            CodecInfo { name: name.to_owned(), clock_rate: 90_000, channels: 1, fmtp: fmtp.to_owned() };
        pick(codecs, &wanted).map(|codec| codec.pt)
    }

    #[test]
    fn h264_is_matched_by_packetization_mode_and_not_by_profile_or_level() {
        const BASE: &str = "profile-level-id=42001f;packetization-mode=1";
        const HIGH: &str = "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=640c34";
        const SINGLE: &str = "profile-level-id=42001f;packetization-mode=0";
        let codecs = video(&[("H264", 96, SINGLE), ("H264", 98, BASE)]);
        assert_eq!(picked(&codecs, "h264", HIGH), Some(98), "another profile and level");
        assert_eq!(picked(&codecs, "H264", SINGLE), Some(96));
        assert_eq!(picked(&codecs, "H264", "profile-level-id=640c34"), Some(96), "no mode is mode 0");
        assert_eq!(picked(&video(&[("H264", 96, SINGLE)]), "H264", HIGH), None, "fragments need mode 1");
        let both =
            video(&[("H264", 98, BASE), ("H264", 100, "packetization-mode=1;profile-level-id=640C34")]);
        assert_eq!(picked(&both, "H264", HIGH), Some(100), "the same profile is better");
    }

    #[test]
    fn vp9_prefers_its_profile_and_names_ignore_case() {
        let codecs = video(&[("VP9", 96, "profile-id=0"), ("VP9", 98, "profile-id=2"), ("VP8", 100, "")]);
        assert_eq!(picked(&codecs, "vp9", "profile-id=2"), Some(98));
        assert_eq!(picked(&codecs, "VP9", "profile-id=1"), Some(96), "any that may decode it");
        assert_eq!(picked(&codecs, "vp8", ""), Some(100));
        assert_eq!(picked(&codecs, "AV1", ""), None);
    }
}
