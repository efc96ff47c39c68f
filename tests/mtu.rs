//! A path of 1,280 bytes, the least that IPv6 has: what is longer leaves in fragments, and everything arrives.
//!
//! 40 bytes of IPv6 and 8 of UDP leave 1,232 for a datagram; a packet of media may have 1,250 and more.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::print_stdout)]

use std::time::Duration;

use freshet_cluster::unit::Bitrate;
use freshet_loadtest::client::{Publisher, Viewer};
use freshet_test_support as support;
use support::nets::{self, Net, alone, wire};
use support::{Process, hears, metric, publish, view};

const MANUAL: &str = include_str!("../docs/operate.md");
const WITHIN: Duration = Duration::from_secs(30);
const SERVER: &str = "2001:db8::10";
const BASE: &str = "http://[2001:db8::10]:8080";
/// With header and tag 1,248 bytes, as long as what goes out of 1,200 that came in may be.
const PAYLOAD: usize = 1_220;
/// Packets of picture in about ten seconds.
const PACKETS: u64 = 1_500;

/// A counter of IPv6 on a machine.
fn counted(net: &Net, name: &str) -> u64 {
    let out = net.command("cat").arg("/proc/thread-self/net/snmp6").output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let line = text.lines().find(|line| line.split_whitespace().next() == Some(name)).expect(name);
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

struct Served {
    process: Process,
    _dir: tempfile::TempDir,
}

/// The manual's server, once its API answers this machine.
fn serve(test: &str, server: &Net, client: &Net) -> Served {
    let dir = tempfile::tempdir().unwrap();
    let args = nets::documented(MANUAL, "IPv6 only", "freshet");
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let env = [("FRESHET_MAX_BUSY", "100%")];
    let process = server.start(dir.path(), test, env!("CARGO_BIN_EXE_freshet"), &args, &env);
    client.run(async {
        hears(BASE, 1, None).await;
    });
    Served { process, _dir: dir }
}

/// Each frame is seven packets of one length: a train that the kernel would cut up.
fn publisher(net: &Net) -> Publisher {
    net.run(async {
        publish(BASE, "narrow", "", |config| {
            (config.allow_public, config.token, config.retry_for) = (true, None, WITHIN);
            let video = config.video.as_mut().unwrap();
            (video.max_payload, video.gop) = (PAYLOAD, 0);
            let second = 7 * u64::try_from(PAYLOAD).unwrap() * u64::from(video.fps);
            video.bitrate = Bitrate::from_bps(second * 8);
        })
        .await
    })
}

fn viewer(net: &Net) -> Viewer {
    net.run(async {
        let viewer = view(BASE, "narrow", "", |config| {
            (config.allow_public, config.token, config.retry_for) = (true, None, WITHIN);
        })
        .await;
        assert!(viewer.wait_for_media(WITHIN).await, "media comes: {:?}", viewer.report());
        viewer
    })
}

/// So many packets of picture more come.
fn goes_on(net: &Net, viewer: Viewer, packets: u64) -> Viewer {
    net.run(async move {
        let received = |report: &freshet_loadtest::client::ViewerReport| report.video().unwrap().received;
        let wanted = received(&viewer.report()) + packets;
        let came = viewer.wait_until(WITHIN, |report| received(report) >= wanted).await;
        assert!(came, "the picture goes on: {:?}", viewer.report());
        viewer
    })
}

/// Packets that the node's system refused to send.
fn refused(net: &Net, served: &Served) -> f64 {
    let said = std::fs::read_to_string(&served.process.log).unwrap();
    let line = said.lines().rev().find_map(|line| line.strip_prefix("  node-1 "));
    let (url, _) = line.and_then(|line| line.trim().split_once("/metrics")).expect("the node's metrics");
    let url = url.to_owned();
    let all = net.run(async move { metric(&url, "freshet_node_socket_refused_packets_total").await });
    all.expect("the node counts them")
}

#[test]
fn on_a_link_of_1280_bytes_every_packet_arrives_in_fragments() {
    alone("on_a_link_of_1280_bytes_every_packet_arrives_in_fragments", || {
        let (server, client) = (Net::new("server"), Net::new("client"));
        wire((&server, "eth0"), (&client, "eth0"));
        for (net, address) in [(&server, SERVER), (&client, "2001:db8::20")] {
            net.sh("ip link set eth0 mtu 1280");
            net.address("eth0", &format!("{address}/64"));
        }
        client.guarded();
        let served = serve("mtu-link", &server, &client);
        let host = publisher(&client);
        let watching = goes_on(&client, viewer(&client), PACKETS);
        let report = watching.report();
        let video = report.video().unwrap();
        assert_eq!(
            (video.missing, video.lost_before_recovery, video.payload_mismatch),
            (0, 0, 0),
            "{video:?}"
        );
        assert_eq!(refused(&server, &served), 0.0, "the system took everything");
        let made = [&server, &client].map(|net| counted(net, "Ip6FragCreates"));
        println!("fragments made by server and client: {made:?}");
        assert!(made.iter().all(|made| *made > PACKETS), "long packets both ways: {made:?}");
        drop((host, watching));
    });
}

#[test]
fn a_path_that_turns_out_to_be_of_1280_bytes_is_learnt() {
    alone("a_path_that_turns_out_to_be_of_1280_bytes_is_learnt", || {
        let (server, router, client) = (Net::new("server"), Net::new("router"), Net::new("client"));
        wire((&server, "eth0"), (&router, "in"));
        wire((&router, "out"), (&client, "eth0"));
        router.sh("ip link set out mtu 1280");
        router.routes();
        for (net, port, address) in [
            (&server, "eth0", "2001:db8::10/64"),
            (&router, "in", "2001:db8::1/64"),
            (&router, "out", "2001:db8:1::1/64"),
            (&client, "eth0", "2001:db8:1::20/64"),
        ] {
            net.address(port, address);
        }
        server.sh("ip -6 route add default via 2001:db8::1");
        // It would take more, and knows nothing of what the router's way to it bears.
        client.sh("ip -6 route add default via 2001:db8:1::1");
        client.guarded();
        let served = serve("mtu-path", &server, &client);
        // Here, so that the first long packets are the node's.
        let host = publisher(&server);
        let watching = goes_on(&client, viewer(&client), 100);
        let before = watching.report().video().unwrap().missing;
        let watching = goes_on(&client, watching, PACKETS);
        let report = watching.report();
        let video = report.video().unwrap();
        assert!(video.missing <= before, "once it is known, nothing is lost: {before}, {video:?}");
        assert_eq!(video.payload_mismatch, 0, "{video:?}");
        assert_eq!(refused(&server, &served), 0.0, "the system took everything");
        let (told, made) = (counted(&router, "Icmp6OutPktTooBigs"), counted(&server, "Ip6FragCreates"));
        println!("the router said {told} times that it was too long; {made} fragments were made");
        assert!(told > 0 && made > PACKETS, "{told} {made}");
        drop((host, watching));
    });
}
