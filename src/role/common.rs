//! What the roles share: the cluster's store and bus, who may come in, STUN and TURN.

use std::sync::Arc;

use anyhow::Context as _;
use freshet_cluster::bus::SharedBus;
use freshet_cluster::bus::nats::NatsBus;
use freshet_cluster::store::SharedStore;
use freshet_cluster::store::etcd::EtcdStore;
use freshet_cluster::token::Keyring;
use freshet_edge::Guard;
use freshet_edge::ice::{IceServers, TTL, TurnRest, is_turn};
use freshet_edge::jwks::{Jwks, Pace};
use freshet_edge::tls::{Files, Tls};

use crate::config::{Access, Common, Member};

use super::keys;

/// The store and the bus of a cluster. Neither needs to be there yet.
pub async fn connect(member: &Member) -> anyhow::Result<(SharedStore, SharedBus)> {
    let store = EtcdStore::new(member.etcd.clone())?;
    let bus = NatsBus::connect(member.nats.clone()).await?;
    Ok((Arc::new(store), Arc::new(bus)))
}

/// The certificate that clients are shown; none without TLS.
pub fn tls(common: &Common) -> anyhow::Result<Option<Tls>> {
    let load = |files: &Files| Tls::load(files.clone()).context("tls-cert and tls-key");
    common.tls.as_ref().map(load).transpose()
}

/// Who may come in. Keys that come from a file or a URL are kept as they are there; so this is called within the async
/// runtime, once.
pub fn guard(access: &Access) -> Guard {
    let tokens = match access {
        Access::Open => return Guard::open(),
        Access::Keys(tokens) => tokens,
    };
    let life_max_s = tokens.life_max.as_secs();
    let (api, audience) = (tokens.keys.clone(), tokens.audience.clone());
    let guard = Guard::tokens(Keyring { api, audience, life_max_s, ..Keyring::default() });
    if let Some(file) = &tokens.file {
        tokio::spawn(keys::follow(guard.clone(), file.clone(), tokens.given.clone()));
    }
    if let Some(url) = &tokens.jwks {
        let _runs = Jwks::new(url.clone(), Pace::default()).follow(&guard);
    }
    guard
}

/// With a secret, TURN servers get credentials made for each client.
pub fn ice(common: &Common) -> IceServers {
    match &common.turn_secret {
        None => IceServers { plain: common.ice_servers.clone(), turn: None },
        Some(secret) => {
            let (urls, plain): (Vec<_>, Vec<_>) = common.ice_servers.iter().partition(|url| is_turn(url));
            let urls: Vec<String> = urls.into_iter().cloned().collect();
            let turn = TurnRest { urls, secret: secret.clone(), ttl: TTL };
            IceServers { plain: plain.into_iter().cloned().collect(), turn: Some(turn) }
        }
    }
}
