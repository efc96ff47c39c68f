//! Any bytes of a control stream, cut anywhere: no panic, and what is read is written and read the same again.
#![no_main]

use freshet_relay_proto::control::Control;
use freshet_relay_proto::frame::FrameDecoder;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, &[u8])| {
    let (cut, bytes) = input;
    let mut decoder = FrameDecoder::default();
    for piece in bytes.chunks(usize::from(cut).max(1)) {
        if !decoder.feed(piece) {
            return;
        }
        loop {
            match decoder.next_frame() {
                Ok(Some(frame)) => {
                    let Ok(Some(control)) = Control::decode(&frame) else { continue };
                    let written = control.encode().expect("what was read can be written");
                    let mut second = FrameDecoder::default();
                    assert!(second.feed(&written));
                    let again = second.next_frame().expect("a frame").expect("a whole one");
                    assert_eq!(Control::decode(&again), Ok(Some(control)));
                }
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
});
