//! Behind nginx, with TLS and a path prefix, by the configuration that the manual gives, and by HTTP/1.1 alone:
//! publish, watch, hear.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use freshet_cluster::testing::free_ports;
use freshet_loadtest::client::{Publisher, PublisherConfig, Viewer, ViewerConfig};
use freshet_test_support as support;
use http_body_util::Empty;
use support::byhand::{ByHand, lines};
use support::client::{Pair, client, old_client};
use support::dev::Dev;
use support::nets::{Net, alone, wire};
use support::{Listener, eventually, hears, metric, publish, request, view};

const SOON: Duration = Duration::from_secs(20);
const JSON: (&str, &str) = ("content-type", "application/json");

/// nginx with a configuration of the manual. Ended in order when dropped, its workers with it.
struct Nginx {
    child: Child,
    log: PathBuf,
}

impl Nginx {
    fn start(dir: &Path, names: &[(&str, String)]) -> Self {
        Self::start_by(dir, names, Command::new)
    }

    /// What the manual's names and addresses are here, by what stands for what. `run` makes the command of a program.
    fn start_by(dir: &Path, names: &[(&str, String)], run: impl FnOnce(&'static str) -> Command) -> Self {
        let log = dir.join("nginx.log");
        let config = dir.join("nginx.conf");
        std::fs::write(&config, whole(dir, &log, &manual(names))).unwrap();
        let program = if Path::new("/usr/sbin/nginx").exists() { "/usr/sbin/nginx" } else { "nginx" };
        let mut command = run(program);
        command.arg("-e").arg(&log).arg("-c").arg(&config).stdin(Stdio::null());
        let child = command.spawn().expect("nginx is installed (scripts/install.sh --for test)");
        Self { child, log }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ended = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        let _reaped = self.child.wait();
    }
}

/// The one nginx block of docs/operate.md, with its names replaced. Each name must be there: the page and the test
/// speak of the same configuration.
fn manual(names: &[(&str, String)]) -> String {
    let page = include_str!("../docs/operate.md");
    let blocks: Vec<&str> = page.split("```nginx\n").skip(1).collect();
    assert_eq!(blocks.len(), 1, "one configuration in the manual");
    let mut block = blocks[0].split("```").next().unwrap().to_owned();
    for (name, here) in names {
        assert!(block.contains(name), "{name} is not in the manual's configuration:\n{block}");
        block = block.replace(name, here);
    }
    block
}

/// What a distribution's own nginx.conf says around it, in a folder of ours.
fn whole(dir: &Path, log: &Path, block: &str) -> String {
    use std::os::unix::fs::MetadataExt as _;
    // A worker of another user could not write below the folder.
    let user = if std::fs::metadata("/proc/self").unwrap().uid() == 0 { "user root;" } else { "" };
    let (dir, log) = (dir.display(), log.display());
    format!(
        "{user} daemon off; worker_processes 1; pid {dir}/nginx.pid; error_log {log};\n\
         events {{ worker_connections 256; }}\n\
         http {{\n\
         access_log {dir}/access.log; client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy;\n\
         fastcgi_temp_path {dir}/fastcgi; uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi;\n\
         {block}\n}}\n"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_nginx_as_the_manual_sets_it_up_people_publish_watch_and_hear() {
    let dir = tempfile::tempdir().unwrap();
    let pair = Pair::make(dir.path(), &["live.example.org", "127.0.0.1"]);
    let [port] = free_ports::<1>();
    let base = format!("https://127.0.0.1:{port}/cast");
    let dev = Dev::start_with("proxy", 2, 10, &[("FRESHET_PUBLIC_URL", &base)]).await;
    let inside = dev.url().strip_prefix("http://").unwrap().to_owned();
    let mut names = [
        ("443", format!("127.0.0.1:{port}")),
        ("10.0.0.11:8080", inside.clone()),
        ("10.0.0.12:8080", inside),
        ("/etc/ssl/live.example.org.crt", pair.cert.display().to_string()),
        ("/etc/ssl/live.example.org.key", pair.key.display().to_string()),
    ];
    let nginx = Nginx::start(dir.path(), &names);
    passes_on(&nginx, &base).await;
    both_versions(&base).await;
    sessions(&base, &pair, "stage").await;
    pages(&dev, &base);
    drop(nginx);

    // The same by HTTP/1.1 alone.
    names[0] = ("443 ssl http2", format!("127.0.0.1:{port} ssl"));
    let nginx = Nginx::start(dir.path(), &names);
    passes_on(&nginx, &base).await;
    let ask = http::Request::get(format!("{base}/v1/config")).body(Empty::<Bytes>::new()).unwrap();
    assert_eq!(client().request(ask).await.unwrap().version(), http::Version::HTTP_11);
    sessions(&base, &pair, "old-stage").await;
    drop(nginx);
    dev.stop();
}

async fn passes_on(nginx: &Nginx, base: &str) {
    eventually(SOON, &format!("nginx passes requests on:\n{}", nginx.log()), || async {
        request("GET", &format!("{base}/readyz"), None, &[], "").await.filter(|answer| answer.status == 200)
    })
    .await;
}

/// HTTP/1.1 and HTTP/2 in front of nginx come to the same. Addresses that are handed out are those of the front.
async fn both_versions(base: &str) {
    let get = |path: &str| http::Request::get(format!("{base}{path}")).body(Empty::<Bytes>::new()).unwrap();
    let two = client().request(get("/v1/config")).await.unwrap();
    assert_eq!((two.status().as_u16(), two.version()), (200, http::Version::HTTP_2));
    let one = old_client().request(get("/v1/config")).await.unwrap();
    assert_eq!((one.status().as_u16(), one.version()), (200, http::Version::HTTP_11));
    let described = request("GET", &format!("{base}/openapi.json"), None, &[], "").await.unwrap().json();
    assert_eq!(described["servers"][0]["url"], base, "{}", described["servers"]);
    for page in ["/", "/studio", "/watch/stage"] {
        let answer = request("GET", &format!("{base}{page}"), None, &[], "").await.unwrap();
        assert_eq!(answer.status, 200, "{page}");
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        let assets: Vec<&str> = text.split('"').filter(|part| part.contains("assets/")).collect();
        assert!(!assets.is_empty(), "{page}: {text}");
        for asset in assets {
            assert!(!asset.starts_with('/'), "{page} takes {asset} from beside the prefix");
            // As a browser resolves it against the page.
            let folder = page.rsplit_once('/').unwrap().0;
            let url = match asset.strip_prefix("../") {
                Some(rest) => {
                    format!("{base}{}/{rest}", folder.rsplit_once('/').map_or("", |(above, _)| above))
                }
                None => format!("{base}{folder}/{}", asset.trim_start_matches("./")),
            };
            let answer = request("GET", &url, None, &[], "").await.unwrap();
            assert_eq!(answer.status, 200, "{page} wants {asset}, {url}");
        }
    }
    let outside = base.strip_suffix("/cast").unwrap();
    assert_eq!(request("GET", &format!("{outside}/v1/config"), None, &[], "").await.unwrap().status, 404);
}

/// WHIP and WHEP with media, a room's events and those of a session, all of it as it happens.
async fn sessions(base: &str, pair: &Pair, name: &str) {
    let room = Listener::open(base, name, "").await;
    let config =
        PublisherConfig { trust: pair.trust(), ..PublisherConfig::new(format!("{base}/whip/{name}")) };
    let publisher = Publisher::connect(config).await.expect("a publisher joins");
    let config = ViewerConfig {
        trust: pair.trust(),
        retry_for: SOON,
        ..ViewerConfig::new(format!("{base}/whep/{name}"))
    };
    let viewer = Viewer::connect(config).await.expect("a viewer joins");
    assert!(viewer.wait_for_media(SOON).await, "media comes");
    for url in [publisher.resource().url(), viewer.resource().url()] {
        assert!(url.starts_with(&format!("{base}/sessions/")), "{url}");
    }
    assert_eq!(viewer.restart_ice().await.unwrap().status, 200);

    let at = viewer.resource().url();
    let headers = &viewer.negotiated().response.headers;
    let links: Vec<_> = headers.get_all("link").iter().map(|link| link.to_str().unwrap()).collect();
    let below = format!("<{base}/sessions/");
    assert!(links.len() == 2 && links.iter().all(|link| link.starts_with(&below)), "{links:?}");
    let made = request("POST", &format!("{at}/sse"), None, &[], "").await.unwrap();
    assert_eq!(made.status, 201);
    let stream = made.headers["location"].to_str().unwrap().to_owned();
    assert!(stream.starts_with(&format!("{base}/sessions/")), "{stream}");
    let session = Listener::read(&stream, "").await;
    // The stream is open, so what is heard has come out of the proxy before its end.
    eventually(SOON, "the session says that its stream is there", || async {
        session.text().contains("event: active").then_some(())
    })
    .await;
    let said = r#"{"id": "m-1", "text": "through the front"}"#;
    let answer = request("POST", &format!("{base}/v1/rooms/{name}/chat"), None, &[JSON], said).await.unwrap();
    assert_eq!(answer.status, 201, "{}", answer.json());
    eventually(SOON, "the room hears what is said, and that somebody publishes", || async {
        let text = room.text();
        (text.contains("through the front") && text.contains("event: stream")).then_some(())
    })
    .await;
    publisher.stop().await.expect("the publisher leaves by its Location");
    eventually(SOON, "the session says that its stream has ended", || async {
        session.text().contains("event: inactive").then_some(())
    })
    .await;
    assert!(!room.ended() && !session.ended(), "nobody was cut off");
    viewer.stop().await.expect("the viewer leaves by its Location");
}

/// The real pages in a real browser, over https and below the prefix.
fn pages(dev: &Dev, base: &str) {
    let env = [("FRESHET_PUBLISH_URL", base), ("FRESHET_WATCH_URL", base), ("FRESHET_ANY_CERTIFICATE", "1")];
    let outcome = dev.run("watch.mjs", &env);
    assert!(outcome.ok, "{}", outcome.said);
    assert!(outcome.result["frames"].as_u64().unwrap() > 60, "{}", outcome.said);
}

/// The manual's page followed literally: proxy and cluster with a network between them, and a client that reaches the
/// proxy's port 443 and the node's media alone.
#[test]
fn the_manuals_page_about_proxies_is_true_between_networks() {
    alone("the_manuals_page_about_proxies_is_true_between_networks", || {
        let (front, inside, client) = (Net::new("front"), Net::new("inside"), Net::new("client"));
        wire((&client, "eth0"), (&front, "out"));
        wire((&inside, "eth0"), (&front, "in"));
        client.address("eth0", "203.0.113.200/24");
        front.address("out", "203.0.113.1/24");
        front.address("in", "10.0.0.1/24");
        for machine in ["10.0.0.2/24", "10.0.0.7/24", "10.0.0.11/24", "10.0.0.12/24", "203.0.113.7/32"] {
            inside.address("eth0", machine);
        }
        client.sh("ip route add 203.0.113.7/32 via 203.0.113.1");
        front.sh("ip route add 203.0.113.7/32 via 10.0.0.7");
        inside.sh("ip route add default via 10.0.0.1");
        front.routes();
        front.nft(
            "table inet guard { chain passing { type filter hook forward priority 0; policy drop; \
             ct state established accept; ip daddr 203.0.113.7 udp dport 7700-7715 accept; } }",
        );

        let dir = tempfile::tempdir().unwrap();
        let pair = Pair::make(dir.path(), &["203.0.113.1"]);
        let mut hand = ByHand::start("proxy-page", &inside, "### On several machines");
        let lines = ["node", "coordinator"].map(|role| lines("## Behind a proxy", role)).concat();
        assert_eq!(lines.len(), 3, "a node and two coordinators");
        for (n, line) in lines.iter().enumerate() {
            let line: Vec<String> =
                line.iter().map(|word| word.replace("live.example.org", "203.0.113.1")).collect();
            hand.run(&inside, &format!("machine-{n}"), &line);
        }
        let names = [
            ("live.example.org;", "203.0.113.1;".to_owned()),
            ("/etc/ssl/live.example.org.crt", pair.cert.display().to_string()),
            ("/etc/ssl/live.example.org.key", pair.key.display().to_string()),
        ];
        let nginx = Nginx::start_by(dir.path(), &names, |program| front.command(program));

        let (trust, log) = (pair.trust(), hand.processes[2].log.clone());
        let admin = hand.token("*", "operator", "admin");
        let (host, ann) = (hand.token("page", "host", "publish"), hand.token("page", "ann", "subscribe"));
        client.run(async move {
            let base = "https://203.0.113.1/cast";
            // Says who stands behind the proxy.
            hears(base, 1, Some(&admin)).await;
            let room = Listener::open(base, "page", &ann).await;
            let sends = publish(base, "page", &host, |config| {
                (config.allow_public, config.trust, config.retry_for) = (true, trust.clone(), SOON);
            })
            .await;
            let sees = view(base, "page", &ann, |config| {
                (config.allow_public, config.trust, config.retry_for) = (true, trust.clone(), SOON);
            })
            .await;
            assert!(sees.wait_for_media(SOON).await, "media comes: {:?}", sees.report());
            assert!(sees.resource().url().starts_with(&format!("{base}/sessions/machine-0/")));
            assert!(
                sees.negotiated().answer.contains("203.0.113.7 7700 typ host"),
                "{}",
                sees.negotiated().answer
            );
            eventually(SOON, "the room hears that somebody publishes", || async {
                room.text().contains("event: stream").then_some(())
            })
            .await;
            sees.stop().await.expect("the viewer leaves by its Location");
            sends.stop().await.expect("the publisher leaves by its Location");
        });
        // The proxy's word about the client was believed: nobody had to be asked whether they are there.
        let log = std::fs::read_to_string(log).unwrap();
        assert_eq!(log.matches("client=Some(203.0.113.200)").count(), 2, "{log}\n{}", nginx.log());
        let asked =
            inside.run(async { metric("http://10.0.0.7:8080", "freshet_node_unproven_checks_total").await });
        assert_eq!(asked, Some(0.0));
    });
}
