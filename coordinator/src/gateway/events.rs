//! An event stream of a viewer's session: opened at the session's node and passed on as it comes.
//!
//! It lasts as long as the node sends something (a comment at least, every 15 s), the client listens and this
//! coordinator runs. Each counts among the listeners that a coordinator takes at most.

use std::any::Any;
use std::convert::Infallible;
use std::net::IpAddr;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::response::Response;
use freshet_edge::Problem;
use freshet_edge::body::JSON_MAX;
use freshet_edge::names::SessionPath;
use freshet_edge::places::Holder;
use freshet_edge::sse::KEEP_ALIVE;
use futures::StreamExt as _;
use futures::stream::{self, Stream};
use http::Request;
use hyper::body::Incoming;
use tokio::sync::watch;

use super::call::{self, Opened};
use super::join::Gateway;
use super::session::TIME;

/// A node that has not even sent a comment for so long is gone.
const SILENCE: Duration = KEEP_ALIVE.saturating_mul(3);

/// What a coordinator gives to one listener.
pub struct Place {
    /// Given back when the listener has gone.
    pub permit: Box<dyn Any + Send>,
    /// True when the coordinator stops.
    pub stopping: watch::Receiver<bool>,
}

impl Gateway {
    /// Serves GET on an event stream of a session. `place` is taken before the node is asked.
    pub async fn session_events(
        &self,
        name: SessionPath,
        client_ip: Option<IpAddr>,
        request: Request<Body>,
        place: impl FnOnce(Option<&Holder>) -> Result<Place, Problem>,
    ) -> Result<Response, Problem> {
        let (base, whole, access) = self.of_session(&name, request, JSON_MAX).await?;
        let place = place(Holder::of(&access, client_ip).as_ref())?;
        let opened = self.client.open(&base, &whole, &access, TIME, |call| call.client_ip = client_ip).await;
        match opened.map_err(|error| self.out_of_reach(&name, &error))? {
            Opened::Answer(answer) => Ok(call::pass_on(answer)),
            Opened::Stream(response) => {
                let (head, body) = response.into_parts();
                let events = Body::from_stream(until_silent(body, place, SILENCE));
                Ok(call::clean(Response::from_parts(head, events)))
            }
        }
    }
}

struct Passing {
    body: axum::body::BodyDataStream,
    place: Place,
}

/// The body's bytes until it ends or breaks, is silent for too long, or the coordinator stops.
fn until_silent(
    body: Incoming,
    place: Place,
    silence: Duration,
) -> impl Stream<Item = Result<Bytes, Infallible>> {
    let passing = Passing { body: Body::new(body).into_data_stream(), place };
    stream::unfold(passing, move |mut passing| async move {
        let Passing { body, place } = &mut passing;
        let next = tokio::time::timeout(silence, body.next());
        let chunk = tokio::select! {
            _ = place.stopping.wait_for(|stop| *stop) => return None,
            chunk = next => chunk.ok()??.ok()?,
        };
        Some((Ok(chunk), passing))
    })
}
