use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;
use crate::book::Book;
use crate::peer::{crypto, opened};

const OFFER: &str = include_str!("../../../../tests/data/offer-view.sdp");

fn common() -> Common {
    Common {
        cert: crypto::certificate().unwrap(),
        book: Book::plain(vec!["192.0.2.1:5000".parse().unwrap(), "[2001:db8::1]:5000".parse().unwrap()]),
        provider: crypto::provider(),
        take_keys: crypto::take_keys,
        opened: opened::opened,
    }
}

fn creds() -> IceCreds {
    IceCreds { ufrag: "001ufragOfOurOwn".into(), pass: "aPasswordOfOurOwn1234567".into() }
}

struct Desk {
    common: Common,
    answers: Answers,
    rng: StdRng,
}

impl Desk {
    fn new() -> Self {
        Self { common: common(), answers: Answers::default(), rng: StdRng::from_seed([7; 32]) }
    }

    fn ask(&mut self, direction: Direction, offer: &str) -> Result<Negotiated, CreateError> {
        let Self { common, answers, rng } = self;
        answers.accept(common, direction, offer, creds(), ("theLabel", rng), Instant::now())
    }

    fn view(&mut self, offer: &str) -> Negotiated {
        self.ask(Direction::View, offer).unwrap()
    }

    /// What str0m answers by itself.
    fn plain(&self, direction: Direction, offer: &str) -> Result<Negotiated, CreateError> {
        let offer = sdp::without_simulcast(offer);
        negotiate::accept(&self.common, direction, offer, creds(), "theLabel", Instant::now())
    }
}

/// An answer with its random numbers named by the order in which they come.
fn without_chance(answer: &Negotiated) -> String {
    let mut text = answer.answer.clone();
    for (nth, media) in answer.session.media.iter().enumerate() {
        for (name, ssrc) in [("main", media.ssrc), ("rtx", media.rtx_ssrc)] {
            if let Some(ssrc) = ssrc {
                text = text.replace(&ssrc.to_string(), &format!("{name}-{nth}"));
            }
        }
    }
    let line = |line: &str| match (line.starts_with("o="), line.rsplit_once("theLabel ")) {
        (true, _) => {
            let words: Vec<&str> = line.split(' ').collect();
            assert!(words[1].parse::<u64>().unwrap() > 0);
            format!("{} number {}", words[0], words[2..].join(" "))
        }
        (_, Some((before, _track))) => format!("{before}theLabel track"),
        _ => line.to_owned(),
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

fn variants() -> Vec<String> {
    let candidate = "a=mid:1\na=candidate:1 1 udp 2122260223 192.0.2.7 61764 typ host\n";
    let cut = OFFER.find("m=video").unwrap();
    vec![
        OFFER.to_owned(),
        OFFER.replace('\n', "\r\n"),
        OFFER.replace("a=setup:actpass", "a=setup:passive"),
        OFFER.replace("a=setup:actpass", "a=setup:active"),
        OFFER.replace("a=recvonly", "a=sendrecv"),
        OFFER.replace("a=mid:1\n", candidate),
        OFFER.replace("a=mid:1", "a=mid:picture").replace("BUNDLE 0 1", "BUNDLE 0 picture"),
        OFFER.replace("m=audio 9", "m=audio 0"),
        OFFER[..cut].replace("BUNDLE 0 1", "BUNDLE 0"),
        OFFER.replace("a=rtcp-mux\n", "a=rtcp-mux\na=msid:theirs track\na=ssrc:7 cname:theirs\n"),
    ]
}

#[test]
fn an_answer_is_what_str0m_would_have_answered() {
    for offer in variants() {
        let mut desk = Desk::new();
        let plain = desk.plain(Direction::View, &offer).unwrap();
        let (first, second) = (desk.view(&offer), desk.view(&offer));
        assert_eq!(desk.answers.shapes(), 1, "{offer}");
        for made in [&first, &second] {
            assert_eq!(without_chance(made), without_chance(&plain), "{offer}");
            assert_eq!(made.offer, plain.offer);
            let (made, read) = (&made.session, sdp::read(&made.answer).unwrap());
            assert_eq!(format!("{made:?}"), format!("{read:?}"), "what is carried along is what is written");
        }
    }
}

#[test]
fn what_is_a_clients_own_reaches_its_session_alone() {
    let mut desk = Desk::new();
    let mut first = desk.view(OFFER);
    let other = OFFER
        .replace("k9Xf", "theirs")
        .replace(":84:47", ":84:48")
        .replace("a=mid:1", "a=mid:x")
        .replace("BUNDLE 0 1", "BUNDLE 0 x");
    let mut second = desk.view(&other);
    assert_eq!(desk.answers.shapes(), 1, "one shape");
    assert!(second.answer.contains("a=mid:x\r\n") && second.answer.contains("a=group:BUNDLE 0 x\r\n"));
    assert!(first.answer.contains("a=mid:1\r\n") && first.answer.contains("a=group:BUNDLE 0 1\r\n"));
    assert_eq!(second.session.media[1].mid.as_deref(), Some("x"));
    let ssrcs = |made: &Negotiated| -> Vec<u32> {
        made.session.media.iter().flat_map(|m| [m.ssrc, m.rtx_ssrc]).flatten().collect()
    };
    let mut all = [ssrcs(&first), ssrcs(&second)].concat();
    assert_eq!(all.len(), 6, "sound, picture and the picture's retransmissions");
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 6, "no SSRC is drawn twice");
    for made in [&mut first, &mut second] {
        let local = made.rtc.direct_api().local_ice_credentials();
        assert_eq!((local.ufrag, local.pass), (creds().ufrag, creds().pass));
        let ssrc = ssrcs(made)[0];
        assert!(made.rtc.direct_api().stream_tx(&ssrc.into()).is_none(), "str0m sends no media");
    }
}

/// What came of it, to be compared.
fn told(made: Result<Negotiated, CreateError>) -> String {
    made.map_or_else(|error| format!("{error:?}"), |made| without_chance(&made))
}

#[test]
fn what_is_refused_is_refused_again_and_not_kept() {
    let mut desk = Desk::new();
    for (from, to) in [
        ("v=0", "v=1"),
        ("a=recvonly", "a=sendonly"),
        ("a=rtpmap:96", "a=rtpmap:x96"),
        ("a=ice-options:trickle", "a=ice-lite"),
        ("apt=96", "apt=102"),
        ("a=mid:1", "a=mid:0"),
        ("t=0 0", "t=1 1"),
    ] {
        let bad = OFFER.replace(from, to);
        assert_ne!(bad, OFFER);
        let plain = told(desk.plain(Direction::View, &bad));
        for _ in 0..2 {
            assert_eq!(told(desk.ask(Direction::View, &bad)), plain, "{from} → {to}");
        }
    }
    let before = desk.answers.shapes();
    desk.ask(Direction::View, &OFFER.replace("a=recvonly", "a=sendonly")).err().unwrap();
    assert_eq!(desk.answers.shapes(), before);
}

#[test]
fn what_is_refused_is_told_by_its_line_in_words_of_ours() {
    let mut desk = Desk::new();
    let with_layer = OFFER.replace("a=mid:0\n", "a=mid:0\na=rid:h send\n");
    for (offer, from, to, told) in [
        (OFFER, "UDP/TLS/RTP/SAVPF 111", "RTP/AVP 111", "line 8 must name the protocol UDP/TLS/RTP/SAVPF"),
        (OFFER, "a=rtpmap:96", "a=rtpmap:x96", "the media section of line 35 cannot be read: it needs"),
        (OFFER, "a=mid:1", "a=mid:0", "line 43: another m-line above has this a=mid"),
        // Lines that are left out count.
        (with_layer.as_str(), "a=mid:1", "a=mid:0", "line 44: another m-line above has this a=mid"),
    ] {
        let error = desk.ask(Direction::View, &offer.replace(from, to)).err().unwrap();
        assert!(matches!(&error, CreateError::BadOffer(text) if text.starts_with(told)), "{to}: {error:?}");
    }
}

#[test]
fn publishers_are_negotiated_each_by_itself() {
    let mut desk = Desk::new();
    let offer = OFFER.replace("a=recvonly", "a=sendonly");
    let made = desk.ask(Direction::Publish, &offer).unwrap();
    assert_eq!(without_chance(&made), without_chance(&desk.plain(Direction::Publish, &offer).unwrap()));
    assert_eq!(desk.answers.shapes(), 0);
}

#[test]
fn the_shape_that_was_not_used_for_longest_is_forgotten() {
    let mut desk = Desk::new();
    desk.view(OFFER);
    for nth in 0..SHAPES_MAX * 2 {
        desk.view(&OFFER.replace("s=-", &format!("s={nth}")));
        desk.view(OFFER);
        assert!(desk.answers.shapes() <= SHAPES_MAX);
    }
    assert_eq!(desk.answers.shapes(), SHAPES_MAX);
    let key = Shape::of(&sdp::without_simulcast(OFFER)).unwrap().key;
    assert!(desk.answers.known.contains_key(&key), "in use all the time");
}

#[test]
fn what_no_client_can_have_meant_is_refused_with_the_reason() {
    let bad = |from: &str, to: &str| OFFER.replace(from, to);
    let of = |name: &str| OFFER.lines().find_map(|line| line.strip_prefix(name)).unwrap().to_owned();
    let (pwd, fingerprint) = (of("a=ice-pwd:"), of("a=fingerprint:"));
    let text = "m=text 9 UDP/TLS/RTP/SAVPF 120\na=mid:t\na=recvonly\na=rtpmap:120 t140/1000\n";
    for (offer, said) in [
        (bad(&pwd, "x"), "22 to 256"),
        (bad(&of("a=ice-ufrag:"), "abc"), "4 to 256"),
        (bad(&fingerprint, "sha-256 00:11"), "32 bytes"),
        (bad(&fingerprint, &fingerprint.replacen(':', "", 1)), "32 bytes"),
        (bad("m=video", "m=vidoe"), "neither audio"),
        (format!("{}{text}", bad("BUNDLE 0 1", "BUNDLE 0 1 t")), "neither audio"),
    ] {
        for _ in 0..2 {
            let error = Desk::new().ask(Direction::View, &offer).map(|made| made.answer).unwrap_err();
            assert!(error.to_string().contains(said), "{error}");
        }
    }
    assert!(Desk::new().ask(Direction::View, OFFER).is_ok());
}
