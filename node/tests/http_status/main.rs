//! Every status code of the public surface, on the wire: real sockets, raw requests, a session service that answers
//! what the offer asks for. Whole-cluster tests ask the same of the real one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../../../tests/support/src/answers.rs"]
mod answers;
mod calls;
mod endpoints;
mod fake;
mod listeners;
mod methods;
#[path = "../../../tests/support/src/problems.rs"]
mod problems;
mod roster;
mod sessions;
mod tickets;
mod wire;
