//! What clients reach: `docs/operate.md` followed literally, with a client in a network of its own for each shape.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

#[path = "addresses/called.rs"]
mod called;
#[path = "addresses/mapped.rs"]
mod mapped;
#[path = "addresses/turn.rs"]
mod turn;

use std::time::Duration;

use freshet_cluster::testing::{EtcdServer, NatsServer};
use freshet_loadtest::client::{Publisher, Viewer};
use freshet_test_support as support;
use support::client::{believe, trust};
use support::nets::{self, Net, alone, wire};
use support::{Process, hears, publish, remember_secret, view};

const MANUAL: &str = include_str!("../docs/operate.md");
/// A router that gives one machine behind it a public address, ports as they are.
const ONE_TO_ONE: &str = "table ip test { chain arriving { type nat hook prerouting priority dstnat; ip daddr 203.0.113.7 dnat to 10.0.0.7; } \
     chain leaving { type nat hook postrouting priority srcnat; ip saddr 10.0.0.7 snat to 203.0.113.7; } }";
const WITHIN: Duration = Duration::from_secs(30);

/// `freshet` as a section of the manual says, on a machine.
struct Served {
    process: Process,
    dir: tempfile::TempDir,
}

impl Served {
    fn start(test: &str, server: &Net, heading: &str) -> Self {
        let args = nets::documented(MANUAL, heading, "freshet");
        Self::start_by(test, server, &args.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn start_by(test: &str, server: &Net, args: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        // A debug build on a machine that runs other tests is busy at times.
        let env = [("FRESHET_MAX_BUSY", "100%")];
        let process = server.start(dir.path(), test, env!("CARGO_BIN_EXE_freshet"), args, &env);
        Self { process, dir }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.process.log).unwrap()
    }
}

/// Waits until the API answers this machine.
fn ready(net: &Net, base: &str) {
    let base = base.to_owned();
    net.run(async move {
        hears(&base, 1, None).await;
    });
}

fn publishes(net: &Net, base: &str, room: &'static str) -> Publisher {
    let base = base.to_owned();
    net.run(async move {
        publish(&base, room, "", |config| {
            (config.allow_public, config.token, config.retry_for) = (true, None, WITHIN);
            // A keyframe when one is asked for, and never else.
            config.video.as_mut().unwrap().gop = 0;
        })
        .await
    })
}

/// A viewer here, with sound and picture, and the addresses that it was told.
fn watches(net: &Net, base: &str, room: &'static str) -> (Viewer, Vec<String>) {
    let base = base.to_owned();
    let viewer = net.run(async move {
        let viewer = view(&base, room, "", |config| {
            (config.allow_public, config.token, config.retry_for) = (true, None, WITHIN);
        })
        .await;
        assert!(viewer.wait_for_media(WITHIN).await, "media comes: {:?}", viewer.report());
        viewer
    });
    let told = told(&viewer.negotiated().answer);
    (viewer, told)
}

/// `ADDR PORT` of each candidate of an answer, once.
fn told(answer: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for line in answer.lines().filter_map(|line| line.strip_prefix("a=candidate:")) {
        let words: Vec<&str> = line.split(' ').collect();
        let at = format!("{} {}", words[4], words[5]);
        if !found.contains(&at) {
            found.push(at);
        }
    }
    found
}

/// Packets of picture that a viewer got until now.
fn received(viewer: &Viewer) -> u64 {
    viewer.report().video().unwrap().received
}

/// So many more packets of picture come.
fn goes_on(net: &Net, viewer: Viewer, packets: u64) -> Viewer {
    net.run(async move {
        let wanted = received(&viewer) + packets;
        let came = viewer.wait_until(WITHIN, |report| report.video().unwrap().received >= wanted).await;
        assert!(came, "the picture goes on: {:?}", viewer.report());
        viewer
    })
}

/// A server and a client, with a cable and these addresses.
fn pair(addresses: &[(&str, &str)]) -> (Net, Net) {
    let (server, client) = (Net::new("server"), Net::new("client"));
    wire((&server, "eth0"), (&client, "eth0"));
    for (of_server, of_client) in addresses {
        server.address("eth0", of_server);
        client.address("eth0", of_client);
    }
    (server, client)
}

/// A client, a router and a server behind it.
fn routed() -> (Net, Net, Net) {
    let (server, router, client) = (Net::new("server"), Net::new("router"), Net::new("client"));
    wire((&server, "eth0"), (&router, "in"));
    wire((&client, "eth0"), (&router, "out"));
    server.address("eth0", "10.0.0.7/24");
    router.address("in", "10.0.0.1/24");
    router.address("out", "203.0.113.1/24");
    router.address("out", "203.0.113.7/32");
    client.address("eth0", "203.0.113.200/24");
    server.sh("ip route add default via 10.0.0.1");
    router.routes();
    (server, router, client)
}

#[test]
fn a_bare_machine_tells_its_address() {
    alone("a_bare_machine_tells_its_address", || {
        let (server, client) = pair(&[("192.0.2.10/24", "192.0.2.20/24")]);
        client.guarded();
        let served = Served::start("bare", &server, "A bare machine");
        let base = "http://192.0.2.10:8080";
        ready(&client, base);
        let _publisher = publishes(&client, base, "bare");
        let (viewer, told) = watches(&client, base, "bare");
        assert_eq!(told, ["192.0.2.10 7700"]);
        goes_on(&client, viewer, 100);
        assert!(served.log().contains("192.0.2.10:7700"), "{}", served.log());
        assert!(!served.log().contains("every candidate is"), "{}", served.log());
    });
}

/// What `freshet dev` with these flags has said when it is at its start's end.
fn says(test: &str, server: &Net, flags: &str) -> String {
    let args: Vec<&str> = std::iter::once("dev").chain(flags.split(' ')).collect();
    let served = Served::start_by(test, server, &args);
    // Addresses are spoken of before.
    waits_for(&served.process, "Freshet is at ");
    served.log()
}

/// Waits until a process has said this.
fn waits_for(process: &Process, words: &str) {
    let began = std::time::Instant::now();
    while !std::fs::read_to_string(&process.log).unwrap().contains(words) {
        assert!(began.elapsed() < WITHIN, "{words:?} is not said: {}", process.tail());
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn who_tells_no_address_that_others_reach_is_warned() {
    alone("who_tells_no_address_that_others_reach_is_warned", || {
        let server = Net::new("server");
        for (nth, (listen, told, word)) in [
            ("0.0.0.0", "--ip 10.0.0.7", Some("a private")),
            ("0.0.0.0", "--ip 100.64.0.7", Some("a private")),
            ("[::]", "--ip fd00::7", Some("a private")),
            ("0.0.0.0", "--ip 169.254.7.7", Some("a link-local")),
            ("0.0.0.0", "--ip 127.0.0.1", Some("a loopback")),
            ("[::]", "--ip ::1", Some("a loopback")),
            // The best of them counts.
            ("0.0.0.0", "--ip 127.0.0.1 --ip 10.0.0.7", Some("a private")),
            ("0.0.0.0", "--ip 10.0.0.7 --ip 203.0.113.7", None),
            // Media is as near as HTTP is.
            ("127.0.0.1", "--ip 127.0.0.1", None),
        ]
        .into_iter()
        .enumerate()
        {
            let flags = format!("--listen {listen}:8080 --udp-port 7700 {told}");
            let log = says(&format!("warned-{nth}"), &server, &flags);
            let warnings: Vec<&str> =
                log.lines().filter(|line| line.contains("every candidate is")).collect();
            assert_eq!(warnings.len(), usize::from(word.is_some()), "{flags}: {log}");
            for (warning, word) in warnings.iter().zip(word) {
                let said = warning.contains("WARN") && warning.contains(&format!("is {word} address: only "));
                assert!(said && warning.contains("--candidate "), "{flags}: {warning}");
            }
        }
        let behind = "--listen 0.0.0.0:8080 --udp-port 7700 --candidate 203.0.113.7=10.9.9.9";
        assert!(says("warned-behind", &server, behind).contains("stands behind = in --candidate"));
        // Without its interface such an address means nothing.
        for (nth, flags) in
            ["--ip fe80::7", "--candidate [fe80::7]:7700", "--udp-bind fe80::7%eth0"].into_iter().enumerate()
        {
            let args: Vec<&str> =
                ["dev", "--listen", "[::]:8080"].into_iter().chain(flags.split(' ')).collect();
            let mut served = Served::start_by(&format!("refused-{nth}"), &server, &args);
            assert_eq!(served.process.wait(WITHIN), Some(1), "{flags}");
            assert!(served.log().contains("scope") && served.log().contains("global"), "{}", served.log());
        }
    });
}

/// Dev's nodes serve HTTP on loopback alone; one of a cluster may serve it far and wide.
#[test]
fn a_node_that_is_called_from_afar_and_tells_loopback_is_warned() {
    alone("a_node_that_is_called_from_afar_and_tells_loopback_is_warned", || {
        let up = std::process::Command::new("ip").args(["link", "set", "lo", "up"]).status().unwrap();
        assert!(up.success());
        let (etcd, nats, dir) = (EtcdServer::start(), NatsServer::start(), tempfile::tempdir().unwrap());
        let secret = dir.path().join("secret");
        let text = "a cluster secret for tests, 32 bytes long or more";
        std::fs::write(&secret, text).unwrap();
        remember_secret(text);
        for (id, listen, warned) in [("far", "0.0.0.0:8080", true), ("near", "127.0.0.1:8080", false)] {
            let flags = format!(
                "node --etcd {} --nats {} --cluster-secret-file {} --open --id {id} --listen {listen} \
                 --udp-port 0 --ip 127.0.0.1 --relay 127.0.0.1:0",
                etcd.url(),
                nats.url(),
                secret.display()
            );
            let args: Vec<String> = flags.split(' ').map(str::to_owned).collect();
            let process = Process::start(dir.path(), "warned-node", id, &args, &[]);
            waits_for(&process, "node started");
            let log = std::fs::read_to_string(&process.log).unwrap();
            assert_eq!(log.contains("every candidate is a loopback address"), warned, "{listen}: {log}");
        }
    });
}

#[test]
fn a_client_is_answered_from_the_address_that_it_called() {
    alone("a_client_is_answered_from_the_address_that_it_called", || {
        called::answers_from_it(&called::V4, &[])
    });
}

#[test]
fn a_client_is_answered_by_the_socket_that_it_called() {
    let binds = ["--udp-bind", "192.0.2.10", "--udp-bind", "198.51.100.10"];
    alone("a_client_is_answered_by_the_socket_that_it_called", || {
        called::answers_from_it(&called::V4, &binds)
    });
}

#[test]
fn a_client_is_answered_from_the_ipv6_address_that_it_called() {
    alone("a_client_is_answered_from_the_ipv6_address_that_it_called", || {
        called::answers_from_it(&called::V6, &[])
    });
}

#[test]
fn behind_nat_of_one_to_one_clients_are_told_the_public_address() {
    alone("behind_nat_of_one_to_one_clients_are_told_the_public_address", || {
        let (server, router, client) = routed();
        router.nft(ONE_TO_ONE);
        client.guarded();
        let served = Served::start("nat", &server, "Behind 1:1 NAT");
        let base = "http://203.0.113.7:8080";
        ready(&client, base);
        let _publisher = publishes(&client, base, "nat");
        let (viewer, told) = watches(&client, base, "nat");
        assert_eq!(told, ["203.0.113.7 7700"]);
        goes_on(&client, viewer, 100);
        assert!(!served.log().contains("every candidate is"), "{}", served.log());
    });
}

/// "Clients of the private network are told it by one more `--candidate 10.0.0.7`."
#[test]
fn behind_nat_clients_of_the_inside_are_served_at_the_private_address() {
    alone("behind_nat_clients_of_the_inside_are_served_at_the_private_address", || {
        let (server, router, client) = routed();
        let inside = Net::new("inside");
        wire((&inside, "eth0"), (&server, "eth1"));
        server.address("eth1", "10.9.0.1/24");
        inside.address("eth0", "10.9.0.2/24");
        inside.sh("ip route add 10.0.0.7/32 via 10.9.0.1");
        router.nft(ONE_TO_ONE);
        for net in [&client, &inside] {
            net.guarded();
        }
        let mut args = nets::documented(MANUAL, "Behind 1:1 NAT", "freshet");
        args.extend(["--candidate", "10.0.0.7"].map(str::to_owned));
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let served = Served::start_by("nat-inside", &server, &args);
        ready(&client, "http://203.0.113.7:8080");
        let _publisher = publishes(&client, "http://203.0.113.7:8080", "nat");
        for (net, base) in [(&client, "http://203.0.113.7:8080"), (&inside, "http://10.0.0.7:8080")] {
            let (viewer, told) = watches(net, base, "nat");
            assert_eq!(told, ["203.0.113.7 7700", "10.0.0.7 7700"]);
            goes_on(net, viewer, 100);
        }
        drop(served);
    });
}

/// `make run ARGS="--tls"`, which is `freshet dev --tls`.
#[test]
fn a_phone_in_the_same_network_publishes_by_https() {
    alone("a_phone_in_the_same_network_publishes_by_https", || {
        let section =
            MANUAL.split("\n### A phone in the same network\n").nth(1).expect("it is in the manual");
        assert!(section.trim_start().starts_with("```sh\nmake run ARGS=\"--tls\"\n```"), "{section}");
        let (server, phone) = pair(&[("192.168.7.10/24", "192.168.7.20/24")]);
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let env = [("XDG_STATE_HOME", state.to_str().unwrap()), ("FRESHET_MAX_BUSY", "100%")];
        let program = env!("CARGO_BIN_EXE_freshet");
        let process = server.start(dir.path(), "phone", program, &["dev", "--tls"], &env);
        let kept = state.join("freshet/dev-tls");
        let began = std::time::Instant::now();
        while !kept.join("names.txt").exists() {
            assert!(began.elapsed() < WITHIN, "{}", process.tail());
            std::thread::sleep(Duration::from_millis(20));
        }
        let cert = kept.join("cert.pem");
        believe(&cert);
        let (base, trust) = ("https://192.168.7.10:8443", trust(&cert));
        ready(&phone, base);
        let (publisher, viewer) = phone.run(async move {
            let sends = publish(base, "phone", "", |config| {
                (config.allow_public, config.token, config.retry_for) = (true, None, WITHIN);
                config.trust = trust.clone();
            })
            .await;
            let sees = view(base, "phone", "", |config| {
                (config.allow_public, config.token, config.retry_for) = (true, None, WITHIN);
                config.trust = trust;
            })
            .await;
            (sends, sees)
        });
        let told = told(&viewer.negotiated().answer);
        assert!(told.len() == 1 && told[0].starts_with("192.168.7.10 "), "{told:?}");
        goes_on(&phone, viewer, 100);
        drop((publisher, process));
    });
}

#[test]
fn behind_mapped_ports_each_shard_tells_its_own() {
    alone("behind_mapped_ports_each_shard_tells_its_own", || {
        let (server, router, client) = routed();
        router.nft(
            "table ip test { chain arriving { type nat hook prerouting priority dstnat; \
             ip daddr 203.0.113.7 udp dport 30700 dnat to 10.0.0.7:7700; \
             ip daddr 203.0.113.7 udp dport 30701 dnat to 10.0.0.7:7701; \
             ip daddr 203.0.113.7 tcp dport 30080 dnat to 10.0.0.7:8080; } }",
        );
        client.guarded();
        let heading = "Behind mapped ports: NodePort, a router, a container";
        let served = Served::start("ports", &server, heading);
        let base = "http://203.0.113.7:30080";
        ready(&client, base);
        let publisher = publishes(&client, base, "ports");
        let mut all = told(&publisher.negotiated().answer);
        for _ in 0..3 {
            let (viewer, told) = watches(&client, base, "ports");
            all.extend(told);
            goes_on(&client, viewer, 50);
        }
        all.sort();
        all.dedup();
        assert_eq!(all, ["203.0.113.7 30700", "203.0.113.7 30701"], "both shards were used");
        assert!(["203.0.113.7:30700", "203.0.113.7:30701"].iter().all(|at| served.log().contains(at)));
        drop(served);
    });
}

#[test]
fn behind_mapped_ports_of_two_addresses_each_is_answered_from_its_own() {
    alone(
        "behind_mapped_ports_of_two_addresses_each_is_answered_from_its_own",
        mapped::answers_from_behind_each,
    );
}

#[test]
fn a_network_of_ipv6_alone_is_served() {
    alone("a_network_of_ipv6_alone_is_served", || {
        let (server, client) = pair(&[("2001:db8::10/64", "2001:db8::20/64")]);
        client.guarded();
        let served = Served::start("six", &server, "IPv6 only");
        let base = "http://[2001:db8::10]:8080";
        ready(&client, base);
        let _publisher = publishes(&client, base, "six");
        let (viewer, told) = watches(&client, base, "six");
        assert_eq!(told, ["2001:db8::10 7700"]);
        goes_on(&client, viewer, 100);
        drop(served);
    });
}

/// A viewer of each family at one node, whose publisher has IPv4.
fn both_families(test: &'static str, heading: &str) {
    let (server, client) =
        pair(&[("192.0.2.10/24", "192.0.2.20/24"), ("2001:db8::10/64", "2001:db8::20/64")]);
    client.guarded();
    let served = Served::start(test, &server, heading);
    let (four, six) = ("http://192.0.2.10:8080", "http://[2001:db8::10]:8080");
    ready(&client, four);
    let _publisher = publishes(&client, four, test);
    // Which family a client has follows from that of the URL: its socket is bound to an address of it.
    let watching = [four, six].map(|base| watches(&client, base, test));
    for (viewer, told) in watching {
        assert_eq!(told, ["192.0.2.10 7700", "2001:db8::10 7700"]);
        goes_on(&client, viewer, 100);
    }
    drop(served);
}

#[test]
fn one_socket_serves_both_families() {
    alone("one_socket_serves_both_families", || both_families("dual", "IPv4 and IPv6"));
}

#[test]
fn a_socket_for_each_family_serves_both() {
    alone("a_socket_for_each_family_serves_both", || {
        both_families("sockets", "IPv4 and IPv6, on chosen addresses only");
    });
}

/// A home's router, which gives its clients this public address.
fn home_nat(router: &Net, zone: u8, public: &str) {
    // In another zone packets are strangers to the router: they get the new address, as after its restart.
    router.nft(&format!(
        "table ip test {{}}\ndelete table ip test\ntable ip test {{ \
         chain arriving {{ type filter hook prerouting priority raw; ct zone set {zone}; }}\n\
         chain leaving {{ type nat hook postrouting priority srcnat; oifname \"out\" snat to {public}; }} }}"
    ));
}

#[test]
fn sessions_outlive_a_change_of_the_clients_address() {
    alone("sessions_outlive_a_change_of_the_clients_address", || {
        let (server, router, client) = (Net::new("server"), Net::new("router"), Net::new("client"));
        let guest = Net::new("guest");
        wire((&server, "eth0"), (&router, "out"));
        wire((&client, "eth0"), (&router, "in"));
        wire((&guest, "eth0"), (&server, "eth1"));
        server.address("eth0", "192.0.2.10/24");
        server.address("eth1", "10.9.0.1/24");
        guest.address("eth0", "10.9.0.2/24");
        guest.sh("ip route add default via 10.9.0.1");
        router.address("out", "192.0.2.1/24");
        router.address("in", "10.0.1.1/24");
        client.address("eth0", "10.0.1.2/24");
        client.sh("ip route add default via 10.0.1.1");
        server.sh("ip route add 198.51.100.0/24 via 192.0.2.1");
        router.routes();
        home_nat(&router, 1, "198.51.100.2");
        let served = Served::start("moves", &server, "A bare machine");
        let base = "http://192.0.2.10:8080";
        ready(&client, base);
        let publisher = publishes(&client, base, "moves");
        let (viewer, _) = watches(&client, base, "moves");
        let viewer = goes_on(&client, viewer, 50);

        home_nat(&router, 2, "198.51.100.3");
        // Nobody restarts anything: media goes on both ways ...
        let viewer = goes_on(&client, viewer, 300);
        // ... and what a newcomer asks the publisher for reaches it at its new address: there is no other keyframe.
        let asked = publisher.stats().keyframe_requests;
        let (newcomer, _) = watches(&guest, base, "moves");
        goes_on(&guest, newcomer, 50);
        assert!(publisher.stats().keyframe_requests > asked, "the newcomer's keyframe was asked for");

        // A client that notices restarts ICE, from its next address.
        home_nat(&router, 3, "198.51.100.4");
        let (publisher, viewer) = client.run(async move {
            for outcome in [publisher.restart_ice().await.unwrap(), viewer.restart_ice().await.unwrap()] {
                assert_eq!(outcome.status, 200, "{outcome:?}");
            }
            (publisher, viewer)
        });
        let viewer = goes_on(&client, viewer, 300);
        let (newcomer, _) = watches(&guest, base, "moves");
        goes_on(&guest, newcomer, 50);
        drop((publisher, viewer, served));
    });
}

#[test]
fn clients_without_another_way_are_relayed() {
    alone("clients_without_another_way_are_relayed", || {
        let (router, client, strict) = (Net::new("router"), Net::new("client"), Net::new("strict"));
        let (server, turn) = (Net::new("server"), Net::new("turn"));
        wire((&router, "to-server"), (&server, "eth0"));
        wire((&router, "to-turn"), (&turn, "eth0"));
        wire((&router, "office"), (&client, "eth0"));
        for (net, port, address) in [(&server, "to-server", "192.0.2.10"), (&turn, "to-turn", "192.0.2.20")] {
            net.address("eth0", &format!("{address}/32"));
            net.sh("ip route add 192.0.2.1/32 dev eth0; ip route add default via 192.0.2.1");
            router.address(port, "192.0.2.1/32");
            router.sh(&format!("ip route add {address}/32 dev {port}"));
        }
        wire((&router, "strict"), (&strict, "eth0"));
        for (net, port, network) in [(&client, "office", "10.0.1"), (&strict, "strict", "10.0.2")] {
            router.address(port, &format!("{network}.1/24"));
            net.address("eth0", &format!("{network}.2/24"));
            net.sh(&format!("ip route add default via {network}.1"));
        }
        router.routes();
        // The office lets HTTP out, and UDP to the TURN server's port; the strict one HTTP, TCP to that port, and nothing else.
        router.nft(
            "table ip test { chain passing { type filter hook forward priority 0; policy accept; \
             iifname \"office\" ip daddr 192.0.2.20 udp dport 3478 accept; iifname \"office\" udp dport 1-65535 drop; \
             iifname \"strict\" ip daddr 192.0.2.10 tcp dport 8080 accept; \
             iifname \"strict\" ip daddr 192.0.2.20 tcp dport 3478 accept; iifname \"strict\" drop; } }",
        );
        let heading = "Clients that reach nothing but a TURN server";
        let served = Served::start("relayed", &server, heading);
        let args = nets::documented(MANUAL, heading, "turnserver");
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let relay = turn.start(served.dir.path(), "relayed", "turnserver", &args, &[]);
        let base = "http://192.0.2.10:8080";
        ready(&client, base);
        let publisher = publishes(&server, base, "relayed");
        turn::harness_goes_by_it(&client, &server, base);
        turn::program_goes_by_it(&client, base);
        let watching = [("FRESHET_WATCH_URL", base), ("FRESHET_ROOM", "relayed")];
        let publishing = [
            ("FRESHET_WATCH_URL", base),
            ("FRESHET_ROOM", "relayed-too"),
            ("FRESHET_STUDIO", "1"),
            ("FRESHET_RELAYED_BY", "tcp"),
        ];
        for (net, env) in [(&client, watching.as_slice()), (&strict, publishing.as_slice())] {
            if let Err(said) = browses(net, "relayed.mjs", env) {
                panic!("{said}\n{}\n{}", served.process.tail(), relay.tail());
            }
        }
        drop(publisher);
    });
}

#[test]
fn a_browser_whose_own_address_changes_keeps_its_session() {
    alone("a_browser_whose_own_address_changes_keeps_its_session", || {
        let (server, router, client) = (Net::new("server"), Net::new("router"), Net::new("client"));
        wire((&server, "eth0"), (&router, "out"));
        wire((&client, "eth0"), (&router, "in"));
        server.address("eth0", "192.0.2.10/24");
        server.sh("ip route add 10.0.1.0/24 via 192.0.2.1");
        router.address("out", "192.0.2.1/24");
        router.address("in", "10.0.1.1/24");
        client.address("eth0", "10.0.1.2/24");
        client.sh("ip route add default via 10.0.1.1");
        router.routes();
        let served = Served::start("browser-moves", &server, "A bare machine");
        let base = "http://192.0.2.10:8080";
        ready(&client, base);
        let publisher = publishes(&server, base, "moves");
        let env = [
            ("FRESHET_WATCH_URL", base),
            ("FRESHET_ROOM", "moves"),
            ("FRESHET_FROM", "10.0.1.2/24"),
            ("FRESHET_TO", "10.0.1.9/24"),
            ("FRESHET_GATEWAY", "10.0.1.1"),
        ];
        if let Err(said) = browses(&client, "moves.mjs", &env) {
            panic!("{said}\n{}", served.process.tail());
        }
        drop(publisher);
    });
}

/// A script of the browser on a machine; what it says when it fails.
fn browses(machine: &Net, script: &str, env: &[(&str, &str)]) -> Result<(), String> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser");
    assert!(folder.join("node_modules").exists(), "run `npm ci` in tests/browser first (`make test` does)");
    let mut command = machine.command("node");
    let out = command.arg(script).current_dir(&folder).envs(env.iter().copied()).output().unwrap();
    let (text, errors) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    if out.status.success() { Ok(()) } else { Err(format!("{text}{errors}")) }
}
