//! Whether the other end of a link still needs it.

use std::collections::HashSet;

use freshet_cluster::RoomId;
use freshet_relay_proto::control::Control;

/// Rooms of one peer that are remembered. A node has fewer.
const ROOMS_MAX: usize = 100_000;

/// Follows the frames that come by a link.
#[derive(Debug, Default)]
pub struct Neighbour {
    joined: HashSet<RoomId>,
}

impl Neighbour {
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

    /// It has joined rooms here that it has not left.
    pub fn is_needed(&self) -> bool {
        !self.joined.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use freshet_cluster::Epoch;

    #[test]
    fn a_link_is_needed_while_rooms_are_joined() {
        let mut neighbour = Neighbour::default();
        let room: RoomId = "r".parse().unwrap();
        assert!(!neighbour.is_needed());
        neighbour.handle_received(&Control::RoomJoin { room: room.clone(), epoch: Epoch(1) });
        assert!(neighbour.is_needed());
        neighbour.handle_received(&Control::RoomLeave { room });
        assert!(!neighbour.is_needed());
    }
}
