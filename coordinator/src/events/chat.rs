//! What makes a chat message: checked once, before the bus is touched.

use std::time::Duration;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use freshet_cluster::bus::DEDUP_WINDOW;
use freshet_cluster::unit::UnixMillis;
use freshet_cluster::{Identity, RoomId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Longest text, in characters.
pub const TEXT_MAX: usize = 500;
/// Longest client's message id, in characters.
pub const ID_MAX: usize = 64;
/// A first try this much in the future is a wrong clock that would outlive the bus's memory of ids.
const AHEAD_MAX: Duration = Duration::from_secs(60);
/// So long after the first try a retry is taken.
const RETRY_MAX: Duration = Duration::from_secs(600);
/// The bus has stored a message in this time, or the sender is told to try again under the same id.
pub(super) const STORE_TIMEOUT: Duration = Duration::from_secs(5);
// The bus must still know the id of a first try when the last retry gets to it, however the client's clock goes.
const _: () = assert!(
    RETRY_MAX.as_millis() + AHEAD_MAX.as_millis() + STORE_TIMEOUT.as_millis() <= DEDUP_WINDOW.as_millis(),
    "a retry could be stored twice"
);

/// What a post looks like.
pub(super) const FORM: &str = r#"{"id": "m-1", "text": "hello"}"#;

/// What a client posts.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ChatPost {
    /// The client's own id of the message, `[A-Za-z0-9_-]{1,64}`; the same for every retry.
    pub id: String,
    /// 1 to 500 characters.
    pub text: String,
    /// When the client first tried, in milliseconds since 1970; absent means now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_ms: Option<u64>,
    /// Who posts. Only in open mode: with tokens the token says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
}

/// The answer to a stored post.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChatReceipt {
    /// Its place in the history.
    pub seq: u64,
    /// The client's id.
    pub id: String,
    /// It had been stored before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub duplicate: bool,
}

/// Why a post is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PostError {
    /// The id is not of the form.
    #[error("id must be 1 to {ID_MAX} characters of A-Z, a-z, 0-9, '_' and '-'")]
    Id,
    /// Nothing is said.
    #[error("text is empty: write 1 to {TEXT_MAX} characters")]
    Empty,
    /// Too much is said.
    #[error("text has {0} characters: write at most {TEXT_MAX}")]
    TooLong(usize),
    /// Characters that no text needs.
    #[error("text contains the control character {0:?}: only line breaks and tabs are allowed")]
    Control(char),
    /// A clock that is wrong.
    #[error("at_ms is {0} ms in the future: set the clock, or leave at_ms out")]
    Future(u64),
    /// Too old for the bus to know whether it was stored.
    #[error(
        "the first try was {0} ms ago: after 10 minutes a retry could appear twice; post it anew under a new id"
    )]
    TooOld(u64),
}

/// Checks everything but the identity.
pub fn check(post: &ChatPost, now: UnixMillis) -> Result<(), PostError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if post.id.is_empty() || post.id.len() > ID_MAX || !post.id.chars().all(plain) {
        return Err(PostError::Id);
    }
    if post.text.trim().is_empty() {
        return Err(PostError::Empty);
    }
    let length = post.text.chars().count();
    if length > TEXT_MAX {
        return Err(PostError::TooLong(length));
    }
    if let Some(found) = post.text.chars().find(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
        return Err(PostError::Control(found));
    }
    let Some(at) = post.at_ms else { return Ok(()) };
    let ahead = at.saturating_sub(now.0);
    if ahead > millis(AHEAD_MAX) {
        return Err(PostError::Future(ahead));
    }
    let age = now.0.saturating_sub(at);
    if age >= millis(RETRY_MAX) { Err(PostError::TooOld(age)) } else { Ok(()) }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The id under which the bus stores a message: of room, identity and the client's id, so that nobody can swallow
/// another's message by guessing its id.
pub fn message_id(room: &RoomId, from: &Identity, id: &str) -> String {
    let mut hash = digest::Context::new(&digest::SHA256);
    for part in [room.as_str(), from.as_str(), id] {
        hash.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(part.as_bytes());
    }
    URL_SAFE_NO_PAD.encode(hash.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(10_000_000);

    fn post(id: &str, text: &str, at_ms: Option<u64>) -> ChatPost {
        ChatPost { id: id.into(), text: text.into(), at_ms, from: None }
    }

    #[test]
    fn posts_are_checked_at_their_bounds() {
        let most = "é".repeat(TEXT_MAX);
        let table = [
            (post("a", "hi", None), Ok(())),
            (post(&"a".repeat(64), &most, Some(NOW.0)), Ok(())),
            (post("", "hi", None), Err(PostError::Id)),
            (post(&"a".repeat(65), "hi", None), Err(PostError::Id)),
            (post("a.b", "hi", None), Err(PostError::Id)),
            (post("a", "", None), Err(PostError::Empty)),
            (post("a", " \n", None), Err(PostError::Empty)),
            (post("a", &format!("{most}x"), None), Err(PostError::TooLong(501))),
            (post("a", "line\nline", None), Ok(())),
            (post("a", "bell\u{7}", None), Err(PostError::Control('\u{7}'))),
            (post("a", "hi", Some(NOW.0 - 599_999)), Ok(())),
            (post("a", "hi", Some(NOW.0 - 600_000)), Err(PostError::TooOld(600_000))),
            (post("a", "hi", Some(NOW.0 + 60_000)), Ok(())),
            (post("a", "hi", Some(NOW.0 + 60_001)), Err(PostError::Future(60_001))),
        ];
        for (post, wanted) in table {
            assert_eq!(check(&post, NOW), wanted, "{post:?}");
        }
    }

    #[test]
    fn nobody_can_name_anothers_message() {
        let id =
            |room: &str, from: &str, id: &str| message_id(&room.parse().unwrap(), &from.parse().unwrap(), id);
        assert_eq!(id("r", "ann", "1"), id("r", "ann", "1"));
        let others = [id("r", "ann", "2"), id("r", "ann1", ""), id("r", "bob", "1"), id("ra", "nn", "1")];
        assert!(!others.contains(&id("r", "ann", "1")));
    }
}
