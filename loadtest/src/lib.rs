//! A load harness for any WHIP and WHEP server.
