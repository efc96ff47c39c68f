//! Deterministic simulation of the cluster's logic.
