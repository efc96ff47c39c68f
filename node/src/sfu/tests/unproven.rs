//! What comes from addresses that have proven nothing: it costs bounded memory, ends in bounded time and is answered
//! with less than it brought.

/// The node's and the whole server's tests send the same.
#[path = "../../../../tests/support/stun.rs"]
pub(crate) mod stun;

use std::net::SocketAddr;
use std::time::Duration;

use freshet_cluster::SessionId;
use freshet_cluster::room::EndReason;
use str0m::media::Direction::RecvOnly;
use str0m::media::MediaKind::{Audio, Video};

use self::stun::request;
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
struct Known {
    id: SessionId,
    ufrag: String,
    pwd: String,
    /// The client's own.
    mine: String,
}

/// A viewer's session whose client is nobody but the test.
fn known(world: &mut World) -> Known {
    let offer = offer(world);
    let mine = line(&offer, "a=ice-ufrag:");
    let (id, answer) = world.ask(View, offer);
    Known { id, ufrag: line(&answer, "a=ice-ufrag:"), pwd: line(&answer, "a=ice-pwd:"), mine }
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

/// Hands a datagram in; returns the bytes that went to its address, and those that went elsewhere.
fn sent(world: &mut World, from: SocketAddr, contents: &[u8]) -> (usize, usize) {
    world.sfu.handle_datagram(world.now, from, contents);
    world.sfu.handle_timeout(world.now);
    let (mut back, mut elsewhere) = (0, 0);
    while let Some(datagram) = world.sfu.poll_datagram() {
        let bytes = if datagram.to == from { &mut back } else { &mut elsewhere };
        *bytes += datagram.contents.len();
    }
    (back, elsewhere)
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
    let known = known(&mut world);
    let from = address(1);
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
    let forged = Known { pwd: "x".repeat(24), ufrag: known.ufrag.clone(), mine: known.mine.clone(), ..known };
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
    let known = known(&mut world);
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

#[test]
fn what_is_sent_to_an_address_before_dtls_is_never_more_than_what_came_from_it() {
    // What comes and what goes back, in bytes: with IPv6 the answer to the smallest request is as long as that.
    for (server, lengths) in [
        ("127.0.0.1:5000", [(76, 64), (80, 64), (88, 76)]),
        ("[2001:db8::1]:5000", [(76, 76), (80, 76), (88, 76)]),
    ] {
        let edit = |config: &mut Config| config.common.book = Book::plain(vec![server.parse().unwrap()]);
        let mut world = World::with(edit);
        let offer = offer(&world);
        // The shortest user name that there can be, since the part of ours is long.
        let offer = offer.replace(&line(&offer, "a=ice-ufrag:"), "A");
        let (id, answer) = world.ask(View, offer);
        let (ufrag, pwd) = (line(&answer, "a=ice-ufrag:"), line(&answer, "a=ice-pwd:"));
        let known = Known { id, ufrag, pwd, mine: "A".into() };
        let from = |n: usize| match address(n) {
            v4 if server.starts_with('1') => v4,
            v4 => SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, 2], v4.port())),
        };
        let user = known.user();
        // Nothing beside what there must be; a nomination; a client that claims to be controlled as we are.
        let asks: [Vec<u8>; 3] = [
            request(&user, Some(&known.pwd), 1, &[]),
            known.check(2),
            request(&user, Some(&known.pwd), 3, &[(CONTROLLED, &[0; 8])]),
        ];
        for (n, (ask, lengths)) in asks.iter().zip(lengths).enumerate() {
            assert!(lengths.1 <= lengths.0);
            for again in 0..5 {
                let (back, elsewhere) = sent(&mut world, from(n), ask);
                assert_eq!((ask.len(), back), lengths, "{server}: request {n}, time {again}");
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
