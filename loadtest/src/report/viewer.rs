//! What each viewer saw: a row for each of its sessions.

use serde::{Deserialize, Serialize};

/// Rows that one process keeps; of an audience that comes and goes there may be any number.
pub(crate) const ROWS: usize = 50_000;
/// Those who had it worst, as far as a page names them.
const WORST: usize = 10;

/// One session of a viewer, or that there was none.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ViewerRow {
    /// The viewer's place in the audience, from 0.
    pub viewer: u64,
    /// The number of the publisher that it watched, from 0.
    pub room: u64,
    /// When it was due, from when the first join was; for who joined again when it had last seen something.
    pub due_s: f64,
    /// It had lost a session before.
    pub again: bool,
    /// It decrypted every packet; who counts by headers has no latency.
    pub whole: bool,
    /// Its media came by a TURN server.
    pub relayed: bool,
    /// How often the server asked it to come later.
    pub put_off: u64,
    /// From when it was due to the SDP answer.
    pub answered_ms: Option<f64>,
    /// To a working ICE pair.
    pub ice_ms: Option<f64>,
    /// To SRTP keys.
    pub connected_ms: Option<f64>,
    /// To the first packet.
    pub first_packet_ms: Option<f64>,
    /// To the first packet of the first keyframe.
    pub first_keyframe_ms: Option<f64>,
    /// Different packets that came.
    pub received: u64,
    /// Payload bytes of them.
    pub bytes: u64,
    /// Packets that never came.
    pub lost: u64,
    /// Packets that did not come by first transmission.
    pub lost_before_recovery: u64,
    /// Packets that came more than once.
    pub duplicates: u64,
    /// Packets that came behind one with a higher number.
    pub overtaken: u64,
    /// Packets whose RTP numbers contradict the order of capture.
    pub out_of_order: u64,
    /// Payloads that are not what was sent.
    pub mismatched: u64,
    /// From capture to arrival, on average.
    pub latency_mean_ms: Option<f64>,
    /// The longest of these.
    pub latency_max_ms: Option<f64>,
    /// By how much longer the picture took than the sound, on average.
    pub video_behind_ms: Option<f64>,
    /// The longest that a track stood still.
    pub longest_gap_ms: f64,
    /// Gaps of its video of more than 200 ms.
    pub freezes: u64,
    /// How long these were together.
    pub frozen_ms: f64,
    /// Why it has no session, or none any more; empty where it had one to its end.
    pub ended: String,
}

/// Those who had it worst, the worst first; none of those who had nothing to complain of.
pub fn worst(rows: &[ViewerRow]) -> Vec<ViewerRow> {
    let bad = |row: &&ViewerRow| row.freezes > 0 || row.lost > 0 || !row.ended.is_empty();
    let mut worst: Vec<&ViewerRow> = rows.iter().filter(bad).collect();
    // Who saw nothing at all comes before who saw a picture that stood still, and that one before who missed packets.
    worst.sort_by(|one, other| {
        let something = |row: &ViewerRow| row.received > 0;
        something(one)
            .cmp(&something(other))
            .then(other.frozen_ms.total_cmp(&one.frozen_ms))
            .then(other.lost.cmp(&one.lost))
            .then(other.longest_gap_ms.total_cmp(&one.longest_gap_ms))
            .then(one.viewer.cmp(&other.viewer))
    });
    worst.into_iter().take(WORST).cloned().collect()
}

/// Rows as a table for other programs (RFC 4180); its columns have the names of [`ViewerRow`]'s members.
pub fn csv(rows: &[ViewerRow]) -> String {
    let mut out = cells(&ViewerRow::default()).map(|(name, _)| name).join(",");
    out.push_str("\r\n");
    for row in rows {
        out.push_str(&cells(row).map(|(_, value)| value).join(","));
        out.push_str("\r\n");
    }
    out
}

fn cells(row: &ViewerRow) -> [(&'static str, String); 27] {
    // Every member is named, so that a new one cannot be forgotten.
    let ViewerRow {
        viewer,
        room,
        due_s,
        again,
        whole,
        relayed,
        put_off,
        answered_ms,
        ice_ms,
        connected_ms,
        first_packet_ms,
        first_keyframe_ms,
        received,
        bytes,
        lost,
        lost_before_recovery,
        duplicates,
        overtaken,
        out_of_order,
        mismatched,
        latency_mean_ms,
        latency_max_ms,
        video_behind_ms,
        longest_gap_ms,
        freezes,
        frozen_ms,
        ended,
    } = row;
    let time = |ms: &Option<f64>| ms.map_or_else(String::new, |ms| format!("{ms:.3}"));
    [
        ("viewer", viewer.to_string()),
        ("room", room.to_string()),
        ("due_s", format!("{due_s:.3}")),
        ("again", again.to_string()),
        ("whole", whole.to_string()),
        ("relayed", relayed.to_string()),
        ("put_off", put_off.to_string()),
        ("answered_ms", time(answered_ms)),
        ("ice_ms", time(ice_ms)),
        ("connected_ms", time(connected_ms)),
        ("first_packet_ms", time(first_packet_ms)),
        ("first_keyframe_ms", time(first_keyframe_ms)),
        ("received", received.to_string()),
        ("bytes", bytes.to_string()),
        ("lost", lost.to_string()),
        ("lost_before_recovery", lost_before_recovery.to_string()),
        ("duplicates", duplicates.to_string()),
        ("overtaken", overtaken.to_string()),
        ("out_of_order", out_of_order.to_string()),
        ("mismatched", mismatched.to_string()),
        ("latency_mean_ms", time(latency_mean_ms)),
        ("latency_max_ms", time(latency_max_ms)),
        ("video_behind_ms", time(video_behind_ms)),
        ("longest_gap_ms", format!("{longest_gap_ms:.3}")),
        ("freezes", freezes.to_string()),
        ("frozen_ms", format!("{frozen_ms:.3}")),
        ("ended", quoted(ended)),
    ]
}

/// A cell of any text. What a server wrote must be no formula to a spreadsheet.
fn quoted(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let text = if formula { format!("'{text}") } else { text.to_owned() };
    if text.contains([',', '"', '\r', '\n']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_have_a_cell_for_each_name_and_text_is_only_text() {
        let bad = ViewerRow {
            viewer: 7,
            connected_ms: Some(12.3456),
            ended: "=1+1, \"said\" the\nserver".into(),
            ..ViewerRow::default()
        };
        let text = csv(&[ViewerRow::default(), bad]);
        let (names, rows) = text.split_once("\r\n").unwrap();
        assert_eq!(names.split(',').count(), 27);
        let (first, second) = rows.split_once("\r\n").unwrap();
        assert_eq!(first.split(',').count(), 27);
        assert!(second.starts_with("7,0,0.000,false,false,false,0,,,12.346,,"), "{second}");
        assert!(second.ends_with(",\"'=1+1, \"\"said\"\" the\nserver\"\r\n"), "{second}");
        // The names are those of the members.
        let members = serde_json::to_value(ViewerRow::default()).unwrap();
        let mut told: Vec<&str> = names.split(',').collect();
        told.sort_unstable();
        assert_eq!(told, members.as_object().unwrap().keys().map(String::as_str).collect::<Vec<_>>());
    }

    #[test]
    fn the_worst_are_those_who_saw_nothing_then_those_whose_picture_stood_still() {
        let row = |viewer, received, frozen_ms: f64, lost| ViewerRow {
            viewer,
            received,
            freezes: u64::from(frozen_ms > 0.0),
            frozen_ms,
            lost,
            ..ViewerRow::default()
        };
        let nothing = ViewerRow { ended: "HTTP 503".into(), ..row(4, 0, 0.0, 0) };
        let rows = [row(0, 9, 0.0, 0), row(1, 9, 0.0, 3), row(2, 9, 900.0, 0), row(3, 9, 300.0, 9), nothing];
        let order = |rows: &[ViewerRow]| worst(rows).iter().map(|row| row.viewer).collect::<Vec<_>>();
        assert_eq!(order(&rows), [4, 2, 3, 1], "who missed nothing is not among them");
        let many: Vec<ViewerRow> = (0..500).map(|viewer| row(viewer, 9, 1.0, 1)).collect();
        assert_eq!(order(&many), (0..10).collect::<Vec<_>>());
    }
}
