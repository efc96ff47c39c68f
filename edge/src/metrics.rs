//! Prometheus metrics: the registry of a role, and what HTTP itself counts.

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{
    HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};
use tracing::warn;

/// The metrics of one role of a process.
#[derive(Debug, Clone, Default)]
pub struct Metrics(Registry);

impl Metrics {
    /// Nothing in it yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The registry itself.
    pub fn registry(&self) -> &Registry {
        &self.0
    }

    /// Adds a collector. A name that is there already is a mistake of ours: logged, and not shown twice.
    pub fn add(&self, collector: impl Collector + 'static) {
        if let Err(error) = self.0.register(Box::new(collector)) {
            warn!(%error, "a metric could not be registered");
        }
    }

    /// Adds `freshet_{role}_tasks`: how many tasks are alive on the runtime that answers the scrape. One that goes on
    /// rising tells of something that is never ended.
    pub fn add_tasks(&self, role: &str) -> Result<(), prometheus::Error> {
        let help = "Tasks alive in this process, those of shards left out";
        self.add(Tasks(IntGauge::new(format!("freshet_{role}_tasks"), help)?));
        Ok(())
    }

    /// `GET /metrics`: the text format 0.0.4.
    pub fn response(&self) -> Response {
        match TextEncoder::new().encode_to_string(&self.0.gather()) {
            Ok(text) => {
                let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
                ([(header::CONTENT_TYPE, kind)], text).into_response()
            }
            Err(error) => {
                warn!(%error, "metrics could not be encoded");
                StatusCode::INTERNAL_SERVER_ERROR.into_response()
            }
        }
    }
}

/// Looks at the runtime when it is asked.
struct Tasks(IntGauge);

impl Collector for Tasks {
    fn desc(&self) -> Vec<&Desc> {
        self.0.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            self.0.set(i64::try_from(runtime.metrics().num_alive_tasks()).unwrap_or(i64::MAX));
        }
        self.0.collect()
    }
}

/// What HTTP counts: connections and requests. Labels are routes, never names.
#[derive(Debug, Clone)]
pub struct HttpMetrics {
    /// Connections open now.
    pub connections: IntGauge,
    /// Connections refused because there were too many.
    pub refused: IntCounter,
    /// Connections closed because a time-out of ours ran out.
    pub timeouts: IntCounter,
    tls_expires: IntGaugeVec,
    tls_reloads: IntCounterVec,
    tls_failed: IntCounterVec,
    requests: IntCounterVec,
    seconds: HistogramVec,
}

impl HttpMetrics {
    /// Registers them under `freshet_{role}_http_…`.
    pub fn new(metrics: &Metrics, role: &str) -> Result<Self, prometheus::Error> {
        let name = |thing: &str| format!("freshet_{role}_http_{thing}");
        let buckets = vec![0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0];
        let made = Self {
            connections: IntGauge::new(name("connections"), "HTTP connections open now")?,
            refused: IntCounter::new(
                name("connections_refused_total"),
                "HTTP connections refused because of the limit",
            )?,
            timeouts: IntCounter::new(
                name("connections_timed_out_total"),
                "HTTP connections closed because nothing was asked on them in time",
            )?,
            tls_expires: IntGaugeVec::new(
                Opts::new(
                    name("tls_expires_timestamp_seconds"),
                    "When the certificate that is shown ends, on the Unix clock",
                ),
                &[],
            )?,
            tls_reloads: IntCounterVec::new(
                Opts::new(
                    name("tls_reloads_total"),
                    "Changes of the certificate's files, by what became of them",
                ),
                &["outcome"],
            )?,
            tls_failed: IntCounterVec::new(
                Opts::new(name("tls_handshakes_failed_total"), "Connections that ended before TLS stood"),
                &["reason"],
            )?,
            requests: IntCounterVec::new(
                Opts::new(name("requests_total"), "HTTP requests answered"),
                &["method", "route", "status"],
            )?,
            seconds: HistogramVec::new(
                HistogramOpts::new(name("request_duration_seconds"), "Time to the head of the answer")
                    .buckets(buckets),
                &["method", "route"],
            )?,
        };
        // Shown from the start, so that a first one is seen to be one more. The certificate's end is shown when there is one.
        for outcome in ["taken", "refused"] {
            made.tls_reloads.with_label_values(&[outcome]).inc_by(0);
        }
        for reason in ["slow", "plain", "broken"] {
            made.tls_failed.with_label_values(&[reason]).inc_by(0);
        }
        metrics.add(made.connections.clone());
        metrics.add(made.refused.clone());
        metrics.add(made.timeouts.clone());
        metrics.add(made.tls_expires.clone());
        metrics.add(made.tls_reloads.clone());
        metrics.add(made.tls_failed.clone());
        metrics.add(made.requests.clone());
        metrics.add(made.seconds.clone());
        Ok(made)
    }

    /// The certificate that is shown from now on ends then. Without TLS the gauge is not there at all.
    pub(crate) fn tls_expires(&self, at: u64) {
        let none: [&str; 0] = [];
        self.tls_expires.with_label_values(&none).set(i64::try_from(at).unwrap_or(i64::MAX));
    }

    /// The certificate's files have changed, and were `taken` or `refused`.
    pub(crate) fn tls_reloaded(&self, outcome: &str) {
        self.tls_reloads.with_label_values(&[outcome]).inc();
    }

    /// A connection ended before TLS stood.
    pub(crate) fn tls_failed(&self, reason: &str) {
        self.tls_failed.with_label_values(&[reason]).inc();
    }
}

/// Middleware that counts: `router.layer(axum::middleware::from_fn_with_state(http_metrics, metrics::count))`.
pub async fn count(State(metrics): State<HttpMetrics>, request: Request, next: Next) -> Response {
    let method = match request.method().as_str() {
        known @ ("GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS") => known.to_owned(),
        _ => "other".to_owned(),
    };
    let path = request.extensions().get::<MatchedPath>().cloned();
    let began = tokio::time::Instant::now();
    let response = next.run(request).await;
    let route = path.as_ref().map_or("none", MatchedPath::as_str);
    let status = response.status();
    metrics.requests.with_label_values(&[method.as_str(), route, status.as_str()]).inc();
    metrics.seconds.with_label_values(&[method.as_str(), route]).observe(began.elapsed().as_secs_f64());
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn tasks_are_counted_when_they_are_asked_for() {
        let metrics = Metrics::new();
        metrics.add_tasks("node").unwrap();
        let shown = || {
            let text = TextEncoder::new().encode_to_string(&metrics.registry().gather()).unwrap();
            let line = text.lines().find_map(|line| line.strip_prefix("freshet_node_tasks ")).unwrap();
            line.parse::<i64>().unwrap()
        };
        let before = shown();
        let tasks: Vec<_> = (0..3).map(|_| tokio::spawn(std::future::pending::<()>())).collect();
        assert_eq!(shown(), before + 3);
        for task in tasks {
            task.abort();
            assert!(task.await.is_err());
        }
        assert_eq!(shown(), before);
    }

    #[tokio::test]
    async fn metrics_are_shown_as_text() {
        let metrics = Metrics::new();
        let http = HttpMetrics::new(&metrics, "node").unwrap();
        http.refused.inc();
        metrics.add(http.refused.clone());
        let response = metrics.response();
        assert!(
            response.headers()["content-type"].to_str().unwrap().starts_with("text/plain; version=0.0.4")
        );
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        let text = std::str::from_utf8(&body).unwrap();
        assert!(text.contains("freshet_node_http_connections_refused_total 1"), "{text}");
        assert!(text.contains("# HELP freshet_node_http_connections "), "{text}");
    }
}
