//! What a request may name beyond its path: query parameters, and the stream that a publish means.

use aws_lc_rs::digest;
use axum::extract::Query;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use freshet_cluster::{Identity, StreamId};
use http::Uri;
use serde::Deserialize;

use crate::bearer::{Access, insufficient};
use crate::door::is_region;
use crate::names;
use crate::problem::Problem;

/// The stream of a publish in open mode that names none.
pub const MAIN: &str = "main";

/// The query parameters of WHIP and WHEP. Others mean nothing and are let be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Params {
    /// Open mode: the stream to publish.
    pub stream: Option<String>,
    /// Open mode: the name to go by.
    pub identity: Option<String>,
    /// WHEP: `1` makes a session although nobody publishes.
    pub wait: Option<String>,
    /// Where the client says it is.
    pub region: Option<String>,
}

impl Params {
    /// Reads them; 400 when the query is not form-encoded, or names one twice.
    pub fn read(uri: &Uri) -> Result<Self, Problem> {
        let read = Query::<Self>::try_from_uri(uri);
        read.map(|q| q.0)
            .map_err(|e| Problem::bad_request(format!("the query cannot be read: {}", e.body_text())))
    }

    /// Whether a viewer waits for a publisher.
    pub fn waits(&self) -> Result<bool, Problem> {
        match self.wait.as_deref() {
            None | Some("0" | "false") => Ok(false),
            Some("" | "1" | "true") => Ok(true),
            Some(_) => Err(Problem::bad_request("wait must be 1 or 0")),
        }
    }

    /// The region that the client names, unless it names none.
    pub fn region(&self) -> Result<Option<&str>, Problem> {
        match self.region.as_deref() {
            None | Some("") => Ok(None),
            Some(region) if is_region(region) => Ok(Some(region)),
            Some(_) => Err(Problem::bad_request("region must be 64 printable characters at most")),
        }
    }
}

impl Access {
    /// Takes the name that open mode lets a caller choose. With tokens the parameter means nothing.
    pub fn named(mut self, params: &Params) -> Result<Self, Problem> {
        if let (true, Some(name)) = (self.open, &params.identity) {
            self.identity =
                name.parse().map_err(|e| Problem::bad_request(format!("{e}")).reason("bad-id"))?;
            if self.identity.is_reserved() {
                let detail = "identities that begin with ~ are Freshet's own: go by another name";
                return Err(Problem::bad_request(detail).reason("bad-id"));
            }
        }
        Ok(self)
    }

    /// The stream that a publish means: the one named in the path where the caller may, else the caller's own.
    ///
    /// With tokens the own stream is [`own_stream`]; in open mode it is `?stream=`, or `main`.
    pub fn publishes(&self, named: Option<StreamId>, params: &Params) -> Result<StreamId, Problem> {
        if self.open {
            return match named {
                Some(stream) => Ok(stream),
                None => names::stream(params.stream.as_deref().unwrap_or(MAIN)),
            };
        }
        let own = own_stream(&self.identity)?;
        match named {
            None => Ok(own),
            Some(stream) if stream == own || self.names_stream(&stream) => Ok(stream),
            Some(stream) => Err(insufficient(format!(
                "the token does not name stream {:?}: publish without a name, or get a token whose streams have it",
                stream.as_str()
            ))),
        }
    }
}

/// The stream of an identity: itself where it is a valid id, else `s-` and 22 characters of its hash.
pub fn own_stream(identity: &Identity) -> Result<StreamId, Problem> {
    if let Ok(stream) = identity.as_str().parse() {
        return Ok(stream);
    }
    let hash = digest::digest(&digest::SHA256, identity.as_str().as_bytes());
    let encoded: String = URL_SAFE_NO_PAD.encode(hash).chars().take(22).collect();
    names::stream(&format!("s-{encoded}"))
}

#[cfg(test)]
mod tests {
    use freshet_cluster::token::{Grant, Rooms};

    use super::*;

    fn params(query: &str) -> Params {
        Params::read(&format!("/whip/r?{query}").parse().unwrap()).unwrap()
    }

    fn holder(identity: &str, streams: &[&str]) -> Access {
        Access {
            rooms: Rooms::Every,
            grants: [Grant::Publish].into_iter().collect(),
            streams: streams.iter().map(|s| (*s).to_owned()).collect(),
            ..Access::holder(identity.parse().unwrap())
        }
    }

    fn stream(text: &str) -> Option<StreamId> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn a_bare_publish_is_the_identitys_own_stream() {
        let own = |identity| holder(identity, &[]).publishes(None, &params("stream=other")).unwrap();
        assert_eq!(own("alice").as_str(), "alice");
        // printf 'Zoë' | sha256sum, base64url, 22 characters.
        assert_eq!(own("Zoë").as_str(), "s-xqEmmFgvwRBOokEHotcmgU");
        assert_ne!(own("Zoë"), own("Zoé"));
        assert_eq!(own(&"x".repeat(65)).as_str().len(), 24);
    }

    #[test]
    fn another_stream_must_be_named_by_the_token() {
        let none = Params::default();
        holder("alice", &[]).publishes(stream("alice"), &none).unwrap();
        holder("alice", &["screen"]).publishes(stream("screen"), &none).unwrap();
        holder("alice", &["*"]).publishes(stream("anything"), &none).unwrap();
        let refused = holder("alice", &["screen"]).publishes(stream("bob"), &none).unwrap_err();
        assert_eq!(refused.status(), 403);
    }

    #[test]
    fn open_mode_names_freely() {
        let open = Access::open("guest-1".parse().unwrap());
        assert_eq!(open.publishes(None, &params("")).unwrap().as_str(), "main");
        assert_eq!(open.publishes(None, &params("stream=cam2")).unwrap().as_str(), "cam2");
        assert_eq!(open.publishes(stream("x"), &params("stream=cam2")).unwrap().as_str(), "x");
        assert_eq!(open.publishes(None, &params("stream=a%2Fb")).unwrap_err().status(), 400);
        let named = open.clone().named(&params("identity=Zo%C3%AB+1")).unwrap();
        assert_eq!(named.identity.as_str(), "Zoë 1");
        assert_eq!(open.clone().named(&params("identity=")).unwrap_err().status(), 400);
        assert_eq!(open.clone().named(&params("identity=~guest")).unwrap_err().status(), 400);
        let holder = holder("alice", &[]).named(&params("identity=bob")).unwrap();
        assert_eq!(holder.identity.as_str(), "alice");
    }

    #[test]
    fn a_query_is_read_strictly_where_it_matters() {
        assert!(params("wait=1&x=%ff").waits().unwrap());
        assert!(params("wait").waits().unwrap());
        assert!(!params("wait=0").waits().unwrap());
        assert!(!params("").waits().unwrap());
        assert_eq!(params("wait=maybe").waits().unwrap_err().status(), 400);
        assert_eq!(params("region=eu+west").region().unwrap(), Some("eu west"));
        assert_eq!((params("region=").region().unwrap(), params("").region().unwrap()), (None, None));
        for bad in ["%0A".to_owned(), "x".repeat(65)] {
            assert_eq!(params(&format!("region={bad}")).region().unwrap_err().status(), 400);
        }
        let twice = Params::read(&"/whip/r?stream=a&stream=b".parse().unwrap());
        assert_eq!(twice.unwrap_err().status(), 400);
    }
}
