//! The command line: commands and flags, made from the table of settings.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::num::NonZeroU32;

use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::config::settings::{self, Arity, Role, Setting};

/// What the command line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// Run a role.
    Run(Given),
    /// Print what is in force.
    Config(Given),
    /// Mint a token.
    Token(TokenArgs),
    /// Take a token apart.
    Read(ReadArgs),
}

/// Flags of a role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// Which role.
    pub role: Role,
    /// `--config`.
    pub file: Option<String>,
    /// The flags that were written, by key.
    pub flags: BTreeMap<&'static str, Vec<String>>,
}

/// Flags of `freshet token`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenArgs {
    /// `--api-key` and `--api-key-file`.
    pub keys: Given,
    /// `--room`.
    pub room: String,
    /// `--identity`.
    pub identity: String,
    /// `--grant`.
    pub grants: Vec<String>,
    /// `--stream`.
    pub streams: Vec<String>,
    /// `--max-sessions`.
    pub max_sessions: Option<NonZeroU32>,
    /// `--ttl`.
    pub ttl: String,
}

/// Flags of `freshet token explain` and `verify`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadArgs {
    /// `--api-key` and `--api-key-file`.
    pub keys: Given,
    /// `--jwks`.
    pub jwks: Option<String>,
    /// The token, or `-`.
    pub token: String,
    /// `verify`: anything but a valid token is a failure.
    pub must_be_valid: bool,
}

/// The settings that `freshet token` has.
const TOKEN_KEYS: [&str; 3] = ["api-key", "api-key-file", "token-life-max"];

/// The one that its `explain` and `verify` have besides.
const READ_KEY: &str = "jwks-audience";

const ABOUT: &str = "A WebRTC SFU cluster for live events whose audience outgrows one machine";

const LONG: &str = "\
Publishers send WebRTC (WHIP) to any node, popular streams go from node to node over QUIC, and every viewer gets a \
WebRTC session (WHEP) of its own.

Without a command, freshet runs `dev`: everything in one process, nothing else needed.";

const EXAMPLES: &str = "\
Examples:
  freshet                               everything in one process, on http://127.0.0.1:8080/
  freshet dev --nodes 3                 three nodes with real links between them
  freshet node --help                   what a node of a cluster can be told
  freshet config node                   what a node would run with, and where each value comes from

Every flag has an environment variable (--udp-port: FRESHET_UDP_PORT) and a key in the file of --config
(udp-port = 7700). A flag wins over the environment, the environment over the file, the file over the default.";

const DEV: &str = "\
Examples:
  freshet dev                           a page at http://127.0.0.1:8080/, everyone may publish and watch
  freshet dev --nodes 3                 see a stream cross nodes: each node has its own HTTP, media port and links
  freshet dev --tls                     https on 0.0.0.0:8443, so that a phone in the same network can publish
  freshet dev --listen 0.0.0.0:8080 --ip 192.168.1.20
                                        without TLS others can watch (cameras need HTTPS or localhost)
  FRESHET_API_KEY=app:0123456789abcdef freshet dev
                                        with tokens, as a cluster has them";

const NODE: &str = "\
Examples:
  freshet node --ip 192.0.2.10 --cluster-secret-file secret --api-key-file keys \\
      --etcd http://10.0.0.2:2379 --nats nats://10.0.0.2:4222
  freshet node --candidate 203.0.113.7:30700=10.0.0.7 …
                                        behind NAT that maps UDP 30700 of 203.0.113.7 to 7700 of 10.0.0.7
  freshet node --id a --listen 127.0.0.1:8081 --relay 127.0.0.1:7611 --udp-port 7710 \\
      --cluster-secret-file secret --open
                                        one of several on one machine, for a look

SIGTERM drains: no new sessions, and after --drain-timeout sessions are told to leave. A second SIGTERM, or Ctrl-C,
ends at once.";

const COORDINATOR: &str = "\
Examples:
  freshet coordinator --cluster-secret-file secret --api-key-file keys \\
      --etcd http://10.0.0.2:2379 --nats nats://10.0.0.2:4222
  freshet coordinator --public-url https://live.example.org/cast …
                                        behind a proxy that serves it under a path
  freshet coordinator --listen 0.0.0.0:443 --tls-cert live.crt --tls-key live.key …
                                        HTTPS by itself; the files are read again when they change

Coordinators keep nothing: start as many as you like behind any HTTP balancer.";

const TOKEN: &str = "\
Examples:
  freshet token --api-key-file keys --room stage --identity ann --grant publish,subscribe,chat
  FRESHET_API_KEY=app:0123456789abcdef freshet token --room stage --identity bob --grant subscribe --ttl 10m
  curl -X POST -H \"Authorization: Bearer $(freshet token …)\" …
  freshet token explain eyJ…            what it says, and whether it is valid now; needs no key
  freshet token verify --api-key-file keys - < token
                                        who signed it, too; fails unless it is valid

The token alone is printed. With several keys the first one signs.";

const CONFIG: &str = "\
Examples:
  freshet config                        of `freshet dev`
  freshet config node --region eu       of a node, with this flag
  FRESHET_LISTEN=0.0.0.0:80 freshet config coordinator

What is printed is a configuration file (secrets are masked), with the origin of each value behind it.";

/// The whole command line.
pub fn command() -> Command {
    let role = |role: Role, about: &'static str, after: &'static str| {
        with_settings(Command::new(role.as_str()).about(about).after_help(after), role)
    };
    let dev = role(Role::Dev, "Coordinator and nodes in one process, in memory", DEV);
    let node = role(Role::Node, "A node: takes publishers and viewers, and links to other nodes", NODE);
    let coordinator =
        role(Role::Coordinator, "A coordinator: gateway, placement, API and pages", COORDINATOR);
    let config = Command::new("config")
        .about("Print the configuration in force, with the origin of each value, secrets masked")
        .after_help(CONFIG)
        .subcommands([dev.clone(), node.clone(), coordinator.clone()]);
    Command::new("freshet")
        .about(ABOUT)
        .long_about(format!("{ABOUT}.\n\n{LONG}"))
        .version(env!("CARGO_PKG_VERSION"))
        .after_help(EXAMPLES)
        .subcommands([dev, node, coordinator, token(), config])
}

fn token() -> Command {
    let text = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    let many = |arg: Arg| arg.action(ArgAction::Append).value_delimiter(',');
    let keys = || TOKEN_KEYS.into_iter().filter_map(settings::find).map(flag);
    let audience = || settings::find(READ_KEY).map(flag);
    let read = |name: &'static str, about: &'static str| {
        let token = Arg::new("token").value_name("TOKEN").help("The token; - reads it from standard input");
        Command::new(name)
            .about(about)
            .args(keys())
            .arg(text("jwks", "FILE", "A JWK set of another issuer's public keys"))
            .args(audience())
            .arg(token.required(true).allow_hyphen_values(true))
    };
    Command::new("token")
        .about("Mint an access token")
        .after_help(TOKEN)
        .subcommand_negates_reqs(true)
        .args_conflicts_with_subcommands(true)
        .subcommand(read("explain", "Say what a token says, and whether it is valid now"))
        .subcommand(read("verify", "The same, and fail unless it is valid and signed by a key that is given"))
        .args(keys())
        .arg(text("room", "ROOM", "The room, or * for every one").required(true))
        .arg(text("identity", "NAME", "Who: 1 to 128 characters of any script").required(true))
        .arg(
            many(text("grant", "GRANT,…", "publish, subscribe, chat, moderate, admin"))
                .default_value("subscribe")
                .next_line_help(false),
        )
        .arg(many(text("stream", "ID,…", "Streams that may be published by name, or * for every one")))
        .arg(
            Arg::new("max-sessions")
                .long("max-sessions")
                .value_name("N")
                .help("Sessions of each direction that the identity may hold in a room. Default: publish 1, watch any")
                .value_parser(|text: &str| text.parse::<NonZeroU32>().map_err(|_| "write a number from 1")),
        )
        .arg(text("ttl", "TIME", "How long it is valid, as in 10m or 1h; at most 24h").default_value("1h"))
}

fn with_settings(command: Command, role: Role) -> Command {
    let file = Arg::new("config")
        .long("config")
        .value_name("FILE")
        .help("TOML file with these settings, by the same names [env: FRESHET_CONFIG]")
        .help_heading("Process");
    command.args(settings::of(role).map(|s| flag_of(s, role))).arg(file)
}

fn flag_of(setting: &'static Setting, role: Role) -> Arg {
    let default = match setting.default_in(role) {
        Some(text) if !text.is_empty() => format!(" [default: {text}]"),
        _ => String::new(),
    };
    flag(setting).help(format!("{}{default} [env: {}]", setting.help, setting.env()))
}

fn flag(setting: &'static Setting) -> Arg {
    let arg = Arg::new(setting.key)
        .long(setting.key)
        .value_name(setting.value)
        .help(format!("{} [env: {}]", setting.help, setting.env()))
        .help_heading(setting.heading);
    match setting.arity {
        Arity::One => arg,
        Arity::Many => arg.action(ArgAction::Append),
        Arity::Switch => arg.num_args(0..=1).require_equals(true).default_missing_value("true"),
    }
}

/// Reads a command line. Flags without a command are those of `dev`.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Ask, clap::Error> {
    let mut args: Vec<OsString> = args.into_iter().collect();
    if args.is_empty() {
        args.push("freshet".into());
    }
    let bare = |at: usize| match args.get(at).map(|a| a.to_string_lossy()).as_deref() {
        None => true,
        Some("-h" | "--help" | "-V" | "--version") => false,
        Some(other) => other.starts_with('-'),
    };
    if bare(1) {
        args.insert(1, "dev".into());
    } else if args.get(1).is_some_and(|a| a == "config") && bare(2) {
        args.insert(2, "dev".into());
    }
    let matches = command().try_get_matches_from(with_values(args))?;
    Ok(match matches.subcommand() {
        Some(("token", m)) => match m.subcommand() {
            Some((name, m)) => Ask::Read(read_args(m, name == "verify")),
            None => Ask::Token(token_args(m)),
        },
        Some(("config", m)) => match m.subcommand().and_then(|(name, m)| Some((role(name)?, m))) {
            Some((role, m)) => Ask::Config(given(role, m)),
            None => Ask::Config(Given { role: Role::Dev, file: None, flags: BTreeMap::new() }),
        },
        Some((name, m)) => Ask::Run(given(role(name).unwrap_or(Role::Dev), m)),
        None => Ask::Run(Given { role: Role::Dev, file: None, flags: BTreeMap::new() }),
    })
}

/// Flags with a value that are no settings.
const OTHERS: [&str; 6] = ["config", "room", "identity", "grant", "stream", "ttl"];

/// Joins `--batch -1ms` to `--batch=-1ms`, since it is for us to say what is wrong with such a value, and `--open false`
/// to `--open=false`. What begins with two dashes is the next flag.
fn with_values(args: Vec<OsString>) -> Vec<OsString> {
    let negative = |value: &str| {
        let rest = value.strip_prefix('-').unwrap_or_default();
        !rest.is_empty() && !rest.starts_with('-') && !matches!(value, "-h" | "-V")
    };
    let belong = |flag: &str, value: &str| match flag.strip_prefix("--") {
        Some(key) => match settings::find(key).map(|setting| setting.arity) {
            Some(Arity::Switch) => matches!(value, "true" | "false"),
            Some(Arity::One | Arity::Many) => negative(value),
            None => OTHERS.contains(&key) && negative(value),
        },
        None => false,
    };
    let mut joined: Vec<OsString> = Vec::with_capacity(args.len());
    for arg in args {
        let pair = joined.last().and_then(|last| last.to_str()).zip(arg.to_str());
        match pair.filter(|(flag, value)| belong(flag, value)) {
            Some((flag, value)) => {
                let both = format!("{flag}={value}").into();
                joined.pop();
                joined.push(both);
            }
            None => joined.push(arg),
        }
    }
    joined
}

fn role(name: &str) -> Option<Role> {
    Role::ALL.into_iter().find(|r| r.as_str() == name)
}

fn given(role: Role, matches: &ArgMatches) -> Given {
    let keys = settings::of(role).map(|s| s.key);
    Given { role, file: matches.get_one::<String>("config").cloned(), flags: flags(keys, matches) }
}

fn flags(
    keys: impl Iterator<Item = &'static str>,
    matches: &ArgMatches,
) -> BTreeMap<&'static str, Vec<String>> {
    keys.filter_map(|key| Some((key, matches.get_many::<String>(key)?.cloned().collect()))).collect()
}

fn keys_of(keys: impl Iterator<Item = &'static str>, matches: &ArgMatches) -> Given {
    Given { role: Role::Dev, file: None, flags: flags(keys, matches) }
}

fn read_args(matches: &ArgMatches, must_be_valid: bool) -> ReadArgs {
    ReadArgs {
        keys: keys_of(TOKEN_KEYS.into_iter().chain([READ_KEY]), matches),
        jwks: matches.get_one::<String>("jwks").cloned(),
        token: matches.get_one::<String>("token").cloned().unwrap_or_default(),
        must_be_valid,
    }
}

fn token_args(matches: &ArgMatches) -> TokenArgs {
    let one = |name: &str| matches.get_one::<String>(name).cloned().unwrap_or_default();
    let many = |name: &str| matches.get_many::<String>(name).into_iter().flatten().cloned().collect();
    TokenArgs {
        keys: keys_of(TOKEN_KEYS.into_iter(), matches),
        room: one("room"),
        identity: one("identity"),
        grants: many("grant"),
        streams: many("stream"),
        max_sessions: matches.get_one("max-sessions").copied(),
        ttl: one("ttl"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(line: &str) -> Result<Ask, clap::Error> {
        parse(line.split_whitespace().map(OsString::from))
    }

    fn run(line: &str) -> Given {
        match ask(line) {
            Ok(Ask::Run(given)) => given,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn clap_finds_no_fault() {
        command().debug_assert();
    }

    #[test]
    fn without_a_command_it_is_dev() {
        assert_eq!(run("freshet").role, Role::Dev);
        let given = run("freshet --nodes 3");
        assert_eq!((given.role, given.flags["nodes"].join("")), (Role::Dev, "3".into()));
        assert_eq!(run("freshet node").role, Role::Node);
        assert!(ask("freshet nod").is_err());
        assert_eq!(ask("freshet config").unwrap(), Ask::Config(run("freshet")));
        assert_eq!(ask("freshet config --nodes 3").unwrap(), Ask::Config(run("freshet --nodes 3")));
        assert_eq!(ask("freshet config node --zone a").unwrap(), Ask::Config(run("freshet node --zone a")));
    }

    #[test]
    fn flags_are_repeated_and_switches_need_no_value() {
        let given = run("freshet node --ip 1.1.1.1 --ip ::1 --open --config f.toml");
        assert_eq!(given.flags["ip"], ["1.1.1.1", "::1"]);
        assert_eq!(given.flags["open"], ["true"]);
        assert_eq!(given.file.as_deref(), Some("f.toml"));
        assert_eq!(run("freshet dev --open=false").flags["open"], ["false"]);
        assert!(ask("freshet coordinator --udp-port 1").is_err(), "no flag of that role");
        assert!(ask("freshet node --zone a --zone b").is_err(), "one value, said twice");
    }

    #[test]
    fn a_negative_value_is_a_value() {
        assert_eq!(run("freshet dev --batch -1ms --zone a").flags["batch"], ["-1ms"]);
        assert_eq!(run("freshet --region -x").flags["region"], ["-x"]);
        assert!(
            matches!(ask("freshet token --room r --identity i --ttl -5m"), Ok(Ask::Token(t)) if t.ttl == "-5m")
        );
        assert_eq!(run("freshet dev --open false --zone a").flags["open"], ["false"]);
        assert_eq!(run("freshet dev --open --zone a").flags["open"], ["true"]);
        for line in [
            "freshet dev --zone --region a",
            "freshet dev --open -1",
            "freshet dev -1",
            "freshet dev --zone -h",
        ] {
            assert!(ask(line).is_err(), "{line}");
        }
    }

    #[test]
    fn a_token_needs_a_room_and_an_identity() {
        assert!(ask("freshet token --room r").is_err());
        let Ok(Ask::Token(args)) = ask("freshet token --room r --identity i --grant a,b --grant c") else {
            panic!()
        };
        assert_eq!(args.grants, ["a", "b", "c"]);
        assert_eq!((args.ttl.as_str(), args.keys.flags.len()), ("1h", 0));
    }
}
