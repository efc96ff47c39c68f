use super::*;
use crate::hls::playlist::{Playlist, parse};
use crate::hls::track::What;

const SECOND: u64 = 1_000_000;
/// When the first segment of all was captured.
const EPOCH: u64 = 1_000 * SECOND;

fn read(text: &str) -> Media {
    match parse(text).unwrap() {
        Playlist::Media(media) => media,
        Playlist::Master(_) => panic!(),
    }
}

/// Segments of a second, from one to before another.
fn plain(from: u64, to: u64, end: &str) -> Media {
    let date = format!("1970-01-01T00:{:02}:{:02}Z", (1_000 + from) / 60, (1_000 + from) % 60);
    let head = format!(
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXT-X-MEDIA-SEQUENCE:{from}\n#EXT-X-PROGRAM-DATE-TIME:{date}\n"
    );
    let segments: String = (from..to).map(|number| format!("#EXTINF:1,\n{number}.ts\n")).collect();
    read(&format!("{head}{segments}{end}"))
}

fn load(player: &mut Player, now: u64, media: Media) {
    player.read(0, now, now, Arc::from("http://h/live/list.m3u8"), media);
}

/// Fetches whatever can be had, at once; says what it was.
fn fetch(player: &mut Player, now: u64) -> Vec<String> {
    let mut names = Vec::new();
    while let Next::Get(item) = player.next(0, now) {
        player.arrived(0, &item, now);
        names.push(item.resource.uri);
    }
    names
}

fn millis(micros: Option<std::time::Duration>) -> u128 {
    micros.unwrap().as_millis()
}

#[test]
fn it_begins_three_targets_from_the_edge_and_plays_in_time() {
    let (mut player, edge) = (Player::new(1), EPOCH + 20 * SECOND);
    assert_eq!(
        (player.next(0, edge), player.reload(0)),
        (Next::Wait(None), Some(Reload { at: 0, block: None }))
    );
    load(&mut player, edge, plain(10, 20, ""));
    assert_eq!(fetch(&mut player, edge), ["17.ts", "18.ts", "19.ts"]);
    assert_eq!(player.reload(0).unwrap().at, edge + SECOND, "a target duration after it was asked for");
    for n in 1..=10 {
        let now = edge + n * SECOND;
        load(&mut player, now, plain(10 + n, 20 + n, ""));
        assert_eq!(fetch(&mut player, now), [format!("{}.ts", 19 + n)]);
    }
    let report = player.report(edge + 10 * SECOND);
    assert!(report.playing && report.began == Some(edge), "{report:?}");
    assert_eq!((report.stalls, report.played, report.counts.segments), (0, 10 * SECOND, 13));
    assert_eq!((report.counts.playlists, report.counts.unchanged, report.counts.jumps), (11, 0, 0));
    // Eleven pieces have begun, each 3 s after its capture; ten came as soon as their last was captured.
    assert_eq!((report.latency.len(), millis(report.latency.max())), (11, 3_000));
    assert_eq!((report.counts.edge.len(), millis(report.counts.edge.max())), (10, 0));
}

#[test]
fn a_stall_is_as_long_as_nothing_was_there_and_what_follows_is_later_by_it() {
    let (mut player, edge) = (Player::new(1), EPOCH + 20 * SECOND);
    load(&mut player, edge, plain(10, 20, ""));
    fetch(&mut player, edge);
    // The server is silent; at 5 s it has all that was captured since.
    let silent = player.report(edge + 4 * SECOND);
    assert_eq!((silent.stalls, silent.stalled, silent.stalled_now), (1, SECOND, true), "{silent:?}");
    load(&mut player, edge + 5 * SECOND, plain(15, 25, ""));
    assert_eq!(fetch(&mut player, edge + 5 * SECOND).len(), 5);
    let report = player.report(edge + 6 * SECOND);
    assert_eq!((report.stalls, report.stalled, report.longest_stall), (1, 2 * SECOND, 2 * SECOND));
    assert!(report.playing && report.played == 4 * SECOND);
    assert_eq!(millis(report.latency.max()), 5_000, "3 s, and the 2 s of the stall");
    assert_eq!(report.counts.longest_unchanged, 5 * SECOND);
}

#[test]
fn one_segment_is_no_cushion_after_a_stall() {
    let (mut player, edge) = (Player::new(1), EPOCH + 20 * SECOND);
    load(&mut player, edge, plain(10, 20, ""));
    fetch(&mut player, edge);
    load(&mut player, edge + 4 * SECOND, plain(11, 21, ""));
    fetch(&mut player, edge + 4 * SECOND);
    assert!(player.report(edge + 4 * SECOND).stalled_now, "half of the hold-back is a segment and a half");
    load(&mut player, edge + 5 * SECOND, plain(12, 22, ""));
    fetch(&mut player, edge + 5 * SECOND);
    let report = player.report(edge + 5 * SECOND);
    assert_eq!((report.playing, report.stalls, report.stalled), (true, 1, 2 * SECOND));
}

#[test]
fn what_is_missing_is_passed_over_and_what_is_gone_is_jumped_over() {
    let (mut player, edge) = (Player::new(1), EPOCH + 20 * SECOND);
    load(&mut player, edge, plain(10, 20, ""));
    let Next::Get(item) = player.next(0, edge) else { panic!() };
    player.missed(0, &item, edge);
    assert_eq!(fetch(&mut player, edge), ["18.ts", "19.ts"]);
    // The playlist goes on far away.
    load(&mut player, edge + SECOND, plain(40, 50, ""));
    assert_eq!(fetch(&mut player, edge + SECOND), ["47.ts", "48.ts", "49.ts"]);
    // And another stream begins.
    load(&mut player, edge + 2 * SECOND, plain(0, 4, ""));
    assert_eq!(fetch(&mut player, edge + 2 * SECOND), ["1.ts", "2.ts", "3.ts"]);
    let report = player.report(edge + 2 * SECOND);
    assert_eq!((report.counts.missing, report.counts.jumps, report.stalls), (1, 2, 0), "{report:?}");
}

#[test]
fn a_recording_is_played_from_its_beginning_to_its_end() {
    let mut player = Player::new(1);
    load(&mut player, EPOCH, plain(0, 100, "#EXT-X-ENDLIST\n"));
    assert_eq!(player.reload(0), None);
    assert_eq!(fetch(&mut player, EPOCH).len(), 30, "no more than is held");
    assert!(matches!(player.next(0, EPOCH), Next::Wait(Some(until)) if until > EPOCH));
    for n in 1..=100 {
        fetch(&mut player, EPOCH + n * SECOND);
    }
    assert_eq!(player.next(0, EPOCH + 101 * SECOND), Next::End);
    let report = player.report(EPOCH + 200 * SECOND);
    assert_eq!((report.played, report.stalls, report.playing), (100 * SECOND, 0, false));
    assert!(report.latency.is_empty(), "a recording has no latency");
}

#[test]
fn gaps_are_not_asked_for() {
    let mut player = Player::new(1);
    let text = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1\na\n#EXT-X-GAP\n#EXTINF:1\nb\n#EXTINF:1\nc\n";
    load(&mut player, EPOCH, read(text));
    assert_eq!(fetch(&mut player, EPOCH), ["a", "c"]);
    assert_eq!(player.report(EPOCH).counts.gaps, 1);
}

/// Parts of a quarter of a second, four to a segment, up to so many parts.
fn low(parts: u64, hint: &str) -> Media {
    let first = (parts / 4).saturating_sub(4);
    let mut text = format!(
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXT-X-PART-INF:PART-TARGET=0.25\n#EXT-X-MEDIA-SEQUENCE:{first}\n\
         #EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=0.75\n\
         #EXT-X-MAP:URI=\"init.mp4\"\n#EXT-X-PROGRAM-DATE-TIME:1970-01-01T00:16:{:02}Z\n",
        40 + first
    );
    for part in first * 4..parts {
        let (segment, nth) = (part / 4, part % 4);
        let independent = if nth == 0 { ",INDEPENDENT=YES" } else { "" };
        text.push_str(&format!("#EXT-X-PART:DURATION=0.25,URI=\"{segment}.{nth}\"{independent}\n"));
        if nth == 3 {
            text.push_str(&format!("#EXTINF:1,\n{segment}.mp4\n"));
        }
    }
    if !hint.is_empty() {
        text.push_str(&format!("#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"{hint}\"\n"));
    }
    read(&text)
}

#[test]
fn parts_are_played_from_an_independent_one_and_the_server_is_asked_to_hold_back() {
    let (mut player, edge) = (Player::new(1), EPOCH + 4 * SECOND + SECOND / 2);
    load(&mut player, edge, low(18, ""));
    assert_eq!(player.reload(0), Some(Reload { at: 0, block: Some((4, Some(2))) }));
    let Next::Get(item) = player.next(0, edge) else { panic!() };
    assert_eq!((item.what, item.resource.uri.as_str()), (What::Part, "3.0"));
    assert_eq!(item.map.as_ref().unwrap().uri, "init.mp4");
    assert_eq!(fetch(&mut player, edge), ["3.0", "3.1", "3.2", "3.3", "4.0", "4.1"]);
    let later = edge + SECOND / 2;
    load(&mut player, later, low(20, ""));
    assert_eq!(player.reload(0).unwrap().block, Some((5, Some(0))));
    let Next::Get(item) = player.next(0, later) else { panic!() };
    assert_eq!((item.map, item.resource.uri.as_str()), (None, "4.2"), "what comes before all is read once");
    // An answer that brings nothing new is not asked for again at once.
    load(&mut player, later, low(20, ""));
    assert_eq!(player.reload(0).unwrap().at, later + SECOND / 8);
    player.do_not_block(0);
    assert_eq!(player.reload(0).unwrap().block, None);
    let report = player.report(later);
    assert_eq!((report.counts.parts, report.counts.unchanged, report.counts.segments), (6, 1, 0));
    assert_eq!((report.latency.len(), millis(report.latency.max())), (3, 1_500));
}

#[test]
fn an_announced_part_counts_once_it_is_listed() {
    let (mut player, edge) = (Player::new(1), EPOCH + 5 * SECOND);
    load(&mut player, edge, low(20, "5.0"));
    let fetched = fetch(&mut player, edge);
    assert_eq!((fetched.first().unwrap().as_str(), fetched.last().unwrap().as_str()), ("4.0", "5.0"));
    assert_eq!(player.report(edge).counts.parts, 4, "its length is not known yet");
    assert_eq!(player.next(0, edge), Next::Wait(None));
    load(&mut player, edge + SECOND / 4, low(21, "5.1"));
    let report = player.report(edge + SECOND / 4);
    assert_eq!((report.counts.parts, report.counts.edge.len(), report.counts.hints_wasted), (5, 1, 0));
    // One that is refused is not asked for again before it is listed.
    let Next::Get(item) = player.next(0, edge + SECOND / 4) else { panic!() };
    assert_eq!((item.what, item.resource.uri.as_str()), (What::Hint, "5.1"));
    player.missed(0, &item, edge + SECOND / 4);
    assert_eq!(player.next(0, edge + SECOND / 4), Next::Wait(None));
    load(&mut player, edge + SECOND / 2, low(22, "strange"));
    assert_eq!(fetch(&mut player, edge + SECOND / 2), ["5.1", "strange"]);
    load(&mut player, edge + SECOND * 3 / 4, low(23, ""));
    assert_eq!(fetch(&mut player, edge + SECOND * 3 / 4), ["5.2"]);
    let report = player.report(edge + SECOND * 3 / 4);
    assert_eq!((report.counts.hints_wasted, report.counts.missing, report.counts.parts), (1, 0, 7));
}

#[test]
fn sound_that_is_apart_holds_the_pictures_up() {
    let (mut player, edge) = (Player::new(2), EPOCH + 20 * SECOND);
    load(&mut player, edge, plain(10, 20, ""));
    fetch(&mut player, edge);
    assert!(!player.report(edge).playing && !player.loaded(), "without its sound nothing is played");
    player.read(1, edge, edge, Arc::from("http://h/a.m3u8"), plain(10, 20, ""));
    let Next::Get(item) = player.next(1, edge) else { panic!() };
    player.arrived(1, &item, edge);
    let report = player.report(edge + 3 * SECOND);
    assert_eq!((report.played, report.stalls, report.stalled), (SECOND, 1, 2 * SECOND));
}
