//! The command line as users meet it: the built program, its output and its exit codes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::path::PathBuf;
use std::process::{Command, Output};

use freshet_cluster::secret::Secret;
use freshet_cluster::token::{ApiKey, ApiKeys, Grant, Keyring, verify};
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

/// Keys named in a page's tables: `| `key` …` in docs/config.md, `| `--key`, `-suffix` …` in docs/operate.md.
fn flags_of_the_table(page: &str) -> Vec<String> {
    let mut keys = Vec::new();
    for row in page.lines().filter(|line| line.starts_with("| `--")) {
        let cell = row.split('|').nth(1).unwrap();
        let mut stem = String::new();
        for name in cell.split('`').skip(1).step_by(2) {
            let name = name.split(' ').next().unwrap();
            if let Some(key) = name.strip_prefix("--") {
                stem = key.split('-').next().unwrap().to_owned();
                keys.push(key.to_owned());
            } else {
                keys.push(format!("{stem}{name}"));
            }
        }
    }
    keys
}

#[test]
fn the_operators_table_the_help_and_the_reference_have_the_same_settings() {
    let shell = Shell::new();
    let operate = include_str!("../docs/operate.md");
    assert!(operate.contains("(config.md)"), "docs/operate.md links docs/config.md");
    let reference = include_str!("../docs/config.md");
    let table = flags_of_the_table(operate);
    let mut helped = std::collections::BTreeSet::new();
    for role in ["dev", "node", "coordinator"] {
        let help = shell.ok(&[role, "--help"], &[]);
        let flags = help.lines().filter_map(|line| line.strip_prefix("      --"));
        let keys = flags.filter_map(|rest| rest.split([' ', '[', '=']).next().map(str::to_owned));
        helped.extend(keys.filter(|key| !key.is_empty() && key != "config" && key != "help"));
    }
    assert!(helped.len() > 40, "{helped:?}");
    for key in &helped {
        assert!(reference.contains(&format!("| `{key}` ")), "docs/config.md does not explain --{key}");
        assert!(table.contains(key), "the table of docs/operate.md lacks --{key}: it has {table:?}");
    }
    for key in &table {
        assert!(helped.contains(key), "the table of docs/operate.md has --{key}, which no help names");
    }
}

#[test]
fn a_port_in_use_is_told_once_with_what_to_do() {
    let shell = Shell::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let error = shell.fails(1, &["dev", "--listen", &address], &[]);
    let lines: Vec<_> = error.lines().filter(|line| line.starts_with("freshet: ")).collect();
    assert_eq!(lines.len(), 1, "{error}");
    assert_eq!(lines[0].matches("in use").count(), 1, "{error}");
    assert!(lines[0].contains(&address) && lines[0].contains("--listen"), "{error}");
}

#[test]
fn an_address_of_another_machine_is_told_as_what_it_is() {
    let shell = Shell::new();
    // RFC 5737: nobody's own.
    let elsewhere = "192.0.2.1:0";
    let near = "127.0.0.1:0";
    let node = |listen, relay, bind| {
        let places = ["--listen", listen, "--relay", relay, "--udp-bind", bind, "--udp-port", "0"];
        [&["node", "--open", "--cluster-secret", SECRET][..], &places].concat()
    };
    for (args, setting) in [
        (vec!["dev", "--listen", elsewhere], "--listen"),
        (node(elsewhere, near, "127.0.0.1"), "--listen"),
        (node(near, elsewhere, "127.0.0.1"), "--relay"),
        (node(near, near, "192.0.2.1"), "--udp-bind"),
    ] {
        let error = shell.fails(1, &args, &[]);
        let line = error.lines().find(|line| line.starts_with("freshet: ")).expect("why it does not start");
        let right = format!("not one of this machine: name one that it has in {setting}");
        assert!(line.contains(&right) && !line.contains("stop who holds it"), "{args:?}: {error}");
    }
}

#[test]
fn relay_certificates_are_three_readable_files_or_none() {
    let shell = Shell::new();
    let file = shell.file("there.pem", "not PEM");
    let base = ["--open", "--cluster-secret", SECRET, "--listen", "127.0.0.1:0", "--relay", "127.0.0.1:0"];
    let files = [["--relay-ca", file.as_str()], ["--relay-cert", &file], ["--relay-key", &file]];
    let run = |command: &[&str], more: &[&str]| {
        let args: Vec<&str> = command.iter().chain(&base).chain(more).copied().collect();
        shell.fails(1, &args, &[])
    };
    for given in 1..7_usize {
        let chosen: Vec<&str> =
            (0..3).filter(|bit| given & (1 << bit) != 0).flat_map(|bit| files[bit]).collect();
        let error = run(&["config", "node"], &chosen);
        let missing =
            (0..3).filter(|bit| given & (1 << bit) == 0).map(|bit| files[bit][0].trim_start_matches('-'));
        let missing = format!("without {}:", missing.collect::<Vec<_>>().join(" and "));
        assert!(error.contains(&missing) && error.contains("all three"), "{chosen:?}: {error}");
    }
    for bad in 0..3 {
        let mut given = files;
        given[bad][1] = "nowhere.pem";
        let error = run(&["config", "node"], given.as_flattened());
        let key = given[bad][0].trim_start_matches('-');
        assert!(error.contains(key) && error.contains("cannot read nowhere.pem"), "{error}");
    }
    // What is in them is judged when the relay starts, and by name.
    let error = run(&["node"], files.as_flattened());
    assert!(error.contains("there.pem") && error.contains("PEM"), "{error}");
    assert!(!error.contains("choose another --relay"), "the address is not what is wrong: {error}");
    // A coordinator has no relay.
    let wrong = shell.fails(2, &["coordinator", "--relay-ca", &file], &[]);
    assert!(wrong.contains("--relay-ca"), "{wrong}");
}

#[test]
fn what_config_shows_as_fine_would_start() {
    let shell = Shell::new();
    let file = shell.file("there.pem", "not PEM");
    let cluster = ["--open", "--cluster-secret", SECRET, "--listen", "127.0.0.1:0"];
    for (role, flags, said) in [
        ("node", vec!["--etcd", "https://127.0.0.1:1", "--etcd-cert", &file], "etcd-key"),
        ("coordinator", vec!["--etcd", "https://127.0.0.1:1", "--etcd-ca", "gone"], "cannot read gone"),
        ("coordinator", vec!["--nats-key", &file], "nats-cert"),
        ("coordinator", vec!["--nats-ca", &file], "there.pem"),
        ("coordinator", vec!["--nats-creds", &file], "there.pem"),
        ("coordinator", vec!["--etcd", ","], "needs etcd"),
        ("dev", vec!["--udp-port", "65535", "--nodes", "3"], "65533"),
        ("dev", vec!["--udp-port", "65535", "--shards", "2"], "65534"),
        ("dev", vec!["--batch", "-1ms"], "is not a time"),
        ("dev", vec!["--batch", "11ms"], "0 to 10ms"),
        ("dev", vec!["--log-level", "loud"], "warning"),
    ] {
        let base: &[&str] = if role == "dev" { &["--listen", "127.0.0.1:0"] } else { &cluster };
        let args: Vec<&str> = [role].into_iter().chain(base.iter().copied()).chain(flags).collect();
        let started = shell.fails(1, &args, &[]);
        let shown = shell.fails(1, &[&["config"], &args[..]].concat(), &[]);
        assert_eq!(started, shown, "both say the same");
        assert!(started.contains(said), "{said} is missing in: {started}");
    }
}

#[test]
fn a_reader_that_goes_early_is_no_error() {
    let shell = Shell::new();
    let key = format!("app:{SECRET}");
    for args in
        [&["config"][..], &["--help"], &["token", "--room", "r", "--identity", "i", "--api-key", &key]]
    {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = Command::new(env!("CARGO_BIN_EXE_freshet"))
            .args(args)
            .env_clear()
            .current_dir(shell.dir.path())
            .stdout(writer)
            .output()
            .unwrap();
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()), "{args:?}");
    }
}

#[test]
fn a_wrong_variable_is_told_and_not_passed_over() {
    use std::os::unix::ffi::OsStrExt as _;
    let shell = Shell::new();
    for (name, args) in [
        ("FRESHET_REGION", &["config"][..]),
        ("FRESHET_CONFIG", &["config"]),
        ("FRESHET_API_KEY", &["token", "--room", "r", "--identity", "i"]),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_freshet"))
            .args(args)
            .env_clear()
            .env(name, std::ffi::OsStr::from_bytes(b"\xff\xfe"))
            .current_dir(shell.dir.path())
            .output()
            .unwrap();
        let said = text(&output.stderr);
        assert!(output.status.code() == Some(1) && said.contains(name) && said.contains("UTF-8"), "{said}");
    }
    let near = shell.run(&["config"], &[("FRESHET_UDPPORT", "1"), ("FRESHET_SERVICE_HOST", "10.0.0.1")]);
    let said = text(&near.stderr);
    assert!(near.status.success() && said.contains("FRESHET_UDP_PORT?"), "{said}");
    assert!(!said.contains("SERVICE_HOST"), "Kubernetes makes such: {said}");
    let rust_log = shell.ok(&["config"], &[("RUST_LOG", "hyper=debug")]);
    assert!(rust_log.contains("log-level = \"hyper=debug\" # from environment RUST_LOG"), "{rust_log}");
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
    let keys = ["etcd", "nats", "public-url", "http-advertise", "api-key", "cluster-secret", "turn-secret"];
    let shapes = [
        format!("http://joe:{SECRET}@127.0.0.1:2379"),
        format!("joe:{SECRET}@127.0.0.1:2379"),
        format!("gopher://joe:{SECRET}@h?q#f"),
    ];
    for (key, shape) in keys.iter().flat_map(|key| shapes.iter().map(move |shape| (key, shape))) {
        let name = format!("FRESHET_{}", key.replace('-', "_").to_uppercase());
        let file = shell.file("wrong.toml", &format!("{key} = '{shape}'\n"));
        for (args, env) in [
            (vec![format!("--{key}"), shape.clone()], vec![]),
            (vec![], vec![(name.as_str(), shape.as_str())]),
            (vec!["--config".to_owned(), file], vec![]),
        ] {
            let args: Vec<&str> =
                ["config", "node"].into_iter().chain(args.iter().map(String::as_str)).collect();
            let output = shell.run(&args, &env);
            let all = text(&output.stdout) + &text(&output.stderr);
            assert!(!all.contains(SECRET), "{args:?} {env:?}: {all}");
        }
    }
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
    let accepted = Keyring::from(accepted);
    let claims = verify(&accepted, printed.trim(), now).unwrap();
    assert_eq!((claims.room.as_str(), claims.identity.as_str()), ("stage", "Ann Λ"));
    assert_eq!(claims.grants.iter().collect::<Vec<_>>(), [Grant::Publish, Grant::Chat]);
    assert_eq!(claims.streams, ["cam-2"]);
    assert!(claims.exp.abs_diff(now.0 / 1000 + 600) <= 2);
    let by_env = shell.ok(&args, &[("FRESHET_API_KEY", &format!("first:{SECRET}"))]);
    verify(&accepted, by_env.trim(), now).unwrap();
    // The file that was named, not what the shell happens to have.
    let both = shell.ok(&with_file, &[("FRESHET_API_KEY", "shells:another-secret-0123")]);
    verify(&accepted, both.trim(), now).unwrap();

    let env = [("FRESHET_API_KEY_FILE", keys.as_str())];
    let long = "x".repeat(129);
    for (extra, advice) in [
        (["--ttl", "25h"], "24h"),
        (["--ttl", "10"], "10s"),
        (["--ttl", "-5m"], "10s"),
        (["--room", "a/b"], "A-Z"),
        (["--room", ""], "empty"),
        (["--identity", "a\nb"], "any script"),
        (["--identity", ""], "1 to 128"),
        (["--identity", &long], "at most 128"),
        (["--identity", "~guest"], "begin with ~"),
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
        assert!(error.contains(name) && error.contains(advice) && error.len() < 200, "{error}");
    }
    let keyless = shell.fails(1, &args, &[]);
    assert!(keyless.contains("FRESHET_API_KEY"), "{keyless}");
}

#[test]
fn a_token_is_explained_without_a_key_and_verified_with_one() {
    let shell = Shell::new();
    let keys = shell.file("keys", &format!("old:{SECRET}-1\nnew:{SECRET}-2\n"));
    let mint = |key: &str, ttl: &str| {
        let key = format!("{key}:{SECRET}-{}", if key == "old" { 1 } else { 2 });
        let args =
            ["token", "--room", "stage", "--identity", "Ann Λ", "--grant", "publish,chat", "--ttl", ttl];
        shell.ok(&args, &[("FRESHET_API_KEY", &key)]).trim().to_owned()
    };
    let (one, two) = (mint("old", "10m"), mint("new", "10m"));
    let told = shell.ok(&["token", "explain", &one], &[]);
    for words in ["\"HS256\", key \"old\"", "stage", "\"Ann Λ\"", "publish, chat", "UTC, in ", "not checked"]
    {
        assert!(told.contains(words), "{words} is missing in:\n{told}");
    }
    for (token, id) in [(&one, "old"), (&two, "new")] {
        let told = shell.ok(&["token", "verify", "--api-key-file", &keys, token], &[]);
        assert!(
            told.contains(&format!("right: API key \"{id}\"")) && told.contains("valid now  yes"),
            "{told}"
        );
    }
    // From standard input, as a header has it.
    let file = shell.file("token", &format!("Bearer {one}\n"));
    let run = Command::new(env!("CARGO_BIN_EXE_freshet"))
        .args(["token", "verify", "--api-key-file", &keys, "-"])
        .env_clear()
        .stdin(std::fs::File::open(file).unwrap())
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", text(&run.stderr));

    let no = |args: &[&str], why: &str| {
        let output = shell.run(args, &[]);
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        let told = text(&output.stdout) + &text(&output.stderr);
        assert!(told.contains(why), "{why} is missing in:\n{told}");
    };
    no(&["token", "verify", &one], "--api-key-file");
    no(&["token", "verify", "--api-key", "old:another-secret-0123", &one], "wrong signature");
    no(&["token", "verify", "--api-key", "other:another-secret-0123", &one], "does not have");
    no(&["token", "verify", "--token-life-max", "5m", "--api-key-file", &keys, &one], "at most 300 s");
    no(&["token", "explain", "no token"], "not a JWT");
    no(&["token", "explain", &"x".repeat(5000)], "at most 4096");
    no(&["token", "verify", "--jwks", "gone.json", &one], "cannot read gone.json");
    let set = shell.file(
        "set.json",
        r#"{"keys": [{"kty": "oct", "kid": "old", "k": "AA"}, {"kty": "OKP", "crv": "Ed25519", "kid": "new",
            "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#,
    );
    no(&["token", "verify", "--jwks", &set, &one], "1 passed over: old: neither RSA");
    no(&["token", "verify", "--jwks", "/dev/zero", &one], "more than 1048576 bytes");
    let gone = "eyJhbGciOiJub25lIn0.eyJyb29tIjoiciIsImlkZW50aXR5IjoiYSIsImV4cCI6MTMwMDgxOTM4MH0.";
    let told = shell.ok(&["token", "explain", gone], &[]);
    assert!(told.contains("2011-03-22 18:43:00 UTC") && told.contains("; token expired"), "{told}");
    no(&["token", "verify", "--api-key-file", &keys, gone], "\"none\"");
    // In time, and still never taken; with the characters of a terminal's commands in it, as JSON writes them or not.
    let part = |json: &str| base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, json);
    let exp = freshet_cluster::unit::UnixMillis::now().0 / 1000 + 600;
    let payload = format!(
        "{{\"room\":\"r\",\"identity\":\"a\",\"exp\":{exp},\"title\":\"\\u001b[2J\u{9b}31m\\u202e\"}}"
    );
    for (header, why) in [
        ("{\"alg\":\"none\"}", "no: the algorithm \"none\" is never taken"),
        ("{\"alg\":\"HS512\"}", "\"HS512\" is never taken"),
        ("{\"alg\":\"HS256\",\"crit\":[\"b64\"]}", "no: its header has crit"),
    ] {
        let told = shell.ok(&["token", "explain", &format!("{}.{}.", part(header), part(&payload))], &[]);
        assert!(told.contains(why) && !told.contains("if the signature"), "{told}");
        assert!(told.contains("[2J\\u{9b}31m\\u{202e}"), "{told}");
        assert!(!told.chars().any(|c| c != '\n' && c.is_control()), "{told:?}");
    }
}
