//! `/healthz`: the process answers. `/readyz`: it should be sent work.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, header};

use crate::problem::Problem;

/// Says whether the process should be sent work, and why not.
#[derive(Clone)]
pub struct Readiness(Arc<dyn Fn() -> Result<(), String> + Send + Sync>);

impl Readiness {
    /// Asks this each time. It must answer at once.
    pub fn new(ask: impl Fn() -> Result<(), String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(ask))
    }

    /// Ready as soon as it listens.
    pub fn always() -> Self {
        Self::new(|| Ok(()))
    }

    /// `GET /readyz`: 200, or 503 with what is missing.
    pub fn response(&self) -> Response {
        match (self.0)() {
            Ok(()) => ready(),
            Err(why) => Problem::unavailable("not-ready", why, Duration::from_secs(2)).into_response(),
        }
    }
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Readiness")
    }
}

/// `GET /healthz`.
pub async fn healthz() -> Response {
    text("ok\n")
}

/// What `GET /readyz` is answered while the process should be sent work.
pub fn ready() -> Response {
    text("ready\n")
}

fn text(body: &'static str) -> Response {
    ([(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))], body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_says_what_is_missing() {
        assert_eq!(Readiness::always().response().status(), 200);
        let waiting = Readiness::new(|| Err("etcd has not answered yet".to_owned())).response();
        assert_eq!(waiting.status(), 503);
        assert_eq!(waiting.headers()["retry-after"], "2");
    }
}
