use super::reach::Reach;
use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// `ADDR`, `ADDR:PORT`, and `=LOCAL` behind either.
fn said(text: &str) -> Advertised {
    let (address, local) = text.split_once('=').map_or((text, None), |(a, l)| (a, Some(ip(l))));
    match address.parse::<SocketAddr>() {
        Ok(address) => Advertised { ip: address.ip(), port: Some(address.port()), local },
        Err(_) => Advertised { ip: ip(address), port: None, local },
    }
}

fn book(shard: u16, bound: &[&str], advertised: &[&str]) -> Book {
    let bound: Vec<_> = bound.iter().map(|text| at(text)).collect();
    let advertised: Vec<_> = advertised.iter().map(|text| said(text)).collect();
    Book::new(shard, &bound, &advertised)
}

#[test]
fn a_local_address_is_the_candidate_that_clients_know() {
    // Bound, advertised, and what a local address is to clients.
    type Row<'a> = (&'a [&'a str], &'a [&'a str], &'a [(&'a str, &'a str)]);
    let table: &[Row<'_>] = &[
        // 1:1 NAT: whatever it came to.
        (&["0.0.0.0:7700"], &["203.0.113.7"], &[("10.0.0.7", "203.0.113.7:7702")]),
        // Mapped ports.
        (&["10.0.0.7:7700"], &["203.0.113.7:30700"], &[("10.0.0.7", "203.0.113.7:30702")]),
        // Two addresses, each its own.
        (
            &["0.0.0.0:7700"],
            &["192.0.2.1", "198.51.100.1"],
            &[
                ("192.0.2.1", "192.0.2.1:7702"),
                ("198.51.100.1", "198.51.100.1:7702"),
                ("10.0.0.1", "192.0.2.1:7702"),
            ],
        ),
        // Two NATs, said in the other order than they are bound.
        (
            &["10.0.0.7:7700", "10.1.0.7:7800"],
            &["198.51.100.7=10.1.0.7", "203.0.113.7:30700=10.0.0.7"],
            &[("10.0.0.7", "203.0.113.7:30702"), ("10.1.0.7", "198.51.100.7:7800")],
        ),
        // A NAT beside the address itself.
        (
            &["0.0.0.0:7700"],
            &["203.0.113.7=10.0.0.7", "10.0.0.7"],
            &[("10.0.0.7", "203.0.113.7:7702"), ("10.9.9.9", "10.0.0.7:7702")],
        ),
        // Both families by one socket.
        (
            &["[::]:7700"],
            &["192.0.2.1", "2001:db8::1"],
            &[
                ("192.0.2.1", "192.0.2.1:7702"),
                ("2001:db8::1", "[2001:db8::1]:7702"),
                ("2001:db8::2", "[2001:db8::1]:7702"),
                ("127.0.0.1", "192.0.2.1:7702"),
            ],
        ),
        // A balancer that speaks IPv6 outside and IPv4 inside.
        (&["10.0.0.7:7700"], &["2001:db8::1=10.0.0.7"], &[("10.0.0.7", "[2001:db8::1]:7702")]),
    ];
    for (bound, advertised, wanted) in table {
        // Sockets as those of shard 2 would be bound.
        let bound: Vec<String> = bound.iter().map(|text| text.replace(":7700", ":7702")).collect();
        let bound: Vec<&str> = bound.iter().map(String::as_str).collect();
        let book = book(2, &bound, advertised);
        for (local, candidate) in *wanted {
            let found = book.candidate(Some(ip(local)));
            assert_eq!(found, Some(at(candidate)), "{local} of {bound:?} as {advertised:?}");
        }
        assert_eq!(book.candidate(None), book.candidates().first().copied(), "the system tells nothing");
        assert_eq!(book.candidates().len(), advertised.len());
    }
    assert_eq!(Book::default().candidate(Some(ip("10.0.0.1"))), None);
}

#[test]
fn local_addresses_are_the_same_when_their_candidate_is() {
    let book = book(0, &["0.0.0.0:1"], &["192.0.2.1", "192.0.2.2"]);
    let same = |a: &str, b: &str| book.same(Some(ip(a)), Some(ip(b)));
    assert!(same("192.0.2.1", "192.0.2.1") && same("10.0.0.1", "10.0.0.2") && same("10.0.0.1", "192.0.2.1"));
    assert!(!same("192.0.2.1", "192.0.2.2"));
}

#[test]
fn a_socket_covers_its_own_address_or_all_of_its_family() {
    let table: &[(&[&str], &str, Option<usize>)] = &[
        (&["10.0.0.1", "10.0.0.2"], "10.0.0.2", Some(1)),
        (&["10.0.0.1"], "10.0.0.2", None),
        (&["::1", "0.0.0.0"], "10.0.0.2", Some(1)),
        (&["::"], "10.0.0.2", Some(0)),
        (&["::", "10.0.0.1"], "10.0.0.2", None),
        (&["0.0.0.0"], "2001:db8::1", None),
        (&["2001:db8::2", "::"], "2001:db8::1", Some(1)),
    ];
    for (bound, local, wanted) in table {
        let found = covering(bound.iter().map(|text| ip(text)), ip(local));
        assert_eq!(found, *wanted, "{local} by {bound:?}");
    }
}

#[test]
fn shards_bind_to_ports_behind_each_other() {
    let addresses = Addresses { port: 7700, ..Addresses::one(ip("10.0.0.1"), 0) };
    assert_eq!(addresses.sockets(3), [at("10.0.0.1:7703")]);
    assert_eq!(Addresses::one(ip("10.0.0.1"), 0).sockets(3), [at("10.0.0.1:0")]);
}

#[test]
fn who_can_reach_what() {
    for (text, wanted) in [
        ("127.0.0.2", Reach::Machine),
        ("::1", Reach::Machine),
        ("::ffff:127.0.0.1", Reach::Machine),
        ("169.254.1.1", Reach::Link),
        ("fe80::1", Reach::Link),
        ("10.0.0.1", Reach::Network),
        ("172.16.0.1", Reach::Network),
        ("192.168.0.1", Reach::Network),
        ("100.64.0.1", Reach::Network),
        ("fd00::1", Reach::Network),
        ("172.32.0.1", Reach::Anywhere),
        ("100.128.0.1", Reach::Anywhere),
        ("203.0.113.7", Reach::Anywhere),
        ("2001:db8::1", Reach::Anywhere),
    ] {
        assert_eq!(reach::of(ip(text)), wanted, "{text}");
    }
    assert_eq!(reach::best(&[at("127.0.0.1:1"), at("10.0.0.1:1")]), Some(Reach::Network));
    assert!(Reach::Anywhere.warning().is_none() && Reach::Network.warning().is_some());
}
