//! The relay between two Freshet nodes: wire format and link state machine, without I/O.
