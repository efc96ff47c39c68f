//! The command line as users meet it: the built program, its output and its exit codes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::path::PathBuf;
use std::process::{Command, Output};

use freshet_cluster::secret::Secret;
use freshet_cluster::token::{ApiKey, ApiKeys, Grant, verify};
use freshet_cluster::unit::UnixMillis;

const SECRET: &str = "s3cr3t-0123456789abcdef";

struct Shell {
    dir: tempfile::TempDir,
}

impl Shell {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path: PathBuf = self.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn run(&self, args: &[&str], env: &[(&str, &str)]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_freshet"))
            .args(args)
            .env_clear()
            .envs(env.iter().copied())
            .current_dir(self.dir.path())
            .output()
            .unwrap()
    }

    /// Standard output of a run that must succeed.
    fn ok(&self, args: &[&str], env: &[(&str, &str)]) -> String {
        let output = self.run(args, env);
        assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// Standard error of a run that must fail with this code.
    fn fails(&self, code: i32, args: &[&str], env: &[(&str, &str)]) -> String {
        let output = self.run(args, env);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", text(&output.stdout));
        text(&output.stderr)
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn help_teaches_every_command() {
    let shell = Shell::new();
    let top = shell.ok(&["--help"], &[]);
    for word in ["dev", "node", "coordinator", "token", "config", "Examples:", "FRESHET_UDP_PORT"] {
        assert!(top.contains(word), "{word} is missing in:\n{top}");
    }
    for command in ["dev", "node", "coordinator", "token", "config"] {
        let help = shell.ok(&[command, "--help"], &[]);
        assert!(help.contains("Examples:"), "{help}");
    }
    let node = shell.ok(&["node", "--help"], &[]);
    for word in ["--udp-port", "7700", "FRESHET_CLUSTER_SECRET_FILE", "SIGTERM"] {
        assert!(node.contains(word), "{word} is missing in:\n{node}");
    }
    assert!(shell.ok(&["--version"], &[]).starts_with("freshet 0."));
    let wrong = shell.fails(2, &["node", "--udp-prot", "1"], &[]);
    assert!(wrong.contains("--udp-port"), "the nearest flag is named: {wrong}");
}

#[test]
fn every_documented_setting_exists_and_every_setting_is_documented() {
    let page = include_str!("../docs/config.md");
    for setting in freshet::config::settings::SETTINGS {
        assert!(
            page.contains(&format!("| `{}` ", setting.key)),
            "docs/config.md does not explain {}",
            setting.key
        );
    }
    for line in page.lines().filter(|l| l.starts_with("| `")) {
        let key = line.split('`').nth(1).unwrap();
        assert!(
            freshet::config::settings::find(key).is_some(),
            "docs/config.md explains {key}, which is no setting"
        );
    }
}

#[test]
fn the_configuration_in_force_is_printed_with_its_origins() {
    let shell = Shell::new();
    let file =
        shell.file("f.toml", "region = 'file'\nzone = 'file'\n[node]\nudp-port = 7900\nmax-egress = '2G'\n");
    let keys = shell.file("keys", &format!("app:{SECRET}\n"));
    let secret = shell.file("secret", SECRET);
    let printed = shell.ok(
        &[
            "config",
            "node",
            "--config",
            &file,
            "--region",
            "flag",
            "--ip",
            "192.0.2.1",
            "--api-key-file",
            &keys,
        ],
        &[("FRESHET_REGION", "env"), ("FRESHET_UDP_PORT", "7800"), ("FRESHET_CLUSTER_SECRET_FILE", &secret)],
    );
    for line in [
        "region = \"flag\" # from flag",
        "udp-port = 7800 # from environment FRESHET_UDP_PORT",
        &format!("zone = \"file\" # from file {file}"),
        &format!("max-egress = \"2G\" # from file {file}"),
        "relay = \"0.0.0.0:7600\" # default",
        "# public-url is not set",
    ] {
        assert!(printed.contains(line), "{line} is missing in:\n{printed}");
    }
    let _: toml::Table = printed.parse().expect("what is printed is TOML");
    let again = shell.ok(&["config", "node"], &[("FRESHET_CONFIG", &shell.file("again.toml", &printed))]);
    assert!(again.contains("region = \"flag\" # from file"), "{again}");
}

#[test]
fn an_unknown_key_is_named_with_the_nearest_known_one() {
    let shell = Shell::new();
    let file = shell.file("f.toml", "udp_port = 1\n");
    let error = shell.fails(1, &["node", "--config", &file], &[]);
    assert!(
        error.contains("udp_port") && error.contains("\"udp-port\"") && error.contains("f.toml"),
        "{error}"
    );
    let missing = shell.fails(1, &["config", "--config", "nowhere.toml"], &[]);
    assert!(missing.contains("nowhere.toml"), "{missing}");
}

#[test]
fn secrets_are_masked_wherever_they_come_from() {
    let shell = Shell::new();
    let key = format!("app:{SECRET}");
    let nats = format!("nats://joe:{SECRET}@127.0.0.1:4222");
    let file = shell.file("f.toml", &format!("turn-secret = '{SECRET}'\n"));
    for (args, env) in [
        (vec!["--api-key", &key, "--cluster-secret", SECRET, "--nats", &nats], vec![]),
        (
            vec![],
            vec![("FRESHET_API_KEY", &*key), ("FRESHET_CLUSTER_SECRET", SECRET), ("FRESHET_NATS", &*nats)],
        ),
    ] {
        let args: Vec<&str> = ["config", "coordinator", "--config", &file].into_iter().chain(args).collect();
        let output = shell.run(&args, &env);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let all = text(&output.stdout) + &text(&output.stderr);
        assert!(!all.contains(SECRET), "{all}");
        for line in [
            "api-key = [\"app:********\"]",
            "cluster-secret = \"********\"",
            "turn-secret = \"********\"",
            "joe:********@",
        ] {
            assert!(all.contains(line), "{line} is missing in:\n{all}");
        }
    }
    // Nor does an error show one.
    let wrong = shell.fails(1, &["config", "--api-key", SECRET], &[]);
    assert!(wrong.contains("ID:SECRET") && !wrong.contains(SECRET), "{wrong}");
}

#[test]
fn a_cluster_is_closed_unless_it_is_told_to_be_open() {
    let shell = Shell::new();
    for role in ["node", "coordinator"] {
        let error = shell.fails(1, &[role, "--cluster-secret", SECRET, "--listen", "127.0.0.1:0"], &[]);
        assert!(error.contains("api-key-file") && error.contains("--open"), "{error}");
        let error = shell.fails(1, &[role, "--open", "--listen", "127.0.0.1:0"], &[]);
        assert!(error.contains("cluster-secret-file"), "{error}");
    }
    let dev = shell.ok(&["config", "dev"], &[]);
    assert!(dev.contains("open = true # default") && dev.contains("ip = [\"127.0.0.1\"] # default"), "{dev}");
    let keyed = shell.ok(&["config", "dev"], &[("FRESHET_API_KEY", &format!("app:{SECRET}"))]);
    assert!(keyed.contains("open = false # default"), "{keyed}");
    let refused = shell.fails(1, &["config", "coordinator"], &[]);
    assert!(refused.contains("cluster-secret-file") || refused.contains("api-key-file"), "{refused}");
}

#[test]
fn a_minted_token_is_valid_and_says_what_was_asked() {
    let shell = Shell::new();
    let keys = shell.file("keys", &format!("# ours\nfirst:{SECRET}\nsecond:{SECRET}-2\n"));
    let accepted = ApiKeys::new([ApiKey::new("first", Secret::new(SECRET)).unwrap()]).unwrap();
    let args = ["token", "--room", "stage", "--identity", "Ann Λ", "--grant", "publish,chat", "--ttl", "10m"];
    let with_file: Vec<&str> =
        args.iter().copied().chain(["--api-key-file", &keys, "--stream", "cam-2"]).collect();
    let printed = shell.ok(&with_file, &[]);
    assert_eq!(printed.lines().count(), 1, "the token alone");
    let now = UnixMillis::now();
    let claims = verify(&accepted, printed.trim(), now).unwrap();
    assert_eq!((claims.room.as_str(), claims.identity.as_str()), ("stage", "Ann Λ"));
    assert_eq!(claims.grants.iter().collect::<Vec<_>>(), [Grant::Publish, Grant::Chat]);
    assert_eq!(claims.streams, ["cam-2"]);
    assert!(claims.exp.abs_diff(now.0 / 1000 + 600) <= 2);
    let by_env = shell.ok(&args, &[("FRESHET_API_KEY", &format!("first:{SECRET}"))]);
    verify(&accepted, by_env.trim(), now).unwrap();

    let env = [("FRESHET_API_KEY_FILE", keys.as_str())];
    for (extra, advice) in [
        (["--ttl", "25h"], "24h"),
        (["--ttl", "10"], "10s"),
        (["--room", "a/b"], "A-Z"),
        (["--grant", "fly"], "subscribe"),
        (["--stream", "a b"], "A-Z"),
    ] {
        let name = extra[0];
        let mut args: Vec<&str> = vec!["token"];
        for pair in [["--room", "r"], ["--identity", "i"]] {
            if pair[0] != name {
                args.extend(pair);
            }
        }
        args.extend(extra);
        let error = shell.fails(1, &args, &env);
        assert!(error.contains(name) && error.contains(advice), "{error}");
    }
    let keyless = shell.fails(1, &args, &[]);
    assert!(keyless.contains("FRESHET_API_KEY"), "{keyless}");
}
