//! What a client is told of an offer that str0m does not take: in words of ours, with the line where it can be known.
//!
//! str0m's own words name tokens of its parser and places in our memory. Of these the place is read: it lies in the offer,
//! so it is a line. No text of the offer is told again: it may be a password.

use std::fmt::Display;

/// Begins the place at which str0m's parser stopped.
const PLACE: &str = "PointerOffset(0x";
/// The letters of lines in their order: above the first m-line, and from an m-line on.
const SESSION: [&str; 8] = ["v", "o", "s", "iuepczk", "b", "t", "r", "a"];
const MEDIA: [&str; 4] = ["m", "c", "b", "a"];
/// Those of which there may be more than one.
const MANY: [&str; 3] = ["iuepczk", "r", "a"];
/// The places of those that must be there, above the first m-line.
const NEEDED: [usize; 4] = [0, 1, 2, 5];
/// What an m-line may name.
const PROTOCOLS: [&str; 3] = ["UDP/TLS/RTP/SAVPF", "UDP/DTLS/SCTP", "DTLS/SCTP"];

/// Lines with their numbers, from 1.
fn lines(offer: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..).zip(offer.lines().map(|line| line.trim_end_matches('\r')))
}

/// The first line that is not where RFC 8866 section 5 has it. str0m stops there, and often without a word.
pub fn stray(offer: &str) -> Option<String> {
    let (mut order, mut last): (&[&str], Option<usize>) = (&SESSION, None);
    for (line, text) in lines(offer.trim_end()) {
        let (letter, value) = text.split_once('=').unwrap_or((text, ""));
        if value.is_empty() {
            return Some(format!("line {line} is empty, or says nothing behind its ="));
        }
        if letter == "m" {
            if order == SESSION && last < NEEDED.last().copied() {
                return Some(format!("line {line} is the first m-line, and there is no t=0 0 above it"));
            }
            if !PROTOCOLS.contains(&value.split(' ').nth(2).unwrap_or_default()) {
                return Some(format!("line {line} must name the protocol UDP/TLS/RTP/SAVPF"));
            }
            order = &MEDIA;
            last = Some(0);
            continue;
        }
        if letter == "t" && value != "0 0" {
            return Some(format!("line {line} must be t=0 0"));
        }
        let place = order.iter().position(|letters| letter.len() == 1 && letters.contains(letter));
        let again = place.and_then(|place| order.get(place)).is_some_and(|letters| MANY.contains(letters));
        let needed = NEEDED.into_iter().filter(|needed| order == SESSION && Some(*needed) < place).max();
        if place.is_none() || needed > last || !(place > last || place == last && again) {
            return Some(if order == SESSION {
                format!(
                    "line {line} is out of place: above the first m-line are v=0, o=, s=, then i=, u=, e=, p=, c=, z= and \
                     k=, one b=, t=0 0, r= and a=, in this order"
                )
            } else {
                format!(
                    "line {line} is out of place: behind m= are one c= at most, one b= at most, then a= alone"
                )
            });
        }
        last = place;
    }
    None
}

/// Of an offer that cannot be read. `error` is what str0m said of this very text.
pub fn unread(offer: &str, error: &impl Display) -> String {
    if let Some(stray) = stray(offer) {
        return stray;
    }
    match place(offer, &error.to_string()) {
        Some((line, text)) if text.starts_with("m=") => format!(
            "the media section of line {line} cannot be read: it needs formats by their numbers, with one a=rtpmap each, \
             one a=mid, and one direction, such as a=sendonly"
        ),
        Some((line, _)) => {
            format!("line {line} cannot be read: its value is not what RFC 8866 section 5 asks for")
        }
        None => "it cannot be read as RFC 8866 section 5 asks".to_owned(),
    }
}

/// The line in which the parser stopped, from 1, and its text.
fn place<'a>(offer: &'a str, error: &str) -> Option<(usize, &'a str)> {
    let (address, _) = error.split_once(PLACE)?.1.split_once(')')?;
    let address = usize::from_str_radix(address, 16).ok()?;
    let above = offer.get(..address.checked_sub(offer.as_ptr().addr())?)?;
    let line = above.matches('\n').count();
    Some((line.saturating_add(1), offer.lines().nth(line).unwrap_or_default()))
}

/// Of an offer that was read and contradicts itself, or what this side is.
pub fn contradictory(offer: &str) -> String {
    if let Some(stray) = stray(offer) {
        return stray;
    }
    if let Some((line, _)) = lines(offer).find(|(_, text)| *text == "a=ice-lite") {
        return format!(
            "line {line}: this side is an ICE Lite agent itself, so the client must be a full one (RFC 8445)"
        );
    }
    let mut mids = Vec::new();
    for (line, mid) in lines(offer).filter_map(|(line, text)| Some((line, text.strip_prefix("a=mid:")?))) {
        if mids.contains(&mid) {
            return format!(
                "line {line}: another m-line above has this a=mid, and each needs one of its own"
            );
        }
        mids.push(mid);
    }
    match lines(offer).find(|(_, text)| text.starts_with("a=group:")) {
        Some((line, _)) => format!(
            "line {line}: a=group:BUNDLE must name the a=mid of each m-line that is not refused, in their order"
        ),
        None => "it has no a=group:BUNDLE, and all of its media must be bundled".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use str0m::change::SdpOffer;

    use super::*;

    const OFFER: &str = include_str!("../../../tests/data/offer-view.sdp");

    /// The number of the first line that begins so.
    fn line_of(offer: &str, start: &str) -> usize {
        offer.lines().position(|line| line.starts_with(start)).unwrap() + 1
    }

    /// The offer changed in one place, with these line ends.
    fn changed(from: &str, to: &str, ends: &str) -> String {
        assert!(OFFER.contains(from), "{from}");
        OFFER.replacen(from, to, 1).lines().map(|line| format!("{line}{ends}")).collect()
    }

    #[test]
    fn a_line_that_is_out_of_place_is_told() {
        assert_eq!(stray(OFFER), None);
        for (from, to, line, said) in [
            ("o=-", "u=-", "u=-", "out of place: above the first m-line"),
            ("s=-", "s=", "s=", "says nothing"),
            ("s=-\n", "", "t=0 0", "out of place: above the first m-line"),
            ("t=0 0", "t=1 1", "t=1 1", "must be t=0 0"),
            ("t=0 0\n", "", "a=group", "out of place: above the first m-line"),
            (
                "t=0 0\n",
                "t=0 0\nc=IN IP4 192.0.2.1\n",
                "c=IN IP4 192",
                "out of place: above the first m-line",
            ),
            ("UDP/TLS/RTP/SAVPF", "RTP/AVP", "m=audio", "UDP/TLS/RTP/SAVPF"),
            ("a=mid:0", "b=AS:64", "b=AS", "out of place: behind m="),
            ("a=mid:0", "i=sound", "i=sound", "out of place: behind m="),
            ("a=mid:0", "\na=mid:0", "", "is empty"),
        ] {
            for ends in ["\n", "\r\n"] {
                let bad = changed(from, to, ends);
                let nth = match line {
                    "" => bad.lines().position(str::is_empty).unwrap() + 1,
                    start => line_of(&bad, start),
                };
                let told = stray(&bad).expect(to);
                assert!(told.starts_with(&format!("line {nth} ")) && told.contains(said), "{to:?}: {told}");
                assert!(told.len() < 200, "{told}");
            }
        }
    }

    #[test]
    fn an_offer_that_cannot_be_read_is_told_where() {
        for (from, to, line, said) in [
            ("o=- 46", "o=- x46", "o=", "its value"),
            ("a=rtpmap:96 ", "a=rtpmap:x96 ", "m=video", "one a=rtpmap each"),
            ("a=mid:1", "a=middle:1", "m=video", "one a=mid"),
        ] {
            for ends in ["\n", "\r\n"] {
                let bad = changed(from, to, ends);
                let error = SdpOffer::from_sdp_string(&bad).expect_err(to);
                let told = unread(&bad, &error);
                let line = format!("line {} cannot be read", line_of(&bad, line));
                assert!(told.contains(&line) && told.contains(said), "{to}: {told}, and not {line}");
                assert!(told.len() < 200, "{told}");
            }
        }
        // Of another text its place says nothing.
        let other = "v=0\r\n".to_owned();
        let error = SdpOffer::from_sdp_string(&other).err().unwrap();
        assert_eq!(unread(OFFER, &error), "it cannot be read as RFC 8866 section 5 asks");
        assert_eq!(unread(OFFER, &"of another library"), "it cannot be read as RFC 8866 section 5 asks");
    }

    #[test]
    fn an_offer_that_contradicts_itself_is_told_where() {
        let with = |from: &str, to: &str| contradictory(&changed(from, to, "\r\n"));
        for (from, to, said) in [
            ("a=ice-options:trickle", "a=ice-lite", "this side"),
            ("a=mid:1", "a=mid:0", "another m-line"),
            ("a=group:BUNDLE 0 1", "a=group:BUNDLE 1 0", "a=group:BUNDLE must"),
        ] {
            let told = with(from, to);
            assert!(told.starts_with(&format!("line {}: {said}", line_of(OFFER, from))), "{to}: {told}");
        }
        assert!(with("a=group:", "a=grouped:").starts_with("it has no a=group:BUNDLE"));
    }
}
