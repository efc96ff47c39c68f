//! Which value is in force: flag above environment above file above default. Pure: flags, environment and the file's
//! text come in as values.

use std::collections::BTreeMap;
use std::fmt;

use super::error::ConfigError;
use super::settings::{self, Arity, Role, Setting};

/// Where a value comes from. Ordered: a later one wins.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Built in.
    Default,
    /// The TOML file of this path.
    File(String),
    /// The environment variable of this name.
    Environment(String),
    /// The command line.
    Flag,
}

impl Origin {
    /// The rank alone: two files, or two variables, are of one rank.
    pub fn rank(&self) -> u8 {
        match self {
            Self::Default => 0,
            Self::File(_) => 1,
            Self::Environment(_) => 2,
            Self::Flag => 3,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "from file {path}"),
            Self::Environment(name) => write!(f, "from environment {name}"),
            Self::Flag => f.write_str("from flag"),
        }
    }
}

/// One setting's value in force, still as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// One text; several for [`Arity::Many`].
    pub texts: Vec<String>,
    /// Where it comes from.
    pub origin: Origin,
}

/// All values in force for one role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layers {
    /// Which role.
    pub role: Role,
    values: BTreeMap<&'static str, Given>,
}

/// A configuration file's text.
#[derive(Debug, Clone, Copy)]
pub struct File<'a> {
    /// For messages.
    pub path: &'a str,
    /// TOML.
    pub text: &'a str,
}

/// The variable that stands in for the default of `log-level`: other programs have made it customary.
pub const RUST_LOG: &str = "RUST_LOG";

impl Layers {
    /// Lays flags over the environment over the file over the defaults.
    pub fn new(
        role: Role,
        flags: &BTreeMap<&'static str, Vec<String>>,
        env: impl Fn(&str) -> Option<String>,
        file: Option<File<'_>>,
    ) -> Result<Self, ConfigError> {
        let mut filed = match file {
            Some(file) => read_file(role, file)?,
            None => BTreeMap::new(),
        };
        let mut values = BTreeMap::new();
        for setting in settings::of(role) {
            let default = setting.default_in(role).map(|text| (split(setting, text), Origin::Default));
            let from_file =
                filed.remove(setting.key).zip(file).map(|(texts, f)| (texts, Origin::File(f.path.into())));
            // An empty variable is an unset one: templates leave such behind.
            let name = setting.env();
            let from_env = env(&name)
                .filter(|text| !text.is_empty())
                .map(|text| (split(setting, &text), Origin::Environment(name)));
            let customary = (setting.key == "log-level").then(|| env(RUST_LOG)).flatten();
            let customary = customary.filter(|text| !text.is_empty());
            let customary = customary.map(|text| (vec![text], Origin::Environment(RUST_LOG.to_owned())));
            let from_flag = flags.get(setting.key).map(|texts| {
                let texts = texts.iter().flat_map(|t| split(setting, t)).collect();
                (texts, Origin::Flag)
            });
            if let Some((texts, origin)) = from_flag.or(from_env).or(from_file).or(customary).or(default) {
                values.insert(setting.key, Given { texts, origin });
            }
        }
        Ok(Self { role, values })
    }

    /// The value of a key; `None` when it is not set.
    pub fn get(&self, key: &str) -> Option<&Given> {
        self.values.get(key)
    }

    /// Replaces a default that follows from other settings.
    pub fn set_default(&mut self, key: &'static str, text: &str) {
        self.set_defaults(key, vec![text.to_owned()]);
    }

    /// The same for a setting with several values.
    pub fn set_defaults(&mut self, key: &'static str, texts: Vec<String>) {
        self.values.insert(key, Given { texts, origin: Origin::Default });
    }
}

fn split(setting: &Setting, text: &str) -> Vec<String> {
    match setting.arity {
        Arity::Many => text.split(',').map(str::trim).filter(|t| !t.is_empty()).map(str::to_owned).collect(),
        Arity::One | Arity::Switch => vec![text.to_owned()],
    }
}

/// The values of a file that concern a role: those at its top, and above them those of the role's own table.
fn read_file(role: Role, file: File<'_>) -> Result<BTreeMap<&'static str, Vec<String>>, ConfigError> {
    let table: toml::Table = file.text.parse().map_err(|source: toml::de::Error| ConfigError::Toml {
        path: file.path.to_owned(),
        message: source.to_string().trim_end().to_owned(),
    })?;
    let mut top = BTreeMap::new();
    let mut own = BTreeMap::new();
    for (key, value) in table {
        let Some(section) = Role::ALL.into_iter().find(|r| r.as_str() == key && value.is_table()) else {
            let (setting, texts) = read_value(file.path, None, &key, &value)?;
            top.insert(setting.key, texts);
            continue;
        };
        for (key, value) in value.as_table().into_iter().flatten() {
            let (setting, texts) = read_value(file.path, Some(section), key, value)?;
            if section == role {
                own.insert(setting.key, texts);
            }
        }
    }
    top.extend(own);
    Ok(top)
}

fn read_value(
    path: &str,
    section: Option<Role>,
    key: &str,
    value: &toml::Value,
) -> Result<(&'static Setting, Vec<String>), ConfigError> {
    let known = |s: &&Setting| section.is_none_or(|role| s.roles.contains(&role));
    let setting = settings::find(key).filter(known).ok_or_else(|| {
        let keys = settings::SETTINGS.iter().filter(known).map(|s| s.key);
        ConfigError::UnknownKey {
            path: path.to_owned(),
            key: section.map_or_else(|| key.to_owned(), |s| format!("{s}.{key}")),
            hint: hint(section, key, value, keys),
        }
    })?;
    let scalar = |value: &toml::Value| match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(n) => Some(n.to_string()),
        toml::Value::Boolean(b) => Some(b.to_string()),
        _ => None,
    };
    let texts = match value {
        toml::Value::Array(list) if setting.arity == Arity::Many => list.iter().map(scalar).collect(),
        other => scalar(other).map(|text| split(setting, &text)),
    };
    let texts = texts.ok_or_else(|| ConfigError::FileValue {
        path: path.to_owned(),
        key: key.to_owned(),
        found: value.type_str(),
        wanted: if setting.arity == Arity::Many {
            "a list of strings"
        } else {
            "a string, a number or true/false"
        },
    })?;
    Ok((setting, texts))
}

/// What to say of an unknown key.
fn hint(
    section: Option<Role>,
    key: &str,
    value: &toml::Value,
    keys: impl Iterator<Item = &'static str>,
) -> String {
    if let (Some(role), Some(setting)) = (section, settings::find(key)) {
        let others: Vec<_> = setting.roles.iter().map(|r| r.as_str()).collect();
        return format!(": it is a setting of {}, not of {role}", others.join(" and "));
    }
    let role = |word: &str| Role::ALL.iter().map(|r| r.as_str()).find(|r| *r == word);
    if let (None, Some(role)) = (section, role(key)) {
        return format!(": {role} is a table, so write [{role}] and its settings below");
    }
    if let (Some(role), true) = (section, value.is_table()) {
        return format!(": [{role}] has settings alone, no tables in it");
    }
    if value.is_table() {
        let tables = Role::ALL.map(Role::as_str);
        return match near(key, tables.into_iter()) {
            Some(table) => format!("; did you mean [{table}]?"),
            None => format!(": the tables are [{}]", tables.join("], [")),
        };
    }
    match near(key, keys) {
        Some(near) => format!("; did you mean {near:?}?"),
        None => format!("; `freshet config {}` prints all there are", section.unwrap_or(Role::Node)),
    }
}

/// The known word that may have been meant.
fn near(written: &str, known: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    let written = written.replace('_', "-").to_ascii_lowercase();
    let (edits, found) = known.map(|word| (distance(&written, word), word)).min()?;
    (edits <= 1 || edits.saturating_mul(3) <= written.chars().count()).then_some(found)
}

/// Variables that begin as ours do, are none of ours, and are so near to one that they may be misspelt.
pub fn strangers(names: impl Iterator<Item = String>) -> Vec<(String, String)> {
    let known: Vec<String> =
        settings::SETTINGS.iter().map(Setting::env).chain(["FRESHET_CONFIG".to_owned()]).collect();
    let ours = names.filter(|name| name.starts_with("FRESHET_") && !known.contains(name));
    let near = |name: String| {
        let (edits, meant) = known.iter().map(|known| (distance(&name, known), known)).min()?;
        (edits <= 2).then(|| (name, meant.clone()))
    };
    ours.filter_map(near).collect()
}

/// Edits (insert, remove, replace) from one text to the other.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i.saturating_add(1);
        let mut next = vec![left];
        for (y, above) in b.chars().zip(row.iter().skip(1)) {
            let replaced = diagonal.saturating_add(usize::from(x != y));
            left = replaced.min(above.saturating_add(1)).min(left.saturating_add(1));
            next.push(left);
            diagonal = *above;
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers(
        role: Role,
        flags: &[(&'static str, &str)],
        env: &[(&str, &str)],
        file: &str,
    ) -> Result<Layers, ConfigError> {
        let flags = flags.iter().map(|(k, v)| (*k, vec![(*v).to_owned()])).collect();
        let env: BTreeMap<_, _> = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Layers::new(role, &flags, |name| env.get(name).cloned(), Some(File { path: "f.toml", text: file }))
    }

    fn value(layers: &Layers, key: &str) -> (String, String) {
        let given = layers.get(key).unwrap();
        (given.texts.join("|"), given.origin.to_string())
    }

    #[test]
    fn a_flag_wins_over_the_environment_over_the_file_over_the_default() {
        let flag = [("udp-port", "1")];
        let env = [("FRESHET_UDP_PORT", "2")];
        let file = "udp-port = 3";
        let of = |l: Result<Layers, _>| value(&l.unwrap(), "udp-port");
        assert_eq!(of(layers(Role::Node, &flag, &env, file)), ("1".into(), "from flag".into()));
        assert_eq!(
            of(layers(Role::Node, &[], &env, file)),
            ("2".into(), "from environment FRESHET_UDP_PORT".into())
        );
        assert_eq!(of(layers(Role::Node, &[], &[], file)), ("3".into(), "from file f.toml".into()));
        assert_eq!(of(layers(Role::Node, &[], &[], "")), ("7700".into(), "default".into()));
        assert_eq!(of(layers(Role::Node, &[], &[("FRESHET_UDP_PORT", "")], file)).0, "3", "empty is unset");
    }

    #[test]
    fn a_roles_own_table_wins_over_the_top_of_the_file() {
        let file =
            "listen = '1.1.1.1:1'\n[node]\nlisten = '2.2.2.2:2'\n[coordinator]\nlisten = '3.3.3.3:3'\n";
        let of = |role| value(&layers(role, &[], &[], file).unwrap(), "listen").0;
        assert_eq!(
            [of(Role::Dev), of(Role::Node), of(Role::Coordinator)],
            ["1.1.1.1:1", "2.2.2.2:2", "3.3.3.3:3"]
        );
    }

    #[test]
    fn lists_come_by_comma_by_repetition_and_by_array() {
        let of = |l: Result<Layers, _>| value(&l.unwrap(), "ip").0;
        assert_eq!(of(layers(Role::Node, &[], &[("FRESHET_IP", "1.1.1.1, ::1,")], "")), "1.1.1.1|::1");
        assert_eq!(of(layers(Role::Node, &[], &[], "ip = ['1.1.1.1', '::1']")), "1.1.1.1|::1");
        let flags = BTreeMap::from([("ip", vec!["1.1.1.1".to_owned(), "2.2.2.2,3.3.3.3".to_owned()])]);
        let l = Layers::new(Role::Node, &flags, |_| None, None);
        assert_eq!(of(l), "1.1.1.1|2.2.2.2|3.3.3.3");
    }

    #[test]
    fn an_unknown_key_is_named_with_its_nearest_known_one() {
        for (file, key, wanted) in [
            ("udp_port = 1", "udp_port", "did you mean \"udp-port\"?"),
            ("lisen = 'x'", "lisen", "did you mean \"listen\"?"),
            ("[node]\nregoin = 'x'", "node.regoin", "did you mean \"region\"?"),
            ("[coordinator]\nudp-port = 1", "coordinator.udp-port", "of dev and node, not of coordinator"),
            ("[nod]\nid = 'x'", "nod", "did you mean [node]?"),
            ("[databases]\nid = 'x'", "databases", "[dev], [node], [coordinator]"),
            ("node = 3", "node", "write [node]"),
            ("[node.media]\nip = 1", "node.media", "no tables in it"),
            ("max-bitrate-of-everybody = 3", "max-bitrate-of-everybody", "`freshet config node`"),
        ] {
            match layers(Role::Node, &[], &[], file) {
                Err(ConfigError::UnknownKey { key: found, hint, .. }) => {
                    assert_eq!(found, key);
                    assert!(hint.contains(wanted), "{file}: {hint}");
                }
                other => panic!("{file}: {other:?}"),
            }
        }
        assert!(matches!(
            layers(Role::Node, &[], &[], "[nodes]\nid = 'x'"),
            Err(ConfigError::FileValue { .. })
        ));
    }

    #[test]
    fn a_misspelt_variable_is_noticed_and_one_of_another_program_is_not() {
        let names = ["FRESHET_UDPPORT", "FRESHET_UDP_PORT", "FRESHET_SERVICE_HOST", "FRESHET_PORT", "PATH"];
        let found = strangers(names.into_iter().map(str::to_owned));
        assert_eq!(found, [("FRESHET_UDPPORT".to_owned(), "FRESHET_UDP_PORT".to_owned())]);
    }

    #[test]
    fn the_customary_variable_stands_in_for_the_default_alone() {
        let rust_log = ("RUST_LOG", "debug");
        let of =
            |env: &[(&str, &str)], file| value(&layers(Role::Node, &[], env, file).unwrap(), "log-level");
        assert_eq!(of(&[rust_log], ""), ("debug".into(), "from environment RUST_LOG".into()));
        assert_eq!(of(&[rust_log], "log-level = 'error'").0, "error");
        assert_eq!(of(&[rust_log, ("FRESHET_LOG_LEVEL", "off")], "").0, "off");
        assert_eq!(of(&[("RUST_LOG", "")], "").0, "info");
    }

    #[test]
    fn a_file_for_all_roles_may_hold_keys_of_others() {
        let l =
            layers(Role::Coordinator, &[], &[("FRESHET_UDP_PORT", "x")], "udp-port = 1\nnodes = 2").unwrap();
        assert!(l.get("udp-port").is_none());
    }

    #[test]
    fn wrong_toml_and_wrong_types_are_told() {
        assert!(matches!(layers(Role::Node, &[], &[], "listen ="), Err(ConfigError::Toml { .. })));
        assert!(matches!(layers(Role::Node, &[], &[], "listen = ['a']"), Err(ConfigError::FileValue { .. })));
        assert!(matches!(layers(Role::Node, &[], &[], "ip = [['a']]"), Err(ConfigError::FileValue { .. })));
        assert!(matches!(layers(Role::Node, &[], &[], "listen = 1.5"), Err(ConfigError::FileValue { .. })));
    }

    #[test]
    fn distances_count_edits() {
        for (a, b, n) in [("", "", 0), ("a", "", 1), ("kitten", "sitting", 3), ("ab", "ba", 2)] {
            assert_eq!((distance(a, b), distance(b, a)), (n, n), "{a} {b}");
        }
    }
}
