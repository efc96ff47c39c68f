//! What must hold for every id, plan and byte.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::collections::BTreeMap;

use freshet_cluster::keys::{self, Key, Topic};
use freshet_cluster::load::NodeLoad;
use freshet_cluster::plan::{Member, RoomPlan};
use freshet_cluster::record::{NodeRecord, StreamRecord};
use freshet_cluster::room::{ChatMessage, StreamEvent};
use freshet_cluster::version::{Unknown, decode};
use freshet_cluster::{Generation, Identity, Incarnation, NodeId, RoomId, SessionId, StreamId, bus};
use proptest::collection::vec;
use proptest::prelude::*;

fn name() -> impl Strategy<Value = String> {
    // Short names of few characters collide often, which is what a test for collisions wants; words of the key
    // layout are names too.
    prop_oneof![
        "[A-Za-z0-9_-]{1,64}",
        "[ab_-]{1,3}",
        prop::sample::select(vec![
            "nodes", "rooms", "streams", "spec", "plan", "leader", "mark", "v1", "chat", "node"
        ])
        .prop_map(str::to_owned),
    ]
}

const TOPICS: [Topic; 6] =
    [Topic::Chat, Topic::Tip, Topic::Reaction, Topic::Presence, Topic::Stream, Topic::Listening];

/// Every key that ids can form, with what it names.
fn all_keys(node: &NodeId, room: &RoomId, stream: &StreamId) -> Vec<(String, Key)> {
    let slashed: Identity = format!("{}/Zoë/..", stream.as_str()).parse().unwrap();
    vec![
        (keys::node(node), Key::Node(node.clone())),
        (keys::room_plan(room), Key::Plan(room.clone())),
        (keys::stream(room, stream), Key::Stream(room.clone(), stream.clone())),
        (keys::room_spec(room), Key::Spec(room.clone())),
        (keys::ban(room, &slashed), Key::Ban(room.clone(), slashed.to_key())),
        (keys::LEADER.into(), Key::Leader),
    ]
}

proptest! {
    #[test]
    fn a_key_names_one_thing_and_is_read_back(ids in vec((name(), name(), name()), 1..4)) {
        let mut seen: BTreeMap<String, Key> = BTreeMap::new();
        for (node, room, stream) in ids {
            let (node, room, stream): (NodeId, RoomId, StreamId) =
                (node.parse().unwrap(), room.parse().unwrap(), stream.parse().unwrap());
            for (key, names) in all_keys(&node, &room, &stream) {
                prop_assert_eq!(keys::parse(&key), Some(names.clone()));
                prop_assert!(key.starts_with(keys::ROOT));
                prop_assert_ne!(key.as_str(), keys::MARK);
                if let Some(other) = seen.insert(key, names.clone()) {
                    prop_assert_eq!(other, names);
                }
            }
        }
    }

    #[test]
    fn a_rooms_prefix_holds_no_other_rooms_streams(a in name(), b in name(), stream in name()) {
        prop_assume!(a != b);
        let (a, b, stream): (RoomId, RoomId, StreamId) =
            (a.parse().unwrap(), b.parse().unwrap(), stream.parse().unwrap());
        prop_assert!(!keys::stream(&b, &stream).starts_with(&keys::room_streams(&a)));
        prop_assert!(keys::stream(&a, &stream).starts_with(&keys::room_streams(&a)));
    }

    #[test]
    fn a_subject_names_one_thing(a in name(), b in name(), node in name()) {
        let rooms: [RoomId; 2] = [a.parse().unwrap(), b.parse().unwrap()];
        let node: NodeId = node.parse().unwrap();
        let mut seen = BTreeMap::new();
        for room in &rooms {
            for topic in TOPICS {
                let subject = keys::room_subject(room, topic);
                prop_assert_eq!(subject.split('.').count(), 5);
                prop_assert!(!subject.contains(['*', '>', ' ']));
                prop_assert_eq!(bus::is_kept(&subject), topic == Topic::Chat);
                prop_assert_eq!(bus::matches(keys::ALL_STREAM_EVENTS, &subject), topic == Topic::Stream);
                prop_assert!(!bus::matches(keys::ALL_LOADS, &subject));
                if let Some(other) = seen.insert(subject, (room, topic)) {
                    prop_assert_eq!(other, (room, topic));
                }
            }
        }
        let load = keys::load_subject(&node);
        prop_assert!(bus::matches(keys::ALL_LOADS, &load) && !seen.contains_key(&load));
    }

    #[test]
    fn text_outside_the_alphabet_is_no_name(text in "\\PC{0,70}") {
        let fits = (1..=64).contains(&text.len())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
        prop_assert_eq!(text.parse::<RoomId>().is_ok(), fits);
        prop_assert_eq!(text.parse::<StreamId>().is_ok(), fits);
        prop_assert_eq!(text.parse::<NodeId>().is_ok(), fits);
    }

    #[test]
    fn an_identity_of_any_script_makes_a_key_of_its_own(a in "\\PC{1,128}", b in "\\PC{1,128}") {
        let (one, two): (Identity, Identity) = (a.parse().unwrap(), b.parse().unwrap());
        let key = one.to_key();
        prop_assert!(key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-'));
        prop_assert_eq!(key == two.to_key(), a == b);
    }

    #[test]
    fn ids_come_back_from_their_text(bits: u64, wide: u128, text in name()) {
        prop_assert_eq!(Incarnation::from_bits(bits).to_string().parse(), Ok(Incarnation::from_bits(bits)));
        prop_assert_eq!(SessionId::from_bits(wide).to_string().parse(), Ok(SessionId::from_bits(wide)));
        let short = SessionId::from_bits(wide).short();
        prop_assert!(short.len() == 8 && SessionId::from_bits(wide).to_string().starts_with(&short));
        let room: RoomId = text.parse().unwrap();
        let json = serde_json::to_string(&room).unwrap();
        prop_assert_eq!(serde_json::from_str::<RoomId>(&json).unwrap(), room);
    }

    #[test]
    fn a_claim_is_above_everything_before_it(previous: Option<u64>, now: u64) {
        let claimed = Generation::claim(previous.map(Generation), now);
        prop_assert!(claimed.0 >= now);
        prop_assert!(previous.is_none_or(|p| p == u64::MAX || claimed.0 > p));
    }

    #[test]
    fn no_bytes_make_a_decoder_panic(bytes in vec(any::<u8>(), 0..300), text in "[\\[\\]{}\",:0-9a-z_]{0,200}") {
        for bytes in [&bytes[..], text.as_bytes()] {
            let _any = decode::<NodeRecord>("node", bytes);
            let _any = decode::<RoomPlan>("plan", bytes);
            let _any = decode::<StreamRecord>("stream", bytes);
            let _any = decode::<NodeLoad>("load", bytes);
            let _any = decode::<StreamEvent>("event", bytes);
            let _any = decode::<ChatMessage>("chat", bytes);
        }
        let _any = keys::parse(&text);
    }

    /// `check` against a plain definition: distinct members, one root, and every member reaches it.
    #[test]
    fn a_plan_is_valid_exactly_when_it_is_one_tree(
        links in vec((0..6u8, prop::option::of(0..6u8), prop::option::of(0..6u8)), 0..6),
    ) {
        let id = |n: u8| -> NodeId { format!("n{n}").parse().unwrap() };
        let mut plan = RoomPlan::empty("r".parse().unwrap());
        for (node, parent, standby) in &links {
            plan.members.push(Member {
                node: id(*node),
                incarnation: Incarnation::from_bits(1),
                parent: parent.map(id),
                standby: standby.map(id),
                unknown: Unknown::new(),
            });
        }
        let parents: BTreeMap<u8, Option<u8>> = links.iter().map(|(n, p, _)| (*n, *p)).collect();
        let path = |from: u8| {
            let mut path = vec![from];
            while let Some(Some(Some(up))) = path.last().map(|at| parents.get(at).copied()) {
                if path.contains(&up) {
                    return None;
                }
                path.push(up);
            }
            Some(path)
        };
        let distinct = parents.len() == links.len();
        let rooted = links.is_empty() || links.iter().filter(|(_, p, _)| p.is_none()).count() == 1;
        let whole = links.iter().all(|(n, ..)| {
            path(*n).is_some_and(|p| matches!(parents.get(p.last().unwrap()), Some(None)))
        });
        let standby = links.iter().all(|(n, _, s)| s.is_none_or(|s| path(s).is_none_or(|p| !p.contains(n))));
        prop_assert_eq!(plan.check().is_ok(), distinct && rooted && whole && standby, "{:?}", plan.check());
    }
}
