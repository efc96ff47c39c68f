use super::*;

/// Packets of VP8, three a frame, with 90 ms between two frames.
fn packets(frames: u64, start: Instant) -> Vec<Piece> {
    let piece = |number: u64| {
        let (frame, part) = (number / 3, number % 3);
        let begin: &[u8] = if part == 0 { &[0x10, u8::from(frame != 0)] } else { &[0x00] };
        let tail = [u8::try_from(number).unwrap()];
        Piece {
            sequence: 65_530 + number,
            timestamp: u32::try_from(frame * 8_100).unwrap(),
            marker: part == 2,
            at: start + Duration::from_millis(frame * 90),
            payload: [begin, &tail].concat(),
        }
    };
    (0..frames * 3).map(piece).collect()
}

fn put(pieces: impl IntoIterator<Item = Piece>) -> (Vec<u32>, u64) {
    let mut assembler = Assembler::new(VideoCodec::Vp8);
    let frames = pieces.into_iter().flat_map(|piece| assembler.push(piece)).collect::<Vec<Whole>>();
    (frames.iter().map(|frame| frame.timestamp / 8_100).collect(), assembler.broken())
}

#[test]
fn what_comes_late_or_twice_has_its_place() {
    let mut pieces = packets(4, Instant::now());
    assert_eq!(put(pieces.clone()), (vec![0, 1, 2, 3], 0));
    pieces.swap(4, 8);
    pieces.insert(6, pieces[1].clone());
    pieces.insert(7, pieces[8].clone());
    assert_eq!(put(pieces), (vec![0, 1, 2, 3], 0));
}

#[test]
fn what_is_missing_breaks_its_frame_once_it_was_waited_for() {
    let all = packets(12, Instant::now());
    let without = |missing: &[u64]| {
        let missing: Vec<u64> = missing.iter().map(|number| number + 65_530).collect();
        put(all.iter().filter(|piece| !missing.contains(&piece.sequence)).cloned())
    };
    let but = |frames: &[u32]| (0..12).filter(|frame| !frames.contains(frame)).collect::<Vec<u32>>();
    for (missing, broken) in
        [(&[3][..], &[1][..]), (&[4], &[1]), (&[5], &[1]), (&[5, 6], &[1, 2]), (&[4, 5], &[1])]
    {
        assert_eq!(without(missing), (but(broken), u64::try_from(broken.len()).unwrap()), "{missing:?}");
    }
    assert_eq!(without(&[3, 4, 5]), (but(&[1]), 1), "a frame that is missing whole");
    // Not waited for long enough yet.
    assert_eq!(without(&[31]), ((0..10).collect(), 0));
}

#[test]
fn what_cannot_be_a_frame_is_none_and_nothing_panics() {
    let at = Instant::now();
    for codec in [VideoCodec::H264, VideoCodec::Vp8] {
        let mut assembler = Assembler::new(codec);
        let mut sequence = 0;
        for first in 0..=255_u8 {
            for rest in [&[][..], &[0xff], &[0x85, 0x88], &[0x05, 1], &[0, 9, 1], &[0x80, 0x80, 0x80, 0x80]] {
                let payload = [&[first], rest].concat();
                assembler.push(Piece { sequence, timestamp: num(sequence), marker: true, at, payload });
                sequence += 1;
            }
        }
        assert!(assembler.broken() > 0);
    }
    // A fragment that never ends is no frame.
    let mut assembler = Assembler::new(VideoCodec::H264);
    let piece = Piece { sequence: 1, timestamp: 0, marker: true, at, payload: vec![0x7c, 0x85, 0x88] };
    assert_eq!((assembler.push(piece), assembler.broken()), (Vec::new(), 1));
}

fn num(sequence: u64) -> u32 {
    u32::try_from(sequence).unwrap()
}

#[test]
fn memory_is_bounded() {
    let mut assembler = Assembler::new(VideoCodec::Vp8);
    let at = Instant::now();
    for sequence in (0..100_000).filter(|sequence| *sequence != 1) {
        assembler.push(Piece { sequence, timestamp: 0, marker: false, at, payload: vec![0, 1] });
        assert!(assembler.held.len() <= HELD);
    }
}
