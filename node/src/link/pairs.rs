//! One connection for each pair of nodes.
//!
//! Two nodes that dial each other at once end with two connections. Both keep the one that the lower node id dialled,
//! so they agree without asking. A newer connection of the same direction replaces an older: its dialer only dials
//! when it has none. A new incarnation replaces the old one at once.

use std::collections::BTreeMap;

use freshet_cluster::{Incarnation, NodeId};

/// Number of a connection, in the order in which they came up.
pub type LinkNumber = u32;

/// What becomes of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// It stays, and these are closed.
    Stays {
        /// Connections that it replaces.
        replaces: Vec<LinkNumber>,
    },
    /// This one stays instead.
    Refused {
        /// The connection that stays.
        stays: LinkNumber,
    },
}

#[derive(Debug)]
struct Entry {
    peer: NodeId,
    incarnation: Incarnation,
    dialled: bool,
}

/// The connections that are up.
#[derive(Debug)]
pub struct Pairs {
    me: NodeId,
    links: BTreeMap<LinkNumber, Entry>,
}

impl Pairs {
    /// For a node without connections.
    pub fn new(me: NodeId) -> Self {
        Self { me, links: BTreeMap::new() }
    }

    /// A connection whose other end has been checked. `dialled`: this node opened it.
    pub fn admit(
        &mut self,
        link: LinkNumber,
        peer: &NodeId,
        incarnation: Incarnation,
        dialled: bool,
    ) -> Admission {
        let by_lower = dialled == (self.me < *peer);
        let mut replaces = Vec::new();
        for (number, entry) in self.links.iter().filter(|(_, e)| e.peer == *peer) {
            if entry.incarnation == incarnation && entry.dialled != dialled && !by_lower {
                return Admission::Refused { stays: *number };
            }
            replaces.push(*number);
        }
        for number in &replaces {
            self.links.remove(number);
        }
        self.links.insert(link, Entry { peer: peer.clone(), incarnation, dialled });
        Admission::Stays { replaces }
    }

    /// A connection is gone.
    pub fn remove(&mut self, link: LinkNumber) {
        self.links.remove(&link);
    }

    /// The connection to this start of a node.
    pub fn find(&self, peer: &NodeId, incarnation: Incarnation) -> Option<LinkNumber> {
        let same = |e: &Entry| e.peer == *peer && e.incarnation == incarnation;
        self.links.iter().find(|(_, e)| same(e)).map(|(number, _)| *number)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.links.len()
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.links.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: &str) -> NodeId {
        id.parse().unwrap()
    }

    fn start(n: u64) -> Incarnation {
        Incarnation::from_bits(n)
    }

    fn stays(replaces: &[LinkNumber]) -> Admission {
        Admission::Stays { replaces: replaces.to_vec() }
    }

    #[test]
    fn both_ends_keep_the_connection_that_the_lower_id_dialled() {
        // X is dialled by a, Y by b; each end sees them in either order.
        for x_first_at_a in [true, false] {
            for x_first_at_b in [true, false] {
                let (x, y) = (1, 2);
                let keep = |me: &str, peer: &str, x_dialled: bool, x_first: bool| {
                    let mut pairs = Pairs::new(node(me));
                    let order = if x_first { [x, y] } else { [y, x] };
                    for link in order {
                        let dialled = (link == x) == x_dialled;
                        let _ = pairs.admit(link, &node(peer), start(1), dialled);
                    }
                    assert_eq!(pairs.len(), 1);
                    pairs.find(&node(peer), start(1))
                };
                assert_eq!(keep("a", "b", true, x_first_at_a), Some(x));
                assert_eq!(keep("b", "a", false, x_first_at_b), Some(x));
            }
        }
    }

    #[test]
    fn a_newer_connection_of_the_same_direction_replaces_the_older() {
        let mut pairs = Pairs::new(node("a"));
        assert_eq!(pairs.admit(1, &node("b"), start(1), false), stays(&[]));
        assert_eq!(pairs.admit(2, &node("b"), start(1), false), stays(&[1]));
        assert_eq!(pairs.find(&node("b"), start(1)), Some(2));
    }

    #[test]
    fn a_new_incarnation_replaces_the_old_one_whoever_dialled() {
        for (first, second) in [(true, true), (true, false), (false, true), (false, false)] {
            let mut pairs = Pairs::new(node("a"));
            assert_eq!(pairs.admit(1, &node("b"), start(1), first), stays(&[]));
            assert_eq!(pairs.admit(2, &node("b"), start(2), second), stays(&[1]));
            assert_eq!(pairs.find(&node("b"), start(1)), None);
        }
    }

    #[test]
    fn other_nodes_are_left_alone_and_what_is_gone_frees_its_place() {
        let mut pairs = Pairs::new(node("a"));
        assert_eq!(pairs.admit(1, &node("b"), start(1), true), stays(&[]));
        assert_eq!(pairs.admit(2, &node("c"), start(1), true), stays(&[]));
        assert_eq!(pairs.admit(3, &node("b"), start(1), false), Admission::Refused { stays: 1 });
        pairs.remove(1);
        assert_eq!(pairs.admit(4, &node("b"), start(1), false), stays(&[]));
        assert_eq!(pairs.len(), 2);
    }
}
