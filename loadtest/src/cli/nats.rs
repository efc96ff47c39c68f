//! Where agents and coordinators meet.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use freshet_cluster::bus::nats::{NatsConfig, check_server};
use freshet_cluster::secret::Secret;

/// How to reach NATS.
#[derive(Debug, Clone, Default, Args)]
pub struct NatsArguments {
    /// NATS where agents and the coordinator of a run meet: nats://HOST:PORT or tls://HOST:PORT, more after commas.
    #[arg(
        long,
        value_name = "URL",
        value_delimiter = ',',
        value_parser = server,
        env = "FRESHET_LOADTEST_NATS",
        hide_env_values = true
    )]
    nats: Vec<String>,
    /// NATS credentials file (JWT and seed).
    #[arg(long, value_name = "FILE")]
    nats_creds: Option<PathBuf>,
    /// NATS user.
    #[arg(long, value_name = "NAME", requires = "nats_password_file")]
    nats_user: Option<String>,
    /// A file that holds the NATS user's password.
    #[arg(long, value_name = "FILE", requires = "nats_user")]
    nats_password_file: Option<PathBuf>,
    /// A file that holds a NATS token.
    #[arg(long, value_name = "FILE", conflicts_with = "nats_user")]
    nats_token_file: Option<PathBuf>,
    /// PEM file: the authority behind the NATS servers' certificates.
    #[arg(long, value_name = "FILE")]
    nats_ca: Option<PathBuf>,
    /// PEM file: our certificate for NATS.
    #[arg(long, value_name = "FILE", requires = "nats_key")]
    nats_cert: Option<PathBuf>,
    /// PEM file: its key.
    #[arg(long, value_name = "FILE", requires = "nats_cert")]
    nats_key: Option<PathBuf>,
}

fn server(text: &str) -> Result<String, String> {
    check_server(text).map(|()| text.to_owned())
}

fn secret(path: &Path) -> anyhow::Result<Secret> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(Secret::new(text.trim_end_matches(['\r', '\n'])))
}

impl NatsArguments {
    /// What they come to.
    pub fn config(&self) -> anyhow::Result<NatsConfig> {
        if self.nats.is_empty() {
            bail!("agents meet on NATS: give --nats nats://HOST:PORT");
        }
        let password = self.nats_password_file.as_deref().map(secret).transpose()?;
        Ok(NatsConfig {
            servers: self.nats.clone(),
            creds: self.nats_creds.clone(),
            user: self.nats_user.clone().zip(password),
            token: self.nats_token_file.as_deref().map(secret).transpose()?,
            ca: self.nats_ca.clone(),
            cert: self.nats_cert.clone(),
            key: self.nats_key.clone(),
            // What nobody named is not asked, here as everywhere.
            named_only: true,
            replicas: 1,
        })
    }
}
