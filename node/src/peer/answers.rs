//! Answers that viewers' offers got, kept by the shape of the offer.
//!
//! str0m negotiates the first offer of a [`Shape`] as any other. What it answered becomes a [`Template`], and every
//! session of that shape, the first one too, is made from the template and by str0m's direct API: ICE credentials,
//! fingerprint, candidates and the DTLS role are all that a viewer's str0m needs, because its media is
//! `forward::egress`'s. Its codec table is the offer's nonetheless: an ICE restart negotiates the whole offer.
//! An offer without a shape, and every publisher's, is negotiated by str0m alone.

use std::collections::HashMap;
use std::time::Instant;

use rand::Rng;
use str0m::crypto::Fingerprint;
use str0m::{Candidate, IceCreds, Rtc, RtcConfig};

use super::contain::contained;
use super::negotiate::{self, Common, Negotiated};
use super::sdp;
use super::shape::{Own, Shape};
use super::template::{Gaps, Template};
use crate::session::{CreateError, Direction};

/// Most shapes that are kept; the one that was not used for longest goes.
const SHAPES_MAX: usize = 32;

/// Answers by shape.
#[derive(Default)]
pub struct Answers {
    known: HashMap<String, Known>,
    /// Counts uses.
    uses: u64,
}

struct Known {
    config: RtcConfig,
    template: Template,
    session: sdp::Session,
    /// This side begins the DTLS handshake.
    active: bool,
    used: u64,
}

impl Answers {
    /// Answers an offer; as [`negotiate::accept`]. `rng` draws SSRCs.
    pub fn accept(
        &mut self,
        common: &Common,
        direction: Direction,
        offer: &str,
        creds: IceCreds,
        (label, rng): (&str, &mut impl Rng),
        now: Instant,
    ) -> Result<Negotiated, CreateError> {
        // A viewer's offer has nothing to send; a publisher's layers are taken in where they can be.
        let simulcast =
            direction == Direction::Publish && sdp::read(offer).is_ok_and(|read| sdp::simulcast_fits(&read));
        let offer = if simulcast { offer.to_owned() } else { sdp::without_simulcast(offer) };
        let shape = if direction == Direction::View { Shape::of(&offer) } else { None };
        let Some(Shape { key, own }) = shape else {
            return negotiate::accept(common, direction, offer, creds, label, now);
        };
        self.uses = self.uses.wrapping_add(1);
        let uses = self.uses;
        let made = if let Some(known) = self.known.get_mut(&key) {
            known.used = uses;
            known.make(common, own, creds, (label, rng), now)?
        } else {
            let first = negotiate::accept(common, direction, offer.clone(), creds.clone(), label, now)?;
            let Some(known) = Known::learn(common, &first, &own, &creds, label, uses) else {
                return Ok(first);
            };
            let made = known.make(common, own, creds, (label, rng), now)?;
            self.keep(key, known);
            made
        };
        let (rtc, answer, session) = made;
        Ok(Negotiated { rtc, answer, session, offer })
    }

    fn keep(&mut self, key: String, known: Known) {
        if self.known.len() >= SHAPES_MAX {
            let oldest = self.known.iter().min_by_key(|(_, known)| known.used).map(|(key, _)| key.clone());
            oldest.map(|key| self.known.remove(&key));
        }
        self.known.insert(key, known);
    }

    /// Shapes that are known.
    #[cfg(test)]
    pub fn shapes(&self) -> usize {
        self.known.len()
    }
}

impl Known {
    fn learn(
        common: &Common,
        first: &Negotiated,
        own: &Own,
        creds: &IceCreds,
        label: &str,
        used: u64,
    ) -> Option<Self> {
        let gaps = Gaps { number: 0, ufrag: &creds.ufrag, pwd: &creds.pass, label, mids: &own.mids };
        let template = Template::new(&first.answer, &first.session, &gaps)?;
        let roles = || first.answer.lines().filter_map(|line| line.strip_prefix("a=setup:"));
        let active = roles().all(|role| role == "active");
        if !active && !roles().all(|role| role == "passive") {
            return None;
        }
        let named = first.session.media.iter().map(|media| media.mid.as_deref());
        if !named.eq(own.mids.iter().map(|mid| Some(*mid))) {
            return None;
        }
        let offer = sdp::read(&first.offer).ok()?;
        let config = negotiate::config(common, &offer, Direction::View, creds.clone());
        Some(Self { config, template, session: first.session.clone(), active, used })
    }

    fn make(
        &self,
        common: &Common,
        own: Own,
        creds: IceCreds,
        (label, rng): (&str, &mut impl Rng),
        now: Instant,
    ) -> Result<(Rtc, String, sdp::Session), CreateError> {
        let session = self.session(&own, &creds, rng);
        // Positive in 64 bits with a sign, as RFC 9429 section 5.2.1 wants it.
        let number = rng.random::<u64>() >> 2;
        let gaps = Gaps { number, ufrag: &creds.ufrag, pwd: &creds.pass, label, mids: &own.mids };
        let answer = self.template.fill(&session, &gaps);
        let config = self.config.clone().set_local_ice_credentials(creds);
        let active = self.active;
        let rtc = contained(|| {
            let mut rtc = config.build(now);
            for addr in common.book.candidates() {
                rtc.add_local_candidate(Candidate::host(*addr, "udp").ok()?);
            }
            let remote = IceCreds { ufrag: own.ufrag.to_owned(), pass: own.pwd.to_owned() };
            let fingerprint = Fingerprint { hash_func: "sha-256".to_owned(), bytes: own.fingerprint };
            let mut api = rtc.direct_api();
            api.set_ice_controlling(false);
            api.set_remote_ice_credentials(remote);
            api.set_remote_fingerprint(fingerprint);
            api.start_dtls(active).ok()?;
            own.candidates.into_iter().for_each(|candidate| rtc.add_remote_candidate(candidate));
            Some(rtc)
        });
        Ok((rtc.flatten().ok_or(CreateError::Internal)?, answer, session))
    }

    /// What the answer says, with values of its own.
    fn session(&self, own: &Own, creds: &IceCreds, rng: &mut impl Rng) -> sdp::Session {
        let mut session = self.session.clone();
        session.ufrag = Some(creds.ufrag.clone());
        session.pwd = Some(creds.pass.clone());
        let mut drawn: Vec<u32> = vec![0];
        let mut draw = || {
            loop {
                let ssrc = rng.random();
                if !drawn.contains(&ssrc) {
                    drawn.push(ssrc);
                    return ssrc;
                }
            }
        };
        for (media, mid) in session.media.iter_mut().zip(&own.mids) {
            media.mid = Some((*mid).to_owned());
        }
        for media in &mut session.media {
            media.ssrc = media.ssrc.map(|_| draw());
            media.rtx_ssrc = media.rtx_ssrc.map(|_| draw());
        }
        session
    }
}

#[cfg(test)]
mod tests;
