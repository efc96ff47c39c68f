use freshet_cluster::token::{ApiKey, ApiKeys, sign};
use proptest::prelude::*;

use super::*;

const NOW: u64 = 1_790_000_000;

fn keys() -> ApiKeys {
    ApiKeys::new(["k1:0123456789abcdef".parse::<ApiKey>().unwrap()]).unwrap()
}

fn token(claims: serde_json::Value) -> String {
    sign(&"k1:0123456789abcdef".parse().unwrap(), &serde_json::from_value(claims).unwrap())
}

fn with(value: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap());
    headers
}

fn check(headers: &HeaderMap, room: &str, grant: Grant) -> Result<Access, Problem> {
    Guard::tokens(keys()).check(headers, &room.parse().unwrap(), grant, UnixMillis(NOW * 1000))
}

fn good() -> String {
    token(
        serde_json::json!({"room": "r1", "identity": "Zoë", "grants": ["publish"], "exp": NOW + 60, "iat": NOW}),
    )
}

#[test]
fn a_token_says_who_where_and_what() {
    for scheme in ["Bearer", "bearer", "BEARER"] {
        let access = check(&with(&format!("{scheme} {}", good())), "r1", Grant::Publish).unwrap();
        assert_eq!((access.identity.as_str(), access.open), ("Zoë", false));
        assert_eq!(access.owner().unwrap().as_str(), "Zoë");
    }
}

#[test]
fn a_missing_token_is_401_with_a_plain_challenge() {
    for headers in [HeaderMap::new(), with("Basic YTpi"), with("Bearer")] {
        let problem = check(&headers, "r1", Grant::Publish).unwrap_err();
        assert_eq!((problem.status().as_u16(), problem.why()), (401, Some("token-missing")));
        assert_eq!(problem.headers()["www-authenticate"], r#"Bearer realm="freshet""#);
    }
}

#[test]
fn a_bad_token_is_401_and_says_why_but_never_what_it_was() {
    let mut forged = good();
    forged.truncate(forged.len() - 4);
    for value in [format!("Bearer {forged}"), "Bearer a b".into(), "Bearer \"x\"".into(), "Bearer ..".into()]
    {
        let problem = check(&with(&value), "r1", Grant::Publish).unwrap_err();
        assert_eq!((problem.status().as_u16(), problem.why()), (401, Some("token-invalid")), "{value}");
        let challenge = problem.headers()["www-authenticate"].to_str().unwrap();
        assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
        assert!(!challenge.contains(&forged) && !problem.detail().contains(&forged));
    }
    let late = Guard::tokens(keys())
        .authenticate(&with(&format!("Bearer {}", good())), UnixMillis((NOW + 200) * 1000));
    assert!(late.unwrap_err().detail().contains("expired"));
}

#[test]
fn nothing_gets_out_of_the_quotes_of_a_challenge() {
    let claims = serde_json::json!({"room": "r1", "identity": "a", "exp": NOW + 60});
    let other = sign(&"other:0123456789abcdef".parse().unwrap(), &serde_json::from_value(claims).unwrap());
    let problem = check(&with(&format!("Bearer {other}")), "r1", Grant::Publish).unwrap_err();
    assert!(problem.detail().contains("\"other\""), "the detail has quotes: {problem}");
    let challenge = problem.headers()["www-authenticate"].to_str().unwrap();
    assert_eq!(challenge.matches('"').count(), 6, "realm, error and description: {challenge}");
    assert!(challenge.contains("'other'"), "{challenge}");
}

#[test]
fn another_room_or_grant_is_403() {
    let headers = with(&format!("Bearer {}", good()));
    for (room, grant) in [("r2", Grant::Publish), ("r1", Grant::Subscribe)] {
        let problem = check(&headers, room, grant).unwrap_err();
        assert_eq!((problem.status().as_u16(), problem.why()), (403, Some("not-allowed")));
        let challenge = problem.headers()["www-authenticate"].to_str().unwrap();
        assert!(challenge.contains("insufficient_scope"), "{challenge}");
    }
}

#[test]
fn two_headers_are_a_bad_request() {
    let mut headers = with(&format!("Bearer {}", good()));
    headers.append(header::AUTHORIZATION, HeaderValue::from_static("Bearer x"));
    assert_eq!(check(&headers, "r1", Grant::Publish).unwrap_err().status().as_u16(), 400);
}

#[test]
fn without_keys_nobody_passes_and_open_lets_everybody_in() {
    let closed = Guard::tokens(ApiKeys::default());
    assert_eq!(
        closed
            .authenticate(&with(&format!("Bearer {}", good())), UnixMillis(NOW * 1000))
            .unwrap_err()
            .status(),
        401
    );
    let open = Guard::open();
    let one = open.check(&HeaderMap::new(), &"r1".parse().unwrap(), Grant::Admin, UnixMillis(0)).unwrap();
    let two = open.authenticate(&HeaderMap::new(), UnixMillis(0)).unwrap();
    assert!(one.identity.as_str().starts_with("guest-") && one.identity != two.identity);
    assert_eq!(one.owner(), None);
}

#[test]
fn a_public_room_is_watched_without_a_token_and_nothing_more() {
    use freshet_cluster::access::RoomSpec;
    use freshet_cluster::store::{Entry, Revision};
    let guard = Guard::tokens(keys());
    let (stage, hall): (RoomId, RoomId) = ("stage".parse().unwrap(), "hall".parse().unwrap());
    let enter = |headers: &HeaderMap, room: &RoomId, grant| {
        let entered = guard.check(headers, room, grant, UnixMillis(NOW * 1000));
        entered.map(|access| access.identity.to_string()).map_err(|problem| problem.status().as_u16())
    };
    let bare = HeaderMap::new();
    assert_eq!(enter(&bare, &stage, Grant::Subscribe), Err(401));
    assert_eq!(guard.holder(&bare, UnixMillis(NOW * 1000)).unwrap_err().status(), 401);
    let key = freshet_cluster::keys::room_spec(&stage);
    let value = freshet_cluster::version::encode(&RoomSpec::new(true));
    guard.rules().set(&Entry { key, value, revision: Revision(1), lease: None });
    assert_eq!(enter(&bare, &stage, Grant::Subscribe), Ok(GUEST.to_owned()));
    assert_eq!(enter(&bare, &hall, Grant::Subscribe), Err(401));
    for grant in [Grant::Publish, Grant::Chat, Grant::Moderate, Grant::Admin] {
        assert_eq!(enter(&bare, &stage, grant), Err(401), "{grant}");
    }
    assert_eq!(enter(&with("Bearer x.y.z"), &stage, Grant::Subscribe), Err(401), "a wrong token is not none");
    let holder = guard.holder(&bare, UnixMillis(NOW * 1000)).unwrap();
    assert_eq!((holder.owner().unwrap().as_str(), holder.open), (GUEST, false));
    assert_eq!(holder.grants.iter().count(), 0);
}

#[test]
fn a_token_of_the_guests_name_is_refused() {
    let claims = serde_json::json!({"room": "r1", "identity": GUEST, "grants": ["admin"], "exp": NOW + 60});
    let headers = with(&format!("Bearer {}", token(claims)));
    let problem = check(&headers, "r1", Grant::Subscribe).unwrap_err();
    assert_eq!((problem.status().as_u16(), problem.why()), (401, Some("token-invalid")));
    assert!(problem.detail().contains("~guest"), "{problem}");
}

#[tokio::test]
async fn until_the_rules_are_read_nobody_is_judged_by_them() {
    use std::sync::Arc;

    use freshet_cluster::access::RoomSpec;
    use freshet_cluster::store::memory::MemoryStore;
    use freshet_cluster::store::{Expect, Store as _};
    let (guard, open) = (Guard::tokens(keys()), Guard::open());
    let (stage, now) = ("r1".parse().unwrap(), UnixMillis(NOW * 1000));
    let store = Arc::new(MemoryStore::new());
    let key = freshet_cluster::keys::room_spec(&stage);
    let value = freshet_cluster::version::encode(&RoomSpec::new(true));
    store.put(&key, value, Expect::Any, None).await.unwrap();
    let bare = HeaderMap::new();
    let good = with(&format!("Bearer {}", good()));
    // Without a store there is nothing to read.
    assert!(guard.check(&good, &stage, Grant::Publish, now).is_ok());
    let following = [&guard, &open].map(|guard| guard.rules().clone().follow(store.clone()));
    for problem in [
        guard.check(&good, &stage, Grant::Publish, now).unwrap_err(),
        guard.check(&bare, &stage, Grant::Subscribe, now).unwrap_err(),
        guard.holder(&bare, now).unwrap_err(),
    ] {
        assert_eq!((problem.status().as_u16(), problem.why()), (503, Some("starting")));
        assert!(problem.headers().contains_key("retry-after"));
    }
    for (headers, grant) in [(&bare, Grant::Publish), (&with("Bearer x.y.z"), Grant::Subscribe)] {
        assert_eq!(guard.check(headers, &stage, grant, now).unwrap_err().status(), 401, "{grant}");
    }
    assert!(guard.holder(&good, now).is_ok(), "its own session is whose it was");
    assert!(open.check(&bare, &stage, Grant::Publish, now).is_ok(), "open mode has no rules");

    let mut changes = guard.rules().changes();
    let _tasks = following.map(tokio::spawn);
    changes.wait_for(|_| guard.rules().is_read()).await.unwrap();
    assert!(guard.check(&good, &stage, Grant::Publish, now).is_ok());
    assert_eq!(guard.check(&bare, &stage, Grant::Subscribe, now).unwrap().identity.as_str(), GUEST);
}

proptest! {
    #[test]
    fn no_header_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
        let mut headers = HeaderMap::new();
        for prefix in [&b""[..], b"Bearer ", b"bearer  "] {
            if let Ok(value) = HeaderValue::from_bytes(&[prefix, &bytes].concat()) {
                headers.insert(header::AUTHORIZATION, value);
                let problem = check(&headers, "r1", Grant::Publish).unwrap_err();
                prop_assert!(problem.headers().contains_key("www-authenticate"));
            }
        }
    }
}
