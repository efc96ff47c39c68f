use super::*;
use freshet_relay_proto::header::Extensions;

const RATE: u64 = 1_000_000;

fn header(alias: u32, index: u64, timestamp: u32, keyframe: bool) -> MediaHeader {
    MediaHeader {
        alias,
        track: 0,
        layer: 0,
        index,
        timestamp,
        marker: false,
        keyframe,
        codec: 0,
        capture: 0,
        exts: Extensions::default(),
    }
}

fn payload() -> Bytes {
    Bytes::from_static(&[0; 1_000])
}

/// Pushes delta packets of a layer until one is refused; gives how many went in.
fn fill(queue: &mut MediaQueue, now: Instant, alias: u32, timestamp: u32) -> u64 {
    let mut taken = 0;
    while queue.push(now, MediaKind::Video, header(alias, taken, timestamp, false), payload(), RATE) {
        taken += 1;
    }
    taken
}

#[test]
fn audio_goes_before_video_that_waits() {
    let now = Instant::now();
    let mut queue = MediaQueue::default();
    assert!(queue.push(now, MediaKind::Video, header(1, 1, 0, false), payload(), RATE));
    assert!(queue.push(now, MediaKind::Audio, header(2, 2, 0, false), payload(), RATE));
    assert_eq!(queue.pop(now).unwrap().header.index, 2);
    assert_eq!(queue.pop(now).unwrap().header.index, 1);
    assert!(queue.pop(now).is_none());
    assert_eq!(queue.bytes(), 0);
}

#[test]
fn video_waits_as_long_as_the_link_takes_for_it_and_no_longer() {
    let now = Instant::now();
    let mut queue = MediaQueue::default();
    // 150 ms of 1 MB/s are 150 packets of 1,000 bytes.
    assert_eq!(fill(&mut queue, now, 1, 0), 150);
    assert_eq!(queue.dropped(), Dropped { delta: 1, ..Dropped::default() });
    assert!(queue.push(now, MediaKind::Audio, header(2, 1, 0, false), payload(), RATE), "audio still passes");
}

#[test]
fn behind_a_drop_a_layer_waits_for_its_next_keyframe() {
    let now = Instant::now();
    let mut queue = MediaQueue::default();
    fill(&mut queue, now, 1, 0);
    while queue.pop(now).is_some() {}
    let mut push = |alias, index, timestamp, keyframe| {
        queue.push(now, MediaKind::Video, header(alias, index, timestamp, keyframe), payload(), RATE)
    };
    assert!(!push(1, 200, 0, false), "the rest of the frame");
    assert!(!push(1, 201, 3_000, false), "the next frame");
    assert!(push(2, 1, 0, false), "another layer");
    assert!(push(1, 202, 6_000, true), "a keyframe");
    assert!(push(1, 203, 6_000, false), "the rest of it");
    assert!(push(1, 204, 9_000, false), "and what comes after");
}

#[test]
fn a_keyframe_may_wait_where_other_video_may_not() {
    let now = Instant::now();
    let mut queue = MediaQueue::default();
    fill(&mut queue, now, 1, 0);
    let mut taken = 0;
    while queue.push(now, MediaKind::Video, header(2, taken, 7, taken == 0), payload(), RATE) {
        taken += 1;
    }
    assert_eq!(taken, 150, "300 ms in all");
    assert_eq!(queue.dropped().keyframe, 1);
    let again = queue.push(now, MediaKind::Video, header(2, taken, 7, true), payload(), RATE);
    assert!(!again, "the keyframe that was broken does not begin again");
}

#[test]
fn what_waited_too_long_is_not_sent() {
    let now = Instant::now();
    let mut queue = MediaQueue::default();
    assert!(queue.push(now, MediaKind::Video, header(1, 1, 0, true), payload(), RATE));
    assert!(queue.push(now, MediaKind::Audio, header(2, 1, 0, false), payload(), RATE));
    assert!(queue.pop(now + AGE_MAX + Duration::from_millis(1)).is_none());
    assert_eq!(queue.dropped().total(), 2);
    assert!(
        !queue.push(now, MediaKind::Video, header(1, 2, 3_000, false), payload(), RATE),
        "its layer is broken"
    );
}

#[test]
fn a_fast_link_does_not_hold_without_bound() {
    let now = Instant::now();
    let mut queue = MediaQueue::default();
    let mut taken = 0_u64;
    while queue.push(now, MediaKind::Video, header(1, taken, 0, true), payload(), u64::MAX) {
        taken += 1;
    }
    assert_eq!(taken, BYTES_MAX / 1_000);
}

#[test]
fn on_a_slow_link_the_same_few_layers_go_and_the_others_stay_whole() {
    let start = Instant::now();
    let mut queue = MediaQueue::default();
    // Ten streams of 100 kB/s on a link of 700 kB/s, a keyframe each second.
    let (mut sent, mut taken) = ([0_u32; 10], [0_u32; 10]);
    let mut room = 0_u64;
    for ms in 0..10_000_u64 {
        let now = start + Duration::from_millis(ms);
        for alias in 0..10_u32 {
            if (ms + u64::from(alias)) % 10 == 0 {
                let keyframe = (ms / 10 + u64::from(alias) * 10) % 100 == 0;
                let header = header(alias, ms, u32::try_from(ms).unwrap(), keyframe);
                let passed = queue.push(now, MediaKind::Video, header, payload(), 700_000);
                sent[alias as usize] += 1;
                taken[alias as usize] += u32::from(passed);
            }
        }
        room += 700;
        while room >= 1_000 && queue.pop(now).is_some() {
            room -= 1_000;
        }
    }
    let whole = (0..10).filter(|n| taken[*n] == sent[*n]).count();
    assert!(whole >= 5, "{taken:?} of {sent:?}");
    assert!(taken[9] * 2 < sent[9], "the newest goes: {taken:?}");
    let all: u32 = taken.iter().sum();
    assert!(all >= 6_300, "{all} of the 7,000 packets that the link carries");
}

#[test]
fn higher_layers_go_before_lower_ones_of_newer_streams() {
    let now = Instant::now();
    let mut queue = MediaQueue::default();
    let high = MediaHeader { layer: 2, ..header(1, 1, 0, false) };
    let low = header(9, 1, 0, false);
    for header in [high, low] {
        assert!(queue.push(now, MediaKind::Video, header, payload(), RATE));
    }
    let later = now + RANK_EVERY;
    let mut full = |header| {
        let mut n = 0;
        while queue.push(later, MediaKind::Video, header, payload(), RATE) {
            n += 1;
        }
        n
    };
    let (first, second) = (full(high), full(low));
    assert!(first > 0 && second > 0, "the higher layer stops first: {first}, then {second}");
}
