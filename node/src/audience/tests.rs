use freshet_relay_proto::track::MediaKind;

use super::*;
use crate::session::LayerView;

const ALL: [Kind; 4] = Kind::ALL;
const TURNS: [Kind; 2] = [Kind::Active, Kind::Inactive];

fn showing(active: bool, layers: &[(&str, u64, bool)]) -> Viewing {
    let layer = |(id, bitrate, current): &(&str, u64, bool)| LayerView {
        id: (*id).to_owned(),
        bitrate: *bitrate,
        current: *current,
    };
    let line = |index, kind, layers| Line { index, mid: format!("m{index}"), kind, layers, unplayable: None };
    let video = layers.iter().map(layer).collect();
    Viewing { active, lines: vec![line(0, MediaKind::Audio, Vec::new()), line(1, MediaKind::Video, video)] }
}

fn heard(audience: &mut Audience, now: Instant, stream: u32) -> Vec<&'static str> {
    std::iter::from_fn(|| audience.poll(now, stream)).map(|said| said.kind.name()).collect()
}

fn data(audience: &mut Audience, now: Instant, stream: u32) -> Option<String> {
    let said = audience.poll(now, stream)?;
    assert_eq!(said.kind, Kind::Layers);
    assert_eq!(audience.poll(now, stream), None, "told once");
    Some(said.data)
}

#[test]
fn beginnings_and_ends_are_told_and_silence_at_first_is_not() {
    let now = Instant::now();
    let mut audience = Audience::new(&showing(false, &[]));
    let stream = audience.subscribe(now, TURNS.to_vec()).unwrap();
    assert!(heard(&mut audience, now, stream).is_empty(), "no initial inactive");
    for _ in 0..3 {
        audience.handle_viewing(&showing(true, &[]));
        audience.handle_viewing(&showing(true, &[]));
        assert_eq!(heard(&mut audience, now, stream), ["active"]);
        audience.handle_viewing(&showing(false, &[]));
        assert_eq!(heard(&mut audience, now, stream), ["inactive"]);
    }
    let late = audience.subscribe(now, TURNS.to_vec()).unwrap();
    assert!(heard(&mut audience, now, late).is_empty(), "nor for who comes between two publishers");
    let mut live = Audience::new(&showing(true, &[]));
    let stream = live.subscribe(now, TURNS.to_vec()).unwrap();
    assert_eq!(heard(&mut live, now, stream), ["active"], "who comes later hears that there is something");
}

#[test]
fn only_what_was_asked_for_is_told() {
    let now = Instant::now();
    let mut audience = Audience::new(&showing(false, &[]));
    let ends = audience.subscribe(now, vec![Kind::Inactive]).unwrap();
    let begins = audience.subscribe(now, vec![Kind::Active]).unwrap();
    for active in [true, false, true] {
        audience.handle_viewing(&showing(active, &[("h", 1, true)]));
    }
    assert_eq!(heard(&mut audience, now, ends), ["inactive"]);
    assert_eq!(heard(&mut audience, now, begins), ["active", "active"]);
}

#[test]
fn who_does_not_keep_up_hears_how_it_is_and_never_more_than_the_last_turns() {
    let now = Instant::now();
    let mut audience = Audience::new(&showing(false, &[]));
    let slow = audience.subscribe(now, ALL.to_vec()).unwrap();
    for n in 0..1_000 {
        audience.handle_viewing(&showing(n % 2 == 0, &[("h", n, true)]));
    }
    assert_eq!(heard(&mut audience, now, slow), ["active", "inactive", "layers"]);
    for n in 0..7 {
        audience.handle_viewing(&showing(n % 2 == 0, &[("h", n, true)]));
    }
    assert_eq!(heard(&mut audience, now, slow), ["active", "inactive", "active", "layers"]);
}

#[test]
fn layers_are_told_as_the_draft_writes_them_when_they_change() {
    let now = Instant::now();
    let mut audience = Audience::new(&showing(false, &[]));
    let stream = audience.subscribe(now, vec![Kind::Layers]).unwrap();
    assert_eq!(data(&mut audience, now, stream), None, "nothing is there");
    audience.handle_viewing(&showing(true, &[]));
    assert_eq!(data(&mut audience, now, stream).as_deref(), Some("{}"), "nothing to choose from");
    audience.handle_viewing(&showing(true, &[("h", 1_000, true), ("l", 0, false)]));
    let said = data(&mut audience, now, stream).unwrap();
    assert!(!said.contains(['\n', '\r']), "one data line");
    let said: Value = serde_json::from_str(&said).unwrap();
    let wanted = json!({"1": [
        {"rid": "h", "bitrate": 1_000, "current": true},
        {"rid": "l", "bitrate": 0, "current": false},
    ]});
    assert_eq!(said, wanted, "by the m-line's number, sound left out");
    audience.handle_viewing(&showing(true, &[("h", 1_000, true), ("l", 0, false)]));
    assert_eq!(data(&mut audience, now, stream), None, "nothing new");
    audience.handle_viewing(&showing(false, &[]));
    assert_eq!(data(&mut audience, now, stream).as_deref(), Some("{}"), "nothing to choose from any more");
}

#[test]
fn rates_alone_wait_a_second_and_a_change_of_layers_does_not() {
    let mut now = Instant::now();
    let mut audience = Audience::new(&showing(true, &[("h", 1_000, true), ("l", 100, false)]));
    let stream = audience.subscribe(now, vec![Kind::Layers]).unwrap();
    assert!(data(&mut audience, now, stream).is_some());
    audience.handle_viewing(&showing(true, &[("h", 1_001, true), ("l", 100, false)]));
    now += RATES_EVERY - Duration::from_millis(1);
    assert_eq!(data(&mut audience, now, stream), None);
    now += Duration::from_millis(1);
    assert!(data(&mut audience, now, stream).unwrap().contains("1001"));
    audience.handle_viewing(&showing(true, &[("h", 1_001, false), ("l", 100, true)]));
    assert!(data(&mut audience, now, stream).is_some(), "a switch");
    audience.handle_viewing(&showing(true, &[("h", 0, false), ("l", 100, true)]));
    assert!(data(&mut audience, now, stream).is_some(), "one is not sent any more");
}

#[test]
fn who_comes_back_to_a_stream_hears_the_present_again() {
    let now = Instant::now();
    let mut audience = Audience::new(&showing(false, &[]));
    let stream = audience.subscribe(now, ALL.to_vec()).unwrap();
    assert!(audience.handle_opened(stream));
    assert!(heard(&mut audience, now, stream).is_empty());
    audience.handle_closed(now, stream);
    assert!(audience.handle_opened(stream));
    assert!(heard(&mut audience, now, stream).is_empty(), "still no initial inactive");
    audience.handle_viewing(&showing(true, &[("h", 1, true)]));
    assert_eq!(heard(&mut audience, now, stream), ["active", "layers"]);
    assert!(audience.handle_opened(stream));
    assert_eq!(heard(&mut audience, now, stream), ["active", "layers"], "they may have been lost");
    audience.handle_closed(now, stream);
    audience.handle_viewing(&showing(false, &[]));
    assert!(audience.handle_opened(stream));
    assert_eq!(heard(&mut audience, now, stream), ["inactive", "layers"]);
    assert!(audience.handle_opened(stream));
    assert_eq!(heard(&mut audience, now, stream), ["inactive", "layers"]);
}

#[test]
fn streams_are_few_and_what_nobody_reads_is_forgotten() {
    let mut now = Instant::now();
    let mut audience = Audience::new(&showing(false, &[]));
    let streams: Vec<u32> =
        (0..STREAMS_MAX).map(|_| audience.subscribe(now, ALL.to_vec()).unwrap()).collect();
    assert_eq!(audience.subscribe(now, ALL.to_vec()), Err(TooMany));
    assert!(audience.unsubscribe(streams[0]));
    assert!(!audience.unsubscribe(streams[0]) && !audience.handle_opened(streams[0]));
    let again = audience.subscribe(now, ALL.to_vec()).unwrap();
    assert!(!streams.contains(&again), "a name is not used twice");
    assert!(audience.handle_opened(again));
    now += UNREAD;
    assert!(audience.subscribe(now, ALL.to_vec()).is_ok(), "the one that nobody read has made room");
    assert!(!audience.handle_opened(streams[1]));
    audience.handle_timeout(now + UNREAD);
    assert!(!audience.is_empty() && audience.handle_opened(again), "one that is read stays");
    audience.handle_closed(now, again);
    audience.handle_closed(now + UNREAD, again);
    audience.handle_timeout(now + UNREAD);
    assert!(audience.is_empty());
}

#[test]
fn it_says_when_time_alone_changes_something() {
    let start = Instant::now();
    let mut audience = Audience::new(&showing(true, &[("h", 1_000, true)]));
    assert_eq!(audience.poll_timeout(), None);
    let stream = audience.subscribe(start, ALL.to_vec()).unwrap();
    let other = audience.subscribe(start, TURNS.to_vec()).unwrap();
    assert_eq!(audience.poll_timeout(), Some(start + UNREAD), "nobody reads them");
    let now = start + Duration::from_secs(1);
    assert!(audience.handle_opened(stream) && audience.handle_opened(other));
    let all = [heard(&mut audience, now, stream), heard(&mut audience, now, other)];
    assert_eq!((all, audience.poll_timeout()), ([vec!["active", "layers"], vec!["active"]], None));
    audience.handle_viewing(&showing(true, &[("h", 1_001, true)]));
    assert_eq!(heard(&mut audience, now, stream), [""; 0]);
    assert_eq!(audience.poll_timeout(), Some(now + RATES_EVERY), "rates wait, for who wants them");
    assert_eq!(heard(&mut audience, now + RATES_EVERY, stream), ["layers"]);
    assert_eq!(audience.poll_timeout(), None);
    audience.handle_closed(now, other);
    assert_eq!(audience.poll_timeout(), Some(now + UNREAD));
    audience.clear();
    assert_eq!((audience.len(), audience.poll_timeout()), (0, None));
}

#[test]
fn a_codec_that_was_not_negotiated_is_told_until_it_has_gone() {
    let now = Instant::now();
    let mut audience = Audience::new(&showing(true, &[]));
    let stream = audience.subscribe(now, vec![Kind::Unplayable]).unwrap();
    let told = |audience: &mut Audience, codec: Option<&str>| {
        let mut viewing = showing(true, &[]);
        viewing.lines[1].unplayable = codec.map(str::to_owned);
        audience.handle_viewing(&viewing);
        let said = audience.poll(now, stream);
        assert_eq!(audience.poll(now, stream), None, "told once");
        said.map(|said| (said.kind.name(), said.data))
    };
    assert_eq!(told(&mut audience, None), None, "all is well at first");
    let vp9 = Some(("unplayable", r#"{"1":"VP9"}"#.to_owned()));
    assert_eq!(told(&mut audience, Some("VP9")), vp9);
    assert_eq!(told(&mut audience, Some("VP9")), None);
    audience.handle_closed(now, stream);
    assert!(audience.handle_opened(stream));
    assert_eq!(told(&mut audience, Some("VP9")), vp9, "who comes back is told the present");
    assert_eq!(told(&mut audience, None), Some(("unplayable", "{}".to_owned())));
    assert!(audience.handle_opened(stream));
    assert_eq!(told(&mut audience, None), None);
    let other = audience.subscribe(now, vec![Kind::Layers]).unwrap();
    told(&mut audience, Some("AV1"));
    assert_eq!(
        audience.poll(now, other).map(|said| said.kind),
        Some(Kind::Layers),
        "only what was asked for"
    );
    assert_eq!(audience.poll(now, other), None);
}
