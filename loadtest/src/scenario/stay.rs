//! How long a viewer stays.

use std::str::FromStr;
use std::time::Duration;

use super::Chance;
use crate::units;

/// Shortest stay: a viewer that leaves sooner has seen nothing.
const SHORTEST: Duration = Duration::from_millis(500);

/// How long each viewer stays. Whose stay is over leaves, and a newcomer takes its place at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Stay {
    /// To the end.
    #[default]
    Whole,
    /// So long: `60s`.
    Fixed(Duration),
    /// As chance has it, so long on average: `exponential 60s`. Never shorter than half a second.
    Exponential(Duration),
}

impl Stay {
    /// How long the next one stays; `None`: to the end.
    pub fn next(self, chance: &mut Chance) -> Option<Duration> {
        match self {
            Self::Whole => None,
            Self::Fixed(stay) => Some(stay),
            Self::Exponential(mean) => Some(mean.mul_f64(chance.exponential()).max(SHORTEST)),
        }
    }
}

impl FromStr for Stay {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let (stay, random) = match text.strip_prefix("exponential") {
            Some(mean) => (mean, true),
            None => (text, false),
        };
        if text == "whole" {
            return Ok(Self::Whole);
        }
        let stay = units::duration(stay).map_err(|why| format!("{why}; or exponential 60s, or whole"))?;
        if stay < SHORTEST {
            return Err(format!("{text:?} is too short; a viewer stays {SHORTEST:?} at least"));
        }
        Ok(if random { Self::Exponential(stay) } else { Self::Fixed(stay) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn viewers_stay_as_it_says() {
        let mut chance = Chance::new(3);
        assert_eq!("whole".parse::<Stay>().unwrap().next(&mut chance), None);
        assert_eq!("1m".parse::<Stay>().unwrap().next(&mut chance), Some(Duration::from_secs(60)));
        let stay: Stay = "exponential 20s".parse().unwrap();
        let all: Vec<f64> = (0..5_000).map(|_| stay.next(&mut chance).unwrap().as_secs_f64()).collect();
        let mean = all.iter().sum::<f64>() / 5_000.0;
        assert!((19.0..21.0).contains(&mean), "{mean}");
        assert!(all.iter().all(|stay| *stay >= 0.5) && all.iter().any(|stay| *stay > 80.0));
    }

    #[test]
    fn what_means_nothing_is_refused_with_an_example() {
        for text in ["", "long", "exponential", "100ms", "exponential 1ms", "-5s"] {
            assert!(text.parse::<Stay>().is_err(), "{text:?}");
        }
        assert!("long".parse::<Stay>().unwrap_err().contains("exponential 60s"));
    }
}
