//! What the listeners of one viewer's session are told: the events of WHEP's server-sent events extension.
//!
//! A listener has no queue of its own. It is told the difference between what it was told last and what is so now, so
//! that one who does not keep up misses what is out of date and never the present.

#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use crate::session::{Line, Viewing};

/// Event streams of one session at most.
pub const STREAMS_MAX: usize = 2;
/// An event stream that nobody reads is forgotten after this.
pub const UNREAD: Duration = Duration::from_secs(60);
/// Bit rates alone are told at most so often.
pub const RATES_EVERY: Duration = Duration::from_secs(1);

/// The events there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// What the viewer watches has begun.
    Active,
    /// It has ended.
    Inactive,
    /// The layers that there are have changed.
    Layers,
    /// What comes is in a codec that the session did not negotiate, or is no more.
    Unplayable,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Active, Self::Inactive, Self::Layers, Self::Unplayable];

    /// Its name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Inactive => "inactive",
            Self::Layers => "layers",
            Self::Unplayable => "unplayable",
        }
    }
}

/// An event for one listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Which.
    pub kind: Kind,
    /// Its data: JSON in one line.
    pub data: String,
}

/// The session has as many event streams as it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooMany;

/// What the session shows, numbered so that a listener knows what is new to it.
#[derive(Debug, Default)]
struct Shown {
    /// How often what it watches has begun or ended; odd while there is something.
    turns: u64,
    /// The data of `layers`.
    layers: String,
    /// The same without rates: what is told at once when it changes.
    shape: Vec<(usize, String, bool, bool)>,
    layers_version: u64,
    shape_version: u64,
    /// The data of `unplayable`.
    unplayable: String,
}

#[derive(Debug)]
struct Listener {
    stream: u32,
    wants: Vec<Kind>,
    /// Since when nobody reads it.
    unread: Option<Instant>,
    /// Turns that it knows of, and how many there were before its time.
    turns: u64,
    before: u64,
    /// Versions of layers and of their shape that it knows, and when it was told.
    layers: Option<(u64, u64)>,
    layers_at: Option<Instant>,
    /// The data of `unplayable` that it was told last.
    unplayable: String,
}

/// The listeners of one session.
#[derive(Debug)]
pub struct Audience {
    shown: Shown,
    listeners: Vec<Listener>,
    next: u32,
}

impl Audience {
    /// Nobody listens yet; the session shows this.
    pub fn new(viewing: &Viewing) -> Self {
        let none = || "{}".to_owned();
        let shown = Shown { layers: none(), unplayable: none(), ..Shown::default() };
        let mut audience = Self { shown, listeners: Vec::new(), next: 1 };
        audience.handle_viewing(viewing);
        audience
    }

    /// Whether there is nobody left to tell.
    pub fn is_empty(&self) -> bool {
        self.listeners.is_empty()
    }

    /// How many event streams there are.
    pub fn len(&self) -> usize {
        self.listeners.len()
    }

    /// The session shows this now.
    pub fn handle_viewing(&mut self, viewing: &Viewing) {
        let shown = &mut self.shown;
        if viewing.active != (shown.turns % 2 == 1) {
            shown.turns = shown.turns.saturating_add(1);
        }
        shown.unplayable = unplayable(viewing);
        let layers = told(viewing);
        if layers == shown.layers {
            return;
        }
        shown.layers = layers;
        shown.layers_version = shown.layers_version.saturating_add(1);
        let shape = shape(viewing);
        if shape != shown.shape {
            shown.shape = shape;
            shown.shape_version = shown.shape_version.saturating_add(1);
        }
    }

    /// A new event stream for these events.
    pub fn subscribe(&mut self, now: Instant, wants: Vec<Kind>) -> Result<u32, TooMany> {
        self.handle_timeout(now);
        if self.listeners.len() >= STREAMS_MAX {
            return Err(TooMany);
        }
        let stream = self.next;
        self.next = self.next.wrapping_add(1);
        // Who comes while there is something hears of its beginning; who comes to silence is not told that it is one.
        let before = self.shown.turns.saturating_sub(self.shown.turns % 2);
        self.listeners.push(Listener {
            stream,
            wants,
            unread: Some(now),
            turns: before,
            before,
            layers: None,
            layers_at: None,
            unplayable: "{}".to_owned(),
        });
        Ok(stream)
    }

    /// Whether there is this event stream.
    pub fn has(&self, stream: u32) -> bool {
        self.listeners.iter().any(|listener| listener.stream == stream)
    }

    /// Ends an event stream; says whether it was there.
    pub fn unsubscribe(&mut self, stream: u32) -> bool {
        let before = self.listeners.len();
        self.listeners.retain(|listener| listener.stream != stream);
        self.listeners.len() < before
    }

    /// Somebody reads an event stream from now on, instead of who did; says whether it is there.
    ///
    /// What was on its way when the last reader went may be lost, so the present is told again.
    pub fn handle_opened(&mut self, stream: u32) -> bool {
        let shown = &self.shown;
        let Some(listener) = self.listeners.iter_mut().find(|l| l.stream == stream) else { return false };
        listener.unread = None;
        if listener.turns == shown.turns && listener.turns > listener.before {
            listener.turns = listener.turns.saturating_sub(1);
        }
        listener.layers = None;
        if listener.unplayable != "{}" {
            listener.unplayable.clear();
        }
        true
    }

    /// Nobody reads an event stream any more.
    pub fn handle_closed(&mut self, now: Instant, stream: u32) {
        if let Some(listener) = self.listeners.iter_mut().find(|l| l.stream == stream) {
            listener.unread.get_or_insert(now);
        }
    }

    /// Ends all event streams.
    pub fn clear(&mut self) {
        self.listeners.clear();
    }

    /// When an event stream that nobody reads is to be forgotten, or one that is read may be told rates again. Who is to
    /// be told something now is not waited for.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let now_is = (self.shown.layers_version, self.shown.shape_version);
        let due = |listener: &Listener| match (listener.unread, listener.layers) {
            (Some(since), _) => since.checked_add(UNREAD),
            (None, Some(known)) if known != now_is && listener.wants.contains(&Kind::Layers) => {
                listener.layers_at?.checked_add(RATES_EVERY)
            }
            _ => None,
        };
        self.listeners.iter().filter_map(due).min()
    }

    /// Forgets what nobody has read for too long.
    pub fn handle_timeout(&mut self, now: Instant) {
        let stale =
            |l: &Listener| l.unread.is_some_and(|since| now.saturating_duration_since(since) >= UNREAD);
        self.listeners.retain(|listener| !stale(listener));
    }

    /// What an event stream is to be told next; to be asked when there is room for it.
    pub fn poll(&mut self, now: Instant, stream: u32) -> Option<Said> {
        let shown = &self.shown;
        let listener = self.listeners.iter_mut().find(|l| l.stream == stream)?;
        while listener.turns < shown.turns {
            // Who is far behind hears the last two or three turns only: one of each kind, and how it is at the end.
            let behind = shown.turns.saturating_sub(listener.turns);
            let skipped = behind.saturating_sub(2) / 2 * 2;
            listener.turns = listener.turns.saturating_add(skipped).saturating_add(1);
            let kind = if listener.turns % 2 == 1 { Kind::Active } else { Kind::Inactive };
            if listener.wants.contains(&kind) {
                return Some(Said { kind, data: "{}".to_owned() });
            }
        }
        if listener.wants.contains(&Kind::Unplayable) && listener.unplayable != shown.unplayable {
            listener.unplayable.clone_from(&shown.unplayable);
            return Some(Said { kind: Kind::Unplayable, data: shown.unplayable.clone() });
        }
        let now_is = (shown.layers_version, shown.shape_version);
        if listener.layers == Some(now_is) || !listener.wants.contains(&Kind::Layers) {
            return None;
        }
        // Where there never was anything, there is nothing to tell.
        if listener.layers_at.is_none() && shown.turns.is_multiple_of(2) && shown.shape.is_empty() {
            return None;
        }
        let lately = |at: Instant| now.saturating_duration_since(at) < RATES_EVERY;
        let same_shape = listener.layers.is_some_and(|known| known.1 == now_is.1);
        if same_shape && listener.layers_at.is_some_and(lately) {
            return None;
        }
        listener.layers = Some(now_is);
        listener.layers_at = Some(now);
        Some(Said { kind: Kind::Layers, data: shown.layers.clone() })
    }
}

/// The data of `layers`: for each m-line that has a choice, by its number, what there is.
fn told(viewing: &Viewing) -> String {
    let layers = |line: &Line| {
        let layers = line.layers.iter();
        let layers = layers.map(|l| json!({"rid": l.id, "bitrate": l.bitrate, "current": l.current}));
        (line.index.to_string(), Value::Array(layers.collect()))
    };
    let lines = viewing.lines.iter().filter(|line| !line.layers.is_empty());
    Value::Object(lines.map(layers).collect::<Map<_, _>>()).to_string()
}

/// The data of `unplayable`: for each m-line to which nothing can be sent, by its number, the codec of what comes.
fn unplayable(viewing: &Viewing) -> String {
    let lines = viewing.lines.iter();
    let of = |line: &Line| Some((line.index.to_string(), Value::from(line.unplayable.clone()?)));
    Value::Object(lines.filter_map(of).collect::<Map<_, _>>()).to_string()
}

fn shape(viewing: &Viewing) -> Vec<(usize, String, bool, bool)> {
    let of = |line: &Line| {
        let index = line.index;
        line.layers.iter().map(move |l| (index, l.id.clone(), l.bitrate > 0, l.current)).collect::<Vec<_>>()
    };
    let mut shape: Vec<_> = viewing.lines.iter().flat_map(of).collect();
    // In an order that rates do not change.
    shape.sort_unstable();
    shape
}
