//! Known answers of the RFCs, and what must not pass between kinds of keys.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use serde_json::json;

use super::*;
use crate::secret::Secret;

const NOW: u64 = 1_800_000_000;

/// The payload of RFC 7515 appendices A.1 to A.3.
const PAYLOAD: &str =
    "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
/// RFC 7515 appendix A.1.
const A1_KEY: &str = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
const A1_HEADER: &str = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9";
const A1_SIGNATURE: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
/// RFC 7515 appendix A.2.
const A2_N: &str = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yR\
    T-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2\
    R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h\
    4FRWyuXpoQ";
const A2_SIGNATURE: &str = "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5\
    jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383\
    LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0ig\
    cN_IoypGlUPQGe77Rw";
/// RFC 7515 appendix A.3.
const A3_SIGNATURE: &str =
    "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
/// RFC 8037 appendix A.4.
const ED_PAYLOAD: &str = "RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
const ED_SIGNATURE: &str =
    "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";

fn rfc_set() -> serde_json::Value {
    json!({"keys": [
        {"kty": "RSA", "kid": "a2", "n": A2_N, "e": "AQAB"},
        {"kty": "EC", "crv": "P-256", "kid": "a3", "use": "sig", "alg": "ES256",
         "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"},
        {"kty": "OKP", "crv": "Ed25519", "kid": "a4", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
    ]})
}

fn set(value: &serde_json::Value) -> PublicKeys {
    PublicKeys::parse(value.to_string().as_bytes()).unwrap()
}

fn ring(api: &[&str], public: PublicKeys) -> Keyring {
    let api = ApiKeys::new(api.iter().map(|text| text.parse().unwrap())).unwrap();
    Keyring { api, public, ..Keyring::default() }
}

fn b64(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

#[test]
fn the_known_answers_of_rfc_7515_and_rfc_8037() {
    // A.1's key is 64 raw octets, which an API key (text) cannot be: the HMAC under it is compared.
    let hmac_key = hmac::Key::new(hmac::HMAC_SHA256, &URL_SAFE_NO_PAD.decode(A1_KEY).unwrap());
    let signed = format!("{A1_HEADER}.{PAYLOAD}");
    assert_eq!(URL_SAFE_NO_PAD.encode(hmac::sign(&hmac_key, signed.as_bytes())), A1_SIGNATURE);

    let ring = ring(&[], set(&rfc_set()));
    for (header, payload, signature, kid) in [
        ("eyJhbGciOiJSUzI1NiJ9", PAYLOAD, A2_SIGNATURE, "a2"),
        ("eyJhbGciOiJFUzI1NiJ9", PAYLOAD, A3_SIGNATURE, "a3"),
        ("eyJhbGciOiJFZERTQSJ9", ED_PAYLOAD, ED_SIGNATURE, "a4"),
    ] {
        let token = format!("{header}.{payload}.{signature}");
        assert_eq!(signer(&ring, &token).unwrap().id(), Some(kid), "{kid}");
        let other = format!("{header}.{payload}x.{signature}");
        assert!(signer(&ring, &other).is_err(), "{kid}: another payload");
        let mut bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        let broken = format!("{header}.{payload}.{}", URL_SAFE_NO_PAD.encode(bytes));
        assert!(matches!(signer(&ring, &broken), Err(TokenError::Signature)), "{kid}: another signature");
    }
    // They are tokens of a known signer that say nothing to us: no room, long over.
    let a2 = format!("eyJhbGciOiJSUzI1NiJ9.{PAYLOAD}.{A2_SIGNATURE}");
    assert!(matches!(verify(&ring, &a2, UnixMillis(NOW * 1000)), Err(TokenError::Claims(_))));
}

fn claims() -> String {
    json!({"room": "main", "identity": "ann", "grants": ["admin"], "iat": NOW, "exp": NOW + 60}).to_string()
}

fn check(ring: &Keyring, token: &str) -> Result<Claims, TokenError> {
    verify(ring, token, UnixMillis(NOW * 1000))
}

#[test]
fn tokens_of_other_issuers_are_taken_by_key_id_and_algorithm() {
    let random = SystemRandom::new();
    let ed = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    let ec = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref()).unwrap();
    let point = ec.public_key().as_ref();
    let enc = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let public = set(&json!({"keys": [
        {"kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": enc(ed.public_key().as_ref())},
        {"kty": "EC", "crv": "P-256", "kid": "ec", "x": enc(&point[1..33]), "y": enc(&point[33..])},
    ]}));
    let ring = ring(&["app:0123456789abcdef"], public);
    let sign_with = |header: &str, by: &dyn Fn(&[u8]) -> Vec<u8>| {
        let signed = format!("{}.{}", b64(header), b64(&claims()));
        format!("{signed}.{}", enc(&by(signed.as_bytes())))
    };
    let by_ed = |bytes: &[u8]| ed.sign(bytes).as_ref().to_vec();
    let by_ec = |bytes: &[u8]| ec.sign(&random, bytes).unwrap().as_ref().to_vec();
    for header in [r#"{"alg":"EdDSA","kid":"ed"}"#, r#"{"alg":"Ed25519","kid":"ed"}"#, r#"{"alg":"EdDSA"}"#] {
        assert_eq!(check(&ring, &sign_with(header, &by_ed)).unwrap().identity.as_str(), "ann", "{header}");
    }
    check(&ring, &sign_with(r#"{"alg":"ES256","kid":"ec"}"#, &by_ec)).unwrap();
    let ours: ApiKey = "app:0123456789abcdef".parse().unwrap();
    check(&ring, &sign(&ours, &serde_json::from_str(&claims()).unwrap())).unwrap();

    // The right signature under another's name, and under another algorithm's.
    for header in
        [r#"{"alg":"ES256","kid":"ed"}"#, r#"{"alg":"EdDSA","kid":"ec"}"#, r#"{"alg":"EdDSA","kid":"app"}"#]
    {
        let refused = check(&ring, &sign_with(header, &by_ed)).unwrap_err();
        assert!(matches!(refused, TokenError::Algorithm { .. }), "{header}: {refused}");
    }
    let stranger = check(&ring, &sign_with(r#"{"alg":"EdDSA","kid":"new"}"#, &by_ed)).unwrap_err();
    assert!(matches!(stranger, TokenError::UnknownKey { .. }), "{stranger}");
    assert!(matches!(
        check(&ring, &sign_with(r#"{"alg":"RS256"}"#, &by_ed)),
        Err(TokenError::Algorithm { accepted, .. }) if accepted == "HS256, EdDSA, ES256"
    ));
}

/// The public key as an HMAC's secret, in every form in which it lies about: the trick of CVE-2015-9235.
#[test]
fn a_public_key_is_no_secret() {
    let rfc = rfc_set();
    let ring = ring(&["app:0123456789abcdef"], set(&rfc));
    let rsa = rfc["keys"][0].clone();
    let forms = [
        A2_N.to_owned(),
        rsa.to_string(),
        rfc.to_string(),
        "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo".into(),
    ];
    for secret in forms {
        for kid in ["a2", "a3", "a4", "none"] {
            let named = ApiKey::new(kid, Secret::new(&secret)).unwrap();
            let token = sign(&named, &serde_json::from_str(&claims()).unwrap());
            assert!(check(&ring, &token).is_err(), "{kid}");
        }
        let signed = format!("{}.{}", b64(r#"{"alg":"HS256"}"#), b64(&claims()));
        for bytes in [secret.as_bytes().to_vec(), URL_SAFE_NO_PAD.decode(&secret).unwrap_or_default()] {
            let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &bytes), signed.as_bytes());
            let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag));
            assert!(matches!(check(&ring, &token), Err(TokenError::Signature)));
        }
    }
    for alg in ["none", "None", "nOnE", ""] {
        for kid in ["", r#","kid":"a2""#, r#","kid":"app""#] {
            let bare = format!("{}.{}.", b64(&format!(r#"{{"alg":"{alg}"{kid}}}"#)), b64(&claims()));
            assert!(matches!(check(&ring, &bare), Err(TokenError::Algorithm { .. })), "{alg} {kid}");
        }
    }
}

#[test]
fn of_a_set_only_what_checks_tokens_is_taken() {
    let parse = |value: serde_json::Value| PublicKeys::parse(value.to_string().as_bytes());
    let mut rfc = rfc_set();
    let keys = rfc["keys"].as_array_mut().unwrap();
    keys.push(json!({"kty": "oct", "kid": "secret", "k": A1_KEY}));
    keys.push(json!({"kty": "RSA", "kid": "enc", "use": "enc", "n": A2_N, "e": "AQAB"}));
    keys.push(json!({"kty": "RSA", "kid": "pss", "alg": "PS256", "n": A2_N, "e": "AQAB"}));
    keys.push(json!({"kty": "RSA", "kid": "short", "n": "AQAB", "e": "AQAB"}));
    keys.push(json!({"kty": "RSA", "kid": "signs", "key_ops": ["sign"], "n": A2_N, "e": "AQAB"}));
    keys.push(json!({"kty": "EC", "crv": "P-384", "kid": "p384", "x": "AA", "y": "AA"}));
    // Not on the curve.
    let one = URL_SAFE_NO_PAD.encode([1; 32]);
    keys.push(json!({"kty": "EC", "crv": "P-256", "kid": "off", "x": one, "y": one}));
    keys.push(json!({"kid": "no kind"}));
    keys.push(json!(7));
    let set = parse(rfc).unwrap();
    assert_eq!(set.iter().filter_map(PublicKey::kid).collect::<Vec<_>>(), ["a2", "a3", "a4"]);
    assert_eq!(set.passed_over(), 9);
    let told = set.reasons().join("; ");
    for (kid, why) in [
        ("short", "not of 2048 to 8192 bits"),
        ("signs", "its key_ops have no verify"),
        ("p384", "neither RSA, EC P-256 nor OKP Ed25519"),
        ("off", "no point of P-256"),
        ("no kind", "no JWK"),
    ] {
        assert!(told.contains(&format!("{kid}: {why}")), "{kid}: {told}");
    }
    let many = vec![json!({"kty": "RSA", "n": A2_N, "e": "AQAB"}); JWKS_KEYS_MAX + 5];
    assert_eq!(parse(json!({"keys": many})).unwrap().len(), JWKS_KEYS_MAX);
    assert!(matches!(parse(json!({"keys": []})), Err(KeySetError::NoKey { passed_over: 0, .. })));
    assert!(matches!(parse(json!({"key": 1})), Err(KeySetError::Form(_))));
    let long = " ".repeat(JWKS_MAX + 1);
    assert!(matches!(PublicKeys::parse(long.as_bytes()), Err(KeySetError::TooLong { .. })));
}

#[test]
fn a_token_that_names_no_key_is_tried_with_few() {
    let pairs: Vec<Ed25519KeyPair> =
        (1..=6).map(|seed| Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()).collect();
    let enc = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let jwk = |(n, pair): (usize, &Ed25519KeyPair)| json!({"kty": "OKP", "crv": "Ed25519", "kid": n.to_string(), "x": enc(pair.public_key().as_ref())});
    let keys: Vec<serde_json::Value> = pairs.iter().enumerate().map(jwk).collect();
    let ring = ring(&["app:0123456789abcdef"], set(&json!({"keys": keys})));
    let by = |n: usize, header: &str| {
        let signed = format!("{}.{}", b64(header), b64(&claims()));
        format!("{signed}.{}", enc(pairs[n].sign(signed.as_bytes()).as_ref()))
    };
    for n in 0..4 {
        assert!(check(&ring, &by(n, r#"{"alg":"EdDSA"}"#)).is_ok(), "{n}");
    }
    for n in 4..6 {
        let refused = check(&ring, &by(n, r#"{"alg":"EdDSA"}"#)).unwrap_err();
        assert!(matches!(refused, TokenError::Unnamed { keys: 6 }), "{n}: {refused}");
        assert!(check(&ring, &by(n, &format!(r#"{{"alg":"EdDSA","kid":"{n}"}}"#))).is_ok(), "{n}");
    }
}

#[test]
fn a_token_is_taken_apart_without_being_believed() {
    let token = format!("{}.{}.", b64(r#"{"alg":"none","kid":"x"}"#), b64(r#"{"room":"main","exp":1}"#));
    let seen = peek(&token).unwrap();
    assert_eq!((seen.alg.as_str(), seen.kid.as_deref()), ("none", Some("x")));
    assert_eq!(seen.payload["room"], "main");
    assert!(seen.claims.unwrap_err().to_string().contains("identity"));
    assert_eq!(key_id(&token).as_deref(), Some("x"));
    assert!(peek("no token").is_err() && key_id("no token").is_none());
    assert!(matches!(peek(&"x".repeat(TOKEN_MAX + 1)), Err(TokenError::TooLong { .. })));
}

/// RFC 7519 section 4.1.3.
#[test]
fn another_issuers_token_names_us_where_it_names_anybody() {
    let ed = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let x = URL_SAFE_NO_PAD.encode(ed.public_key().as_ref());
    let public = set(&json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": x}]}));
    let nameless = ring(&["app:0123456789abcdef"], public);
    let named = Keyring { audience: Some("stage".to_owned()), ..nameless.clone() };
    let ours: ApiKey = "app:0123456789abcdef".parse().unwrap();
    let none = serde_json::Value::Null;
    for (aud, by_nameless, by_named) in [
        (None, true, false),
        (Some(json!("stage")), false, true),
        (Some(json!(["other", "stage"])), false, true),
        (Some(json!("other")), false, false),
        (Some(json!("stage2")), false, false),
        (Some(json!(["other"])), false, false),
        (Some(json!([])), false, false),
        (Some(json!([["stage"]])), false, false),
        (Some(json!({"stage": 1})), false, false),
        (Some(none), false, false),
    ] {
        let mut claims: serde_json::Value = serde_json::from_str(&claims()).unwrap();
        if let Some(aud) = &aud {
            claims["aud"] = aud.clone();
        }
        let signed = format!("{}.{}", b64(r#"{"alg":"EdDSA","kid":"ed"}"#), b64(&claims.to_string()));
        let theirs = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(ed.sign(signed.as_bytes())));
        let our_own = sign(&ours, &serde_json::from_value(claims).unwrap());
        for (ring, taken) in [(&nameless, by_nameless), (&named, by_named)] {
            match check(ring, &theirs) {
                Ok(_) => assert!(taken, "{aud:?} {:?}", ring.audience),
                Err(error) => assert!(
                    !taken && matches!(error, TokenError::Audience(_)),
                    "{aud:?} {:?}: {error}",
                    ring.audience
                ),
            }
            assert!(check(ring, &our_own).is_ok(), "an API key's token: {aud:?}");
        }
    }
}
