//! Commits that are in the binlog and wait for a replica's answer: for as long as that takes no SELECT sees them.

use mysql_async::prelude::Queryable;
use mysync_pipeline::dump::Stage;
use mysync_test_support::{Mysql, skip};

use crate::dumps::{CHUNK_ROWS, COLUMNS, read_to_end, select};
use crate::load;
use crate::product::Product;
use crate::servers::{Commits, can_wait, installed};

/// Nobody answers: the server goes on after so many milliseconds, and once it has, does not wait again before it is told to.
const SEMI_SYNC: [&str; 2] = ["--plugin-load-add=semisync_source.so", "--rpl-semi-sync-source-timeout=4000"];

async fn dump_beside_a_commit_that_is_held(mysql: &Mysql) {
    load::create(mysql).await;
    let mut product = Product::start(mysql, 1, CHUNK_ROWS).await;
    mysql.exec("SET GLOBAL rpl_semi_sync_source_enabled = ON").await.unwrap();
    let mut conn = mysql.conn().await.unwrap();
    let commit = tokio::spawn(async move {
        conn.query_drop("UPDATE w.hot SET version = 2 WHERE id < 3").await.unwrap();
    });
    product.until(|picture| picture.has("hot", "2")).await;
    // The log has the new versions, and a SELECT still finds the old ones.
    assert_eq!(select(mysql, "hot", COLUMNS).await[0][1], "1");
    assert!(!commit.is_finished());
    let status = product.dump("w.hot").await;
    assert_eq!(status.stage, Stage::Done);
    commit.await.unwrap();
    read_to_end(&mut product, mysql, 1).await;
    assert_eq!(product.picture.rows("hot", COLUMNS), select(mysql, "hot", COLUMNS).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_waits_for_a_replica_is_not_undone_by_a_dump_that_does_not_see_it() {
    const NAME: &str = "semi-synchronous commits";
    let mut seen = 0;
    for home in installed(NAME) {
        for gtids in [true, false] {
            let commits = Commits { gtids, ordered: false };
            let Ok(mysql) = commits.start_with(&home, &SEMI_SYNC) else {
                println!("{} has no plugin for them", home.name());
                break;
            };
            if can_wait(&mysql, commits).await {
                dump_beside_a_commit_that_is_held(&mysql).await;
                println!("{}, {commits}: the dump waited for the commit", home.name());
                seen += 1;
            }
        }
    }
    if seen == 0 {
        skip(NAME, "no MySQL that is here has the plugin for them");
    }
}
