//! A shard and stock str0m clients, without sockets: what goes in and what comes out, in virtual time.

mod captures;
mod cipher;
pub(crate) mod client;
mod codecs;
mod decode;
mod edges;
mod extensions;
mod feedback;
mod hostile;
mod joins;
mod layers;
mod layers_far;
mod nodes;
mod offers;
mod openssl;
mod pacing;
mod pictures;
mod repairs;
mod reports;
mod rest;
mod scenarios;
mod sets;
mod sources;
mod spares;
mod temporal;
mod viewing;
mod wishes;
