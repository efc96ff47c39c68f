//! What is in force, as TOML that could be a configuration file, with the origin of each value and no secret.

use freshet_cluster::secret::MASK;

use super::layers::Layers;
use super::settings::{self, Arity, Mask};

/// A value as it may be shown.
pub fn masked(key: &str, text: &str) -> String {
    match settings::find(key).map(|s| s.mask) {
        Some(Mask::All) => MASK.to_owned(),
        Some(Mask::AfterColon) => match text.split_once(':') {
            Some((id, _)) => format!("{id}:{MASK}"),
            None => MASK.to_owned(),
        },
        Some(Mask::UrlPassword) => url(text),
        Some(Mask::Open) | None => text.to_owned(),
    }
}

/// A URL without its password. A user without password may be a token, so it is hidden as well.
fn url(text: &str) -> String {
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), text),
    };
    match rest.rsplit_once('@') {
        Some((user, host)) => match user.split_once(':') {
            Some((name, _)) => format!("{scheme}{name}:{MASK}@{host}"),
            None => format!("{scheme}{MASK}@{host}"),
        },
        None => text.to_owned(),
    }
}

/// All settings of the role. Those that are not set stand as comments.
pub fn toml(layers: &Layers) -> String {
    let mut out = format!("# freshet {}: what is in force\n", layers.role);
    let mut heading = "";
    for setting in settings::of(layers.role) {
        if setting.heading != heading {
            heading = setting.heading;
            out.push_str(&format!("\n# {heading}\n"));
        }
        let Some(given) = layers.get(setting.key) else {
            out.push_str(&format!("# {} is not set\n", setting.key));
            continue;
        };
        let quoted = |text: &String| toml::Value::String(masked(setting.key, text)).to_string();
        let first = given.texts.first().map(String::as_str).unwrap_or_default();
        let value = match setting.arity {
            Arity::Many => format!("[{}]", given.texts.iter().map(quoted).collect::<Vec<_>>().join(", ")),
            Arity::Switch if matches!(first, "true" | "false") => first.to_owned(),
            Arity::One if is_number(first) && setting.mask == Mask::Open => first.to_owned(),
            Arity::One | Arity::Switch => quoted(&first.to_owned()),
        };
        out.push_str(&format!("{} = {value} # {}\n", setting.key, given.origin));
    }
    out
}

/// A TOML integer: no leading zero.
fn is_number(text: &str) -> bool {
    text.parse::<u32>().is_ok_and(|n| n.to_string() == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked_by_their_kind() {
        assert_eq!(masked("cluster-secret", "abc"), MASK);
        assert_eq!(masked("turn-secret", "abc"), MASK);
        assert_eq!(masked("api-key", "app:abc:def"), format!("app:{MASK}"));
        assert_eq!(masked("api-key", "no-colon-so-perhaps-the-secret"), MASK);
        assert_eq!(masked("nats", "nats://joe:pa:ss@h:4222"), format!("nats://joe:{MASK}@h:4222"));
        assert_eq!(masked("nats", "nats://token@h:4222"), format!("nats://{MASK}@h:4222"));
        assert_eq!(masked("nats", "joe:pass@h:4222"), format!("joe:{MASK}@h:4222"));
        assert_eq!(masked("etcd", "http://h:2379"), "http://h:2379");
        assert_eq!(masked("jwks-url", "https://joe:pass@h/keys"), format!("https://joe:{MASK}@h/keys"));
        assert_eq!(masked("listen", "a:b@c"), "a:b@c");
    }
}
