use freshet_cluster::Incarnation;
use freshet_cluster::plan::Member;
use proptest::prelude::*;

use super::*;

const NOW: UnixMillis = UnixMillis(1_790_000_000_000);
const PATH: &str = "/whip/r1?stream=a";

fn secret() -> Secret {
    Secret::new("the cluster's own secret")
}

fn call(nonce: u128) -> Call {
    Call::new(&Method::POST, PATH, b"v=0", &Access::open("Zoë".parse().unwrap()), NOW, nonce)
}

fn headers(value: HeaderValue) -> HeaderMap {
    HeaderMap::from_iter([(CALL, value)])
}

/// The whole check, as a node does it around reading the body.
fn verify(
    verifier: &Verifier,
    headers: &HeaderMap,
    (method, path): (&Method, &str),
    body: &[u8],
    now: UnixMillis,
) -> Result<Call, CallError> {
    verifier.signed(headers)?.verify(method, path, body, now)
}

fn verify_at(verifier: &Verifier, call: &Call, now: UnixMillis) -> Result<Call, CallError> {
    verify(verifier, &headers(sign(&secret(), call)), (&Method::POST, PATH), b"v=0", now)
}

/// Signs any JSON: what a coordinator of another version, or a wrong one, might send.
fn signed(json: &str) -> HeaderMap {
    let payload = URL_SAFE_NO_PAD.encode(json);
    let tag = URL_SAFE_NO_PAD.encode(hmac::sign(&key(&secret()), payload.as_bytes()));
    headers(HeaderValue::from_str(&format!("{payload}.{tag}")).unwrap())
}

#[test]
fn a_call_arrives_as_it_was_signed() {
    let mut sent = call(1);
    sent.plan = Some(RoomPlan::empty("r1".parse().unwrap()));
    sent.client_ip = Some("2001:db8::1".parse().unwrap());
    sent.public_url = Some("https://live.example/x".into());
    let read = verify_at(&Verifier::new(&secret()), &sent, NOW).unwrap();
    assert_eq!(read, sent);
    assert!(read.access().open);
    assert!(read.plan_of(&"r1".parse().unwrap()).is_some() && read.plan_of(&"r2".parse().unwrap()).is_none());
}

/// What a coordinator of version 1 sends, bounds included, signed by another implementation (`openssl dgst`). The files are
/// never changed: nodes of later versions must take it as it is.
#[test]
fn a_call_of_the_first_version_is_taken_as_it_is() {
    let json: serde_json::Value =
        serde_json::from_str(include_str!("../../tests/golden/call.v1.json")).unwrap();
    let header = HeaderValue::from_static(include_str!("../../tests/golden/call.v1.header").trim_ascii());
    let path = json["path"].as_str().unwrap();
    let verifier = Verifier::new(&secret());
    let read = verify(&verifier, &headers(header), (&Method::POST, path), b"v=0\r\n", NOW).unwrap();
    assert_eq!(serde_json::to_value(&read).unwrap(), json, "nothing is lost or renamed");
    let bound = read.access().bound;
    assert_eq!((bound.publish.map(u32::from), bound.subscribe.map(u32::from)), (Some(2), Some(5)));
    assert!(read.plan.is_some() && read.unknown.is_empty(), "{:?}", read.unknown);
    // From before there were bounds: none is in force.
    let mut old = json.clone();
    let members = old.as_object_mut().unwrap();
    members.remove("bound").unwrap();
    members.insert("nonce".into(), "ff112233445566778899aabbccddeeff".into());
    let read = verify(&verifier, &signed(&old.to_string()), (&Method::POST, path), b"v=0\r\n", NOW).unwrap();
    assert_eq!(read.access().bound, Bound::default());
}

#[test]
fn a_call_is_good_once() {
    let verifier = Verifier::new(&secret());
    verify_at(&verifier, &call(7), NOW).unwrap();
    assert_eq!(verify_at(&verifier, &call(7), NOW), Err(CallError::Replayed));
    let last = UnixMillis(NOW.0 + WINDOW_MS);
    assert_eq!(
        verify_at(&verifier, &call(7), last),
        Err(CallError::Replayed),
        "as long as it could be accepted"
    );
    verify_at(&verifier, &call(8), last).unwrap();
}

#[test]
fn a_call_is_good_for_a_minute_around_its_time() {
    let verifier = Verifier::new(&secret());
    let at = |ms: i64, nonce| {
        verify_at(&verifier, &call(nonce), UnixMillis(NOW.0.checked_add_signed(ms).unwrap()))
    };
    at(60_000, 1).unwrap();
    at(-60_000, 2).unwrap();
    assert_eq!(at(60_001, 3), Err(CallError::Time { off_ms: 60_001 }));
    assert_eq!(at(-60_001, 4), Err(CallError::Time { off_ms: 60_001 }));
}

#[test]
fn a_call_is_good_for_its_request_alone() {
    let verifier = Verifier::new(&secret());
    let value = headers(sign(&secret(), &call(1)));
    let check = |method, path, body: &[u8]| verify(&verifier, &value, (&method, path), body, NOW);
    assert_eq!(check(Method::PUT, PATH, b"v=0"), Err(CallError::Mismatch("method")));
    assert_eq!(check(Method::POST, "/whip/r1?stream=b", b"v=0"), Err(CallError::Mismatch("path")));
    assert_eq!(check(Method::POST, PATH, b"v=1"), Err(CallError::Mismatch("body")));
    check(Method::POST, PATH, b"v=0").unwrap();
}

#[test]
fn another_secret_or_a_changed_byte_is_refused() {
    let other = headers(sign(&Secret::new("another"), &call(1)));
    let verifier = Verifier::new(&secret());
    let check = |headers: &HeaderMap| verify(&verifier, headers, (&Method::POST, PATH), b"v=0", NOW);
    assert_eq!(check(&other), Err(CallError::Signature));
    let good = sign(&secret(), &call(1));
    for at in 0..good.len() {
        let mut bytes = good.as_bytes().to_vec();
        bytes[at] = if bytes[at] == b'A' { b'z' } else { b'A' };
        let refused = check(&headers(HeaderValue::from_bytes(&bytes).unwrap())).unwrap_err();
        assert!(matches!(refused, CallError::Signature | CallError::Malformed(_)), "byte {at}: {refused}");
        let problem = Problem::from(refused);
        assert_eq!(problem.status(), 401);
    }
    let mut twice = headers(good.clone());
    twice.append(CALL, good);
    assert_eq!(check(&twice), Err(CallError::Malformed("it is there twice")));
    assert_eq!(check(&HeaderMap::new()), Err(CallError::Missing));
}

#[test]
fn versions_meet() {
    let verifier = Verifier::new(&secret());
    let mut json = serde_json::to_value(call(1)).unwrap();
    json["v"] = 9.into();
    json["colour"] = "blue".into();
    let check = |json: &serde_json::Value| {
        verify(&verifier, &signed(&json.to_string()), (&Method::POST, PATH), b"v=0", NOW)
    };
    assert_eq!(check(&json).unwrap().unknown["colour"], "blue");
    json["min_v"] = 9.into();
    assert_eq!(check(&json), Err(CallError::Version { min_v: 9 }));
    assert_eq!(check(&serde_json::json!("x")), Err(CallError::Malformed("it has no version")));
    assert_eq!(check(&serde_json::json!({"v": 1})), Err(CallError::Malformed("its JSON is not a call")));
    let mut bad = serde_json::to_value(call(2)).unwrap();
    bad["nonce"] = "+0000000000000000000000000000001".into();
    assert!(matches!(check(&bad), Err(CallError::Malformed(_))));
}

#[test]
fn a_plan_that_is_too_large_is_left_out() {
    let mut sent = call(1);
    let mut plan = RoomPlan::empty("r1".parse().unwrap());
    plan.members = (0..500u64)
        .map(|i| Member {
            node: format!("node-{i}").parse().unwrap(),
            incarnation: Incarnation::from_bits(i),
            parent: None,
            standby: None,
            unknown: Unknown::new(),
        })
        .collect();
    sent.plan = Some(plan);
    assert!(sign(&secret(), &sent).len() < 2000);
    let read = verify_at(&Verifier::new(&secret()), &sent, NOW).unwrap();
    assert_eq!(read.plan, None);
}

#[test]
fn a_signature_is_never_printed() {
    assert_eq!(format!("{:?}", sign(&secret(), &call(1))), "Sensitive");
    assert_eq!(format!("{:?}", Verifier::new(&secret())), "Verifier");
}

proptest! {
    #[test]
    fn no_header_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), json in "[\\[\\]{}\":a-z0-9,]{0,60}") {
        let verifier = Verifier::new(&secret());
        if let Ok(value) = HeaderValue::from_bytes(&bytes) {
            prop_assert!(verify(&verifier, &headers(value), (&Method::GET, "/"), b"", NOW).is_err());
        }
        prop_assert!(verify(&verifier, &signed(&json), (&Method::GET, "/"), b"", NOW).is_err());
    }
}
