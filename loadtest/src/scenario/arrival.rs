//! When viewers arrive.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::Chance;
use crate::{num, units};

/// Most steps of an arrival.
const STEPS_MAX: usize = 100;

/// How viewers arrive.
#[derive(Debug, Clone, PartialEq)]
pub enum Arrival {
    /// So many a second, evenly: `50/s`.
    Ramp(f64),
    /// All within a time, evenly, or at once: `storm`, `storm 2s`.
    Storm(Duration),
    /// Independently of each other, so many a second on average: `poisson 20/s`.
    Poisson(f64),
    /// So many more at each time: `100@0s, 400@30s`. The rest comes with the last step.
    Steps(Vec<(Duration, u32)>),
}

impl Arrival {
    /// When each of so many viewers is due, from the first one on; in order.
    pub fn due(&self, viewers: u32, chance: &mut Chance) -> Vec<Duration> {
        let all = 0..viewers;
        match self {
            Self::Ramp(rate) => all.map(|n| Duration::from_secs_f64(f64::from(n) / rate)).collect(),
            Self::Storm(within) => all.map(|n| within.mul_f64(f64::from(n) / f64::from(viewers))).collect(),
            Self::Poisson(rate) => {
                let mut at = 0.0;
                let mut next = |n: u32| {
                    // The first one begins the run.
                    at += if n == 0 { 0.0 } else { chance.exponential() / rate };
                    Duration::from_secs_f64(at)
                };
                all.map(&mut next).collect()
            }
            Self::Steps(steps) => {
                let mut due: Vec<Duration> = Vec::new();
                for (at, count) in steps {
                    let room = num::index(viewers.into()).saturating_sub(due.len());
                    due.extend(std::iter::repeat_n(*at, num::index((*count).into()).min(room)));
                }
                let last = steps.last().map_or(Duration::ZERO, |(at, _)| *at);
                due.resize(num::index(viewers.into()), last);
                due
            }
        }
    }
}

impl FromStr for Arrival {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if let Some(within) = text.strip_prefix("storm") {
            let within = within.trim();
            return Ok(Self::Storm(if within.is_empty() {
                Duration::ZERO
            } else {
                units::duration(within)?
            }));
        }
        if let Some(rate) = text.strip_prefix("poisson") {
            return units::rate(rate).map(Self::Poisson);
        }
        if !text.contains('@') {
            let example = |why| format!("{why}; or storm, storm 2s, poisson 20/s, 100@0s,400@30s");
            return units::rate(text).map(Self::Ramp).map_err(example);
        }
        let mut steps = Vec::new();
        for step in text.split(',') {
            let bad = || format!("{:?} is no step; write it as 100@30s", step.trim());
            let (count, at) = step.split_once('@').ok_or_else(bad)?;
            let count = count.trim().parse().ok().filter(|count| *count > 0).ok_or_else(bad)?;
            steps.push((units::duration(at)?, count));
        }
        if steps.len() > STEPS_MAX {
            return Err(format!("{} steps; at most {STEPS_MAX} can be made", steps.len()));
        }
        match steps.first() {
            Some((at, _)) if !at.is_zero() => Err(format!("{text:?}: the first step is at 0s")),
            _ if steps.is_sorted_by(|one, next| one.0 < next.0) => Ok(Self::Steps(steps)),
            _ => Err(format!("{text:?}: each step is later than the one before")),
        }
    }
}

impl fmt::Display for Arrival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ramp(rate) => write!(f, "{rate}/s"),
            Self::Storm(within) if within.is_zero() => f.write_str("all at once"),
            Self::Storm(within) => write!(f, "all within {within:?}"),
            Self::Poisson(rate) => write!(f, "{rate}/s on average (Poisson)"),
            Self::Steps(steps) => {
                let steps: Vec<String> =
                    steps.iter().map(|(at, count)| format!("{count} at {at:?}")).collect();
                f.write_str(&steps.join(", "))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(text: &str, viewers: u32) -> Vec<Duration> {
        text.parse::<Arrival>().unwrap().due(viewers, &mut Chance::new(1))
    }

    fn seconds(text: &str, viewers: u32) -> Vec<f64> {
        due(text, viewers).iter().map(Duration::as_secs_f64).collect()
    }

    #[test]
    fn viewers_come_as_it_says() {
        assert_eq!(seconds("50/s", 4), [0.0, 0.02, 0.04, 0.06]);
        assert_eq!(seconds("600/m", 3), [0.0, 0.1, 0.2]);
        assert_eq!(seconds("storm", 3), [0.0; 3]);
        assert_eq!(seconds("storm 2s", 4), [0.0, 0.5, 1.0, 1.5]);
        assert_eq!(seconds("2@0s, 1@30s,3@1m", 6), [0.0, 0.0, 30.0, 60.0, 60.0, 60.0]);
        assert_eq!(seconds("2@0s,1@30s", 5), [0.0, 0.0, 30.0, 30.0, 30.0], "the rest comes last");
        assert_eq!(seconds("2@0s,9@30s", 3), [0.0, 0.0, 30.0]);
    }

    #[test]
    fn poisson_arrivals_are_irregular_and_keep_their_rate() {
        let all = seconds("poisson 20/s", 2_001);
        assert!(all.is_sorted() && all[0] == 0.0);
        assert!((90.0..110.0).contains(all.last().unwrap()), "{:?}", all.last());
        let short = all.windows(2).filter(|pair| pair[1] - pair[0] < 0.05).count();
        assert!((1_160..1_370).contains(&short), "1 - 1/e of the waits are shorter than their mean: {short}");
        assert_eq!(due("poisson 20/s", 50), due("poisson 20/s", 50), "one seed, one run");
    }

    #[test]
    fn what_means_nothing_is_refused_with_an_example() {
        for (text, says) in [
            ("", "50/s"),
            ("often", "poisson 20/s"),
            ("storm soon", "30s"),
            ("poisson", "50/s"),
            ("5@10s", "at 0s"),
            ("5@0s,5@0s", "later"),
            ("x@0s", "100@30s"),
            ("5@0s,", "100@30s"),
            ("0@0s", "100@30s"),
        ] {
            let error = text.parse::<Arrival>().unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
