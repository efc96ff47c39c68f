//! Which of a track's simulcast layers a viewer gets, and which of them the publisher sends at all.
//!
//! A publisher begins and stops layers as its network and its processor allow, and the names of layers do not say which
//! is better. So the publisher's node measures them: [`Pulse`] tells rates, and [`choose`] picks by them. The choice by
//! the viewer's bandwidth comes in from outside, as a [`Wish`].

use std::time::{Duration, Instant};

/// Rates are measured over this time.
const WINDOW: Duration = Duration::from_millis(250);
/// A layer of which nothing came for so long, while another layer of its track went on, is not sent any more.
const SILENT: Duration = Duration::from_millis(750);
/// Shortest time between two tellings of a rate that only drifts.
const SETTLE: Duration = Duration::from_secs(2);

/// What a viewer should get of a track.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Wish {
    /// The best there is.
    #[default]
    Best,
    /// This one, by its place among the track's layers.
    Layer(u8),
}

/// The layer to send, of layers with these rates in kilobits a second; 0 for one that the publisher does not send, none
/// for one that nobody has told of.
///
/// A layer that is wished for and not sent is stood in for by the cheapest: who picks one has a reason, and it is mostly
/// too little bandwidth for the others. The best has to be better than the `present` one by a quarter. None when nothing
/// is known.
pub fn choose(rates: &[Option<u32>], wish: Wish, present: Option<u8>) -> Option<u8> {
    let Ranks { sent, best, cheapest } = Ranks::of(rates);
    match wish {
        Wish::Best => present.filter(|present| best.contains(present)).or(best.first().copied()),
        Wish::Layer(wished) if sent.contains(&wished) => Some(wished),
        Wish::Layer(_) => cheapest,
    }
}

/// All that [`choose`] looks at in rates: while it stays the same, every choice does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ranks {
    sent: Vec<u8>,
    /// The best, and then those that are as good.
    best: Vec<u8>,
    cheapest: Option<u8>,
}

impl Ranks {
    /// Of layers with these rates.
    pub fn of(rates: &[Option<u32>]) -> Self {
        let sent = || {
            let places = rates.iter().enumerate();
            places.filter_map(|(at, rate)| Some((rate.filter(|rate| *rate > 0)?, u8::try_from(at).ok()?)))
        };
        let near = |top: u32| sent().filter(move |(rate, _)| *rate >= top - top / 5).map(|(_, at)| at);
        let best = |(top, at)| std::iter::once(at).chain(near(top));
        Self {
            sent: sent().map(|(_, at)| at).collect(),
            best: sent().max().into_iter().flat_map(best).collect(),
            cheapest: sent().min().map(|(_, at)| at),
        }
    }
}

#[derive(Debug, Clone, Default)]
struct Layer {
    bytes: u64,
    /// While its rate is not known: when the first packet came.
    first: Option<Instant>,
    heard: Option<Instant>,
    /// Smoothed, kilobits a second; 0 while nothing comes.
    rate: u32,
    told: u32,
}

/// Measures the layers of one track where its publisher is connected.
#[derive(Debug, Clone)]
pub struct Pulse {
    layers: Vec<Layer>,
    since: Option<Instant>,
    told: Option<Instant>,
}

impl Pulse {
    /// For a track of so many layers.
    pub fn new(layers: usize) -> Self {
        Self { layers: vec![Layer::default(); layers], since: None, told: None }
    }

    /// A packet of a layer came.
    pub fn note(&mut self, now: Instant, layer: u8, bytes: usize) {
        let Some(layer) = self.layers.get_mut(usize::from(layer)) else { return };
        layer.bytes = layer.bytes.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
        layer.first.get_or_insert(now);
        layer.heard = Some(now);
        self.since.get_or_insert(now);
    }

    /// When [`Self::poll`] has something to do; none before the first packet, or without layers.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.since?.checked_add(WINDOW)
    }

    /// The layers of which something new is to be told: place and kilobits a second.
    pub fn poll(&mut self, now: Instant) -> Vec<(u8, u32)> {
        let Some(since) = self.since.filter(|since| now.saturating_duration_since(*since) >= WINDOW) else {
            return Vec::new();
        };
        let passed = now.saturating_duration_since(since);
        self.since = Some(now);
        // A track that pauses whole keeps its rates.
        if self.layers.iter().all(|layer| layer.bytes == 0) {
            return Vec::new();
        }
        let newest = self.layers.iter().filter_map(|layer| layer.heard).max();
        let settled = self.told.is_none_or(|told| now.saturating_duration_since(told) >= SETTLE);
        let mut changed = false;
        for layer in &mut self.layers {
            let behind = match (layer.heard, newest) {
                (Some(heard), Some(newest)) => newest.saturating_duration_since(heard),
                _ => SILENT,
            };
            let began = layer.first.map_or(Duration::ZERO, |first| now.saturating_duration_since(first));
            if behind >= SILENT {
                (layer.rate, layer.bytes, layer.first) = (0, 0, None);
            } else if layer.rate > 0 {
                // A keyframe is many times an ordinary frame: an eighth of what is new counts.
                let seen = kbps(std::mem::take(&mut layer.bytes), passed);
                layer.rate = (layer.rate.saturating_mul(7).saturating_add(seen) / 8).max(1);
            } else if began >= WINDOW {
                layer.rate = kbps(std::mem::take(&mut layer.bytes), began).max(1);
            }
            let drifted = layer.rate.abs_diff(layer.told) > layer.told / 4;
            changed |= (layer.rate == 0) != (layer.told == 0) || (settled && drifted);
        }
        if !changed {
            return Vec::new();
        }
        self.told = Some(now);
        let places = (0..=u8::MAX).zip(&mut self.layers);
        places
            .map(|(at, layer)| {
                layer.told = layer.rate;
                (at, layer.rate)
            })
            .collect()
    }
}

fn kbps(bytes: u64, passed: Duration) -> u32 {
    let bits = u128::from(bytes).saturating_mul(8);
    u32::try_from(bits / passed.as_millis().max(1)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn while_ranks_stay_every_choice_does_and_a_choice_stays_where_it_is(
            rates in proptest::collection::vec(proptest::option::of(0..40_u32), 1..5),
            steps in proptest::collection::vec(-6..=6_i32, 4),
        ) {
            let step = |(rate, step): (&Option<u32>, &i32)| rate.map(|rate| rate.saturating_add_signed(*step));
            let later: Vec<Option<u32>> = rates.iter().zip(&steps).map(step).collect();
            let wishes = (0..5).map(Wish::Layer).chain([Wish::Best]);
            for (wish, present) in wishes.flat_map(|w| (0..5).map(Some).chain([None]).map(move |p| (w, p))) {
                let chosen = choose(&rates, wish, present);
                if Ranks::of(&rates) == Ranks::of(&later) {
                    prop_assert_eq!(chosen, choose(&later, wish, present));
                }
                prop_assert_eq!(chosen.and_then(|at| choose(&rates, wish, Some(at))), chosen);
            }
        }
    }

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_best_layer_is_the_one_with_the_highest_rate_whatever_its_place() {
        assert_eq!(choose(&[Some(2_000), Some(500), Some(150)], Wish::Best, None), Some(0));
        assert_eq!(choose(&[Some(150), Some(500), Some(2_000)], Wish::Best, None), Some(2));
        assert_eq!(choose(&[Some(150), Some(500), Some(0)], Wish::Best, None), Some(1), "not sent");
        assert_eq!(choose(&[Some(150), None, None], Wish::Best, None), Some(0), "not told of");
        assert_eq!(choose(&[None, Some(0)], Wish::Best, None), None);
        assert_eq!(choose(&[Some(900), Some(1_000)], Wish::Best, Some(0)), Some(0), "as good as the best");
        assert_eq!(choose(&[Some(700), Some(1_000)], Wish::Best, Some(0)), Some(1));
    }

    #[test]
    fn a_wish_is_granted_or_stood_in_for_by_the_cheapest() {
        let rates = [Some(150), Some(500), Some(2_000)];
        assert_eq!(choose(&rates, Wish::Layer(1), None), Some(1));
        assert_eq!(choose(&[Some(150), Some(0), Some(2_000)], Wish::Layer(1), None), Some(0));
        assert_eq!(choose(&rates, Wish::Layer(9), None), Some(0));
    }

    /// Feeds layers with packets of 1,250 bytes, one in `every` ms each (0: none); returns what was told, and when.
    fn run(
        pulse: &mut Pulse,
        start: Instant,
        from: u32,
        to: u32,
        every: &[u32],
    ) -> Vec<(u32, Vec<(u8, u32)>)> {
        let mut told = Vec::new();
        for ms in from..to {
            let now = start + MS * ms;
            for (at, every) in every.iter().enumerate() {
                if *every > 0 && ms % every == 0 {
                    pulse.note(now, u8::try_from(at).unwrap(), 1_250);
                }
            }
            if pulse.poll_timeout().is_some_and(|due| due <= now) {
                let rates = pulse.poll(now);
                if !rates.is_empty() {
                    told.push((ms, rates));
                }
            }
        }
        told
    }

    #[test]
    fn rates_are_told_when_a_layer_begins_drifts_or_stops_and_not_else() {
        let (mut pulse, start) = (Pulse::new(3), Instant::now());
        assert_eq!(pulse.poll_timeout(), None);
        let told = run(&mut pulse, start, 0, 5_000, &[50, 10, 0]);
        let [(first, rates)] = told.as_slice() else { panic!("{told:?}") };
        assert_eq!(*first, 250);
        assert!((180..=240).contains(&rates[0].1) && (960..=1_080).contains(&rates[1].1), "{rates:?}");
        assert_eq!(rates[2].1, 0);
        let told = run(&mut pulse, start, 5_000, 6_000, &[50, 10, 5]);
        assert_eq!(told.len(), 1, "the third begins: {told:?}");
        let told = run(&mut pulse, start, 6_000, 12_000, &[50, 0, 5]);
        assert!(told.iter().any(|(ms, rates)| (6_740..7_300).contains(ms) && rates[1].1 == 0), "{told:?}");
        assert!(told.len() <= 2, "{told:?}");
        let told = run(&mut pulse, start, 12_000, 24_000, &[50, 0, 2]);
        assert!((1..=3).contains(&told.len()), "a drift is told in steps: {told:?}");
    }

    #[test]
    fn a_track_that_pauses_whole_stays_as_it_is() {
        let (mut pulse, start) = (Pulse::new(2), Instant::now());
        run(&mut pulse, start, 0, 2_000, &[20, 5]);
        let told = run(&mut pulse, start, 2_000, 8_000, &[0, 0]);
        assert!(told.iter().all(|(_, rates)| rates.iter().all(|(_, rate)| *rate > 0)), "{told:?}");
    }
}
