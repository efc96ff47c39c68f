//! Which shard a new session goes to: the one with the least to do, of those that are not full.

/// Packets a second that a session counts for beside what it is sent: about those of 2 Mbit/s and sound. Its media may
/// only begin, and the counts of what is sent come a quarter of a second late.
const OF_A_SESSION: u64 = 270;

/// What a shard has to do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Work {
    /// Packets that it sent lately, in a second.
    pub packets_per_second: u64,
    /// Sessions that it has, and those that are being made.
    pub sessions: u32,
    /// It takes no newcomers.
    pub full: bool,
}

impl Work {
    /// In packets a second.
    pub fn load(self) -> u64 {
        self.packets_per_second.saturating_add(u64::from(self.sessions).saturating_mul(OF_A_SESSION))
    }
}

/// The one with the least to do, of some the first; none when all are full.
pub fn least_loaded<T>(shards: impl IntoIterator<Item = (T, Work)>) -> Option<T> {
    let free = shards.into_iter().filter(|(_, work)| !work.full);
    free.min_by_key(|(_, work)| work.load()).map(|(shard, _)| shard)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shards of these tests are full with so many.
    const FULL: u32 = 100;

    fn chosen(shards: &[(u64, u32)]) -> Option<usize> {
        let work =
            |(packets_per_second, sessions)| Work { packets_per_second, sessions, full: sessions >= FULL };
        least_loaded(shards.iter().copied().map(work).enumerate())
    }

    #[test]
    fn an_idle_shard_with_more_sessions_is_chosen_before_a_busy_one_with_few() {
        // Thirty who watch a paused stream have less to come than ten who are sent 4 Mbit/s each.
        assert_eq!(chosen(&[(10 * 2_600, 10), (0, 30)]), Some(1));
        assert_eq!(chosen(&[(0, 30), (10 * 2_600, 10)]), Some(0));
    }

    #[test]
    fn of_idle_shards_the_one_with_fewest_sessions_is_chosen_and_of_alike_ones_the_first() {
        assert_eq!(chosen(&[(0, 4), (0, 3), (0, 5)]), Some(1));
        assert_eq!(chosen(&[(270, 3), (0, 4), (540, 2)]), Some(0));
        assert_eq!(chosen(&[]), None);
    }

    #[test]
    fn a_full_shard_is_not_chosen_however_little_it_sends() {
        assert_eq!(chosen(&[(0, FULL), (90_000, 99)]), Some(1));
        assert_eq!(chosen(&[(0, FULL), (0, FULL + 1)]), None);
    }

    /// What is counted comes late, so sessions must spread before anything has been sent to them.
    #[test]
    fn joins_that_come_together_spread_evenly_and_away_from_what_is_busy() {
        let mut shards = [(0, 0), (2_700, 0), (0, 0), (0, 0)];
        for _ in 0..30 {
            let at = chosen(&shards).unwrap();
            shards[at].1 += 1;
        }
        assert_eq!(shards.map(|(_, sessions)| sessions), [10, 0, 10, 10]);
    }
}
