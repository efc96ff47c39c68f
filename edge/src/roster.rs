//! The sessions of a room, for those who run it: as a node tells them and as a coordinator adds them up.
//!
//! They come in the order of their ids, which are random: so pages are cut at an id, the same on every node.

use axum::extract::Query;
use freshet_cluster::{Identity, Incarnation, NodeId, SessionId, StreamId};
use http::Uri;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::problem::Problem;

/// Sessions in one answer unless asked for otherwise.
pub const PAGE: usize = 100;
/// Most sessions in one answer.
pub const PAGE_MAX: usize = 1_000;

/// A session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SessionEntry {
    /// Its id.
    #[schema(value_type = String)]
    pub session: SessionId,
    /// Who.
    #[schema(value_type = String)]
    pub identity: Identity,
    /// `publish` or `view`.
    #[schema(example = "view")]
    pub direction: String,
    /// What it publishes, or the one stream that it watches; left out for the room's program.
    #[schema(value_type = Option<String>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<StreamId>,
    /// When it was made, in milliseconds since 1970, by its node's clock.
    pub since_ms: u64,
    /// How old it is, in milliseconds: to compare sessions of nodes whose clocks differ.
    pub age_ms: u64,
    /// Where it is.
    #[schema(value_type = String)]
    pub node: NodeId,
    /// Which start of that node.
    #[schema(value_type = String)]
    pub incarnation: Incarnation,
}

/// Sessions of a room, by id.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SessionsPage {
    /// At most as many as were asked for.
    pub sessions: Vec<SessionEntry>,
    /// There are more: ask again with `?after=` this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// Nodes of the room that did not answer: their sessions are missing here.
    #[schema(value_type = Vec<String>)]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unreachable: Vec<NodeId>,
}

impl SessionsPage {
    /// A page of these, which may be more than one.
    pub fn of(mut sessions: Vec<SessionEntry>, limit: usize) -> Self {
        sessions.sort_by_key(|entry| entry.session);
        let more = sessions.len() > limit;
        sessions.truncate(limit);
        let next = sessions.last().filter(|_| more).map(|entry| entry.session.to_string());
        Self { sessions, next, unreachable: Vec::new() }
    }
}

/// Which sessions are asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of this identity alone.
    pub identity: Option<Identity>,
    /// `publish` or `view` alone.
    pub direction: Option<String>,
    /// Those behind this one.
    pub after: Option<SessionId>,
    /// So many.
    pub limit: usize,
}

#[derive(Deserialize)]
struct Asked {
    identity: Option<String>,
    direction: Option<String>,
    after: Option<String>,
    limit: Option<String>,
}

impl Filter {
    /// Reads the query; 400 when it says what is none.
    pub fn read(uri: &Uri) -> Result<Self, Problem> {
        let bad = |what: String| Problem::bad_request(what).reason("bad-query");
        let Query(asked) = Query::<Asked>::try_from_uri(uri)
            .map_err(|error| bad(format!("the query cannot be read: {}", error.body_text())))?;
        let identity = asked.identity.map(|text| text.parse::<Identity>()).transpose();
        let after = asked.after.map(|text| text.parse::<SessionId>()).transpose();
        let limit = match asked.limit.map(|text| text.parse::<usize>()) {
            None => PAGE,
            Some(Ok(limit)) if (1..=PAGE_MAX).contains(&limit) => limit,
            Some(_) => return Err(bad(format!("limit must be 1 to {PAGE_MAX}"))),
        };
        let direction = asked.direction;
        if direction.as_deref().is_some_and(|word| !matches!(word, "publish" | "view")) {
            return Err(bad("direction must be publish or view".to_owned()));
        }
        Ok(Self {
            identity: identity.map_err(|error| bad(format!("identity: {error}")))?,
            direction,
            after: after.map_err(|error| bad(format!("after: {error}")))?,
            limit,
        })
    }

    /// Whether a session is asked for.
    pub fn takes(&self, session: SessionId, identity: &Identity, direction: &str) -> bool {
        self.identity.as_ref().is_none_or(|asked| asked == identity)
            && self.direction.as_deref().is_none_or(|asked| asked == direction)
            && self.after.is_none_or(|after| session > after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(query: &str) -> Result<Filter, Problem> {
        Filter::read(&format!("/v1/rooms/r/sessions?{query}").parse().unwrap())
    }

    fn entry(bits: u128) -> SessionEntry {
        SessionEntry {
            session: SessionId::from_bits(bits),
            identity: "ann".parse().unwrap(),
            direction: "view".to_owned(),
            stream: None,
            since_ms: 0,
            age_ms: 0,
            node: "n".parse().unwrap(),
            incarnation: Incarnation::from_bits(1),
        }
    }

    #[test]
    fn a_query_says_which_and_how_many() {
        assert_eq!(filter("").unwrap(), Filter { limit: PAGE, ..Filter::default() });
        let asked = filter("identity=Zo%C3%AB&direction=view&limit=7&after=0000000000000000000000000000000a")
            .unwrap();
        let (zoe, ann): (Identity, Identity) = ("Zoë".parse().unwrap(), "Ann".parse().unwrap());
        let id = SessionId::from_bits;
        assert!(asked.takes(id(11), &zoe, "view"));
        assert!(!asked.takes(id(10), &zoe, "view") && !asked.takes(id(11), &ann, "view"));
        assert!(!asked.takes(id(11), &zoe, "publish"));
        for query in
            ["limit=0", "limit=1001", "limit=x", "after=x", "identity=", "direction=both", "limit=1&limit=2"]
        {
            assert_eq!(filter(query).unwrap_err().status(), 400, "{query}");
        }
    }

    #[test]
    fn pages_follow_each_other_without_a_gap() {
        let all: Vec<_> = [5, 1, 4, 2, 3].map(entry).into();
        let (mut after, mut seen) = (None, Vec::new());
        loop {
            let rest =
                all.iter().filter(|one| after.is_none_or(|after| one.session > after)).cloned().collect();
            let page = SessionsPage::of(rest, 2);
            seen.extend(page.sessions.iter().map(|one| one.session.bits()));
            match page.next {
                Some(next) => after = Some(next.parse().unwrap()),
                None => break,
            }
        }
        assert_eq!(seen, [1, 2, 3, 4, 5]);
    }
}
