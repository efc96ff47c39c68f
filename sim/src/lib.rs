//! Deterministic simulation of the cluster's logic: one seed is one run.
//!
//! The coordinators' machines run unchanged over a simulated store, bus and set of nodes in virtual time. Faults are
//! drawn from the seed: heartbeats lost, delayed and overtaken, leases lost while the node lives, nodes killed and
//! started again, the bus away, the store wiped. Every plan that is written and every death that is declared is
//! judged when it happens, against what is true in the simulated world; a run says which faults fired, so that a
//! test can refuse a run in which nothing went wrong.

pub mod node;
pub mod queue;
pub mod report;
pub mod store;
pub mod world;

pub use report::{Fired, Report};
pub use world::{Settings, run};
