//! What each figure means, in one line each.

/// Figures and their meaning. They are part of the page as they stand here.
pub const GLOSSARY: &[(&str, &str)] = &[
    (
        "Kept, broken",
        "A bound says what must not be, or, where it is expected, what must. A figure that does not exist breaks its bound.",
    ),
    (
        "Invalid",
        "The machine that ran the viewers dropped or delayed media itself. Run it again with fewer viewers.",
    ),
    ("Latency", "From when a packet was due to be captured until a viewer had it, retransmissions included."),
    ("p50, p99", "Half, and 99 of 100, are at most this. They are at most 0.1 % off; the longest is exact."),
    ("Loss after recovery", "Packets that never came, by first transmission or by RTX. Viewers see this."),
    ("Loss before recovery", "Packets that did not come by first transmission: what the network loses."),
    ("Connected after", "From when the join was due until media could be decrypted."),
    ("First keyframe after", "From when the join was due until a picture could begin."),
    (
        "Between sound and picture",
        "By how much longer one took than the other from capture to arrival, in each second of each viewer.",
    ),
    ("Gap", "How long a track stood still between two packets."),
    ("Freeze", "A gap of more than 200 ms in a viewer’s video. People see it."),
    ("Missing", "Packets that had not come by the end of that second. Some still come."),
    ("CPU", "In cores’ worth: 1.5 is one core and half of another."),
];

/// Why times are honest.
pub const TIME: &str = "Times run from when something was due, not from when a busy program got round to it. A publisher \
    or a join that is late so makes times longer instead of disappearing from them (coordinated omission).";
