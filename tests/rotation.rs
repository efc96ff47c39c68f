//! API keys change under a running process, and another issuer's keys come from a URL: in one process, and in a cluster's,
//! of which a node judges tokens itself where clients ask it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::path::Path;
use std::process::Command;
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
use freshet_loadtest::client::ViewerConfig;
use freshet_test_support as support;
use serde_json::{Value, json};

use support::{Answer, Cluster, KEY, Plan, Process, eventually, request, view};

const SOON: Duration = Duration::from_secs(20);
/// One of each, as separate processes.
const PAIR: Plan = Plan { nodes: 1, coordinators: 1, max_sessions: 40 };
const OLD: &str = "old:0123456789abcdef-old";
const NEW: &str = "new:0123456789abcdef-new";

fn claims(identity: &str) -> Value {
    json!({"room": "*", "identity": identity, "grants": ["admin"], "exp": UnixMillis::now().0 / 1000 + 600})
}

fn token(key: &str) -> String {
    let claims: Claims = serde_json::from_value(claims("ops")).unwrap();
    sign(&key.parse::<ApiKey>().unwrap(), &claims)
}

fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A token with this header, whoever signs it.
fn signed_by(header: &Value, identity: &str, by: &dyn Fn(&[u8]) -> Vec<u8>) -> String {
    let part = |value: &Value| base64url(value.to_string().as_bytes());
    let signed = format!("{}.{}", part(header), part(&claims(identity)));
    format!("{signed}.{}", base64url(&by(signed.as_bytes())))
}

/// Another issuer: a key for each algorithm, and where their public halves are.
struct Issuer {
    random: SystemRandom,
    pair: Ed25519KeyPair,
    curve: EcdsaKeyPair,
    rsa: RsaKeyPair,
    url: String,
}

impl Issuer {
    /// Its algorithms, and what the key of each is called.
    const KEYS: [(&str, &str); 3] = [("EdDSA", "theirs"), ("ES256", "curve"), ("RS256", "rsa")];

    async fn start() -> Self {
        let random = SystemRandom::new();
        let pair = Ed25519KeyPair::from_seed_unchecked(&[9; 32]).unwrap();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let curve = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref()).unwrap();
        let rsa = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/jwks.json", listener.local_addr().unwrap());
        let issuer = Self { random, pair, curve, rsa, url };
        let set = issuer.set().to_string();
        let router = axum::Router::new().route("/jwks.json", get(move || async move { set }));
        tokio::spawn(async move { axum::serve(listener, router).await });
        issuer
    }

    fn point(&self) -> &[u8] {
        self.curve.public_key().as_ref()
    }

    /// RSAPublicKey (RFC 8017 appendix A.1.1): a modulus of 256 bytes behind its headers and a zero.
    fn modulus(&self) -> &[u8] {
        &self.rsa.public_key().as_ref()[9..265]
    }

    fn set(&self) -> Value {
        let (enc, point) = (base64url, self.point());
        json!({"keys": [
            {"kty": "OKP", "crv": "Ed25519", "kid": "theirs", "x": enc(self.pair.public_key().as_ref())},
            {"kty": "EC", "crv": "P-256", "kid": "curve", "x": enc(&point[1..33]), "y": enc(&point[33..])},
            {"kty": "RSA", "kid": "rsa", "n": enc(self.modulus()), "e": "AQAB"},
        ]})
    }

    fn signature(&self, alg: &str, signed: &[u8]) -> Vec<u8> {
        match alg {
            "EdDSA" => self.pair.sign(signed).as_ref().to_vec(),
            "ES256" => self.curve.sign(&self.random, signed).unwrap().as_ref().to_vec(),
            "RS256" => {
                let mut signature = vec![0; 256];
                self.rsa.sign(&RSA_PKCS1_SHA256, &self.random, signed, &mut signature).unwrap();
                signature
            }
            other => panic!("it has no key for {other}"),
        }
    }

    /// A token that names this algorithm and key, signed with the key of that algorithm.
    fn token(&self, (alg, kid): (&str, &str), identity: &str, by: &str) -> String {
        let header = json!({"alg": alg, "kid": kid});
        signed_by(&header, identity, &|signed: &[u8]| self.signature(by, signed))
    }
}

/// Where the coordinator and the node of a cluster listen.
fn ports(cluster: &Cluster) -> [String; 2] {
    [cluster.url(0), format!("http://127.0.0.1:{}", cluster.node_ports[0])]
}

/// POSTs an offer: `whip` or `whep`.
async fn join(base: &str, kind: &str, token: &str) -> Answer {
    let (query, offer) = match kind {
        "whip" => ("", include_str!("data/offer-publish.sdp")),
        _ => ("?wait=1", include_str!("data/offer-view.sdp")),
    };
    let offer = offer.replace("\r\n", "\n").replace('\n', "\r\n");
    let headers = [("content-type", "application/sdp")];
    let url = format!("{base}/{kind}/r1{query}");
    request("POST", &url, Some(token), &headers, offer).await.expect("an answer")
}

/// The status of a GET.
async fn looked(url: &str, token: &str) -> u16 {
    request("GET", url, Some(token), &[], "").await.expect("an answer").status
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
async fn a_clusters_keys_rotate_under_a_session_that_goes_on() {
    let cluster = Cluster::start("rotation-cluster", PAIR).await;
    let (file, bases) = (cluster.key_file(), ports(&cluster));
    let (old, new) = (token(KEY), token(NEW));
    // Clients that stay, so that nothing but the rotation could end their sessions.
    let mut viewers = Vec::new();
    for base in &bases {
        let wait = |config: &mut ViewerConfig| config.url.push_str("?wait=1");
        viewers.push((base, view(base, "r1", &old, wait).await));
        assert_eq!(join(base, "whep", &new).await.status, 401, "{base}: not yet");
    }

    replace(&file, &format!("{KEY}\n{NEW}\n"));
    for base in &bases {
        eventually(SOON, "the new key is taken", || async {
            let answer = join(base, "whep", &new).await;
            assert!(matches!(answer.status, 201 | 401), "{base}: {:?}", answer.json());
            (answer.status == 201).then_some(())
        })
        .await;
        assert_eq!(join(base, "whep", &old).await.status, 201, "{base}: the old key is in force as well");
    }

    replace(&file, &format!("{NEW}\n"));
    for (made_at, viewer) in &viewers {
        let path = viewer.resource().url().strip_prefix(made_at.as_str()).expect("a session's URL there");
        for base in &bases {
            let session = format!("{base}{path}");
            eventually(SOON, "the old key is gone", || async {
                let status = looked(&session, &old).await;
                assert!(matches!(status, 204 | 401), "{base}: {status}");
                (status == 401).then_some(())
            })
            .await;
            let refused = join(base, "whep", &old).await;
            assert_eq!((refused.status, &refused.json()["reason"]), (401, &json!("token-invalid")), "{base}");
            // It is the identity's, by whatever key it proves itself.
            assert_eq!(looked(&session, &new).await, 204, "{base}: a session of {made_at} goes on");
            assert_eq!(join(base, "whep", &new).await.status, 201, "{base}");
        }
    }
    for (_, viewer) in viewers {
        viewer.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_issuers_tokens_let_in_at_a_coordinator_and_at_a_nodes_own_port() {
    let issuer = Issuer::start().await;
    let flags = ["--jwks-url".to_owned(), issuer.url.clone()];
    let cluster = Cluster::start_as("rotation-issuer", PAIR, Box::new(move |_: &str| flags.to_vec())).await;
    for (base, at) in ports(&cluster).iter().zip(["coordinator", "node"]) {
        for (alg, kid) in Issuer::KEYS {
            // Its own for each: a publisher takes over what its identity has published.
            let identity = format!("{alg}-{at}");
            let theirs = issuer.token((alg, kid), &identity, alg);
            for kind in ["whip", "whep"] {
                let made = join(base, kind, &theirs).await;
                assert_eq!(made.status, 201, "{at}, {alg}, {kind}: {:?}", made.json());
                let session = format!("{base}{}", made.headers["location"].to_str().unwrap());
                assert_eq!(looked(&session, &theirs).await, 204, "{at}, {alg}, {kind}");
            }
            let other = if alg == "EdDSA" { "ES256" } else { "EdDSA" };
            let forged = join(base, "whep", &issuer.token((alg, kid), &identity, other)).await;
            assert_eq!(forged.status, 401, "{at}: {alg} under another key");
        }
        assert_eq!(join(base, "whep", &token(KEY)).await.status, 201, "{at}: API keys beside it");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_of_another_issuer_are_taken() {
    let issuer = Issuer::start().await;
    let dir = tempfile::tempdir().unwrap();
    let (_process, url) = start(dir.path(), "issuer", &["--jwks-url", &issuer.url]).await;

    for (alg, kid) in [("ES256", "curve"), ("RS256", "rsa")] {
        let theirs = issuer.token((alg, kid), "ops", alg);
        assert_eq!(asked(&url, &theirs).await, (200, String::new()), "{alg}");
        // `freshet token` says the same by the same set.
        let set = dir.path().join("set.json");
        let got = Command::new("curl").args(["--silent", "--fail", &issuer.url]).output().expect("curl runs");
        std::fs::write(&set, got.stdout).unwrap();
        let told = Command::new(support::program())
            .args(["token", "verify", "--jwks", set.to_str().unwrap(), &theirs])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&told.stdout).into_owned();
        assert!(told.status.success(), "{alg}: {said}{}", String::from_utf8_lossy(&told.stderr));
        assert!(said.contains(&format!("right: {alg} key {kid:?} of the JWK set")), "{said}");
        let mixed = issuer.token((alg, kid), "ops", "EdDSA");
        assert_eq!(asked(&url, &mixed).await.0, 401, "{alg} under another key");
    }
    let theirs = issuer.token(("EdDSA", "theirs"), "ops", "EdDSA");
    assert_eq!(asked(&url, &theirs).await, (200, String::new()));
    let (status, why) = asked(&url, &issuer.token(("EdDSA", "unknown"), "ops", "EdDSA")).await;
    assert!(status == 401 && why.contains("unknown"), "{why}");
    assert_eq!(asked(&url, &token("theirs:0123456789abcdef")).await.0, 401, "no secret of that name");
    // Who takes a public key, which everybody has, for a secret (RFC 8725 section 2.1).
    let public: [(&str, &[u8]); 4] = [
        ("theirs", issuer.pair.public_key().as_ref()),
        ("curve", issuer.point()),
        ("rsa", issuer.modulus()),
        ("rsa", issuer.rsa.public_key().as_ref()),
    ];
    for (kid, public) in public {
        let by_public =
            |signed: &[u8]| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, public), signed).as_ref().to_vec();
        let confused = signed_by(&json!({"alg": "HS256", "kid": kid}), "ops", &by_public);
        assert_eq!(asked(&url, &confused).await.0, 401, "{kid} as a secret");
    }
    let unsigned = signed_by(&json!({"alg": "none", "kid": "theirs"}), "ops", &|_| Vec::new());
    assert_eq!(asked(&url, &unsigned).await.0, 401);
}
