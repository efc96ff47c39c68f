//! Where media is taken, and what clients are told: `udp-bind`, `candidate` and `ip`, checked against each other.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use freshet_node::book::{Addresses, Advertised, covering};

use super::error::ConfigError;
use super::reader::Reader;

/// Most addresses of either kind: each is a line of every answer, and a socket of every shard.
const MOST: usize = 16;

const PLAIN: &str = "write an IPv4 or IPv6 address";
const FORM: &str =
    "write ADDR[:PORT][=BIND_ADDR], as in 203.0.113.7, 203.0.113.7:30700=10.0.0.7 or [2001:db8::7]:30700";

/// Media's addresses, and those at which the cluster may reach this machine by default, the best first.
pub(super) fn addresses(
    reader: &Reader<'_>,
    listen: IpAddr,
    (port, shards): (u16, u16),
) -> Result<(Addresses, Vec<IpAddr>), ConfigError> {
    let given = |key| reader.layers.get(key).map(|given| given.texts.clone()).unwrap_or_default();
    let binds = reader.parse_all("udp-bind", bind)?;
    check_binds(reader, &binds)?;
    let ips = reader.parse_all("ip", ip)?;
    let said = reader.parse_all("candidate", candidate)?;
    let texts: Vec<(&'static str, String)> = given("ip")
        .into_iter()
        .map(|text| ("ip", text))
        .chain(given("candidate").into_iter().map(|text| ("candidate", text)))
        .collect();
    let mut advertised: Vec<Advertised> = ips.iter().copied().map(Advertised::from).chain(said).collect();
    if advertised.is_empty() {
        advertised = default_candidates(reader, listen, &binds)?;
    }
    if advertised.len() > MOST || binds.len() > MOST {
        let said =
            format!("more than {MOST} addresses of media: give fewer --udp-bind, --candidate and --ip");
        return Err(ConfigError::Contradiction(said));
    }
    let binds = if binds.is_empty() { default_binds(&advertised) } else { binds };
    let found = Addresses { binds, port, advertised };
    // Those by default have no text: nobody wrote what could be wrong with them.
    for (nth, (key, text)) in texts.iter().enumerate() {
        check_candidate(&found, shards, nth).map_err(|why| reader.wrong(key, text, why))?;
    }
    let mut own = ips;
    for one in &found.advertised {
        let ip = one.local.unwrap_or(one.ip);
        if !own.contains(&ip) {
            own.push(ip);
        }
    }
    Ok((found, own))
}

/// Without a word: what is bound, or where HTTP listens.
fn default_candidates(
    reader: &Reader<'_>,
    listen: IpAddr,
    binds: &[IpAddr],
) -> Result<Vec<Advertised>, ConfigError> {
    let bound: Vec<Advertised> =
        binds.iter().filter(|ip| !ip.is_unspecified()).copied().map(Advertised::from).collect();
    if !bound.is_empty() {
        return Ok(bound);
    }
    if listen.is_unspecified() {
        return Err(ConfigError::Missing {
            role: reader.layers.role,
            key: "ip",
            advice: "HTTP listens on every address, so say at which one clients reach the media, as in \
                     --ip 192.0.2.10, or behind NAT as in --candidate 203.0.113.7=10.0.0.7",
        });
    }
    Ok(vec![listen.into()])
}

/// Without a word: the one address when it is of this machine alone, else every address, since what is advertised may
/// be another machine's (NAT, host ports).
pub(super) fn default_binds(advertised: &[Advertised]) -> Vec<IpAddr> {
    let locals = || advertised.iter().map(|one| one.local.unwrap_or(one.ip));
    let all: Vec<IpAddr> = locals().collect();
    vec![match all.as_slice() {
        [one] if one.is_loopback() => *one,
        _ if locals().any(|ip| ip.is_ipv6()) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        _ => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    }]
}

/// An address that can be meant by what a client sends, or a reason.
fn plain(text: &str, form: &str) -> Result<IpAddr, String> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    if let Some((address, _)) = bare.split_once('%')
        && address.parse::<Ipv6Addr>().is_ok()
    {
        return Err(
            "an address with a scope (%) means something on one link alone, and candidates carry none: \
                    write a global or unique-local address"
                .to_owned(),
        );
    }
    let Ok(ip) = bare.parse::<IpAddr>() else {
        let named = bare.chars().any(|c| c.is_ascii_alphabetic()) && !bare.contains(':');
        let why = if named { "this is a name, and candidates are addresses: " } else { "" };
        return Err(format!("{why}{form}"));
    };
    match ip {
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => {
            Err(format!("this is an IPv4 address in IPv6 clothes: write {}", ip.to_canonical()))
        }
        IpAddr::V6(v6) if v6.is_unicast_link_local() => {
            Err("a link-local address needs a scope, which candidates do not carry: write a global or unique-local \
                 address"
                .to_owned())
        }
        _ if ip.is_multicast() || ip == IpAddr::V4(Ipv4Addr::BROADCAST) => {
            Err("this is an address of many: write the one of this machine".to_owned())
        }
        _ => Ok(ip),
    }
}

/// An address that clients can call.
fn reachable(text: &str, form: &str) -> Result<IpAddr, String> {
    match plain(text, form)? {
        ip if ip.is_unspecified() => {
            Err("clients cannot send there: write the address they reach".to_owned())
        }
        ip => Ok(ip),
    }
}

fn ip(text: &str) -> Result<IpAddr, String> {
    reachable(text, PLAIN)
}

fn bind(text: &str) -> Result<IpAddr, String> {
    if text.parse::<SocketAddr>().is_ok() {
        return Err("write the address without a port: the ports of media are told by udp-port".to_owned());
    }
    plain(text, PLAIN)
}

fn candidate(text: &str) -> Result<Advertised, String> {
    let (told, local) = match text.split_once('=') {
        Some((told, local)) => (told, Some(local)),
        None => (text, None),
    };
    // Only an IPv6 address in brackets can have a port behind it.
    let (address, port) = match told.rsplit_once(':') {
        Some((address, port)) if !address.contains(':') || address.ends_with(']') => (address, Some(port)),
        _ => (told, None),
    };
    let port = match port.map(str::parse::<u16>) {
        None => None,
        Some(Ok(port)) if port != 0 => Some(port),
        Some(_) => return Err("write a port from 1 to 65535 behind the address".to_owned()),
    };
    let ip = reachable(address, FORM)?;
    let behind = "behind = stands one address of this machine, without a port";
    let local = local.map(|text| match plain(text, FORM) {
        Ok(ip) if ip.is_unspecified() => Err(behind.to_owned()),
        Err(_) if text.parse::<SocketAddr>().is_ok() || text.is_empty() => Err(behind.to_owned()),
        found => found,
    });
    Ok(Advertised { ip, port, local: local.transpose()? })
}

fn check_binds(reader: &Reader<'_>, binds: &[IpAddr]) -> Result<(), ConfigError> {
    let wrong = |ip: &IpAddr, why: String| Err(reader.wrong("udp-bind", &ip.to_string(), why));
    for (nth, ip) in binds.iter().enumerate() {
        let mut others = binds.iter().enumerate().filter(|(other, _)| *other != nth).map(|(_, ip)| ip);
        if binds.iter().take(nth).any(|before| before == ip) {
            return wrong(ip, "it is given twice: once is enough".to_owned());
        }
        if let Some(other) = others.find(|other| ip.is_unspecified() && other.is_ipv4() == ip.is_ipv4()) {
            return wrong(ip, format!("it takes all addresses of its family, {other} too: give one of them"));
        }
    }
    Ok(())
}

/// Checks a candidate against the sockets and against those before it.
fn check_candidate(found: &Addresses, shards: u16, nth: usize) -> Result<(), String> {
    let Some(one) = found.advertised.get(nth) else { return Ok(()) };
    let last = shards.saturating_sub(1);
    if one.port.is_some_and(|port| port.checked_add(last).is_none()) {
        return Err(format!(
            "each of {shards} shards takes a port from here on: write one that leaves room for them"
        ));
    }
    let binds = found.binds.iter().copied();
    let listed = || found.binds.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", ");
    if let Some(local) = one.local
        && covering(binds.clone(), local).is_none()
    {
        let bound = listed();
        return Err(format!(
            "media is not taken at {local}, but at {bound}: write one of those behind =, or add --udp-bind {local}"
        ));
    }
    let family = |ip: IpAddr| if ip.is_ipv4() { "IPv4" } else { "IPv6" };
    let mut of_family = binds.filter(|ip| ip.is_ipv4() == one.ip.is_ipv4());
    if one.local.is_none()
        && of_family.next().is_none()
        && covering(found.binds.iter().copied(), one.ip).is_none()
    {
        let (family, bound) = (family(one.ip), listed());
        return Err(format!(
            "media is taken at {bound}, which is no {family}: add a --udp-bind of that family, or say behind = \
             which address its packets come to"
        ));
    }
    let family_binds = found.binds.iter().filter(|ip| ip.is_ipv4() == one.ip.is_ipv4()).count();
    if one.local.is_none() && family_binds > 1 && covering(found.binds.iter().copied(), one.ip).is_none() {
        let bound = listed();
        return Err(format!("media is taken at {bound}: say behind = at which of these its packets arrive"));
    }
    let port = |one: &Advertised| one.port.unwrap_or(found.port);
    let twin = |other: &&Advertised| other.ip == one.ip && port(other).abs_diff(port(one)) <= last;
    match found.advertised.iter().take(nth).find(twin) {
        Some(other) if port(other) == port(one) => {
            Err("this address is given twice: once is enough".to_owned())
        }
        Some(other) => Err(format!(
            "{shards} shards take a port each from {} on, and from {} on: keep them {shards} ports apart",
            port(other),
            port(one)
        )),
        None => Ok(()),
    }
}
