use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn client(n: u8) -> Whose {
    Whose::Named(format!("client-{n}").parse().unwrap())
}

/// The table with whom it is about, and the same in the plainest way.
struct World {
    places: Places,
    now: Instant,
    /// Serial number, whose, since when; by age. Where one stands is its number.
    plain: Vec<(u64, u8, Instant)>,
    next: u64,
}

impl World {
    fn new(limit: usize) -> Self {
        Self { places: Places::new(limit), now: Instant::now(), plain: Vec::new(), next: 1 }
    }

    fn held(&self, n: u8) -> usize {
        self.plain.iter().filter(|(_, whose, _)| *whose == n).count()
    }

    fn is_late(&self, since: Instant) -> bool {
        self.now.saturating_duration_since(since) >= LATE
    }

    fn late(&self, n: u8) -> usize {
        self.plain.iter().filter(|(_, whose, since)| *whose == n && self.is_late(*since)).count()
    }

    fn leave(&mut self, serial: u64) -> (u8, Instant) {
        let at = self.plain.iter().position(|(one, ..)| *one == serial).expect("it is there");
        let (_, whose, since) = self.plain.remove(at);
        assert!(!self.plain[..at].iter().any(|(_, other, _)| *other == whose), "the oldest of its client");
        self.places.leave(serial);
        (whose, since)
    }

    /// A newcomer, and whose session made way for it; false if it was refused.
    fn join(&mut self, n: u8) -> (bool, Option<u8>) {
        let way = self.places.way_for(self.now, &client(n));
        let full = self.plain.len() >= self.places.limit();
        let Ok(way) = way else {
            assert!(full, "refused with places free");
            assert_eq!(self.late(n), 0, "one of its own could have made way");
            let most = self.plain.iter().map(|(_, whose, _)| self.held(*whose)).max().unwrap();
            assert!(most <= self.held(n) + 1, "refused although somebody holds {most}");
            return (false, None);
        };
        assert_eq!(way.is_some(), full);
        let mut gone = None;
        if let Some(at) = way {
            let (own, serial) = (self.held(n), at as u64);
            let (whose, since) = self.leave(serial);
            let late = self.is_late(since);
            // Neither does it lose to one that would then hold more than it, unless it is one's own.
            assert!(whose == n || self.held(whose) >= own, "{whose} makes way for {n}");
            assert!(late || (whose != n && self.held(whose) > own), "a fresh one goes for fairness alone");
            gone = Some(whose);
        }
        let serial = self.next;
        self.next += 1;
        self.plain.push((serial, n, self.now));
        self.places.enter(serial, Half { at: serial as usize, since: self.now, whose: client(n) });
        (true, gone)
    }

    /// Takes away what is too much; returns whose.
    fn relieve(&mut self, free: usize) -> Vec<u8> {
        let mut gone = Vec::new();
        while let Some(at) = self.places.surplus(self.now, free) {
            let places = free.min(self.places.limit());
            assert!(self.plain.len() * 2 > places, "there is room");
            let few = if self.plain.len() * 4 > places * 3 { 0 } else { FEW };
            let (whose, since) = self.leave(at as u64);
            assert!(self.is_late(since) && self.late(whose) >= few);
            assert!(self.plain.iter().all(|(_, other, _)| self.late(*other) <= self.late(whose) + 1));
            gone.push(whose);
        }
        gone
    }
}

#[derive(Debug, Clone)]
enum Step {
    Join(u8, usize),
    Open(usize),
    Wait(u64),
    Relieve(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..5u8, 1..30usize).prop_map(|(n, times)| Step::Join(n, times)),
        3 => (0..200usize).prop_map(Step::Open),
        2 => (0..5_500u64).prop_map(Step::Wait),
        2 => (0..150usize).prop_map(Step::Relieve),
    ]
}

proptest! {
    #[test]
    fn a_place_is_lost_to_age_or_to_who_holds_less_and_never_are_there_too_many(
        limit in 1..100usize,
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let mut world = World::new(limit);
        for step in steps {
            match step {
                Step::Join(n, times) => (0..times).for_each(|_| {
                    world.join(n);
                }),
                Step::Open(_) if world.plain.is_empty() => {}
                Step::Open(n) => {
                    let (serial, ..) = world.plain.remove(n % world.plain.len());
                    world.places.leave(serial);
                }
                Step::Wait(ms) => world.now += Duration::from_millis(ms),
                Step::Relieve(free) => drop(world.relieve(free)),
            }
            prop_assert!(world.plain.len() <= limit);
            prop_assert_eq!(world.places.len(), world.plain.len());
            world.places.grow_late(world.now);
            for n in 0..5 {
                let kept = world.places.clients.get(&client(n));
                let kept = kept.map_or((0, 0), |client| (client.sessions.len(), client.late));
                prop_assert_eq!(kept, (world.held(n), world.late(n)));
            }
            // What is left of nobody is nothing.
            prop_assert!(world.places.clients.values().all(|client| !client.sessions.is_empty()));
            prop_assert_eq!(world.places.held.len(), world.places.clients.len());
            prop_assert!(world.places.late.len() <= world.places.clients.len());
        }
    }
}

#[test]
fn a_crowd_behind_one_address_that_joins_at_once_loses_none() {
    let mut world = World::new(2_000);
    for _ in 0..1_500 {
        assert_eq!(world.join(1), (true, None));
    }
    world.now += LATE - Duration::from_millis(1);
    assert!(world.relieve(2_000).is_empty(), "it may take its time");
    // A storm of others on top of it: the crowd, which has the most, gives way to them one by one.
    let others: Vec<_> = (0..502).map(|n| world.join(2 + (n % 2) as u8)).collect();
    assert!(others[..500].iter().all(|joined| *joined == (true, None)));
    assert!(others[500..].iter().all(|joined| *joined == (true, Some(1))));
    // The crowd itself has all that it can have.
    assert_eq!(world.join(1), (false, None));
}

#[test]
fn who_goes_on_and_on_holds_half_of_the_free_places_and_the_newest() {
    let mut world = World::new(2_000);
    // 67 POSTs a second: all places in half a minute.
    for _ in 0..60 {
        for _ in 0..67 {
            assert!(world.join(0).0);
        }
        world.now += SECOND;
        world.relieve(1_000);
        assert!(world.held(0) <= 500, "{}", world.held(0));
        assert_eq!(world.join(1), (true, None), "an honest one");
        let (serial, ..) = world.plain.pop().unwrap();
        world.places.leave(serial);
    }
    assert!(world.held(0) > 490, "nobody takes what nobody needs: {}", world.held(0));
    // With fewer places free, it keeps fewer; what is fresh is left in any case, and a few where there is room for them.
    world.relieve(400);
    assert_eq!((world.late(0), world.held(0)), (FEW, FEW + 4 * 67));
    world.relieve(20);
    assert_eq!((world.late(0), world.held(0)), (0, 4 * 67));
    assert!(world.places.due(20).is_some_and(|due| due > world.now));
    assert_eq!(world.places.due(1_000), None);
}

#[test]
fn very_many_addresses_with_few_each_keep_three_quarters_of_the_places() {
    let mut world = World::new(2_000);
    for n in 0..250 {
        (0..FEW).for_each(|_| assert!(world.join(n).0));
    }
    assert!(world.relieve(2_000).is_empty(), "they may become whole");
    world.now += LATE;
    assert_eq!(world.relieve(2_000).len(), 500);
    assert!(world.relieve(2_000).is_empty());
    assert!((0..250).all(|n| world.held(n) >= FEW - 2), "each loses as much as another");
}

#[test]
fn very_many_addresses_with_few_each_leave_a_place_for_who_has_none() {
    let mut world = World::new(40);
    for n in 0..20 {
        assert!(world.join(n).0 && world.join(n).0);
    }
    assert!(world.join(30).1.is_some(), "from one who has two");
    for n in 0..20 {
        world.join(n);
    }
    // One each, and all fresh: now it is full.
    let mut world = World::new(20);
    (0..20).for_each(|n| assert!(world.join(n).0));
    assert_eq!(world.join(30), (false, None));
    world.now += LATE;
    let (joined, gone) = world.join(30);
    assert!(joined && gone.is_some(), "what is late makes way");
}
