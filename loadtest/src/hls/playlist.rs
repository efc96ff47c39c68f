//! Playlists of HLS: RFC 8216, and of its second edition (draft-pantos-hls-rfc8216bis) what low latency needs. Pure.
//!
//! Times are microseconds. What a playlist says is not trusted: nothing in it makes more memory than its own length.

use std::sync::Arc;

use super::tags::{Attributes, date, seconds};

/// Largest sequence number: beyond it JavaScript players cannot count either.
const NUMBER_MAX: u64 = 1 << 53;

/// Why a text is no playlist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the playlist: {why}")]
pub struct PlaylistError {
    /// Where, from 1.
    pub line: usize,
    /// What is wrong.
    pub why: String,
}

/// Something to fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// As the playlist has it, relative or absolute.
    pub uri: String,
    /// First byte and, where it is known, length of the part of it that is meant.
    pub range: Option<(u64, Option<u64>)>,
}

/// A part of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Where it is.
    pub resource: Resource,
    /// How long it plays.
    pub duration: u64,
    /// Playing can begin with it.
    pub independent: bool,
    /// It is not there, and must not be asked for.
    pub gap: bool,
}

/// A segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Its media sequence number.
    pub number: u64,
    /// Where it is; nothing while only parts of it are there.
    pub resource: Option<Resource>,
    /// How long it plays, as far as it is there.
    pub duration: u64,
    /// Its parts, where they are still listed.
    pub parts: Vec<Part>,
    /// What has to be read before it.
    pub map: Option<Arc<Resource>>,
    /// Its timeline is another one than that of the segment before.
    pub discontinuity: bool,
    /// It is not there, and must not be asked for.
    pub gap: bool,
    /// When its beginning was captured, since the Unix epoch: as its own tag says, or counted from a neighbour's.
    pub captured: Option<u64>,
}

/// A media playlist.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Media {
    /// Target duration.
    pub target: u64,
    /// Target duration of parts.
    pub part_target: Option<u64>,
    /// Players stay so far behind the end.
    pub hold_back: Option<u64>,
    /// Those who play parts stay so far behind it.
    pub part_hold_back: Option<u64>,
    /// The server holds a request back until there is news.
    pub can_block: bool,
    /// Nothing comes any more.
    pub ended: bool,
    /// The number of the first segment, or of the one that will be.
    pub first: u64,
    /// Its segments; of the last one there may be parts alone.
    pub segments: Vec<Segment>,
    /// The part that comes next, which can be asked for already.
    pub hint: Option<Resource>,
}

impl Media {
    /// A segment by its number.
    pub fn segment(&self, number: u64) -> Option<&Segment> {
        let place = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.segments.get(place)
    }

    /// How far it goes: the number of the segment that is next or being made, and how many parts of it are there.
    pub fn edge(&self) -> (u64, usize) {
        match self.segments.last() {
            Some(last) if last.resource.is_none() => (last.number, last.parts.len()),
            Some(last) => (last.number.saturating_add(1), 0),
            None => (self.first, 0),
        }
    }

    /// It is made for players of parts.
    pub fn low_latency(&self) -> bool {
        self.part_target.is_some() && self.segments.iter().any(|segment| !segment.parts.is_empty())
    }
}

/// A variant of a master playlist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variant {
    /// Its media playlist.
    pub uri: String,
    /// Bits a second at most.
    pub bandwidth: u64,
    /// The group of sounds that belongs to it.
    pub audio: Option<String>,
}

/// Sound that is apart from its pictures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sound {
    /// The group that it belongs to.
    pub group: String,
    /// Its media playlist.
    pub uri: String,
    /// It is played unless somebody chooses otherwise.
    pub default: bool,
}

/// A master playlist.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Master {
    /// Its variants, in its order.
    pub variants: Vec<Variant>,
    /// Sounds with a playlist of their own.
    pub sounds: Vec<Sound>,
}

impl Master {
    /// What a player with a fast network plays: the variant of the highest bit rate, and its sound if that is apart.
    pub fn best(&self) -> Option<(&Variant, Option<&Sound>)> {
        // Of equal ones the first.
        let best = self.variants.iter().rev().max_by_key(|variant| variant.bandwidth)?;
        let group = best.audio.as_deref();
        let mut sounds = self.sounds.iter().filter(|sound| Some(sound.group.as_str()) == group);
        let first = sounds.clone().next();
        Some((best, sounds.find(|sound| sound.default).or(first)))
    }
}

/// A playlist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Playlist {
    /// Of variants.
    Master(Master),
    /// Of segments.
    Media(Media),
}

/// What is known of the segment that is being read.
#[derive(Default)]
struct Pending {
    duration: Option<u64>,
    range: Option<(u64, Option<u64>)>,
    parts: Vec<Part>,
    discontinuity: bool,
    gap: bool,
    captured: Option<u64>,
}

#[derive(Default)]
struct Reader {
    media: Media,
    master: Master,
    pending: Pending,
    map: Option<Arc<Resource>>,
    variant: Option<(u64, Option<String>)>,
    /// Where the last range of segments, and of parts, ended: a range without offset goes on there.
    segment_end: Option<(String, u64)>,
    part_end: Option<(String, u64)>,
    target: bool,
}

/// Reads a playlist.
pub fn parse(text: &str) -> Result<Playlist, PlaylistError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines = (1..).zip(text.lines().map(str::trim_end));
    if lines.next().is_none_or(|(_, line)| line != "#EXTM3U") {
        let why = "it does not begin with #EXTM3U: this is no playlist of HLS".to_owned();
        return Err(PlaylistError { line: 1, why });
    }
    let mut reader = Reader::default();
    for (number, line) in lines {
        let failed = |why: String| PlaylistError { line: number, why };
        match line.strip_prefix("#EXT") {
            Some(tag) => reader.tag(tag).map_err(failed)?,
            None if line.is_empty() || line.starts_with('#') => {}
            None => reader.uri(line).map_err(failed)?,
        }
    }
    reader.end().map_err(|why| PlaylistError { line: text.lines().count(), why })
}

fn number(tag: &str, value: &str) -> Result<u64, String> {
    let parsed = value.trim().parse::<u64>().ok().filter(|number| *number <= NUMBER_MAX);
    parsed.ok_or_else(|| format!("#EXT{tag} wants a number below 2^53, not {:.40}", value))
}

fn timed(tag: &str, value: Option<u64>) -> Result<u64, String> {
    value.ok_or_else(|| format!("#EXT{tag} wants a time in seconds, of a week at most"))
}

/// `LENGTH` or `LENGTH@OFFSET`.
fn range(tag: &str, text: &str) -> Result<(u64, Option<u64>), String> {
    match text.split_once('@') {
        Some((length, offset)) => Ok((number(tag, length)?, Some(number(tag, offset)?))),
        None => Ok((number(tag, text)?, None)),
    }
}

impl Reader {
    fn tag(&mut self, tag: &str) -> Result<(), String> {
        let (name, value) = tag.split_once(':').unwrap_or((tag, ""));
        let media = &mut self.media;
        match name {
            "INF" => {
                let length = value.split_once(',').map_or(value, |(length, _)| length);
                self.pending.duration = Some(timed(name, seconds(length))?);
            }
            "-X-TARGETDURATION" => {
                media.target = timed(name, seconds(value))?;
                self.target = true;
            }
            "-X-MEDIA-SEQUENCE" => {
                if !media.segments.is_empty() {
                    return Err("#EXT-X-MEDIA-SEQUENCE stands behind the first segment".to_owned());
                }
                media.first = number(name, value)?;
            }
            "-X-ENDLIST" => media.ended = true,
            "-X-PART-INF" => media.part_target = Attributes::read(value).seconds("PART-TARGET"),
            "-X-SERVER-CONTROL" => {
                let control = Attributes::read(value);
                media.can_block = control.yes("CAN-BLOCK-RELOAD");
                media.hold_back = control.seconds("HOLD-BACK");
                media.part_hold_back = control.seconds("PART-HOLD-BACK");
            }
            "-X-BYTERANGE" => {
                let (length, offset) = range(name, value)?;
                // Without an offset it is known once the URI is.
                self.pending.range = Some((length, offset));
            }
            "-X-DISCONTINUITY" => self.pending.discontinuity = true,
            "-X-GAP" => self.pending.gap = true,
            "-X-PROGRAM-DATE-TIME" => self.pending.captured = date(value),
            "-X-MAP" => self.map(&Attributes::read(value))?,
            "-X-PART" => self.part(&Attributes::read(value))?,
            "-X-PRELOAD-HINT" => self.hint(&Attributes::read(value))?,
            "-X-SKIP" => return Err("#EXT-X-SKIP leaves out segments, which was not asked for".to_owned()),
            "-X-STREAM-INF" => {
                let variant = Attributes::read(value);
                let bandwidth = variant.get("BANDWIDTH").and_then(|rate| rate.parse().ok()).unwrap_or(0);
                self.variant = Some((bandwidth, variant.get("AUDIO").map(str::to_owned)));
            }
            "-X-MEDIA" => {
                let one = Attributes::read(value);
                if let ("AUDIO", Some(group), Some(uri)) =
                    (one.get("TYPE").unwrap_or_default(), one.get("GROUP-ID"), one.get("URI"))
                {
                    let (group, uri) = (group.to_owned(), uri.to_owned());
                    self.master.sounds.push(Sound { group, uri, default: one.yes("DEFAULT") });
                }
            }
            // Players pass over what they do not know.
            _ => {}
        }
        Ok(())
    }

    fn map(&mut self, map: &Attributes<'_>) -> Result<(), String> {
        let uri = map.get("URI").ok_or("#EXT-X-MAP has no URI")?.to_owned();
        let range = match map.get("BYTERANGE") {
            Some(text) => {
                let (length, offset) = range("-X-MAP", text)?;
                Some((offset.unwrap_or(0), Some(length)))
            }
            None => None,
        };
        let resource = Resource { uri, range };
        if self.map.as_deref() != Some(&resource) {
            self.map = Some(Arc::new(resource));
        }
        Ok(())
    }

    fn part(&mut self, part: &Attributes<'_>) -> Result<(), String> {
        let uri = part.get("URI").ok_or("#EXT-X-PART has no URI")?.to_owned();
        let duration = timed("-X-PART", part.seconds("DURATION"))?;
        let range = match part.get("BYTERANGE") {
            Some(text) => Some(placed(&mut self.part_end, &uri, range("-X-PART", text)?)),
            None => None,
        };
        let (independent, gap) = (part.yes("INDEPENDENT"), part.yes("GAP"));
        let resource = Resource { uri, range };
        self.pending.parts.push(Part { resource, duration, independent, gap });
        Ok(())
    }

    fn hint(&mut self, hint: &Attributes<'_>) -> Result<(), String> {
        if hint.get("TYPE") != Some("PART") {
            return Ok(());
        }
        let uri = hint.get("URI").ok_or("#EXT-X-PRELOAD-HINT has no URI")?.to_owned();
        let of = |name| hint.get(name).map(|text| number("-X-PRELOAD-HINT", text)).transpose();
        let (start, length) = (of("BYTERANGE-START")?, of("BYTERANGE-LENGTH")?);
        let range = (start.is_some() || length.is_some()).then(|| (start.unwrap_or(0), length));
        self.media.hint = Some(Resource { uri, range });
        Ok(())
    }

    fn uri(&mut self, uri: &str) -> Result<(), String> {
        if let Some((bandwidth, audio)) = self.variant.take() {
            self.master.variants.push(Variant { uri: uri.to_owned(), bandwidth, audio });
            return Ok(());
        }
        let pending = std::mem::take(&mut self.pending);
        let duration = pending.duration.ok_or("a URI without #EXTINF or #EXT-X-STREAM-INF before it")?;
        let range = pending.range.map(|range| placed(&mut self.segment_end, uri, range));
        let resource = Resource { uri: uri.to_owned(), range };
        self.push(pending, Some(resource), duration);
        Ok(())
    }

    fn push(&mut self, pending: Pending, resource: Option<Resource>, duration: u64) {
        let number = match self.media.segments.last() {
            Some(last) => last.number.saturating_add(1),
            None => self.media.first,
        };
        let Pending { parts, discontinuity, gap, captured, .. } = pending;
        let map = self.map.clone();
        self.media.segments.push(Segment {
            number,
            resource,
            duration,
            parts,
            map,
            discontinuity,
            gap,
            captured,
        });
    }

    fn end(mut self) -> Result<Playlist, String> {
        if !self.master.variants.is_empty() {
            if !self.media.segments.is_empty() {
                return Err("it has segments and variants".to_owned());
            }
            return Ok(Playlist::Master(self.master));
        }
        if !self.target {
            return Err("there is neither #EXT-X-TARGETDURATION nor a variant with its URI".to_owned());
        }
        let pending = std::mem::take(&mut self.pending);
        if !pending.parts.is_empty() {
            let duration = pending.parts.iter().fold(0_u64, |sum, part| sum.saturating_add(part.duration));
            self.push(pending, None, duration);
        }
        count_captures(&mut self.media.segments);
        Ok(Playlist::Media(self.media))
    }
}

/// First byte and length; without an offset a range goes on where the last one of the same resource ended.
fn placed(
    end: &mut Option<(String, u64)>,
    uri: &str,
    (length, offset): (u64, Option<u64>),
) -> (u64, Option<u64>) {
    let last = end.take().filter(|(before, _)| before == uri);
    let first = offset.or(last.map(|(_, end)| end)).unwrap_or(0);
    *end = Some((uri.to_owned(), first.saturating_add(length)));
    (first, Some(length))
}

/// Where a segment has no date, its neighbour's and the time between them make one.
fn count_captures(segments: &mut [Segment]) {
    let mut next: Option<u64> = None;
    for segment in segments.iter_mut() {
        if segment.discontinuity {
            next = None;
        }
        segment.captured = segment.captured.or(next);
        next = segment.captured.map(|begin| begin.saturating_add(segment.duration));
    }
    // Backwards, for those before the first date.
    let mut begin: Option<u64> = None;
    for segment in segments.iter_mut().rev() {
        if segment.captured.is_none() {
            segment.captured = begin.and_then(|begin| begin.checked_sub(segment.duration));
        }
        begin = segment.captured.filter(|_| !segment.discontinuity);
    }
}

#[cfg(test)]
#[path = "playlist_tests.rs"]
mod tests;
