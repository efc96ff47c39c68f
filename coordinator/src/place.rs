//! Which node takes this session.
//!
//! The policy is the order of the fields of [`Score`]. A node that is dead, drains or has no room to spare is no
//! candidate at all and is listed with the reason, so that an operator can ask why. Placement is advice: the node
//! enforces its own limit.

use std::fmt;
use std::time::Instant;

use freshet_cluster::record::Capacity;
use freshet_cluster::{Incarnation, NodeId, RoomId};

use crate::liveness::Liveness;
use crate::view::View;
use crate::view::nodes::NodeView;

/// What a session is assumed to send, in bits per second, on a node that sends nothing yet.
const ASSUMED_SESSION_BPS: u64 = 2_000_000;
/// What a session is assumed to send, in packets per second, on a node that sends nothing yet.
const ASSUMED_SESSION_PPS: u64 = 270;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask<'a> {
    /// The room.
    pub room: &'a RoomId,
    /// The client's region; `""` when unknown.
    pub region: &'a str,
}

/// Parts per thousand of a capacity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Permille(pub u32);

/// How well a node fits: the smallest is the best, and the order of the fields is the policy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Score {
    /// It was not heard of lately, or never (nobody knows how full it is), or a call to it just failed.
    pub suspect: bool,
    /// It is in another region than the client.
    pub other_region: bool,
    /// It does not carry the room yet.
    pub new_to_room: bool,
    /// Less than a tenth of its capacity is to spare, pending joins included.
    pub crowded: bool,
    /// How full it is, by the fullest of sessions, bits and packets, pending joins included.
    pub load: Permille,
    /// Breaks ties the same way everywhere.
    pub id: NodeId,
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |on: bool, word: &'static str| if on { word } else { "" };
        write!(
            f,
            "{}: {}.{} % full{}{}{}{}",
            self.id,
            self.load.0 / 10,
            self.load.0 % 10,
            word(self.suspect, ", suspect"),
            word(self.other_region, ", other region"),
            word(self.new_to_room, ", new to the room"),
            word(self.crowded, ", crowded"),
        )
    }
}

/// A node that may take the session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Who.
    pub node: NodeId,
    /// Which start of it.
    pub incarnation: Incarnation,
    /// Where its HTTP is.
    pub http: String,
    /// Where clients reach its HTTP, if elsewhere.
    pub public_url: Option<String>,
    /// It is a member of the room's plan in this incarnation.
    pub member: bool,
    /// Why it stands where it stands.
    pub score: Score,
}

/// Why a node is no candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfit {
    /// It is dead.
    Dead,
    /// It drains.
    Draining,
    /// Nothing is to spare.
    Full(Permille),
}

/// The answer, with its explanation.
#[derive(Debug, Clone, Default)]
pub struct Ranking {
    /// Best first.
    pub candidates: Vec<Candidate>,
    /// Nodes that may not take it.
    pub unfit: Vec<(NodeId, Unfit)>,
}

/// Ranks every known node.
pub fn rank(view: &View, ask: &Ask<'_>, now: Instant) -> Ranking {
    let mut ranking = Ranking::default();
    let room = view.room(ask.room);
    for (id, node) in view.nodes() {
        let incarnation = node.incarnation();
        let liveness = view.liveness(id, incarnation, now);
        let load = load(node);
        let unfit = match liveness {
            Liveness::Dead => Some(Unfit::Dead),
            Liveness::Draining => Some(Unfit::Draining),
            Liveness::Alive | Liveness::Suspect => (load.0 >= 1000).then_some(Unfit::Full(load)),
        };
        if let Some(unfit) = unfit {
            ranking.unfit.push((id.clone(), unfit));
            continue;
        }
        let plan = room.and_then(|room| room.plan.as_ref());
        let member = plan.and_then(|plan| plan.member(id)).is_some_and(|m| m.incarnation == incarnation);
        let carries =
            room.and_then(|room| room.carriers.get(id)).is_some_and(|c| c.incarnation == incarnation);
        let score = Score {
            suspect: liveness == Liveness::Suspect || node.load.is_none() || node.is_unreachable(now),
            other_region: !ask.region.is_empty() && node.record.region != ask.region,
            new_to_room: !member && !carries,
            crowded: load.0 > 900,
            load,
            id: id.clone(),
        };
        let (http, public_url) = (node.record.http.clone(), node.record.public_url.clone());
        let node = id.clone();
        ranking.candidates.push(Candidate { node, incarnation, http, public_url, member, score });
    }
    ranking.candidates.sort_by(|a, b| a.score.cmp(&b.score));
    ranking
}

/// How full a node is, counting the joins that its heartbeat does not know yet as average sessions; 1000 means that
/// one more session does not fit. An egress capacity of zero means that none was configured.
pub fn load(node: &NodeView) -> Permille {
    let Capacity { sessions, egress, egress_pps, .. } = node.record.capacity;
    let pending = u64::from(node.ledger.pending());
    let heard = node.load.as_ref();
    let counted = heard.map_or(0, |load| u64::from(load.sessions));
    let with_pending = |now: u64, assumed: u64| {
        let each = now.checked_div(counted).unwrap_or(0).max(if counted == 0 { assumed } else { 0 });
        now.saturating_add(each.saturating_mul(pending))
    };
    let bits = with_pending(heard.map_or(0, |load| load.egress.bps()), ASSUMED_SESSION_BPS);
    let packets = with_pending(heard.map_or(0, |load| load.egress_pps), ASSUMED_SESSION_PPS);
    let by_egress = permille(bits, egress.bps()).max(permille(packets, egress_pps));
    let by_sessions = if sessions == 0 {
        Permille(1000)
    } else {
        permille(counted.saturating_add(pending), u64::from(sessions))
    };
    by_sessions.max(by_egress)
}

/// Rounded down, so that 1000 is reached when the capacity is, and no sooner.
fn permille(used: u64, capacity: u64) -> Permille {
    if capacity == 0 {
        return Permille(0);
    }
    let parts = u128::from(used).saturating_mul(1000).checked_div(u128::from(capacity)).unwrap_or(0);
    Permille(u32::try_from(parts).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests;
