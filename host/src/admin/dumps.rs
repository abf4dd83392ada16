//! Orders of dumps over HTTP. Each is answered once it is in effect; one that is not answered in time is given up and not carried out later.

use std::future::Future;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use mysync_pipeline::dump::{Change, Orders, Request};
use mysync_pipeline::failure::{Failure, Kind};
use serde::{Deserialize, Serialize};

use super::{Shared, refusal};
use crate::config::{Settings, WriterSettings};

/// Capture takes an order between two blocks, as soon as it has its source.
const ORDER_TIME: Duration = Duration::from_secs(30);

/// Of whom dumps are ordered, and what can be in an order.
#[derive(Debug, Clone)]
pub struct Dumps {
    orders: Orders,
    writers: Arc<[WriterSettings]>,
    rows_per_second: Option<u64>,
    order_time: Duration,
}

impl Dumps {
    pub fn new(settings: &Settings, orders: Orders) -> Self {
        let (writers, rows_per_second) = (settings.writers.clone().into(), settings.dump.rows_per_second);
        Self { orders, writers, rows_per_second, order_time: ORDER_TIME }
    }

    /// The tables are those that the writers' files name by now.
    fn request(&self, asked: Asked) -> Result<Request, Failure> {
        let is_meant = |writer: &&WriterSettings| asked.writer.as_ref().is_none_or(|name| *name == writer.name);
        let mut tables = Vec::new();
        for writer in self.writers.iter().filter(is_meant) {
            for table in writer.read_again()?.tables {
                if !tables.contains(&table) {
                    tables.push(table);
                }
            }
        }
        if tables.is_empty() {
            return Err(self.unknown(asked.writer.as_deref()));
        }
        let rows_per_second = asked.rows_per_second.map(NonZeroU64::get).or(self.rows_per_second);
        Ok(Request { writer: asked.writer.map(Arc::from), tables, rows_per_second })
    }

    fn unknown(&self, writer: Option<&str>) -> Failure {
        let message = match writer {
            None => "no writer runs here, so nobody would take the rows of a dump".to_owned(),
            Some(writer) => {
                let known: Vec<&str> = self.writers.iter().map(|writer| writer.name.as_str()).collect();
                format!("no writer {writer} runs here; there is {}", known.join(", "))
            }
        };
        Failure::definite("WRITER_UNKNOWN", message)
    }
}

/// A misspelt name must not make a dump for every writer of one that was meant for one.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    writer: Option<String>,
    rows_per_second: Option<NonZeroU64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    number: Option<u64>,
}

/// The dump that was ordered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ordered {
    pub number: u64,
}

/// The dumps that an order has changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    pub numbers: Vec<u64>,
}

pub(super) async fn start(State(shared): State<Shared>, asked: Result<Query<Asked>, QueryRejection>) -> Response {
    let Query(asked) = match asked {
        Ok(asked) => asked,
        Err(rejection) => return unreadable(&rejection),
    };
    let dumps = &shared.dumps;
    let ordered = async {
        let number = dumps.orders.start(dumps.request(asked)?).await?;
        Ok(Ordered { number })
    };
    answered(ordered, dumps.order_time).await
}

pub(super) async fn change(
    State(shared): State<Shared>,
    which: Result<Query<Which>, QueryRejection>,
    change: Change,
) -> Response {
    let Query(which) = match which {
        Ok(which) => which,
        Err(rejection) => return unreadable(&rejection),
    };
    let dumps = &shared.dumps;
    let changed = async { Ok(Changed { numbers: dumps.orders.change(which.number, change).await? }) };
    answered(changed, dumps.order_time).await
}

fn unreadable(rejection: &QueryRejection) -> Response {
    refusal(StatusCode::BAD_REQUEST, "ADMIN_REQUEST", &rejection.body_text())
}

async fn answered<T: Serialize>(order: impl Future<Output = Result<T, Failure>>, time: Duration) -> Response {
    match tokio::time::timeout(time, order).await {
        Ok(Ok(done)) => Json(done).into_response(),
        Ok(Err(failure)) => {
            let status = match failure.kind {
                Kind::Definite => StatusCode::CONFLICT,
                Kind::Transient => StatusCode::SERVICE_UNAVAILABLE,
            };
            refusal(status, failure.code, &failure.message)
        }
        Err(_) => {
            let message = "capture has not taken the order: it takes none while it has no source. It is given up; see 'mysync status', and \
                           order it again";
            refusal(StatusCode::GATEWAY_TIMEOUT, "ADMIN_SLOW", message)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::path::Path;

    use metrics_exporter_prometheus::PrometheusBuilder;
    use mysync_pipeline::dump::{self, Order, OrderBook, Wish};
    use mysync_pipeline::shutdown::Shutdown;
    use mysync_pipeline::status::Board;
    use tokio::sync::mpsc;
    use tokio::task::JoinHandle;

    use super::super::{Admin, Observed};
    use super::*;
    use crate::client::{self, Answer};
    use crate::config::AdminSettings;
    use crate::role::Role;

    impl Dumps {
        /// Of nobody, for nobody.
        pub fn none() -> Self {
            Self { orders: dump::orders().0, writers: Arc::new([]), rows_per_second: None, order_time: ORDER_TIME }
        }
    }

    /// A process with two writers, whose capture is the test.
    struct World {
        folder: tempfile::TempDir,
        address: SocketAddr,
        book: OrderBook,
        _shutdown: Shutdown,
    }

    fn write(folder: &Path, name: &str, tables: &str) {
        let text = format!("component = \"w.wasm\"\nconnector = \"cache\"\ntables = [{tables}]\n");
        std::fs::write(folder.join("team").join(name), text).unwrap();
    }

    async fn world(order_time: Duration) -> World {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("team")).unwrap();
        std::fs::write(folder.path().join("team/w.wasm"), "").unwrap();
        write(folder.path(), "cities.toml", "\"shop.cities\"");
        write(folder.path(), "users.toml", "\"shop.users\", \"shop.cities\"");
        let main = "[source]\nname = \"shop\"\nurl = \"mysql://u@h\"\ntables = [\"*\"]\n\
                    [connectors.cache]\nkind = \"redis\"\nurl = \"redis://h\"\n\
                    [[folders]]\npath = \"team\"\nconnectors = [\"cache\"]\nkeys = [\"*\"]\n\
                    [dump]\nrows_per_second = 7\n[admin]\nlisten = \"127.0.0.1:0\"\n";
        std::fs::write(folder.path().join("mysync.toml"), main).unwrap();
        let settings = Settings::load(&folder.path().join("mysync.toml")).unwrap();
        let (orders, book) = dump::orders();
        let dumps = Dumps { order_time, ..Dumps::new(&settings, orders) };
        let (observed, shutdown) =
            (Observed::new("shop".to_owned(), Role::Run, Arc::new(Board::default())), Shutdown::default());
        let metrics = PrometheusBuilder::new().build_recorder().handle();
        let settings: &AdminSettings = &settings.admin;
        let admin = Admin::bind(settings, observed, metrics, mpsc::channel(1).0, dumps).await.unwrap().unwrap();
        let address = admin.address().unwrap();
        tokio::spawn(admin.serve(shutdown.ending()));
        World { folder, address, book, _shutdown: shutdown }
    }

    impl World {
        fn post(&self, path: &'static str) -> JoinHandle<Answer> {
            let address = self.address;
            tokio::task::spawn_blocking(move || client::post(address, path).unwrap())
        }

        /// What capture is asked for by this, which it answers with 3.
        async fn started(&mut self, path: &'static str) -> (Option<String>, Vec<String>, Option<u64>) {
            let asked = self.post(path);
            let Some(Order { wish: Wish::Start(request), answer }) = self.book.recv().await else {
                panic!("{path} starts nothing")
            };
            answer.send(Ok(vec![3])).unwrap();
            let answered = asked.await.unwrap();
            assert_eq!((answered.status, answered.body.as_str()), (200, "{\"number\":3}"), "{path}");
            let tables = request.tables.iter().map(|table| table.as_str().to_owned()).collect();
            (request.writer.map(|writer| writer.to_string()), tables, request.rows_per_second)
        }
    }

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[tokio::test]
    async fn a_dump_has_the_tables_that_its_writers_name_by_now() {
        let mut world = world(ORDER_TIME).await;
        let all = world.started("/api/dumps").await;
        assert_eq!(all, (None, texts(&["shop.cities", "shop.users"]), Some(7)), "each once");
        write(world.folder.path(), "users.toml", "\"shop.users\", \"shop.orders\"");
        let one = world.started("/api/dumps?writer=users&rows_per_second=90").await;
        assert_eq!(one, (Some("users".to_owned()), texts(&["shop.users", "shop.orders"]), Some(90)));
        std::fs::write(world.folder.path().join("team/users.toml"), "tables = 1").unwrap();
        let refused = world.post("/api/dumps").await.unwrap();
        assert!(refused.status == 409 && refused.body.contains("CONFIG_MISSING_KEY"), "{refused:?}");
    }

    #[tokio::test]
    async fn what_is_not_understood_orders_nothing() {
        let mut world = world(ORDER_TIME).await;
        for (path, status, told) in [
            ("/api/dumps?writer=user", 409, "no writer user runs here; there is cities, users"),
            ("/api/dumps?writer=", 409, "WRITER_UNKNOWN"),
            ("/api/dumps?writter=users", 400, "writter"),
            ("/api/dumps?writer=users&rows_per_second=0", 400, "ADMIN_REQUEST"),
            ("/api/dumps?rows_per_second=fast", 400, "ADMIN_REQUEST"),
            ("/api/dumps/cancel?numbr=3", 400, "ADMIN_REQUEST"),
            ("/api/dumps/cancel?number=three", 400, "ADMIN_REQUEST"),
            ("/api/dumps/stop", 404, ""),
        ] {
            let answer = world.post(path).await.unwrap();
            assert!(answer.status == status && answer.body.contains(told), "{path}: {answer:?}");
        }
        assert!(world.book.try_recv().is_err());
    }

    #[tokio::test]
    async fn dumps_are_changed_one_by_one_or_all_at_once() {
        let mut world = world(ORDER_TIME).await;
        for (path, expected) in [
            ("/api/dumps/pause?number=3", (Some(3), Change::Pause)),
            ("/api/dumps/resume", (None, Change::Resume)),
            ("/api/dumps/cancel", (None, Change::Cancel)),
        ] {
            let asked = world.post(path);
            let Some(Order { wish, answer }) = world.book.recv().await else { panic!("{path}") };
            assert!(matches!(wish, Wish::Change { number, change } if (number, change) == expected), "{wish:?}");
            answer.send(Ok(vec![3, 4])).unwrap();
            assert_eq!(asked.await.unwrap().body, "{\"numbers\":[3,4]}");
        }
        let asked = world.post("/api/dumps/pause?number=9");
        let Some(Order { answer, .. }) = world.book.recv().await else { panic!("nothing was asked") };
        answer.send(Err(Failure::definite("DUMP_OTHER", "there is none"))).unwrap();
        let refused = asked.await.unwrap();
        assert!(refused.status == 409 && refused.body.contains("DUMP_OTHER"), "{refused:?}");
    }

    #[tokio::test]
    async fn an_order_that_capture_did_not_take_in_time_is_not_carried_out_later() {
        let mut world = world(Duration::from_millis(1)).await;
        let answer = world.post("/api/dumps").await.unwrap();
        assert!(answer.status == 504 && answer.body.contains("ADMIN_SLOW"), "{answer:?}");
        let Some(Order { answer, .. }) = world.book.recv().await else { panic!("nothing was asked") };
        assert!(answer.is_closed());
    }

    #[tokio::test]
    async fn a_process_without_capture_takes_no_orders() {
        let mut world = world(ORDER_TIME).await;
        world.book.close();
        let answer = world.post("/api/dumps/pause").await.unwrap();
        assert!(answer.status == 503 && answer.body.contains("DUMP_NOT_TAKEN"), "{answer:?}");
    }
}
