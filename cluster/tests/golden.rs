//! Stored values stay readable: every golden file of every version decodes and comes back equal, fields of the future
//! included. A golden file is never changed; a new version adds files.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::collections::BTreeSet;
use std::path::PathBuf;

use freshet_cluster::access::{Ban, RoomSpec};
use freshet_cluster::load::NodeLoad;
use freshet_cluster::plan::RoomPlan;
use freshet_cluster::record::{Mark, NodeRecord, StreamRecord};
use freshet_cluster::room::{ChatMessage, Listening, Presence, StreamEvent};
use freshet_cluster::version::{VERSION, ValueError, decode, encode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Decodes as a type and encodes again.
type Again = fn(&[u8]) -> Result<Value, ValueError>;

fn again<T: DeserializeOwned + Serialize>(bytes: &[u8]) -> Result<Value, ValueError> {
    let value: T = decode(std::any::type_name::<T>(), bytes)?;
    Ok(serde_json::from_slice(&encode(&value)).unwrap())
}

const TYPES: [(&str, Again); 11] = [
    ("ban", again::<Ban>),
    ("chat-message", again::<ChatMessage>),
    ("listening", again::<Listening>),
    ("mark", again::<Mark>),
    ("node-load", again::<NodeLoad>),
    ("node-record", again::<NodeRecord>),
    ("presence", again::<Presence>),
    ("room-plan", again::<RoomPlan>),
    ("room-spec", again::<RoomSpec>),
    ("stream-event", again::<StreamEvent>),
    ("stream-record", again::<StreamRecord>),
];

fn golden() -> Vec<(String, String, Value)> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut found = Vec::new();
    for file in std::fs::read_dir(dir).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if let Some(stem) = name.strip_suffix(".json") {
            let (kind, version) = stem.split_once('.').expect("type.version.json");
            let value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
            found.push((kind.to_owned(), version.to_owned(), value));
        }
    }
    found
}

fn decoder(kind: &str) -> Again {
    TYPES.iter().find(|(name, _)| *name == kind).unwrap_or_else(|| panic!("no type for {kind}")).1
}

/// Calls `change` on every object of a value, the outermost included.
fn each_object(value: &mut Value, change: &mut impl FnMut(&mut serde_json::Map<String, Value>)) {
    match value {
        Value::Object(map) => {
            map.values_mut().for_each(|v| each_object(v, change));
            change(map);
        }
        Value::Array(list) => list.iter_mut().for_each(|v| each_object(v, change)),
        _ => {}
    }
}

#[test]
fn every_type_has_a_golden_file_of_every_version() {
    let found: BTreeSet<_> = golden().into_iter().map(|(kind, version, _)| (kind, version)).collect();
    for (kind, _) in TYPES {
        for version in 1..=VERSION {
            assert!(
                found.contains(&(kind.to_owned(), format!("v{version}"))),
                "{kind}.v{version}.json is missing"
            );
        }
    }
}

#[test]
fn every_golden_file_decodes_and_comes_back_equal() {
    for (kind, version, value) in golden() {
        let back =
            decoder(&kind)(value.to_string().as_bytes()).unwrap_or_else(|e| panic!("{kind}.{version}: {e}"));
        assert_eq!(back, value, "{kind}.{version}");
    }
}

#[test]
fn fields_of_the_future_are_written_back_wherever_they_stand() {
    for (kind, version, mut value) in golden() {
        let mut objects = 0;
        each_object(&mut value, &mut |map| {
            objects += 1;
            map.insert("from_the_future".into(), json!({"deep": [1, {"er": null}], "n": objects}));
        });
        value["v"] = json!(VERSION + 1);
        let back =
            decoder(&kind)(value.to_string().as_bytes()).unwrap_or_else(|e| panic!("{kind}.{version}: {e}"));
        assert_eq!(back, value, "{kind}.{version}");
    }
}

#[test]
fn a_value_that_needs_a_newer_reader_is_refused_whatever_its_shape() {
    for (kind, _, mut value) in golden() {
        value["min_v"] = json!(VERSION + 1);
        let refused = decoder(&kind)(value.to_string().as_bytes());
        assert!(
            matches!(refused, Err(ValueError::TooNew { min_v }) if min_v == VERSION + 1),
            "{kind}: {refused:?}"
        );
        let shapeless = json!({"v": 9, "min_v": 9, "renamed": true}).to_string();
        let refused = decoder(&kind)(shapeless.as_bytes());
        assert!(matches!(refused, Err(ValueError::TooNew { min_v: 9 })), "{kind}: {refused:?}");
    }
}

#[test]
fn words_of_the_future_are_understood_as_unknown() {
    use freshet_cluster::room::{EndReason, StreamState};
    assert_eq!(serde_json::from_str::<EndReason>("\"teleported\"").unwrap(), EndReason::Unknown);
    assert_eq!(serde_json::from_str::<StreamState>("\"paused\"").unwrap(), StreamState::Unknown);
    for reason in [
        EndReason::Closed,
        EndReason::IceTimeout,
        EndReason::DtlsTimeout,
        EndReason::TakenOver,
        EndReason::NodeDead,
        EndReason::Revoked,
    ] {
        assert_eq!(serde_json::to_value(reason).unwrap(), reason.as_str(), "one word on every wire");
    }
}
