//! API keys change under a running process, and another issuer's keys come from a URL.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::path::Path;
use std::time::Duration;

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use freshet_cluster::testing::free_ports;
use freshet_cluster::token::{ApiKey, Claims, sign};
use freshet_cluster::unit::UnixMillis;
use serde_json::json;

use support::{Process, eventually, request};

const SOON: Duration = Duration::from_secs(20);
const OLD: &str = "old:0123456789abcdef-old";
const NEW: &str = "new:0123456789abcdef-new";

fn claims() -> serde_json::Value {
    json!({"room": "*", "identity": "ops", "grants": ["admin"], "exp": UnixMillis::now().0 / 1000 + 600})
}

fn token(key: &str) -> String {
    let claims: Claims = serde_json::from_value(claims()).unwrap();
    sign(&key.parse::<ApiKey>().unwrap(), &claims)
}

/// Puts a text in a file's place, as a mounted secret is changed: all at once.
fn replace(file: &Path, text: &str) {
    let next = file.with_extension("next");
    std::fs::write(&next, text).unwrap();
    std::fs::rename(next, file).unwrap();
}

async fn start(dir: &Path, test: &str, flags: &[&str]) -> (Process, String) {
    let [port] = free_ports::<1>();
    let listen = format!("127.0.0.1:{port}");
    let args: Vec<String> =
        ["dev", "--listen", &listen].iter().chain(flags).map(|flag| (*flag).to_owned()).collect();
    let process = Process::start(dir, test, "dev", &args, &[]);
    let url = format!("http://{listen}");
    eventually(SOON, "dev answers", || async {
        let answer = request("GET", &format!("{url}/readyz"), None, &[], "").await?;
        (answer.status == 200).then_some(())
    })
    .await;
    (process, url)
}

/// What a request with this token is answered: the status, and why not.
async fn asked(url: &str, token: &str) -> (u16, String) {
    let answer = request("GET", &format!("{url}/v1/nodes"), Some(token), &[], "").await.unwrap();
    let detail = answer.json()["detail"].as_str().unwrap_or_default().to_owned();
    (answer.status, detail)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn api_keys_rotate_without_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("keys");
    std::fs::write(&file, format!("{OLD}\n")).unwrap();
    let given = "given:0123456789abcdef-given";
    let path = file.to_str().unwrap();
    let (process, url) = start(dir.path(), "rotation", &["--api-key", given, "--api-key-file", path]).await;
    let (old, new, fixed) = (token(OLD), token(NEW), token(given));
    assert_eq!(asked(&url, &old).await.0, 200);
    let (status, why) = asked(&url, &new).await;
    assert!(status == 401 && why.contains("\"new\"") && !why.contains("0123456789abcdef"), "{why}");

    // Both for a while.
    replace(&file, &format!("{OLD}\n{NEW}\n"));
    eventually(SOON, "the new key is taken", || async { (asked(&url, &new).await.0 == 200).then_some(()) })
        .await;
    assert_eq!((asked(&url, &old).await.0, asked(&url, &fixed).await.0), (200, 200));

    // What holds no key, cannot be read or contradicts itself changes nothing.
    for broken in ["# none\n", "new:short\n", "given:0123456789abcdef-other\n"] {
        replace(&file, broken);
        let before = process.tail().matches("cannot be read anew").count();
        eventually(SOON, "the fault is told", || async {
            (process.tail().matches("cannot be read anew").count() > before).then_some(())
        })
        .await;
        assert_eq!((asked(&url, &old).await.0, asked(&url, &new).await.0), (200, 200), "{broken}");
    }
    // Caught while it is written: the line of the new key would parse, with another secret.
    std::fs::write(&file, format!("{OLD}\n{}", &NEW[..NEW.len() - 2])).unwrap();
    eventually(SOON, "it is taken for half-written", || async {
        process.tail().contains("may be half-written").then_some(())
    })
    .await;
    assert_eq!((asked(&url, &old).await.0, asked(&url, &new).await.0), (200, 200));
    std::fs::remove_file(&file).unwrap();
    eventually(SOON, "the loss is told", || async { process.tail().contains("No such file").then_some(()) })
        .await;
    assert_eq!(asked(&url, &new).await.0, 200);

    // The old one goes; the one of the command line stays.
    std::fs::write(&file, format!("{NEW}\n")).unwrap();
    eventually(SOON, "the old key is gone", || async { (asked(&url, &old).await.0 == 401).then_some(()) })
        .await;
    assert_eq!((asked(&url, &new).await.0, asked(&url, &fixed).await.0), (200, 200));
    assert!(!process.tail().contains("0123456789abcdef"), "no secret is logged");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_of_another_issuer_are_taken() {
    let (random, enc) = (SystemRandom::new(), |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes));
    let pair = Ed25519KeyPair::from_seed_unchecked(&[9; 32]).unwrap();
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    let curve = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref()).unwrap();
    let point = curve.public_key().as_ref();
    let rsa = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    // RSAPublicKey (RFC 8017 appendix A.1.1): a modulus of 256 bytes behind its headers and a zero.
    let modulus = &rsa.public_key().as_ref()[9..265];
    let set = json!({"keys": [
        {"kty": "OKP", "crv": "Ed25519", "kid": "theirs", "x": enc(pair.public_key().as_ref())},
        {"kty": "EC", "crv": "P-256", "kid": "curve", "x": enc(&point[1..33]), "y": enc(&point[33..])},
        {"kty": "RSA", "kid": "rsa", "n": enc(modulus), "e": "AQAB"},
    ]})
    .to_string();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let issuer = format!("http://{}/jwks.json", listener.local_addr().unwrap());
    let router = axum::Router::new().route("/jwks.json", get(move || async move { set }));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let dir = tempfile::tempdir().unwrap();
    let (_process, url) = start(dir.path(), "issuer", &["--jwks-url", &issuer]).await;

    let signed_by = |header: serde_json::Value, by: &dyn Fn(&[u8]) -> Vec<u8>| {
        let part = |value: serde_json::Value| enc(value.to_string().as_bytes());
        let signed = format!("{}.{}", part(header), part(claims()));
        format!("{signed}.{}", enc(&by(signed.as_bytes())))
    };
    let by_pair = |signed: &[u8]| pair.sign(signed).as_ref().to_vec();
    let by_curve = |signed: &[u8]| curve.sign(&random, signed).unwrap().as_ref().to_vec();
    let by_rsa = |signed: &[u8]| {
        let mut signature = vec![0; 256];
        rsa.sign(&RSA_PKCS1_SHA256, &random, signed, &mut signature).unwrap();
        signature
    };
    let signed_with = |header| signed_by(header, &by_pair);
    let others = [("ES256", "curve", &by_curve as &dyn Fn(&[u8]) -> Vec<u8>), ("RS256", "rsa", &by_rsa)];
    for (alg, kid, by) in others {
        let theirs = signed_by(json!({"alg": alg, "kid": kid}), by);
        assert_eq!(asked(&url, &theirs).await, (200, String::new()), "{alg}");
        let mixed = signed_by(json!({"alg": alg, "kid": kid}), &by_pair);
        assert_eq!(asked(&url, &mixed).await.0, 401, "{alg} under another key");
    }
    let theirs = signed_with(json!({"alg": "EdDSA", "kid": "theirs"}));
    assert_eq!(asked(&url, &theirs).await, (200, String::new()));
    let (status, why) = asked(&url, &signed_with(json!({"alg": "EdDSA", "kid": "unknown"}))).await;
    assert!(status == 401 && why.contains("unknown"), "{why}");
    assert_eq!(asked(&url, &token("theirs:0123456789abcdef")).await.0, 401, "no secret of that name");
    // Who takes a public key, which everybody has, for a secret (RFC 8725 section 2.1).
    let public: [(&str, &[u8]); 4] = [
        ("theirs", pair.public_key().as_ref()),
        ("curve", point),
        ("rsa", modulus),
        ("rsa", rsa.public_key().as_ref()),
    ];
    for (kid, public) in public {
        let by_public =
            |signed: &[u8]| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, public), signed).as_ref().to_vec();
        let confused = signed_by(json!({"alg": "HS256", "kid": kid}), &by_public);
        assert_eq!(asked(&url, &confused).await.0, 401, "{kid} as a secret");
    }
    let unsigned = signed_by(json!({"alg": "none", "kid": "theirs"}), &|_| Vec::new());
    assert_eq!(asked(&url, &unsigned).await.0, 401);
}
