//! Whether a coordinator should be sent work, and what it waits for. Pure.
//!
//! It must have read the store and be connected to the bus: without them it knows no cluster. Then it waits, for a
//! bounded time, until chat can be stored and until it has heard every node that is registered (or the first one, when
//! none is): a join that comes before would be refused for want of a node that is there. The bound is there because
//! ready is a statement about the coordinator: a cluster without nodes, or with a node that is dead and still
//! registered, has one to serve its pages and its API. Once ready it stays so: an outage of store or bus hits all
//! replicas alike, and taking all of them out would make it worse.

use std::time::{Duration, Instant};

use freshet_cluster::NodeId;

/// How things stand at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// The registry and the plans were read.
    pub store_read: bool,
    /// The bus is connected.
    pub bus_up: bool,
    /// The history of chat was found.
    pub history: bool,
    /// Nodes that are registered.
    pub registered: usize,
    /// Those of them whose heartbeat was never heard, in order.
    pub unheard: Vec<NodeId>,
}

/// What is missing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    /// The store did not answer.
    #[error("the store (etcd) has not been read yet: check that it runs and that --etcd names it")]
    Store,
    /// The bus is not connected.
    #[error("the bus (NATS) is not connected yet: check that it runs and that --nats names it")]
    Bus,
    /// JetStream did not answer.
    #[error("the history of chat has not been found yet: check that NATS runs with JetStream")]
    History,
    /// The registry is empty.
    #[error("no node has registered yet")]
    Nodes,
    /// Nodes are registered and silent.
    #[error("no heartbeat of node {} has been heard yet ({} of {registered} nodes are silent)", .first.as_str(), .silent)]
    Heartbeats {
        /// One of them.
        first: NodeId,
        /// How many.
        silent: usize,
        /// Of how many.
        registered: usize,
    },
}

/// From the start until it is ready.
#[derive(Debug, Clone)]
pub struct Readiness {
    /// How long it waits for chat and nodes once store and bus are there.
    patience: Duration,
    since: Option<Instant>,
    ready: bool,
}

impl Readiness {
    /// A coordinator that has just started.
    pub fn new(patience: Duration) -> Self {
        Self { patience, since: None, ready: false }
    }

    /// Whether it is ready, by how things stand now; once it is, it stays so.
    pub fn look(&mut self, seen: &Seen, now: Instant) -> Result<(), Missing> {
        if self.ready {
            return Ok(());
        }
        if !seen.store_read {
            return Err(Missing::Store);
        }
        if !seen.bus_up {
            return Err(Missing::Bus);
        }
        let since = *self.since.get_or_insert(now);
        let missing = wanted(seen);
        if missing.is_some() && now.saturating_duration_since(since) < self.patience {
            return missing.map_or(Ok(()), Err);
        }
        self.ready = true;
        Ok(())
    }
}

fn wanted(seen: &Seen) -> Option<Missing> {
    if !seen.history {
        return Some(Missing::History);
    }
    if seen.registered == 0 {
        return Some(Missing::Nodes);
    }
    let first = seen.unheard.first()?.clone();
    Some(Missing::Heartbeats { first, silent: seen.unheard.len(), registered: seen.registered })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(5);

    fn complete() -> Seen {
        Seen { store_read: true, bus_up: true, history: true, registered: 2, unheard: Vec::new() }
    }

    #[test]
    fn what_is_missing_is_named_in_the_order_in_which_it_comes() {
        let t = Instant::now();
        let mut readiness = Readiness::new(PATIENCE);
        let mut seen = Seen::default();
        assert_eq!(readiness.look(&seen, t), Err(Missing::Store));
        seen.store_read = true;
        assert_eq!(readiness.look(&seen, t), Err(Missing::Bus));
        seen.bus_up = true;
        assert_eq!(readiness.look(&seen, t), Err(Missing::History));
        seen.history = true;
        assert_eq!(readiness.look(&seen, t), Err(Missing::Nodes));
        (seen.registered, seen.unheard) = (2, vec!["b".parse().unwrap()]);
        let silent = readiness.look(&seen, t).unwrap_err();
        assert_eq!(silent.to_string(), "no heartbeat of node b has been heard yet (1 of 2 nodes are silent)");
        assert_eq!(readiness.look(&complete(), t), Ok(()));
    }

    #[test]
    fn nodes_and_chat_are_waited_for_so_long_store_and_bus_for_ever() {
        let t = Instant::now();
        let hour = t + Duration::from_secs(3600);
        let mut readiness = Readiness::new(PATIENCE);
        for seen in [Seen::default(), Seen { bus_up: false, ..complete() }] {
            assert!(readiness.look(&seen, t).is_err());
            assert!(readiness.look(&seen, hour).is_err(), "{seen:?}");
        }
        let alone = Seen { registered: 0, history: false, ..complete() };
        assert!(readiness.look(&alone, hour).is_err(), "counted from when store and bus are there");
        let almost = hour + PATIENCE - Duration::from_millis(1);
        assert!(readiness.look(&alone, almost).is_err());
        assert_eq!(readiness.look(&alone, hour + PATIENCE), Ok(()));
    }

    #[test]
    fn what_is_lost_later_does_not_matter() {
        let t = Instant::now();
        let mut readiness = Readiness::new(PATIENCE);
        readiness.look(&complete(), t).unwrap();
        assert_eq!(readiness.look(&Seen { bus_up: false, registered: 0, ..complete() }, t), Ok(()));
    }
}
