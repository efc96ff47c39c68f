//! Frames from other nodes.

use std::collections::{BTreeMap, BTreeSet};

use freshet_cluster::unit::UnixMillis;
use freshet_relay_proto::code::RefuseCode;
use freshet_relay_proto::control::{Announce, Control};

use super::{Agent, Lane, Link, Output, RemoteStream, Source, Stream, StreamKey};

/// Streams that one peer may announce on one link; more are refused.
const ALIASES_MAX: usize = 10_000;

impl Agent {
    /// A frame came by a link. Frames that concern only the link itself (Ping, Stats) end there.
    pub fn handle_frame(&mut self, link: Link, frame: Control) {
        match frame {
            Control::RoomJoin { room, .. } => {
                let Some(peer) = self.peers.get_mut(&link) else { return };
                peer.joined.insert(room.clone());
                let ids: Vec<_> = self.streams.keys().filter(|(r, _)| *r == room).cloned().collect();
                for id in ids {
                    self.announce(&id);
                }
            }
            Control::RoomLeave { room } => self.left(link, &room),
            Control::Announce(announce) => self.announced(link, announce),
            Control::Withdraw { room, stream, generation, reason } => {
                let id = (room, stream);
                let from_there = |s: &Stream| {
                    s.generation == generation
                        && matches!(s.source, Source::Remote { link: from, .. } if from == link)
                };
                if self.streams.get(&id).is_some_and(from_there) {
                    self.remove_stream(&id, reason);
                }
                if let Some(peer) = self.peers.get_mut(&link) {
                    peer.aliases.retain(|_, (r, s, g)| !(*r == id.0 && *s == id.1 && *g == generation));
                }
            }
            Control::Subscribe { alias, track, layer, from } => {
                self.subscribed(link, alias, (track, layer), from)
            }
            Control::Unsubscribe { alias, track, layer } => self.unwant_link(link, alias, (track, layer)),
            Control::KeyframeRequest { alias, track, layer } => {
                if let Some(id) = self.by_alias(alias)
                    && let Some(stream) = self.streams.get(&id)
                {
                    self.out.push_back(Output::Keyframe(stream.key(&id), (track, layer)));
                }
            }
            Control::Layers { alias, rates } => {
                let of = self.peers.get(&link).and_then(|peer| peer.aliases.get(&alias)).cloned();
                let Some((room, stream, _)) = of else { return };
                let id = (room, stream);
                let by_it = |s: &Stream| s.source == Source::Remote { link, alias };
                if self.streams.get(&id).is_some_and(by_it) {
                    self.note_rates(&id, &rates);
                }
            }
            // The other end knows the stream that we asked for no more: it has said so, or says so by a withdrawal. The
            // alias is its own, and may be another stream's of ours.
            Control::Refuse { code: RefuseCode::UnknownAlias, .. } => {}
            Control::Refuse { alias, .. } => {
                // The other end will not take this stream from us: it has a better one, or we are in its path.
                if let Some(id) = self.by_alias(alias) {
                    let lanes: Vec<_> =
                        self.streams.get(&id).map(|s| s.wants.keys().copied().collect()).unwrap_or_default();
                    for lane in lanes {
                        self.unwant_link(link, alias, lane);
                    }
                }
            }
            _ => {}
        }
    }

    fn subscribed(&mut self, link: Link, alias: u32, lane: Lane, from: Option<u64>) {
        if !self.want_link(link, alias, lane, from) {
            self.refuse(link, alias, RefuseCode::UnknownAlias);
        }
    }

    fn left(&mut self, link: Link, room: &freshet_cluster::RoomId) {
        let Some(peer) = self.peers.get_mut(&link) else { return };
        peer.joined.remove(room);
        let ids: Vec<_> = self.streams.keys().filter(|(r, _)| r == room).cloned().collect();
        for id in ids {
            let Some(stream) = self.streams.get_mut(&id) else { continue };
            stream.told.remove(&link);
            let alias = stream.alias;
            let lanes: Vec<_> = stream.wants.keys().copied().collect();
            for lane in lanes {
                self.unwant_link(link, alias, lane);
            }
        }
    }

    fn refuse(&mut self, link: Link, alias: u32, code: RefuseCode) {
        self.out.push_back(Output::Send(link, Control::Refuse { alias, code }));
    }

    fn announced(&mut self, link: Link, announce: Announce) {
        let Announce { room, stream, generation, alias, .. } = &announce;
        let (alias, generation) = (*alias, *generation);
        let id = (room.clone(), stream.clone());
        let Some(peer) = self.peers.get_mut(&link) else { return };
        if !peer.sent.contains(room) || peer.aliases.len() >= ALIASES_MAX {
            self.refuse(link, alias, RefuseCode::NotJoined);
            return;
        }
        if announce.path.contains(&self.me) || announce.origin == self.me {
            self.loops = self.loops.saturating_add(1);
            self.refuse(link, alias, RefuseCode::Loop);
            return;
        }
        // A stream has one alias on a link: that of its newest announcement.
        peer.aliases.retain(|_, (r, s, _)| !(*r == id.0 && *s == id.1));
        peer.aliases.insert(alias, (id.0.clone(), id.1.clone(), generation));
        let known = self.streams.get(&id).map(|s| (s.generation, s.source.clone()));
        match known {
            Some((mine, _)) if mine > generation => {
                self.stale = self.stale.saturating_add(1);
                self.refuse(link, alias, RefuseCode::StaleGeneration);
            }
            Some((mine, source)) if mine == generation => match source {
                Source::Remote { link: from, .. } if from != link => {
                    self.refuse(link, alias, RefuseCode::Duplicate);
                }
                Source::Local { .. } => self.refuse(link, alias, RefuseCode::Duplicate),
                _ => self.adopt(link, announce),
            },
            Some((_, source)) => {
                if let Source::Local { session } = source {
                    let reason = freshet_cluster::room::EndReason::TakenOver;
                    self.out.push_back(Output::End(session, reason));
                }
                // Viewers keep their sessions: the newer generation replaces the older without a Down between.
                self.replace(link, announce);
            }
            None => self.replace(link, announce),
        }
    }

    /// The same generation from the same or a new link: tracks or the way have changed.
    fn adopt(&mut self, link: Link, announce: Announce) {
        let id = (announce.room.clone(), announce.stream.clone());
        let Some(stream) = self.streams.get_mut(&id) else { return };
        stream.tracks = announce.tracks;
        stream.path = announce.path;
        stream.source = Source::Remote { link, alias: announce.alias };
        stream.told.clear();
        let lanes: Vec<_> = stream.wants.keys().copied().collect();
        let up = stream.remote(&id, link, announce.alias);
        let rates: Vec<_> = stream.known_rates().collect();
        if !rates.is_empty() {
            let key = stream.key(&id);
            self.out.extend([Output::Up(up), Output::Layers(key, rates)]);
        } else {
            self.out.push_back(Output::Up(up));
        }
        for (track, layer) in lanes {
            let frame = Control::Subscribe { alias: announce.alias, track, layer, from: None };
            self.out.push_back(Output::Send(link, frame));
        }
        self.announce(&id);
    }

    fn replace(&mut self, link: Link, announce: Announce) {
        let id = (announce.room.clone(), announce.stream.clone());
        if let Some(old) = self.streams.remove(&id) {
            let key = old.key(&id);
            for (lane, want) in &old.wants {
                for to in &want.links {
                    self.out.push_back(Output::Unforward { key: key.clone(), lane: *lane, link: *to });
                }
            }
        }
        let alias = self.alias();
        let stream = Stream {
            generation: announce.generation,
            identity: announce.identity,
            started_at: UnixMillis(announce.started_at_ms),
            origin: announce.origin,
            origin_incarnation: announce.origin_incarnation,
            path: announce.path,
            tracks: announce.tracks,
            rates: BTreeMap::new(),
            source: Source::Remote { link, alias: announce.alias },
            alias,
            live: true,
            told: BTreeSet::new(),
            wants: BTreeMap::new(),
        };
        self.out.push_back(Output::Up(stream.remote(&id, link, announce.alias)));
        self.streams.insert(id.clone(), stream);
        self.announce(&id);
    }
}

impl Stream {
    fn remote(
        &self,
        id: &(freshet_cluster::RoomId, freshet_cluster::StreamId),
        link: Link,
        alias: u32,
    ) -> RemoteStream {
        RemoteStream {
            key: StreamKey { room: id.0.clone(), stream: id.1.clone(), generation: self.generation },
            identity: self.identity.clone(),
            started_at: self.started_at,
            tracks: self.tracks.clone(),
            link,
            alias,
        }
    }
}
