//! The routes of a coordinator, and their description.

pub mod about;
pub mod access;
pub mod health;
pub mod media;
pub mod model;
pub mod openapi;
pub mod read;
pub mod routes;
pub mod viewer;

pub use routes::router;
