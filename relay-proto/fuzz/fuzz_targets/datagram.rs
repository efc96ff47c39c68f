//! Any datagram: read without a panic, and what is read is written and read the same again.
#![no_main]

use std::time::{Duration, Instant};

use bytes::Bytes;
use freshet_relay_proto::header;
use freshet_relay_proto::split::{Joiner, WAITING_BYTES_MAX, WAITING_MAX};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|datagrams: Vec<(u8, Vec<u8>)>| {
    let mut joiner = Joiner::default();
    let mut now = Instant::now();
    for (millis, datagram) in datagrams {
        now += Duration::from_millis(u64::from(millis));
        let Ok((head, part, payload)) = header::read(Bytes::from(datagram)) else { continue };
        let mut again = Vec::new();
        header::write(&mut again, &head, part).expect("what was read can be written");
        again.extend(&payload);
        assert_eq!(header::read(again.into()), Ok((head, part, payload.clone())));
        if let Some(part) = part {
            let _ = joiner.handle_part(now, &head, part, payload);
        }
        let (packets, bytes) = joiner.waiting();
        assert!(packets <= WAITING_MAX && bytes <= WAITING_BYTES_MAX);
    }
});
