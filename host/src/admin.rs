//! Health, metrics and commands over HTTP.
//!
//! There is no login: it listens on loopback unless the operator says otherwise, and takes no commands from web pages.

pub mod report;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use metrics_exporter_prometheus::PrometheusHandle;
use mysync_pipeline::failure::Failure;
use mysync_pipeline::shutdown::Ending;
use mysync_pipeline::status::{Board, now_us};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tracing::info;

use crate::config::AdminSettings;
use crate::fault::Fault;
use crate::telemetry;
use report::Report;

/// Commands that wait: they come from people.
pub const COMMANDS_MAX: usize = 16;
/// How long a command may take: a writer that starts compiles its component.
const COMMAND_TIME: Duration = Duration::from_secs(30);

/// What the supervisor is asked to do.
#[derive(Debug)]
pub enum Command {
    /// Start a stopped writer's partitions again.
    Resume { writer: String, answer: oneshot::Sender<Result<(), Failure>> },
}

/// What there is to see of this process.
#[derive(Debug, Clone)]
pub struct Observed {
    /// The source's name.
    pub source: String,
    pub board: Arc<Board>,
    /// Microseconds since 1970.
    pub started_us: u64,
}

impl Observed {
    pub fn new(source: String, board: Arc<Board>) -> Self {
        Self { source, board, started_us: now_us() }
    }

    /// How long nothing was heard of the source, counted from the start at most.
    pub fn silence_us(&self, now_us: u64) -> u64 {
        now_us.saturating_sub(self.board.capture.heard_us.load(Relaxed).max(self.started_us))
    }
}

/// Why a request was not done, in the form all commands answer it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Refusal {
    pub code: String,
    pub message: String,
}

#[derive(Clone)]
struct Shared {
    observed: Observed,
    metrics: PrometheusHandle,
    commands: mpsc::Sender<Command>,
}

/// A server that listens and does not serve yet: a taken port is told before anything else starts.
pub struct Admin {
    listener: TcpListener,
    router: Router,
}

impl Admin {
    /// None: switched off.
    pub async fn bind(
        settings: &AdminSettings,
        observed: Observed,
        metrics: PrometheusHandle,
        commands: mpsc::Sender<Command>,
    ) -> Result<Option<Self>, Fault> {
        let Some(address) = settings.listen else { return Ok(None) };
        let listener = TcpListener::bind(address).await.map_err(|error| {
            let cure = "another mysync may be running; choose another admin.listen, or \"none\"";
            Fault::failed("ADMIN_LISTEN", format!("cannot listen on {address}: {error}: {cure}"))
        })?;
        let router = router(Shared { observed, metrics, commands });
        Ok(Some(Self { listener, router }))
    }

    /// Where it listens: the port is known only now if the configuration left it open.
    pub fn address(&self) -> Option<SocketAddr> {
        self.listener.local_addr().ok()
    }

    /// Serves until the end begins. Open requests are not waited for: they watch, they do not carry.
    pub async fn serve(self, mut ending: Ending) {
        info!(address = ?self.address(), "admin is listening");
        tokio::select! {
            () = ending.begun() => {}
            _ = axum::serve(self.listener, self.router) => {}
        }
    }
}

fn router(shared: Shared) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/api/status", get(status))
        .route("/api/writers/{name}/resume", post(resume))
        .with_state(shared)
}

async fn metrics(State(shared): State<Shared>) -> Response {
    let text = telemetry::render(&shared.observed, now_us()) + &shared.metrics.render();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

async fn status(State(shared): State<Shared>) -> Json<Report> {
    Json(Report::new(&shared.observed, now_us()))
}

async fn healthz(State(shared): State<Shared>) -> Response {
    let report = Report::new(&shared.observed, now_us());
    let mut lines = vec![if report.healthy { "healthy" } else { "unhealthy" }.to_owned()];
    lines.extend(report.reasons.iter().map(|reason| format!("{}: [{}] {}", reason.of, reason.code, reason.message)));
    verdict(report.healthy, lines)
}

async fn readyz(State(shared): State<Shared>) -> Response {
    let report = Report::new(&shared.observed, now_us());
    let mut lines = vec![if report.ready { "ready" } else { "starting" }.to_owned()];
    if !report.ready {
        lines.push(format!("capture: {}", report.capture.state));
        lines.extend(report.writers.iter().map(|w| format!("writer {}/{}: {}", w.writer, w.partition, w.state)));
    }
    verdict(report.ready, lines)
}

fn verdict(good: bool, lines: Vec<String>) -> Response {
    let code = if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, lines.join("\n") + "\n").into_response()
}

async fn resume(State(shared): State<Shared>, Path(writer): Path<String>, headers: HeaderMap) -> Response {
    // Browsers name the page that sends a POST; nobody else does.
    if headers.contains_key(header::ORIGIN) {
        return refusal(StatusCode::FORBIDDEN, "ADMIN_ORIGIN", "web pages may not send commands");
    }
    let (answer, answered) = oneshot::channel();
    if shared.commands.try_send(Command::Resume { writer, answer }).is_err() {
        return refusal(
            StatusCode::SERVICE_UNAVAILABLE,
            "ADMIN_BUSY",
            "the supervisor takes no commands at the moment",
        );
    }
    match tokio::time::timeout(COMMAND_TIME, answered).await {
        Ok(Ok(Ok(()))) => StatusCode::NO_CONTENT.into_response(),
        Ok(Ok(Err(failure))) => refusal(StatusCode::CONFLICT, failure.code, &failure.message),
        Ok(Err(_)) => refusal(StatusCode::SERVICE_UNAVAILABLE, "ADMIN_ENDING", "the process is ending"),
        Err(_) => refusal(StatusCode::GATEWAY_TIMEOUT, "ADMIN_SLOW", "the writer has not started yet; see its status"),
    }
}

fn refusal(status: StatusCode, code: &str, message: &str) -> Response {
    (status, Json(Refusal { code: code.to_owned(), message: message.to_owned() })).into_response()
}
