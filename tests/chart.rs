//! The chart and the operator's page against the program: every variable and flag that they name is a setting, and a
//! process accepts the environment that the chart gives it. Rendering and schemas are checked by `scripts/chart.sh`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeSet;
use std::process::Command;

use base64::Engine as _;
use freshet::config::settings::{self, Role, SETTINGS};

const HELPERS: &str = include_str!("../helm/freshet/templates/_helpers.tpl");
const NODE: &str = include_str!("../helm/freshet/templates/node-statefulset.yaml");
const COORDINATOR: &str = include_str!("../helm/freshet/templates/coordinator-deployment.yaml");
const VALUES: &str = include_str!("../helm/freshet/values.yaml");
const OPERATE: &str = include_str!("../docs/operate.md");

/// `FRESHET_…` names in a text.
fn variables(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_uppercase() || c == '_'));
    words.filter(|word| word.starts_with("FRESHET_")).map(str::to_owned).collect()
}

fn known_to(role: Role) -> BTreeSet<String> {
    settings::of(role).map(settings::Setting::env).chain(["FRESHET_CONFIG".to_owned()]).collect()
}

#[test]
fn every_variable_of_the_chart_is_a_setting_of_its_role() {
    for (role, text) in [(Role::Node, NODE), (Role::Coordinator, COORDINATOR)] {
        let used: BTreeSet<_> = variables(HELPERS).union(&variables(text)).cloned().collect();
        assert!(used.len() > 8, "{role}: {used:?}");
        let known = known_to(role);
        let unknown: Vec<_> = used.difference(&known).collect();
        assert!(unknown.is_empty(), "{role}: {unknown:?}");
    }
}

#[test]
fn every_flag_of_the_operators_page_is_a_setting() {
    let known: BTreeSet<&str> = SETTINGS.iter().map(|s| s.key).collect();
    // Of `freshet token`, of the commands themselves, and of other programs on the page.
    let others = [
        "config",
        "room",
        "identity",
        "jwks",
        "grant",
        "ttl",
        "jetstream",
        "store_dir",
        "addr",
        "advertise-client-urls",
        "data-dir",
        "dupe-window",
        "max-age",
        "max-bytes",
        "listen-client-urls",
        "listening-ip",
        "locked",
        "log-file",
        "no-cli",
        "realm",
        "release",
        "static-auth-secret",
        "use-auth-secret",
    ];
    let words = OPERATE.split(|c: char| !(c.is_ascii_lowercase() || c == '-' || c == '_'));
    let flags: BTreeSet<&str> = words
        .filter_map(|word| word.strip_prefix("--"))
        .filter(|f| f.starts_with(char::is_alphabetic))
        .collect();
    assert!(flags.len() > 20, "{flags:?}");
    let unknown: Vec<_> = flags.into_iter().filter(|f| !known.contains(f) && !others.contains(f)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    let strange: Vec<_> = variables(OPERATE)
        .into_iter()
        .filter(|v| v != "FRESHET_CONFIG" && v != "FRESHET_CHAT" && !SETTINGS.iter().any(|s| s.env() == *v))
        .collect();
    assert!(strange.is_empty(), "{strange:?}");
}

#[test]
fn the_charts_ports_are_the_programs_defaults() {
    let value = |key: &str| {
        let line = VALUES.lines().find(|line| line.trim_start().starts_with(&format!("{key}: "))).unwrap();
        line.rsplit(' ').next().unwrap().to_owned()
    };
    let default = |key: &str| settings::find(key).unwrap().default_in(Role::Node).unwrap().to_owned();
    assert_eq!(value("udpPort"), default("udp-port"));
    assert_eq!(format!("0.0.0.0:{}", value("relayPort")), default("relay"));
    assert_eq!(format!("0.0.0.0:{}", value("httpPort")), default("listen"));
    assert_eq!(format!("{}s", value("drainTimeoutSeconds")), default("drain-timeout"));
}

/// A certificate that is its own authority, and its key, as PEM.
fn certified() -> [String; 2] {
    let made = rcgen::generate_simple_self_signed(vec!["freshet-relay".to_owned()]).unwrap();
    let pem = |what: &str, der: &[u8]| {
        let text = base64::engine::general_purpose::STANDARD.encode(der);
        format!("-----BEGIN {what}-----\n{text}\n-----END {what}-----\n")
    };
    [pem("CERTIFICATE", made.cert.der()), pem("PRIVATE KEY", &made.signing_key.serialize_der())]
}

/// What a pod gets, with the chart's defaults and the downward API filled in.
fn pod_environment(role: Role, folder: &std::path::Path) -> Vec<(&'static str, String)> {
    let file = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let [cert, key] = certified();
    let mut env = vec![
        ("FRESHET_LOG", "json".to_owned()),
        ("FRESHET_LOG_LEVEL", "info".to_owned()),
        ("FRESHET_CONFIG", file("freshet.toml", "# Everything is set by the environment.\n")),
        ("FRESHET_API_KEY_FILE", file("api-keys", "freshet:0123456789abcdefghijklmnopqrstuvwxyzABCD")),
        (
            "FRESHET_CLUSTER_SECRET_FILE",
            file("cluster-secret", "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKL"),
        ),
        ("FRESHET_ETCD", "http://etcd-0:2379,http://etcd-1:2379".to_owned()),
        ("FRESHET_NATS", "nats://nats:4222".to_owned()),
        ("FRESHET_TRUSTED_PROXY", "10.244.0.0/16,2001:db8::7".to_owned()),
        ("FRESHET_ID", "live-freshet-node-0".to_owned()),
        ("FRESHET_DRAIN_TIMEOUT", "60s".to_owned()),
    ];
    if role == Role::Node {
        env.extend([
            ("FRESHET_LISTEN", "0.0.0.0:8443".to_owned()),
            ("FRESHET_LISTEN_PLAIN", "0.0.0.0:8080".to_owned()),
            ("FRESHET_TLS_CERT", file("node.crt", &cert)),
            ("FRESHET_TLS_KEY", file("node.key", &key)),
            ("FRESHET_HTTP_ADVERTISE", "http://10.1.2.3:8080".to_owned()),
            ("FRESHET_RELAY", "0.0.0.0:7600".to_owned()),
            ("FRESHET_RELAY_ADVERTISE", "10.1.2.3:7600".to_owned()),
            ("FRESHET_RELAY_CA", file("ca.crt", &cert)),
            ("FRESHET_RELAY_CERT", file("tls.crt", &cert)),
            ("FRESHET_RELAY_KEY", file("tls.key", &key)),
            ("FRESHET_UDP_PORT", "7700".to_owned()),
            ("FRESHET_SHARDS", "1".to_owned()),
            ("FRESHET_IP", "192.0.2.10,2001:db8::10".to_owned()),
            ("FRESHET_CANDIDATE", "203.0.113.7:30700,[2001:db8::7]:30700=10.1.2.3".to_owned()),
            ("FRESHET_UDP_BIND", "::,10.1.2.3".to_owned()),
        ]);
    } else {
        env.extend([
            ("FRESHET_LISTEN", "0.0.0.0:8080".to_owned()),
            ("FRESHET_TLS_CERT", file("tls.crt", &cert)),
            ("FRESHET_TLS_KEY", file("tls.key", &key)),
        ]);
    }
    env
}

#[test]
fn a_process_accepts_the_environment_that_the_chart_gives_it() {
    for role in [Role::Node, Role::Coordinator] {
        let folder = tempfile::tempdir().unwrap();
        let env = pod_environment(role, folder.path());
        let output = Command::new(env!("CARGO_BIN_EXE_freshet"))
            .args(["config", role.as_str()])
            .env_clear()
            .envs(env.iter().cloned())
            .output()
            .unwrap();
        let printed = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{role}: {}", String::from_utf8_lossy(&output.stderr));
        for (name, _) in env.iter().filter(|(name, _)| *name != "FRESHET_CONFIG") {
            assert!(
                printed.contains(&format!("# from environment {name}\n")),
                "{role}: {name} is not in force in\n{printed}"
            );
        }
        assert!(!printed.contains("0123456789abcdef"), "{role}: a secret is shown");
    }
}
