//! The log line of a socket. A process of its own: what is captured is the whole process's log.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/log.rs"]
mod log;

use std::net::{Ipv4Addr, SocketAddr};

use freshet_node::socket::{Socket, SocketOptions};
use log::Log;

#[tokio::test]
async fn what_a_socket_has_found_is_logged() {
    let log = Log::of_process(tracing::Level::INFO);
    let all = SocketOptions::default();
    let ways = [
        all,
        SocketOptions { gso: false, ..all },
        SocketOptions { gro: false, ..all },
        SocketOptions { batches: false, ..all },
        SocketOptions { local_addresses: false, ..all },
    ];
    for (before, options) in ways.iter().enumerate() {
        let socket = Socket::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), options).unwrap();
        let caps = socket.caps();
        let lines = log.lines("UDP socket is bound");
        assert_eq!(lines.len(), before + 1);
        let fields = &lines[before]["fields"];
        assert_eq!(fields["local"], socket.local_addr().to_string());
        let found = [("batches", caps.batches), ("gso", caps.gso), ("gro", caps.gro)];
        for (name, has) in found.into_iter().chain([("local_addresses", caps.local_addresses)]) {
            assert_eq!(fields[name], has, "{name} of {options:?}");
        }
    }
}
