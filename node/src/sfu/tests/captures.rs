//! When the origin says that a packet was captured.

use std::time::Duration;

use str0m::media::MediaKind::Video;

use super::world::World;
use crate::agent::Link;
use crate::service::Direction::Publish;
use crate::sfu::Hop;

#[test]
fn reports_are_dated_as_they_come_however_long_the_next_picture_takes() {
    let mut world = World::new();
    world.join(Publish, &[Video]);
    world.claim(0, 1);
    world.pass(Duration::from_millis(200));
    world.sfu.handle_forward(world.now, &World::key(1), (0, 0), Hop::Link(Link(1)), 1, None);
    // A slide every three seconds; reports go on.
    let (mut before, mut first) = (None, None);
    for slide in 0..20_u32 {
        world.frame(0, Video, u64::from(slide), 1, slide * 270_000, slide == 0);
        let packet = world.sfu.drain_hop_packets().next_back().expect("it goes on").packet;
        let now = world.now.duration_since(*first.get_or_insert(world.now));
        let late = packet.capture.micros_since(*before.get_or_insert(packet.capture))
            - i64::try_from(now.as_micros()).unwrap();
        assert!(late.abs() <= 20_000, "slide {slide} is dated {late} µs after it was shown");
        world.pass(Duration::from_secs(3));
    }
}
