//! A certificate of this machine's own making, for `freshet dev --tls`.
//!
//! It is kept, so that a browser that was told once to believe it does so after a restart as well; it is made anew when
//! it is about to end, and when it does not name an address that this machine has now.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use freshet_edge::tls::Tls;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose,
};

const DAY: Duration = Duration::from_secs(24 * 3600);
/// Some systems believe no certificate for longer, even when they are told to.
const LASTS: Duration = DAY.saturating_mul(397);
/// One that ends sooner is made anew.
const LEFT: Duration = DAY.saturating_mul(30);

/// A certificate, and where it is kept; nowhere if it lasts as long as the process.
pub struct Local {
    pub tls: Tls,
    pub kept: Option<PathBuf>,
}

/// The kept certificate if it will do, else a new one.
pub fn certificate(host: &str, addresses: impl Iterator<Item = IpAddr>) -> anyhow::Result<Local> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let names = names(host, addresses);
    let folder = folder();
    if let Some(folder) = &folder
        && let Some(tls) = kept(folder, &names, now)
    {
        return Ok(Local { tls, kept: Some(folder.clone()) });
    }
    let (cert, key) = make(host, &names, now)?;
    let kept = folder.filter(|folder| match keep(folder, &names, &cert, &key) {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!(folder = %folder.display(), %error, "the certificate cannot be kept: the next start makes another");
            false
        }
    });
    Ok(Local { tls: Tls::of_pem(cert.as_bytes(), key.as_bytes())?, kept })
}

/// Where programs keep what is theirs from start to start.
fn folder() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let state = variable("XDG_STATE_HOME").or_else(|| Some(variable("HOME")?.join(".local/state")))?;
    Some(state.join("freshet/dev-tls"))
}

/// All that this machine may be called by. The system's name may be none that a certificate can say.
fn names(host: &str, addresses: impl Iterator<Item = IpAddr>) -> BTreeSet<String> {
    let label = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    let host = Some(host.to_ascii_lowercase()).filter(|host| !host.is_empty() && host.chars().all(label));
    let local = host.as_ref().filter(|host| !host.contains('.')).map(|host| format!("{host}.local"));
    let fixed = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into_iter();
    fixed.chain(host).chain(local).chain(addresses.map(|ip| ip.to_string())).collect()
}

fn paths(folder: &Path) -> [PathBuf; 3] {
    ["names.txt", "cert.pem", "key.pem"].map(|name| folder.join(name))
}

fn kept(folder: &Path, names: &BTreeSet<String>, now: Duration) -> Option<Tls> {
    let [said, cert, key] = paths(folder);
    let said = fs::read_to_string(said).ok()?;
    let said: BTreeSet<&str> = said.lines().collect();
    let tls = Tls::of_pem(&fs::read(cert).ok()?, &fs::read(key).ok()?).ok()?;
    let good = names.iter().all(|name| said.contains(name.as_str()));
    let fresh = tls.expires().is_some_and(|ends| Duration::from_secs(ends) > now + LEFT);
    (good && fresh).then_some(tls)
}

fn keep(folder: &Path, names: &BTreeSet<String>, cert: &str, key: &str) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let lines: String = names.iter().map(|name| format!("{name}\n")).collect();
    // The names go last and are taken away first: they say that the pair is whole.
    let [said, cert_path, key_path] = paths(folder);
    for path in [&said, &cert_path, &key_path] {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    private(&key_path)?.write_all(key.as_bytes())?;
    fs::write(cert_path, cert)?;
    fs::write(said, lines)
}

/// A new file for the owner's eyes alone.
fn private(path: &Path) -> io::Result<fs::File> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Certificate and key in PEM.
fn make(host: &str, names: &BTreeSet<String>, now: Duration) -> Result<(String, String), rcgen::Error> {
    let mut params = CertificateParams::new(names.iter().cloned().collect::<Vec<_>>())?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, format!("Freshet on {host}"));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + now.saturating_sub(DAY);
    params.not_after = epoch + (now + LASTS);
    let key = KeyPair::generate()?;
    let cert = params.self_signed(&key)?;
    Ok((pem("CERTIFICATE", cert.der()), pem("PRIVATE KEY", &key.serialize_der())))
}

fn pem(label: &str, der: &[u8]) -> String {
    let lines: String = der.chunks(48).map(|chunk| STANDARD.encode(chunk) + "\n").collect();
    format!("-----BEGIN {label}-----\n{lines}-----END {label}-----\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_800_000_000);

    fn names_of(addresses: &[&str]) -> BTreeSet<String> {
        names("My-Desk", addresses.iter().map(|ip| ip.parse().unwrap()))
    }

    #[test]
    fn a_certificate_is_kept_until_it_ends_or_lacks_a_name() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("state/freshet");
        let all = names_of(&["192.168.1.20", "fd00::1"]);
        for name in ["localhost", "my-desk", "my-desk.local", "127.0.0.1", "::1", "fd00::1", "192.168.1.20"] {
            assert!(all.contains(name), "{all:?}");
        }
        assert!(kept(&folder, &all, NOW).is_none(), "there is none yet");
        let (cert, key) = make("My-Desk", &all, NOW).unwrap();
        keep(&folder, &all, &cert, &key).unwrap();
        let made = Tls::of_pem(cert.as_bytes(), key.as_bytes()).unwrap();
        let again = kept(&folder, &all, NOW).unwrap();
        assert_eq!(again.fingerprint(), made.fingerprint());
        assert_eq!(again.expires(), Some((NOW + LASTS).as_secs()));
        assert!(kept(&folder, &names_of(&["192.168.1.20"]), NOW).is_some(), "it names more than is needed");
        assert!(
            kept(&folder, &names_of(&["192.168.1.21"]), NOW).is_none(),
            "an address that it does not name"
        );
        assert!(kept(&folder, &all, NOW + DAY * 366).is_some());
        assert!(kept(&folder, &all, NOW + DAY * 367).is_none(), "it is about to end");

        let (_, other) = make("My-Desk", &all, NOW).unwrap();
        fs::write(folder.join("key.pem"), &other).unwrap();
        assert!(kept(&folder, &all, NOW).is_none(), "another certificate's key");
        keep(&folder, &all, &cert, &key).unwrap();
        assert!(kept(&folder, &all, NOW).is_some(), "it can be written over");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = fs::metadata(folder.join("key.pem")).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "nobody else reads the key");
        }
        fs::write(dir.path().join("file"), "").unwrap();
        assert!(keep(&dir.path().join("file/folder"), &all, &cert, &key).is_err());
    }

    #[test]
    fn names_that_no_certificate_can_say_are_left_out() {
        assert_eq!(names("a b", std::iter::empty()).len(), 3);
        assert!(names("desk.lan", std::iter::empty()).contains("desk.lan"));
        make("dé sk", &names("dé sk", std::iter::empty()), NOW).unwrap();
    }
}
