//! Ends the sessions of identities that were sent away, as soon as the store says so.

use std::sync::Arc;

use freshet_cluster::room::EndReason;
use freshet_cluster::unit::UnixMillis;
use freshet_edge::bearer::GUEST;
use freshet_edge::rules::Rules;

use super::shared::Shared;
use crate::service::SessionService;

/// Looks at every session when the rules change, until the task is aborted.
pub async fn run(rules: Rules, shared: Arc<Shared>, service: Arc<dyn SessionService>) {
    let mut changes = rules.changes();
    while changes.changed().await.is_ok() {
        let now = UnixMillis::now();
        let banned = |roll: &super::roll::Roll| {
            let held = roll.iter().filter(|(_, held)| held.identity.as_str() != GUEST);
            let banned = held.filter(|(_, held)| rules.ban_of(&held.room, &held.identity, now).is_some());
            banned.map(|(session, _)| session).collect::<Vec<_>>()
        };
        for session in shared.roll(banned) {
            service.dismiss(session, EndReason::Revoked).await;
        }
    }
}
