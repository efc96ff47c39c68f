//! What a bus promises, asked of every implementation: the same steps against memory and against a real NATS.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use freshet_cluster::bus::memory::MemoryBus;
use freshet_cluster::bus::nats::{NatsBus, NatsConfig};
use freshet_cluster::bus::{
    BusError, DEDUP_WINDOW, KEPT_BYTES, KEPT_FOR, KEPT_PER_SUBJECT, KEPT_SUBJECTS, Kept, Message, ReadFrom,
    SUBSCRIPTION_QUEUE, SharedBus, Tail,
};
use freshet_cluster::testing::NatsServer;
use tokio::sync::mpsc::Receiver;
use tokio::time::timeout;

/// Longest wait for anything that must happen.
const SOON: Duration = Duration::from_secs(30);
const CHAT: &str = "freshet.v1.room.a.chat";
const OTHER: &str = "freshet.v1.room.b.chat";

enum Site {
    Memory(MemoryBus),
    Nats(NatsServer),
}

impl Site {
    /// A handle of its own: with NATS, a connection of its own, as another process has.
    async fn bus(&self) -> SharedBus {
        match self {
            Self::Memory(bus) => Arc::new(bus.clone()),
            Self::Nats(server) => {
                let config = NatsConfig { servers: vec![server.url()], ..NatsConfig::default() };
                let bus: SharedBus = Arc::new(NatsBus::connect(config).await.unwrap());
                until_up(&bus, true).await;
                bus
            }
        }
    }

    fn go_away(&mut self) {
        match self {
            Self::Memory(bus) => bus.set_away(true),
            Self::Nats(server) => server.stop(),
        }
    }

    fn come_back(&mut self) {
        match self {
            Self::Memory(bus) => bus.set_away(false),
            Self::Nats(server) => server.restart(),
        }
    }

    fn wipe(&mut self) {
        match self {
            Self::Memory(bus) => bus.wipe(),
            Self::Nats(server) => server.wipe(),
        }
    }
}

macro_rules! suite {
    ($($step:ident),* $(,)?) => {
        mod memory {
            use freshet_cluster::bus::memory::MemoryBus;
            $(#[tokio::test] async fn $step() { super::$step(super::Site::Memory(MemoryBus::new())).await })*
        }
        mod nats {
            use freshet_cluster::testing::NatsServer;
            $(#[tokio::test] async fn $step() { super::$step(super::Site::Nats(NatsServer::start())).await })*
        }
    };
}

suite!(
    a_plain_message_reaches_all_who_listen,
    a_wildcard_stands_for_one_token,
    plain_messages_keep_their_order_and_overflow_is_counted,
    kept_messages_come_in_order_to_every_reader,
    the_same_id_is_stored_once,
    history_comes_first_and_joins_live_without_gap_or_repeat,
    a_reader_resumes_after_a_sequence,
    a_subject_keeps_its_last_messages,
    a_subject_that_no_history_keeps_is_refused,
    a_position_beyond_the_history_resets,
    a_position_of_a_lost_history_resets_though_the_new_one_is_longer,
    a_history_is_the_same_for_all_who_make_it_at_once,
    an_outage_loses_no_acknowledged_message,
    a_wiped_history_resets_a_reader,
    a_wiped_history_resets_a_reader_even_when_it_has_grown_past_it,
    a_bus_that_is_away_says_so_in_time,
    plain_subscriptions_survive_an_outage,
);

async fn until_up(bus: &SharedBus, up: bool) {
    let begun = Instant::now();
    while bus.is_up() != up {
        assert!(begun.elapsed() < SOON, "the bus should be up: {up}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn b(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

async fn append(bus: &SharedBus, subject: &str, text: &str) -> u64 {
    let receipt = bus.append(subject, &format!("{subject}/{text}"), b(text)).await.unwrap();
    assert!(!receipt.duplicate);
    receipt.seq
}

async fn next<T>(rx: &mut Receiver<T>) -> T {
    timeout(SOON, rx.recv()).await.expect("something comes soon").expect("it does not end")
}

/// Events as text: the payload, or the name of the event.
async fn told(rx: &mut Receiver<Tail>, n: usize) -> Vec<String> {
    let mut seen = Vec::new();
    while seen.len() < n {
        seen.push(match next(rx).await {
            Tail::History { .. } => continue,
            Tail::Kept(Kept { payload, .. }) => String::from_utf8_lossy(&payload).into_owned(),
            other => format!("{other:?}"),
        });
    }
    seen
}

async fn nothing_more(rx: &mut Receiver<Tail>) {
    let more = timeout(Duration::from_millis(300), rx.recv()).await;
    assert!(more.is_err(), "nothing more should come, but {more:?}");
}

/// Publishes until the listener of another connection hears it: a subscription takes effect a little later there.
async fn listen(bus: &SharedBus, rx: &mut Receiver<Message>, subject: &str) {
    let begun = Instant::now();
    loop {
        assert!(begun.elapsed() < SOON, "{subject} is never heard");
        bus.publish(subject, b("probe")).await.ok();
        if timeout(Duration::from_millis(50), rx.recv()).await.is_ok() {
            break;
        }
    }
    // Probes that were under way.
    bus.publish(subject, b("mark")).await.unwrap();
    while next(rx).await.payload != "mark" {}
}

async fn a_plain_message_reaches_all_who_listen(site: Site) {
    let (one, two) = (site.bus().await, site.bus().await);
    let (mut here, mut there) = (one.subscribe("x.y"), two.subscribe("x.y"));
    listen(&one, &mut there, "x.y").await;
    one.publish("x.z", b("elsewhere")).await.unwrap();
    one.publish("x.y", b("hello")).await.unwrap();
    let hello = Message { subject: "x.y".into(), payload: b("hello") };
    assert_eq!(next(&mut there).await, hello);
    while next(&mut here).await != hello {}
}

async fn a_wildcard_stands_for_one_token(site: Site) {
    let bus = site.bus().await;
    let mut rx = bus.subscribe("freshet.v1.node.*.load");
    for subject in [
        "freshet.v1.node.load",
        "freshet.v1.node.a.b.load",
        "freshet.v1.node.a.other",
        "freshet.v1.node.a.load.more",
        "freshet.v1.node.a.load",
        "freshet.v1.node.b.load",
    ] {
        bus.publish(subject, b("x")).await.unwrap();
    }
    assert_eq!(next(&mut rx).await.subject, "freshet.v1.node.a.load");
    assert_eq!(next(&mut rx).await.subject, "freshet.v1.node.b.load");
}

async fn plain_messages_keep_their_order_and_overflow_is_counted(site: Site) {
    let bus = site.bus().await;
    let mut rx = bus.subscribe("x");
    for i in 0..1000 {
        bus.publish("x", b(&i.to_string())).await.unwrap();
    }
    for i in 0..1000 {
        assert_eq!(next(&mut rx).await.payload, i.to_string());
    }
    assert_eq!(bus.dropped(), 0);
    // Nobody reads: the newest are dropped and counted, and the publisher does not wait.
    let extra = 500;
    for i in 0..SUBSCRIPTION_QUEUE + extra {
        bus.publish("x", b(&i.to_string())).await.unwrap();
        if i % 512 == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    let begun = Instant::now();
    while bus.dropped() < extra as u64 {
        assert!(begun.elapsed() < SOON, "{} of {extra} are counted", bus.dropped());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(next(&mut rx).await.payload, "0", "what was there first is kept");
}

async fn kept_messages_come_in_order_to_every_reader(site: Site) {
    let (one, two) = (site.bus().await, site.bus().await);
    let mut readers = [one.tail(CHAT, ReadFrom::Start), two.tail(CHAT, ReadFrom::Start)];
    for rx in &mut readers {
        assert_eq!(told(rx, 1).await, ["CaughtUp"]);
    }
    let mut last = 0;
    for i in 0..40 {
        let bus = if i % 2 == 0 { &one } else { &two };
        let seq = append(bus, CHAT, &i.to_string()).await;
        append(bus, OTHER, &i.to_string()).await;
        assert!(seq > last);
        last = seq;
    }
    let wanted: Vec<_> = (0..40).map(|i| i.to_string()).collect();
    for rx in &mut readers {
        assert_eq!(told(rx, 40).await, wanted);
        nothing_more(rx).await;
    }
}

async fn the_same_id_is_stored_once(site: Site) {
    let (one, two) = (site.bus().await, site.bus().await);
    let first = one.append(CHAT, "id-1", b("hello")).await.unwrap();
    let again = two.append(CHAT, "id-1", b("hello")).await.unwrap();
    assert!(!first.duplicate);
    assert!(again.duplicate);
    assert_eq!(again.seq, first.seq);
    append(&one, CHAT, "next").await;
    let mut rx = two.tail(CHAT, ReadFrom::Start);
    assert_eq!(told(&mut rx, 3).await, ["hello", "next", "CaughtUp"]);
}

async fn history_comes_first_and_joins_live_without_gap_or_repeat(site: Site) {
    let bus = site.bus().await;
    for i in 0..30 {
        append(&bus, CHAT, &i.to_string()).await;
    }
    let writer = {
        let bus = bus.clone();
        tokio::spawn(async move {
            for i in 30..90 {
                append(&bus, CHAT, &i.to_string()).await;
            }
        })
    };
    let wanted: Vec<_> = (0..90).map(|i| i.to_string()).collect();
    for _ in 0..5 {
        let mut rx = bus.tail(CHAT, ReadFrom::Start);
        let mut all = told(&mut rx, 91).await;
        let at = all.iter().position(|t| t == "CaughtUp").expect("it catches up");
        assert!(at >= 30, "after what was there");
        all.remove(at);
        assert_eq!(all, wanted);
    }
    writer.await.unwrap();
}

async fn a_reader_resumes_after_a_sequence(site: Site) {
    let bus = site.bus().await;
    let mut seqs = Vec::new();
    for i in 0..5 {
        seqs.push(append(&bus, CHAT, &i.to_string()).await);
        append(&bus, OTHER, &i.to_string()).await;
    }
    let mut rx = bus.tail(CHAT, ReadFrom::After(seqs[2]));
    assert_eq!(told(&mut rx, 3).await, ["3", "4", "CaughtUp"]);
    let mut rx = bus.tail(CHAT, ReadFrom::After(seqs[4]));
    assert_eq!(told(&mut rx, 1).await, ["CaughtUp"]);
    append(&bus, CHAT, "5").await;
    assert_eq!(told(&mut rx, 1).await, ["5"]);
    let mut rx = bus.tail("freshet.v1.room.empty.chat", ReadFrom::Start);
    assert_eq!(told(&mut rx, 1).await, ["CaughtUp"]);
}

async fn a_subject_keeps_its_last_messages(site: Site) {
    let bus = site.bus().await;
    let extra = 20;
    append(&bus, OTHER, "mine").await;
    for i in 0..KEPT_PER_SUBJECT + extra {
        append(&bus, CHAT, &i.to_string()).await;
    }
    let mut wanted: Vec<_> = (extra..KEPT_PER_SUBJECT + extra).map(|i| i.to_string()).collect();
    wanted.push("CaughtUp".into());
    let mut rx = bus.tail(CHAT, ReadFrom::Start);
    assert_eq!(told(&mut rx, wanted.len()).await, wanted);
    let mut rx = bus.tail(OTHER, ReadFrom::Start);
    assert_eq!(told(&mut rx, 2).await, ["mine", "CaughtUp"], "one room's talk leaves another's alone");
}

async fn a_subject_that_no_history_keeps_is_refused(site: Site) {
    let bus = site.bus().await;
    let refused = bus.append("freshet.v1.room.a.presence", "id", b("x")).await;
    assert!(matches!(refused, Err(BusError::Refused(_))), "{refused:?}");
}

async fn a_position_beyond_the_history_resets(site: Site) {
    let bus = site.bus().await;
    append(&bus, CHAT, "0").await;
    let mut rx = bus.tail(CHAT, ReadFrom::After(1_000_000));
    assert_eq!(told(&mut rx, 3).await, ["Reset", "0", "CaughtUp"]);
}

async fn a_position_of_a_lost_history_resets_though_the_new_one_is_longer(mut site: Site) {
    let bus = site.bus().await;
    let mut old = Vec::new();
    for i in 0..5 {
        old.push(append(&bus, CHAT, &i.to_string()).await);
    }
    site.go_away();
    until_up(&bus, false).await;
    site.wipe();
    site.come_back();
    until_up(&bus, true).await;
    let mut wanted = vec!["Reset".to_owned()];
    let mut new = Vec::new();
    for i in 0..20 {
        new.push(append(&bus, CHAT, &format!("new-{i}")).await);
        wanted.push(format!("new-{i}"));
    }
    wanted.push("CaughtUp".into());
    // A reader that has seen neither history, as another process after its start.
    let fresh = site.bus().await;
    for seq in old {
        assert!(seq < new[0], "{seq} could be of either history");
        let mut rx = fresh.tail(CHAT, ReadFrom::After(seq));
        let Tail::History { first } = next(&mut rx).await else { panic!("which history comes first") };
        assert_eq!(first, new[0], "nothing was written before");
        assert_eq!(told(&mut rx, wanted.len()).await, wanted);
    }
    let mut rx = fresh.tail(CHAT, ReadFrom::After(new[18]));
    assert_eq!(told(&mut rx, 2).await, ["new-19", "CaughtUp"], "what is of this history is resumed");
}

async fn a_history_is_the_same_for_all_who_make_it_at_once(site: Site) {
    let mut buses = Vec::new();
    for _ in 0..6 {
        buses.push(site.bus().await);
    }
    let writes: Vec<_> = buses
        .iter()
        .cloned()
        .enumerate()
        .map(|(i, bus)| tokio::spawn(async move { append(&bus, CHAT, &i.to_string()).await }))
        .collect();
    let mut seqs = Vec::new();
    for write in writes {
        seqs.push(write.await.unwrap());
    }
    seqs.sort_unstable();
    let mut rx = buses[0].tail(CHAT, ReadFrom::Start);
    let Tail::History { first } = next(&mut rx).await else { panic!("which history comes first") };
    assert_eq!(seqs, (first..first + 6).collect::<Vec<_>>());
    let mut all = told(&mut rx, 7).await;
    all.sort();
    assert_eq!(all, ["0", "1", "2", "3", "4", "5", "CaughtUp"], "nothing acknowledged was lost");
}

async fn an_outage_loses_no_acknowledged_message(mut site: Site) {
    let (bus, other) = (site.bus().await, site.bus().await);
    let mut rx = bus.tail(CHAT, ReadFrom::Start);
    for i in 0..20 {
        append(&bus, CHAT, &i.to_string()).await;
    }
    // "CaughtUp" may stand anywhere before the first live message.
    let first: Vec<_> = told(&mut rx, 21).await.into_iter().filter(|t| t != "CaughtUp").collect();
    assert_eq!(first, (0..20).map(|i| i.to_string()).collect::<Vec<_>>());
    let unread = append(&other, CHAT, "20").await;
    site.go_away();
    let mut after = told(&mut rx, 1).await;
    if after == ["20"] {
        after = told(&mut rx, 1).await;
    }
    assert_eq!(after, ["Away"]);
    until_up(&bus, false).await;
    let refused = bus.append(CHAT, "while-away", b("lost")).await;
    assert!(matches!(refused, Err(BusError::Unavailable(_))), "{refused:?}");
    site.come_back();
    until_up(&other, true).await;
    let again = loop {
        // The same id again, as a client does that got no answer.
        match other.append(CHAT, "while-away", b("21")).await {
            Ok(receipt) => break receipt,
            Err(BusError::Unavailable(_)) => tokio::time::sleep(Duration::from_millis(50)).await,
            Err(e) => panic!("{e}"),
        }
    };
    assert!(again.seq > unread);
    let mut rest = Vec::new();
    while rest.last().map(String::as_str) != Some("21") {
        rest.extend(told(&mut rx, 1).await);
    }
    rest.retain(|t| t != "Back" && t != "20");
    assert_eq!(rest, ["21"]);
    let mut fresh = other.tail(CHAT, ReadFrom::Start);
    let mut wanted: Vec<_> = (0..=21).map(|i| i.to_string()).collect();
    wanted.push("CaughtUp".into());
    assert_eq!(told(&mut fresh, 23).await, wanted, "everything that was acknowledged is there, once");
}

async fn lose_past(mut site: Site, writes: usize) {
    let (bus, other) = (site.bus().await, site.bus().await);
    for i in 0..5 {
        append(&bus, CHAT, &i.to_string()).await;
    }
    let mut rx = bus.tail(CHAT, ReadFrom::Start);
    assert_eq!(told(&mut rx, 6).await, ["0", "1", "2", "3", "4", "CaughtUp"]);
    site.go_away();
    assert_eq!(told(&mut rx, 1).await, ["Away"]);
    site.wipe();
    site.come_back();
    until_up(&other, true).await;
    let mut wanted = Vec::new();
    for i in 0..writes {
        append(&other, CHAT, &format!("new-{i}")).await;
        wanted.push(format!("new-{i}"));
    }
    assert_eq!(told(&mut rx, 2).await, ["Back", "Reset"]);
    let mut seen = told(&mut rx, writes + 1).await;
    seen.retain(|t| t != "CaughtUp");
    assert_eq!(seen, wanted);
    append(&bus, CHAT, "last").await;
    assert_eq!(told(&mut rx, 1).await, ["last"]);
}

async fn a_wiped_history_resets_a_reader(site: Site) {
    lose_past(site, 1).await;
}

async fn a_wiped_history_resets_a_reader_even_when_it_has_grown_past_it(site: Site) {
    lose_past(site, 12).await;
}

async fn a_bus_that_is_away_says_so_in_time(mut site: Site) {
    let bus = site.bus().await;
    site.go_away();
    until_up(&bus, false).await;
    let begun = Instant::now();
    assert!(matches!(bus.publish("x", b("x")).await, Err(BusError::Unavailable(_))));
    assert!(matches!(bus.append(CHAT, "id", b("x")).await, Err(BusError::Unavailable(_))));
    let mut rx = bus.tail(CHAT, ReadFrom::Start);
    assert_eq!(told(&mut rx, 1).await, ["Away"]);
    assert!(begun.elapsed() < Duration::from_secs(5));
    site.come_back();
    assert_eq!(told(&mut rx, 2).await, ["Back", "CaughtUp"]);
}

async fn plain_subscriptions_survive_an_outage(mut site: Site) {
    let (one, two) = (site.bus().await, site.bus().await);
    let mut rx = two.subscribe("x.*");
    listen(&one, &mut rx, "x.y").await;
    site.go_away();
    until_up(&one, false).await;
    site.come_back();
    until_up(&one, true).await;
    listen(&one, &mut rx, "x.y").await;
}

/// Memory only: rooms are free to name, so the number of them is bounded. With NATS, age and bytes are.
#[tokio::test]
async fn the_room_that_was_silent_longest_is_forgotten_when_there_are_too_many() {
    let bus: SharedBus = Arc::new(MemoryBus::new());
    let room = |i: usize| format!("freshet.v1.room.r{i}.chat");
    for i in 0..KEPT_SUBJECTS {
        append(&bus, &room(i), "hello").await;
    }
    // The eldest speaks again, so the second is now the one that was silent longest.
    append(&bus, &room(0), "again").await;
    let kept = async |i: usize, n| told(&mut bus.tail(&room(i), ReadFrom::Start), n).await;
    assert_eq!(kept(1, 2).await, ["hello", "CaughtUp"], "as many as that are kept");
    append(&bus, &room(KEPT_SUBJECTS), "new").await;
    assert_eq!(kept(1, 1).await, ["CaughtUp"], "it made place");
    assert_eq!(kept(0, 3).await, ["hello", "again", "CaughtUp"]);
    assert_eq!(kept(2, 2).await, ["hello", "CaughtUp"], "one is enough");
    assert_eq!(kept(KEPT_SUBJECTS, 2).await, ["new", "CaughtUp"]);
    // What was forgotten begins anew.
    append(&bus, &room(1), "back").await;
    assert_eq!(kept(1, 2).await, ["back", "CaughtUp"]);
    assert_eq!(kept(2, 1).await, ["CaughtUp"]);
}

/// NATS only: what the server says of the stream that we make.
#[tokio::test]
async fn the_stream_is_bounded_by_age_and_bytes() {
    let server = NatsServer::start();
    let client = async_nats::connect(server.url()).await.unwrap();
    let (bus, _site) = Site::Nats(server).bus_and_keep().await;
    bus.prepare().await.unwrap();
    let jetstream = async_nats::jetstream::new(client);
    let stream = jetstream.get_stream(freshet_cluster::bus::nats::CHAT_STREAM).await.unwrap();
    let config = &stream.cached_info().config;
    assert_eq!(config.subjects, [freshet_cluster::keys::ALL_CHAT]);
    assert_eq!(config.max_age, KEPT_FOR);
    assert_eq!(config.max_bytes, i64::try_from(KEPT_BYTES).unwrap());
    assert_eq!(config.discard, async_nats::jetstream::stream::DiscardPolicy::Old);
    assert_eq!(config.max_messages_per_subject, i64::try_from(KEPT_PER_SUBJECT).unwrap());
    assert_eq!(config.duplicate_window, DEDUP_WINDOW);
}

/// NATS only: a stream that an operator has made with other limits is used as it is.
#[tokio::test]
async fn a_stream_with_other_limits_is_left_alone() {
    let server = NatsServer::start();
    let client = async_nats::connect(server.url()).await.unwrap();
    let jetstream = async_nats::jetstream::new(client);
    let made = async_nats::jetstream::stream::Config {
        name: freshet_cluster::bus::nats::CHAT_STREAM.into(),
        subjects: vec![freshet_cluster::keys::ALL_CHAT.into()],
        max_messages_per_subject: 7,
        ..Default::default()
    };
    jetstream.create_stream(made).await.unwrap();
    let bus = Site::Nats(server).bus_and_keep().await;
    for i in 0..10 {
        append(&bus.0, CHAT, &i.to_string()).await;
    }
    let mut rx = bus.0.tail(CHAT, ReadFrom::Start);
    assert_eq!(told(&mut rx, 8).await, ["3", "4", "5", "6", "7", "8", "9", "CaughtUp"]);
}

impl Site {
    async fn bus_and_keep(self) -> (SharedBus, Self) {
        (self.bus().await, self)
    }
}

/// NATS only: a server that hangs (no answer, no reset) is noticed by the consumer's heartbeat.
#[tokio::test]
async fn a_nats_that_hangs_is_noticed() {
    let server = NatsServer::start();
    let signal = {
        let pid = server.pid().unwrap().to_string();
        move |name: &str| {
            assert!(std::process::Command::new("kill").args([name, &pid]).status().unwrap().success())
        }
    };
    let (bus, _site) = Site::Nats(server).bus_and_keep().await;
    let mut rx = bus.tail(CHAT, ReadFrom::Start);
    assert_eq!(told(&mut rx, 1).await, ["CaughtUp"]);
    signal("-STOP");
    let begun = Instant::now();
    assert_eq!(told(&mut rx, 1).await, ["Away"]);
    assert!(begun.elapsed() < Duration::from_secs(6), "took {:?}", begun.elapsed());
    let lost = bus.append(CHAT, "id", b("x")).await;
    assert!(matches!(lost, Err(BusError::Unavailable(_))), "{lost:?}");
    signal("-CONT");
    assert_eq!(told(&mut rx, 1).await, ["Back"]);
    until_up(&bus, true).await;
    // Whether the lost one was stored is not known; the same id makes that harmless.
    let begun = Instant::now();
    while let Err(e) = bus.append(CHAT, "id", b("x")).await {
        assert!(begun.elapsed() < SOON, "{e}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(told(&mut rx, 1).await, ["x"]);
    nothing_more(&mut rx).await;
}

#[tokio::test]
async fn a_history_that_its_maker_left_unfinished_is_finished_by_the_next() {
    let server = NatsServer::start();
    let client = async_nats::connect(server.url()).await.unwrap();
    let unfinished = async_nats::jetstream::stream::Config {
        name: "FRESHET_CHAT".into(),
        subjects: vec!["freshet.v1.unborn.chat".into()],
        max_consumers: -1,
        ..Default::default()
    };
    async_nats::jetstream::new(client).create_stream(unfinished).await.unwrap();
    let site = Site::Nats(server);
    let bus = site.bus().await;
    let seq = append(&bus, CHAT, "first").await;
    let mut rx = bus.tail(CHAT, ReadFrom::Start);
    assert_eq!(next(&mut rx).await, Tail::History { first: seq });
    assert_eq!(told(&mut rx, 2).await, ["first", "CaughtUp"]);
}
