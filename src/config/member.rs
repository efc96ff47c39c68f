//! What ties a process into a cluster: its name, the cluster's secret, etcd and NATS.

use std::net::SocketAddr;
use std::path::PathBuf;

use freshet_cluster::NodeId;
use freshet_cluster::bus::nats::{self, NatsConfig};
use freshet_cluster::secret::Secret;
use freshet_cluster::store::etcd::EtcdConfig;
use freshet_cluster::token::SECRET_MIN;

use super::error::ConfigError;
use super::pem;
use super::reader::Reader;
use super::value;

/// What ties a process into a cluster.
#[derive(Debug, Clone)]
pub struct Member {
    /// Its name.
    pub id: NodeId,
    /// Signs calls from coordinators to nodes.
    pub cluster_secret: Secret,
    /// The store.
    pub etcd: EtcdConfig,
    /// The bus.
    pub nats: NatsConfig,
}

/// All of it, checked.
pub(super) fn member(reader: &Reader<'_>, listen: SocketAddr, host: &str) -> Result<Member, ConfigError> {
    let missing = ConfigError::Missing {
        role: reader.layers.role,
        key: "cluster-secret-file",
        advice: "coordinators sign their calls to nodes: make one secret for the whole cluster, as in \
                 `head -c 32 /dev/urandom | base64 > secret`, and name its file",
    };
    let cluster_secret = reader.secret("cluster-secret", "cluster-secret-file")?.ok_or(missing)?;
    if cluster_secret.expose().len() < SECRET_MIN {
        let said = format!("the cluster secret is shorter than {SECRET_MIN} bytes: make a random one");
        return Err(ConfigError::Contradiction(said));
    }
    let user =
        |name: &'static str, password: &'static str| match (reader.text(name), reader.secret_file(password)?)
        {
            (Some(name), Some(secret)) => Ok(Some((name.to_owned(), secret))),
            (None, None) => Ok(None),
            _ => Err(ConfigError::Contradiction(format!(
                "{name} and {password} belong together: give both or none"
            ))),
        };
    let (nats_cert, nats_key) = pem::pair(reader, "nats-cert", "nats-key")?.unzip();
    let replicas = "write 1 to 5";
    let few = |t: &str| t.parse().ok().filter(|n| (1..=5).contains(n)).ok_or(replicas);
    Ok(Member {
        id: match reader.parse_with("id", str::parse)? {
            Some(id) => id,
            None => default_id(host, listen.port()).map_err(|e| reader.wrong("id", host, e))?,
        },
        cluster_secret,
        etcd: etcd(reader, user("etcd-user", "etcd-password-file")?)?,
        nats: NatsConfig {
            servers: at_least_one(reader, "nats", nats_server)?,
            creds: nats_creds(reader)?,
            user: user("nats-user", "nats-password-file")?,
            token: reader.secret_file("nats-token-file")?,
            ca: pem::authority(reader, "nats-ca")?,
            cert: nats_cert,
            key: nats_key,
            named_only: false,
            replicas: reader.need_with("nats-replicas", few, replicas)?,
        },
    })
}

/// A list that may not be empty, as `--etcd ,` makes it.
fn at_least_one(
    reader: &Reader<'_>,
    key: &'static str,
    parse: impl Fn(&str) -> Result<String, String>,
) -> Result<Vec<String>, ConfigError> {
    let found = reader.parse_all(key, parse)?;
    let advice = "name one server at least, or leave the setting away for one on this machine";
    let missing = ConfigError::Missing { role: reader.layers.role, key, advice };
    if found.is_empty() { Err(missing) } else { Ok(found) }
}

fn etcd(reader: &Reader<'_>, user: Option<(String, Secret)>) -> Result<EtcdConfig, ConfigError> {
    let endpoints = at_least_one(reader, "etcd", value::server_url)?;
    let ca = pem::authority(reader, "etcd-ca")?;
    let (cert, key) = pem::pair(reader, "etcd-cert", "etcd-key")?.unzip();
    let secure = endpoints.iter().any(|url| url.starts_with("https://"));
    if secure && ca.is_none() {
        let said = "etcd has an https:// URL, and nothing says whose certificates to trust: name the PEM file of its \
                    authority with etcd-ca";
        return Err(ConfigError::Contradiction(said.to_owned()));
    }
    if (ca.is_some() || cert.is_some()) && !secure {
        let said = "etcd-ca, etcd-cert and etcd-key are for TLS, and no URL of etcd begins with https://: write \
                    them so, or leave the files away";
        return Err(ConfigError::Contradiction(said.to_owned()));
    }
    Ok(EtcdConfig { endpoints, user, ca, cert, key })
}

fn nats_server(text: &str) -> Result<String, String> {
    nats::check_server(text).map(|()| text.to_owned())
}

fn nats_creds(reader: &Reader<'_>) -> Result<Option<PathBuf>, ConfigError> {
    let (Some(path), Some(text)) = (reader.text("nats-creds"), reader.file("nats-creds")?) else {
        return Ok(None);
    };
    nats::check_creds(&text).map_err(|e| reader.wrong("nats-creds", path, e))?;
    Ok(Some(path.into()))
}

/// The host's name and the HTTP port: the same over restarts, and two processes of one host differ. A name that is
/// taken over by a second process would end the first, so the port is part of it.
pub fn default_id(host: &str, port: u16) -> Result<NodeId, freshet_cluster::id::IdError> {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '-' };
    let host: String = host.chars().take(56).map(plain).collect();
    format!("{}-{port}", if host.is_empty() { "freshet" } else { &host }).parse()
}
