//! SDP as text: what str0m does not show, fragments for PATCH (RFC 8840), and an answer renewed by one.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use str0m::media::Mid;

use crate::media::Kind;

/// Attributes of ICE, as they stand in descriptions and fragments.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct IceAttributes {
    pub ufrag: Option<String>,
    pub pwd: Option<String>,
    /// Each `candidate:…` without the `a=`.
    pub candidates: Vec<String>,
}

pub(super) fn ice_attributes(text: &str) -> IceAttributes {
    let mut found = IceAttributes::default();
    for line in text.lines() {
        if let Some(value) = line.strip_prefix("a=ice-ufrag:") {
            found.ufrag.get_or_insert_with(|| value.trim().to_owned());
        } else if let Some(value) = line.strip_prefix("a=ice-pwd:") {
            found.pwd.get_or_insert_with(|| value.trim().to_owned());
        } else if line.starts_with("a=candidate:") {
            found.candidates.extend(line.get(2..).map(|candidate| candidate.trim().to_owned()));
        }
    }
    found
}

/// The first media section's id.
pub(super) fn first_mid(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.strip_prefix("a=mid:")).map(str::trim)
}

/// The first m-line, which a fragment repeats (RFC 8840 section 9).
fn first_media_line(text: &str) -> Option<&str> {
    text.lines().find(|line| line.starts_with("m=")).map(str::trim)
}

/// A `trickle-ice-sdpfrag` for the session of `offer`: its credentials, and candidates.
pub(super) fn fragment(offer: &str, candidates: &[String], end: bool) -> String {
    let ice = ice_attributes(offer);
    let mut text = String::new();
    for (name, value) in [("ice-ufrag", &ice.ufrag), ("ice-pwd", &ice.pwd)] {
        if let Some(value) = value {
            text.push_str(&format!("a={name}:{value}\r\n"));
        }
    }
    text.push_str(first_media_line(offer).unwrap_or("m=audio 9 UDP/TLS/RTP/SAVPF 0"));
    text.push_str(&format!("\r\na=mid:{}\r\n", first_mid(offer).unwrap_or("0")));
    for candidate in candidates {
        text.push_str(&format!("a={candidate}\r\n"));
    }
    if end {
        text.push_str("a=end-of-candidates\r\n");
    }
    text
}

/// The answer of before with a fragment's credentials and candidates: what an ICE restart by PATCH amounts to.
pub(super) fn renewed_answer(answer: &str, fragment: &str) -> String {
    let ice = ice_attributes(fragment);
    let mut text = String::with_capacity(answer.len());
    let mut media = 0;
    for line in answer.lines() {
        media += usize::from(line.starts_with("m="));
        let renewed = if line.starts_with("a=ice-ufrag:") {
            ice.ufrag.as_ref().map(|value| format!("a=ice-ufrag:{value}"))
        } else if line.starts_with("a=ice-pwd:") {
            ice.pwd.as_ref().map(|value| format!("a=ice-pwd:{value}"))
        } else if line.starts_with("a=candidate:") && !ice.candidates.is_empty() {
            continue;
        } else {
            None
        };
        text.push_str(renewed.as_deref().unwrap_or(line));
        text.push_str("\r\n");
        if media == 1 && line.starts_with("a=mid:") {
            for candidate in &ice.candidates {
                text.push_str(&format!("a={candidate}\r\n"));
            }
        }
    }
    text
}

/// Payload types of retransmissions and the payload type that each repairs (RFC 4588 section 8).
pub(super) fn rtx_payload_types(text: &str) -> BTreeMap<u8, u8> {
    let mut rtx = Vec::new();
    let mut repairs = BTreeMap::new();
    for line in text.lines() {
        if let Some((number, format)) = line.strip_prefix("a=rtpmap:").and_then(|rest| rest.split_once(' ')) {
            if format.trim().to_ascii_lowercase().starts_with("rtx/") {
                rtx.extend(number.parse::<u8>());
            }
        } else if let Some((number, parameters)) =
            line.strip_prefix("a=fmtp:").and_then(|rest| rest.split_once(' '))
        {
            let apt = parameters.split(';').find_map(|parameter| parameter.trim().strip_prefix("apt="));
            if let (Ok(number), Some(Ok(apt))) =
                (number.parse::<u8>(), apt.map(|apt| apt.trim().parse::<u8>()))
            {
                repairs.insert(number, apt);
            }
        }
    }
    repairs.retain(|number, _| rtx.contains(number));
    repairs
}

/// Addresses of the candidates of UDP; names (mDNS) are left out.
pub(super) fn candidates(text: &str) -> Vec<SocketAddr> {
    let read = |candidate: &str| {
        // At blanks alone, as str0m does: what one of the two takes for an address the other must see.
        let mut words = candidate.split(' ').skip(2);
        let (transport, _priority, ip, port) = (words.next()?, words.next()?, words.next()?, words.next()?);
        let place = SocketAddr::new(ip.parse().ok()?, port.parse().ok()?);
        transport.eq_ignore_ascii_case("udp").then_some(place)
    };
    let mut found: Vec<SocketAddr> = Vec::new();
    for place in ice_attributes(text).candidates.iter().filter_map(|candidate| read(candidate)) {
        if !found.contains(&place) {
            found.push(place);
        }
    }
    found
}

/// The media sections that are in use, by their ids.
pub(super) fn medias(text: &str) -> Vec<(Mid, Kind)> {
    let used = |section: &&str| {
        // Port 0 refuses a section, but for one that is to share another's transport (RFC 9143 section 6).
        let refused = media_words(section).nth(1) == Some("0");
        !refused || section.lines().any(|line| line.trim() == "a=bundle-only")
    };
    let read = |section: &str| {
        let kind = match media_words(section).next()? {
            "audio" => Kind::Audio,
            "video" => Kind::Video,
            _ => return None,
        };
        Some((Mid::from(first_mid(section)?), kind))
    };
    media_sections(text).into_iter().filter(used).filter_map(read).collect()
}

/// Each media section as text, its m-line first.
fn media_sections(text: &str) -> Vec<&str> {
    let begins = |at: &usize| text.get(..*at).is_some_and(|before| before.ends_with('\n'));
    let starts: Vec<usize> = text.match_indices("m=").map(|(at, _)| at).filter(begins).collect();
    let ends = starts.iter().copied().skip(1).chain([text.len()]);
    starts.iter().zip(ends).filter_map(|(from, to)| text.get(*from..to)).collect()
}

/// Kind, port and so on of a section's m-line.
fn media_words(section: &str) -> impl Iterator<Item = &str> {
    section.lines().next().and_then(|line| line.strip_prefix("m=")).unwrap_or_default().split(' ')
}

/// An answer with as many sections as its offer, in the offer's order and by its ids (RFC 3264 section 6, RFC 9143 section
/// 7.3): those that str0m does not know, and leaves out, are refused by port 0 and stand in no BUNDLE group.
pub(super) fn whole_answer(offer: &str, answer: &str) -> String {
    let given = media_sections(answer);
    let head = answer.find("\nm=").and_then(|at| answer.get(..=at)).unwrap_or(answer);
    let mut text = head.to_owned();
    for asked in media_sections(offer) {
        let mid = first_mid(asked);
        if let Some(section) = given.iter().find(|section| first_mid(section) == mid) {
            text.push_str(section);
            continue;
        }
        let mut words = media_words(asked);
        let (kind, _port, rest) = (words.next().unwrap_or("audio"), words.next(), words.collect::<Vec<_>>());
        text.push_str(&format!("m={kind} 0 {}\r\na=inactive\r\n", rest.join(" ")));
        if let Some(mid) = mid {
            text.push_str(&format!("a=mid:{mid}\r\n"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=ice-lite\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\n\
        a=mid:0\r\na=ice-ufrag:old\r\na=ice-pwd:oldpassword\r\na=candidate:1 1 udp 9 127.0.0.1 5000 typ host\r\n\
        a=rtpmap:111 opus/48000/2\r\nm=video 9 UDP/TLS/RTP/SAVPF 108 109\r\na=mid:1\r\na=ice-ufrag:old\r\na=ice-pwd:oldpassword\r\n\
        a=rtpmap:108 H264/90000\r\na=fmtp:108 packetization-mode=1\r\na=rtpmap:109 rtx/90000\r\na=fmtp:109 apt=108\r\n";

    #[test]
    fn a_fragment_names_credentials_section_and_candidates() {
        let text = fragment(ANSWER, &["candidate:2 1 udp 8 127.0.0.1 6000 typ host".into()], true);
        assert_eq!(
            text,
            "a=ice-ufrag:old\r\na=ice-pwd:oldpassword\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\n\
             a=candidate:2 1 udp 8 127.0.0.1 6000 typ host\r\na=end-of-candidates\r\n"
        );
    }

    #[test]
    fn a_restart_renews_credentials_and_candidates_and_nothing_else() {
        let restart = "a=ice-ufrag:new\r\na=ice-pwd:newpassword\r\nm=audio 9 X 0\r\na=mid:0\r\na=candidate:7 1 udp 9 127.0.0.1 7000 typ host\r\n";
        let renewed = renewed_answer(ANSWER, restart);
        assert_eq!(renewed.matches("a=ice-ufrag:new\r\n").count(), 2);
        assert_eq!(renewed.matches("a=ice-pwd:newpassword\r\n").count(), 2);
        assert!(!renewed.contains("old") && !renewed.contains(" 5000 ") && renewed.contains(" 7000 "));
        assert_eq!(renewed.lines().count(), ANSWER.lines().count());
    }

    #[test]
    fn retransmission_types_and_addresses_are_read() {
        assert_eq!(rtx_payload_types(ANSWER), BTreeMap::from([(109, 108)]));
        assert_eq!(candidates(ANSWER), ["127.0.0.1:5000".parse::<SocketAddr>().unwrap()]);
        assert_eq!(
            candidates(
                "a=candidate:1 1 tcp 9 127.0.0.1 9 typ host\r\na=candidate:1 1 udp 9 x.local 5 typ host"
            ),
            []
        );
        assert_eq!(medias(ANSWER), [(Mid::from("0"), Kind::Audio), (Mid::from("1"), Kind::Video)]);
        // One that shares a transport does not make another one used that is refused.
        let three = "v=0\r\nm=audio 9 X 111\r\na=mid:a\r\nm=video 0 X 96\r\na=mid:b\r\na=bundle-only\r\nm=video 0 X 96\r\na=mid:c\r\n";
        assert_eq!(medias(three), [(Mid::from("a"), Kind::Audio), (Mid::from("b"), Kind::Video)]);
        assert_eq!(rtx_payload_types("a=fmtp:x apt=\r\na=rtpmap:\r\na=fmtp:1 apt=999"), BTreeMap::new());
    }

    #[test]
    fn an_answer_has_every_section_of_its_offer_in_its_order() {
        let offer = "v=0\r\na=group:BUNDLE t v a\r\nm=text 9 RTP/AVP 98 99\r\na=mid:t\r\nm=video 9 X 96\r\na=mid:v\r\nm=audio 9 X 111\r\na=mid:a\r\n";
        let ours = "v=0\r\na=group:BUNDLE v a\r\nm=video 9 X 96\r\na=mid:v\r\na=recvonly\r\nm=audio 9 X 111\r\na=mid:a\r\n";
        let whole = whole_answer(offer, ours);
        let text = "m=text 0 RTP/AVP 98 99\r\na=inactive\r\na=mid:t\r\n";
        assert_eq!(whole, ours.replacen("m=video", &format!("{text}m=video"), 1));
        assert_eq!(whole_answer(ours, ours), ours, "nothing is added to what is whole");
        assert_eq!(medias(&whole), [(Mid::from("v"), Kind::Video), (Mid::from("a"), Kind::Audio)]);
    }

    #[test]
    fn an_address_cannot_hide_behind_a_tab() {
        let hidden = "a=candidate:1\t2 1 udp 9 192.0.2.1 5 typ host\r\n";
        assert_eq!(candidates(hidden), ["192.0.2.1:5".parse::<SocketAddr>().unwrap()]);
    }
}
