use freshet_cluster::bus::memory::MemoryBus;
use freshet_cluster::secret::Secret;
use freshet_cluster::store::memory::MemoryStore;
use freshet_edge::Guard;

use futures::StreamExt as _;

use super::*;
use crate::config::CoordinatorConfig;
use crate::gateway::publishing::Nobody;

fn hubs() -> (Arc<Hubs>, Metrics) {
    hubs_on(Arc::new(MemoryBus::new()))
}

fn hubs_on(bus: Arc<MemoryBus>) -> (Arc<Hubs>, Metrics) {
    let listen = "127.0.0.1:0".parse().unwrap();
    let config = CoordinatorConfig::new(listen, "c0".parse().unwrap(), Guard::open(), Secret::new("secret"));
    let metrics = Metrics::new().unwrap();
    let store = Arc::new(MemoryStore::new());
    (Hubs::new(Arc::new(State::new(config, store, bus, metrics.clone()))), metrics)
}

/// Listens, and says what the snapshot tells to spread over.
async fn spread_told(hubs: &Arc<Hubs>, room: &RoomId) -> (u64, EventStream) {
    let mut stream = hubs.listen(room, None, None).expect("a place");
    let first = stream.next().await.expect("a snapshot").unwrap();
    let text = String::from_utf8_lossy(&first).into_owned();
    let (_, rest) = text.split_once("\"spread_ms\":").expect(&text);
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    (digits.parse().unwrap(), stream)
}

#[tokio::test(start_paused = true)]
async fn the_parts_of_an_audience_at_several_coordinators_are_added_up() {
    let bus = Arc::new(MemoryBus::new());
    let ((one, _), (two, _)) = (hubs_on(bus.clone()), hubs_on(bus));
    let (room, another) = ("one".parse().unwrap(), "another".parse().unwrap());
    let mut held = Vec::new();
    for _ in 0..100 {
        held.push(spread_told(&one, &room).await.1);
    }
    let (alone, _first) = spread_told(&two, &room).await;
    assert_eq!(alone, 0, "nothing was told yet");
    tokio::time::sleep(Duration::from_secs(6)).await;
    let (together, _second) = spread_told(&two, &room).await;
    assert_eq!(together, 2 * (100 + 1), "those at the other, and the one here");
    let (own, _third) = spread_told(&one, &room).await;
    assert_eq!(own, 2 * 100, "its own word is not added to its own");
    assert_eq!(spread_told(&two, &another).await.0, 0, "another room has an audience of its own");
    drop(held);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(spread_told(&two, &room).await.0, 2 * 2, "they have left");
}

#[tokio::test(start_paused = true)]
async fn who_finds_nobody_is_sent_away_for_as_long_as_the_audience_that_listens_is_large() {
    let bus = Arc::new(MemoryBus::new());
    let ((one, _), (two, _)) = (hubs_on(bus.clone()), hubs_on(bus));
    let room = "one".parse().unwrap();
    let longest = |hubs: &Arc<Hubs>| {
        // Each time by somebody else, so that only listeners count: few ask.
        let asks = (0..60).map(|_| Nobody::default().come_back(&hubs.state, &room).as_secs());
        asks.max().unwrap()
    };
    assert_eq!((longest(&one), longest(&two)), (2, 2), "nobody listens");
    let mut held = Vec::new();
    for nth in 0..600 {
        held.push(spread_told(if nth < 300 { &one } else { &two }, &room).await.1);
    }
    tokio::time::sleep(Duration::from_secs(6)).await;
    // By 600: between 2 and 8 s. That none of 60 is longer than 5 s happens once in 10^14 times.
    assert_eq!((one.state.audience(&room), two.state.audience(&room)), (600, 600), "at both together");
    assert!((6..=8).contains(&longest(&one)) && (6..=8).contains(&longest(&two)));
    drop(held);
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!((longest(&one), longest(&two)), (2, 2), "they have left");
}

#[tokio::test]
async fn an_audience_is_told_to_spread_by_its_size() {
    for (audience, ms) in [(0, 0), (1, 2), (500, 1_000), (2_500, 5_000), (5_000, 5_000), (usize::MAX, 5_000)]
    {
        assert_eq!(spread_ms(audience), ms, "{audience}");
    }
    let (hubs, _metrics) = hubs();
    let room = "one".parse().unwrap();
    let mut all = Vec::new();
    for before in 0..600 {
        let (told, stream) = spread_told(&hubs, &room).await;
        assert_eq!(told, 2 * before);
        all.push(stream);
    }
}

/// On one thread nothing runs between two calls of `listen`: nobody is taken in, all wait.
#[tokio::test]
async fn an_audience_that_comes_at_once_is_taken_in_up_to_the_last_place() {
    let (hubs, metrics) = hubs();
    let room = "one".parse().unwrap();
    let listen = || hubs.listen(&room, None, None);
    let mut taken: Vec<_> = (0..freshet_edge::places::ALL).filter_map(|_| listen().ok()).collect();
    assert_eq!((taken.len(), metrics.listeners_refused.get()), (freshet_edge::places::ALL, 0));
    assert_eq!(listen().err(), Some(TooMany::Here));
    assert_eq!(metrics.listeners_refused.get(), 1);
    for stream in &mut taken {
        let first = stream.next().await.expect("a snapshot").unwrap();
        assert!(first.starts_with(b"event: snapshot"), "{first:?}");
    }
    assert_eq!(metrics.listeners.get(), i64::try_from(taken.len()).unwrap());
    drop(taken);
}
