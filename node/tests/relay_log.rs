//! The log line of a refused link. A process of its own: what is captured is the whole process's log.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/log.rs"]
mod log;
#[path = "support/nodes.rs"]
mod nodes;

use log::Log;
use nodes::{Registry, TestNode, config, until};

#[tokio::test]
async fn each_refusal_is_one_line_that_says_who_where_why_and_with_what() {
    let log = Log::of_process(tracing::Level::WARN);

    let registry = Registry::default();
    let b = TestNode::start(&registry, config("b", 2)).await;
    let c = TestNode::start_unregistered(&registry, config("c", 3)).await;
    c.relay.dial(b.peer.clone());
    until("both ends know", || b.relay.refused() > 0 && c.relay.refused() > 0).await;
    c.relay.close().await;
    b.relay.close().await;

    let lines = log.lines("relay link refused");
    let of = |by_peer: bool| lines.iter().filter(|l| l["fields"]["by_peer"] == by_peer).collect::<Vec<_>>();
    let (own, told) = (of(false), of(true));
    assert_eq!(lines.len() as u64, b.relay.refused() + c.relay.refused(), "one for each: {lines:#?}");
    for (lines, node, address) in [(own, &c.peer.node, c.peer.relay), (told, &b.peer.node, b.peer.relay)] {
        let line = lines.first().expect("a line of each end");
        let fields = &line["fields"];
        assert_eq!(line["level"], "WARN");
        assert_eq!(fields["node"], node.as_str());
        assert_eq!(fields["address"], address.to_string());
        assert_eq!(fields["code"], "stranger");
        let detail = fields["detail"].as_str().unwrap();
        assert!(detail.contains(&c.peer.node.to_string()) && detail.contains("registry"), "{detail}");
    }
}
