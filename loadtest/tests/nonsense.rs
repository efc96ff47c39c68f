//! Servers that speak nonsense, at each step of a session: the run ends in time, in a line that says what was wrong, and
//! what does not hurt a session is counted.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod fixture;
mod program;

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use fixture::{Fixture, Script};
use program::loadtest;
use serde_json::Value;

/// A server of TCP that answers each connection with these bytes, to the end of the process; its port.
fn says(bytes: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = stream;
            let _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
            let _ = stream.read(&mut [0; 4_096]);
            let _ = stream.write_all(bytes);
        }
    });
    port
}

/// The one line with which a run of these arguments ends before anybody watched.
async fn refused(arguments: &[&str]) -> String {
    let began = Instant::now();
    let output = loadtest(&[&["run", "--quiet"][..], arguments].concat()).await;
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), said.lines().count(), output.stdout.len()), (Some(2), 1, 0), "{said}");
    assert!(began.elapsed() < Duration::from_secs(12), "{said}");
    said
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_web_server_is_not_called_unreachable() {
    let long = [&b"HTTP/1.1 201 Created\r\nlocation: /x\r\n\r\n"[..], &[b'v'; 300_000]].concat();
    let long: &'static [u8] = Box::leak(long.into_boxed_slice());
    for (bytes, says_what) in [
        (&b"SSH-2.0-OpenSSH_9.9\r\n"[..], "does not speak HTTP"),
        (b"\x16\x03\x01\x00\x05hello", "does not speak HTTP"),
        (b"HTTP/1.1 two hundred\r\n\r\n", "does not speak HTTP"),
        (long, "the body is longer than"),
        (b"HTTP/1.1 201 Created\r\n\r\n\x00\xff\xfe", "Location"),
    ] {
        let url = format!("http://127.0.0.1:{}/room", says(bytes));
        let watching =
            refused(&["--whep", &url, "--viewers", "2", "--duration", "1s", "--http-timeout", "3s"]).await;
        assert!(watching.contains("none of 2 viewers connected"), "{watching}");
        let publishing = refused(&["--whip", &url, "--whep", &url, "--http-timeout", "3s"]).await;
        assert!(publishing.contains("publisher 0 could not connect"), "{publishing}");
        for said in [watching, publishing] {
            assert!(said.contains(says_what) && !said.contains("unreachable"), "{says_what}: {said}");
        }
    }
}

/// Where somebody answers every datagram with rubbish.
static ELSEWHERE: AtomicU16 = AtomicU16::new(0);

/// Leads viewers there instead.
fn astray(answer: String) -> String {
    let port = ELSEWHERE.load(Ordering::Relaxed).to_string();
    let lines = answer.lines().map(|line| {
        let mut words: Vec<&str> = line.split(' ').collect();
        if line.starts_with("a=candidate:") {
            words[5] = &port;
        }
        format!("{}\r\n", words.join(" "))
    });
    lines.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nonsense_instead_of_ice_and_dtls_ends_in_time_and_says_where_it_stood() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    ELSEWHERE.store(socket.local_addr().unwrap().port(), Ordering::Relaxed);
    std::thread::spawn(move || {
        let mut buffer = [0; 2_000];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            // What was asked, with everything behind the transaction turned around; then no STUN at all.
            buffer[..length].iter_mut().skip(20).for_each(|byte| *byte = !*byte);
            for datagram in [&buffer[..length], &[1, 1, 0, 4][..], &[0xff; 600], &[]] {
                let _ = socket.send_to(datagram, from);
            }
        }
    });
    let ice = Script { rewrite: Some(astray), ..Script::default() };
    let dtls = Script { rubbish_dtls: true, ..Script::default() };
    tokio::join!(
        stands_still(ice.clone(), "ICE", "full"),
        stands_still(ice, "ICE", "sampled"),
        stands_still(dtls.clone(), "DTLS", "full"),
        stands_still(dtls, "DTLS", "sampled"),
    );
}

/// No viewer gets beyond a step.
async fn stands_still(script: Script, step: &str, mode: &str) {
    let server = Fixture::start(script).await;
    let (whip, whep) = (server.url("/whip/room"), server.url("/whep/room"));
    let few = ["--viewers", "2", "--ramp", "storm", "--duration", "6s", "--connect-timeout", "2s"];
    let said = refused(&[&["--whip", &whip, "--whep", &whep, "--mode", mode][..], &few].concat()).await;
    assert!(said.contains("none of 2 viewers connected") && said.contains(step), "{mode}: {said}");
    // The publisher, and each attempt of the viewers.
    let (posts, deletes) =
        (server.count(|counters| &counters.posts), server.count(|counters| &counters.deletes));
    assert!(posts >= 3 && posts == deletes, "{mode}: {posts} came, {deletes} said goodbye");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nonsense_among_the_media_is_counted_and_hurts_nobody() {
    for mode in ["full", "sampled"] {
        let server = Fixture::start(Script { rubbish_every: Some(20), ..Script::default() }).await;
        let (whip, whep) = (server.url("/whip/room"), server.url("/whep/room"));
        let mut arguments =
            vec!["run", "--whip", &whip, "--whep", &whep, "--viewers", "4", "--duration", "3s"];
        arguments.extend([
            "--mode",
            mode,
            "--sample",
            "2",
            "--bitrate",
            "500k",
            "--threads",
            "1",
            "--json",
            "--quiet",
        ]);
        for bound in ["failed>0", "silent>0", "ended>0", "loss>0%", "mismatched>0", "out-of-order>0"] {
            arguments.extend(["--fail-if", bound]);
        }
        let output = loadtest(&arguments).await;
        let said = String::from_utf8_lossy(&output.stderr);
        let report: Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"));
        assert_eq!(output.status.code(), Some(0), "{mode}: {said} {report:#}");
        assert!(server.count(|counters| &counters.rubbish) > 1_000, "{mode}");
        assert!(report["packets"]["rejected"].as_u64().unwrap() > 10, "{mode}: {}", report["packets"]);
        assert!(
            report["packets"]["received"].as_u64().unwrap() > 4 * 3 * 80,
            "{mode}: {}",
            report["packets"]
        );
    }
}
