//! A shard and stock str0m clients, without sockets: what goes in and what comes out, in virtual time.

mod client;
mod hostile;
mod pacing;
mod scenarios;
