//! A machine with two addresses, called at either.

use crate::support::nets::{Net, documented, wire};
use crate::{MANUAL, Served, goes_on, publishes, ready, watches};

/// Two networks that the server is in, and a client in each.
pub struct Ways {
    servers: [&'static str; 2],
    clients: [&'static str; 2],
    bits: u8,
    /// The table of nftables.
    family: &'static str,
}

pub const V4: Ways = Ways {
    servers: ["192.0.2.10", "198.51.100.10"],
    clients: ["192.0.2.20", "198.51.100.20"],
    bits: 24,
    family: "ip",
};
pub const V6: Ways = Ways {
    servers: ["2001:db8:1::10", "2001:db8:2::10"],
    clients: ["2001:db8:1::20", "2001:db8:2::20"],
    bits: 64,
    family: "ip6",
};

/// Each client calls the address that it can reach, and is answered from that one. `more` are flags of the server beside
/// those of the manual.
pub fn answers_from_it(ways: &Ways, more: &[&str]) {
    let (server, near, far) = (Net::new("server"), Net::new("near"), Net::new("far"));
    wire((&server, "eth0"), (&near, "eth0"));
    wire((&server, "eth1"), (&far, "eth0"));
    let [one, other] = ways.servers;
    let bits = ways.bits;
    server.address("eth0", &format!("{one}/{bits}"));
    server.address("eth1", &format!("{other}/{bits}"));
    near.address("eth0", &format!("{}/{bits}", ways.clients[0]));
    far.address("eth0", &format!("{}/{bits}", ways.clients[1]));
    // The far client sees the other address through this one: the routing table would answer from the near one.
    let host = if ways.family == "ip" { 32 } else { 128 };
    far.sh(&format!("ip route add {one}/{host} via {other}"));
    for client in [&near, &far] {
        client.guarded();
    }
    let v6 = ways.family == "ip6";
    // The manual's line, at the addresses of this family.
    let line = documented(MANUAL, "A machine with two addresses", "freshet").join(" ");
    let line = line.replace("192.0.2.10", one).replace("198.51.100.10", other);
    let line = if v6 { line.replace("0.0.0.0:8080", "[::]:8080") } else { line };
    let args: Vec<&str> = line.split(' ').chain(more.iter().copied()).collect();
    let name = if !more.is_empty() {
        "two-sockets"
    } else if v6 {
        "two-v6"
    } else {
        "two"
    };
    let served = Served::start_by(name, &server, &args);
    let url = |address: &str| {
        if v6 { format!("http://[{address}]:8080") } else { format!("http://{address}:8080") }
    };
    let (at_one, at_other) = (url(one), url(other));
    ready(&near, &at_one);
    let _publisher = publishes(&near, &at_one, "two");
    let both = [format!("{one} 7700"), format!("{other} 7700")];
    let (beside, told) = watches(&near, &at_one, "two");
    assert_eq!(told, both);
    let (across, told) = watches(&far, &at_other, "two");
    assert_eq!(told, both);
    // From here on it can call the address alone whose packets the routing table would send from the other.
    far.nft(&format!(
        "table inet test {{ chain leaving {{ type filter hook output priority 0; {} daddr {other} udp dport 7700 drop; }} }}",
        ways.family
    ));
    let (strict, _) = watches(&far, &at_other, "two");
    goes_on(&near, beside, 100);
    goes_on(&far, strict, 100);
    drop((across, served));
}
