//! `recvmmsg`, `sendmmsg`, and the control messages that carry segment sizes and local addresses.
#![allow(unsafe_code, reason = "the standard library has no batches and no control messages")]

mod control;
mod names;
mod probe;
mod recv;
mod send;

pub(super) use probe::{force_buffers, fragment, overflow, probe};
pub(super) use recv::{RecvScratch, recv};
pub(super) use send::{SendScratch, To, send};
