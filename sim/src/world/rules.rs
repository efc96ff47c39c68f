//! The rules that every run must keep.

use std::time::Duration;

use freshet_cluster::plan::RoomPlan;
use freshet_coordinator::cascade::{MAX_DEGREE, MAX_DEPTH};
use freshet_coordinator::view::Death;

use super::World;

/// A node that was heard within this time must not be declared dead.
const SILENCE: Duration = Duration::from_secs(5);

impl World {
    pub(super) fn check_plan(&mut self, plan: &RoomPlan) {
        let room = &plan.room;
        for word in [plan.epoch.0, u64::try_from(plan.members.len()).unwrap_or(0)] {
            self.report.digest = self.report.digest.rotate_left(9) ^ word.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
        if let Err(error) = plan.check() {
            self.violation(format!("{room}: {error}"));
        }
        for member in &plan.members {
            let degree = plan.neighbours(&member.node).count();
            let depth = plan.depth(&member.node).unwrap_or(usize::MAX);
            if degree > MAX_DEGREE || depth > MAX_DEPTH {
                self.violation(format!("{room}: {} has {degree} neighbours at depth {depth}", member.node));
            }
        }
        let before = self.epochs.insert(room.clone(), plan.epoch);
        if before.is_some_and(|before| before >= plan.epoch) {
            self.violation(format!("{room}: epoch {} is not above every one before it", plan.epoch));
        }
    }

    pub(super) fn check_death(&mut self, index: usize, death: &Death) {
        self.report.fired.count("death declared");
        let lives = self.nodes.get(&death.node).is_some_and(|n| n.record.incarnation == death.incarnation);
        if death.superseded {
            self.report.fired.count("death by a new incarnation");
            if lives {
                self.violation(format!("{} was called superseded and runs", death.node));
            }
            return;
        }
        let heard = self.coordinators.get(index).and_then(|c| c.heard.get(&death.node)).copied();
        let lately =
            |(incarnation, _, at)| incarnation == death.incarnation && self.now.saturating_sub(at) < SILENCE;
        if heard.is_some_and(lately) {
            self.violation(format!("{} was declared dead although it was heard", death.node));
        }
        if lives {
            self.violation(format!("{} was declared dead and lives", death.node));
        }
    }

    /// After the calm: what is planned is what runs.
    pub(super) fn check_settled(&mut self) {
        let mut wrong = Vec::new();
        for (room, (plan, _)) in &self.store.plans {
            for member in &plan.members {
                let lives =
                    self.nodes.get(&member.node).is_some_and(|n| n.record.incarnation == member.incarnation);
                if !lives {
                    wrong.push(format!("{room} still names the dead {}", member.node));
                }
            }
        }
        for node in self.nodes.values() {
            for (room, _) in node.sessions.values() {
                let member = self.store.plans.get(room).and_then(|(plan, _)| plan.member(&node.record.id));
                if member.is_none_or(|member| member.incarnation != node.record.incarnation) {
                    wrong.push(format!("{} serves {room} outside its plan", node.record.id));
                }
                let epoch = node.plans.get(room).map(|plan| plan.epoch);
                if epoch != self.store.plans.get(room).map(|(plan, _)| plan.epoch) {
                    wrong.push(format!("{} does not follow the plan of {room}", node.record.id));
                }
            }
        }
        if self.nodes.values().all(|node| node.sessions.is_empty()) {
            wrong.push("nobody is left to look at".to_owned());
        }
        wrong.sort();
        wrong.dedup();
        for text in wrong {
            self.violation(text);
        }
    }

    /// After everybody left and the linger passed: nothing is left behind.
    pub(super) fn check_empty(&mut self) {
        let left: Vec<String> = self.store.plans.keys().map(ToString::to_string).collect();
        if !left.is_empty() {
            self.violation(format!("plans left behind: {}", left.join(", ")));
        }
        let rooms: usize = self.coordinators.iter().map(|c| c.core.view().rooms().len()).sum();
        if rooms > 0 {
            self.violation(format!("{rooms} rooms left in the views"));
        }
    }
}
