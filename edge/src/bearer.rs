//! Who is asking: bearer tokens (RFC 6750), or nobody in particular in open mode.
//!
//! A token travels in the `Authorization` header alone: never in a URL, where logs and referrers would keep it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use freshet_cluster::token::{Bound, Claims, Grant, Grants, Keyring, Rooms, verify};
use freshet_cluster::unit::UnixMillis;
use freshet_cluster::{Identity, RoomId, StreamId};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use rand::Rng as _;

use crate::keys::Keys;
use crate::problem::Problem;
use crate::rules::Rules;
use crate::waiting::RETRY_S;

/// The protection space of `WWW-Authenticate`.
pub const REALM: &str = "freshet";

/// Who watches a public room without a token. All of them go by this name, so a session of theirs belongs to whoever
/// knows its URL.
pub const GUEST: &str = "~guest";

/// A caller whose say has been checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// Who: the token's identity; in open mode the name given, or a random guest.
    pub identity: Identity,
    /// Where.
    pub rooms: Rooms,
    /// What.
    pub grants: Grants,
    /// Streams that may be named: ids, or `"*"`.
    pub streams: Vec<String>,
    /// How many sessions it may hold in a room.
    pub bound: Bound,
    /// Nobody was asked for a token. The identity is then a name, no proof: whoever knows a session's URL owns it.
    pub open: bool,
}

impl Access {
    /// What a token's claims allow.
    pub fn from_claims(claims: Claims) -> Self {
        let Claims { room, identity, grants, streams, max_sessions, .. } = claims;
        Self { identity, rooms: room, grants, streams, bound: Bound::of(max_sessions), open: false }
    }

    /// Everything, under this name: open mode.
    pub fn open(identity: Identity) -> Self {
        let streams = vec!["*".to_owned()];
        let bound = Bound::default();
        Self { identity, rooms: Rooms::Every, grants: Grants::all(), streams, bound, open: true }
    }

    /// An identity that may nothing yet.
    pub fn holder(identity: Identity) -> Self {
        let (grants, streams, bound) = (Grants::default(), Vec::new(), Bound::default());
        Self { identity, rooms: Rooms::Every, grants, streams, bound, open: false }
    }

    /// A viewer of a public room.
    pub fn public(room: &RoomId) -> Result<Self, Problem> {
        let grants = [Grant::Subscribe].into_iter().collect();
        Ok(Self { rooms: Rooms::One(room.clone()), grants, ..Self::holder(name(GUEST)?) })
    }

    /// Refuses with 403 in open mode, where everybody has every grant and nobody is known.
    pub fn require_operator(&self) -> Result<(), Problem> {
        if !self.open {
            return Ok(());
        }
        Err(insufficient(
            "in open mode nobody can be told from others, so nobody runs a room: use API keys".to_owned(),
        ))
    }

    /// Refuses with 403 unless the deed is allowed in the room.
    pub fn require(&self, room: &RoomId, grant: Grant) -> Result<(), Problem> {
        let lacking = if !self.rooms.covers(room) {
            format!("the token is for room {:?}, not for {:?}", self.rooms.as_str(), room.as_str())
        } else if !self.grants.allows(grant) {
            format!("the token does not grant {grant}")
        } else {
            return Ok(());
        };
        Err(insufficient(format!("{lacking}: get a token with room {:?} and grant {grant}", room.as_str())))
    }

    /// Whether the token names the stream, or all.
    pub fn names_stream(&self, stream: &StreamId) -> bool {
        self.streams.iter().any(|s| s == "*" || s == stream.as_str())
    }

    /// The identity that a token proves: none in open mode, where it is a name, and none of guests, who share one.
    pub fn proven(&self) -> Option<&Identity> {
        self.owner().filter(|identity| identity.as_str() != GUEST)
    }

    /// Who must own a session that is asked for; `None` in open mode, where its URL is the credential.
    pub fn owner(&self) -> Option<&Identity> {
        (!self.open).then_some(&self.identity)
    }
}

/// The door: tokens of these keys, or open.
#[derive(Clone)]
pub struct Guard {
    mode: Arc<Mode>,
    rules: Rules,
}

enum Mode {
    Open,
    Keys(Keys),
}

impl Guard {
    /// Wants a token signed by one of the keys. Without keys nobody passes.
    pub fn tokens(keys: impl Into<Keyring>) -> Self {
        Self { mode: Arc::new(Mode::Keys(Keys::new(keys.into()))), rules: Rules::default() }
    }

    /// Lets everybody pass, under the name given or as a random guest.
    pub fn open() -> Self {
        Self { mode: Arc::new(Mode::Open), rules: Rules::default() }
    }

    /// Whether no token is asked for.
    pub fn is_open(&self) -> bool {
        matches!(*self.mode, Mode::Open)
    }

    /// What operators want of rooms.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// The keys in force, which can be changed; none in open mode.
    pub fn keys(&self) -> Option<&Keys> {
        match &*self.mode {
            Mode::Open => None,
            Mode::Keys(keys) => Some(keys),
        }
    }

    /// Says who asks. 401 with `WWW-Authenticate: Bearer` when there is no valid token.
    pub fn authenticate(&self, headers: &HeaderMap, now: UnixMillis) -> Result<Access, Problem> {
        match &*self.mode {
            Mode::Open => Ok(Access::open(guest(rand::random())?)),
            Mode::Keys(keys) => {
                let token = bearer(headers)?;
                let claims = verify(&keys.current(), token, now);
                let claims = claims.map_err(|e| invalid(e.to_string()).genuine(e.is_signed()))?;
                Ok(Access::from_claims(claims))
            }
        }
    }

    /// Says whose session is asked for: of a token's identity, or of a guest of a public room.
    pub fn holder(&self, headers: &HeaderMap, now: UnixMillis) -> Result<Access, Problem> {
        if !headers.contains_key(header::AUTHORIZATION) && !self.is_open() {
            self.read()?;
            if self.rules.has_public() {
                return Ok(Access::holder(name(GUEST)?));
            }
        }
        self.authenticate(headers, now)
    }

    /// As [`Guard::authenticate`]; to watch a public room needs no token. 403 for who was sent away from the room; 503
    /// as long as it is unknown which rooms are public, and who was sent away.
    pub fn enter(
        &self,
        headers: &HeaderMap,
        room: &RoomId,
        grant: Grant,
        now: UnixMillis,
    ) -> Result<Access, Problem> {
        let bare = grant == Grant::Subscribe && !headers.contains_key(header::AUTHORIZATION);
        if bare {
            self.read()?;
        }
        let access = if bare && !self.is_open() && self.rules.is_public(room) {
            Access::public(room)?
        } else {
            self.authenticate(headers, now)?
        };
        self.read()?;
        self.admit(&access, room, now)?;
        Ok(access)
    }

    /// Refuses with 503 while the rules are unread. Without tokens there are none.
    fn read(&self) -> Result<(), Problem> {
        if self.is_open() || self.rules.is_read() {
            return Ok(());
        }
        let detail = "it is not read yet which rooms are public and who was sent away: ask again";
        let after = Duration::from_secs(rand::rng().random_range(RETRY_S));
        Err(Problem::unavailable("starting", detail, after))
    }

    /// Refuses with 403 who was sent away from the room. Without tokens a name is no proof, and nobody is.
    pub fn admit(&self, access: &Access, room: &RoomId, now: UnixMillis) -> Result<(), Problem> {
        if access.open { Ok(()) } else { self.rules.admit(&access.identity, room, now) }
    }

    /// Says who asks, and refuses with 403 unless the deed is allowed in the room.
    pub fn check(
        &self,
        headers: &HeaderMap,
        room: &RoomId,
        grant: Grant,
        now: UnixMillis,
    ) -> Result<Access, Problem> {
        let access = self.enter(headers, room, grant, now)?;
        access.require(room, grant)?;
        Ok(access)
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_open() { "Guard(open)" } else { "Guard(tokens)" })
    }
}

/// The name of someone without a name.
fn guest(bits: u64) -> Result<Identity, Problem> {
    name(&format!("guest-{bits:016x}"))
}

fn name(text: &str) -> Result<Identity, Problem> {
    text.parse().map_err(|_| Problem::internal())
}

/// Takes the token out of `Authorization: Bearer <token>`. The scheme's case does not matter (RFC 9110 section 11.1).
pub fn bearer(headers: &HeaderMap) -> Result<&str, Problem> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        return Err(missing());
    };
    if values.next().is_some() {
        return Err(invalid_request("there are two Authorization headers: send one"));
    }
    let text = value.to_str().map_err(|_| invalid_request("the Authorization header is not ASCII"))?;
    let (scheme, token) = text.trim().split_once(' ').ok_or_else(missing)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(missing());
    }
    let token = token.trim_start();
    let token68 = |b: u8| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b);
    if token.is_empty() || !token.bytes().all(token68) {
        return Err(invalid("token is not of the characters that RFC 6750 allows".to_owned()));
    }
    Ok(token)
}

/// No credentials: RFC 6750 section 3.1 wants no error code then.
fn missing() -> Problem {
    Problem::new(
        StatusCode::UNAUTHORIZED,
        "a token is needed: send it as `Authorization: Bearer <token>` (`freshet token` mints one)",
    )
    .reason("token-missing")
    .header(header::WWW_AUTHENTICATE, challenge(None, ""))
}

fn invalid(detail: String) -> Problem {
    let challenge = challenge(Some("invalid_token"), &detail);
    Problem::new(StatusCode::UNAUTHORIZED, detail)
        .reason("token-invalid")
        .header(header::WWW_AUTHENTICATE, challenge)
}

fn invalid_request(detail: &str) -> Problem {
    Problem::bad_request(detail)
        .reason("token-invalid")
        .header(header::WWW_AUTHENTICATE, challenge(Some("invalid_request"), detail))
}

/// 403: the token is good, and not for this.
pub fn insufficient(detail: String) -> Problem {
    let challenge = challenge(Some("insufficient_scope"), &detail);
    Problem::forbidden(detail).reason("not-allowed").header(header::WWW_AUTHENTICATE, challenge)
}

/// `WWW-Authenticate` of RFC 6750 section 3. Characters that it does not allow in a description become `'`.
fn challenge(error: Option<&str>, description: &str) -> HeaderValue {
    let mut text = format!("Bearer realm=\"{REALM}\"");
    if let Some(error) = error {
        let plain = |c: char| if matches!(c, ' '..='~') && c != '"' && c != '\\' { c } else { '\'' };
        let description: String = description.chars().map(plain).collect();
        text.push_str(&format!(", error=\"{error}\", error_description=\"{description}\""));
    }
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("Bearer"))
}

#[cfg(test)]
mod tests;
