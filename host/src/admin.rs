//! Health, metrics and commands over HTTP.
//!
//! There is no login: it listens on loopback unless the operator says otherwise, tells web pages nothing, and takes no commands from them.

pub mod dumps;
pub mod report;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use axum::extract::{Path, Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use metrics_exporter_prometheus::PrometheusHandle;
use mysync_pipeline::dump::Change;
use mysync_pipeline::failure::Failure;
use mysync_pipeline::shutdown::Ending;
use mysync_pipeline::status::{Board, now_us};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tracing::info;

use crate::config::AdminSettings;
use crate::fault::Fault;
use crate::role::Role;
use crate::telemetry;
use dumps::Dumps;
use report::Report;

/// Commands that wait: they come from people.
pub const COMMANDS_MAX: usize = 16;
/// How long a command may take: a writer that starts compiles its component.
const COMMAND_TIME: Duration = Duration::from_secs(30);

/// What the supervisor is asked to do.
#[derive(Debug)]
pub enum Command {
    /// Start a writer's partitions again; answered once they have started, or one has stopped.
    Resume { writer: String, answer: oneshot::Sender<Result<(), Failure>> },
}

/// What there is to see of this process.
#[derive(Debug, Clone)]
pub struct Observed {
    /// The source's name.
    pub source: String,
    pub role: Role,
    pub board: Arc<Board>,
    /// Microseconds since 1970.
    pub started_us: u64,
    /// Of a log that deletes records after this time, in microseconds, whether or not a writer has read them.
    pub retention_us: Option<u64>,
}

impl Observed {
    pub fn new(source: String, role: Role, board: Arc<Board>) -> Self {
        Self { source, role, board, started_us: now_us(), retention_us: None }
    }

    /// The log deletes records after this time, whether or not a writer has read them.
    pub fn deleting_after(self, retention: Duration) -> Self {
        Self { retention_us: u64::try_from(retention.as_micros()).ok(), ..self }
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
    dumps: Dumps,
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
        dumps: Dumps,
    ) -> Result<Option<Self>, Fault> {
        let Some(address) = settings.listen else { return Ok(None) };
        let listener = TcpListener::bind(address).await.map_err(|error| {
            let cure = "another mysync may be running; give another address by --admin or admin.listen, or set that to \"none\"";
            Fault::failed("ADMIN_LISTEN", format!("cannot listen on {address}: {error}: {cure}"))
        })?;
        let mut router = router(Shared { observed, metrics, commands, dumps });
        if address.ip().is_loopback() {
            router = router.layer(middleware::from_fn(for_this_machine));
        }
        Ok(Some(Self { listener, router }))
    }

    /// Where it listens: the port is known only now if the configuration left it open.
    pub fn address(&self) -> Option<SocketAddr> {
        self.listener.local_addr().ok()
    }

    /// Serves until the end begins. Open requests are not waited for: they watch, they do not carry.
    pub async fn serve(self, mut ending: Ending) {
        if let Some(address) = self.address() {
            info!(%address, "admin is listening");
        }
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
        .route("/api/dumps", post(dumps::start))
        .route("/api/dumps/pause", post(|shared, which| dumps::change(shared, which, Change::Pause)))
        .route("/api/dumps/resume", post(|shared, which| dumps::change(shared, which, Change::Resume)))
        .route("/api/dumps/cancel", post(|shared, which| dumps::change(shared, which, Change::Cancel)))
        .layer(middleware::from_fn(not_for_pages))
        .with_state(shared)
}

/// A page of another site can have its own name lead here; it cannot send another name than its own.
async fn for_this_machine(request: Request, next: Next) -> Response {
    if names_this_machine(request.headers()) {
        return next.run(request).await;
    }
    let message = "the request names another host than this machine: send it to 127.0.0.1";
    refusal(StatusCode::FORBIDDEN, "ADMIN_HOST", message)
}

/// Browsers name the page that sends a POST; nobody else does.
async fn not_for_pages(request: Request, next: Next) -> Response {
    if request.method() == Method::POST && request.headers().contains_key(header::ORIGIN) {
        let message = "web pages may not send commands: use those of mysync itself";
        return refusal(StatusCode::FORBIDDEN, "ADMIN_ORIGIN", message);
    }
    next.run(request).await
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

async fn resume(State(shared): State<Shared>, Path(writer): Path<String>) -> Response {
    let (answer, answered) = oneshot::channel();
    if let Err(TrySendError::Full(_)) = shared.commands.try_send(Command::Resume { writer, answer }) {
        let message = "too many commands wait already: send it again in a moment";
        return refusal(StatusCode::SERVICE_UNAVAILABLE, "ADMIN_BUSY", message);
    }
    match tokio::time::timeout(COMMAND_TIME, answered).await {
        Ok(Ok(Ok(()))) => StatusCode::NO_CONTENT.into_response(),
        Ok(Ok(Err(failure))) => refusal(StatusCode::CONFLICT, failure.code, &failure.message),
        Ok(Err(_)) => refusal(
            StatusCode::SERVICE_UNAVAILABLE,
            "ADMIN_ENDING",
            "the process is ending: the next start goes on by itself",
        ),
        Err(_) => refusal(StatusCode::GATEWAY_TIMEOUT, "ADMIN_SLOW", "the writer has not started yet; see its status"),
    }
}

fn names_this_machine(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST) else { return true };
    host.to_str().ok().and_then(|host| host.parse::<Authority>().ok()).is_some_and(|authority| {
        let host = authority.host().trim_matches(['[', ']']);
        host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
    })
}

fn refusal(status: StatusCode, code: &str, message: &str) -> Response {
    (status, Json(Refusal { code: code.to_owned(), message: message.to_owned() })).into_response()
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use metrics_exporter_prometheus::PrometheusBuilder;
    use mysync_pipeline::shutdown::Shutdown;

    use super::*;
    use crate::client::{self, Answer};

    struct Served {
        board: Arc<Board>,
        address: SocketAddr,
        asked: mpsc::Receiver<Command>,
        shutdown: Shutdown,
    }

    async fn bind(listen: &str, board: Arc<Board>) -> Result<(Option<Admin>, mpsc::Receiver<Command>), Fault> {
        let (commands, asked) = mpsc::channel(COMMANDS_MAX);
        let metrics = PrometheusBuilder::new().build_recorder().handle();
        let settings = AdminSettings { listen: listen.parse().ok(), allow_remote: false };
        let observed = Observed::new("shop".to_owned(), Role::Run, board);
        let admin = Admin::bind(&settings, observed, metrics, commands, Dumps::none()).await?;
        Ok((admin, asked))
    }

    async fn serve() -> Served {
        let (board, shutdown) = (Arc::new(Board::default()), Shutdown::default());
        let (admin, asked) = bind("127.0.0.1:0", board.clone()).await.unwrap();
        let admin = admin.unwrap();
        let address = admin.address().unwrap();
        tokio::spawn(admin.serve(shutdown.ending()));
        Served { board, address, asked, shutdown }
    }

    impl Served {
        async fn get(&self, path: &'static str) -> Answer {
            let address = self.address;
            tokio::task::spawn_blocking(move || client::get(address, path)).await.unwrap().unwrap()
        }
    }

    fn stopped() -> mysync_pipeline::status::State {
        mysync_pipeline::status::State::Stopped(Failure::definite("WASM_TRAP", "writer users trapped"))
    }

    #[tokio::test]
    async fn health_is_red_with_the_reason_when_a_delivery_is_dead() {
        let served = serve().await;
        served.board.capture.set_state(mysync_pipeline::status::State::Running);
        assert_eq!(served.get("/healthz").await.status, 200);
        assert_eq!(served.get("/readyz").await.status, 200);
        served.board.writer("users", 0).set_state(stopped());
        let health = served.get("/healthz").await;
        assert_eq!(health.status, 503);
        assert!(health.body.contains("writer users/0: [WASM_TRAP] writer users trapped"), "{}", health.body);
        let report: Report = serde_json::from_str(&served.get("/api/status").await.body).unwrap();
        assert!(!report.healthy && report.writers[0].code.as_deref() == Some("WASM_TRAP"));
        let metrics = served.get("/metrics").await.body;
        assert!(metrics.contains("mysync_writer_state{writer=\"users\",partition=\"0\",state=\"stopped\"} 1"));
        served.shutdown.begin();
    }

    #[tokio::test]
    async fn not_ready_before_everything_has_started() {
        let served = serve().await;
        let answer = served.get("/readyz").await;
        assert_eq!((answer.status, answer.body.as_str()), (503, "starting\ncapture: starting\n"));
        assert_eq!(served.get("/nothing").await.status, 404);
    }

    #[tokio::test]
    async fn a_resume_is_answered_by_the_supervisor() {
        let mut served = serve().await;
        let address = served.address;
        for (verdict, status, body) in
            [(Ok(()), 204, ""), (Err(Failure::definite("WRITER_UNKNOWN", "there is none")), 409, "WRITER_UNKNOWN")]
        {
            let answered =
                tokio::task::spawn_blocking(move || client::post(address, "/api/writers/users-cache/resume"));
            let Command::Resume { writer, answer } = served.asked.recv().await.unwrap();
            assert_eq!(writer, "users-cache");
            answer.send(verdict).unwrap();
            let answered = answered.await.unwrap().unwrap();
            assert!(answered.status == status && answered.body.contains(body), "{answered:?}");
        }
        drop(served.asked);
        let answered = tokio::task::spawn_blocking(move || client::post(address, "/api/writers/x/resume"));
        assert_eq!(answered.await.unwrap().unwrap().status, 503);
    }

    async fn asked(address: SocketAddr, head: &'static str) -> String {
        let asked = tokio::task::spawn_blocking(move || {
            let mut stream = std::net::TcpStream::connect(address).unwrap();
            stream.write_all(format!("{head}\r\nContent-Length: 0\r\n\r\n").as_bytes()).unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            text
        });
        asked.await.unwrap().split_off("HTTP/1.x ".len())
    }

    #[tokio::test]
    async fn a_web_page_commands_nothing() {
        let mut served = serve().await;
        for request in [
            "POST /api/writers/users/resume HTTP/1.0\r\nHost: 127.0.0.1\r\nOrigin: http://evil.example",
            "POST /api/dumps HTTP/1.0\r\nHost: 127.0.0.1\r\nOrigin: http://evil.example",
            "POST /api/dumps/cancel HTTP/1.0\r\nHost: 127.0.0.1\r\nOrigin: null",
        ] {
            let text = asked(served.address, request).await;
            assert!(text.starts_with("403") && text.contains("ADMIN_ORIGIN"), "{request}: {text}");
        }
        assert!(served.asked.try_recv().is_err());
    }

    #[tokio::test]
    async fn a_page_whose_name_was_made_to_lead_here_reads_nothing() {
        let served = serve().await;
        for request in [
            "GET /api/status HTTP/1.0\r\nHost: evil.example",
            "GET /metrics HTTP/1.0\r\nHost: evil.example:7070",
            "GET /healthz HTTP/1.0\r\nHost: 127.0.0.1.evil.example",
            "GET /readyz HTTP/1.0\r\nHost: x",
            "GET /nothing HTTP/1.0\r\nHost: x",
            "POST /api/writers/users/resume HTTP/1.0\r\nHost: evil.example",
            "POST /api/dumps HTTP/1.0\r\nHost: evil.example",
        ] {
            let text = asked(served.address, request).await;
            assert!(text.starts_with("403") && text.contains("ADMIN_HOST"), "{request}: {text}");
        }
        for request in ["GET /metrics HTTP/1.0\r\nHost: localhost:1", "GET /api/status HTTP/1.0\r\nX: y"] {
            assert!(asked(served.address, request).await.starts_with("200"), "{request}");
        }
    }

    #[tokio::test]
    async fn who_listens_for_others_answers_to_any_name() {
        let (admin, _asked) = bind("0.0.0.0:0", Arc::default()).await.unwrap();
        let admin = admin.unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], admin.address().unwrap().port()));
        let shutdown = Shutdown::default();
        tokio::spawn(admin.serve(shutdown.ending()));
        assert!(asked(address, "GET /metrics HTTP/1.0\r\nHost: db1.example").await.starts_with("200"));
    }

    #[tokio::test]
    async fn a_taken_port_is_told_and_none_is_off() {
        let served = serve().await;
        let taken = bind(&served.address.to_string(), Arc::default()).await.err().unwrap();
        assert_eq!(taken.code, "ADMIN_LISTEN");
        assert!(bind("none", Arc::default()).await.unwrap().0.is_none());
    }
}
