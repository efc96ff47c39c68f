use std::collections::BTreeMap;
use std::io;

use freshet_edge::DoorConfig;

use super::*;

const KEY: (&str, &str) = ("api-key", "app:0123456789abcdef");
const SECRET: (&str, &str) = ("cluster-secret", "0123456789abcdef");

fn lay(role: Role, flags: &[(&'static str, &str)]) -> Layers {
    let mut map: BTreeMap<&'static str, Vec<String>> = BTreeMap::new();
    for (key, text) in flags {
        map.entry(key).or_default().push((*text).to_owned());
    }
    let mut layers = Layers::new(role, &map, |_| None, None).unwrap();
    derive_defaults(&mut layers, "my.host");
    layers
}

fn files(path: &str) -> io::Result<String> {
    match path {
        "keys" => Ok("# ours\na:0123456789abcdef\nb:fedcba9876543210\n".into()),
        "secret" => Ok("  from-a-file-0123456789\n".into()),
        "empty" => Ok("\n".into()),
        _ => Err(io::Error::from(io::ErrorKind::NotFound)),
    }
}

fn settings(role: Role, flags: &[(&'static str, &str)]) -> Result<Settings, ConfigError> {
    Settings::new(&lay(role, flags), "my.host", &files)
}

fn refused(role: Role, flags: &[(&'static str, &str)]) -> String {
    settings(role, flags).unwrap_err().to_string()
}

fn node(more: &[(&'static str, &str)]) -> NodeSettings {
    let flags: Vec<_> = [KEY, SECRET].into_iter().chain(more.iter().copied()).collect();
    match settings(Role::Node, &flags) {
        Ok(Settings::Node(node)) => node,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_default_is_valid() {
    assert!(matches!(settings(Role::Dev, &[]), Ok(Settings::Dev(dev)) if dev.common.access == Access::Open));
    node(&[("ip", "192.0.2.1")]);
    settings(Role::Coordinator, &[KEY, SECRET]).unwrap();
}

#[test]
fn keys_are_unique_and_every_setting_is_explained() {
    let mut seen = BTreeMap::new();
    for setting in settings::SETTINGS {
        assert!(seen.insert(setting.key, ()).is_none(), "{} stands twice", setting.key);
        assert!(setting.help.len() > 7 && !setting.help.ends_with('.'), "{}", setting.key);
        assert!(
            Role::ALL.iter().all(|r| r.as_str() != setting.key),
            "{} is a table of the file",
            setting.key
        );
    }
}

#[test]
fn dev_is_open_until_it_has_keys_and_the_others_must_be_told() {
    let access = |role, flags: &[_]| settings(role, flags).map(|s| s.common().access.clone());
    assert_eq!(access(Role::Dev, &[]).unwrap(), Access::Open);
    assert!(matches!(access(Role::Dev, &[KEY]).unwrap(), Access::Keys(k) if k.keys.get("app").is_some()));
    assert_eq!(access(Role::Coordinator, &[SECRET, ("open", "true")]).unwrap(), Access::Open);
    let closed = refused(Role::Coordinator, &[SECRET]);
    assert!(closed.contains("api-key-file") && closed.contains("--open"), "{closed}");
    assert!(refused(Role::Dev, &[("open", "false")]).contains("api-key-file"));
    assert!(refused(Role::Dev, &[KEY, ("open", "true")]).contains("one or the other"));
    assert!(refused(Role::Dev, &[("open", "maybe")]).contains("true or false"));
}

#[test]
fn keys_come_from_text_and_file_together() {
    let Ok(s) = settings(Role::Dev, &[KEY, ("api-key-file", "keys")]) else { panic!() };
    let Access::Keys(keys) = &s.common().access else { panic!() };
    assert_eq!(keys.given.len(), 1);
    assert_eq!(keys.file.as_deref(), Some("keys".as_ref()));
    assert_eq!(keys.keys.iter().map(|k| k.id()).collect::<Vec<_>>(), ["a", "app", "b"]);
    let gone = refused(Role::Dev, &[("api-key-file", "gone")]);
    assert!(gone.contains("cannot read gone") && gone.contains("from flag"), "{gone}");
    let short = refused(Role::Dev, &[("api-key", "app:hunter2")]);
    assert!(short.contains("16") && !short.contains("hunter2"), "{short}");
}

#[test]
fn joins_are_handed_over_unless_it_is_told_otherwise() {
    let redirects = |flags: &[_]| match settings(Role::Coordinator, &[&[KEY, SECRET], flags].concat()) {
        Ok(Settings::Coordinator(coordinator)) => coordinator.redirect,
        other => panic!("{other:?}"),
    };
    assert!(!redirects(&[]) && redirects(&[("join", "redirect")]) && !redirects(&[("join", "proxy")]));
    assert!(refused(Role::Dev, &[("join", "307")]).contains("redirect"));
    assert!(refused(Role::Dev, &[("join", "redirect"), ("tls", "true")]).contains("loopback"));
}

#[test]
fn an_identity_listens_so_often_unless_it_is_told_otherwise() {
    let most = |flags: &[_]| match settings(Role::Coordinator, &[&[KEY, SECRET], flags].concat()) {
        Ok(settings) => settings.common().door.listeners,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        [most(&[]), most(&[("identity-listeners", "0")]), most(&[("identity-listeners", "7")])],
        [20, 0, 7]
    );
    assert!(refused(Role::Dev, &[("identity-listeners", "some")]).contains("number"));
}

#[test]
fn the_door_is_bounded_unless_it_is_told_otherwise() {
    let door = |flags: &[_]| settings(Role::Dev, flags).map(|s| s.common().door.clone());
    assert_eq!(door(&[]).unwrap(), DoorConfig::default());
    let told = door(&[
        ("trusted-proxy", "10.0.0.0/8"),
        ("trusted-proxy", "2001:db8::1"),
        ("region-header", "X-Freshet-Region"),
        ("address-limit", "off"),
        ("failure-limit", "1:2"),
    ]);
    let told = told.unwrap();
    assert!(
        told.trusted.contains("10.1.2.3".parse().unwrap())
            && told.trusted.contains("2001:db8::1".parse().unwrap())
    );
    assert_eq!((told.address, told.failures.map(|rate| rate.burst)), (None, Some(2)));
    assert!(refused(Role::Dev, &[("trusted-proxy", "10.0.0.0/33")]).contains("10.0.0.0/8"));
    assert!(refused(Role::Dev, &[("identity-limit", "many")]).contains("200:2000"));
    assert!(refused(Role::Dev, &[("region-header", "X-Region")]).contains("trusted-proxy"));
}

#[test]
fn a_cluster_needs_its_secret() {
    for role in [Role::Node, Role::Coordinator] {
        let missing = refused(role, &[KEY, ("ip", "192.0.2.1")]);
        assert!(missing.contains("cluster-secret-file") && missing.contains("/dev/urandom"), "{missing}");
        let short = refused(role, &[KEY, ("ip", "192.0.2.1"), ("cluster-secret", "short")]);
        assert!(short.contains("16 bytes") && !short.contains("\"short\""), "{short}");
        let both = refused(role, &[KEY, ("ip", "192.0.2.1"), SECRET, ("cluster-secret-file", "secret")]);
        assert!(both.contains("both"), "{both}");
        let empty = refused(role, &[KEY, ("ip", "192.0.2.1"), ("cluster-secret-file", "empty")]);
        assert!(empty.contains("empty"), "{empty}");
    }
    let Ok(Settings::Coordinator(c)) = settings(Role::Coordinator, &[KEY, ("cluster-secret-file", "secret")])
    else {
        panic!()
    };
    assert_eq!(c.member.cluster_secret.expose(), "from-a-file-0123456789");
}

#[test]
fn a_secret_said_at_a_higher_place_wins() {
    let env = |name: &str| (name == "FRESHET_CLUSTER_SECRET_FILE").then(|| "secret".to_owned());
    let flags =
        |pairs: &[(&'static str, &str)]| pairs.iter().map(|(k, v)| (*k, vec![(*v).to_owned()])).collect();
    let secret = |map: BTreeMap<_, _>| {
        let layers = Layers::new(Role::Coordinator, &map, env, None).unwrap();
        match Settings::new(&layers, "h", &files).unwrap() {
            Settings::Coordinator(c) => c.member.cluster_secret.expose().to_owned(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(secret(flags(&[KEY, SECRET])), "0123456789abcdef");
    assert_eq!(secret(flags(&[KEY])), "from-a-file-0123456789");
}

#[test]
fn addresses_that_others_use_follow_from_those_that_are_bound() {
    let n = node(&[("ip", "192.0.2.1"), ("ip", "2001:db8::1")]);
    assert_eq!(n.http_advertise.as_deref(), Some("http://192.0.2.1:8080"));
    assert_eq!(n.relay_advertise.as_deref(), Some("192.0.2.1:7600"));
    let n = node(&[("ip", "2001:db8::1"), ("listen", "[::]:80")]);
    assert_eq!(n.http_advertise.as_deref(), Some("http://[2001:db8::1]:80"));
    let n = node(&[("listen", "127.0.0.1:0"), ("relay", "127.0.0.1:0")]);
    assert_eq!((n.http_advertise, n.relay_advertise), (None, None), "known when it is bound");
    assert_eq!(n.media.ips, ["127.0.0.1".parse::<std::net::IpAddr>().unwrap()]);
    let n = node(&[("candidate", "203.0.113.7:30700=10.0.0.7")]);
    assert_eq!(n.relay_advertise.as_deref(), Some("10.0.0.7:7600"), "the cluster's way is not the clients'");
    let n = node(&[("candidate", "203.0.113.7=10.0.0.7"), ("ip", "192.0.2.9")]);
    assert_eq!(n.relay_advertise.as_deref(), Some("192.0.2.9:7600"));
    let n = node(&[
        ("ip", "192.0.2.1"),
        ("http-advertise", "http://n.example:1/"),
        ("relay-advertise", "n.example:2"),
    ]);
    assert_eq!(n.http_advertise.as_deref(), Some("http://n.example:1"));
    assert_eq!(n.relay_advertise.as_deref(), Some("n.example:2"));
    assert!(refused(Role::Node, &[KEY, SECRET]).contains("--ip"));
}

#[test]
fn a_name_is_made_of_host_and_port() {
    assert_eq!(node(&[("ip", "192.0.2.1")]).member.id.as_str(), "my-host-8080");
    assert_eq!(node(&[("ip", "192.0.2.1"), ("id", "n1")]).member.id.as_str(), "n1");
    assert_eq!(default_id("", 1).unwrap().as_str(), "freshet-1");
    assert!(default_id(&"ü".repeat(300), 65535).unwrap().as_str().len() <= 64);
}

#[test]
fn auto_shards_are_one_for_each_core_but_one() {
    let table = [(0, 1), (1, 1), (2, 1), (3, 2), (8, 7), (65, 64), (66, 64), (100_000, 64)];
    for (cores, shards) in table {
        assert_eq!(typed::auto_shards(cores), shards, "{cores} cores");
    }
    let here = typed::auto_shards(std::thread::available_parallelism().unwrap().get());
    assert_eq!(node(&[("ip", "192.0.2.1"), ("shards", "auto")]).media.shards, here);
    assert_eq!(node(&[("ip", "192.0.2.1")]).media.shards, here, "it is the default");
    assert_eq!(node(&[("ip", "192.0.2.1"), ("shards", "5")]).media.shards, 5);
}

#[test]
fn wrong_values_are_told_with_their_place_and_a_way_out() {
    let base = [KEY, SECRET, ("ip", "192.0.2.1")];
    for (key, text, advice) in [
        ("listen", "8080", "ADDR:PORT"),
        ("udp-port", "70000", "65535"),
        ("ip", "example.org", "IPv4"),
        ("ip", "0.0.0.0", "reach"),
        ("ip", "fe80::1", "scope"),
        ("ip", "::ffff:10.0.0.1", "write 10.0.0.1"),
        ("udp-bind", "eth0", "IPv4 or IPv6"),
        ("udp-bind", "10.0.0.1:7700", "udp-port"),
        ("udp-bind", "fe80::1%eth0", "scope"),
        ("udp-bind", "10.0.0.1,10.0.0.1", "twice"),
        ("udp-bind", "0.0.0.0,10.0.0.1", "10.0.0.1 too"),
        ("candidate", "media.example.org:30700", "this is a name"),
        ("candidate", "203.0.113.7:0", "1 to 65535"),
        ("candidate", "203.0.113.7:65536", "1 to 65535"),
        ("candidate", "203.0.113.7=", "one address of this machine"),
        ("candidate", "203.0.113.7=10.0.0.7:7700", "one address of this machine"),
        ("candidate", "203.0.113.7=0.0.0.0", "one address of this machine"),
        ("candidate", "[2001:db8::7", "[2001:db8::7]:30700"),
        ("candidate", "192.0.2.1", "twice"),
        ("candidate", "224.0.0.1", "of many"),
        ("shards", "0", "1 to 64"),
        ("shards", "many", "auto"),
        ("max-sessions", "0", "from 1 on"),
        ("max-busy", "0%", "1% to 100%"),
        ("max-busy", "101", "1% to 100%"),
        ("max-egress", "fast", "bit rate"),
        ("batch", "11ms", "0 to 10ms"),
        ("viewer-cap", "much", "bit rate"),
        ("viewer-cap", "8", "64k or more"),
        ("max-egress", "4", "1000k or more"),
        ("keyframe-age", "3s", "0 to 2s"),
        ("ring-time", "11s", "500ms to 10s"),
        ("ring-time", "400ms", "500ms to 10s"),
        ("ring-bytes", "128KiB", "256KiB to 16MiB"),
        ("ring-bytes", "16385KiB", "256KiB to 16MiB"),
        ("ring-bytes", "4M", "as in 4MiB"),
        ("drain-timeout", "60", "10s"),
        ("room-linger", "soon", "10s"),
        ("log", "xml", "text or json"),
        ("log-level", "freshet=louder", "debug"),
        ("log-level", "loud", "warn (or warning)"),
        ("udp-port", "65536", "65535"),
        ("relay", "0.0.0.0:7700", "media takes this port"),
        ("relay", "192.0.2.1:7700", "media takes this port"),
        ("relay-advertise", "0.0.0.0:7600", "reach"),
        ("http-advertise", "http://[::]:8080", "reach"),
        ("public-url", "https://0.0.0.0/cast", "reach"),
        ("nats", "http://127.0.0.1:4222", "nats://HOST:PORT"),
        ("nats", "nats://a b:4222", "nats://HOST:PORT"),
        ("nats-creds", "keys", "JWT"),
        ("public-url", "example.org", "https://"),
        ("http-advertise", "h:1", "https://"),
        ("http-advertise", "https://10.0.0.7:8080", "listen-plain"),
        ("listen-plain", "8081", "ADDR:PORT"),
        ("relay-advertise", "h", "HOST:PORT"),
        ("id", "a/b", "A-Z"),
        ("ice-server", "example.org", "stun:"),
        ("ice-server", "turn:turn.example.org", "turn-secret-file"),
        ("ice-server", "stun:stun.example.org,turns:turn.example.org:443", "turn-secret-file"),
        ("region", "a\nb", "printable"),
        ("etcd", "127.0.0.1:2379", "http"),
        ("nats-replicas", "9", "1 to 5"),
    ] {
        let flags: Vec<_> = base.into_iter().filter(|(k, _)| *k != key).chain([(key, text)]).collect();
        let said = refused(Role::Node, &flags);
        assert!(said.contains(key) && said.contains(advice) && said.contains("from flag"), "{said}");
    }
    node(&[("ip", "192.0.2.1"), ("ice-server", "turns:turn.example.org"), ("turn-secret", "shared")]);
    node(&[("ip", "192.0.2.1"), ("ice-server", "stun:stun.example.org")]);
    assert!(refused(Role::Dev, &[("nodes", "0")]).contains("1 to 64"));
    let half = refused(Role::Coordinator, &[KEY, SECRET, ("etcd-user", "joe")]);
    assert!(half.contains("etcd-password-file"), "{half}");
}

#[test]
fn lists_of_servers_are_not_empty() {
    for key in ["etcd", "nats"] {
        let said = refused(Role::Coordinator, &[KEY, SECRET, (key, ",")]);
        assert!(said.contains(&format!("needs {key}")) && said.contains("one server"), "{said}");
    }
}

#[test]
fn every_shard_of_every_node_has_a_port() {
    let dev = |flags: &[(&'static str, &str)]| settings(Role::Dev, flags);
    dev(&[("udp-port", "65533"), ("nodes", "3")]).unwrap();
    dev(&[("udp-port", "0"), ("nodes", "64"), ("shards", "64")]).unwrap();
    for (flags, highest) in [
        (&[("udp-port", "65535"), ("nodes", "3")][..], "up to 65533"),
        (&[("udp-port", "65535"), ("shards", "2")], "up to 65534"),
        (&[("udp-port", "65530"), ("shards", "2"), ("nodes", "4")], "up to 65528"),
    ] {
        let said = dev(flags).unwrap_err().to_string();
        assert!(said.contains("udp-port") && said.contains(highest), "{said}");
    }
    let base = [KEY, SECRET, ("ip", "192.0.2.1"), ("shards", "2")];
    let said = refused(Role::Node, &[&base[..], &[("udp-port", "65535")]].concat());
    assert!(said.contains("up to 65534"), "{said}");
    let said = refused(Role::Node, &[&base[..], &[("udp-port", "7599")]].concat());
    assert!(said.contains("relay") && said.contains("7600") && said.contains("media takes"), "{said}");
    node(&[("ip", "192.0.2.1"), ("shards", "2"), ("udp-port", "7598")]);
    node(&[("ip", "127.0.0.1"), ("relay", "192.0.2.1:7700"), ("relay-advertise", "192.0.2.1:7700")]);
}

#[test]
fn a_port_that_is_chosen_at_start_is_advertised_with_an_address() {
    let base = [KEY, SECRET, ("ip", "192.0.2.1")];
    let said = refused(Role::Node, &[&base[..], &[("listen", "0.0.0.0:0")]].concat());
    assert!(said.contains("http-advertise"), "{said}");
    let said = refused(Role::Node, &[&base[..], &[("relay", "[::]:0")]].concat());
    assert!(said.contains("relay-advertise"), "{said}");
    node(&[("ip", "192.0.2.1"), ("listen", "0.0.0.0:0"), ("http-advertise", "http://192.0.2.1:80")]);
}

/// A certificate and its key, as PEM.
fn certified() -> [String; 2] {
    use base64::Engine as _;
    let made = rcgen::generate_simple_self_signed(vec!["freshet-relay".to_owned()]).unwrap();
    let pem = |what: &str, der: &[u8]| {
        let text = base64::engine::general_purpose::STANDARD.encode(der);
        let lines: Vec<_> = text.as_bytes().chunks(64).map(|l| std::str::from_utf8(l).unwrap()).collect();
        format!("-----BEGIN {what}-----\n{}\n-----END {what}-----\n", lines.join("\n"))
    };
    [pem("CERTIFICATE", made.cert.der()), pem("PRIVATE KEY", &made.signing_key.serialize_der())]
}

#[test]
fn certificates_are_whole_readable_and_fit_their_keys() {
    let ([cert, key], [_, other_key]) = (certified(), certified());
    let files = |path: &str| match path {
        "cert" => Ok(cert.clone()),
        "key" => Ok(key.clone()),
        "other-key" => Ok(other_key.clone()),
        "text" => Ok("not PEM".to_owned()),
        "sealed" => {
            Ok("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n"
                .to_owned())
        }
        _ => Err(io::Error::from(io::ErrorKind::NotFound)),
    };
    let base = [KEY, SECRET, ("ip", "192.0.2.1")];
    let tried = |flags: &[(&'static str, &str)]| {
        let secure = flags.iter().any(|(key, _)| key.starts_with("etcd-"));
        let etcd: &[_] = if secure { &[("etcd", "https://127.0.0.1:2379")] } else { &[] };
        let flags = [&base[..], etcd, flags].concat();
        Settings::new(&lay(Role::Node, &flags), "h", &files).map_err(|e| e.to_string())
    };
    for [ca, cert, key] in [
        ["etcd-ca", "etcd-cert", "etcd-key"],
        ["nats-ca", "nats-cert", "nats-key"],
        ["relay-ca", "relay-cert", "relay-key"],
    ] {
        tried(&[(ca, "cert"), (cert, "cert"), (key, "key")]).unwrap();
        for (flags, wanted) in [
            (&[(ca, "cert"), (cert, "cert")][..], [key, "belong together"]),
            (&[(ca, "cert"), (key, "key")], [cert, "belong together"]),
            (&[(ca, "gone"), (cert, "cert"), (key, "key")], [ca, "cannot read gone"]),
            (&[(ca, "cert"), (cert, "gone"), (key, "key")], [cert, "cannot read gone"]),
            (&[(ca, "cert"), (cert, "cert"), (key, "gone")], [key, "cannot read gone"]),
            (&[(ca, "text"), (cert, "cert"), (key, "key")], [ca, "no certificate in PEM form"]),
            (&[(ca, "cert"), (cert, "key"), (key, "key")], [cert, "no certificate in PEM form"]),
            (&[(ca, "cert"), (cert, "cert"), (key, "cert")], [key, "no private key in PEM form"]),
            (&[(ca, "cert"), (cert, "cert"), (key, "sealed")], [key, "openssl pkey"]),
            (&[(ca, "cert"), (cert, "cert"), (key, "other-key")], [key, "of the certificate"]),
        ] {
            let said = tried(flags).unwrap_err();
            assert!(wanted.iter().all(|word| said.contains(word)), "{flags:?}: {said}");
            assert!(!said.contains("BEGIN"), "no key in a message: {said}");
        }
    }
    let said = tried(&[("etcd", "http://127.0.0.1:2379"), ("etcd-ca", "cert")]);
    said.expect("one URL with https is enough");
    let said = tried(&[("etcd", "https://127.0.0.1:2379")]).unwrap_err();
    assert!(said.contains("etcd-ca") && said.contains("trust"), "{said}");
    let plain = [KEY, SECRET, ("ip", "192.0.2.1"), ("etcd-ca", "cert")];
    let said = Settings::new(&lay(Role::Node, &plain), "h", &files).unwrap_err().to_string();
    assert!(said.contains("etcd-ca") && said.contains("https://"), "{said}");
}

#[test]
fn what_is_printed_for_an_empty_text_is_what_is_in_force() {
    let layers = lay(Role::Node, &[KEY, SECRET, ("listen", "127.0.0.1:80"), ("id", ""), ("ip", "")]);
    let text = print::toml(&layers);
    assert!(text.contains("id = \"my-host-80\" # default"), "{text}");
    assert!(text.contains("ip = [\"127.0.0.1\"] # default"), "{text}");
    let said = refused(Role::Dev, &[("api-key", "")]);
    assert!(said.contains("api-key-file"), "an empty key opens nothing: {said}");
}

#[test]
fn each_heading_stands_once() {
    for role in Role::ALL {
        let text = print::toml(&lay(role, &[]));
        let headings: Vec<_> =
            text.lines().filter(|l| l.starts_with("# ") && !l.contains(" is not set")).collect();
        let mut once = headings.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), headings.len(), "{role}: {headings:?}");
        assert!(headings.len() > 4, "{headings:?}");
    }
}

#[test]
fn tls_takes_both_files_and_a_node_stays_within_coordinators_reach() {
    let ([cert, key], tls) = (certified(), [("tls-cert", "cert"), ("tls-key", "key")]);
    let files = |path: &str| match path {
        "cert" => Ok(cert.clone()),
        "key" => Ok(key.clone()),
        path => files(path),
    };
    let pair = Some(freshet_edge::tls::Files { cert: "cert".into(), key: "key".into() });
    let of = |role, more: &[(&'static str, &str)]| {
        Settings::new(&lay(role, &[&tls, more].concat()), "my.host", &files)
    };
    assert_eq!(of(Role::Coordinator, &[KEY, SECRET]).unwrap().common().tls, pair);
    assert_eq!(of(Role::Dev, &[]).unwrap().common().tls, pair);
    let here = [KEY, SECRET, ("ip", "192.0.2.1")];
    let alone = of(Role::Node, &here).unwrap_err().to_string();
    assert!(alone.contains("listen-plain"), "{alone}");
    let both = [KEY, SECRET, ("ip", "192.0.2.1"), ("listen-plain", "0.0.0.0:8081")];
    let Ok(Settings::Node(settings)) = of(Role::Node, &both) else { panic!("a node with both") };
    assert_eq!((settings.common.tls, settings.listen_plain), (pair, "0.0.0.0:8081".parse().ok()));
    assert_eq!(settings.http_advertise.as_deref(), Some("http://192.0.2.1:8081"));
    let idle = refused(Role::Node, &[KEY, SECRET, ("ip", "192.0.2.1"), ("listen-plain", "127.0.0.1:1")]);
    assert!(idle.contains("listen-plain") && idle.contains("tls-cert"), "{idle}");
    for half in tls {
        assert!(refused(Role::Dev, &[half]).contains("belong together"));
    }
    assert!(of(Role::Dev, &[("tls", "true")]).unwrap_err().to_string().contains("one or the other"));
}

#[test]
fn dev_with_tls_is_for_other_devices_unless_told_otherwise() {
    let here = ["192.168.1.20", "10.0.0.5", "fd00::1"].map(|ip| ip.parse::<std::net::IpAddr>().unwrap());
    let dev = |flags: &[(&'static str, &str)], addresses: &[std::net::IpAddr]| {
        let mut map: BTreeMap<&'static str, Vec<String>> = BTreeMap::new();
        for (key, text) in flags {
            map.entry(key).or_default().push((*text).to_owned());
        }
        let mut layers = Layers::new(Role::Dev, &map, |_| None, None).unwrap();
        derive_for_others(&mut layers, || addresses.to_vec());
        derive_defaults(&mut layers, "my.host");
        match Settings::new(&layers, "my.host", &files).unwrap() {
            Settings::Dev(dev) => (dev.tls, dev.common.listen.to_string(), dev.media.ips),
            other => panic!("{other:?}"),
        }
    };
    let local: Vec<std::net::IpAddr> = vec!["127.0.0.1".parse().unwrap()];
    assert_eq!(dev(&[("tls", "true")], &here), (true, "0.0.0.0:8443".to_owned(), here[..2].to_vec()));
    assert_eq!(dev(&[("tls", "true")], &[]), (true, "0.0.0.0:8443".to_owned(), local.clone()), "no network");
    assert_eq!(dev(&[], &here), (false, "127.0.0.1:8080".to_owned(), local.clone()));
    assert_eq!(dev(&[("tls", "false")], &here).1, "127.0.0.1:8080");
    let told = dev(&[("tls", "true"), ("listen", "127.0.0.1:1")], &here);
    assert_eq!((told.1.as_str(), told.2), ("127.0.0.1:1", local));
    let told = dev(&[("tls", "true"), ("ip", "192.0.2.1")], &here);
    assert_eq!(told.2, ["192.0.2.1".parse::<std::net::IpAddr>().unwrap()]);
}

#[test]
fn a_keyframe_is_no_older_than_what_the_ring_keeps() {
    let age = |more: &[(&'static str, &str)]| {
        node(&[&[("ip", "192.0.2.1")], more].concat()).media.keyframe_age.as_millis()
    };
    assert_eq!(age(&[]), 1_000);
    assert_eq!(age(&[("ring-time", "5s")]), 1_000);
    assert_eq!(age(&[("ring-time", "500ms")]), 500, "nobody said that it is longer");
    assert_eq!(age(&[("ring-time", "500ms"), ("keyframe-age", "100ms")]), 100);
    let said = refused(
        Role::Node,
        &[KEY, SECRET, ("ip", "192.0.2.1"), ("ring-time", "500ms"), ("keyframe-age", "1s")],
    );
    assert!(said.contains("keyframe-age") && said.contains("0 to 500ms"), "{said}");
    let said = refused(Role::Node, &[KEY, SECRET, ("ip", "192.0.2.1"), ("ring-time", "400ms")]);
    assert!(said.contains("ring-time") && !said.contains("keyframe-age"), "{said}");
    let printed = print::toml(&lay(Role::Node, &[KEY, SECRET, ("ring-time", "700ms")]));
    assert!(printed.contains("keyframe-age = \"700ms\" # default"), "{printed}");
}

#[test]
fn what_is_printed_is_toml_that_says_the_same_again() {
    let layers = lay(Role::Node, &[KEY, SECRET, ("ip", "192.0.2.1"), ("ip", "::1"), ("region", "a\"b")]);
    let text = print::toml(&layers);
    let table: toml::Table = text.parse().unwrap();
    assert!(!text.contains("0123456789abcdef"), "{text}");
    assert!(text.contains("api-key = [\"app:********\"] # from flag"), "{text}");
    assert!(text.contains("udp-port = 7700 # default") && text.contains("open = false # default"), "{text}");
    assert!(text.contains("# public-url is not set"), "{text}");
    assert_eq!(table["region"].as_str(), Some("a\"b"));
    let again =
        Layers::new(Role::Node, &BTreeMap::new(), |_| None, Some(File { path: "f", text: &text })).unwrap();
    for setting in settings::of(Role::Node).filter(|s| s.mask == settings::Mask::Open) {
        let texts = |l: &Layers| l.get(setting.key).map(|g| g.texts.clone());
        assert_eq!(texts(&again), texts(&layers), "{}", setting.key);
    }
}

/// What media is told: binds, and what clients are told of which local address.
fn media(more: &[(&'static str, &str)]) -> (Vec<String>, Vec<String>) {
    let media = node(more).media.addresses;
    let told = media.advertised.iter().map(|one| {
        let port = one.port.map(|port| format!(":{port}")).unwrap_or_default();
        let local = one.local.map(|ip| format!("={ip}")).unwrap_or_default();
        format!("{}{port}{local}", one.ip)
    });
    (media.binds.iter().map(ToString::to_string).collect(), told.collect())
}

#[test]
fn media_is_taken_and_told_as_it_was_said_or_as_follows_from_it() {
    type Row<'a> = (&'a [(&'static str, &'a str)], &'a [&'a str], &'a [&'a str]);
    let table: &[Row<'_>] = &[
        (&[("ip", "127.0.0.1")], &["127.0.0.1"], &["127.0.0.1"]),
        (&[("ip", "192.0.2.1")], &["0.0.0.0"], &["192.0.2.1"]),
        (&[("ip", "127.0.0.1"), ("ip", "192.0.2.1")], &["0.0.0.0"], &["127.0.0.1", "192.0.2.1"]),
        (&[("ip", "192.0.2.1"), ("ip", "2001:db8::1")], &["::"], &["192.0.2.1", "2001:db8::1"]),
        (&[("listen", "192.0.2.1:80")], &["0.0.0.0"], &["192.0.2.1"]),
        // The short form and the long one.
        (&[("candidate", "192.0.2.1"), ("ip", "192.0.2.2")], &["0.0.0.0"], &["192.0.2.2", "192.0.2.1"]),
        // Behind NAT.
        (&[("candidate", "203.0.113.7:30700")], &["0.0.0.0"], &["203.0.113.7:30700"]),
        (&[("candidate", "203.0.113.7=10.0.0.7")], &["0.0.0.0"], &["203.0.113.7=10.0.0.7"]),
        (
            &[("udp-bind", "10.0.0.7"), ("candidate", "[2001:db8::7]:30700=10.0.0.7")],
            &["10.0.0.7"],
            &["2001:db8::7:30700=10.0.0.7"],
        ),
        (&[("candidate", "2001:db8::7=[fd00::7]")], &["::"], &["2001:db8::7=fd00::7"]),
        // What is bound is told, unless it is every address.
        (
            &[("udp-bind", "10.0.0.7"), ("udp-bind", "fd00::7")],
            &["10.0.0.7", "fd00::7"],
            &["10.0.0.7", "fd00::7"],
        ),
        (&[("udp-bind", "::"), ("listen", "192.0.2.1:80")], &["::"], &["192.0.2.1"]),
        (
            &[("udp-bind", "10.0.0.7"), ("listen", "127.0.0.1:80"), ("candidate", "203.0.113.7")],
            &["10.0.0.7"],
            &["203.0.113.7"],
        ),
    ];
    for (more, binds, told) in table {
        let (found, candidates) = media(more);
        assert_eq!(
            (found, candidates),
            (binds.iter().map(|s| s.to_string()).collect(), told.iter().map(|s| s.to_string()).collect()),
            "{more:?}"
        );
    }
}

#[test]
fn addresses_that_do_not_fit_each_other_are_told() {
    for (more, advice) in [
        (&[("udp-bind", "10.0.0.7"), ("candidate", "203.0.113.7=10.0.0.8")][..], "add --udp-bind 10.0.0.8"),
        (&[("udp-bind", "10.0.0.7"), ("candidate", "2001:db8::7")], "no IPv6"),
        (
            &[("udp-bind", "10.0.0.7,10.0.0.8"), ("candidate", "203.0.113.7")],
            "say behind = at which of these",
        ),
        (&[("udp-bind", "fd00::7"), ("ip", "203.0.113.7")], "no IPv4"),
        (&[("candidate", "203.0.113.7:65535"), ("shards", "2")], "2 shards"),
        (&[("candidate", "203.0.113.7:30700,203.0.113.7:30701"), ("shards", "2")], "2 ports apart"),
        (&[("candidate", "203.0.113.7,203.0.113.7:7700")], "twice"),
        (&[("udp-bind", "::")], "--candidate"),
    ] {
        let flags: Vec<_> = [KEY, SECRET].into_iter().chain(more.iter().copied()).collect();
        let said = refused(Role::Node, &flags);
        assert!(said.contains(advice), "{more:?}: {said}");
    }
    let many: Vec<String> = (0..17).map(|n| format!("203.0.113.{n}")).collect();
    assert!(refused(Role::Node, &[KEY, SECRET, ("candidate", &many.join(","))]).contains("more than 16"));
}
