use proptest::prelude::*;

use super::*;

fn id(n: usize) -> NodeId {
    format!("n{n}").parse().unwrap()
}

fn inc(n: u64) -> Incarnation {
    Incarnation::from_bits(n)
}

fn room() -> RoomPlan {
    RoomPlan::empty("r".parse().unwrap())
}

fn facts(regions: &[&str]) -> AllFacts {
    let fact = |(n, region): (usize, &&str)| {
        (id(n), Facts { region: (*region).to_owned(), alive: true, ..Facts::default() })
    };
    regions.iter().enumerate().map(fact).collect()
}

fn degree(plan: &RoomPlan, node: &NodeId) -> usize {
    plan.neighbours(node).count()
}

fn assert_sound(plan: &RoomPlan) {
    plan.check().unwrap();
    for member in &plan.members {
        assert!(degree(plan, &member.node) <= MAX_DEGREE, "{} has too many neighbours", member.node);
        assert!(plan.depth(&member.node).unwrap() <= MAX_DEPTH, "{} is too deep", member.node);
    }
}

fn parent(plan: &RoomPlan, n: usize) -> Option<NodeId> {
    plan.member(&id(n)).unwrap().parent.clone()
}

#[test]
fn a_leaf_hangs_under_a_member_of_its_region() {
    let facts = facts(&["eu", "us", "us", "eu"]);
    let mut plan = room();
    for n in 0..4 {
        assert_eq!(attach(&mut plan, &id(n), inc(1), &facts), Ok(true));
    }
    assert_eq!(parent(&plan, 0), None);
    assert_eq!(parent(&plan, 1), Some(id(0)), "nobody else is there");
    assert_eq!(parent(&plan, 2), Some(id(1)), "deeper, and in its region");
    assert_eq!(parent(&plan, 3), Some(id(0)));
}

#[test]
fn a_member_again_changes_nothing_and_its_new_incarnation_takes_its_place() {
    let facts = facts(&["", "", ""]);
    let mut plan = room();
    for n in 0..3 {
        attach(&mut plan, &id(n), inc(1), &facts).unwrap();
    }
    let before = plan.clone();
    assert_eq!(attach(&mut plan, &id(0), inc(1), &facts), Ok(false));
    assert_eq!(plan, before);
    assert_eq!(attach(&mut plan, &id(0), inc(2), &facts), Ok(true));
    assert_eq!(plan.member(&id(0)).unwrap().incarnation, inc(2));
    assert_eq!(parent(&plan, 1), Some(id(0)));
}

#[test]
fn a_full_or_silent_member_is_the_last_choice() {
    let mut facts = facts(&["", "", "", ""]);
    let mut plan = room();
    attach(&mut plan, &id(0), inc(1), &facts).unwrap();
    attach(&mut plan, &id(1), inc(1), &facts).unwrap();
    facts.get_mut(&id(0)).unwrap().load = Permille(980);
    attach(&mut plan, &id(2), inc(1), &facts).unwrap();
    assert_eq!(parent(&plan, 2), Some(id(1)), "the root is nearly full");
    facts.get_mut(&id(1)).unwrap().alive = false;
    facts.get_mut(&id(2)).unwrap().alive = false;
    attach(&mut plan, &id(3), inc(1), &facts).unwrap();
    assert_eq!(parent(&plan, 3), Some(id(0)), "nearly full is better than silent");
}

#[test]
fn a_live_link_is_kept_in_use() {
    let mut facts = facts(&["", "", ""]);
    let mut plan = room();
    attach(&mut plan, &id(0), inc(1), &facts).unwrap();
    attach(&mut plan, &id(1), inc(1), &facts).unwrap();
    facts.get_mut(&id(2)).unwrap().links = vec![id(1)];
    attach(&mut plan, &id(2), inc(1), &facts).unwrap();
    assert_eq!(parent(&plan, 2), Some(id(1)));
}

#[test]
fn only_the_edge_of_the_tree_is_taken_out_and_no_edge_moves() {
    let facts = facts(&["a", "a", "b", "b"]);
    let mut plan = room();
    for n in 0..4 {
        attach(&mut plan, &id(n), inc(1), &facts).unwrap();
    }
    assert_eq!(parent(&plan, 3), Some(id(2)));
    assert!(!detach(&mut plan, &id(2)), "it carries another");
    assert!(!detach(&mut plan, &id(0)), "a root with two children");
    assert!(!detach(&mut plan, &id(9)), "a stranger");
    assert!(detach(&mut plan, &id(1)));
    assert!(detach(&mut plan, &id(0)), "a root with one child hands over to it");
    assert_eq!(parent(&plan, 2), None);
    assert_eq!(parent(&plan, 3), Some(id(2)));
    assert!(detach(&mut plan, &id(3)));
    assert!(detach(&mut plan, &id(2)));
    assert!(plan.members.is_empty());
}

#[test]
fn the_children_of_the_dead_move_with_their_subtrees() {
    let facts = facts(&["a", "b", "b", "b", "a"]);
    let mut plan = room();
    for n in 0..5 {
        attach(&mut plan, &id(n), inc(1), &facts).unwrap();
    }
    let left_out = bury(&mut plan, &id(1), &facts);
    assert_eq!(left_out, Vec::new());
    assert_sound(&plan);
    assert_eq!(plan.members.len(), 4);
    assert_eq!(bury(&mut plan, &id(0), &facts), Vec::new());
    assert_sound(&plan);
    assert_eq!(plan.members.len(), 3, "the root's death leaves one tree");
}

#[test]
fn a_standby_that_dies_or_may_have_come_into_its_subtree_is_forgotten() {
    let facts = facts(&["", "", ""]);
    let mut plan = room();
    for n in 0..3 {
        attach(&mut plan, &id(n), inc(1), &facts).unwrap();
    }
    plan.members[1].standby = Some(id(2));
    plan.check().unwrap();
    bury(&mut plan, &id(2), &facts);
    assert_eq!(plan.members[1].standby, None);
    assert_sound(&plan);
}

#[test]
fn a_tree_of_full_degree_and_depth_says_so() {
    let mut plan = room();
    let mut level = vec![None];
    for depth in 0..=MAX_DEPTH {
        let mut next = Vec::new();
        for parent in level {
            let node = id(plan.members.len());
            plan.members.push(leaf(node.clone(), inc(1), parent));
            let children = if depth == 0 { MAX_DEGREE } else { MAX_DEGREE - 1 };
            next.extend(std::iter::repeat_n(Some(node), children));
        }
        level = next;
    }
    let newcomer: NodeId = "late".parse().unwrap();
    let members = plan.members.len();
    assert_eq!(members, 1 + 8 + 56 + 392 + 2744);
    let full = CascadeError::Full { node: newcomer.clone(), members };
    assert_eq!(attach(&mut plan, &newcomer, inc(1), &AllFacts::new()), Err(full));
    plan.members.pop();
    assert_eq!(attach(&mut plan, &newcomer, inc(1), &AllFacts::new()), Ok(true));
}

#[test]
fn epochs_rise_above_everything_known() {
    assert_eq!(next_epoch(Epoch(7), None), Epoch(8));
    assert_eq!(next_epoch(Epoch(7), Some(3)), Epoch(8));
    assert_eq!(next_epoch(Epoch(7), Some(1000)), Epoch(1000));
}

#[derive(Debug, Clone)]
enum Act {
    Join(usize, u64),
    Idle(usize),
    Die(usize),
    Load(usize, u32),
}

fn act() -> impl Strategy<Value = Act> {
    let node = 0..60usize;
    prop_oneof![
        5 => (node.clone(), 1..3u64).prop_map(|(n, i)| Act::Join(n, i)),
        2 => node.clone().prop_map(Act::Idle),
        1 => node.clone().prop_map(Act::Die),
        1 => (node, 0..1100u32).prop_map(|(n, l)| Act::Load(n, l)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn any_history_leaves_one_tree_within_bounds(acts in prop::collection::vec(act(), 1..250)) {
        let regions = ["a", "b", "c", ""];
        let mut facts: AllFacts = (0..60)
            .map(|n| (id(n), Facts { region: regions[n % 4].to_owned(), alive: n % 7 != 0, ..Facts::default() }))
            .collect();
        let mut plan = room();
        for act in acts {
            let before = plan.clone();
            match act {
                Act::Join(n, i) => {
                    attach(&mut plan, &id(n), inc(i), &facts).unwrap();
                    // Growing moves nobody.
                    for member in &before.members {
                        prop_assert_eq!(&plan.member(&member.node).unwrap().parent, &member.parent);
                    }
                }
                Act::Idle(n) => {
                    let moved = detach(&mut plan, &id(n));
                    prop_assert_eq!(moved, plan.members.len() < before.members.len());
                }
                Act::Die(n) => {
                    let left_out = bury(&mut plan, &id(n), &facts);
                    prop_assert_eq!(left_out, Vec::new());
                    prop_assert!(plan.member(&id(n)).is_none());
                    let gone = usize::from(before.member(&id(n)).is_some());
                    prop_assert_eq!(plan.members.len(), before.members.len() - gone);
                }
                Act::Load(n, load) => facts.get_mut(&id(n)).unwrap().load = Permille(load),
            }
            assert_sound(&plan);
        }
    }

    #[test]
    fn chains_as_deep_as_allowed_survive_deaths(deaths in prop::collection::vec(0..80usize, 1..40)) {
        let mut plan = room();
        for n in 0..80usize {
            // Four hops deep at once: every node under the first of the level above.
            let parent = (n > 0).then(|| id((n - 1) / 3));
            plan.members.push(leaf(id(n), inc(1), parent));
        }
        assert_sound(&plan);
        for n in deaths {
            prop_assert_eq!(bury(&mut plan, &id(n), &AllFacts::new()), Vec::new());
            assert_sound(&plan);
        }
    }
}
