//! Room events: chat, presence, streams that begin and end.

mod audience;
pub mod chat;
pub mod history;
pub mod http;
pub mod hub;
pub mod wire;
