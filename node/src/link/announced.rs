//! What passed over a link, as far as the link itself must know: which tracks are audio, and who still needs it.

use std::collections::{HashMap, HashSet};

use freshet_cluster::{RoomId, StreamId};
use freshet_relay_proto::control::Control;
use freshet_relay_proto::track::MediaKind;

/// Rooms of one peer that are remembered. A node has fewer.
const ROOMS_MAX: usize = 100_000;

/// Follows the frames of a link.
#[derive(Debug, Default)]
pub struct Announced {
    aliases: HashMap<(RoomId, StreamId), u32>,
    kinds: HashMap<u32, Vec<(u8, MediaKind)>>,
    joined: HashSet<RoomId>,
}

impl Announced {
    /// A frame goes out.
    pub fn handle_sent(&mut self, frame: &Control) {
        match frame {
            Control::Announce(announce) => {
                let id = (announce.room.clone(), announce.stream.clone());
                if let Some(older) = self.aliases.insert(id, announce.alias)
                    && older != announce.alias
                {
                    self.kinds.remove(&older);
                }
                let kinds = announce.tracks.iter().map(|t| (t.id, t.kind)).collect();
                self.kinds.insert(announce.alias, kinds);
            }
            Control::Withdraw { room, stream, .. } => {
                if let Some(alias) = self.aliases.remove(&(room.clone(), stream.clone())) {
                    self.kinds.remove(&alias);
                }
            }
            _ => {}
        }
    }

    /// A frame came.
    pub fn handle_received(&mut self, frame: &Control) {
        match frame {
            Control::RoomJoin { room, .. } if self.joined.len() < ROOMS_MAX => {
                self.joined.insert(room.clone());
            }
            Control::RoomLeave { room } => {
                self.joined.remove(room);
            }
            _ => {}
        }
    }

    /// What a track of ours is. One that was not announced counts as video: it is dropped first.
    pub fn kind(&self, alias: u32, track: u8) -> MediaKind {
        let tracks = self.kinds.get(&alias);
        let found = tracks.and_then(|tracks| tracks.iter().find(|(id, _)| *id == track));
        found.map_or(MediaKind::Video, |(_, kind)| *kind)
    }

    /// The other end has joined rooms here that it has not left.
    pub fn is_needed(&self) -> bool {
        !self.joined.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use freshet_cluster::room::EndReason;
    use freshet_cluster::{Epoch, Generation, Incarnation};
    use freshet_relay_proto::control::Announce;
    use freshet_relay_proto::track::TrackInfo;

    fn announce(alias: u32, generation: u64, kinds: &[MediaKind]) -> Control {
        let track = |(id, kind): (usize, &MediaKind)| TrackInfo {
            id: u8::try_from(id).unwrap(),
            kind: *kind,
            codecs: Vec::new(),
            layers: Vec::new(),
        };
        Control::Announce(Announce {
            room: "r".parse().unwrap(),
            stream: "s".parse().unwrap(),
            generation: Generation(generation),
            alias,
            origin: "a".parse().unwrap(),
            origin_incarnation: Incarnation::from_bits(1),
            path: Vec::new(),
            identity: "i".parse().unwrap(),
            started_at_ms: 0,
            tracks: kinds.iter().enumerate().map(track).collect(),
        })
    }

    #[test]
    fn kinds_are_known_while_a_stream_is_announced() {
        let mut announced = Announced::default();
        announced.handle_sent(&announce(7, 1, &[MediaKind::Audio, MediaKind::Video]));
        assert_eq!(announced.kind(7, 0), MediaKind::Audio);
        assert_eq!(announced.kind(7, 1), MediaKind::Video);
        assert_eq!(announced.kind(7, 2), MediaKind::Video);
        announced.handle_sent(&announce(8, 2, &[MediaKind::Audio]));
        assert_eq!(announced.kind(8, 0), MediaKind::Audio);
        assert_eq!(announced.kinds.len(), 1, "the older generation's alias is forgotten");
        let (room, stream) = ("r".parse().unwrap(), "s".parse().unwrap());
        let reason = EndReason::Closed;
        announced.handle_sent(&Control::Withdraw { room, stream, generation: Generation(2), reason });
        assert!(announced.kinds.is_empty() && announced.aliases.is_empty());
    }

    #[test]
    fn a_link_is_needed_while_rooms_are_joined() {
        let mut announced = Announced::default();
        let room: RoomId = "r".parse().unwrap();
        assert!(!announced.is_needed());
        announced.handle_received(&Control::RoomJoin { room: room.clone(), epoch: Epoch(1) });
        assert!(announced.is_needed());
        announced.handle_received(&Control::RoomLeave { room });
        assert!(!announced.is_needed());
    }
}
