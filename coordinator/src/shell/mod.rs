//! Between the machines and the world: store and bus in, plans and events out.

pub mod act;
pub mod observe;
pub mod plans;
pub mod state;
