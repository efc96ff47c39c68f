//! Every status code of WHIP and WHEP on the wire, asked of coordinators as a browser or an encoder asks them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::Duration;

use freshet_test_support as support;
use support::{Answer, Cluster, Plan, eventually, publish, request, token, view};

const SDP: (&str, &str) = ("content-type", "application/sdp");
const FRAGMENT: (&str, &str) = ("content-type", "application/trickle-ice-sdpfrag");
const CANDIDATE: &str = "a=mid:0\r\na=candidate:1 1 udp 2130706431 127.0.0.1 50000 typ host\r\n";

/// What Chromium offers to publish camera and microphone.
fn publish_offer() -> String {
    include_str!("data/offer-publish.sdp").replace('\n', "\r\n")
}

/// What Chromium offers to watch.
fn view_offer() -> String {
    include_str!("data/offer-view.sdp").replace('\n', "\r\n")
}

/// The offer for an endpoint.
fn offer_of(path: &str) -> String {
    if path.starts_with("/whip") { publish_offer() } else { view_offer() }
}

/// The offer with one of its two media sections alone.
fn only(offer: &str, kind: &str) -> String {
    let mut parts = offer.split("m=");
    let head = parts.next().unwrap();
    let section = parts.find(|section| section.starts_with(kind)).expect("the offer has it");
    let mid = section.lines().find_map(|line| line.strip_prefix("a=mid:")).unwrap();
    format!("{}m={section}", head.replace("BUNDLE 0 1", &format!("BUNDLE {mid}")))
}

/// An audio offer of codecs that nobody here forwards.
fn foreign(offer: &str) -> String {
    let mut audio = only(offer, "audio").replace("SAVPF 111 63 9 0 8 13 110 126", "SAVPF 9 0 8");
    for payload_type in ["111", "63", "13", "110", "126"] {
        for name in ["rtpmap", "fmtp", "rtcp-fb"] {
            let start = format!("a={name}:{payload_type} ");
            audio = audio.split_inclusive("\r\n").filter(|line| !line.starts_with(&start)).collect();
        }
    }
    audio
}

/// A request and what must come back.
struct Case<'a> {
    what: &'a str,
    method: &'a str,
    path: String,
    token: Option<&'a str>,
    headers: Vec<(&'a str, &'a str)>,
    body: String,
    status: u16,
    reason: &'a str,
    /// Headers that must be there, with a part of their value.
    must: Vec<(&'a str, &'a str)>,
}

fn case<'a>(what: &'a str, method: &'a str, path: &str, token: &'a str, status: u16) -> Case<'a> {
    let (headers, body, must) = (vec![], String::new(), vec![]);
    Case { what, method, path: path.to_owned(), token: Some(token), headers, body, status, reason: "", must }
}

impl<'a> Case<'a> {
    fn anonymous(mut self) -> Self {
        self.token = None;
        self
    }

    fn with(mut self, header: (&'a str, &'a str)) -> Self {
        self.headers.push(header);
        self
    }

    fn body(mut self, body: &str) -> Self {
        self.body = body.to_owned();
        self
    }

    fn because(mut self, reason: &'a str) -> Self {
        self.reason = reason;
        self
    }

    fn must(mut self, name: &'a str, part: &'a str) -> Self {
        self.must.push((name, part));
        self
    }

    /// Asks, and checks status, headers, and the problem of an error.
    async fn run(self, base: &str) -> Answer {
        let what = format!("{} ({} {})", self.what, self.method, self.path);
        let url = format!("{base}{}", self.path);
        let answer = request(self.method, &url, self.token, &self.headers, self.body).await;
        let answer = answer.unwrap_or_else(|| panic!("{what}: no answer"));
        let said = String::from_utf8_lossy(&answer.body).into_owned();
        assert_eq!(answer.status, self.status, "{what}: {said}");
        assert_eq!(header(&answer, "access-control-allow-origin"), "*", "{what}: any page may read it");
        for (name, part) in &self.must {
            assert!(answer.headers.contains_key(*name), "{what}: {name} is missing");
            assert!(header(&answer, name).contains(part), "{what}: {name} is {:?}", header(&answer, name));
        }
        if answer.status >= 400 {
            assert_eq!(header(&answer, "content-type"), "application/problem+json", "{what}: {said}");
            let problem = answer.json();
            assert_eq!(problem["status"], answer.status, "{what}: {said}");
            assert!(problem["detail"].as_str().is_some_and(|text| text.len() > 10), "{what}: {said}");
            if !self.reason.is_empty() {
                assert_eq!(problem["reason"], self.reason, "{what}: {said}");
            }
        }
        answer
    }
}

/// A header's value, empty when it is not there.
fn header<'a>(answer: &'a Answer, name: &str) -> &'a str {
    answer.headers.get(name).map_or("", |value| value.to_str().unwrap())
}

/// The checks of a 201. Returns the session's path and entity tag.
fn created(answer: &Answer) -> (String, String) {
    assert_eq!(answer.status, 201, "{}", String::from_utf8_lossy(&answer.body));
    assert_eq!(header(answer, "content-type"), "application/sdp");
    let location = header(answer, "location").to_owned();
    assert!(location.starts_with("/sessions/node-1/"), "{location}");
    let session = location.rsplit('/').next().unwrap();
    assert!(session.len() == 32 && session.bytes().all(|b| b.is_ascii_hexdigit()), "128 bits: {location}");
    let tag = header(answer, "etag").to_owned();
    assert!(tag.len() > 2 && tag.starts_with('"') && tag.ends_with('"'), "a strong tag: {tag:?}");
    let exposed = header(answer, "access-control-expose-headers").to_lowercase();
    for name in ["location", "link", "etag"] {
        assert!(exposed.split(", ").any(|n| n == name), "{name} is exposed: {exposed}");
    }
    (location, tag)
}

/// The directions of the media sections of an answer that are not refused.
fn sections(answer: &Answer) -> Vec<String> {
    let text = std::str::from_utf8(&answer.body).unwrap();
    let kind = |section: &str| section.split(' ').next().unwrap().to_owned();
    let live = text
        .split("\r\nm=")
        .skip(1)
        .filter(|s| !s.contains("a=inactive") && s.split(' ').nth(1) != Some("0"));
    live.map(kind).collect()
}

struct Tokens {
    host: String,
    rival: String,
    viewer: String,
    elsewhere: String,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_status_code_is_on_the_wire() {
    let cluster = Cluster::start("wire", Plan { nodes: 1, coordinators: 2, max_sessions: 100 }).await;
    let tokens = Tokens {
        host: token("show", "host", "publish"),
        rival: token("show", "rival", "publish,subscribe"),
        viewer: token("show", "viewer", "subscribe"),
        elsewhere: token("other", "host", "publish,subscribe"),
    };
    let (one, two) = (cluster.url(0), cluster.url(1));
    endpoints(&one, &tokens).await;
    refused_offers(&one, &tokens).await;
    sessions(&one, &two, &tokens).await;
    live(&cluster, &tokens).await;
    for process in cluster.nodes.iter().chain(&cluster.coordinators).flatten() {
        let log = std::fs::read_to_string(&process.log).unwrap();
        assert!(!log.contains("panicked"), "{}: {}", process.name, process.tail());
    }
}

/// What endpoints say before anything is negotiated.
async fn endpoints(base: &str, tokens: &Tokens) {
    let offer = publish_offer();
    for (path, token) in [("/whip", &tokens.host), ("/whep", &tokens.viewer)] {
        let room = format!("{path}/show");
        let post = |what, status| case(what, "POST", &room, token, status).with(SDP).body(&offer);
        case("options", "OPTIONS", &room, token, 200)
            .anonymous()
            .must("allow", "POST")
            .must("accept-post", "application/sdp")
            .run(base)
            .await;
        case("a preflight", "OPTIONS", &room, token, 200)
            .anonymous()
            .with(("origin", "https://studio.example"))
            .with(("access-control-request-method", "POST"))
            .with(("access-control-request-headers", "authorization, content-type"))
            .must("access-control-allow-methods", "POST")
            .must("access-control-allow-methods", "PATCH")
            .must("access-control-allow-methods", "DELETE")
            .must("access-control-allow-headers", "Authorization")
            .must("access-control-allow-headers", "Content-Type")
            .must("access-control-allow-headers", "If-Match")
            .run(base)
            .await;
        case("get", "GET", &room, token, 204).run(base).await;
        for method in ["PUT", "DELETE", "PATCH"] {
            case("a method that is not there", method, &room, token, 405)
                .must("allow", "POST")
                .run(base)
                .await;
        }
        post("no token", 401)
            .anonymous()
            .because("token-missing")
            .must("www-authenticate", "Bearer")
            .run(base)
            .await;
        let forged = format!("{}AAAA", &token[..token.len() - 4]);
        for (what, bad) in
            [("no JWT", "abc"), ("a forged signature", forged.as_str()), ("no algorithm", NO_ALG)]
        {
            let mut bad_token = post(what, 401).because("token-invalid").must("www-authenticate", "Bearer");
            bad_token.token = Some(bad);
            bad_token.run(base).await;
        }
        let mut other_room = post("a token of another room", 403).because("not-allowed");
        other_room.token = Some(&tokens.elsewhere);
        other_room.run(base).await;
        let mut other_grant = post("a token without the grant", 403).because("not-allowed");
        other_grant.token = Some(if path == "/whip" { &tokens.viewer } else { &tokens.host });
        other_grant.run(base).await;
        for bad in ["sh.ow", "sh%20ow", "caf%C3%A9", &"r".repeat(65)] {
            let path = format!("{path}/{bad}");
            let bad_id = case("a bad room id", "POST", &path, token, 400).with(SDP).body(&offer);
            bad_id.because("bad-id").run(base).await;
        }
    }
    for bad in ["st.ream", "caf%C3%A9", &"s".repeat(65)] {
        for (path, token) in [("/whip", &tokens.host), ("/whep", &tokens.viewer)] {
            let bad_id = case("a bad stream id", "POST", &format!("{path}/show/{bad}"), token, 400).with(SDP);
            bad_id.body(&offer_of(path)).because("bad-id").run(base).await;
        }
    }
    for (path, token, flow, other) in [
        ("/whip/show", &tokens.host, "a=sendonly", "a=recvonly"),
        ("/whep/show?wait=1", &tokens.viewer, "a=recvonly", "a=sendonly"),
    ] {
        let turned = offer_of(path).replace(flow, other);
        let turned = case("an offer the wrong way round", "POST", path, token, 422).with(SDP).body(&turned);
        turned.because("unprocessable-offer").run(base).await;
    }
    let stolen = case("a stream of somebody else", "POST", "/whip/show/theirs", &tokens.host, 403);
    stolen.with(SDP).body(&offer).because("not-allowed").run(base).await;
}

/// `{"alg":"none"}` with claims that would do.
const NO_ALG: &str =
    "eyJhbGciOiJub25lIn0.eyJyb29tIjoic2hvdyIsImlkZW50aXR5IjoiaG9zdCIsImdyYW50cyI6WyJwdWJsaXNoIl19.";

/// Offers that are not taken, and why.
async fn refused_offers(base: &str, tokens: &Tokens) {
    for (path, token, offer) in
        [("/whip/show", &tokens.host, publish_offer()), ("/whep/show?wait=1", &tokens.viewer, view_offer())]
    {
        let post = |what, status| case(what, "POST", path, token, status);
        let bad = post("not SDP", 400).with(SDP).body("hello").because("bad-sdp");
        bad.run(base).await;
        post("an empty body", 400).with(SDP).because("bad-sdp").run(base).await;
        let large = format!("{offer}a=x:{}\r\n", "x".repeat(70_000));
        let answer = post("too large", 413).with(SDP).body(&large).run(base).await;
        assert!(answer.json()["limit"].as_u64().is_some_and(|limit| limit <= 70_000), "the limit is told");
        let typed = post("another type", 415).with(("content-type", "application/json")).body(&offer);
        typed.must("accept-post", "application/sdp").run(base).await;
        post("no type", 415).body(&offer).must("accept-post", "application/sdp").run(base).await;
        let answer =
            post("no codec in common", 422).with(SDP).body(&foreign(&offer)).because("no-common-codec");
        let problem = answer.run(base).await.json();
        let names = |member: &str| problem[member].to_string().to_lowercase();
        assert!(names("offered").contains("pcmu"), "{problem}");
        assert!(names("served").contains("opus"), "{problem}");
    }
    // A host's tracks are taken whole or not at all (RFC 9725 sections 4.4.2 and 4.4.3).
    let offer = publish_offer();
    let whip = |what| case(what, "POST", "/whip/show", &tokens.host, 422).with(SDP);
    let video = offer.find("m=video").unwrap();
    let second = format!("{offer}{}", offer[video..].replace("a=mid:1", "a=mid:2"));
    let second = second.replace("BUNDLE 0 1", "BUNDLE 0 1 2");
    whip("two pictures").body(&second).because("unprocessable-offer").run(base).await;
    let strange = ["VP8", "VP9", "H264", "AV1"]
        .iter()
        .fold(offer.clone(), |text, codec| text.replace(&format!(" {codec}/90000"), " H265/90000"));
    let answer = whip("a picture of a codec that is not served").body(&strange).because("no-common-codec");
    let problem = answer.run(base).await.json();
    assert!(problem["offered"].to_string().contains("H265"), "{problem}");
    let empty =
        case("nobody publishes", "POST", "/whep/show", &tokens.viewer, 409).with(SDP).body(&view_offer());
    let answer = empty.because("no-publisher").run(base).await;
    let wait: u64 = header(&answer, "retry-after").parse().expect("seconds");
    assert!((1..=60).contains(&wait), "{wait}");
}

/// A session's life and what it refuses: made through one coordinator, changed and ended through the other.
async fn sessions(one: &str, two: &str, tokens: &Tokens) {
    for (path, token, offer) in
        [("/whip/show", &tokens.host, publish_offer()), ("/whep/show?wait=1", &tokens.viewer, view_offer())]
    {
        let made = case("a join", "POST", path, token, 201).with(SDP).body(&offer).run(one).await;
        let (session, tag) = created(&made);
        assert_eq!(sections(&made), ["audio", "video"], "{}", String::from_utf8_lossy(&made.body));
        let patch = |what, status| case(what, "PATCH", &session, token, status);
        let trickle = |what, status| patch(what, status).with(FRAGMENT).body(CANDIDATE);

        case("get", "GET", &session, token, 204).must("etag", &tag).run(two).await;
        case("options", "OPTIONS", &session, token, 200)
            .anonymous()
            .must("allow", "PATCH")
            .must("accept-patch", "application/trickle-ice-sdpfrag")
            .run(two)
            .await;
        for method in ["PUT", "POST"] {
            let wrong = case("a method that is not there", method, &session, token, 405);
            wrong.must("allow", "PATCH").must("allow", "DELETE").run(two).await;
        }
        let tagged = ("if-match", tag.as_str());
        trickle("no token", 401).anonymous().with(tagged).must("www-authenticate", "Bearer").run(two).await;
        for method in ["PATCH", "DELETE", "GET"] {
            let stranger = case("another identity", method, &session, &tokens.rival, 403);
            stranger.with(FRAGMENT).with(tagged).body(CANDIDATE).because("not-yours").run(two).await;
        }
        trickle("no If-Match", 428).because("if-match-missing").run(two).await;
        trickle("another tag", 412).with(("if-match", "\"stale\"")).because("tag-mismatch").run(two).await;
        patch("another type", 415)
            .with(SDP)
            .with(tagged)
            .body(CANDIDATE)
            .must("accept-patch", "application/trickle-ice-sdpfrag")
            .run(two)
            .await;
        let large = format!("{CANDIDATE}{}", "a=candidate:x\r\n".repeat(6_000));
        patch("too large", 413).with(FRAGMENT).with(tagged).body(&large).run(two).await;
        let bare = trickle("a restart without credentials", 400).with(("if-match", "*"));
        bare.because("bad-fragment").run(two).await;
        let answer = trickle("candidates", 204).with(tagged).run(two).await;
        assert!(answer.body.is_empty() && header(&answer, "etag").is_empty(), "204 has neither body nor tag");

        let fragment = format!(
            "a=ice-ufrag:n3wU\r\na=ice-pwd:Zk2xW9vB4nM7qL1pR8sT5yHd\r\nm=audio 9 RTP/AVP 0\r\n{CANDIDATE}"
        );
        let restart = patch("an ICE restart", 200).with(FRAGMENT).with(("if-match", "*")).body(&fragment);
        let answer = restart.must("content-type", "application/trickle-ice-sdpfrag").run(two).await;
        let newer = header(&answer, "etag").to_owned();
        assert!(newer.starts_with('"') && newer != tag, "{newer} is not {tag}");
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(text.contains("a=ice-ufrag:") && text.contains("a=ice-pwd:"), "{text}");
        let before = String::from_utf8_lossy(&made.body).into_owned();
        let ufrag = text.lines().find(|line| line.starts_with("a=ice-ufrag:")).unwrap();
        assert!(!before.contains(ufrag), "the server's credentials are new: {ufrag}");
        trickle("the tag before the restart", 412).with(tagged).because("tag-mismatch").run(one).await;
        trickle("the tag after the restart", 204).with(("if-match", &newer)).run(one).await;

        let unknown = format!("{}{}", &session[..session.len() - 32], "0123456789abcdef".repeat(2));
        for method in ["PATCH", "DELETE", "GET"] {
            let gone = case("an unknown session", method, &unknown, token, 404);
            gone.with(FRAGMENT).with(tagged).body(CANDIDATE).because("no-session").run(two).await;
        }
        let elsewhere = session.replace("/node-1/", "/node-9/");
        case("an unknown node", "DELETE", &elsewhere, token, 404).run(two).await;
        for bad in ["stale", "\"a\" \"b\"", "w/\"a\""] {
            let bad = trickle("a tag of no known form", 400).with(("if-match", bad));
            bad.run(two).await;
        }
        case("the end", "DELETE", &session, token, 200).run(two).await;
        case("after the end", "DELETE", &session, token, 404).because("closed").run(one).await;
        trickle("after the end", 404).with(("if-match", &newer)).because("closed").run(one).await;
    }
}

/// With a publisher that is live: takeovers refused on demand, and offers of one kind of media.
async fn live(cluster: &Cluster, tokens: &Tokens) {
    let base = cluster.url(1);
    for kind in ["audio", "video"] {
        let offer = only(&publish_offer(), kind);
        let made =
            case(kind, "POST", "/whip/show", &tokens.rival, 201).with(SDP).body(&offer).run(&base).await;
        let (session, _) = created(&made);
        assert_eq!(sections(&made), [kind]);
        case("the end", "DELETE", &session, &tokens.rival, 200).run(&base).await;
    }
    let publisher = publish(&cluster.url(0), "show", &tokens.host, |_| {}).await;
    eventually(Duration::from_secs(15), "the room is live", || async {
        let room = cluster.room(1, "show").await?;
        room["streams"].as_array()?.iter().any(|s| s["live"] == true).then_some(())
    })
    .await;
    let second = case("a stream that is live", "POST", "/whip/show", &tokens.host, 409).with(SDP);
    let second = second.body(&publish_offer()).with(("if-none-match", "*")).because("stream-live");
    second.run(&base).await;
    for kind in ["audio", "video"] {
        let offer = only(&view_offer(), kind);
        let made =
            case(kind, "POST", "/whep/show", &tokens.viewer, 201).with(SDP).body(&offer).run(&base).await;
        let (session, _) = created(&made);
        assert_eq!(sections(&made), [kind]);
        case("the end", "DELETE", &session, &tokens.viewer, 200).run(&base).await;
    }
    let pinned =
        case("a stream that nobody publishes", "POST", "/whep/show/nobody", &tokens.viewer, 409).with(SDP);
    pinned.body(&view_offer()).because("no-publisher").must("retry-after", "").run(&base).await;
    let viewer = view(&base, "show", &tokens.viewer, |_| {}).await;
    assert!(viewer.wait_for_media(Duration::from_secs(10)).await, "media comes: {}", cluster.tails());
    viewer.close().await;
    publisher.stop().await.unwrap();
}
