//! Dumps of tables that are being written, chunk by chunk.

use mysync_pipeline::dump::Stage;
use mysync_test_support::{Home, Mysql, Random};

use crate::load::{self, Load};
use crate::product::Product;
use crate::servers::{Commits, can_wait, installed};

/// So many rows that no chunk is without changes.
pub const CHUNK_ROWS: u64 = 5;
pub const COLUMNS: [&str; 2] = ["id", "version"];
const WRITERS: [u64; 4] = [8, 4, 2, 1];

/// Marks the end of the binlog, and reads up to there. Nobody writes any more.
pub async fn read_to_end(product: &mut Product, mysql: &Mysql, mark: u64) {
    mysql.exec(&format!("INSERT INTO w.mark VALUES ({mark})")).await.unwrap();
    product.until(|picture| picture.has("mark", &mark.to_string())).await;
}

/// The rows of a table, sorted.
pub async fn select(mysql: &Mysql, table: &str, columns: [&str; 2]) -> Vec<[String; 2]> {
    let [one, other] = columns.map(|column| format!("CAST({column} AS CHAR)"));
    let rows: Vec<(String, String)> = mysql.query(&format!("SELECT {one}, {other} FROM w.{table}")).await.unwrap();
    let mut rows: Vec<[String; 2]> = rows.into_iter().map(|(one, other)| [one, other]).collect();
    rows.sort();
    rows
}

/// What a server's dumps came to.
#[derive(Default)]
struct Came {
    chunks: u64,
    again: u64,
    left_out: u64,
}

async fn dump_under_load(home: &Home, commits: Commits, chunks: u64, random: &mut Random) -> Came {
    let mysql = commits.start(home);
    load::create(&mysql).await;
    if !can_wait(&mysql, commits).await {
        let status = Product::start(&mysql, 1, CHUNK_ROWS).await.dump("w.hot").await;
        assert!(matches!(&status.stage, Stage::Stopped(failure) if failure.code == "DUMP_NEEDS_GTIDS"), "{status:?}");
        println!("{}, {commits}: refused", home.name());
        return Came::default();
    }
    let mut came = Came::default();
    let (mut transactions, mut dumped, mut streamed, mut ahead) = (0, 0, 0, 0);
    for (number, writers) in WRITERS.into_iter().enumerate() {
        let number = number as u64;
        let load = Load::start(&mysql, number, writers, random).await;
        // The log begins in the middle of the table's life.
        let mut product = Product::start(&mysql, [1, 3][number as usize % 2], CHUNK_ROWS).await;
        let least = came.chunks + chunks / WRITERS.len() as u64;
        while came.chunks < least {
            let status = product.dump("w.hot").await;
            assert_eq!(status.stage, Stage::Done);
            came.chunks += status.chunks;
            came.again += status.chunks_again;
            came.left_out += status.rows_left_out;
        }
        transactions += load.stop().await;
        read_to_end(&mut product, &mysql, 1000 + number).await;
        assert_eq!(product.picture.rows("hot", COLUMNS), select(&mysql, "hot", COLUMNS).await);
        dumped += product.dumped;
        streamed += product.streamed;
        ahead += product.picture.ahead;
        // With GTIDs a commit may be visible a moment before it counts as executed.
        assert!(commits.gtids || product.picture.ahead == 0);
    }
    let (home, Came { chunks, again, left_out }) = (home.name(), &came);
    println!(
        "{home}, {commits}: {chunks} chunks, {again} read again, 0 stale; {dumped} rows dumped, {left_out} left out, {ahead} ahead; \
         {streamed} changes of {transactions} transactions"
    );
    came
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_row_of_a_dump_is_older_than_what_the_stream_brought_before() {
    let homes = installed("dumps under load");
    let servers = homes.iter().flat_map(|home| Commits::ALL.map(|commits| (home, commits)));
    let each = (crate::windows(720) as u64).div_ceil(servers.clone().count().max(1) as u64);
    let mut random = Random::from_env();
    let mut all = 0;
    for (home, commits) in servers {
        let came = dump_under_load(home, commits, each, &mut random).await;
        assert!(came.chunks == 0 || came.left_out > 0);
        all += came.chunks;
    }
    println!("{all} chunks, 0 stale");
}
