//! What a run found: for machines, for people, and the bounds that judge it. Pure.

mod agents;
mod around;
mod beside;
mod bounds;
mod chat;
mod chief;
mod compare;
mod decode;
mod hls;
mod html;
mod markdown;
mod metric;
mod model;
mod percentiles;
mod plot;
#[cfg(test)]
mod sample;
mod standing;
mod table;
pub(crate) mod text;
mod thin;
mod viewer;
#[cfg(test)]
mod well_formed;

pub use bounds::{Bound, BoundError};
pub use chat::{ChatReport, ChatSecond};
pub use compare::{Change, Compared, Comparison, OtherSchema, Row, compare};
pub use decode::DecodeReport;
pub use hls::{HlsReport, HlsSecond};
pub use html::html;
pub use markdown::markdown;
pub use model::{
    AgentReport, Bars, ClientReport, Figures, Happening, JoinReport, LossReport, ModeReport, PacketReport,
    PublishersReport, ReconnectsReport, RunReport, SCHEMA, Second, ServerReport, ServerSecond, TargetReport,
    Verdict, ViewersReport,
};
pub use percentiles::Percentiles;
pub use table::table;
pub(crate) use thin::merge;
pub(crate) use viewer::ROWS;
pub use viewer::{ViewerRow, csv, worst};
