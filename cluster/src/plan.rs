//! The tree of nodes that carry a room, as a value.
//!
//! One undirected spanning tree per room, kept as parent edges. Exactly one member has no parent. The epoch orders
//! plans; the store's revision serves compare-and-swap only.

use serde::{Deserialize, Serialize};

use crate::id::{Epoch, Incarnation, NodeId, RoomId};
use crate::version::{MIN_VERSION, Unknown, VERSION};

/// One node's place in a room's tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Who.
    pub node: NodeId,
    /// Which start of it; another incarnation of the same id is another node.
    pub incarnation: Incarnation,
    /// Its neighbour towards the root; none for the root. The child dials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<NodeId>,
    /// The parent it goes to when its own is silent; never inside its own subtree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standby: Option<NodeId>,
    /// Fields of a newer version.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// `/freshet/v1/rooms/{room}/plan`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomPlan {
    /// Version of the writer.
    pub v: u32,
    /// Oldest reader that understands it.
    pub min_v: u32,
    /// Which room.
    pub room: RoomId,
    /// The order of plans of this room.
    pub epoch: Epoch,
    /// Every node that carries the room, in the order in which they joined.
    pub members: Vec<Member>,
    /// Fields of a newer version.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// What makes a list of members something else than a tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A node stands in it twice.
    #[error("{0} stands twice in the plan")]
    Twice(NodeId),
    /// A parent is not a member.
    #[error("{child} hangs under {parent}, which is not in the plan")]
    NoParent {
        /// The member.
        child: NodeId,
        /// Its parent.
        parent: NodeId,
    },
    /// Not exactly one member is without parent.
    #[error("the plan has {0} roots: one is needed")]
    Roots(usize),
    /// Following parents from this member never ends.
    #[error("{0} is its own ancestor")]
    Circle(NodeId),
    /// A standby inside the member's own subtree.
    #[error("{child} has its standby {standby} in its own subtree")]
    Standby {
        /// The member.
        child: NodeId,
        /// Its standby.
        standby: NodeId,
    },
}

impl RoomPlan {
    /// A plan without members, below every real one.
    pub fn empty(room: RoomId) -> Self {
        let unknown = Unknown::new();
        Self { v: VERSION, min_v: MIN_VERSION, room, epoch: Epoch(0), members: Vec::new(), unknown }
    }

    /// The member with this id.
    pub fn member(&self, node: &NodeId) -> Option<&Member> {
        self.members.iter().find(|m| &m.node == node)
    }

    /// The parent and the children of a node.
    pub fn neighbours<'a>(&'a self, node: &'a NodeId) -> impl Iterator<Item = &'a Member> + 'a {
        let parent = self.member(node).and_then(|m| m.parent.as_ref());
        self.members
            .iter()
            .filter(move |m| Some(&m.node) == parent || (m.parent.as_ref() == Some(node) && &m.node != node))
    }

    /// Members that hang directly under this one.
    pub fn children<'a>(&'a self, node: &'a NodeId) -> impl Iterator<Item = &'a Member> + 'a {
        self.members.iter().filter(move |m| m.parent.as_ref() == Some(node))
    }

    /// Hops from the root; `None` for a stranger or in a circle.
    pub fn depth(&self, node: &NodeId) -> Option<usize> {
        let mut at = self.member(node)?;
        for hops in 0..=self.members.len() {
            match &at.parent {
                None => return Some(hops),
                Some(parent) => at = self.member(parent)?,
            }
        }
        None
    }

    /// Whether `node` is `root` or hangs below it.
    pub fn in_subtree(&self, root: &NodeId, node: &NodeId) -> bool {
        let mut at = Some(node);
        for _ in 0..=self.members.len() {
            match at {
                Some(id) if id == root => return true,
                Some(id) => at = self.member(id).and_then(|m| m.parent.as_ref()),
                None => return false,
            }
        }
        false
    }

    /// Checks that the members form one tree. An empty plan is valid.
    pub fn check(&self) -> Result<(), PlanError> {
        for (i, member) in self.members.iter().enumerate() {
            if self.members.iter().skip(i.saturating_add(1)).any(|other| other.node == member.node) {
                return Err(PlanError::Twice(member.node.clone()));
            }
            if let Some(parent) = &member.parent
                && self.member(parent).is_none()
            {
                return Err(PlanError::NoParent { child: member.node.clone(), parent: parent.clone() });
            }
        }
        let roots = self.members.iter().filter(|m| m.parent.is_none()).count();
        if roots > 1 {
            return Err(PlanError::Roots(roots));
        }
        for member in &self.members {
            if self.depth(&member.node).is_none() {
                return Err(PlanError::Circle(member.node.clone()));
            }
            if let Some(standby) = &member.standby
                && self.in_subtree(&member.node, standby)
            {
                return Err(PlanError::Standby { child: member.node.clone(), standby: standby.clone() });
            }
        }
        Ok(())
    }
}
