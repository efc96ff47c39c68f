//! What a shard says of what its viewers are shown.

use std::time::Duration;

use freshet_cluster::SessionId;
use freshet_cluster::room::EndReason;
use freshet_relay_proto::track::MediaKind;
use str0m::media::MediaKind::{Audio, Video};

use super::world::World;
use crate::service::Direction::{Publish, View};
use crate::session::{Choice, SessionError};
use crate::sfu::Event;

/// Sessions of which a change was said, and whether they show something now.
fn said(world: &mut World) -> Vec<(SessionId, Option<bool>)> {
    let mut said = Vec::new();
    while let Some(event) = world.sfu.poll_event() {
        if let Event::Viewing(session) = event {
            said.push((session, world.sfu.viewing(session).map(|viewing| viewing.active)));
        }
    }
    said
}

#[test]
fn who_listens_hears_when_what_it_watches_begins_and_ends() {
    let mut world = World::new();
    let viewer = world.join(View, &[Audio, Video]);
    let deaf = world.join(View, &[Audio, Video]);
    let session = world.clients[viewer].session;
    world.sfu.listen(session, true);
    assert_eq!(world.sfu.viewing(session).map(|viewing| viewing.active), Some(false));
    let publisher = world.join(Publish, &[Audio, Video]);
    world.claim(publisher, 1);
    assert_eq!(said(&mut world), [], "claimed, but no media flows yet");
    world.pass(Duration::from_millis(200));
    assert_eq!(said(&mut world), [(session, Some(true))]);
    let publishing = world.clients[publisher].session;
    assert!(world.sfu.end(world.now, publishing, EndReason::Closed));
    let ended = said(&mut world);
    assert!(!ended.is_empty() && ended.iter().all(|one| *one == (session, Some(false))), "{ended:?}");
    assert_eq!(world.sfu.viewing(publishing), None);
    world.sfu.listen(session, false);
    let again = world.join(Publish, &[Audio, Video]);
    world.claim(again, 2);
    world.pass(Duration::from_millis(200));
    assert_eq!(said(&mut world), [], "nobody listens any more");
    assert!(world.sfu.viewing(world.clients[deaf].session).is_some_and(|viewing| viewing.active));
    assert!(world.sfu.end(world.now, session, EndReason::Closed));
    assert_eq!(world.sfu.viewing(session), None);
}

#[test]
fn lines_are_named_as_the_sdp_names_them_and_a_layer_that_is_not_there_is_refused() {
    let mut world = World::new();
    let viewer = world.join(View, &[Audio, Video]);
    let session = world.clients[viewer].session;
    let lines = world.sfu.viewing(session).unwrap().lines;
    let mids: Vec<String> = world.clients[viewer].mids.iter().map(|(_, mid)| mid.to_string()).collect();
    let found: Vec<_> = lines.iter().map(|line| (line.index, line.kind, line.mid.clone())).collect();
    assert_eq!(found, [(0, MediaKind::Audio, mids[0].clone()), (1, MediaKind::Video, mids[1].clone())]);
    let mut choose = |mid: Option<&str>, choice| {
        let who = "me".parse().unwrap();
        world.sfu.choose_layer(world.now, session, Some(&who), mid, choice)
    };
    assert_eq!(choose(None, Choice::default()), Ok(()));
    assert_eq!(choose(Some(&mids[1]), Choice::default()), Ok(()));
    let missing = |result| matches!(result, Err(SessionError::NoSuchLayer(_)));
    assert!(missing(choose(Some(&mids[0]), Choice::default())), "sound has no layers");
    assert!(missing(choose(None, Choice { rid: Some("h".into()), max_temporal: None })));
    let stranger = "another".parse().unwrap();
    let chosen = world.sfu.choose_layer(world.now, session, Some(&stranger), None, Choice::default());
    assert_eq!(chosen, Err(SessionError::NotYours));
}

#[test]
fn why_a_session_ended_is_known_before_its_client_or_anyone_else_hears_of_the_end() {
    let mut world = World::new();
    let publisher = world.join(Publish, &[Audio, Video]);
    let leaving = world.join(View, &[Audio, Video]);
    let [taken, left] = [publisher, leaving].map(|client| world.clients[client].session);
    let why = |world: &World, session| world.sfu.look(session, None).unwrap_err();
    assert!(world.sfu.end(world.now, taken, EndReason::TakenOver));
    // Neither the DTLS close nor the event has left the machine.
    assert_eq!(why(&world, taken), SessionError::NotFound { reason: Some(EndReason::TakenOver) });
    assert!(world.sfu.end(world.now, left, EndReason::IceTimeout));
    world.pass(Duration::from_millis(300));
    assert_eq!(why(&world, left), SessionError::NotFound { reason: Some(EndReason::IceTimeout) });
    assert_eq!(why(&world, SessionId::from_bits(7)), SessionError::NotFound { reason: None });
}
