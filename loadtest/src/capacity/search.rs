//! Which size of audience to try next.
//!
//! Sizes double from the smallest until one breaks the bounds; then the middle between the largest that kept them and the
//! smallest that broke them is tried, each once, until the two are neighbours. Only then are both tried again: each
//! needs as many equal outcomes as were asked for before as many opposite ones. A neighbour that turns out to be what it
//! did not seem moves the search on. So most sizes cost one run, and no answer rests on a single one.

use std::collections::BTreeMap;

/// Most confirmations that can be asked for.
const CONFIRM_MAX: u32 = 10;

/// Where to look, and how closely.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Smallest size that is tried.
    pub from: u32,
    /// Largest size that is tried.
    pub to: u32,
    /// The answer is this close to the limit.
    pub resolution: u32,
    /// So many runs of a size have to agree.
    pub confirm: u32,
}

/// What a run of a size came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It kept all bounds.
    Kept,
    /// It broke one.
    Broken,
    /// It says nothing of the server: this side could not do more.
    Stopped,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Run this size.
    Try(u32),
    /// It is known.
    Found(Found),
}

/// What is known in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Found {
    /// The largest size that kept all bounds, confirmed.
    pub holds: Option<u32>,
    /// The next size up that broke one, confirmed; none if all that was to be tried kept them.
    pub breaks: Option<u32>,
    /// The size at which this side could not do more.
    pub stopped: Option<u32>,
}

/// Outcomes of one size.
#[derive(Debug, Clone, Copy, Default)]
struct Votes {
    kept: u32,
    broken: u32,
}

impl Votes {
    /// What it looks like; a draw is no success.
    fn keeps(self) -> bool {
        self.kept > self.broken
    }
}

/// The search.
#[derive(Debug, Clone)]
pub struct Search {
    limits: Limits,
    votes: BTreeMap<u32, Votes>,
    stopped: Option<u32>,
}

impl Search {
    /// Nothing has been tried; says what is wrong with the limits.
    pub fn new(limits: Limits) -> Result<Self, String> {
        let Limits { from, to, resolution, confirm } = limits;
        if from == 0 || from > to {
            return Err(format!("the audience has to grow: from {from} to {to} it does not"));
        }
        if resolution == 0 {
            return Err("the resolution is a viewer at least".to_owned());
        }
        if !(1..=CONFIRM_MAX).contains(&confirm) {
            return Err(format!("{confirm} confirmations are out of range; 1 to {CONFIRM_MAX}"));
        }
        Ok(Self { limits, votes: BTreeMap::new(), stopped: None })
    }

    /// A run of this size came to this.
    pub fn record(&mut self, size: u32, outcome: Outcome) {
        match outcome {
            Outcome::Kept => self.votes.entry(size).or_default().kept += 1,
            Outcome::Broken => self.votes.entry(size).or_default().broken += 1,
            Outcome::Stopped => self.stopped = Some(self.stopped.map_or(size, |before| before.min(size))),
        }
    }

    fn decided(&self, size: u32) -> bool {
        let Votes { kept, broken } = self.votes.get(&size).copied().unwrap_or_default();
        kept.max(broken) >= self.limits.confirm
    }

    /// The largest size that seems to hold below the smallest that seems not to, and that one.
    fn bracket(&self) -> (Option<u32>, Option<u32>) {
        let seen =
            || self.votes.iter().filter(|(size, _)| self.stopped.is_none_or(|stopped| **size < stopped));
        let high = seen().find(|(_, votes)| !votes.keeps()).map(|(size, _)| *size);
        let low = seen().take_while(|(size, _)| high.is_none_or(|high| **size < high)).last();
        (low.map(|(size, _)| *size), high)
    }

    /// What it looks like so far, confirmed or not.
    pub fn so_far(&self) -> Found {
        let (holds, breaks) = self.bracket();
        Found { holds, breaks, stopped: self.stopped }
    }

    /// What to do next.
    pub fn next(&self) -> Step {
        let Limits { from, to, resolution, .. } = self.limits;
        let (low, high) = self.bracket();
        let found = Step::Found(self.so_far());
        // Whose seeming is not decided yet, the answer first.
        let confirm = |sizes: [Option<u32>; 2]| {
            let open = sizes.into_iter().flatten().find(|size| !self.decided(*size));
            open.map_or(found, Step::Try)
        };
        match (low, high) {
            // This side cannot do more: what is known gets confirmed.
            _ if self.stopped.is_some() => confirm([low, high]),
            (None, None) => Step::Try(from),
            (None, Some(_)) => confirm([None, high]),
            (Some(low), None) if low < to => Step::Try(low.saturating_mul(2).min(to)),
            (Some(_), None) => confirm([low, None]),
            (Some(least), Some(most)) if most - least > resolution => Step::Try(least + (most - least) / 2),
            (Some(_), Some(_)) => confirm([low, high]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Chance;

    fn limits(from: u32, to: u32, resolution: u32, confirm: u32) -> Limits {
        Limits { from, to, resolution, confirm }
    }

    /// Searches a server that does as it says; what was found, and the sizes that were run.
    fn search(limits: Limits, mut server: impl FnMut(u32) -> Outcome) -> (Found, Vec<u32>) {
        let mut search = Search::new(limits).unwrap();
        let mut tried = Vec::new();
        loop {
            match search.next() {
                Step::Found(found) => return (found, tried),
                Step::Try(size) => {
                    assert!((limits.from..=limits.to).contains(&size), "{size}");
                    tried.push(size);
                    assert!(tried.len() < 1_000, "it ends: {tried:?}");
                    search.record(size, server(size));
                }
            }
        }
    }

    fn up_to(threshold: u32) -> impl Fn(u32) -> Outcome {
        move |size| if size <= threshold { Outcome::Kept } else { Outcome::Broken }
    }

    #[test]
    fn the_limit_is_found_within_a_step_of_the_resolution() {
        for (from, to) in [(1, 2_000), (50, 2_000), (10, 333)] {
            for resolution in [1, 7, 40] {
                for confirm in [1, 2, 3] {
                    for threshold in (from..to).step_by(23) {
                        let (found, tried) = search(limits(from, to, resolution, confirm), up_to(threshold));
                        let (holds, breaks) = (found.holds.unwrap(), found.breaks.unwrap());
                        assert!(holds <= threshold && threshold < breaks, "{found:?} of {threshold}");
                        assert!(breaks - holds <= resolution, "{found:?} of {threshold}");
                        let most = 24 + 2 * usize::try_from(confirm).unwrap();
                        assert!(tried.len() <= most, "{} runs: {tried:?}", tried.len());
                    }
                }
            }
        }
    }

    #[test]
    fn each_end_is_confirmed_and_what_lies_between_runs_once() {
        let (found, tried) = search(limits(50, 2_000, 50, 2), up_to(430));
        assert_eq!((found.holds, found.breaks), (Some(400), Some(450)));
        assert_eq!(tried, [50, 100, 200, 400, 800, 600, 500, 450, 400, 450]);
    }

    #[test]
    fn the_ends_of_the_range_are_told_as_such() {
        let (found, tried) = search(limits(50, 300, 10, 2), |_| Outcome::Kept);
        assert_eq!(found, Found { holds: Some(300), breaks: None, stopped: None });
        assert_eq!(tried, [50, 100, 200, 300, 300]);
        let (found, tried) = search(limits(50, 300, 10, 3), |_| Outcome::Broken);
        assert_eq!(found, Found { holds: None, breaks: Some(50), stopped: None });
        assert_eq!(tried, [50, 50, 50]);
        let (found, _) = search(limits(7, 7, 1, 1), |_| Outcome::Kept);
        assert_eq!(found.holds, Some(7));
    }

    #[test]
    fn a_single_success_beyond_the_limit_is_not_trusted() {
        let mut lucky = 1;
        let (found, tried) = search(limits(50, 2_000, 10, 2), |size| {
            // The first run of a size that the server does not hold goes well.
            if (430..460).contains(&size) && lucky > 0 {
                lucky -= 1;
                return Outcome::Kept;
            }
            up_to(430)(size)
        });
        assert_eq!(lucky, 0, "{tried:?}");
        let (holds, breaks) = (found.holds.unwrap(), found.breaks.unwrap());
        assert!(holds <= 430 && breaks > 430 && breaks - holds <= 10, "{found:?}: {tried:?}");
    }

    #[test]
    fn a_single_failure_below_the_limit_is_not_trusted() {
        for unlucky in [50, 100, 200, 400] {
            let mut left = 1;
            let (found, tried) = search(limits(50, 2_000, 10, 2), |size| {
                if size == unlucky && left > 0 {
                    left -= 1;
                    return Outcome::Broken;
                }
                up_to(430)(size)
            });
            let (holds, breaks) = (found.holds.unwrap(), found.breaks.unwrap());
            assert!(holds <= 430 && breaks > 430 && breaks - holds <= 10, "{unlucky} {found:?}: {tried:?}");
        }
    }

    #[test]
    fn noise_around_the_limit_moves_the_answer_no_further_than_the_noise_reaches() {
        let (mut far, mut runs) = (0, 0);
        for seed in 0..400 {
            let mut chance = Chance::new(seed);
            let (found, tried) = search(limits(50, 2_000, 20, 3), |size| {
                // From 900 to 1,100 it holds ever less often.
                let fails = (f64::from(size) - 900.0) / 200.0;
                if chance.unit() < fails { Outcome::Broken } else { Outcome::Kept }
            });
            let (holds, breaks) = (found.holds.unwrap(), found.breaks.unwrap());
            assert!(breaks - holds <= 20 && holds < 1_100 && breaks > 900, "seed {seed}: {found:?}");
            far += u32::from(!(940..=1_060).contains(&holds));
            runs += tried.len();
        }
        assert!(far < 40, "nine of ten are nearer: {far} are not");
        assert!(runs < 400 * 30, "{runs}");
    }

    #[test]
    fn failures_by_chance_far_below_the_limit_are_outvoted() {
        let mut wrong = 0;
        for seed in 0..400 {
            let mut chance = Chance::new(seed);
            let (found, _) = search(limits(50, 2_000, 20, 3), |size| {
                let flaky = chance.unit() < 0.05;
                if size > 700 || flaky { Outcome::Broken } else { Outcome::Kept }
            });
            wrong += u32::from(!found.holds.is_some_and(|holds| (680..=700).contains(&holds)));
        }
        assert!(wrong < 12, "one run in twenty fails by chance, and {wrong} of 400 searches do");
    }

    #[test]
    fn where_this_side_cannot_do_more_the_search_stops() {
        let server = |size| if size >= 700 { Outcome::Stopped } else { Outcome::Kept };
        let (found, tried) = search(limits(50, 2_000, 10, 2), server);
        assert_eq!(found, Found { holds: Some(400), breaks: None, stopped: Some(800) });
        assert_eq!(
            tried,
            [50, 100, 200, 400, 800, 400],
            "what is known is confirmed, and nothing else is run"
        );
        let (found, tried) = search(limits(50, 2_000, 10, 2), |_| Outcome::Stopped);
        assert_eq!((found, tried), (Found { stopped: Some(50), ..Found::default() }, vec![50]));
        // It could once, and could not again.
        let mut often = 0;
        let (found, _) = search(limits(50, 2_000, 10, 2), |size| {
            often += u32::from(size >= 200);
            if often > 1 && size >= 200 { Outcome::Stopped } else { Outcome::Kept }
        });
        assert_eq!((found.holds, found.stopped), (Some(100), Some(200)));
    }

    #[test]
    fn impossible_limits_are_refused_with_the_reason() {
        for (limits, says) in [
            (limits(0, 9, 1, 1), "has to grow"),
            (limits(10, 9, 1, 1), "has to grow"),
            (limits(1, 9, 0, 1), "resolution"),
            (limits(1, 9, 1, 0), "1 to 10"),
            (limits(1, 9, 1, 11), "1 to 10"),
        ] {
            assert!(Search::new(limits).unwrap_err().contains(says), "{limits:?}");
        }
    }
}
