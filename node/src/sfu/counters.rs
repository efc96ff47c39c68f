//! What a shard counts; the exporter adds shards up.

/// Sums of [`crate::forward::history::EstimateInput`]s.
#[derive(Debug, Clone, Default)]
pub struct Feedback {
    /// Packets that came.
    pub packets: u64,
    /// Bytes of them as sealed.
    pub bytes: u64,
    /// Packets that had not come when they were first told of.
    pub missing: u64,
    /// Of those, packets that came later.
    pub late: u64,
    /// Numbers that were never given, or long ago.
    pub unknown: u64,
    /// Time in which packets came, in microseconds.
    pub micros: u64,
    /// By how much ways became longer, in microseconds, and shorter.
    pub rise_micros: u64,
    /// See `rise_micros`.
    pub fall_micros: u64,
}

/// Totals since the shard started.
#[derive(Debug, Clone, Default)]
pub struct Counters {
    /// Packets of publishers and links that went into a ring.
    pub ingress_packets: u64,
    /// Payload bytes of them.
    pub ingress_bytes: u64,
    /// Packets of other shards that went into a ring: each once for each shard that wants it.
    pub crossed_packets: u64,
    /// Packets sealed for viewers, retransmissions left out.
    pub egress_packets: u64,
    /// Bytes of them on the wire, without IP and UDP.
    pub egress_bytes: u64,
    /// Packets sent again on request; some go twice, and count twice.
    pub rtx_packets: u64,
    /// Requested packets that the ring did not have any more.
    pub rtx_missed: u64,
    /// Requests that were repeated too soon and not answered again.
    pub rtx_suppressed: u64,
    /// Packets that a viewer was sent more than 50 ms after they came, joiners that catch up left out.
    pub lagging_packets: u64,
    /// Packets that fell out of a ring before a viewer could be sent them.
    pub overrun_packets: u64,
    /// Packets that viewers' reports say were lost on the way, before retransmission.
    pub viewer_lost_packets: u64,
    /// Round trips that viewers' reports told, and their sum in microseconds.
    pub round_trips: u64,
    /// See `round_trips`.
    pub round_trip_micros: u64,
    /// Jitters that viewers' reports told, and their sum in microseconds.
    pub jitters: u64,
    /// See `jitters`.
    pub jitter_micros: u64,
    /// What viewers told by transport-wide feedback.
    pub feedback: Feedback,
    /// Keyframes asked of a publisher or a link.
    pub keyframe_requests: u64,
    /// Keyframes that viewers asked for.
    pub keyframe_wishes: u64,
    /// Slots that went over to another layer of their track.
    pub layer_switches: u64,
    /// Packets that viewers asked for beyond their allowance: not looked for.
    pub limited_nacks: u64,
    /// Keyframes that viewers asked for beyond their allowance: not passed on.
    pub limited_wishes: u64,
    /// RTCP datagrams of clients that had sent too many messages: dropped unopened.
    pub limited_rtcp: u64,
    /// RTCP that was dropped unread: forged, replayed, before the keys, or longer than any path's packets.
    pub rejected_rtcp: u64,
    /// Feedback of viewers about an SSRC that is none of theirs.
    pub strange_feedback: u64,
    /// Packets that were in the ring already.
    pub duplicate_packets: u64,
    /// Packets older than what the ring keeps.
    pub late_packets: u64,
    /// Packets of a link that nothing here wants.
    pub unwanted_link_packets: u64,
    /// Packets of a publisher that fit none of its negotiated m-lines, came before its claim or seconds late.
    pub unplaced_packets: u64,
    /// Packets that a viewer was not sent because they have no place in what it gets: they come from before it began, late
    /// for what has closed up, in a codec that it did not negotiate, or are left out because it bounds temporal layers.
    pub unplaced_at_viewers: u64,
    /// Datagrams of no session.
    pub unknown_datagrams: u64,
    /// Checks of ICE from an address that was asked first whether its client is there.
    pub unproven_checks: u64,
    /// Checks of ICE from more addresses than one ICE session is checked from: dropped unread.
    pub refused_checks: u64,
    /// Half-open sessions that ended early so that others have their places.
    pub displaced_sessions: u64,
    /// Datagrams that str0m refused.
    pub bad_datagrams: u64,
    /// RTP of sessions that was dropped unopened: a header that cannot be read, an unknown SSRC or payload type, a
    /// replay, a forged packet, one before the keys; and whatever RTP a viewer sends. Padding and retransmissions of
    /// packets that came are authentic and not counted.
    pub rejected_rtp: u64,
    /// Header extensions of publishers that were not negotiated: ignored (RFC 8285 section 4.1), never forwarded.
    pub unknown_extensions: u64,
    /// RTP and RTCP in the transmits of viewers' str0m. Always 0: viewers' media and reports never go that way.
    pub str0m_viewer_rtp: u64,
    /// Packets that could not be sealed.
    pub seal_failures: u64,
}
