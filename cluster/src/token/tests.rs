use super::*;
use crate::secret::Secret;
use proptest::prelude::*;
use serde_json::json;

const NOW: u64 = 1_800_000_000;

fn now() -> UnixMillis {
    UnixMillis(NOW * 1000)
}

fn key(id: &str) -> ApiKey {
    ApiKey::new(id, Secret::new(&format!("{id}-0123456789abcdef"))).unwrap()
}

fn keys() -> Keyring {
    ApiKeys::new([key("k1"), key("k2")]).unwrap().into()
}

fn claims() -> Claims {
    serde_json::from_value(json!({
        "room": "main", "identity": "Ada Lovelace", "grants": ["publish", "chat"],
        "iat": NOW, "exp": NOW + 3600,
    }))
    .unwrap()
}

/// A token of any header and payload, rightly signed.
fn forge(key: &ApiKey, header: &str, payload: &str) -> String {
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    let signature = hmac::sign(&key.hmac(), signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn with(change: impl FnOnce(&mut serde_json::Value)) -> String {
    let mut value = serde_json::to_value(claims()).unwrap();
    change(&mut value);
    forge(&key("k1"), r#"{"alg":"HS256"}"#, &value.to_string())
}

/// A token made by an independent implementation (HMAC-SHA-256 of `openssl dgst`) with the key `k1`.
#[test]
fn a_token_made_elsewhere_is_read() {
    const TOKEN: &str = include_str!("../../tests/golden/token.k1.jwt");
    let claims = verify(&keys(), TOKEN.trim(), now()).unwrap();
    assert_eq!(claims.identity.as_str(), "Ada Lovelace");
    assert!(claims.allows(&"main".parse().unwrap(), Grant::Publish));
}

#[test]
fn what_is_signed_is_verified_and_comes_back_whole() {
    let mut claims = claims();
    claims.streams = vec!["cam-2".into()];
    claims.unknown.insert("tenant".into(), json!({"id": 7}));
    let token = sign(&key("k2"), &claims);
    assert_eq!(verify(&keys(), &token, now()).unwrap(), claims);
}

#[test]
fn names_that_we_give_are_brought_by_nobody() {
    for name in ["~guest", "~", "~Ann"] {
        let refused = verify(&keys(), &with(|v| v["identity"] = json!(name)), now()).unwrap_err();
        assert!(matches!(&refused, TokenError::Reserved { found } if found.as_str() == name), "{refused}");
        assert!(refused.to_string().contains("begin with ~"), "{refused}");
    }
    assert!(verify(&keys(), &with(|v| v["identity"] = json!("a~guest")), now()).is_ok());
}

#[test]
fn grants_and_rooms_mean_what_they_say() {
    let main = "main".parse().unwrap();
    let other = "other".parse().unwrap();
    let mut claims = claims();
    assert!(claims.allows(&main, Grant::Publish) && claims.allows(&main, Grant::Chat));
    assert!(!claims.allows(&main, Grant::Subscribe) && !claims.allows(&other, Grant::Publish));
    claims.room = Rooms::Every;
    assert!(claims.allows(&other, Grant::Publish));
    claims.grants = [Grant::Admin].into_iter().collect();
    assert!(Grant::ALL.into_iter().all(|g| claims.allows(&main, g)), "admin allows everything");
    assert!(!claims.names_stream(&"a".parse().unwrap()));
    claims.streams = vec!["a".into()];
    assert!(claims.names_stream(&"a".parse().unwrap()) && !claims.names_stream(&"b".parse().unwrap()));
    claims.streams = vec!["*".into()];
    assert!(claims.names_stream(&"b".parse().unwrap()));
    let none = with(|v| drop(v.as_object_mut().unwrap().remove("grants")));
    let none = verify(&keys(), &none, now()).unwrap();
    assert!(Grant::ALL.into_iter().all(|g| !none.allows(&main, g)), "no grants, no deeds");
    let later = with(|v| v["grants"] = json!(["chat", "teleport"]));
    let later = verify(&keys(), &later, now()).unwrap();
    assert!(later.allows(&main, Grant::Chat));
    assert_eq!(
        serde_json::to_value(&later).unwrap()["grants"],
        json!(["chat", "teleport"]),
        "unknown words are kept"
    );
}

#[test]
fn other_algorithms_are_refused_whatever_the_signature() {
    let payload = serde_json::to_string(&claims()).unwrap();
    for alg in ["none", "None", "NONE", "HS512", "RS256", "hs256", ""] {
        let token = forge(&key("k1"), &format!(r#"{{"alg":"{alg}"}}"#), &payload);
        assert!(
            matches!(verify(&keys(), &token, now()), Err(TokenError::Algorithm { found, .. }) if found == alg)
        );
        let bare = format!("{}.", token.rsplit_once('.').unwrap().0);
        assert!(
            matches!(verify(&keys(), &bare, now()), Err(TokenError::Algorithm { .. })),
            "without signature"
        );
    }
    let token = forge(&key("k1"), r#"{"alg":"HS256","crit":["b64"],"b64":false}"#, &payload);
    assert!(matches!(verify(&keys(), &token, now()), Err(TokenError::Form(_))));
    let token = forge(&key("k1"), r#"{"typ":"JWT"}"#, &payload);
    assert!(matches!(verify(&keys(), &token, now()), Err(TokenError::Form(_))));
}

#[test]
fn the_key_id_selects_the_key_and_is_optional() {
    let payload = serde_json::to_string(&claims()).unwrap();
    let ok = |header: &str| verify(&keys(), &forge(&key("k2"), header, &payload), now());
    ok(r#"{"alg":"HS256","kid":"k2","typ":"anything"}"#).unwrap();
    ok(r#"{"alg":"HS256"}"#).unwrap();
    assert!(matches!(ok(r#"{"alg":"HS256","kid":"k1"}"#), Err(TokenError::Signature)));
    assert!(
        matches!(ok(r#"{"alg":"HS256","kid":"k3"}"#), Err(TokenError::UnknownKey { kid }) if kid == "k3")
    );
    let stranger = forge(&key("other"), r#"{"alg":"HS256"}"#, &payload);
    assert!(matches!(verify(&keys(), &stranger, now()), Err(TokenError::Signature)));
    let nobody = verify(&Keyring::default(), &stranger, now());
    assert!(matches!(nobody, Err(TokenError::Signature)), "no key, no valid token");
}

#[test]
fn any_change_breaks_the_signature() {
    let token = sign(&key("k1"), &claims());
    let dot = token.find('.').unwrap();
    for at in dot + 1..token.len() {
        let mut bytes = token.clone().into_bytes();
        // Another character of the alphabet that differs in its high bits, so that no padding bit hides it.
        bytes[at] = match bytes[at] {
            b'.' => continue,
            b'A'..=b'Z' => b'9',
            _ => b'A',
        };
        let changed = String::from_utf8(bytes).unwrap();
        assert!(verify(&keys(), &changed, now()).is_err(), "byte {at}");
    }
}

#[test]
fn times_are_checked_with_a_leeway() {
    let at = |token: &str, s: u64| verify(&keys(), token, UnixMillis(s * 1000));
    let token = sign(&key("k1"), &claims());
    at(&token, NOW + 3600 + LEEWAY_S - 1).unwrap();
    assert!(matches!(at(&token, NOW + 3600 + LEEWAY_S), Err(TokenError::Expired { ago: 60 })));
    at(&token, NOW - LEEWAY_S).unwrap();
    assert!(matches!(at(&token, NOW - LEEWAY_S - 1), Err(TokenError::NotYet { claim: "iat", ahead: 61 })));
    let later = with(|v| v["nbf"] = json!(NOW + 100));
    assert!(matches!(at(&later, NOW), Err(TokenError::NotYet { claim: "nbf", ahead: 100 })));
    at(&later, NOW + 40).unwrap();
    let long = with(|v| v["exp"] = json!(NOW + LIFE_MAX_S + 1));
    assert!(matches!(at(&long, NOW), Err(TokenError::TooLongLived { .. })));
    let week = Keyring { life_max_s: 7 * LIFE_MAX_S, ..keys() };
    verify(&week, &long, now()).unwrap();
    assert!(matches!(
        verify(&Keyring { life_max_s: 60, ..keys() }, &token, now()),
        Err(TokenError::TooLongLived { life: 3600, most: 60 })
    ));
    let endless = with(|v| {
        v["exp"] = json!(NOW + 10 * LIFE_MAX_S);
        v.as_object_mut().unwrap().remove("iat");
    });
    assert!(matches!(at(&endless, NOW), Err(TokenError::TooLongLived { .. })), "no iat is no way around");
    let milliseconds = with(|v| v["exp"] = json!((NOW + 3600) * 1000));
    assert!(matches!(at(&milliseconds, NOW), Err(TokenError::Claims(_))), "milliseconds are a mistake");
    let fraction = with(|v| v["exp"] = json!(NOW as f64 + 3600.75));
    assert_eq!(at(&fraction, NOW).unwrap().exp, NOW + 3600);
}

#[test]
fn claims_are_needed_and_checked() {
    for missing in ["room", "identity", "exp"] {
        let token = with(|v| drop(v.as_object_mut().unwrap().remove(missing)));
        let refused = verify(&keys(), &token, now()).unwrap_err();
        assert!(refused.to_string().contains(missing), "{refused}");
    }
    for (claim, value) in [
        ("room", json!("no/slash")),
        ("room", json!("")),
        ("room", json!(7)),
        ("max_sessions", json!(0)),
        ("max_sessions", json!("2")),
        ("max_sessions", json!({"pubish": 2})),
        ("max_sessions", json!({"publish": 0})),
        ("streams", json!(7)),
        ("identity", json!("")),
        ("identity", json!("x".repeat(129))),
        ("grants", json!("publish")),
        ("exp", json!("tomorrow")),
        ("exp", json!(-1)),
        ("exp", json!(null)),
    ] {
        let token = with(|v| v[claim] = value.clone());
        let refused = verify(&keys(), &token, now());
        assert!(matches!(refused, Err(TokenError::Claims(_))), "{claim} = {value}");
        let said = refused.unwrap_err().to_string();
        if ["max_sessions", "streams", "grants"].contains(&claim) {
            assert!(said.contains(claim) && !said.contains("sequence"), "{claim} = {value}: {said}");
        }
    }
    let main = "main".parse().unwrap();
    for (streams, named) in
        [(json!("*"), true), (json!(["*"]), true), (json!("main"), true), (json!([]), false)]
    {
        let token = with(|v| v["streams"] = streams.clone());
        assert_eq!(verify(&keys(), &token, now()).unwrap().names_stream(&main), named, "{streams}");
    }
}

#[test]
fn one_publishes_once_unless_the_token_says_more() {
    let bound = |claim: serde_json::Value| {
        let token = with(|v| v["max_sessions"] = claim);
        let bound = Bound::of(verify(&keys(), &token, now()).unwrap().max_sessions);
        (bound.publish.map(u32::from), bound.subscribe.map(u32::from))
    };
    assert_eq!(
        Bound::of(claims().max_sessions),
        Bound { publish: std::num::NonZeroU32::new(1), subscribe: None }
    );
    assert_eq!(bound(json!(3)), (Some(3), Some(3)));
    assert_eq!(bound(json!({"subscribe": 2})), (Some(1), Some(2)));
    assert_eq!(bound(json!({"publish": 4})), (Some(4), None));
}

#[test]
fn forms_are_refused_with_a_reason() {
    for token in
        ["", ".", "..", "...", "a.b", "a.b.c", "!.!.!", "eyJhbGciOiJIUzI1NiJ9", "\u{e9}.\u{e9}.\u{e9}"]
    {
        assert!(matches!(verify(&keys(), token, now()), Err(TokenError::Form(_))), "{token:?}");
    }
    let token = sign(&key("k1"), &claims());
    assert!(matches!(verify(&keys(), &format!("{token}.x"), now()), Err(TokenError::Form(_))));
    assert!(matches!(verify(&keys(), &format!("{token}="), now()), Err(TokenError::Form(_))), "padding");
    assert!(matches!(verify(&keys(), &"x".repeat(TOKEN_MAX + 1), now()), Err(TokenError::TooLong { .. })));
}

#[test]
fn keys_are_parsed_and_never_shown() {
    let key: ApiKey = " app-1:s3cret:with:colons-xx \n".parse().unwrap();
    assert_eq!((key.id(), key.secret().expose()), ("app-1", "s3cret:with:colons-xx"));
    assert_eq!(format!("{key} {key:?}"), "app-1:******** ApiKey { id: \"app-1\", secret: ******** }");
    assert_eq!("no-colon".parse::<ApiKey>(), Err(KeyError::Form));
    assert!(matches!("a b:0123456789abcdef".parse::<ApiKey>(), Err(KeyError::Id(_))));
    let short = "a:secret".parse::<ApiKey>().unwrap_err();
    assert_eq!(short, KeyError::Short { id: "a".into(), len: 6 });
    assert!(!short.to_string().contains("secret:"), "{short}");
    let file = ApiKeys::parse_file("# ours\n\na:0123456789abcdef\n  b:0123456789abcdef  \n").unwrap();
    assert_eq!(file.iter().map(ApiKey::id).collect::<Vec<_>>(), ["a", "b"]);
    let twice = ApiKeys::new(["a:0123456789abcdef".parse().unwrap(), "a:0123456789abcdeX".parse().unwrap()]);
    assert_eq!(twice, Err(KeyError::Twice("a".into())));
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(token in ".{0,200}") {
        prop_assert!(verify(&keys(), &token, now()).is_err());
    }

    #[test]
    fn no_payload_makes_it_panic(payload in ".{0,200}", header in ".{0,40}") {
        let _any = verify(&keys(), &forge(&key("k1"), r#"{"alg":"HS256"}"#, &payload), now());
        let _any = verify(&keys(), &forge(&key("k1"), &header, &payload), now());
    }
}
