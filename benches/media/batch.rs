//! How long packets should wait for others that leave with them: the choice of the default of `--batch`.

use std::time::Duration;

use super::common::Settings;
use super::common::floor::Profile;
use super::common::measure::Samples;
use super::common::report::{Row, Target};
use super::common::sinks::Reading;
use super::common::trace::Trace;
use super::egress::{Case, Pair, UNIT};

/// A publisher's pacer spreads a frame of seven packets over six milliseconds.
const APART: Duration = Duration::from_millis(1);

/// Several ticks against none, turn by turn.
pub async fn batch(settings: &Settings) -> Vec<Row> {
    let trace = Trace::new(settings.size(2, 1)).spread(APART);
    let viewers = settings.size(500, 20);
    let ticks = settings.size(vec![0, 2, 5, 10], vec![0, 5]);
    let mut pairs = vec![];
    for tick in &ticks {
        let batch = Duration::from_millis(*tick);
        let (profile, reading) = (Profile::Gcm, Reading::Read);
        pairs.push(Pair::of(Case { profile, viewers, reading, batch, transport: false }, 1).await);
    }
    let mut costs = vec![Samples::default(); ticks.len()];
    let mut rides = costs.clone();
    for turn in 0..=settings.size(7, 4) {
        for (at, pair) in pairs.iter_mut().enumerate() {
            // Where packets trickle, lists find their length later than in the rows of egress, which look at that.
            let cost = pair.ours(&trace, false);
            let ride = pair.take_ride();
            if turn > 0 {
                costs[at].push(cost);
                rides[at].push(ride as f64);
            }
        }
    }
    let row = |at: usize| Row {
        name: format!("batch of {} ms, {viewers} viewers, packets of a frame 1 ms apart", ticks[at]),
        unit: UNIT,
        ours: costs[at].clone(),
        reference: Some(costs[0].clone()),
        target: Target::None,
        note: format!("video in trains of {}", rides[at].median()),
    };
    (0..ticks.len()).map(row).collect()
}
