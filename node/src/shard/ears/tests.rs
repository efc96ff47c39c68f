//! Listeners of a real shard: what they read, and that nothing is left of them.

use std::time::Duration;

use freshet_cluster::SessionId;
use freshet_cluster::room::EndReason;
use freshet_edge::sse::{self, EventStream, KEEP_ALIVE};
use futures::{FutureExt as _, StreamExt as _};
use serde_json::{Value, json};
use str0m::media::MediaKind::{Audio, Video};

use super::roll::LOOK;
use super::*;
use crate::service::Choice;
use crate::service::Direction::{Publish, View};
use crate::sfu;
use crate::sfu::tests::world::World;

struct Stage {
    world: World,
    ears: Ears,
    frame: u32,
}

impl Stage {
    fn new() -> Self {
        let world = World::new();
        let ears = Ears::default();
        Self { world, ears, frame: 0 }
    }

    fn viewer(&mut self) -> SessionId {
        let viewer = self.world.join(View, &[Audio, Video]);
        self.world.clients[viewer].session
    }

    /// What a shard's turn does with the machine's events.
    fn turn(&mut self) {
        while let Some(event) = self.world.sfu.poll_event() {
            match event {
                sfu::Event::Viewing(session) => self.ears.changed(self.world.now, session),
                sfu::Event::Ended { session, .. } => self.ears.ended(session),
                _ => {}
            }
        }
        self.ears.turn(self.world.now, &mut self.world.sfu);
    }

    fn pass(&mut self, time: Duration) {
        self.world.pass(time);
        self.turn();
    }

    fn subscribe(&mut self, session: SessionId, wants: &[Kind]) -> Result<u32, SessionError> {
        self.ears.subscribe(self.world.now, &mut self.world.sfu, session, None, wants.to_vec())
    }

    fn read(&mut self, session: SessionId, stream: u32) -> Result<EventStream, SessionError> {
        let (reader, events) = sse::channel(4, KEEP_ALIVE);
        self.ears.read(self.world.now, &self.world.sfu, session, None, stream, reader).map(|()| events)
    }

    /// Frames of a publisher of two layers, and what is heard meanwhile.
    fn show(&mut self, publisher: usize, frames: u32, events: &mut EventStream) -> String {
        let mut text = String::new();
        for _ in 0..frames {
            for (name, packets, size) in [("l", 1, 300), ("h", 4, 1_000)] {
                let first = 1_000 + u64::from(self.frame) * packets;
                self.world.layer_frame(publisher, name, first, packets, self.frame * 3_000, size);
            }
            self.frame += 1;
            self.pass(Duration::from_micros(33_333));
            text.push_str(&heard(events).0);
        }
        text
    }
}

/// What can be read now, in one text; then whether the stream has ended.
pub(super) fn heard(events: &mut EventStream) -> (String, bool) {
    let mut text = String::new();
    loop {
        match events.next().now_or_never() {
            Some(Some(Ok(bytes))) => text.push_str(std::str::from_utf8(&bytes).unwrap()),
            Some(None) => return (text, true),
            None => return (text, false),
        }
    }
}

fn names(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.strip_prefix("event: ")).collect()
}

#[tokio::test]
async fn a_listener_reads_what_it_asked_for_until_the_session_ends() {
    let mut stage = Stage::new();
    let session = stage.viewer();
    let all = stage.subscribe(session, &Kind::ALL).unwrap();
    let ends = stage.subscribe(session, &[Kind::Inactive]).unwrap();
    assert_eq!(stage.subscribe(session, &Kind::ALL), Err(SessionError::TooManyStreams));
    let (mut all, mut ends) = (stage.read(session, all).unwrap(), stage.read(session, ends).unwrap());
    let publisher = stage.world.join(Publish, &[Audio, Video]);
    stage.world.claim(publisher, 1);
    stage.pass(Duration::from_millis(200));
    let began = "event: active\ndata: {}\n\nevent: layers\ndata: {}\n\n";
    assert_eq!(heard(&mut all), (began.to_owned(), false));
    let publishing = stage.world.clients[publisher].session;
    assert!(stage.world.sfu.end(stage.world.now, publishing, EndReason::Closed));
    stage.turn();
    for events in [&mut all, &mut ends] {
        assert_eq!(heard(events), ("event: inactive\ndata: {}\n\n".to_owned(), false));
    }
    assert!(stage.world.sfu.end(stage.world.now, session, EndReason::Closed));
    stage.turn();
    assert_eq!((heard(&mut all), heard(&mut ends)), ((String::new(), true), (String::new(), true)));
    assert_eq!((stage.ears.streams(), stage.ears.readers()), (0, 0));
    assert!(matches!(stage.subscribe(session, &Kind::ALL), Err(SessionError::NotFound { .. })));
    let publisher = stage.world.join(Publish, &[Audio, Video]);
    let publishing = stage.world.clients[publisher].session;
    assert_eq!(stage.subscribe(publishing, &Kind::ALL), Err(SessionError::NotAViewer));
}

#[tokio::test]
async fn layers_are_told_and_a_pick_shows_in_them() {
    let mut stage = Stage::new();
    let session = stage.viewer();
    let stream = stage.subscribe(session, &Kind::ALL).unwrap();
    let mut events = stage.read(session, stream).unwrap();
    let publisher = stage.world.join_layers(&["l", "h"]);
    stage.world.claim(publisher, 1);
    stage.pass(Duration::from_millis(200));
    let text = stage.show(publisher, 90, &mut events);
    let last = |text: &str| -> Option<Value> {
        let block = text.split("\n\n").filter(|block| block.starts_with("event: layers\n")).last()?;
        Some(serde_json::from_str(block.strip_prefix("event: layers\ndata: ")?).unwrap())
    };
    assert_eq!(names(&text)[..2], ["active", "layers"], "{text}");
    let told = last(&text).unwrap();
    let of = |told: &Value| -> Vec<(String, bool, bool)> {
        let layers = told["1"].as_array().expect("video is the second m-line");
        let of = |l: &Value| {
            let (rid, sent) = (l["rid"].as_str().unwrap(), l["bitrate"].as_u64().unwrap() > 0);
            (rid.to_owned(), sent, l["current"] == json!(true))
        };
        layers.iter().map(of).collect()
    };
    assert_eq!(of(&told), [("h".to_owned(), true, true), ("l".to_owned(), true, false)]);
    let low = Choice { rid: Some("l".to_owned()), max_temporal: None };
    stage.world.sfu.choose_layer(stage.world.now, session, None, None, low).unwrap();
    let text = stage.show(publisher, 30, &mut events);
    assert_eq!(of(&last(&text).unwrap()), [("h".to_owned(), true, false), ("l".to_owned(), true, true)]);
    stage.world.sfu.choose_layer(stage.world.now, session, None, None, Choice::default()).unwrap();
    let text = stage.show(publisher, 30, &mut events);
    assert_eq!(of(&last(&text).unwrap()), of(&told), "the best again");
}

#[tokio::test]
async fn a_reader_that_leaves_is_let_go_and_what_nobody_reads_is_forgotten() {
    let mut stage = Stage::new();
    let session = stage.viewer();
    let stream = stage.subscribe(session, &Kind::ALL).unwrap();
    let mut first = stage.read(session, stream).unwrap();
    let second = stage.read(session, stream).unwrap();
    assert_eq!(heard(&mut first), (String::new(), true), "one reads at a time, the last who came");
    assert_eq!((stage.ears.streams(), stage.ears.readers()), (1, 1));
    drop(second);
    // A session that nothing is heard of would end.
    let pass = |stage: &mut Stage, time: Duration| {
        stage.world.now += time;
        stage.ears.turn(stage.world.now, &mut stage.world.sfu);
    };
    pass(&mut stage, Duration::ZERO);
    assert_eq!(
        (stage.ears.streams(), stage.ears.readers()),
        (1, 0),
        "its connection's end is heard of at once"
    );
    pass(&mut stage, crate::audience::UNREAD);
    assert_eq!((stage.ears.streams(), stage.ears.readers()), (0, 0));
    assert!(matches!(stage.read(session, stream), Err(SessionError::NoSuchStream)));
    assert_eq!(
        stage.ears.unsubscribe(stage.world.now, &mut stage.world.sfu, session, None, stream),
        Err(SessionError::NoSuchStream)
    );
}

#[tokio::test]
async fn who_does_not_read_hears_how_it_is_at_the_end() {
    let mut stage = Stage::new();
    let session = stage.viewer();
    let stream = stage.subscribe(session, &[Kind::Active, Kind::Inactive]).unwrap();
    let mut events = stage.read(session, stream).unwrap();
    for generation in 1..=9 {
        let publisher = stage.world.join(Publish, &[Audio, Video]);
        stage.world.claim(publisher, generation);
        stage.pass(Duration::from_millis(200));
        if generation < 9 {
            let publishing = stage.world.clients[publisher].session;
            assert!(stage.world.sfu.end(stage.world.now, publishing, EndReason::Closed));
            stage.turn();
        }
    }
    let (first, _) = heard(&mut events);
    assert_eq!(names(&first), ["active", "inactive", "active", "inactive"], "as many as fit");
    stage.pass(LOOK);
    let (rest, ended) = heard(&mut events);
    assert_eq!((names(&rest), ended), (vec!["active", "inactive", "active"], false), "then the last turns");
}

#[tokio::test]
async fn strangers_neither_listen_nor_end_what_others_hear() {
    let mut stage = Stage::new();
    let session = stage.viewer();
    let stream = stage.subscribe(session, &Kind::ALL).unwrap();
    let stranger = "stranger".parse().unwrap();
    let who = Some(&stranger);
    let (now, sfu, ears) = (stage.world.now, &mut stage.world.sfu, &mut stage.ears);
    assert_eq!(ears.subscribe(now, sfu, session, who, Kind::ALL.to_vec()), Err(SessionError::NotYours));
    let (reader, _events) = sse::channel(4, KEEP_ALIVE);
    assert_eq!(ears.read(now, sfu, session, who, stream, reader), Err(SessionError::NotYours));
    assert_eq!(ears.unsubscribe(now, sfu, session, who, stream), Err(SessionError::NotYours));
    let me = "me".parse().unwrap();
    assert_eq!(ears.unsubscribe(now, sfu, session, Some(&me), stream), Ok(()));
    assert_eq!(ears.streams(), 0);
}

#[tokio::test]
async fn one_that_is_deleted_ends_for_its_reader_and_after_the_last_nothing_is_said_of_the_session() {
    let mut stage = Stage::new();
    let session = stage.viewer();
    let [one, two] = [(); 2].map(|()| stage.subscribe(session, &Kind::ALL).unwrap());
    let (mut first, mut second) = (stage.read(session, one).unwrap(), stage.read(session, two).unwrap());
    let Stage { world, ears, .. } = &mut stage;
    assert_eq!(ears.unsubscribe(world.now, &mut world.sfu, session, None, one), Ok(()));
    assert_eq!((heard(&mut first), heard(&mut second)), ((String::new(), true), (String::new(), false)));
    assert_eq!(ears.unsubscribe(world.now, &mut world.sfu, session, None, two), Ok(()));
    assert_eq!(heard(&mut second), (String::new(), true));
    let publisher = world.join(Publish, &[Audio, Video]);
    world.claim(publisher, 1);
    world.pass(Duration::from_millis(200));
    let mut said = std::iter::from_fn(|| world.sfu.poll_event());
    assert!(!said.any(|event| matches!(event, sfu::Event::Viewing(_))), "nobody listens any more");
}

#[tokio::test]
async fn when_all_are_due_at_once_packets_wait_for_some_of_them_only() {
    let mut stage = Stage::new();
    let sessions: Vec<SessionId> = (0..LOOKS + 6).map(|_| stage.viewer()).collect();
    sessions.iter().for_each(|session| assert!(stage.subscribe(*session, &Kind::ALL).is_ok()));
    sessions.iter().for_each(|session| stage.ears.changed(stage.world.now, *session));
    let mut looks = || {
        let before = stage.ears.roll.looked;
        stage.ears.turn(stage.world.now, &mut stage.world.sfu);
        let is_more = stage.ears.poll_timeout().is_some_and(|due| due <= stage.world.now);
        (stage.ears.roll.looked - before, is_more)
    };
    assert_eq!([looks(), looks(), looks()], [(LOOKS as u64, true), (6, false), (0, false)]);
}
