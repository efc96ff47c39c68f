//! What this machine says of itself: its name and its addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Its name; empty when the system does not say.
pub fn name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").map(|t| t.trim().to_owned()).unwrap_or_default()
}

/// Its addresses, those left out that are of this machine or of one wire alone. None where the system does not say.
pub fn addresses() -> Vec<IpAddr> {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let mut all = v4(&read("/proc/net/fib_trie"));
    all.extend(v6(&read("/proc/net/if_inet6")));
    all
}

/// What the routing table calls local: a leaf `|-- ADDR` followed by `/32 host LOCAL`. Each table has it once.
fn v4(trie: &str) -> Vec<IpAddr> {
    let mut found: Vec<IpAddr> = Vec::new();
    let mut leaf: Option<Ipv4Addr> = None;
    for line in trie.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            leaf = address.parse().ok();
        } else if line == "/32 host LOCAL"
            && let Some(address) = leaf.take().filter(|a| !a.is_loopback() && !a.is_link_local())
            && !found.contains(&address.into())
        {
            found.push(address.into());
        }
    }
    found
}

/// Lines of address, interface, prefix, scope, flags and name; scope 00 is global.
fn v6(interfaces: &str) -> Vec<IpAddr> {
    let address = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let bits = u128::from_str_radix(fields.next()?, 16).ok()?;
        (fields.nth(2)? == "00").then_some(IpAddr::V6(Ipv6Addr::from_bits(bits)))
    };
    interfaces.lines().filter_map(address).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRIE: &str = "\
Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     |-- 192.168.1.0
        /24 link UNICAST
Local:
  +-- 0.0.0.0/0 3 0 5
     +-- 127.0.0.0/8 2 0 2
           |-- 127.0.0.1
              /32 host LOCAL
     +-- 192.168.1.0/24 2 0 2
        |-- 192.168.1.20
           /32 host LOCAL
        |-- 192.168.1.255
           /32 link BROADCAST
     |-- 169.254.7.7
        /32 host LOCAL
     |-- 192.168.1.20
        /32 host LOCAL
";

    #[test]
    fn addresses_are_those_that_others_can_call() {
        assert_eq!(v4(TRIE), ["192.168.1.20".parse::<IpAddr>().unwrap()]);
        let lines = "fe80000000000000021122fffe334455 02 40 20 80     eth0\n\
                     fd000000000000000000000000000001 02 40 00 80     eth0\n\
                     00000000000000000000000000000001 01 80 10 80       lo\n";
        assert_eq!(v6(lines), ["fd00::1".parse::<IpAddr>().unwrap()]);
        for nothing in ["", "|-- x\n/32 host LOCAL", "zz 01 80 00 80 lo"] {
            assert_eq!((v4(nothing), v6(nothing)), (vec![], vec![]), "{nothing}");
        }
        assert!(addresses().iter().all(|a| !a.is_loopback() && !a.is_unspecified()), "{:?}", addresses());
    }
}
