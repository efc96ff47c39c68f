//! The coordinator: placement, cascade planning, liveness, gateway and API.
//!
//! Machines decide and shells do: [`core`], [`view`], [`place`], [`cascade`], [`liveness`], [`readiness`] and [`diff`]
//! take values and `now`; the rest talks to store, bus, nodes and clients. Every replica is alike and keeps nothing that the
//! store, the bus and the nodes' heartbeats could not tell it again.

pub mod api;
pub mod app;
pub mod cascade;
pub mod config;
pub mod coordinator;
pub mod core;
pub mod diff;
pub mod events;
pub mod gateway;
pub mod liveness;
pub mod metrics;
pub mod place;
pub mod readiness;
pub mod shell;
pub mod view;
pub mod web;

pub use config::CoordinatorConfig;
pub use coordinator::{Coordinator, StartError};
