//! What comes from addresses that have proven nothing: it costs bounded memory, ends in bounded time and is answered
//! with less than it brought.

/// The node's and the whole server's tests send the same.
#[path = "../../../../tests/support/src/stun.rs"]
pub(crate) mod stun;

use std::net::SocketAddr;
use std::time::Duration;

use freshet_cluster::SessionId;
use freshet_cluster::room::EndReason;
use str0m::media::Direction::RecvOnly;
use str0m::media::MediaKind::{Audio, Video};

use self::stun::{request, response};
use super::client::usual;
use super::world::World;
use crate::book::Book;
use crate::service::Direction::{Publish, View};
use crate::session::{CreateError, Whose};
use crate::sfu::sessions::{ADDRESSES_MAX, CHECKED_MAX};
use crate::sfu::{Config, Event};

const SECOND: Duration = Duration::from_secs(1);
const USE_CANDIDATE: u16 = 0x0025;
const CONTROLLED: u16 = 0x8029;

/// What a client knows of its session.
#[derive(Clone)]
struct Known {
    id: SessionId,
    ufrag: String,
    pwd: String,
    /// The client's own.
    mine: String,
    password: String,
}

/// A viewer's session whose client is nobody but the test.
fn known(world: &mut World) -> Known {
    let offer = offer(world);
    known_of(world, offer)
}

fn known_of(world: &mut World, offer: String) -> Known {
    let (mine, password) = (line(&offer, "a=ice-ufrag:"), line(&offer, "a=ice-pwd:"));
    let (id, answer) = world.ask(View, offer);
    let (ufrag, pwd) = (line(&answer, "a=ice-ufrag:"), line(&answer, "a=ice-pwd:"));
    Known { id, ufrag, pwd, mine, password }
}

fn offer(world: &World) -> String {
    let (mut rtc, _) = world.rtc(usual);
    let mut api = rtc.sdp_api();
    for kind in [Audio, Video] {
        api.add_media(kind, RecvOnly, None, None, None);
    }
    api.apply().unwrap().0.to_sdp_string()
}

fn line(sdp: &str, name: &str) -> String {
    sdp.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned()
}

impl Known {
    fn user(&self) -> String {
        format!("{}:{}", self.ufrag, self.mine)
    }

    fn check(&self, nth: u64) -> Vec<u8> {
        request(&self.user(), Some(&self.pwd), nth, &[(USE_CANDIDATE, &[])])
    }
}

fn address(n: usize) -> SocketAddr {
    SocketAddr::from(([198, 51, (n / 60_000) as u8, (n / 250 % 240) as u8], 1_024 + (n % 60_000) as u16))
}

/// Hands a datagram in; returns what went to its address, and how many bytes went elsewhere.
fn got(world: &mut World, from: SocketAddr, contents: &[u8]) -> (Vec<Vec<u8>>, usize) {
    world.sfu.handle_datagram(world.now, from, contents);
    world.sfu.handle_timeout(world.now);
    let (mut back, mut elsewhere) = (Vec::new(), 0);
    while let Some(datagram) = world.sfu.poll_datagram() {
        if datagram.to == from {
            back.push(datagram.contents);
        } else {
            elsewhere += datagram.contents.len();
        }
    }
    (back, elsewhere)
}

/// The same in bytes.
fn sent(world: &mut World, from: SocketAddr, contents: &[u8]) -> (usize, usize) {
    let (back, elsewhere) = got(world, from, contents);
    (back.iter().map(Vec::len).sum(), elsewhere)
}

/// What a datagram is: an answer to a check, a check, or DTLS.
fn is_answer(datagram: &[u8]) -> bool {
    datagram[..2] == [1, 1]
}

fn is_check(datagram: &[u8]) -> bool {
    datagram[..2] == [0, 1]
}

fn reason(world: &mut World, id: SessionId) -> Option<EndReason> {
    std::iter::from_fn(|| world.sfu.poll_event()).find_map(|event| match event {
        Event::Ended { session, reason, .. } if session == id => Some(reason),
        _ => None,
    })
}

#[test]
fn a_session_that_only_checks_ice_and_does_no_dtls_ends_after_half_a_minute() {
    let mut world = World::new();
    let from = address(1);
    world.client = Some(from.ip());
    let known = known(&mut world);
    for nth in 0..29 {
        assert!(sent(&mut world, from, &known.check(nth)).0 > 0, "it is answered after {nth} s");
        world.now += SECOND;
        world.sfu.handle_timeout(world.now);
        assert_eq!(world.sfu.sessions(), 1, "after {nth} s");
    }
    world.now += SECOND;
    sent(&mut world, from, &known.check(99));
    world.sfu.handle_timeout(world.now);
    assert_eq!(world.sfu.sessions(), 0);
    assert_eq!(reason(&mut world, known.id), Some(EndReason::DtlsTimeout));
    assert_eq!(world.sfu.half_open(), 0);
}

#[test]
fn a_session_whose_dtls_is_done_goes_on_and_does_not_count_as_half_open() {
    let mut world = World::new();
    world.join(Publish, &[Audio, Video]);
    world.join(View, &[Audio, Video]);
    assert_eq!(world.sfu.half_open(), 2);
    world.claim(0, 1);
    world.pass(Duration::from_millis(500));
    assert_eq!(world.sfu.half_open(), 0);
    world.pass(SECOND * 35);
    assert!(world.clients.iter().all(|client| client.connected && !client.closed));
    assert_eq!(world.sfu.sessions(), 2);
    // It ends by silence as before, and is not taken off what it is not part of.
    world.clients.clear();
    world.now += SECOND * 16;
    world.sfu.handle_timeout(world.now);
    assert_eq!((world.sfu.sessions(), world.sfu.half_open()), (0, 0));
}

#[test]
fn so_many_sessions_are_half_open_and_the_next_is_refused_until_one_is_open_or_over() {
    let mut world = World::with(|config| config.half_open = 3);
    world.join(View, &[Audio, Video]);
    let (one, _two) = (known(&mut world), known(&mut world));
    let offer = offer(&world);
    let full = |world: &mut World| match world.try_ask(View, offer.clone()) {
        Err(CreateError::HalfOpen { limit: 3 }) => true,
        Err(other) => panic!("{other}"),
        Ok(_) => false,
    };
    assert!(full(&mut world));
    assert_eq!((world.sfu.sessions(), world.sfu.kept().3), (3, 3), "nothing of it is left");
    world.pass(Duration::from_millis(500));
    assert!(world.clients[0].connected);
    assert!(!full(&mut world), "one has opened");
    assert!(full(&mut world));
    assert!(world.sfu.end(world.now, one.id, EndReason::Closed));
    assert!(!full(&mut world), "one is over");
    assert!(full(&mut world));
}

/// As by 10 POSTs a second behind one address, without an end.
#[test]
fn who_leaves_sessions_half_open_holds_half_of_the_places_that_are_free_and_others_come_and_stay() {
    let mut world = World::with(|config| config.places = 200);
    let greedy = Whose::Behind(address(1).ip().into());
    for second in 0..20 {
        world.whose = greedy.clone();
        (0..10).for_each(|_| drop(known(&mut world)));
        world.whose = Whose::Behind(address(2_000 + second).ip().into());
        if second % 4 == 0 {
            world.join(View, &[Audio, Video]);
        }
        world.pass(SECOND);
        let whole = world.clients.len();
        assert_eq!(world.sfu.sessions() - world.sfu.half_open(), whole, "after {second} s");
        let most = (200 - whole) / 2;
        assert!(world.sfu.half_open() <= most, "after {second} s: {} of {most}", world.sfu.half_open());
    }
    assert!(world.clients.iter().all(|client| client.connected && !client.closed));
    assert!(world.sfu.half_open() > 90, "nobody else needs them: {}", world.sfu.half_open());
    assert_eq!(world.sfu.counters().displaced_sessions, 200 - world.sfu.half_open() as u64);
}

#[test]
fn where_all_places_are_taken_one_client_makes_way_for_another() {
    let mut world = World::with(|config| config.half_open = 20);
    world.whose = Whose::Behind(address(1).ip().into());
    let crowd: Vec<Known> = (0..20).map(|_| known(&mut world)).collect();
    let offer = offer(&world);
    assert!(matches!(world.try_ask(View, offer.clone()), Err(CreateError::HalfOpen { limit: 20 })));
    world.whose = Whose::Named("ann".parse().unwrap());
    assert!(world.try_ask(View, "v=0".to_owned()).is_err(), "who offers nonsense takes nobody's place");
    assert_eq!(world.sfu.sessions(), 20);
    let ann = world.join(View, &[Audio, Video]);
    assert_eq!((world.sfu.sessions(), world.sfu.half_open()), (20, 20));
    assert_eq!(reason(&mut world, crowd[0].id), Some(EndReason::DtlsTimeout), "the oldest of the crowd");
    world.pass(Duration::from_millis(500));
    assert!(world.clients[ann].connected);
}

#[test]
fn a_thousand_joins_at_one_moment_are_no_flood() {
    let mut world = World::new();
    for _ in 0..1_000 {
        known(&mut world);
    }
    assert_eq!((world.sfu.sessions(), world.sfu.half_open()), (1_000, 1_000));
}

#[test]
fn a_flood_of_stun_that_proves_nothing_is_not_answered_and_leaves_nothing() {
    let mut world = World::new();
    let known = known(&mut world);
    let strange = "000nobodynobody1:them".to_owned();
    let forged = Known { pwd: "x".repeat(24), ..known.clone() };
    let kinds: [Box<dyn Fn(u64) -> Vec<u8>>; 5] = [
        Box::new(|nth| request(&strange, Some("a password of somebody's"), nth, &[])),
        Box::new(|nth| request(&known.user(), None, nth, &[])),
        Box::new(|nth| forged.check(nth)),
        Box::new(|nth| request(&format!("{}:else", known.ufrag), Some(&known.pwd), nth, &[])),
        Box::new(|nth| [known.check(nth), vec![0; 1_000]].concat()),
    ];
    for (kind, make) in kinds.iter().enumerate() {
        for n in 0..2_000 {
            assert_eq!(sent(&mut world, address(n), &make(n as u64)), (0, 0), "kind {kind}");
        }
    }
    let counters = world.sfu.counters();
    assert_eq!((counters.unknown_datagrams, counters.bad_datagrams), (2_000, 4 * 2_000));
    assert_eq!(world.sfu.addresses(), 0, "no address is remembered");
    // And the session does not live longer for it.
    world.now += SECOND * 15;
    world.sfu.handle_timeout(world.now);
    assert_eq!(world.sfu.sessions(), 0);
}

#[test]
fn a_client_that_checks_from_very_many_addresses_is_remembered_at_few() {
    let mut world = World::new();
    world.client = Some(address(1).ip());
    let known = known(&mut world);
    let address = |n: usize| SocketAddr::new(address(1).ip(), 1_024 + n as u16);
    let mut answered = 0;
    for n in 0..5_000 {
        answered += usize::from(sent(&mut world, address(n), &known.check(n as u64)).0 > 0);
    }
    assert_eq!(answered, CHECKED_MAX);
    assert_eq!(world.sfu.counters().refused_checks, 5_000 - CHECKED_MAX as u64);
    assert_eq!(world.sfu.addresses(), ADDRESSES_MAX);
    // Where it was before, it still is.
    assert!(sent(&mut world, address(CHECKED_MAX - 1), &known.check(9_999)).0 > 0);
    assert_eq!(sent(&mut world, address(6_000), &known.check(9_998)), (0, 0));
    // Until ICE begins anew.
    let at = world.sfu.by_id[&known.id];
    let before = world.sfu.sessions.get(at).unwrap().ufrag.clone();
    let fragment = crate::session::Fragment {
        ufrag: Some("mine2".into()),
        pwd: Some("aNewPasswordOfTheClient1".into()),
        ..Default::default()
    };
    let patched = world.sfu.patch(world.now, known.id, None, &crate::session::IfMatch::Any, &fragment);
    let Ok(crate::session::Patched::Restarted { fragment, etag }) = patched else { panic!("{patched:?}") };
    assert_ne!(etag, before);
    let anew = Known { ufrag: etag, pwd: line(&fragment, "a=ice-pwd:"), mine: "mine2".into(), ..known };
    assert!(sent(&mut world, address(6_000), &anew.check(1)).0 > 0);
}

#[test]
fn dtls_of_an_address_that_ice_has_not_proven_is_dropped_before_dtls_sees_it() {
    let mut world = World::new();
    let viewer = world.join(View, &[Audio, Video]);
    let (hello, home) = (client_hello(&mut world, viewer), world.clients[viewer].addr);
    assert!(hello.len() > 100);
    // ICE is through, from home. Not so from these, whether they stand beside it or far away.
    let mut strangers: Vec<SocketAddr> = (0..1_000).map(address).collect();
    strangers.push(SocketAddr::new(home.ip(), 9));
    for from in strangers {
        assert_eq!(sent(&mut world, from, &hello), (0, 0), "{from}");
    }
    assert_eq!(world.sfu.counters().unknown_datagrams, 1_001);
    assert_eq!(world.sfu.addresses(), 1);
    let (flight, elsewhere) = sent(&mut world, home, &hello);
    assert!(flight > hello.len() && elsewhere == 0, "its own client is answered, with {flight} bytes");
}

/// Lets a client check ICE, and takes the first datagram of its DTLS instead of the shard.
fn client_hello(world: &mut World, client: usize) -> Vec<u8> {
    for _ in 0..100 {
        world.now += Duration::from_millis(10);
        for contents in world.clients[client].take(world.now) {
            if contents[0] == 22 {
                while world.sfu.poll_datagram().is_some() {}
                return contents;
            }
            let from = world.clients[client].addr;
            world.sfu.handle_datagram(world.now, from, &contents);
        }
        world.sfu.handle_timeout(world.now);
        while let Some(datagram) = world.sfu.poll_datagram() {
            world.clients[client].receive(world.now, &datagram.contents);
        }
    }
    panic!("it begins no DTLS");
}

/// Checks as short as there can be, with a nomination, of a client that claims to be controlled as we are, and as
/// browsers send them.
fn checks(known: &Known) -> [Vec<u8>; 4] {
    const CONTROLLING: u16 = 0x802A;
    let user = known.user();
    let check = |nth, more: &[(u16, &[u8])]| request(&user, Some(&known.pwd), nth, more);
    let browsers: [(u16, &[u8]); 4] =
        [(CONTROLLING, &[7; 8]), (USE_CANDIDATE, &[]), (0xC057, &[0; 4]), (0x8028, &[0; 4])];
    [check(1, &[]), known.check(2), check(3, &[(CONTROLLED, &[0; 8])]), check(4, &browsers)]
}

#[test]
fn what_is_sent_to_an_address_before_dtls_is_never_more_than_what_came_from_it() {
    // What comes and what goes back, in bytes, where nobody has shown to be there, and at the host that the offer came
    // from: with IPv6 the answer to the smallest request is nearly as long as that.
    for (server, lengths) in [
        ("127.0.0.1:5000", [(80, 80, 64), (84, 80, 64), (92, 80, 76), (112, 100, 64)]),
        ("[2001:db8::1]:5000", [(80, 80, 76), (84, 80, 76), (92, 80, 76), (112, 100, 76)]),
    ] {
        let edit = |config: &mut Config| config.common.book = Book::plain(vec![server.parse().unwrap()]);
        let mut world = World::with(edit);
        let home = if server.starts_with('1') { "198.51.100.7" } else { "2001:db8::2" }.parse().unwrap();
        for client in [None, Some(home)] {
            world.client = client;
            let offer = offer(&world);
            // The shortest user name that there may be (RFC 8839 section 5.4).
            let offer = offer.replace(&line(&offer, "a=ice-ufrag:"), "AAAA");
            let known = known_of(&mut world, offer);
            for (n, (ask, lengths)) in checks(&known).iter().zip(lengths).enumerate() {
                let from = SocketAddr::new(home, 1_024 + n as u16);
                let expected = if client.is_some() { lengths.2 } else { lengths.1 };
                assert!(expected <= lengths.0);
                for again in 0..5 {
                    let (back, elsewhere) = sent(&mut world, from, ask);
                    assert_eq!(
                        (ask.len(), back),
                        (lengths.0, expected),
                        "{server}: request {n}, time {again}"
                    );
                    assert_eq!(elsewhere, 0);
                }
            }
            // Time passes, and nothing goes to anybody by itself.
            for _ in 0..200 {
                world.now += Duration::from_millis(50);
                world.sfu.handle_timeout(world.now);
                assert!(world.sfu.poll_datagram().is_none());
            }
            // The end says nothing either: there is no DTLS to close.
            world.sfu.end(world.now, known.id, EndReason::Closed);
            assert!(world.sfu.poll_datagram().is_none());
        }
    }
}

/// Who has a token and forges addresses: with either role in DTLS, which is longer than what asks for it.
#[test]
fn an_address_where_nobody_answers_gets_nothing_but_checks() {
    for role in ["actpass", "active", "passive"] {
        let mut world = World::new();
        world.client = Some(address(1).ip());
        let offer = offer(&world).replace("a=setup:actpass", &format!("a=setup:{role}"));
        let known = known_of(&mut world, offer);
        let viewer = world.join(View, &[Audio, Video]);
        let hello = client_hello(&mut world, viewer);
        let victim = address(2_000);
        let (mut came, mut back) = (0, 0);
        for second in 0..14_u64 {
            for check in checks(&known) {
                let (answers, elsewhere) = got(&mut world, victim, &check);
                assert_eq!(elsewhere, 0);
                assert!(answers.iter().all(|answer| is_check(answer)), "{role}, after {second} s");
                came += check.len();
                back += answers.iter().map(Vec::len).sum::<usize>();
            }
            assert_eq!(sent(&mut world, victim, &hello), (0, 0), "{role}: DTLS from there is not looked at");
            world.now += SECOND;
            world.sfu.handle_timeout(world.now);
            while let Some(datagram) = world.sfu.poll_datagram() {
                assert_ne!(datagram.to, victim, "{role}, after {second} s: {:?}", datagram.contents);
            }
        }
        assert!(back > 0 && back <= came, "{back} for {came}");
        assert_eq!(world.sfu.counters().unproven_checks, 1 + 4 * 14, "one of the viewer's");
        // And the session does not live longer for it.
        world.now += SECOND;
        world.sfu.handle_timeout(world.now);
        assert_eq!(reason(&mut world, known.id), Some(EndReason::IceTimeout), "{role}");
    }
}

#[test]
fn who_is_asked_and_answers_is_answered_and_goes_on() {
    for role in ["actpass", "passive"] {
        let mut world = World::new();
        let offer = offer(&world).replace("a=setup:actpass", &format!("a=setup:{role}"));
        let known = known_of(&mut world, offer);
        let (home, check) = (address(5), known.check(1));
        let (asked, _) = got(&mut world, home, &check);
        let [ask] = asked.as_slice() else { panic!("{asked:?}") };
        assert!(is_check(ask));
        // Answers that prove nothing: from elsewhere, to another request, under another password, cut short.
        let good = response(ask, &known.password);
        let mut other = ask.clone();
        other[19] ^= 1;
        let mut strange = ask.clone();
        strange[8..12].copy_from_slice(&u32::MAX.to_be_bytes());
        for (from, answer) in [
            (address(6), good.clone()),
            (SocketAddr::new(home.ip(), 9), good.clone()),
            (home, response(&other, &known.password)),
            (home, response(&strange, &known.password)),
            (home, response(ask, &known.pwd)),
            (home, good[..good.len() - 4].to_vec()),
        ] {
            assert_eq!(sent(&mut world, from, &answer), (0, 0));
        }
        assert_eq!(world.sfu.counters().unknown_datagrams, 6);
        // The same is asked again as long as it asks, and what it asked is answered once it has answered.
        assert_eq!(got(&mut world, home, &check).0, std::slice::from_ref(ask));
        let (back, elsewhere) = got(&mut world, home, &good);
        assert_eq!((back.iter().filter(|datagram| is_answer(datagram)).count(), elsewhere), (1, 0));
        let hellos = back.iter().filter(|datagram| datagram[0] == 22).count();
        assert_eq!(hellos, usize::from(role == "passive"), "who waits for our DTLS gets it now");
        // From here on it is known.
        assert!(got(&mut world, home, &known.check(2)).0.iter().any(|datagram| is_answer(datagram)));
        assert_eq!(sent(&mut world, home, &good), (0, 0), "an answer is good once");
        assert_eq!(world.sfu.counters().unproven_checks, 2);
    }
}

#[test]
fn a_viewers_media_goes_to_no_address_where_it_has_not_answered() {
    let mut world = World::new();
    world.join(Publish, &[Audio, Video]);
    // Its offer came from there, as by a proxy.
    world.client = Some(address(2_000).ip());
    let viewer = world.join(View, &[Audio, Video]);
    world.claim(0, 1);
    world.pass(SECOND);
    assert!(world.clients[viewer].connected);
    let offer = world.sfu.sessions.get(world.sfu.by_id[&world.clients[viewer].session]).unwrap();
    let (mine, password) = crate::peer::sdp::credentials(&offer.offer).unwrap();
    let (mine, password) = (mine.to_owned(), password.to_owned());
    let answer = world.clients[viewer].answer.clone();
    let (ufrag, pwd) = (line(&answer, "a=ice-ufrag:"), line(&answer, "a=ice-pwd:"));
    let known = Known { id: world.clients[viewer].session, ufrag, pwd, mine, password };
    let (victim, home) = (address(2_000), world.clients[viewer].addr);
    world.sent.clear();
    for nth in 0..20_u32 {
        let (answers, elsewhere) = got(&mut world, victim, &known.check(1_000 + u64::from(nth)));
        assert!(answers.len() == 1 && is_check(&answers[0]) && elsewhere == 0);
        // Nor does what it reports from there, under its own keys.
        let report = world.clients[viewer].last_report.clone();
        assert_eq!(sent(&mut world, victim, &report), (0, 0));
        world.play(nth * 3..nth * 3 + 3);
    }
    let to = |address| world.sent.iter().filter(|(_, to, _)| *to == address).count();
    assert!(to(home) > 0 && to(victim) == 0, "{} home, {} to the victim", to(home), to(victim));
}

#[test]
fn so_many_addresses_of_a_session_are_asked_at_once() {
    let mut world = World::new();
    let known = known(&mut world);
    let ask = |world: &mut World, n: usize| got(world, address(n), &known.check(n as u64)).0.remove(0);
    let asks: Vec<Vec<u8>> = (0..9).map(|n| ask(&mut world, n)).collect();
    assert_eq!(world.sfu.addresses(), 0, "none of them is known");
    for (n, asked) in asks.iter().enumerate() {
        let known = sent(&mut world, address(n), &response(asked, &known.password)).0 > 0;
        assert_eq!(known, n > 0, "the oldest of nine has made way");
    }
    // A check that is too long to be kept is nobody's.
    let long = request(&known.user(), Some(&known.pwd), 1, &[(0xC001, &[0; 500])]);
    assert_eq!(sent(&mut world, address(20), &long), (0, 0));
    // So many are known, and the oldest of them is asked again.
    for n in 100..117 {
        let asked = ask(&mut world, n);
        sent(&mut world, address(n), &response(&asked, &known.password));
    }
    assert!(is_answer(&got(&mut world, address(101), &known.check(1)).0[0]));
    assert!(is_check(&got(&mut world, address(100), &known.check(1)).0[0]));
}

/// RFC 7675: consent is what the client has signed. Anybody can send from its address.
#[test]
fn what_others_send_from_a_clients_address_does_not_keep_its_session() {
    let mut world = World::new();
    world.join(Publish, &[Video]);
    world.claim(0, 1);
    world.pass(SECOND);
    let viewer = world.join(View, &[Video]);
    world.pass(SECOND);
    let (from, id) = (world.clients[viewer].addr, world.clients[viewer].session);
    // Its client is gone; what comes is RTP, RTCP and DTLS of somebody else, checks under a wrong password, and an answer.
    world.clients.truncate(viewer);
    let at = world.sfu.by_id[&id];
    let ufrag = world.sfu.sessions.get(at).unwrap().ufrag.clone();
    let offer = world.sfu.sessions.get(at).unwrap().offer.clone();
    let user = format!("{ufrag}:{}", line(&offer, "a=ice-ufrag:"));
    let mut rtp = vec![0x80, 96, 0, 1, 0, 0, 0, 1, 0, 0, 0, 9];
    rtp.resize(200, 7);
    let mut rtcp = vec![0x81, 201, 0, 7];
    rtcp.resize(60, 7);
    let mut alert = vec![21, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 1, 0, 30];
    alert.resize(43, 7);
    let reason = (0..40).find_map(|nth| {
        let check = request(&user, Some("a wrong password that is long"), nth, &[(USE_CANDIDATE, &[])]);
        for forged in [&rtp, &rtcp, &alert, &check] {
            assert_eq!(sent(&mut world, from, forged).0, 0, "it is answered by nothing");
        }
        world.pass(SECOND / 2);
        reason(&mut world, id)
    });
    assert_eq!(
        reason,
        Some(EndReason::IceTimeout),
        "the session is over 15 s after its client was heard last"
    );
}
