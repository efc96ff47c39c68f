//! What one plan changes against another, in words that an operator reads in a log line.

use std::fmt;

use freshet_cluster::NodeId;
use freshet_cluster::plan::{Member, RoomPlan};

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A node was added.
    Joined {
        /// Who.
        node: NodeId,
        /// Under whom; none for the root.
        parent: Option<NodeId>,
    },
    /// A node was removed.
    Left(NodeId),
    /// A node hangs elsewhere.
    Moved {
        /// Who.
        node: NodeId,
        /// Under whom now; none for the root.
        parent: Option<NodeId>,
    },
    /// Another incarnation stands in its place.
    Restarted(NodeId),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Joined { node, parent: Some(parent) } => write!(f, "{node} joins under {parent}"),
            Self::Joined { node, parent: None } => write!(f, "{node} joins as root"),
            Self::Left(node) => write!(f, "{node} leaves"),
            Self::Moved { node, parent: Some(parent) } => write!(f, "{node} moves under {parent}"),
            Self::Moved { node, parent: None } => write!(f, "{node} becomes root"),
            Self::Restarted(node) => write!(f, "{node} has restarted"),
        }
    }
}

/// What leads from `old` to `new`.
pub fn steps(old: Option<&RoomPlan>, new: Option<&RoomPlan>) -> Vec<Step> {
    let before = |node: &NodeId| old.and_then(|plan| plan.member(node));
    let members = |plan: Option<&RoomPlan>| plan.map(|plan| plan.members.clone()).unwrap_or_default();
    let mut steps: Vec<Step> = members(old)
        .into_iter()
        .filter(|member| new.and_then(|plan| plan.member(&member.node)).is_none())
        .map(|member| Step::Left(member.node))
        .collect();
    for Member { node, incarnation, parent, .. } in members(new) {
        match before(&node) {
            None => steps.push(Step::Joined { node, parent }),
            Some(was) => {
                if was.incarnation != incarnation {
                    steps.push(Step::Restarted(node.clone()));
                }
                if was.parent != parent {
                    steps.push(Step::Moved { node, parent });
                }
            }
        }
    }
    steps
}
