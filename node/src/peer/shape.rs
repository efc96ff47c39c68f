//! What an offer has in common with others of its make, and what is its own.
//!
//! Viewers with the same browser send the same offer but for names, secrets and addresses: ICE credentials,
//! fingerprint, candidates, ports, m-line ids, media stream ids, SSRCs and the session's number. [`Shape`] takes
//! exactly these out, each only where it is written in the plainest form; an offer with anything else in such a place
//! has no shape, and then str0m negotiates it by itself. What is left is the key: two offers with one key get the same
//! answer but for such values.

use str0m::Candidate;

use super::contain::contained;
use super::sdp;

/// Longest offer that has a shape, in bytes.
const OFFER_MAX: usize = 16 * 1024;
/// Most m-lines of such an offer.
const MEDIA_MAX: usize = 16;
/// Most candidates of such an offer.
const CANDIDATES_MAX: usize = 64;
/// Most SSRCs of such an offer.
const SSRCS_MAX: usize = 64;
/// Begins what stands for a value in a key; no offer with a shape holds it.
const MARK: char = '\u{1}';

/// An offer, taken apart.
pub struct Shape<'a> {
    /// The offer without what is its own.
    pub key: String,
    /// What is its own.
    pub own: Own<'a>,
}

/// What a client offers of its own.
#[derive(Default)]
pub struct Own<'a> {
    /// Its ICE user fragment.
    pub ufrag: &'a str,
    /// Its ICE password.
    pub pwd: &'a str,
    /// The SHA-256 of its certificate.
    pub fingerprint: Vec<u8>,
    /// Its candidates, those left out that cannot be read.
    pub candidates: Vec<Candidate>,
    /// The ids of its m-lines in order.
    pub mids: Vec<&'a str>,
}

#[derive(Default)]
struct Reader<'a> {
    key: String,
    own: Own<'a>,
    fingerprint: &'a str,
    ssrcs: Vec<u32>,
    bundle: Option<&'a str>,
    candidates: usize,
}

impl<'a> Shape<'a> {
    /// The shape of an offer, if it has one.
    pub fn of(offer: &'a str) -> Option<Self> {
        if offer.len() > OFFER_MAX || offer.contains(MARK) {
            return None;
        }
        let mut reader = Reader { key: String::with_capacity(offer.len()), ..Reader::default() };
        for line in offer.lines() {
            reader.line(line)?;
        }
        reader.finish()
    }
}

impl<'a> Reader<'a> {
    fn line(&mut self, line: &'a str) -> Option<()> {
        let (letter, value) = line.split_at_checked(2)?;
        match letter {
            "a=" => return self.attribute(line, value),
            "m=" => return self.media(line, value),
            "o=" => {
                let mut words = value.splitn(3, ' ');
                let (user, number) = (words.next()?, words.next()?);
                plain(user)?;
                plain(words.next()?.get(..1)?)?;
                if !digits(number) || number.parse::<u64>().is_err() {
                    return None;
                }
                self.mark("o");
            }
            "c=" if value.starts_with("IN IP4 ") || value.starts_with("IN IP6 ") => self.mark("c"),
            _ => self.keep(line),
        }
        Some(())
    }

    /// The port is the client's own; whether it is 0 is not.
    fn media(&mut self, line: &'a str, value: &'a str) -> Option<()> {
        let mut words = value.splitn(3, ' ');
        let (kind, port, rest) = (words.next()?, words.next()?, words.next()?);
        if !matches!(kind, "audio" | "video") {
            return None;
        }
        if digits(port) && !port.starts_with('0') && port.parse::<u16>().is_ok() {
            self.mark(kind);
            self.keep(rest);
        } else {
            self.keep(line);
        }
        Some(())
    }

    fn attribute(&mut self, line: &'a str, attribute: &'a str) -> Option<()> {
        let Some((name, value)) = attribute.split_once(':') else {
            self.keep(line);
            return Some(());
        };
        match name {
            "ice-ufrag" => once(&mut self.own.ufrag, value, 4)?,
            "ice-pwd" => once(&mut self.own.pwd, value, 22)?,
            "fingerprint" => self.fingerprint(value)?,
            "candidate" => {
                self.candidates = self.candidates.saturating_add(1);
                if self.candidates > CANDIDATES_MAX {
                    return None;
                }
                let candidate = contained(|| Candidate::from_sdp_string(attribute));
                self.own.candidates.extend(candidate.and_then(Result::ok));
                return Some(());
            }
            "mid" => {
                let fits = !value.is_empty() && value.len() <= 16;
                let fits = fits && value.bytes().all(|b| b.is_ascii_alphanumeric());
                if !fits || self.own.mids.contains(&value) || self.own.mids.len() >= MEDIA_MAX {
                    return None;
                }
                self.own.mids.push(value);
            }
            "group" if self.bundle.is_none() => self.bundle = Some(value.strip_prefix("BUNDLE ")?),
            "ssrc" => {
                let (number, of) = value.split_once(' ')?;
                let (what, value) = of.split_once(':')?;
                if !matches!(what, "cname" | "msid" | "mslabel" | "label") || value.is_empty() {
                    return None;
                }
                self.mark(what);
                return self.ssrc(number);
            }
            "ssrc-group" => {
                let (main, rtx) = value.strip_prefix("FID ")?.split_once(' ')?;
                self.mark(name);
                self.ssrc(main)?;
                return self.ssrc(rtx);
            }
            "msid" => {
                let (stream, track) = value.split_once(' ')?;
                plain(stream)?;
                plain(track)?;
            }
            "msid-semantic" => match value.trim_start_matches(' ').split_once(' ') {
                Some((semantic, ids)) if ids.split(' ').all(|id| plain(id).is_some()) => {
                    self.mark(name);
                    self.keep(semantic);
                    ids.split(' ').for_each(|_| self.key.push(MARK));
                    return Some(());
                }
                _ => {
                    self.keep(line);
                    return Some(());
                }
            },
            "rtcp" if !value.is_empty() => {}
            "group" | "rid" | "simulcast" => return None,
            _ => {
                self.keep(line);
                return Some(());
            }
        }
        self.mark(name);
        Some(())
    }

    fn fingerprint(&mut self, value: &'a str) -> Option<()> {
        if self.fingerprint.is_empty() {
            self.own.fingerprint = sdp::sha256(value.strip_prefix("sha-256 ")?)?;
            self.fingerprint = value;
        }
        (self.fingerprint == value).then_some(())
    }

    /// An SSRC is known by when it first came, so that lines of one SSRC stay together.
    fn ssrc(&mut self, number: &str) -> Option<()> {
        let number = Some(number).filter(|n| digits(n))?.parse().ok()?;
        let at = self.ssrcs.iter().position(|known| *known == number).unwrap_or_else(|| {
            self.ssrcs.push(number);
            self.ssrcs.len().saturating_sub(1)
        });
        self.mark(&at.to_string());
        (self.ssrcs.len() <= SSRCS_MAX).then_some(())
    }

    fn mark(&mut self, name: &str) {
        self.key.push(MARK);
        self.keep(name);
    }

    fn keep(&mut self, line: &str) {
        self.key.push_str(line);
        self.key.push('\n');
    }

    fn finish(mut self) -> Option<Shape<'a>> {
        let own = self.own;
        if own.ufrag.is_empty() || own.pwd.is_empty() || own.fingerprint.is_empty() {
            return None;
        }
        for word in self.bundle.into_iter().flat_map(|b| b.split(' ')) {
            let at = own.mids.iter().position(|mid| *mid == word)?;
            self.key.push(MARK);
            self.key.push_str(&at.to_string());
        }
        Some(Shape { key: self.key, own })
    }
}

fn digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// One word.
fn plain(text: &str) -> Option<()> {
    (!text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic())).then_some(())
}

/// An ICE credential, the same wherever it stands.
fn once<'a>(slot: &mut &'a str, value: &'a str, min: usize) -> Option<()> {
    let fits = value.len() >= min && value.len() <= 256;
    let fits = fits && value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'+' || b == b'/');
    if !fits || !(slot.is_empty() || *slot == value) {
        return None;
    }
    *slot = value;
    Some(())
}

#[cfg(test)]
mod tests;
