//! Configuration: one table of settings, four layers of values, one typed struct per role.
//!
//! Unknown keys in the file are errors. Unknown environment variables are not: Kubernetes makes some of its own whose
//! names begin with `FRESHET_` for every service of that name.

mod addresses;
mod doors;
mod error;
mod layers;
mod level;
mod member;
mod pem;
pub mod print;
mod reader;
pub mod settings;
#[cfg(test)]
mod tests;
mod typed;
mod value;

pub use error::ConfigError;
pub use layers::{File, Given, Layers, Origin, RUST_LOG, strangers};
pub use member::{Member, default_id};
pub use reader::{ReadFile, Reader};
pub use settings::Role;
pub use typed::{
    Access, Common, CoordinatorSettings, DevSettings, LogFormat, Media, NodeSettings, RelayFiles, Settings,
    Tokens,
};
pub use value::duration;

use std::net::{IpAddr, Ipv4Addr};

use freshet_cluster::token::ApiKey;

/// All API keys that are given; for minting tokens.
pub fn api_keys(layers: &Layers, files: ReadFile<'_>) -> Result<Vec<ApiKey>, ConfigError> {
    typed::api_keys(&Reader { layers, files })
}

/// The longest life of a token.
pub fn life_max(layers: &Layers, files: ReadFile<'_>) -> Result<std::time::Duration, ConfigError> {
    typed::life_max(&Reader { layers, files })
}

/// `freshet dev --tls` is for other devices: it listens where they can call, and media is at the addresses of this
/// machine, which are asked for only then.
pub fn derive_for_others(layers: &mut Layers, addresses: impl FnOnce() -> Vec<IpAddr>) {
    /// More than a machine on a desk has, fewer than a client would mind to try.
    const MOST: usize = 8;
    let given = |layers: &Layers, key: &str| layers.get(key).is_some_and(|g| g.origin != Origin::Default);
    if layers.role != Role::Dev || layers.get("tls").is_none_or(|g| g.texts != ["true"]) {
        return;
    }
    if !given(layers, "listen") {
        layers.set_default("listen", "0.0.0.0:8443");
    }
    let open =
        |g: &Given| g.texts.first().is_some_and(|t| t.starts_with("0.0.0.0:") || t.starts_with("[::]:"));
    let told = ["ip", "candidate", "udp-bind"].iter().any(|key| given(layers, key));
    if !told && layers.get("listen").is_some_and(open) {
        let mut ips: Vec<_> = addresses().iter().filter(|ip| ip.is_ipv4()).map(IpAddr::to_string).collect();
        ips.truncate(MOST);
        if ips.is_empty() {
            ips.push(Ipv4Addr::LOCALHOST.to_string());
        }
        layers.set_defaults("ip", ips);
    }
}

/// Puts defaults that follow from other settings into the layers, so that what is printed is what is in force.
pub fn derive_defaults(layers: &mut Layers, host: &str) {
    let given = |layers: &Layers, key: &str| layers.get(key).is_some_and(|g| g.origin != Origin::Default);
    // Empty texts are none; but an empty key is a mistake, and must not open a process to everyone.
    let filled = |layers: &Layers, key: &str| {
        given(layers, key) && layers.get(key).is_some_and(|g| g.texts.iter().any(|text| !text.is_empty()))
    };
    let keyed = given(layers, "api-key") || given(layers, "api-key-file") || given(layers, "jwks-url");
    if layers.role == Role::Dev && !given(layers, "open") && keyed {
        layers.set_default("open", "false");
    }
    let time = |layers: &Layers, key| duration(layers.get(key)?.texts.first()?).ok();
    if !given(layers, "keyframe-age")
        && let (Some(age), Some(kept)) = (time(layers, "keyframe-age"), time(layers, "ring-time"))
        && kept < age
        && let Some(text) = layers.get("ring-time").and_then(|given| given.texts.first().cloned())
    {
        layers.set_default("keyframe-age", &text);
    }
    let listen = layers.get("listen").and_then(|g| g.texts.first()?.parse::<std::net::SocketAddr>().ok());
    let Some(listen) = listen else { return };
    if layers.role != Role::Dev
        && !filled(layers, "id")
        && let Ok(id) = default_id(host, listen.port())
    {
        layers.set_default("id", id.as_str());
    }
    let told = ["ip", "candidate", "udp-bind"].iter().any(|key| filled(layers, key));
    if layers.role != Role::Coordinator && !told && !listen.ip().is_unspecified() {
        layers.set_default("ip", &listen.ip().to_string());
    }
}
