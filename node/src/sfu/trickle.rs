//! PATCH of a session: candidates that are added, and ICE that restarts.
//!
//! All that can be refused is refused before anything changes: a client whose restart is refused goes on under the
//! credentials that it has.

use std::net::SocketAddr;
use std::time::Instant;

use freshet_cluster::{Identity, SessionId};
use str0m::change::SdpOffer;
use str0m::net::Protocol;
use str0m::{Candidate, RtcError};

use super::machine::Sfu;
use super::session::Role;
use crate::peer::contain::contained;
use crate::peer::negotiate;
use crate::peer::sdp;
use crate::peer::viewer::silence_str0m;
use crate::session::{Fragment, IfMatch, Patched, SessionError};

/// Different usable candidates that a client may name for one ICE session.
const CANDIDATES_MAX: usize = 64;

impl Sfu {
    /// Adds candidates, or restarts ICE.
    pub fn patch(
        &mut self,
        now: Instant,
        id: SessionId,
        who: Option<&Identity>,
        if_match: &IfMatch,
        fragment: &Fragment,
    ) -> Result<Patched, SessionError> {
        let session = self.find(id, who)?;
        if let IfMatch::Tag(tag) = if_match
            && *tag != session.ufrag
        {
            return Err(SessionError::TagMismatch { current: session.ufrag.clone() });
        }
        let theirs = sdp::read(&session.offer).ok().and_then(|offer| offer.ufrag);
        let theirs = theirs.ok_or(SessionError::Internal)?;
        let restart = match (&fragment.ufrag, &fragment.pwd) {
            (Some(ufrag), Some(pwd)) if theirs != *ufrag => Some((ufrag.as_str(), pwd.as_str())),
            _ => None,
        };
        let (of, named): (&str, &[SocketAddr]) = match (if_match, restart) {
            (IfMatch::Any, None) => {
                let why = "an ICE restart (If-Match: \"*\") needs a new a=ice-ufrag and a=ice-pwd";
                return Err(SessionError::Unprocessable(why.into()));
            }
            (IfMatch::Tag(_), Some(_)) => {
                let why = "new ICE credentials are an ICE restart: send them with If-Match: \"*\"";
                return Err(SessionError::Unprocessable(why.into()));
            }
            (IfMatch::Any, Some((ufrag, _))) => (ufrag, &[]),
            (IfMatch::Tag(_), None) => (&theirs, &session.candidates),
        };
        let fresh = self.usable(fragment, of, named)?;
        let at = self.find_at(id)?;
        let session = self.sessions.get_mut(at).ok_or(SessionError::Internal)?;
        if restart.is_some() && !session.restarts.take(now) {
            return Err(SessionError::TooManyRestarts);
        }
        let patched = match restart {
            Some((ufrag, pwd)) => self.restart(now, at, ufrag, pwd)?,
            None => Patched::Trickled,
        };
        let session = self.sessions.get_mut(at).ok_or(SessionError::Internal)?;
        session.candidates.extend(fresh.iter().map(Candidate::addr));
        let added =
            contained(|| fresh.into_iter().for_each(|candidate| session.rtc.add_remote_candidate(candidate)));
        if added.is_none() {
            return Err(self.broken(now, at));
        }
        self.poll(now, at);
        Ok(patched)
    }

    /// The candidates of a fragment that can be used and were not named yet for the ICE session of this user, each once.
    /// What cannot be used is passed over: an mDNS name, TCP, RTCP on a port of its own, a family in which this shard
    /// has no address, another ICE session's. The client calls us then, not we it.
    fn usable(
        &self,
        fragment: &Fragment,
        of: &str,
        named: &[SocketAddr],
    ) -> Result<Vec<Candidate>, SessionError> {
        let mut fresh: Vec<Candidate> = Vec::new();
        if fragment.ufrag.as_deref().is_some_and(|ufrag| ufrag != of) {
            return Ok(fresh);
        }
        for line in &fragment.candidates {
            let Some(Ok(candidate)) = contained(|| Candidate::from_sdp_string(line.trim())) else { continue };
            let address = candidate.addr();
            let ours = self.config.common.book.candidates();
            let reachable = ours.iter().any(|ours| ours.is_ipv4() == address.is_ipv4());
            let whole = address.port() != 0 && !address.ip().is_unspecified();
            let media = candidate.proto() == Protocol::Udp && line.split_whitespace().nth(1) == Some("1");
            let current = candidate.ufrag().is_none_or(|ufrag| ufrag == of);
            let known = || named.contains(&address) || fresh.iter().any(|known| known.addr() == address);
            if !(reachable && whole && media && current) || known() {
                continue;
            }
            if named.len().saturating_add(fresh.len()) >= CANDIDATES_MAX {
                return Err(SessionError::Unprocessable(format!(
                    "an ICE session has {CANDIDATES_MAX} candidates at most, of different addresses: nothing was changed"
                )));
            }
            fresh.push(candidate);
        }
        Ok(fresh)
    }

    /// str0m restarts ICE only by an offer, so the client's first offer is offered again with its new credentials.
    fn restart(&mut self, now: Instant, at: usize, ufrag: &str, pwd: &str) -> Result<Patched, SessionError> {
        let bad = |why: String| SessionError::Unprocessable(why);
        if !negotiate::credentials_fit(ufrag, pwd) {
            return Err(bad("a=ice-ufrag needs 4 to 256 and a=ice-pwd 22 to 256 characters".into()));
        }
        let session = self.sessions.get_mut(at).ok_or(SessionError::NotFound { reason: None })?;
        let offer = sdp::with_credentials(&session.offer, ufrag, pwd);
        let parsed = contained(|| SdpOffer::from_sdp_string(&offer)).ok_or(SessionError::Internal)?;
        // The offer was read before, so these lines are what is new.
        let credentials = "its a=ice-ufrag and a=ice-pwd cannot be read: letters, digits, + and / are what they are made of";
        let parsed = parsed.map_err(|_| bad(credentials.into()))?;
        let answered = contained(|| {
            let answer = session.rtc.sdp_api().accept_offer(parsed)?.to_sdp_string();
            Ok::<_, RtcError>(answer)
        });
        let answer = match answered {
            Some(Ok(answer)) => answer,
            // It took this offer before. Half of it may hold now, so neither credentials can be relied on.
            failed => {
                let error = failed.and_then(Result::err).map(|e| e.to_string());
                tracing::error!(session = session.id.short(), ?error, "ICE could not be restarted");
                return Err(self.broken(now, at));
            }
        };
        let Ok(read) = sdp::read(&answer) else { return Err(self.broken(now, at)) };
        if let Role::Viewer(_) = &session.role {
            silence_str0m(&mut session.rtc, &read);
        }
        let (Some(new_ufrag), Some(new_pwd)) = (read.ufrag, read.pwd) else {
            return Err(self.broken(now, at));
        };
        session.offer = offer;
        session.candidates.clear();
        session.checked.clear();
        session.way_back.forget_checks();
        let old = std::mem::replace(&mut session.ufrag, new_ufrag.clone());
        self.by_ufrag.remove(&old);
        self.by_ufrag.insert(new_ufrag.clone(), at);
        let mut text = format!("a=ice-lite\r\na=ice-ufrag:{new_ufrag}\r\na=ice-pwd:{new_pwd}\r\n");
        for line in answer.lines().filter(|l| l.starts_with("m=") || l.starts_with("a=mid:")).take(2) {
            text.push_str(line.trim_end());
            text.push_str("\r\n");
        }
        let candidates =
            answer.lines().filter(|l| l.starts_with("a=candidate:") || *l == "a=end-of-candidates");
        for line in candidates {
            text.push_str(line.trim_end());
            text.push_str("\r\n");
        }
        Ok(Patched::Restarted { fragment: text, etag: new_ufrag })
    }

    /// What str0m holds cannot be relied on: the session ends.
    fn broken(&mut self, now: Instant, at: usize) -> SessionError {
        if let Some(session) = self.sessions.get_mut(at) {
            tracing::error!(session = session.id.short(), "session ends: it is in an unknown state");
            session.rtc.disconnect();
        }
        self.finish_if_dead(now, at);
        SessionError::Internal
    }
}
