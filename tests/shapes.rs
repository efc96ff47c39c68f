//! Production as `docs/operate.md` sets it up, followed literally: etcd, NATS, coordinators and nodes by the page's own lines,
//! on machines of their own, and clients in a network outside.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use freshet_loadtest::client::Trust;
use freshet_loadtest::scenario::Turn;
use freshet_test_support as support;
use support::byhand::{ByHand, line, lines};
use support::client::{believe, trust};
use support::nets::{Net, alone, wire};
use support::{eventually, get_json, hears, metric, publish, request, view};

const WITHIN: Duration = Duration::from_secs(30);
const SEVERAL: &str = "### On several machines";
/// The machines' addresses in the network of the inside: the coordinator's and the node's.
const INSIDE: [&str; 2] = ["10.0.0.2", "10.0.0.7"];
const HTTP: &str = "tcp dport 8080";
/// A port for each shard, of which there may be 64.
const MEDIA: &str = "udp dport 7700-7763";
/// What a machine with two addresses tells, of either kind.
const BOTH: [&str; 3] = ["192.0.2.10 7700", "198.51.100.10 7700", "2001:db8::10 7700"];

/// A machine with etcd, NATS and a coordinator, and a node's: both with a cable to the world, and with one between them.
struct Site {
    core: Net,
    node: Net,
}

impl Site {
    /// The world is a machine that has this address at both cables; by them it reaches these addresses.
    fn new(world: &Net, at: &str, inside: [&str; 2], outside: [&str; 2]) -> Self {
        let site = Self { core: Net::new("core"), node: Net::new("node") };
        wire((&site.core, "eth1"), (&site.node, "eth1"));
        let net = if inside[0].contains(':') { 64 } else { 24 };
        for ((machine, port), inside) in site.ends().into_iter().zip(inside) {
            wire((machine, "eth0"), (world, port));
            machine.address("eth1", &format!("{inside}/{net}"));
        }
        site.reached(world, at, outside);
        site
    }

    /// Each machine, and the world's end of its cable.
    fn ends(&self) -> [(&Net, &'static str); 2] {
        [(&self.core, "to-core"), (&self.node, "to-node")]
    }

    /// From this address of the world's they are reached at these.
    fn reached(&self, world: &Net, at: &str, outside: [&str; 2]) {
        let one = if at.contains(':') { 128 } else { 32 };
        for ((machine, port), outside) in self.ends().into_iter().zip(outside) {
            machine.address("eth0", &format!("{outside}/{one}"));
            machine.sh(&format!("ip route add {at}/{one} dev eth0 src {outside}"));
            world.address(port, &format!("{at}/{one}"));
            world.sh(&format!("ip route add {outside}/{one} dev {port} src {at}"));
        }
    }

    /// From outside nothing gets in but what is said here, and answers.
    fn open(&self, of_core: &str, of_node: &str) {
        for (machine, open) in [(&self.core, of_core), (&self.node, of_node)] {
            machine.nft(&format!(
                "table inet guard {{ chain arriving {{ type filter hook input priority 0; policy accept; \
                 iifname != \"eth0\" accept; ct state established accept; \
                 meta l4proto {{ icmp, ipv6-icmp }} accept; {open} accept; drop; }} }}"
            ));
        }
    }

    /// The one coordinator and the one node of a section.
    fn run(&self, hand: &mut ByHand, heading: &str) {
        for (role, machine) in [("coordinator", &self.core), ("node", &self.node)] {
            hand.run(machine, role, &the_line(heading, role));
        }
    }
}

/// The one line of a section for a role.
fn the_line(heading: &str, role: &str) -> Vec<String> {
    let mut lines = lines(heading, role);
    assert_eq!(lines.len(), 1, "{heading}: {role}");
    lines.remove(0)
}

/// A client publishes and watches with tokens of the manual's key, through the coordinator, and is told these addresses
/// of media or one of them. The viewer's answer comes back.
fn plays(
    client: &Net,
    hand: &ByHand,
    base: &'static str,
    trust: Trust,
    addresses: &'static [&str],
) -> String {
    let admin = hand.token("*", "operator", "admin");
    let (host, guest) = (hand.token("show", "host", "publish"), hand.token("show", "guest", "subscribe"));
    client.run(async move {
        hears(base, 1, Some(&admin)).await;
        let sends = publish(base, "show", &host, |config| {
            (config.allow_public, config.trust, config.retry_for) = (true, trust.clone(), WITHIN);
        })
        .await;
        let sees = view(base, "show", &guest, |config| {
            (config.allow_public, config.trust, config.retry_for) = (true, trust.clone(), WITHIN);
        })
        .await;
        assert!(sees.wait_for_media(WITHIN).await, "media comes: {:?}", sees.report());
        for url in [sends.resource().url(), sees.resource().url()] {
            assert!(url.starts_with(&format!("{base}/sessions/node/")), "{url}");
        }
        for answer in [&sends.negotiated().answer, &sees.negotiated().answer] {
            let told: Vec<&str> = answer.lines().filter(|line| line.starts_with("a=candidate:")).collect();
            let known = |line: &&str| addresses.iter().any(|at| line.contains(&format!(" {at} typ ")));
            assert!(!told.is_empty() && told.iter().all(known), "{told:?}");
        }
        let answer = sees.negotiated().answer.clone();
        sees.stop().await.expect("the viewer leaves by its Location");
        sends.stop().await.expect("the publisher leaves by its Location");
        answer
    })
}

/// "All of it on one machine, each line in a terminal of its own", with what the page says of tokens and rooms' trees.
#[test]
fn a_cluster_by_hand_is_what_its_lines_make() {
    alone("a_cluster_by_hand_is_what_its_lines_make", || {
        let heading = "## A cluster by hand";
        let machine = Net::new("machine");
        let mut hand = ByHand::start("by-hand", &machine, heading);
        let (nodes, coordinators) = (lines(heading, "node"), lines(heading, "coordinator"));
        assert_eq!((nodes.len(), coordinators.len()), (2, 1));
        for (n, line) in nodes.iter().chain(&coordinators).enumerate() {
            hand.run(&machine, &format!("terminal-{n}"), line);
        }
        let (ann, admin) = (hand.token.clone(), hand.token("*", "operator", "admin"));
        machine.run(async move {
            let base = "http://127.0.0.1:8080";
            hears(base, 2, Some(&admin)).await;
            let sends = publish(base, "stage", &ann, |_| {}).await;
            let sees = view(base, "stage", &ann, |_| {}).await;
            assert!(sees.wait_for_media(WITHIN).await, "media comes: {:?}", sees.report());
            let nodes = [sends.resource().url(), sees.resource().url()].map(support::served_by);
            assert!(nodes.iter().all(|node| ["a", "b"].contains(node)), "{nodes:?}");
            eventually(WITHIN, "the room has a tree", || async {
                let cluster = get_json(&format!("{base}/v1/cluster"), Some(&admin)).await?;
                cluster["rooms"].as_array()?.iter().any(|room| room["room"] == "stage").then_some(())
            })
            .await;
            // NATS keeps what is said.
            eventually(WITHIN, "chat is open", || async {
                let url = format!("{base}/v1/rooms/stage/chat");
                let said = r#"{"id": "m-1", "text": "by hand"}"#;
                let json = ("content-type", "application/json");
                request("POST", &url, Some(&ann), &[json], said).await.filter(|answer| answer.status == 201)
            })
            .await;
            sees.stop().await.expect("the viewer leaves");
            sends.stop().await.expect("the publisher leaves");
        });
    });
}

#[test]
fn bare_machines_make_a_cluster() {
    alone("bare_machines_make_a_cluster", || {
        let client = Net::new("client");
        let site = Site::new(&client, "192.0.2.200", INSIDE, ["192.0.2.2", "192.0.2.10"]);
        site.open(HTTP, MEDIA);
        client.guarded();
        let mut hand = ByHand::start("cluster-bare", &site.core, SEVERAL);
        site.run(&mut hand, "### A bare machine");
        plays(&client, &hand, "http://192.0.2.2:8080", Trust::default(), &["192.0.2.10 7700"]);
    });
}

#[test]
fn machines_without_ipv4_make_a_cluster() {
    alone("machines_without_ipv4_make_a_cluster", || {
        let client = Net::new("client");
        let outside = ["2001:db8::2", "2001:db8::10"];
        let site = Site::new(&client, "2001:db8::200", ["fd00::2", "fd00::7"], outside);
        site.open(HTTP, MEDIA);
        client.guarded();
        let heading = "### IPv6 only";
        let mut hand = ByHand::start("cluster-six", &site.core, heading);
        site.run(&mut hand, heading);
        plays(&client, &hand, "http://[2001:db8::2]:8080", Trust::default(), &["2001:db8::10 7700"]);
    });
}

/// Both machines have two addresses that the client reaches from one of its own each, and follow a section. It plays by
/// either alone, and is told both of the node's.
fn twice(test: &'static str, heading: &str, ways: [Way; 2]) {
    let client = Net::new("client");
    let [one, other] = ways;
    let site = Site::new(&client, one.at, INSIDE, one.outside);
    site.reached(&client, other.at, other.outside);
    site.open(HTTP, MEDIA);
    client.guarded();
    let mut hand = ByHand::start(test, &site.core, SEVERAL);
    site.run(&mut hand, heading);
    for (way, shut) in [(one, other), (other, one)] {
        let [_, node] = shut.outside;
        let family = if node.contains(':') { "ip6" } else { "ip" };
        client.nft(&format!(
            "table inet shut {{}}\ndelete table inet shut\ntable inet shut {{ \
             chain leaving {{ type filter hook output priority 0; {family} daddr {node} drop; }} }}"
        ));
        let told = plays(&client, &hand, way.base, Trust::default(), &BOTH);
        for way in ways {
            assert!(told.contains(&format!(" {} 7700 typ ", way.outside[1])), "{heading}: {told}");
        }
    }
}

/// How a client comes: from this address, to these of the coordinator's machine and the node's, and by this URL.
#[derive(Clone, Copy)]
struct Way {
    at: &'static str,
    outside: [&'static str; 2],
    base: &'static str,
}

const FIRST: Way =
    Way { at: "192.0.2.200", outside: ["192.0.2.2", "192.0.2.10"], base: "http://192.0.2.2:8080" };
const SECOND: Way = Way {
    at: "198.51.100.200",
    outside: ["198.51.100.2", "198.51.100.10"],
    base: "http://198.51.100.2:8080",
};
const SIX: Way =
    Way { at: "2001:db8::200", outside: ["2001:db8::2", "2001:db8::10"], base: "http://[2001:db8::2]:8080" };

#[test]
fn machines_with_two_addresses_make_a_cluster() {
    alone("machines_with_two_addresses_make_a_cluster", || {
        twice("cluster-two", "### A machine with two addresses", [FIRST, SECOND]);
    });
}

#[test]
fn machines_with_both_families_make_a_cluster() {
    alone("machines_with_both_families_make_a_cluster", || {
        twice("cluster-dual", "### IPv4 and IPv6", [FIRST, SIX]);
    });
}

#[test]
fn machines_with_both_families_on_chosen_addresses_make_a_cluster() {
    alone("machines_with_both_families_on_chosen_addresses_make_a_cluster", || {
        twice("cluster-chosen", "### IPv4 and IPv6, on chosen addresses only", [FIRST, SIX]);
    });
}

/// The office lets HTTP out, and UDP to the TURN server's port alone.
#[test]
fn a_cluster_gives_clients_a_turn_server_where_they_reach_nothing_else() {
    alone("a_cluster_gives_clients_a_turn_server_where_they_reach_nothing_else", || {
        let heading = "### Clients that reach nothing but a TURN server";
        let (router, client, turn) = (Net::new("router"), Net::new("client"), Net::new("turn"));
        let site = Site::new(&router, "192.0.2.1", INSIDE, FIRST.outside);
        wire((&turn, "eth0"), (&router, "to-turn"));
        turn.address("eth0", "192.0.2.20/32");
        turn.sh("ip route add 192.0.2.1/32 dev eth0");
        router.address("to-turn", "192.0.2.1/32");
        router.sh("ip route add 192.0.2.20/32 dev to-turn");
        for machine in [&site.core, &site.node, &turn] {
            machine.sh("ip route add default via 192.0.2.1 dev eth0");
        }
        wire((&client, "eth0"), (&router, "office"));
        router.address("office", "10.0.1.1/24");
        client.address("eth0", "10.0.1.2/24");
        client.sh("ip route add default via 10.0.1.1");
        router.routes();
        router.nft(
            "table ip test { chain passing { type filter hook forward priority 0; policy accept; \
             iifname \"office\" ip daddr 192.0.2.20 udp dport 3478 accept; iifname \"office\" meta l4proto udp drop; } }",
        );
        site.open(HTTP, MEDIA);
        client.guarded();
        let mut hand = ByHand::start("cluster-turn", &site.core, SEVERAL);
        assert_eq!(hand.shell(heading, "> turn-secret"), "");
        let words = line(heading, "turnserver");
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        hand.processes.push(turn.start(hand.dir(), "cluster-turn", "turnserver", &words, &[]));
        site.run(&mut hand, heading);
        let admin = hand.token("*", "operator", "admin");
        let (host, guest) = (hand.token("show", "host", "publish"), hand.token("show", "guest", "subscribe"));
        client.run(async move {
            let base = FIRST.base;
            hears(base, 1, Some(&admin)).await;
            // What pages are told, by the coordinator itself.
            let config = get_json(&format!("{base}/v1/config"), Some(&guest)).await.expect("a configuration");
            let server = &config["ice_servers"][0];
            let by = ["udp", "tcp"].map(|by| format!("turn:192.0.2.20:3478?transport={by}"));
            assert_eq!(server["urls"], serde_json::json!(by), "{config}");
            assert!(server["credential"].is_string(), "{config}");
            // What the harness is told, by the node: the publisher goes that way, and the viewer finds that there is no other.
            let sends = publish(base, "show", &host, |config| {
                (config.allow_public, config.turn, config.retry_for) = (true, Turn::Only, WITHIN);
            })
            .await;
            let sees = view(base, "show", &guest, |config| {
                (config.allow_public, config.turn, config.retry_for) = (true, Turn::Fallback, WITHIN);
                config.connect_timeout = Duration::from_secs(10);
            })
            .await;
            assert!(sees.wait_for_media(WITHIN).await, "media comes: {:?}", sees.report());
            assert!(sees.report().relayed, "there was no direct way");
            sees.stop().await.expect("the viewer leaves");
            sends.stop().await.expect("the publisher leaves");
        });
    });
}

/// A shape whose lines nobody runs is a promise: those for `freshet dev` are run in `addresses.rs`, a cluster's here.
#[test]
fn every_shape_of_the_manual_is_followed() {
    let manual = include_str!("../docs/operate.md");
    let (_, part) =
        manual.split_once("\n## Addresses: what clients reach\n").expect("the part about addresses");
    let part = part.split("\n## ").next().expect("its text");
    let headings: Vec<&str> = part
        .split("\n### ")
        .skip(1)
        .filter(|section| section.contains("```"))
        .filter_map(|section| section.split('\n').next())
        .collect();
    assert_eq!(headings.len(), 8, "{headings:?}");
    for heading in headings {
        let of_one = concat!(include_str!("addresses.rs"), include_str!("addresses/called.rs"));
        for (file, text) in [("shapes.rs", include_str!("shapes.rs")), ("addresses.rs", of_one)] {
            assert!(text.contains(&format!("{heading}\"")), "{file} does not follow {heading:?}");
        }
        for role in ["dev", "coordinator", "node"] {
            the_line(&format!("### {heading}"), role);
        }
    }
}

/// Both machines stand behind a router with these rules, and follow a section.
fn behind(test: &'static str, rules: &str, heading: &str, base: &'static str, addresses: &'static [&str]) {
    let (router, client) = (Net::new("router"), Net::new("client"));
    wire((&client, "eth0"), (&router, "out"));
    client.address("eth0", "203.0.113.200/24");
    for address in ["203.0.113.1/24", "203.0.113.2/32", "203.0.113.7/32"] {
        router.address("out", address);
    }
    router.routes();
    router.nft(rules);
    let site = Site::new(&router, "10.0.0.1", INSIDE, INSIDE);
    for machine in [&site.core, &site.node] {
        machine.sh("ip route add default via 10.0.0.1 dev eth0");
    }
    site.open(HTTP, MEDIA);
    client.guarded();
    let mut hand = ByHand::start(test, &site.core, SEVERAL);
    site.run(&mut hand, heading);
    plays(&client, &hand, base, Trust::default(), addresses);
}

#[test]
fn machines_behind_nat_of_one_to_one_make_a_cluster() {
    alone("machines_behind_nat_of_one_to_one_make_a_cluster", || {
        let rules = "table ip test { chain arriving { type nat hook prerouting priority dstnat; \
             ip daddr 203.0.113.2 dnat to 10.0.0.2; ip daddr 203.0.113.7 dnat to 10.0.0.7; } \
             chain leaving { type nat hook postrouting priority srcnat; \
             ip saddr 10.0.0.2 snat to 203.0.113.2; ip saddr 10.0.0.7 snat to 203.0.113.7; } }";
        behind("cluster-nat", rules, "### Behind 1:1 NAT", "http://203.0.113.2:8080", &["203.0.113.7 7700"]);
    });
}

#[test]
fn machines_behind_mapped_ports_make_a_cluster() {
    alone("machines_behind_mapped_ports_make_a_cluster", || {
        let rules = "table ip test { chain arriving { type nat hook prerouting priority dstnat; \
             ip daddr 203.0.113.7 udp dport 30700 dnat to 10.0.0.7:7700; \
             ip daddr 203.0.113.7 udp dport 30701 dnat to 10.0.0.7:7701; \
             ip daddr 203.0.113.7 tcp dport 30080 dnat to 10.0.0.2:8080; } }";
        let heading = "### Behind mapped ports: NodePort, a router, a container";
        let either = &["203.0.113.7 30700", "203.0.113.7 30701"];
        behind("cluster-ports", rules, heading, "http://203.0.113.7:30080", either);
    });
}

/// Makes with openssl an authority, one that it vouches for, and of that one a certificate with its chain for these
/// machines: `live.crt` and `live.key`. Who believes `root.crt` believes it.
fn certify(dir: &Path) {
    const SCRIPT: &str = "
        new='-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes'
        openssl req -x509 $new -days 30 -subj /CN=root -keyout root.key -out root.crt
        openssl req $new -subj /CN=issuer -keyout issuer.key -out issuer.csr
        echo basicConstraints=critical,CA:TRUE > issuer.ext
        openssl x509 -req -in issuer.csr -CA root.crt -CAkey root.key -set_serial 2 -days 30 -extfile issuer.ext -out issuer.crt
        openssl req $new -subj /CN=live.example.org -keyout live.key -out live.csr
        echo subjectAltName=IP:192.0.2.2,IP:192.0.2.10 > live.ext
        openssl x509 -req -in live.csr -CA issuer.crt -CAkey issuer.key -set_serial 3 -days 30 -extfile live.ext -out own.crt
        cat own.crt issuer.crt > live.crt";
    let out = Command::new("sh").args(["-ec", SCRIPT]).current_dir(dir).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}

#[test]
fn with_tls_by_itself_clients_speak_it_and_the_inside_does_not() {
    alone("with_tls_by_itself_clients_speak_it_and_the_inside_does_not", || {
        let client = Net::new("client");
        let site = Site::new(&client, "192.0.2.200", INSIDE, ["192.0.2.2", "192.0.2.10"]);
        site.open("tcp dport 443", &format!("tcp dport 443 accept; {MEDIA}"));
        client.guarded();
        let mut hand = ByHand::start("cluster-tls", &site.core, SEVERAL);
        certify(hand.dir());
        site.run(&mut hand, "## TLS by itself");
        let root = hand.dir().join("root.crt");
        believe(&root);
        plays(&client, &hand, "https://192.0.2.2", trust(&root), &["192.0.2.10 7700"]);
        // At the node itself clients speak TLS as well, with the same certificate.
        let (host, guest) = (hand.token("near", "host", "publish"), hand.token("near", "guest", "subscribe"));
        let trust = trust(&root);
        client.run(async move {
            let (base, node) = ("https://192.0.2.2", "https://192.0.2.10");
            let sends = publish(base, "near", &host, |config| {
                (config.allow_public, config.trust, config.retry_for) = (true, trust.clone(), WITHIN);
            })
            .await;
            let sees = view(node, "near", &guest, |config| {
                (config.allow_public, config.trust, config.retry_for) = (true, trust.clone(), WITHIN);
            })
            .await;
            assert!(sees.wait_for_media(WITHIN).await, "media comes: {:?}", sees.report());
            assert!(sees.resource().url().starts_with(node), "{}", sees.resource().url());
            sees.stop().await.expect("the viewer leaves");
            sends.stop().await.expect("the publisher leaves");
        });
        // Where coordinators call the node it serves Prometheus too, by the inside and without TLS.
        let joins = site.core.run(metric("http://10.0.0.7:8081", "freshet_node_joins_total"));
        assert_eq!(joins, Some(4.0));
    });
}
