//! What a relay says.

use freshet_cluster::{Incarnation, NodeId};
use freshet_relay_proto::control::Control;

use super::handle::LinkHandle;
use super::types::{Ended, LinkId};

/// What happens on links.
#[derive(Debug)]
pub enum RelayEvent {
    /// Both ends have said who they are and agree.
    Up(LinkHandle),
    /// A frame for the agent.
    Control {
        /// By which link.
        link: LinkId,
        /// What.
        frame: Control,
    },
    /// A link is over. Nothing follows of it.
    Down {
        /// Which.
        link: LinkId,
        /// With whom it was.
        peer: NodeId,
        /// Which start of it.
        incarnation: Incarnation,
        /// Why.
        reason: Ended,
    },
}
