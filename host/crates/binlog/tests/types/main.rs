//! Every MySQL type through real servers: what is decoded equals what SELECT shows and what another decoder reads.
#![allow(clippy::unwrap_used, clippy::panic)]

mod charsets;
mod compare;
mod dump;
mod extremes;
mod generate;
mod json;
mod kinds_of_tables;
mod server;
mod stream;
mod tables;
#[path = "../../benches/workload/mod.rs"]
mod workload;
mod workloads;

use generate::Type;
use mysql_async::prelude::Queryable;
use mysync_test_support::Random;
use tables::{Table, verify};

const TABLES: usize = 40;
const ROWS: i64 = 12;

fn tables_from_seed(random: &mut Random, vectors: bool) -> Vec<Table> {
    let types = |random: &mut Random| (0..=random.below(14)).map(|_| Type::random(random, vectors)).collect();
    (0..TABLES).map(|i| Table::new(format!("t{i}"), types(random))).collect()
}

#[tokio::test]
async fn random_tables_are_decoded_as_select_shows_them() {
    const DATABASE: &str = "mysync_types";
    let (_guard, servers) = server::servers("random tables", DATABASE).await;
    for mut server in servers {
        let mut random = Random::from_env();
        let mut tables = tables_from_seed(&mut random, server.has_vectors());
        for table in &mut tables {
            if let Err(error) = server.sql.query_drop(table.create()).await {
                assert!(error.to_string().contains("Row size too large"), "{error}: {}", table.create());
                table.types = vec![Type::Json];
                server.run(&table.create()).await;
            }
            let compressed = if random.chance(40) { "on" } else { "off" };
            server.run(&format!("set session binlog_transaction_compression={compressed}")).await;
            for id in 0..ROWS {
                let values: Vec<String> = table.types.iter().map(|t| t.value(&mut random)).collect();
                server.run(&format!("insert into {} values ({id}, {})", table.name, values.join(", "))).await;
            }
            table.inserted = table.rows(&mut server).await;
            let image = if random.chance(40) { "minimal" } else { "full" };
            server.run(&format!("set session binlog_row_image={image}")).await;
            for id in 0..ROWS {
                let at = random.below(table.types.len() as u64) as usize;
                let value = table.types[at].value(&mut random);
                server.run(&format!("update {} set c{at} = {value} where id = {id}", table.name)).await;
            }
            table.updated = table.rows(&mut server).await;
            server.run(&format!("delete from {}", table.name)).await;
            server.run("set session binlog_row_image=full").await;
        }
        verify(&server, DATABASE, &tables).await;
        server.drop(DATABASE).await;
    }
}
