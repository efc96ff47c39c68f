//! How an audience is spread over rooms.

use std::str::FromStr;

use super::Chance;
use crate::num;

/// How viewers are spread over the rooms that publishers are in.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Rooms {
    /// One after the other: `even`.
    #[default]
    Even,
    /// By Zipf's law with this exponent, by chance: `zipf`, `zipf 1.2`. The first room is the largest: of exponent 1, the
    /// n-th has an n-th of it.
    Zipf(f64),
}

impl Rooms {
    /// The room of each of so many viewers, from 0.
    pub fn of(self, viewers: u32, rooms: u32, chance: &mut Chance) -> Vec<u32> {
        let rooms = rooms.max(1);
        match self {
            Self::Even => (0..viewers).map(|viewer| viewer % rooms).collect(),
            Self::Zipf(exponent) => {
                let mut sum = 0.0;
                let mut up_to = |room: u32| {
                    sum += f64::from(room.saturating_add(1)).powf(-exponent);
                    sum
                };
                let edges: Vec<f64> = (0..rooms).map(&mut up_to).collect();
                let pick = |_| {
                    let at = chance.unit() * sum;
                    let room = edges.partition_point(|edge| *edge <= at);
                    u32::try_from(num::len(room)).unwrap_or(u32::MAX).min(rooms.saturating_sub(1))
                };
                (0..viewers).map(pick).collect()
            }
        }
    }
}

impl FromStr for Rooms {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("{text:?} is no spread; write it as even, zipf or zipf 1.2 (up to 4)");
        match text.trim().split_once("zipf") {
            None if text.trim() == "even" => Ok(Self::Even),
            Some(("", "")) => Ok(Self::Zipf(1.0)),
            Some(("", exponent)) => {
                let exponent = exponent.trim().parse().ok();
                exponent.filter(|e| (0.0..=4.0).contains(e)).map(Self::Zipf).ok_or_else(bad)
            }
            _ => Err(bad()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(text: &str, viewers: u32, rooms: u32) -> Vec<usize> {
        let all = text.parse::<Rooms>().unwrap().of(viewers, rooms, &mut Chance::new(9));
        assert_eq!(all.len(), viewers as usize);
        (0..rooms).map(|room| all.iter().filter(|one| **one == room).count()).collect()
    }

    #[test]
    fn rooms_are_as_large_as_it_says() {
        assert_eq!(sizes("even", 10, 3), [4, 3, 3]);
        assert!(sizes("even", 3, 0).is_empty());
        let zipf = sizes("zipf", 12_000, 4);
        // 1, 1/2, 1/3, 1/4 of 25/12.
        for (found, exact) in zipf.iter().zip([5_760.0, 2_880.0, 1_920.0, 1_440.0]) {
            assert!((*found as f64 / exact - 1.0).abs() < 0.08, "{zipf:?}");
        }
        let even = sizes("zipf 0", 9_000, 3);
        assert!(even.iter().all(|size| (2_800..3_200).contains(size)), "{even:?}");
    }

    #[test]
    fn what_means_nothing_is_refused_with_an_example() {
        for text in ["", "big", "zipf x", "zipf -1", "zipf 5", "zipf NaN", "my zipf"] {
            assert!(text.parse::<Rooms>().unwrap_err().contains("zipf 1.2"), "{text:?}");
        }
    }
}
