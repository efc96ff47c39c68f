//! What a player has of one media playlist, and what it fetches next. Pure: times are microseconds of the Unix epoch.

use std::collections::VecDeque;
use std::sync::Arc;

use super::playlist::{Media, Part, Resource, Segment};
use crate::measure::Histogram;

/// Media that is held, at most, as players do of recordings.
const HELD_MAX: u64 = 30_000_000;
/// Between two looks at a playlist that does not say how long its segments are.
const RELOAD_MIN: u64 = 100_000;
/// Jumps and gaps passed over in one go, so that a playlist of gaps alone cannot hold anybody.
const STEPS_MAX: usize = 10_000;

/// What is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// A whole segment.
    Segment,
    /// A part of one.
    Part,
    /// A part that is announced and not listed yet.
    Hint,
}

/// Something to fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// What it is.
    pub what: What,
    /// Where it is, as the playlist has it.
    pub resource: Resource,
    /// What must be read before it, if it was not read already.
    pub map: Option<Arc<Resource>>,
    /// What its URIs are relative to.
    pub base: Arc<str>,
    /// When the beginning of it was captured.
    captured: Option<u64>,
    duration: u64,
    /// It was not there yet when the first playlist was read.
    fresh: bool,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Fetch this.
    Get(Item),
    /// Wait for the playlist, or until a time.
    Wait(Option<u64>),
    /// All of it was fetched.
    End,
}

/// When to ask for the playlist again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reload {
    /// Then.
    pub at: u64,
    /// The segment, and the part of it, that the server should wait for.
    pub block: Option<(u64, Option<usize>)>,
}

/// Media that was fetched, where it begins in the time that was played.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece {
    pub begin: u64,
    pub captured: Option<u64>,
}

/// The next part, or the segment if its part is 0.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    segment: u64,
    part: usize,
    /// Time of the segment that was fetched already.
    taken: u64,
}

#[derive(Debug)]
struct Loaded {
    media: Media,
    base: Arc<str>,
    asked: u64,
    changed: u64,
    /// The last answer brought nothing new.
    unchanged: bool,
}

/// A media playlist and what was fetched of it.
#[derive(Debug, Default)]
pub(super) struct Track {
    loaded: Option<Loaded>,
    /// How far the first playlist went.
    known: (u64, usize),
    /// It was live when it was first read.
    pub live: bool,
    place: Place,
    /// The part that was announced is here, and not listed yet.
    hinted: Option<Resource>,
    /// An announced part that could not be had: it is not asked for again before it is listed.
    refused: Option<Resource>,
    map: Option<Arc<Resource>>,
    no_blocking: bool,
    /// Time that was fetched, from where playing begins.
    pub buffered: u64,
    pub pieces: VecDeque<Piece>,
    pub ended: bool,
    pub counts: Counts,
}

/// What was counted of a playlist.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Counts {
    /// Playlists that were read.
    pub playlists: u64,
    /// Those of them that brought nothing new.
    pub unchanged: u64,
    /// The longest time between two that did, in microseconds.
    pub longest_unchanged: u64,
    /// Whole segments that came.
    pub segments: u64,
    /// Parts that came.
    pub parts: u64,
    /// Announced parts that came and were not what was listed then.
    pub hints_wasted: u64,
    /// Segments and parts that could not be had.
    pub missing: u64,
    /// Segments and parts that the playlist says are not there.
    pub gaps: u64,
    /// Jumps back to near the live edge, because the playlist no longer has what was next.
    pub jumps: u64,
    /// From when the last of a segment or part was captured until it was here.
    pub edge: Histogram,
}

impl Track {
    /// Whether anything was read yet.
    pub fn loaded(&self) -> bool {
        self.loaded.is_some()
    }

    /// So much must be there before playing goes on after a stall.
    pub fn cushion(&self) -> u64 {
        self.loaded.as_ref().map_or(0, |loaded| hold_back(&loaded.media) / 2)
    }

    /// A server that holds a request back has answered by then.
    pub fn patience(&self) -> u64 {
        self.loaded.as_ref().map_or(0, |loaded| loaded.media.target.saturating_mul(3))
    }

    /// The longest that the playlist stayed as it was, now included.
    pub fn longest_unchanged(&self, now: u64) -> u64 {
        let since = self.loaded.as_ref().filter(|loaded| !loaded.media.ended);
        let open = since.map_or(0, |loaded| now.saturating_sub(loaded.changed));
        self.counts.longest_unchanged.max(open)
    }

    /// The server does not know how to hold a request back.
    pub fn do_not_block(&mut self) {
        self.no_blocking = true;
    }

    /// When to read the playlist again; never if nothing comes any more.
    pub fn reload(&self) -> Option<Reload> {
        let Some(Loaded { media, asked, unchanged, .. }) = &self.loaded else {
            return Some(Reload { at: 0, block: None });
        };
        if media.ended {
            return None;
        }
        let usual = media.part_target.filter(|_| media.low_latency()).unwrap_or(media.target).max(RELOAD_MIN);
        // RFC 8216 section 6.3.4: half of it where nothing was new.
        let pause = if *unchanged { usual / 2 } else { usual };
        if !media.can_block || self.no_blocking {
            return Some(Reload { at: asked.saturating_add(pause), block: None });
        }
        let (segment, part) = media.edge();
        let part = media.low_latency().then_some(part);
        // A server that answers at once with nothing new would be asked without end.
        let at = if *unchanged { asked.saturating_add(pause) } else { 0 };
        Some(Reload { at, block: Some((segment, part)) })
    }

    /// A playlist was read, for which was asked at `asked`.
    pub fn read(&mut self, asked: u64, now: u64, base: Arc<str>, media: Media) {
        self.counts.playlists += 1;
        let Some(before) = self.loaded.take() else {
            self.known = media.edge();
            self.live = !media.ended;
            self.place = start(&media);
            self.loaded = Some(Loaded { media, base, asked, changed: now, unchanged: false });
            return;
        };
        let new = media.edge() != before.media.edge() || media.ended != before.media.ended;
        let changed = if new { now } else { before.changed };
        if new {
            let lasted = now.saturating_sub(before.changed);
            self.counts.longest_unchanged = self.counts.longest_unchanged.max(lasted);
        } else {
            self.counts.unchanged += 1;
        }
        if media.edge().0.saturating_add(1) < self.place.segment {
            // The numbers began anew: this is another stream.
            self.jump(&media);
        }
        self.loaded = Some(Loaded { media, base, asked, changed, unchanged: !new });
        self.match_hint(now);
    }

    fn jump(&mut self, media: &Media) {
        self.counts.jumps += 1;
        self.place = start(media);
        (self.hinted, self.refused) = (None, None);
    }

    /// What to fetch; `position` is how much was played.
    pub fn next(&mut self, now: u64, position: u64) -> Next {
        let Some(loaded) = self.loaded.take() else { return Next::Wait(None) };
        let next = self.choose(&loaded, now, position);
        self.loaded = Some(loaded);
        next
    }

    fn choose(&mut self, loaded: &Loaded, now: u64, position: u64) -> Next {
        let media = &loaded.media;
        let held = self.buffered.saturating_sub(position);
        let most = HELD_MAX.max(hold_back(media).saturating_mul(2));
        if held >= most {
            return Next::Wait(Some(now.saturating_add((held - most).max(RELOAD_MIN))));
        }
        if self.place.segment < media.first {
            self.jump(media);
        }
        for _ in 0..STEPS_MAX {
            let Some(segment) = media.segment(self.place.segment) else {
                if media.ended {
                    self.ended = true;
                    return Next::End;
                }
                return self.hint(loaded);
            };
            let part = segment.parts.get(self.place.part);
            let whole = segment.resource.as_ref();
            match (part, whole) {
                (Some(part), _) if part.gap => self.pass_part(part.duration),
                (Some(part), _) => return Next::Get(self.item(loaded, segment, Some(part), &part.resource)),
                // All its parts were fetched, or their list is gone; what is left of it comes as a whole.
                (None, Some(_)) if segment.gap => self.pass_segment(),
                (None, Some(_)) if !segment.parts.is_empty() => self.advance(),
                (None, Some(_)) if self.place.part > 0 && self.place.taken >= segment.duration => {
                    self.advance();
                }
                (None, Some(whole)) => return Next::Get(self.item(loaded, segment, None, whole)),
                (None, None) => return self.hint(loaded),
            }
        }
        Next::Wait(None)
    }

    fn pass_part(&mut self, duration: u64) {
        self.counts.gaps += 1;
        self.place.part += 1;
        self.place.taken = self.place.taken.saturating_add(duration);
    }

    fn pass_segment(&mut self) {
        self.counts.gaps += 1;
        self.advance();
    }

    fn advance(&mut self) {
        self.place = Place { segment: self.place.segment.saturating_add(1), part: 0, taken: 0 };
    }

    /// The part that the server announces is asked for before it is there.
    fn hint(&self, loaded: &Loaded) -> Next {
        let at_edge = (self.place.segment, self.place.part) == loaded.media.edge();
        let hint = loaded.media.hint.as_ref().filter(|_| at_edge && self.hinted.is_none());
        match hint.filter(|hint| self.refused.as_ref() != Some(*hint)) {
            Some(hint) => Next::Get(Item {
                what: What::Hint,
                resource: hint.clone(),
                map: None,
                base: Arc::clone(&loaded.base),
                captured: None,
                duration: 0,
                fresh: true,
            }),
            None => Next::Wait(None),
        }
    }

    fn item(&self, loaded: &Loaded, segment: &Segment, part: Option<&Part>, resource: &Resource) -> Item {
        let taken = self.place.taken;
        let map = segment.map.clone().filter(|map| self.map.as_ref() != Some(map));
        Item {
            what: if part.is_some() { What::Part } else { What::Segment },
            resource: resource.clone(),
            map,
            base: Arc::clone(&loaded.base),
            captured: segment.captured.map(|begin| begin.saturating_add(taken)),
            duration: part.map_or(segment.duration.saturating_sub(taken), |part| part.duration),
            fresh: (self.place.segment, self.place.part) >= self.known,
        }
    }

    /// An item came, whole.
    pub fn arrived(&mut self, item: &Item, now: u64) {
        if item.map.is_some() {
            self.map.clone_from(&item.map);
        }
        if item.what == What::Hint {
            self.hinted = Some(item.resource.clone());
            return self.match_hint(now);
        }
        let end = item.captured.map(|begin| begin.saturating_add(item.duration));
        if let Some(end) = end.filter(|_| item.fresh && self.live) {
            self.counts.edge.record_micros(now.saturating_sub(end));
        }
        self.pieces.push_back(Piece { begin: self.buffered, captured: item.captured });
        self.buffered = self.buffered.saturating_add(item.duration);
        match item.what {
            What::Segment => self.counts.segments += 1,
            What::Part | What::Hint => self.counts.parts += 1,
        }
        self.step(item);
    }

    /// An item could not be had: a player goes on behind it.
    pub fn missed(&mut self, item: &Item) {
        if item.what == What::Hint {
            self.refused = Some(item.resource.clone());
            return;
        }
        self.counts.missing += 1;
        self.step(item);
    }

    fn step(&mut self, item: &Item) {
        match item.what {
            What::Segment => self.advance(),
            What::Part | What::Hint => {
                self.place.part += 1;
                self.place.taken = self.place.taken.saturating_add(item.duration);
            }
        }
    }

    /// An announced part that came counts once the playlist has it, too: only then is its length known.
    fn match_hint(&mut self, now: u64) {
        let (Some(hinted), Some(loaded)) = (&self.hinted, &self.loaded) else { return };
        let media = &loaded.media;
        // Announced before its segment was closed, it may be the first one of the next.
        let closed = media.segment(self.place.segment).filter(|found| found.resource.is_some());
        if closed.is_some_and(|found| !found.parts.is_empty() && self.place.part >= found.parts.len()) {
            self.place = Place { segment: self.place.segment.saturating_add(1), ..Place::default() };
        }
        let (segment, part) = (self.place.segment, self.place.part);
        let listed = media.segment(segment).and_then(|found| Some((found, found.parts.get(part)?)));
        let same = |part: &Part| {
            let start = |resource: &Resource| resource.range.map_or(0, |(start, _)| start);
            part.resource.uri == hinted.uri && start(&part.resource) == start(hinted)
        };
        match listed {
            Some((found, part)) if same(part) && !part.gap => {
                let item = Item { map: None, ..self.item(loaded, found, Some(part), &part.resource) };
                self.hinted = None;
                self.arrived(&item, now);
            }
            None if (segment, part) == media.edge() => {}
            _ => {
                self.counts.hints_wasted += 1;
                self.hinted = None;
            }
        }
    }
}

/// How far behind the end a player of this playlist stays.
fn hold_back(media: &Media) -> u64 {
    let parts = media.part_hold_back.or(media.part_target.map(|target| target.saturating_mul(3)));
    let segments = media.hold_back.unwrap_or(media.target.saturating_mul(3));
    parts.filter(|_| media.low_latency()).unwrap_or(segments)
}

/// Where playing begins: of a recording at its beginning, else as far from the end as the playlist wants.
fn start(media: &Media) -> Place {
    let first = Place { segment: media.first, ..Place::default() };
    if media.ended {
        return first;
    }
    let (hold, low) = (hold_back(media), media.low_latency());
    let mut behind = 0_u64;
    for segment in media.segments.iter().rev() {
        if segment.parts.is_empty() || !low {
            behind = behind.saturating_add(segment.duration);
            // A segment of which only parts are there cannot be had as a whole.
            if behind >= hold && segment.resource.is_some() {
                return Place { segment: segment.number, ..Place::default() };
            }
            continue;
        }
        for (nth, part) in segment.parts.iter().enumerate().rev() {
            behind = behind.saturating_add(part.duration);
            if behind >= hold && (part.independent || nth == 0) {
                let before = segment.parts.iter().take(nth);
                let taken = before.fold(0_u64, |sum, part| sum.saturating_add(part.duration));
                return Place { segment: segment.number, part: nth, taken };
            }
        }
    }
    first
}
