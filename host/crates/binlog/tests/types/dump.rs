//! Tables as a dump reads them: the very bytes that the stream brings of the same rows, and each row once whatever the key.

mod paging;
mod trouble;

use std::collections::BTreeMap;

use mysync_binlog::connection::Connection;
use mysync_binlog::decode::Change;
use mysync_binlog::dump::select::{Found, Limits, select};
use mysync_binlog::dump::table::{DumpTable, TableName, prepare, tables};
use mysync_binlog::source::Selected;
use mysync_change::pattern::Pattern;
use mysync_change::schema::{Fingerprint, TableShape};
use mysync_test_support::Random;

use crate::extremes::extremes;
use crate::generate::{Type, hex};
use crate::server::{Server, servers};
use crate::tables::Table;
use crate::{stream, tables_from_seed};

pub const ROOM: Limits = Limits { rows: u64::MAX, bytes: 256 << 20 };

/// What is known of a table's rows, from either side: keys with images, in order of their bytes.
#[derive(Debug, PartialEq)]
struct Seen {
    shape: TableShape,
    fingerprint: Fingerprint,
    rows: Vec<(Vec<u8>, Vec<u8>)>,
}

/// As [`stream::Database`] selects.
fn selected(database: &str) -> Selected {
    Selected {
        tables: vec![Pattern::new(&format!("{database}.*"))],
        exclude: Vec::new(),
        exclude_columns: vec![Pattern::new(&format!("{database}.*.excluded*"))],
    }
}

pub async fn session(server: &Server) -> Connection {
    let mut connection = server.connect().await;
    prepare(&mut connection).await.unwrap();
    connection
}

async fn all_tables(connection: &mut Connection, database: &str) -> Vec<TableName> {
    let names = tables(connection, &selected(database), &[Pattern::new("*")]).await.unwrap();
    names.into_iter().map(|(name, _)| name).collect()
}

pub async fn table(connection: &mut Connection, name: &TableName) -> DumpTable {
    let read = DumpTable::read(connection, &name.database, &name.table, &selected(&name.database)).await;
    read.unwrap_or_else(|error| panic!("{name}: {error}")).unwrap()
}

fn rows(found: &Found) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
    (0..found.chunk.len()).map(|at| found.chunk.row(at).unwrap()).map(|(image, key)| (key.to_vec(), image.to_vec()))
}

/// Reads all of a table, in chunks of random size where it has parts; rows are in the order in which they were read.
async fn read(connection: &mut Connection, table: &DumpTable, random: &mut Random) -> Seen {
    let mut seen = Seen { shape: table.shape().clone(), fingerprint: table.fingerprint(), rows: Vec::new() };
    let mut after: Option<Vec<String>> = None;
    loop {
        let limits = if table.has_parts() { Limits { rows: 1 + random.below(7), ..ROOM } } else { ROOM };
        let found = select(connection, table, after.as_deref(), &limits).await;
        let found = found.unwrap_or_else(|error| panic!("{} after {after:?}: {error}", seen.shape.full_name()));
        seen.rows.extend(rows(&found));
        if found.rows < limits.rows {
            return seen;
        }
        after = Some(found.last.unwrap());
    }
}

/// Every row that was inserted, by table.
async fn streamed(server: &Server, database: &str) -> BTreeMap<String, Seen> {
    let mut seen = BTreeMap::new();
    stream::read(server.stream().await, database, |decoded| {
        assert_eq!(decoded.change, Change::Insert);
        let shape = decoded.plan.shape().clone();
        let fingerprint = decoded.plan.fingerprint();
        let table = seen.entry(shape.name.clone()).or_insert(Seen { shape, fingerprint, rows: Vec::new() });
        assert_eq!(table.fingerprint, fingerprint);
        table.rows.push((decoded.key, decoded.after.unwrap()));
    })
    .await;
    seen
}

/// Holds what a dump reads of every table of a database against the stream, which has nothing but inserts, and answers the number of rows.
async fn compare(server: &Server, database: &str, random: &mut Random) -> usize {
    let mut streamed = streamed(server, database).await;
    let mut connection = session(server).await;
    let mut count = 0;
    for name in all_tables(&mut connection, database).await {
        let table = table(&mut connection, &name).await;
        let mut dumped = read(&mut connection, &table, random).await;
        let Some(mut streamed) = streamed.remove(&name.table) else {
            assert!(dumped.rows.is_empty(), "{name} is not in the stream");
            continue;
        };
        if streamed.shape != dumped.shape && server.hides_labels() {
            as_shown(&mut streamed.shape);
            streamed.fingerprint = streamed.shape.fingerprint();
        }
        assert_eq!(dumped.shape, streamed.shape);
        dumped.rows.sort();
        streamed.rows.sort();
        for (dumped, streamed) in dumped.rows.iter().zip(&streamed.rows) {
            assert!(
                dumped == streamed,
                "{name}: {:?} is not {:?}: {:?}",
                dumped.1.escape_ascii().to_string().chars().take(2000).collect::<String>(),
                streamed.1.escape_ascii().to_string().chars().take(2000).collect::<String>(),
                both_keys(&dumped.0, &streamed.0),
            );
        }
        assert_eq!(dumped, streamed, "{name}");
        count += dumped.rows.len();
    }
    assert!(streamed.is_empty(), "{:?} are not read", streamed.keys());
    count
}

/// MySQL 8.0 has no statement that shows a label's characters beyond three bytes of UTF-8. Values have them all the same.
fn as_shown(shape: &mut TableShape) {
    let attributes = shape.columns.iter_mut().flat_map(|column| &mut column.attributes);
    for (_, labels) in attributes.filter(|(name, _)| name == "labels") {
        *labels = labels.chars().map(|character| if character > '\u{FFFF}' { '?' } else { character }).collect();
    }
}

fn both_keys(dumped: &[u8], streamed: &[u8]) -> String {
    format!("keys {} and {}", hex(dumped), hex(streamed))
}

#[tokio::test]
async fn the_ends_of_every_range_are_the_same_by_dump_and_by_stream() {
    const DATABASE: &str = "mysync_dump_extremes";
    let (_guard, servers) = servers("dump of extremes", DATABASE).await;
    for mut server in servers {
        let mut random = Random::from_env();
        for (i, (kind, mut values)) in extremes(server.has_vectors()).into_iter().enumerate() {
            let table = Table::new(format!("t{i}"), vec![kind]);
            server.run(&table.create()).await;
            values.push("null".to_owned());
            for (id, value) in values.iter().enumerate() {
                server.run(&format!("insert into {} values ({id}, {value})", table.name)).await;
            }
        }
        let rows = compare(&server, DATABASE, &mut random).await;
        println!("{rows} rows");
        assert!(rows > 900, "{rows} rows");
        server.drop(DATABASE).await;
    }
}

#[tokio::test]
async fn random_tables_are_the_same_by_dump_and_by_stream() {
    const DATABASE: &str = "mysync_dump_random";
    let (_guard, servers) = servers("dump of random tables", DATABASE).await;
    for mut server in servers {
        let mut random = Random::from_env();
        for mut table in tables_from_seed(&mut random, server.has_vectors()) {
            use mysql_async::prelude::Queryable;
            if let Err(error) = server.sql.query_drop(table.create()).await {
                assert!(error.to_string().contains("Row size too large"), "{error}: {}", table.create());
                table.types = vec![Type::Json];
                server.run(&table.create()).await;
            }
            for id in 0..30 {
                let values: Vec<String> = table.types.iter().map(|t| t.value(&mut random)).collect();
                server.run(&format!("insert into {} values ({id}, {})", table.name, values.join(", "))).await;
            }
        }
        let rows = compare(&server, DATABASE, &mut random).await;
        println!("{rows} rows");
        server.drop(DATABASE).await;
    }
}

/// Tables that are not as most are, each with rows as SQL.
const KINDS: [(&str, &str); 26] = [
    ("swapped (a int, b int, c int, primary key (b, a))", "(1, 2, 3), (2, 1, null)"),
    ("prefixed (a varchar(20), b text, primary key (a, b(3)))", "('k', 'abcdef'), ('l', 'abcdef')"),
    ("prefixed_bytes (a blob, primary key (a(4)))", "('abcd'), (x'00')"),
    ("prefixed_wide (a varchar(20) character set utf8mb4, primary key (a(5)))", "('abcd'), ('')"),
    ("promoted (a int, b int not null, unique (b))", "(1, 2), (null, 3)"),
    ("promoted_second (a int, b int not null, c int not null, unique (a), unique (c, b), unique (b))", "(1, 2, 3)"),
    ("promoted_not_prefixed (a varchar(9) not null, b int not null, unique (a(3)), unique (b))", "('a', 2)"),
    ("promoted_bytes (a tinyblob not null, b int, unique (a(255)))", "('a', 2), ('', 3)"),
    (
        "promoted_computed (a int, v int as (a + 1) virtual not null, b int not null, unique (v), unique (b))",
        "(1, default, 2)",
    ),
    ("not_promoted_expression (a int not null, b int, unique ((a + 1)))", "(1, 2)"),
    ("keyless (a int, b int, unique (b))", "(1, 2), (1, null), (1, null)"),
    ("descending (a int, b int, primary key (a desc, b))", "(1, 2), (1, 3), (2, 1), (3, 1)"),
    (
        "wide (a enum('?', 'ж', 'it''s', 'a\\\\b', '\"'), b set('', 'x') character set latin1)",
        "(1, 1), ('ж', 2), (3, 3), (4, 0), (5, null)",
    ),
    (
        "zerofilled (a int(9) zerofill primary key, b decimal(9,2) zerofill, c float zerofill, d tinyint(3) zerofill)",
        "(1, 1.5, 1.5, 1), (0, 0, 0, 0)",
    ),
    (
        "fixed_point (a float(7,3) primary key, b double(9,4), c float(5,2) unsigned)",
        "(1.1, 1.1, 1.1), (-3.333, 1e3, 0)",
    ),
    (
        "wide_labels (a enum('?', '中𝄞', 'x?') character set utf16, b set('𝄞', '?', 'é') character set gb18030, c enum('?') character set utf32)",
        "(1, 7, 1), (2, 5, 1)",
    ),
    ("bools (a bool, b boolean not null, c bit, d serial)", "(true, false, 1, 1), (null, true, 0, 2)"),
    (
        "nationals (a national char(3), b nchar varchar(3), c char(0), d binary(0), e varchar(0), f char(3) byte)",
        "('é', 'ж', '', '', '', 'a'), (null, null, null, null, null, null)",
    ),
    (
        "longs (a long varchar, b long varbinary, c text(10), d text(1000), e text(70000), f blob(10), g blob(16777216))",
        "('a', 'b', 'c', 'd', 'e', 'f', 'g')",
    ),
    ("years (a year primary key, b year)", "(0, 2155), (1901, 0), (1970, 1999)"),
    (
        "places (a point not null srid 4326, b geometry, c geometrycollection, spatial index (a))",
        "(st_geomfromtext('POINT(1 2)', 4326), st_geomfromtext('POINT(1 2)'), st_geomfromtext('GEOMETRYCOLLECTION EMPTY'))",
    ),
    (
        "collated (a varchar(9) collate utf8mb4_bin primary key, b char(9) collate utf8mb4_0900_bin, c text collate latin1_general_cs, d varchar(9) character set binary)",
        "('a', 'b ', 'c', 'd')",
    ),
    (
        "computed (id int primary key, v int as (a + 1) virtual, excluded_text text character set gbk, a int, s varchar(20) as (concat(a, 'x')) stored, hidden int invisible, excluded_json json, z int, key ((a + z)))",
        "(1, default, 'x', 10, default, '{}', 20)",
    ),
    ("`odd ``name.dots` (`odd ``column.dots` int primary key, `select` int, `\"` int, `ж` int)", "(1, 2, 3, 4)"),
    ("quoting (`it's` int primary key, `b\\\\s` int)", "(1, 2)"),
    (
        "parted (a int, b varchar(5), primary key (a, b)) partition by hash (a) partitions 3",
        "(1, 'x'), (2, 'x'), (3, 'x'), (4, 'x'), (4, 'y'), (5, 'x')",
    ),
];

#[tokio::test]
async fn tables_that_are_not_as_most_are_have_the_shape_that_the_stream_gives_them() {
    const DATABASE: &str = "mysync_dump_kinds";
    let (_guard, servers) = servers("dump of odd tables", DATABASE).await;
    for mut server in servers {
        for (declared, rows) in KINDS {
            server.run(&format!("create table {declared}")).await;
            let name = declared.split(" (").next().unwrap();
            server.run(&format!("insert into {name} values {rows}")).await;
        }
        server.run("set session sql_generate_invisible_primary_key=on").await;
        server.run("create table unnamed (a int)").await;
        server.run("insert into unnamed values (9), (9)").await;
        server.run("set session sql_generate_invisible_primary_key=off").await;
        // Without strict mode a value that is missing is empty, or zero.
        server
            .run(
                "create table missing (id int primary key, a json not null, c datetime not null, d enum('a') not null)",
            )
            .await;
        server.run("insert into missing (id) values (1)").await;
        server.run("create table altered (a int primary key)").await;
        server.run("alter table altered add column f varchar(3) not null default 'x' first, add column v int as (a) virtual after f").await;
        server.run("insert into altered (a) values (1)").await;
        server.run("create view seen as select 1").await;
        if server.has_vectors() {
            server.run("create table vectors (v vector(1), a text character set latin2, w vector(7), b text character set gbk)").await;
            server.run("insert into vectors (a, b) values ('łő', '中')").await;
        }
        let rows = compare(&server, DATABASE, &mut Random::from_env()).await;
        assert!(rows > 50, "{rows} rows");
        server.drop(DATABASE).await;
    }
}
