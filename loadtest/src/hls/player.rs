//! A player: what was fetched is played in its time, and where nothing is left it stalls. Pure: times are microseconds
//! of the Unix epoch.

use std::sync::Arc;

use super::playlist::Media;
use super::track::{Counts, Item, Next, Reload, Track};
use crate::measure::Histogram;

/// A shorter stall is not seen by anybody.
const STALL_MIN: u64 = 20_000;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    /// Nothing is there yet.
    #[default]
    Waiting,
    Playing,
    /// Nothing is left, since then.
    Stalled(u64),
    /// All of it was played.
    Over,
}

/// Plays one or two playlists together: pictures, and sound that is apart from them.
#[derive(Debug)]
pub struct Player {
    tracks: Vec<Track>,
    state: State,
    /// When `position` was so.
    at: u64,
    /// How much was played.
    position: u64,
    began: Option<u64>,
    stalls: u64,
    stalled: u64,
    longest: u64,
    latency: Histogram,
}

/// What a player saw.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PlayerReport {
    /// When it began to play.
    pub began: Option<u64>,
    /// It plays now.
    pub playing: bool,
    /// It stands still now, because nothing is left.
    pub stalled_now: bool,
    /// How often it stood still.
    pub stalls: u64,
    /// How long in all, in microseconds.
    pub stalled: u64,
    /// The longest of them.
    pub longest_stall: u64,
    /// How much was played.
    pub played: u64,
    /// From when each piece was captured until it was played.
    pub latency: Histogram,
    /// What was counted of its playlists.
    pub counts: Counts,
}

impl Player {
    /// A player of so many playlists that are played together.
    pub fn new(tracks: usize) -> Self {
        Self {
            tracks: (0..tracks.max(1)).map(|_| Track::default()).collect(),
            state: State::Waiting,
            at: 0,
            position: 0,
            began: None,
            stalls: 0,
            stalled: 0,
            longest: 0,
            latency: Histogram::new(),
        }
    }

    /// When to read a playlist again.
    pub fn reload(&self, track: usize) -> Option<Reload> {
        self.tracks.get(track)?.reload()
    }

    /// A playlist was read, for which was asked at `asked`.
    pub fn read(&mut self, track: usize, asked: u64, now: u64, base: Arc<str>, media: Media) {
        self.change(track, now, |track| track.read(asked, now, base, media));
    }

    /// The server does not know how to hold a request for a playlist back.
    pub fn do_not_block(&mut self, track: usize) {
        if let Some(track) = self.tracks.get_mut(track) {
            track.do_not_block();
        }
    }

    /// How long a server may hold a request for this playlist or its next part back.
    pub fn patience(&self, track: usize) -> u64 {
        self.tracks.get(track).map_or(0, Track::patience)
    }

    /// What to fetch next.
    pub fn next(&mut self, track: usize, now: u64) -> Next {
        self.play(now);
        let position = self.position;
        let next = self.tracks.get_mut(track).map_or(Next::End, |track| track.next(now, position));
        // That was the last of it: what is there is played to its end.
        self.play(now);
        next
    }

    /// An item came, whole.
    pub fn arrived(&mut self, track: usize, item: &Item, now: u64) {
        self.change(track, now, |track| track.arrived(item, now));
    }

    /// An item could not be had.
    pub fn missed(&mut self, track: usize, item: &Item, now: u64) {
        self.change(track, now, |track| track.missed(item));
    }

    fn change(&mut self, track: usize, now: u64, change: impl FnOnce(&mut Track)) {
        // What was there until now is played before anything is added.
        self.play(now);
        if let Some(track) = self.tracks.get_mut(track) {
            change(track);
        }
        self.play(now);
    }

    /// Plays until now.
    fn play(&mut self, now: u64) {
        let limit = self.tracks.iter().map(|track| track.buffered).min().unwrap_or(0);
        let ended = self.tracks.iter().all(|track| track.ended);
        match self.state {
            State::Waiting if limit > 0 => {
                (self.state, self.at, self.began) = (State::Playing, now, Some(now));
                self.note(now, true);
            }
            State::Stalled(since) => {
                let cushion = self.tracks.iter().map(Track::cushion).max().unwrap_or(0);
                let held = limit.saturating_sub(self.position);
                if held > 0 && (held >= cushion || ended) {
                    let lasted = now.saturating_sub(since);
                    if lasted >= STALL_MIN {
                        self.stalls += 1;
                        self.stalled += lasted;
                        self.longest = self.longest.max(lasted);
                    }
                    (self.state, self.at) = (State::Playing, now);
                    self.note(now, true);
                } else if ended && held == 0 {
                    self.state = State::Over;
                }
            }
            State::Playing => {
                let wanted = self.position.saturating_add(now.saturating_sub(self.at));
                if wanted < limit {
                    (self.position, self.at) = (wanted, now);
                    self.note(now, true);
                    return;
                }
                let dry = self.at.saturating_add(limit.saturating_sub(self.position));
                (self.position, self.at) = (limit, dry);
                self.note(dry, false);
                self.state = if ended { State::Over } else { State::Stalled(dry) };
            }
            State::Waiting | State::Over => {}
        }
    }

    /// Notes the latency of what began to be played until now; `goes_on`: what begins just now is played.
    fn note(&mut self, now: u64, goes_on: bool) {
        let position = self.position;
        let Some(track) = self.tracks.first_mut() else { return };
        let begun = |begin: u64| begin < position || (goes_on && begin == position);
        while let Some(piece) = track.pieces.front().copied().filter(|piece| begun(piece.begin)) {
            track.pieces.pop_front();
            let began = now.saturating_sub(position - piece.begin);
            if let Some(captured) = piece.captured.filter(|_| track.live) {
                self.latency.record_micros(began.saturating_sub(captured));
            }
        }
    }

    /// What was seen until now.
    pub fn report(&mut self, now: u64) -> PlayerReport {
        self.play(now);
        let mut counts = Counts::default();
        for track in &self.tracks {
            let of = &track.counts;
            counts.playlists += of.playlists;
            counts.unchanged += of.unchanged;
            counts.longest_unchanged = counts.longest_unchanged.max(track.longest_unchanged(now));
            counts.segments += of.segments;
            counts.parts += of.parts;
            counts.hints_wasted += of.hints_wasted;
            counts.missing += of.missing;
            counts.gaps += of.gaps;
            counts.jumps += of.jumps;
            counts.edge.merge(&of.edge);
        }
        // A stall that goes on counts as far as it has come.
        let open = match self.state {
            State::Stalled(since) => now.saturating_sub(since),
            State::Waiting | State::Playing | State::Over => 0,
        };
        let open = if open >= STALL_MIN { open } else { 0 };
        PlayerReport {
            began: self.began,
            playing: self.state == State::Playing,
            stalled_now: open > 0,
            stalls: self.stalls + u64::from(open > 0),
            stalled: self.stalled + open,
            longest_stall: self.longest.max(open),
            played: self.position,
            latency: self.latency.clone(),
            counts,
        }
    }

    /// All playlists were read once.
    pub fn loaded(&self) -> bool {
        self.tracks.iter().all(Track::loaded)
    }
}

#[cfg(test)]
#[path = "player_tests.rs"]
mod tests;
