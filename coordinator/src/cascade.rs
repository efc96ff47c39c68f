//! Which tree carries a room.
//!
//! The tree grows by one leaf at a time under the best member and shrinks by leaves, so that no running edge moves
//! while nobody dies. A dead member's children are hung elsewhere, whole subtrees first. Bounds: [`MAX_DEGREE`]
//! neighbours for each member and [`MAX_DEPTH`] hops from the root. Re-parenting for gain and standby parents are
//! not decided here yet; fields that a newer version put into a plan are kept.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use freshet_cluster::plan::{Member, RoomPlan};
use freshet_cluster::version::Unknown;
use freshet_cluster::{Epoch, Incarnation, NodeId};

use crate::place::Permille;

/// Most neighbours of a member: parent and children.
pub const MAX_DEGREE: usize = 8;
/// Most hops from the root.
pub const MAX_DEPTH: usize = 4;

/// What decides where in the tree a node belongs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// Its region; `""` when not configured.
    pub region: String,
    /// It is heard and registered.
    pub alive: bool,
    /// How full it is.
    pub load: Permille,
    /// Nodes with whom it has a live link now.
    pub links: Vec<NodeId>,
}

/// Facts by node; a node without facts counts as not alive.
pub type AllFacts = BTreeMap<NodeId, Facts>;

/// Why the tree cannot be changed so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CascadeError {
    /// Every member that is not too deep has all the neighbours that it may have.
    #[error(
        "the tree of {members} nodes has no place for {node}: depth {MAX_DEPTH} and degree {MAX_DEGREE} are used up"
    )]
    Full {
        /// Who should have been added.
        node: NodeId,
        /// How many there are.
        members: usize,
    },
}

/// The epoch of a plan that follows everything known. A plan that is created takes the Unix clock's milliseconds
/// when they are higher, so that it is above plans of this room that nobody remembers.
pub fn next_epoch(known: Epoch, created_at_ms: Option<u64>) -> Epoch {
    known.next().max(Epoch(created_at_ms.unwrap_or(0)))
}

/// Adds a node as a leaf under the best member, or as the root of an empty plan. A member of the same incarnation
/// changes nothing (`false`); one of another incarnation is replaced where it stands.
pub fn attach(
    plan: &mut RoomPlan,
    node: &NodeId,
    incarnation: Incarnation,
    facts: &AllFacts,
) -> Result<bool, CascadeError> {
    if let Some(member) = plan.members.iter_mut().find(|member| &member.node == node) {
        let changed = member.incarnation != incarnation;
        member.incarnation = incarnation;
        return Ok(changed);
    }
    let parent = if plan.members.is_empty() {
        None
    } else {
        let full = || CascadeError::Full { node: node.clone(), members: plan.members.len() };
        Some(best_parent(plan, node, 0, facts).ok_or_else(full)?)
    };
    plan.members.push(leaf(node.clone(), incarnation, parent));
    Ok(true)
}

/// Removes a member that no longer has sessions, if that moves no edge: a leaf, or a root with a single child. Says
/// whether it did.
pub fn detach(plan: &mut RoomPlan, node: &NodeId) -> bool {
    let Some(member) = plan.member(node) else { return false };
    let children: Vec<NodeId> = plan.children(node).map(|child| child.node.clone()).collect();
    match (&member.parent, children.as_slice()) {
        (_, []) => {}
        (None, [heir]) => set_parent(plan, &heir.clone(), None),
        _ => return false,
    }
    forget(plan, node);
    true
}

/// Removes a dead member and hangs its children elsewhere. Children that fit nowhere are left out and returned:
/// they have to be attached again when there is room.
pub fn bury(plan: &mut RoomPlan, node: &NodeId, facts: &AllFacts) -> Vec<NodeId> {
    let Some(member) = plan.member(node).cloned() else { return Vec::new() };
    let mut orphans: Vec<NodeId> = plan.children(node).map(|child| child.node.clone()).collect();
    if member.parent.is_none() {
        let heir = orphans.iter().max_by_key(|id| {
            let facts = facts.get(*id);
            let alive = facts.is_some_and(|facts| facts.alive);
            (alive, height(plan, id), Reverse(facts.map(|facts| facts.load)), Reverse((*id).clone()))
        });
        if let Some(heir) = heir.cloned() {
            set_parent(plan, &heir, None);
            orphans.retain(|id| id != &heir);
        }
    }
    forget(plan, node);
    // Out of the tree first, so that no orphan hangs under another that hangs nowhere.
    let mut forests: Vec<Vec<Member>> = orphans.iter().map(|id| cut(plan, id)).collect();
    forests.sort_by_key(|forest| Reverse(forest.len()));
    let mut left_out = Vec::new();
    for forest in forests {
        left_out.extend(graft(plan, forest, facts));
    }
    left_out
}

/// Hangs a cut subtree (its root first) under the best member, whole if it fits, else member by member.
fn graft(plan: &mut RoomPlan, mut forest: Vec<Member>, facts: &AllFacts) -> Vec<NodeId> {
    let Some(root) = forest.first().map(|member| member.node.clone()) else { return Vec::new() };
    if plan.members.is_empty() {
        if let Some(first) = forest.first_mut() {
            first.parent = None;
        }
        plan.members.append(&mut forest);
        return Vec::new();
    }
    let tall = forest.iter().map(|member| hops_within(&forest, &member.node, &root)).max().unwrap_or(0);
    if let Some(parent) = best_parent(plan, &root, tall, facts) {
        if let Some(first) = forest.first_mut() {
            first.parent = Some(parent);
        }
        plan.members.append(&mut forest);
        return Vec::new();
    }
    let mut left_out = Vec::new();
    for mut member in forest {
        match best_parent(plan, &member.node, 0, facts) {
            Some(parent) => {
                member.parent = Some(parent);
                member.standby = None;
                plan.members.push(member);
            }
            None => left_out.push(member.node),
        }
    }
    left_out
}

/// How good a member is as the parent of a node: the smallest is the best.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct ParentScore {
    not_alive: bool,
    full: bool,
    other_region: bool,
    no_link_yet: bool,
    depth: usize,
    degree: usize,
    load: Permille,
    id: NodeId,
}

/// The best member to hang a subtree of this height under.
fn best_parent(plan: &RoomPlan, node: &NodeId, height: usize, facts: &AllFacts) -> Option<NodeId> {
    let ours = facts.get(node);
    let region = ours.map_or("", |facts| facts.region.as_str());
    let shape = Shape::of(plan);
    let fits = plan.members.iter().filter_map(|member| {
        let degree = shape.degree(&member.node);
        let depth = shape.depth(&member.node)?;
        let deepest = depth.saturating_add(1).saturating_add(height);
        if degree >= MAX_DEGREE || deepest > MAX_DEPTH || &member.node == node {
            return None;
        }
        let theirs = facts.get(&member.node);
        Some(ParentScore {
            not_alive: !theirs.is_some_and(|facts| facts.alive),
            full: theirs.is_some_and(|facts| facts.load.0 >= 950),
            other_region: theirs.is_none_or(|facts| facts.region != region),
            no_link_yet: !ours.is_some_and(|facts| facts.links.contains(&member.node)),
            depth,
            degree,
            load: theirs.map(|facts| facts.load).unwrap_or_default(),
            id: member.node.clone(),
        })
    });
    fits.min().map(|score| score.id)
}

/// Degrees and depths of a plan, computed once for a decision.
struct Shape<'a> {
    degrees: BTreeMap<&'a NodeId, usize>,
    depths: BTreeMap<&'a NodeId, usize>,
}

impl<'a> Shape<'a> {
    fn of(plan: &'a RoomPlan) -> Self {
        let mut children: BTreeMap<&NodeId, Vec<&NodeId>> = BTreeMap::new();
        let mut degrees: BTreeMap<&NodeId, usize> = BTreeMap::new();
        for member in &plan.members {
            if let Some(parent) = &member.parent {
                children.entry(parent).or_default().push(&member.node);
                for end in [parent, &member.node] {
                    let degree = degrees.entry(end).or_default();
                    *degree = degree.saturating_add(1);
                }
            }
        }
        let mut depths = BTreeMap::new();
        let mut level: Vec<&NodeId> =
            plan.members.iter().filter(|member| member.parent.is_none()).map(|member| &member.node).collect();
        for depth in 0..=plan.members.len() {
            let next = level.iter().flat_map(|id| children.get(*id).into_iter().flatten().copied()).collect();
            for id in std::mem::replace(&mut level, next) {
                depths.insert(id, depth);
            }
            if level.is_empty() {
                break;
            }
        }
        Self { degrees, depths }
    }

    fn degree(&self, node: &NodeId) -> usize {
        self.degrees.get(node).copied().unwrap_or(0)
    }

    fn depth(&self, node: &NodeId) -> Option<usize> {
        self.depths.get(node).copied()
    }
}

fn leaf(node: NodeId, incarnation: Incarnation, parent: Option<NodeId>) -> Member {
    Member { node, incarnation, parent, standby: None, unknown: Unknown::new() }
}

fn set_parent(plan: &mut RoomPlan, node: &NodeId, parent: Option<NodeId>) {
    if let Some(member) = plan.members.iter_mut().find(|member| &member.node == node) {
        member.parent = parent;
    }
}

/// Takes a member out, and out of every standby that names it.
fn forget(plan: &mut RoomPlan, node: &NodeId) {
    plan.members.retain(|member| &member.node != node);
    for member in &mut plan.members {
        if member.standby.as_ref() == Some(node) {
            member.standby = None;
        }
    }
}

/// Hops from a member to the deepest below it.
fn height(plan: &RoomPlan, node: &NodeId) -> usize {
    let below = plan.members.iter().filter(|member| plan.in_subtree(node, &member.node));
    below.map(|member| hops_within(&plan.members, &member.node, node)).max().unwrap_or(0)
}

fn hops_within(members: &[Member], from: &NodeId, top: &NodeId) -> usize {
    let mut at = from;
    for hops in 0..=members.len() {
        if at == top {
            return hops;
        }
        match members.iter().find(|member| &member.node == at).and_then(|member| member.parent.as_ref()) {
            Some(parent) => at = parent,
            None => return hops,
        }
    }
    members.len()
}

/// Takes a subtree out of the plan: its root first, then the others so that parents come before children.
/// Standbys are dropped: they may point anywhere after the move.
fn cut(plan: &mut RoomPlan, root: &NodeId) -> Vec<Member> {
    let mut taken: Vec<Member> = Vec::new();
    let mut level = vec![root.clone()];
    while !level.is_empty() {
        let (out, rest): (Vec<Member>, Vec<Member>) =
            std::mem::take(&mut plan.members).into_iter().partition(|member| level.contains(&member.node));
        plan.members = rest;
        level = plan
            .members
            .iter()
            .filter(|member| member.parent.as_ref().is_some_and(|parent| level.contains(parent)))
            .map(|member| member.node.clone())
            .collect();
        taken.extend(out.into_iter().map(|member| Member { standby: None, ..member }));
    }
    taken
}

#[cfg(test)]
mod tests;
