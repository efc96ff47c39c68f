//! WHIP and WHEP clients: HTTP as RFC 9725 and the WHEP draft want it, WebRTC by str0m in RTP mode.

mod drive;
mod error;
mod handle;
mod headers;
mod holes;
mod http;
mod negotiate;
mod page;
mod receive;
mod resource;
mod rtc;
mod rtcp;
mod sampled;
mod sdp;
mod section;
mod send;
mod srtp;
mod target;
mod transport;
mod trust;
mod viewing;
mod whep;
mod whip;

pub use drive::{EndReason, SessionState};
pub use error::{ClientError, Problem};
pub use headers::{IceServer, ice_servers};
pub use http::{HttpResponse, call};
pub use negotiate::Negotiated;
pub use page::Page;
pub use resource::{PatchOutcome, SessionResource};
pub use send::{PublisherStats, TrackSent};
pub use target::{check_url, resolve_reference};
pub use trust::Trust;
pub use viewing::{Depth, Loss, PacketHook, ReceivedPacket, ViewerConfig};
pub use whep::{Viewer, ViewerReport};
pub use whip::{Publisher, PublisherConfig};
