//! What a scenario wants of them, checked before anything is sent.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::client::{Gate, Trust};
use crate::scenario::{Chance, Scenario};

/// Most viewers of HLS, and most who chat, of one process.
const MOST: u32 = 20_000;
const ROOMS_MAX: u32 = 1_000;
/// How many come where nobody said.
const USUAL: u32 = 10;
/// Stands for a number in URLs.
const NUMBER: &str = "{i}";
/// Each use of chance has a sequence of its own.
const HLS_ARRIVALS: u64 = 3;
const CHAT_ARRIVALS: u64 = 4;

/// Their part of a plan.
#[derive(Debug, Clone, Default)]
pub struct BesidePlan {
    /// Viewers of HLS.
    pub hls: Option<HlsPlan>,
    /// Those who chat.
    pub chat: Option<ChatPlan>,
}

/// What a scenario does not say.
#[derive(Debug, Clone, Default)]
pub struct BesideAccess {
    /// Bearer token of viewers of HLS.
    pub hls: Option<String>,
    /// Bearer tokens of those who chat; the n-th of them has the n-th, and so on in a circle.
    pub chat: Vec<String>,
    /// Hosts that may be asked beside those of the URLs.
    pub hosts: Vec<String>,
    /// The targets are the user's own though they are neither loopback nor private.
    pub allow_public: bool,
    /// Whose certificates are believed.
    pub trust: Trust,
}

/// Viewers of HLS.
#[derive(Debug, Clone)]
pub struct HlsPlan {
    /// The playlist; may hold `{i}`.
    pub url: String,
    /// Publishers that `{i}` counts.
    pub rooms: u32,
    /// When each comes, from the start of the run; in order.
    pub due: Vec<Duration>,
    /// Who may be asked.
    pub gate: Arc<Gate>,
    pub(super) token: Option<String>,
    pub(super) trust: Trust,
    pub(super) http_timeout: Duration,
    pub(super) retry_for: Duration,
    pub(super) bind: Option<IpAddr>,
}

/// Those who chat.
#[derive(Debug, Clone)]
pub struct ChatPlan {
    /// The room; may hold `{i}`.
    pub url: String,
    /// Rooms that `{i}` counts.
    pub rooms: u32,
    /// Messages a second in each room.
    pub rate: f64,
    /// When each comes, from the start of the run; in order. The n-th is in the n-th room, and so on in a circle.
    pub due: Vec<Duration>,
    /// Who may be asked.
    pub gate: Arc<Gate>,
    pub(super) tokens: Vec<String>,
    pub(super) trust: Trust,
    pub(super) http_timeout: Duration,
    pub(super) retry_for: Duration,
    pub(super) bind: Option<IpAddr>,
    pub(super) seed: u64,
}

impl HlsPlan {
    /// The playlist with a publisher's number in it.
    pub fn url_of(&self, viewer: u32) -> String {
        numbered(&self.url, viewer % self.rooms.max(1))
    }
}

impl ChatPlan {
    /// A room's URL.
    pub fn url_of(&self, room: u32) -> String {
        numbered(&self.url, room)
    }
}

fn numbered(url: &str, number: u32) -> String {
    url.replace(NUMBER, &number.to_string())
}

/// Refuses a number out of range.
fn within(what: &str, value: u32, most: u32) -> Result<(), String> {
    if (1..=most).contains(&value) {
        Ok(())
    } else {
        Err(format!("{what} {value} is out of range; 1 to {most}"))
    }
}

impl BesidePlan {
    /// What a scenario comes to; says in words what is impossible.
    pub fn of(scenario: &Scenario, access: &BesideAccess) -> Result<Self, String> {
        Ok(Self { hls: hls(scenario, access)?, chat: chat(scenario, access)? })
    }

    /// Somebody is there.
    pub fn anybody(&self) -> bool {
        self.hls.is_some() || self.chat.is_some()
    }

    /// When the last of them is due.
    pub fn arrival(&self) -> Duration {
        let last = |due: &[Duration]| due.last().copied().unwrap_or_default();
        let hls = self.hls.as_ref().map(|hls| last(&hls.due)).unwrap_or_default();
        hls.max(self.chat.as_ref().map(|chat| last(&chat.due)).unwrap_or_default())
    }

    /// Open files that they need: a connection or two each.
    pub fn files(&self) -> u64 {
        let hls = self.hls.as_ref().map_or(0, |hls| hls.due.len() * 4);
        let chat = self.chat.as_ref().map_or(0, |chat| chat.due.len() * 2);
        crate::num::len(hls.saturating_add(chat))
    }
}

/// Publishers that `{i}` counts; one where it does not.
fn rooms(scenario: &Scenario, url: &str, what: &str, named: Option<u32>) -> Result<u32, String> {
    if !url.contains(NUMBER) {
        return Ok(1);
    }
    let publishers = scenario.publishers.url.as_ref().map(|_| scenario.publishers.count);
    named.or(publishers).filter(|count| *count > 0).ok_or_else(|| {
        let how = if what == "chat" { "; give rooms under [chat]" } else { "" };
        format!("the {what} URL has {{i}} but there are no publishers to count{how}")
    })
}

fn gate(urls: &[&str], hosts: Vec<String>, access: &BesideAccess) -> Result<Arc<Gate>, String> {
    let gate = Gate::new(urls, &hosts, access.allow_public);
    gate.map(Arc::new).map_err(|error| error.to_string())
}

fn hls(scenario: &Scenario, access: &BesideAccess) -> Result<Option<HlsPlan>, String> {
    let (hls, viewers) = (&scenario.hls, &scenario.viewers);
    if hls.url.is_empty() {
        return match hls.viewers {
            Some(1..) => Err("there is no playlist to watch: give --hls-url, or url under [hls]".to_owned()),
            Some(0) | None => Ok(None),
        };
    }
    let count = hls.viewers.unwrap_or(USUAL);
    within("HLS viewers", count, MOST)?;
    let rooms = rooms(scenario, &hls.url, "HLS", None)?;
    let hosts = access.hosts.iter().chain(&hls.allow_hosts).cloned().collect();
    let urls: Vec<String> = (0..rooms).map(|room| numbered(&hls.url, room)).collect();
    let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
    Ok(Some(HlsPlan {
        url: hls.url.clone(),
        rooms,
        due: hls.arrival.due(count, &mut Chance::of(scenario.seed, HLS_ARRIVALS)),
        gate: gate(&urls, hosts, access)?,
        token: access.hls.clone(),
        trust: access.trust.clone(),
        http_timeout: viewers.http_timeout,
        retry_for: viewers.retry_for,
        bind: viewers.bind,
    }))
}

fn chat(scenario: &Scenario, access: &BesideAccess) -> Result<Option<ChatPlan>, String> {
    let (chat, viewers) = (&scenario.chat, &scenario.viewers);
    let clients = chat.clients.or(chat.url.as_ref().map(|_| USUAL)).unwrap_or(0);
    if chat.url.is_none() && clients == 0 {
        return Ok(None);
    }
    within("chat clients", clients, MOST)?;
    let media = [Some(viewers.url.as_str()), scenario.publishers.url.as_deref()];
    let url = chat.url.clone().or_else(|| media.into_iter().flatten().find_map(room_of));
    let url = url.ok_or(
        "there is no room to chat in: give --chat-url, or url under [chat], such as http://HOST/v1/rooms/demo",
    )?;
    let url = url.trim_end_matches('/').to_owned();
    if !url.contains("/v1/rooms/") {
        return Err(format!("{url:?} is no room to chat in; write it as http://HOST/v1/rooms/demo"));
    }
    let rooms = rooms(scenario, &url, "chat", chat.rooms)?;
    within("rooms", rooms, ROOMS_MAX)?;
    if rooms > clients {
        return Err(format!("{clients} chat clients are too few for {rooms} rooms"));
    }
    let urls: Vec<String> = (0..rooms).map(|room| numbered(&url, room)).collect();
    let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
    Ok(Some(ChatPlan {
        rooms,
        rate: chat.rate,
        due: chat.arrival.due(clients, &mut Chance::of(scenario.seed, CHAT_ARRIVALS)),
        gate: gate(&urls, access.hosts.clone(), access)?,
        tokens: access.chat.clone(),
        trust: access.trust.clone(),
        http_timeout: viewers.http_timeout,
        retry_for: viewers.retry_for,
        bind: viewers.bind,
        seed: scenario.seed,
        url,
    }))
}

/// The room's URL where media is at `…/whep/{room}` or `…/whip/{room}`.
fn room_of(media: &str) -> Option<String> {
    let bare = media.split(['?', '#']).next()?;
    ["/whep/", "/whip/"].iter().find_map(|part| {
        let (head, rest) = bare.split_once(part)?;
        let room = rest.split('/').next().filter(|room| !room.is_empty())?;
        Some(format!("{head}/v1/rooms/{room}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(edit: impl FnOnce(&mut Scenario)) -> Result<BesidePlan, String> {
        let mut scenario = Scenario::default();
        edit(&mut scenario);
        BesidePlan::of(&scenario, &BesideAccess::default())
    }

    #[test]
    fn nobody_is_there_unless_somebody_wants_them() {
        assert!(!plan(|_| {}).unwrap().anybody());
        assert!(!plan(|s| s.chat.clients = Some(0)).unwrap().anybody());
    }

    #[test]
    fn rooms_follow_from_where_media_is() {
        let by_media = plan(|s| {
            s.publishers.url = Some("http://127.0.0.1:8080/whip/r-{i}".to_owned());
            s.publishers.count = 3;
            s.viewers.url = "http://127.0.0.1:8080/x/whep/r-{i}/main?region=a".to_owned();
            s.chat.clients = Some(6);
            s.hls.url = "http://127.0.0.1/r-{i}.m3u8".to_owned();
        })
        .unwrap();
        let (hls, chat) = (by_media.hls.clone().unwrap(), by_media.chat.clone().unwrap());
        assert_eq!((chat.rooms, chat.url_of(2)), (3, "http://127.0.0.1:8080/x/v1/rooms/r-2".to_owned()));
        assert_eq!((hls.due.len(), hls.url_of(4)), (10, "http://127.0.0.1/r-1.m3u8".to_owned()));
        assert_eq!(by_media.arrival(), Duration::from_millis(180));
        let own = plan(|s| s.chat.url = Some("http://127.0.0.1/v1/rooms/a/".to_owned())).unwrap();
        assert_eq!(own.chat.unwrap().url_of(0), "http://127.0.0.1/v1/rooms/a");
    }

    #[test]
    fn what_is_impossible_is_refused_with_the_reason() {
        let chat_at = |url: &str| {
            let url = url.to_owned();
            move |s: &mut Scenario| s.chat.url = Some(url)
        };
        for (refused, says) in [
            (plan(|s| s.chat.clients = Some(5)), "give --chat-url"),
            (plan(chat_at("http://127.0.0.1/whep/a")), "write it as http://HOST/v1/rooms/demo"),
            (plan(chat_at("http://127.0.0.1/v1/rooms/{i}")), "give rooms under [chat]"),
            (plan(chat_at("ftp://127.0.0.1/v1/rooms/a")), "http://"),
            (plan(|s| s.hls.viewers = Some(3)), "give --hls-url"),
            (plan(|s| s.hls.url = "nonsense".to_owned()), "http://"),
            (plan(|s| s.hls.url = "http://127.0.0.1/{i}".to_owned()), "no publishers to count"),
            (
                plan(|s| (s.hls.url, s.hls.viewers) = ("http://127.0.0.1/a".to_owned(), Some(0))),
                "HLS viewers 0 is out of range",
            ),
            (
                plan(|s| {
                    s.hls.url = "http://127.0.0.1/a".to_owned();
                    s.hls.allow_hosts = vec!["http://cdn".to_owned()];
                }),
                "HOST:PORT",
            ),
            (
                plan(|s| {
                    s.chat.url = Some("http://127.0.0.1/v1/rooms/{i}".to_owned());
                    (s.chat.rooms, s.chat.clients) = (Some(5), Some(2));
                }),
                "too few for 5 rooms",
            ),
        ] {
            let refused = refused.unwrap_err();
            assert!(refused.contains(says) && refused.lines().count() == 1, "{says}: {refused}");
        }
    }
}
