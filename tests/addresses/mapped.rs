//! A machine with two addresses inside, each behind a mapped port of another address outside.

use crate::support::nets::Net;
use crate::{Served, goes_on, publishes, ready, routed, watches};

/// Who reaches one of the two alone is answered from the address inside that stands behind it: from the other one the router
/// would not know the way back.
pub fn answers_from_behind_each() {
    let (server, router, client) = routed();
    server.address("eth0", "10.0.1.7/24");
    router.address("in", "10.0.1.1/24");
    router.address("out", "203.0.113.8/32");
    router.nft(
        "table ip test { chain arriving { type nat hook prerouting priority dstnat; \
         ip daddr 203.0.113.7 udp dport 30700 dnat to 10.0.0.7:7700; \
         ip daddr 203.0.113.8 udp dport 40700 dnat to 10.0.1.7:7700; \
         ip daddr 203.0.113.7 tcp dport 30080 dnat to 10.0.0.7:8080; } }",
    );
    client.guarded();
    let outside = ["203.0.113.7:30700", "203.0.113.8:40700"];
    let args = "dev --shards 1 --listen 0.0.0.0:8080 --udp-port 7700 --candidate 203.0.113.7:30700=10.0.0.7 \
                --candidate 203.0.113.8:40700=10.0.1.7";
    let served = Served::start_by("ports-of-two", &server, &args.split_whitespace().collect::<Vec<_>>());
    let base = "http://203.0.113.7:30080";
    ready(&client, base);
    let mut publisher = publishes(&client, base, "mapped");
    assert!(outside.iter().all(|at| served.log().contains(at)), "{}", served.log());
    let block = |client: &Net, address: &str| {
        client.nft(&format!(
            "table ip test {{ chain leaving {{ type filter hook output priority 0; ip daddr {address} udp dport 1-65535 drop; }} }}"
        ));
    };
    for address in ["203.0.113.7", "203.0.113.8"] {
        // Before anybody is there: who publishes has the other way, too.
        drop(publisher);
        block(&client, address);
        publisher = publishes(&client, base, "mapped");
        let (viewer, told) = watches(&client, base, "mapped");
        assert_eq!(told, outside.map(|at| at.replace(':', " ")));
        goes_on(&client, viewer, 100);
        client.sh("nft delete table ip test");
    }
    drop((publisher, served));
}
