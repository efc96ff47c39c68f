//! Reads what Freshet must know of an SDP (RFC 8866) before and after str0m negotiates it.
//!
//! str0m owns the negotiation. This reader names the codecs of both sides in an error, builds the codec table that
//! makes str0m answer *every* codec of the offer that is forwarded, and finds the payload types, SSRCs and extension
//! ids of the answer for `forward::egress`. Unknown lines are skipped; bounds hold for any input.

use std::sync::Arc;

use freshet_relay_proto::track::MediaKind;

/// Longest SDP that is read, in bytes.
pub const SDP_MAX: usize = 64 * 1024;
/// Most m-lines that are read.
pub const MEDIA_MAX: usize = 32;
/// Most simulcast layers of an m-line that are taken in.
pub const LAYERS_MAX: usize = 4;
/// Longest name of a layer that is taken in.
const LAYER_NAME_MAX: usize = 8;
/// Most codecs of an m-line that are read.
const CODECS_MAX: usize = 64;

/// One codec of an m-line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Codec {
    /// Payload type, 0–127.
    pub pt: u8,
    /// Payload type of its retransmissions (RFC 4588).
    pub rtx: Option<u8>,
    /// Encoding name as written, e.g. `H264`.
    pub name: String,
    /// Clock rate in hertz.
    pub clock_rate: u32,
    /// Channels, 1 when not written.
    pub channels: u8,
    /// Format parameters as written, empty when none.
    pub fmtp: String,
    /// `a=rtcp-fb` has `nack`.
    pub nack: bool,
}

impl Codec {
    /// A format parameter by name, without regard to case.
    pub fn param(&self, name: &str) -> Option<&str> {
        param(&self.fmtp, name)
    }
}

/// A format parameter by name, without regard to case.
pub fn param<'a>(fmtp: &'a str, name: &str) -> Option<&'a str> {
    fmtp.split(';').find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        key.trim().eq_ignore_ascii_case(name).then_some(value.trim())
    })
}

/// Which way media flows, from the writer's point of view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// `sendrecv`, also when nothing is written.
    SendRecv,
    /// `sendonly`.
    SendOnly,
    /// `recvonly`.
    RecvOnly,
    /// `inactive`.
    Inactive,
}

/// One m-line.
#[derive(Debug, Clone)]
pub struct Media {
    /// Audio or video; none for anything else.
    pub kind: Option<MediaKind>,
    /// `a=mid`.
    pub mid: Option<String>,
    /// Port 0 and not bundled.
    pub rejected: bool,
    /// Direction.
    pub flow: Flow,
    /// Codecs in order of preference, retransmission and redundancy formats left out.
    pub codecs: Arc<[Codec]>,
    /// `a=extmap`: id and URI.
    pub extensions: Vec<(u8, String)>,
    /// The first `a=ssrc`.
    pub ssrc: Option<u32>,
    /// The retransmission SSRC of the first `a=ssrc-group:FID`.
    pub rtx_ssrc: Option<u32>,
    /// Names of the layers that `a=simulcast` sends (RFC 8853), of alternatives the first.
    pub layers_sent: Vec<String>,
    /// Names of the layers that it receives.
    pub layers_received: Vec<String>,
}

/// What is read of a session description.
#[derive(Debug, Clone, Default)]
pub struct Session {
    /// The m-lines in order.
    pub media: Vec<Media>,
    /// The first `a=ice-ufrag`.
    pub ufrag: Option<String>,
    /// The first `a=ice-pwd`.
    pub pwd: Option<String>,
    /// There is an `a=fingerprint`.
    pub fingerprint: bool,
    /// One by SHA-256 is not one of 32 bytes (RFC 8122 section 5).
    pub broken_fingerprint: bool,
}

/// Why a text is not read as SDP.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SdpError {
    /// Longer than [`SDP_MAX`].
    #[error("it has {0} bytes: at most {SDP_MAX} are read")]
    TooLong(usize),
    /// Not SDP at all.
    #[error("it does not begin with v=0")]
    NoVersion,
    /// More than [`MEDIA_MAX`] m-lines.
    #[error("it has more than {MEDIA_MAX} m-lines")]
    TooManyMedia,
    /// A line that SDP does not allow.
    #[error("line {line} is not of the form <letter>=<value>")]
    Line {
        /// Its number, from 1.
        line: usize,
    },
    /// An m-line that cannot be read.
    #[error("line {line}: m= needs a media type, a port, a protocol and formats")]
    MediaLine {
        /// Its number, from 1.
        line: usize,
    },
}

#[derive(Default)]
struct Formats {
    order: Vec<u8>,
    maps: Vec<(u8, String, u32, u8)>,
    fmtps: Vec<(u8, String)>,
    nacks: Vec<Option<u8>>,
}

impl Formats {
    fn finish(&mut self) -> Arc<[Codec]> {
        let fmtp = |pt: u8| self.fmtps.iter().find(|(p, _)| *p == pt).map_or("", |(_, f)| f.as_str());
        let is_rtx = |name: &str| name.eq_ignore_ascii_case("rtx");
        let mut codecs = Vec::new();
        for pt in &self.order {
            let Some((_, name, clock_rate, channels)) = self.maps.iter().find(|(p, ..)| p == pt) else {
                continue;
            };
            if is_rtx(name) {
                continue;
            }
            let rtx = self.maps.iter().find_map(|(p, n, ..)| {
                let apt = param(fmtp(*p), "apt").and_then(|v| v.parse::<u8>().ok());
                (is_rtx(n) && apt == Some(*pt)).then_some(*p)
            });
            let nack = self.nacks.iter().any(|n| n.is_none() || *n == Some(*pt));
            codecs.push(Codec {
                pt: *pt,
                rtx,
                name: name.clone(),
                clock_rate: *clock_rate,
                channels: *channels,
                fmtp: fmtp(*pt).to_owned(),
                nack,
            });
        }
        *self = Self::default();
        codecs.into()
    }
}

fn media_line(value: &str, line: usize) -> Result<(Media, Vec<u8>), SdpError> {
    let mut words = value.split_ascii_whitespace();
    let (Some(kind), Some(port), Some(_proto)) = (words.next(), words.next(), words.next()) else {
        return Err(SdpError::MediaLine { line });
    };
    let port =
        port.split('/').next().and_then(|p| p.parse::<u16>().ok()).ok_or(SdpError::MediaLine { line })?;
    let kind = match kind {
        "audio" => Some(MediaKind::Audio),
        "video" => Some(MediaKind::Video),
        _ => None,
    };
    let formats = words.take(CODECS_MAX).filter_map(|w| w.parse().ok()).filter(|pt| *pt < 128).collect();
    let media = Media {
        kind,
        mid: None,
        rejected: port == 0,
        flow: Flow::SendRecv,
        codecs: Arc::default(),
        extensions: Vec::new(),
        ssrc: None,
        rtx_ssrc: None,
        layers_sent: Vec::new(),
        layers_received: Vec::new(),
    };
    Ok((media, formats))
}

/// The 32 bytes of a SHA-256 as a fingerprint writes them (RFC 8122 section 5).
pub fn sha256(hex: &str) -> Option<Vec<u8>> {
    let byte = |pair: &str| {
        let two = pair.len() == 2 && pair.bytes().all(|digit| digit.is_ascii_hexdigit());
        u8::from_str_radix(pair, 16).ok().filter(|_| two)
    };
    let bytes: Option<Vec<u8>> = hex.split(':').take(33).map(byte).collect();
    bytes.filter(|bytes| bytes.len() == 32)
}

/// By another hash than SHA-256 it is not looked at.
fn is_fingerprint(value: &str) -> bool {
    let Some((hash, bytes)) = value.trim().split_once(' ') else { return false };
    !hash.eq_ignore_ascii_case("sha-256") || sha256(bytes).is_some()
}

fn rtpmap(value: &str) -> Option<(u8, String, u32, u8)> {
    let (pt, rest) = value.split_once(' ')?;
    let mut parts = rest.trim().split('/');
    let name = parts.next()?.to_owned();
    let clock_rate = parts.next()?.parse().ok()?;
    let channels = parts.next().and_then(|c| c.parse().ok()).unwrap_or(1);
    Some((pt.parse().ok().filter(|pt| *pt < 128)?, name, clock_rate, channels))
}

fn attribute(media: &mut Media, formats: &mut Formats, value: &str) {
    let (name, value) = value.split_once(':').unwrap_or((value, ""));
    match name {
        "mid" => media.mid = Some(value.to_owned()),
        "bundle-only" => media.rejected = false,
        "sendrecv" => media.flow = Flow::SendRecv,
        "sendonly" => media.flow = Flow::SendOnly,
        "recvonly" => media.flow = Flow::RecvOnly,
        "inactive" => media.flow = Flow::Inactive,
        "rtpmap" if formats.maps.len() < CODECS_MAX => formats.maps.extend(rtpmap(value)),
        "fmtp" if formats.fmtps.len() < CODECS_MAX => {
            if let Some((pt, params)) = value.split_once(' ')
                && let Ok(pt) = pt.parse()
            {
                formats.fmtps.push((pt, params.trim().to_owned()));
            }
        }
        "rtcp-fb" if formats.nacks.len() < CODECS_MAX => {
            if let Some((pt, "nack")) = value.split_once(' ') {
                formats.nacks.push(pt.parse().ok());
            }
        }
        "extmap" if media.extensions.len() < 32 => {
            if let Some((id, uri)) = value.split_once(' ')
                && let Ok(id) = id.split('/').next().unwrap_or(id).parse()
            {
                media.extensions.push((id, uri.split_ascii_whitespace().next().unwrap_or("").to_owned()));
            }
        }
        "ssrc" if media.ssrc.is_none() => {
            media.ssrc = value.split_ascii_whitespace().next().and_then(|s| s.parse().ok());
        }
        "simulcast" => {
            let mut words = value.split_ascii_whitespace();
            while let (Some(way), Some(layers)) = (words.next(), words.next()) {
                match way {
                    "send" => media.layers_sent = layer_names(layers),
                    "recv" => media.layers_received = layer_names(layers),
                    _ => {}
                }
            }
        }
        "ssrc-group" => {
            let mut words = value.split_ascii_whitespace();
            if words.next() == Some("FID") && media.rtx_ssrc.is_none() {
                media.rtx_ssrc = words.nth(1).and_then(|s| s.parse().ok());
            }
        }
        _ => {}
    }
}

/// Reads a session description.
pub fn read(text: &str) -> Result<Session, SdpError> {
    if text.len() > SDP_MAX {
        return Err(SdpError::TooLong(text.len()));
    }
    if !text.starts_with("v=0") {
        return Err(SdpError::NoVersion);
    }
    let mut session = Session::default();
    let mut formats = Formats::default();
    for (at, line) in text.lines().enumerate() {
        let number = at.saturating_add(1);
        let line = line.trim_end_matches('\r');
        if line.is_empty() {
            continue;
        }
        let (letter, value) = line.split_once('=').ok_or(SdpError::Line { line: number })?;
        match letter {
            "m" => {
                if let Some(last) = session.media.last_mut() {
                    last.codecs = formats.finish();
                }
                if session.media.len() >= MEDIA_MAX {
                    return Err(SdpError::TooManyMedia);
                }
                let (media, order) = media_line(value, number)?;
                formats = Formats { order, ..Formats::default() };
                session.media.push(media);
            }
            "a" => {
                if let Some(ufrag) = value.strip_prefix("ice-ufrag:") {
                    session.ufrag.get_or_insert_with(|| ufrag.to_owned());
                } else if let Some(pwd) = value.strip_prefix("ice-pwd:") {
                    session.pwd.get_or_insert_with(|| pwd.to_owned());
                } else if let Some(fingerprint) = value.strip_prefix("fingerprint:") {
                    session.fingerprint = true;
                    session.broken_fingerprint |= !is_fingerprint(fingerprint);
                } else if let Some(media) = session.media.last_mut() {
                    attribute(media, &mut formats, value);
                }
            }
            _ if letter.len() == 1 => {}
            _ => return Err(SdpError::Line { line: number }),
        }
    }
    if let Some(last) = session.media.last_mut() {
        last.codecs = formats.finish();
    }
    Ok(session)
}

/// The first alternative of each layer of `a=simulcast`, without the mark of those that begin paused.
fn layer_names(layers: &str) -> Vec<String> {
    let names = layers.split(';').take(LAYERS_MAX.saturating_add(1));
    names
        .filter_map(|group| group.split(',').next())
        .map(|name| name.trim_start_matches('~').to_owned())
        .collect()
}

/// Simulcast that can be taken in as it is offered: at most [`LAYERS_MAX`] layers for each m-line, of different names that
/// str0m can tell apart.
pub fn simulcast_fits(offer: &Session) -> bool {
    let fits = |layers: &Vec<String>| {
        let plain = |name: &String| {
            (1..=LAYER_NAME_MAX).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric())
        };
        let apart =
            (1..).zip(layers).all(|(next, name)| !layers.iter().skip(next).any(|other| other == name));
        layers.len() <= LAYERS_MAX && layers.iter().all(plain) && apart
    };
    offer.media.iter().all(|media| fits(&media.layers_sent))
}

/// Leaves out simulcast and restriction ids (RFC 8853, RFC 8851), so that a client sends one encoding. Something that means
/// nothing stands in their place: who is told of a line counts those of the offer as it was sent.
pub fn without_simulcast(offer: &str) -> String {
    let left_out = |line: &str| line.starts_with("a=simulcast:") || line.starts_with("a=rid:");
    let mut text = String::with_capacity(offer.len());
    for line in offer.lines() {
        text.push_str(if left_out(line) { "a=left-out" } else { line.trim_end_matches('\r') });
        text.push_str("\r\n");
    }
    text
}

/// Gives every m-line of an answer the same media stream and CNAME, so that a client plays them in sync
/// (RFC 8830, RFC 7022).
pub fn with_one_stream(answer: &str, stream: &str, cname: &str) -> String {
    let mut text = String::with_capacity(answer.len());
    for line in answer.lines() {
        let line = line.trim_end_matches('\r');
        if let Some(msid) = line.strip_prefix("a=msid:") {
            let track = msid.split_ascii_whitespace().nth(1).unwrap_or("track");
            text.push_str(&format!("a=msid:{stream} {track}"));
        } else if line.starts_with("a=msid-semantic:") {
            text.push_str(&format!("a=msid-semantic:WMS {stream}"));
        } else if let Some(rest) = line.strip_prefix("a=ssrc:") {
            match rest.split_once(' ') {
                Some((ssrc, attr)) if attr.starts_with("cname:") => {
                    text.push_str(&format!("a=ssrc:{ssrc} cname:{cname}"));
                }
                Some((ssrc, attr)) if attr.starts_with("msid:") => {
                    let track = attr.split_ascii_whitespace().nth(1).unwrap_or("track");
                    text.push_str(&format!("a=ssrc:{ssrc} msid:{stream} {track}"));
                }
                _ => text.push_str(line),
            }
        } else {
            text.push_str(line);
        }
        text.push_str("\r\n");
    }
    text
}

/// The answer with the `maxaveragebitrate` of the offer's Opus, which str0m leaves out: a host's sound is bounded by what the
/// answer says, and what a viewer offers bounds nothing that is forwarded but is its to name (RFC 7587 section 7.1).
pub fn with_opus_rate(answer: &str, offer: &Session) -> String {
    let opus = offer.media.iter().flat_map(|media| media.codecs.iter());
    let opus = opus.filter(|codec| codec.name.eq_ignore_ascii_case("opus"));
    let number = |rate: &&str| rate.parse::<u32>().is_ok();
    let rates: Vec<(u8, &str)> =
        opus.filter_map(|codec| Some((codec.pt, codec.param("maxaveragebitrate").filter(number)?))).collect();
    if rates.is_empty() {
        return answer.to_owned();
    }
    let mut text = String::with_capacity(answer.len());
    for line in answer.lines() {
        text.push_str(line);
        let of = |prefix: &str| line.strip_prefix(prefix)?.split_once(' ')?.0.parse().ok();
        let rate = |pt: u8| rates.iter().find(|(known, _)| *known == pt).map(|(_, rate)| *rate);
        if let Some(rate) = of("a=fmtp:").and_then(rate) {
            text.push_str(&format!(";maxaveragebitrate={rate}"));
        } else if let Some(pt) = of("a=rtpmap:")
            && let Some(rate) = rate(pt)
            && !answer.contains(&format!("a=fmtp:{pt} "))
        {
            text.push_str(&format!("\r\na=fmtp:{pt} maxaveragebitrate={rate}"));
        }
        text.push_str("\r\n");
    }
    text
}

/// The ICE user name and password of an offer: the first of each, since all of its media is bundled.
pub fn credentials(offer: &str) -> Option<(&str, &str)> {
    let first = |name| offer.lines().find_map(|line| line.trim_end().strip_prefix(name));
    first("a=ice-ufrag:").zip(first("a=ice-pwd:"))
}

/// The offer with other ICE credentials: what a client would have offered to restart ICE (RFC 8839 section 4.4.3).
pub fn with_credentials(offer: &str, ufrag: &str, pwd: &str) -> String {
    let mut text = String::with_capacity(offer.len());
    for line in offer.lines() {
        let line = line.trim_end_matches('\r');
        if line.starts_with("a=candidate:") || line.starts_with("a=end-of-candidates") {
            continue;
        }
        if line.starts_with("a=ice-ufrag:") {
            text.push_str(&format!("a=ice-ufrag:{ufrag}"));
        } else if line.starts_with("a=ice-pwd:") {
            text.push_str(&format!("a=ice-pwd:{pwd}"));
        } else {
            text.push_str(line);
        }
        text.push_str("\r\n");
    }
    text
}
