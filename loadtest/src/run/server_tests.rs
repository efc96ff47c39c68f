use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::*;
use crate::run::Access;
use crate::scenario::{Scenario, Server, Viewers};

fn plan(server: Server) -> RunPlan {
    let viewers = Viewers { url: "http://127.0.0.1:9/whep".to_owned(), ..Viewers::default() };
    RunPlan::of(&Scenario { viewers, server, ..Scenario::default() }, Access::default()).unwrap()
}

fn meter(pids: &[u32]) -> Result<ServerMeter, String> {
    ServerMeter::start(&plan(Server { pids: pids.to_vec(), ..Server::default() }))
}

/// Answers every request with what `page` says of the number of the request, from 1.
fn serve(page: impl Fn(u64) -> String + Send + 'static) -> (String, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, asked) = (listener.local_addr().unwrap(), Arc::new(AtomicU64::new(0)));
    let count = Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _request = stream.read(&mut [0; 4_096]);
            let body = page(count.fetch_add(1, Ordering::SeqCst) + 1);
            let head =
                format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            let _gone = stream.write_all((head + &body).as_bytes());
        }
    });
    (format!("http://{address}/metrics"), asked)
}

#[test]
fn a_process_that_computes_is_seen_to() {
    let mut busy = std::process::Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
    let mut meter = meter(&[busy.id()]).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    let second = meter.look().unwrap();
    assert!((0.05..1.5).contains(&second.cores.unwrap()), "{second:?}");
    assert!(
        second.resident_bytes.unwrap() > 100_000 && second.switches_per_second.unwrap() >= 0.0,
        "{second:?}"
    );
    assert_eq!((second.packets_per_second, second.joins_per_second), (None, None), "nobody tells");
    busy.kill().unwrap();
    busy.wait().unwrap();
    let gone = meter.look().unwrap();
    assert_eq!((gone.cores, gone.resident_bytes), (Some(0.0), Some(0)), "it has gone");
    let report = meter.report(10, 1_000).unwrap();
    assert!(
        report.cores.unwrap() > 0.0
            && report.cores_max >= report.cores
            && report.resident_bytes_max > Some(0)
    );
    let per_packet = report.cpu_us_per_packet.unwrap();
    assert!((10.0..500.0).contains(&per_packet), "{per_packet} us, of some 300 ms for 1,000");
    // A hundredth as many joined as packets came.
    assert!((report.cpu_ms_per_join.unwrap() * 10.0 / per_packet - 1.0).abs() < 1e-9, "{report:?}");
    assert!(report.switches_per_second.unwrap() >= 0.0 && report.packets.is_none());
    assert_eq!(meter.report(0, 0).unwrap().cpu_us_per_packet, None);
}

#[test]
fn who_is_not_there_is_named() {
    assert!(meter(&[u32::MAX]).err().unwrap().contains("4294967295"));
    let mut none = meter(&[]).unwrap();
    assert!(none.look().is_none() && none.report(1, 1).is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn pages_tell_cpu_packets_and_joins() {
    // Each request finds 0.5 s of CPU, 1,000 packets of 1,250,000 bytes and 4 joins more, of each of two shards.
    let (url, asked) = serve(|nth| {
        let nth = 7 + nth;
        format!(
            "# HELP out Packets\nout{{shard=\"0\"}} {}\nout{{shard=\"1\"}} {}\nin 9\nsize {}\ncome {}\n\
             process_cpu_seconds_total {}\nprocess_resident_memory_bytes 2097152\n",
            nth * 400,
            nth * 600,
            nth * 1_250_000,
            nth * 4,
            nth as f64 * 0.5,
        )
    });
    let series = |name: &str| Some(name.parse().unwrap());
    let (packets, bytes, joins) = (series("out"), series("size"), series("come"));
    let mut meter = ServerMeter::start(&plan(Server {
        metrics: vec![url.clone()],
        packets,
        bytes,
        joins,
        ..Server::default()
    }))
    .unwrap();
    meter.begin().await.unwrap();
    let end = Instant::now() + Duration::from_secs(20);
    let second = loop {
        let second = meter.look().unwrap();
        if second.cores.is_some() {
            break second;
        }
        assert!(Instant::now() < end, "{second:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    // The time between two readings is that of the test's host: shares of it are exact.
    let cores = second.cores.unwrap();
    let near = |value: Option<f64>, exact: f64| (value.unwrap() / exact - 1.0).abs() < 1e-9;
    assert!((0.0..5.0).contains(&cores), "{second:?}");
    assert!(near(second.packets_per_second, cores * 2_000.0), "{second:?}");
    assert!(near(second.bits_per_second, cores * 20_000_000.0), "{second:?}");
    assert!(
        near(second.joins_per_second, cores * 8.0) && second.resident_bytes == Some(2_097_152),
        "{second:?}"
    );
    meter.finish().await;
    meter.look().unwrap();
    let report = meter.report(99, 99).unwrap();
    let read = asked.load(Ordering::SeqCst) - 1;
    assert!(read >= 2, "the last reading counts");
    assert_eq!((report.packets, report.joins), (Some(read * 1_000), Some(read * 4)));
    assert!(near(report.cpu_us_per_packet, 500.0) && near(report.cpu_ms_per_join, 125.0), "{report:?}");
    assert_eq!((report.metrics, report.unread, report.switches_per_second), (vec![url], 0, None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_page_that_cannot_be_used_is_named_at_once() {
    let begin = async |url: String| {
        let meter = ServerMeter::start(&plan(Server { metrics: vec![url], ..Server::default() })).unwrap();
        meter.begin().await.unwrap_err()
    };
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let said = begin(format!("http://{closed}/metrics")).await;
    assert!(said.contains("metrics cannot be read") && said.contains(&closed.to_string()), "{said}");
    assert!(begin("http://192.0.2.1/metrics".to_owned()).await.contains("--i-own-the-target"));
    let (endless, _) = serve(|_| "a 1\n".repeat(1_200_000));
    assert!(begin(endless).await.contains("metrics cannot be read"), "more than 4 MiB");
    // One that accepts and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let began = Instant::now();
    let said = begin(format!("http://{}/metrics", silent.local_addr().unwrap())).await;
    assert!(said.contains("metrics cannot be read") && began.elapsed() < Duration::from_secs(10), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_page_without_the_series_leaves_them_unknown() {
    let (url, _) = serve(|_| "<html>nothing to see</html>".to_owned());
    let mut meter = ServerMeter::start(&plan(Server { metrics: vec![url], ..Server::default() })).unwrap();
    meter.begin().await.unwrap();
    meter.finish().await;
    assert_eq!(meter.look(), Some(ServerSecond::default()));
    let report = meter.report(5, 5).unwrap();
    assert_eq!((report.cores, report.packets, report.cpu_us_per_packet), (None, None, None));
}
