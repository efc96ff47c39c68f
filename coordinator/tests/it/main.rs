//! Whole coordinators over a memory store, a memory bus and nodes that only pretend to carry media.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod access;
mod api;
mod chat;
mod door;
mod joins;
mod newer;
mod outages;
mod ready;
mod redirect;
mod sessions;
mod support;
