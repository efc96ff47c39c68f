//! Production as `docs/operate.md` sets it up, followed literally: etcd, NATS, coordinators and nodes by the page's own lines,
//! on machines of their own, and clients in a network outside.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use freshet_loadtest::client::Trust;
use freshet_test_support as support;
use support::byhand::{ByHand, lines};
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
        let (one, net) = if at.contains(':') { (128, 64) } else { (32, 24) };
        let ends = [(&site.core, "to-core"), (&site.node, "to-node")];
        for ((machine, port), (inside, outside)) in ends.into_iter().zip(inside.into_iter().zip(outside)) {
            wire((machine, "eth0"), (world, port));
            machine.address("eth1", &format!("{inside}/{net}"));
            machine.address("eth0", &format!("{outside}/{one}"));
            machine.sh(&format!("ip route add {at}/{one} dev eth0 src {outside}"));
            world.address(port, &format!("{at}/{one}"));
            world.sh(&format!("ip route add {outside}/{one} dev {port} src {at}"));
        }
        site
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
            let lines = lines(heading, role);
            assert_eq!(lines.len(), 1, "{heading}: {role}");
            hand.run(machine, role, &lines[0]);
        }
    }
}

/// A client publishes and watches with tokens of the manual's key, through the coordinator, and is told these addresses
/// of media or one of them.
fn plays(client: &Net, hand: &ByHand, base: &'static str, trust: Trust, addresses: &'static [&str]) {
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
        sees.stop().await.expect("the viewer leaves by its Location");
        sends.stop().await.expect("the publisher leaves by its Location");
    });
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
