//! Tables as a dump reads them: the very bytes that the stream brings of the same rows, and each row once whatever the key.

use std::collections::BTreeMap;

use mysync_binlog::connection::Connection;
use mysync_binlog::decode::Change;
use mysync_binlog::dump::select::{Found, Limits, select};
use mysync_binlog::dump::table::{DumpTable, TableName, prepare, tables};
use mysync_binlog::source::Selected;
use mysync_change::image::{Image, Value};
use mysync_change::pattern::Pattern;
use mysync_change::schema::{Fingerprint, TableShape};
use mysync_test_support::Random;

use crate::extremes::extremes;
use crate::generate::{Type, hex};
use crate::server::{Server, servers};
use crate::tables::Table;
use crate::{stream, tables_from_seed};

const ROOM: Limits = Limits { rows: u64::MAX, bytes: 256 << 20 };

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

async fn session(server: &Server) -> Connection {
    let mut connection = server.connect().await;
    prepare(&mut connection).await.unwrap();
    connection
}

async fn all_tables(connection: &mut Connection, database: &str) -> Vec<TableName> {
    let names = tables(connection, &selected(database), &[Pattern::new("*")]).await.unwrap();
    names.into_iter().map(|(name, _)| name).collect()
}

async fn table(connection: &mut Connection, name: &TableName) -> DumpTable {
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
        if streamed.shape != dumped.shape {
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
                streamed_kinds(&dumped.0, &streamed.0),
            );
        }
        assert_eq!(dumped, streamed, "{name}");
        count += dumped.rows.len();
    }
    assert!(streamed.is_empty(), "{:?} are not read", streamed.keys());
    count
}

/// No statement shows a label's characters beyond three bytes of UTF-8. Values have them all the same.
fn as_shown(shape: &mut TableShape) {
    let attributes = shape.columns.iter_mut().flat_map(|column| &mut column.attributes);
    for (_, labels) in attributes.filter(|(name, _)| name == "labels") {
        *labels = labels.chars().map(|character| if character > '\u{FFFF}' { '?' } else { character }).collect();
    }
}

fn streamed_kinds(dumped: &[u8], streamed: &[u8]) -> String {
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
const KINDS: [(&str, &str); 25] = [
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

/// Keys to read by: columns, the key, and how many of `size` values each column has.
struct Paged {
    columns: &'static str,
    key: &'static str,
    /// A row's key as SQL, from three numbers.
    row: fn(u64, u64, u64) -> String,
    /// An index can find what is behind a key. Otherwise each chunk begins with the first row.
    by_index: bool,
}

const fn paged(columns: &'static str, key: &'static str, row: fn(u64, u64, u64) -> String) -> Paged {
    Paged { columns, key, row, by_index: true }
}

/// Words that collations put close together or next to each other's prefixes, with and without spaces and case. Each charset has them.
const WORDS: [&str; 24] = [
    "''", "' '", "'a'", "'A'", "'a '", "'ab'", "'aB'", "'a\tb'", "'b'", "'B'", "'z'", "'Z'", "'0'", "'9'", "'10'",
    "'_'", "'~'", "'ss'", "'ae'", "'a\\\\'", "'it''s'", "'\"'", "'zz zz'", "'a\0'",
];
/// The same beyond ASCII, where the charset has them.
const LETTERS: [&str; 12] = ["ä", "Ä", "ß", "é", "É", "ø", "ñ", "þ", "ÿ", "日", "本", "ア"];

fn word(n: u64) -> String {
    let n = n as usize;
    match WORDS.get(n) {
        Some(word) => (*word).to_owned(),
        None => format!("'{}{}'", LETTERS[n % LETTERS.len()], if n < 40 { "" } else { "x" }),
    }
}

fn integer(n: u64) -> i64 {
    [i64::MIN, i64::MIN + 1, -1, 0, 1, i64::MAX].get(n as usize).copied().unwrap_or((n as i64 - 20) * 1_000_003)
}

fn float(n: u64) -> String {
    let few = ["0", "-0.1", "0.1", "3.402823466e38", "-3.402823466e38", "1.175494351e-38", "1e-45", "16777217"];
    few.get(n as usize).map_or_else(|| format!("{:e}", (n as f64 - 20.0) / 7.0), |few| (*few).to_owned())
}

fn moment(n: u64) -> String {
    let few =
        ["0000-00-00 00:00:00", "1970-01-01 00:00:01.000001", "2038-01-19 03:14:07.499999", "1999-12-31 23:59:59.9"];
    few.get(n as usize)
        .map_or_else(|| format!("'2020-01-{:02} 00:00:{:02}.{n:06}'", 1 + n % 28, n % 60), |few| format!("'{few}'"))
}

fn span(n: u64) -> String {
    let few = ["838:59:59", "-838:59:59", "-00:00:00.000001", "00:00:00", "-838:59:58.999999"];
    few.get(n as usize).map_or_else(
        || format!("'{}{:02}:00:{:02}.{n:06}'", if n % 2 == 0 { "-" } else { "" }, n, n % 60),
        |few| format!("'{few}'"),
    )
}

fn bytes(n: u64) -> String {
    let few = [
        "''", "x'00'", "x'0000'", "x'20'", "x'2020'", "x'61'", "x'6100'", "x'6120'", "x'ff'", "x'ff00'", "x'5c'",
        "x'27'",
    ];
    few.get(n as usize).map_or_else(|| format!("x'{:02x}{:02x}'", n * 5 % 256, n % 256), |few| (*few).to_owned())
}

fn paged_tables() -> Vec<Paged> {
    let mut all = vec![
        paged("a bigint", "a", |a, _, _| integer(a).to_string()),
        paged("a bigint unsigned", "a", |a, _, _| (integer(a) as u64).to_string()),
        paged("a mediumint, b tinyint unsigned", "a, b", |a, b, _| format!("{}, {}", a as i64 - 20, b * 6)),
        paged("a int, b int, c int", "c, a, b", |a, b, c| format!("{}, {}, {}", a % 4, b as i64 % 4 - 2, c % 4)),
        paged("a int, b int", "a desc, b", |a, b, _| format!("{a}, {}", b % 3)),
        paged("a int, b varchar(9)", "a desc, b desc", |a, b, _| format!("{}, {}", a % 5, word(b))),
        paged("a decimal(30,10), b decimal(65,30)", "b, a", |a, b, _| {
            format!("{}.{a}, {}.{}1", a as i64 - 20, b as i64 - 9, "0".repeat(28))
        }),
        paged("a float, b int", "a, b", |a, b, _| format!("{}, {}", float(a), b % 3)),
        paged("a double", "a", |a, _, _| float(a)),
        paged("a float(9,2), b int", "a, b", |a, b, _| format!("{}, {}", (a as f64 - 20.0) / 7.0, b % 3)),
        paged("a datetime(6)", "a", |a, _, _| moment(a)),
        paged("a timestamp(6), b timestamp", "b, a", |a, b, _| format!("{}, {}", moment(a), moment(b % 4))),
        paged("a date, b time(6)", "a, b", |a, b, _| {
            format!("if({a} < 2, '0000-00-00', '2020-01-01' + interval {} month), {}", a % 4, span(b))
        }),
        paged("a time(2)", "a", |a, _, _| span(a)),
        paged("a year, b int", "a, b", |a, b, _| format!("if({a} % 4 = 0, 0, {}), {b}", 1901 + a % 4 * 69)),
        paged("a bit(64), b bit(1)", "b, a", |a, b, _| format!("{}, {}", integer(a) as u64, b % 2)),
        paged("a binary(2)", "a", |a, _, _| bytes(a)),
        paged("a varbinary(9), b varbinary(2)", "a, b", |a, b, _| format!("{}, {}", bytes(a), bytes(b % 4))),
        paged("a enum('z','y','x','w',''), b int", "a, b", |a, b, _| format!("{}, {b}", 1 + a % 5)),
        // With values that are no label. Those of the last label are found behind those.
        Paged {
            by_index: false,
            ..paged("a enum('z','y','x','w',''), b int", "a, b", |a, b, _| format!("{}, {b}", a % 6))
        },
        paged("a int, b enum('z','y','x','w','') character set latin1", "a, b desc", |a, b, _| {
            format!("{}, {}", a % 9, b % 6)
        }),
        paged("a set('z','y','x'), b int", "a desc, b", |a, b, _| format!("{}, {b}", 1 + a % 7)),
        Paged { by_index: false, ..paged("a set('z',''), b int", "a desc, b", |a, b, _| format!("{}, {b}", a % 4)) },
        Paged {
            by_index: false,
            ..paged("a set('1','2','3','4','5','6','7','8','9','a','b'), b int", "a, b", |a, b, _| {
                format!("{}, {b}", a * 37 % 2048)
            })
        },
        paged("a bigint unsigned as (b + 1) stored not null, b int", "a", |a, _, _| format!("default, {a}")),
    ];
    for columns in [
        "a varchar(9) collate utf8mb4_0900_ai_ci, b int",
        "a varchar(9) collate utf8mb4_0900_as_cs, b int",
        "a varchar(9) collate utf8mb4_0900_bin, b int",
        "a varchar(9) collate utf8mb4_general_ci, b int",
        "a varchar(9) collate utf8mb4_unicode_ci, b int",
        "a varchar(9) collate utf8mb4_bin, b int",
        "a varchar(9) collate utf8mb4_de_pb_0900_ai_ci, b int",
        "a varchar(9) collate utf8mb3_general_ci, b int",
        "a varchar(9) collate latin1_swedish_ci, b int",
        "a varchar(9) collate latin1_german2_ci, b int",
        "a varchar(9) collate latin1_bin, b int",
        "a varchar(9) collate sjis_japanese_ci, b int",
        "a varchar(9) collate cp932_bin, b int",
        "a varchar(9) collate ujis_japanese_ci, b int",
        "a varchar(9) collate gb18030_chinese_ci, b int",
        "a varchar(9) collate utf16_unicode_ci, b int",
        "a varchar(9) collate utf32_general_ci, b int",
        "a varchar(9) collate ucs2_bin, b int",
        "a char(9) collate utf8mb4_0900_ai_ci, b int",
        "a char(9) collate utf8mb4_general_ci, b int",
        "a char(9) collate cp1250_czech_cs, b int",
        "a char(9) collate tis620_thai_ci, b int",
    ] {
        all.push(paged(columns, "a, b", |a, b, _| format!("{}, {}", word(a), b % 3)));
    }
    all
}

async fn rows_that_the_server_read(connection: &mut Connection) -> u64 {
    let counts = connection.query("show session status like 'Handler_read%'").await.unwrap();
    counts.pairs().map(|(_, count)| count.parse::<u64>().unwrap()).sum()
}

#[tokio::test]
async fn every_row_is_read_once_and_in_order_whatever_the_key() {
    const DATABASE: &str = "mysync_dump_paging";
    const ROWS: u64 = 150;
    let (_guard, servers) = servers("paging", DATABASE).await;
    for mut server in servers {
        let mut random = Random::from_env();
        let mut connection = session(&server).await;
        for (i, paged) in paged_tables().iter().enumerate() {
            let name = TableName { database: DATABASE.to_owned(), table: format!("t{i}") };
            server
                .run(&format!(
                    "create table {} (n int invisible, {}, primary key ({}))",
                    name.table, paged.columns, paged.key
                ))
                .await;
            for _ in 0..ROWS {
                let row = (paged.row)(random.below(48), random.below(48), random.below(48));
                // Some are there already.
                server.run(&format!("insert ignore into {} values ({row})", name.table)).await;
            }
            server.run(&format!("set @n = 0; update {} set n = (@n := @n + 1)", name.table)).await;
            server.run(&format!("analyze table {}", name.table)).await;
            // In the order of the index: a sort compares some texts in another way.
            let by_key = format!("select n from {} force index (primary) order by {}", name.table, paged.key);
            let expected: Vec<i64> = server.select(&by_key).await.iter().map(|row| row.get(0).unwrap()).collect();
            let table = table(&mut connection, &name).await;
            assert!(table.has_parts(), "{}", paged.columns);
            let (mut after, mut expected_rows, mut left) =
                (None::<Vec<String>>, expected.iter(), expected.len() as u64);
            loop {
                let rows = 1 + random.below(9);
                let before = rows_that_the_server_read(&mut connection).await;
                let found = select(&mut connection, &table, after.as_deref(), &Limits { rows, ..ROOM }).await;
                let found = found.unwrap_or_else(|error| panic!("{} after {after:?}: {error}", paged.columns));
                let read = rows_that_the_server_read(&mut connection).await - before;
                let told = || format!("{} primary key ({}) behind {after:?}", paged.columns, paged.key);
                for at in 0..found.chunk.len() {
                    let (image, _) = found.chunk.row(at).unwrap();
                    assert_eq!(Some(&number(image, table.shape())), expected_rows.next(), "{}", told());
                }
                // Each range that it looks into begins with a read of its own.
                assert!(!paged.by_index || read <= 2 * rows + 12, "{read} reads for {rows} rows: {}", told());
                assert_eq!(found.rows, rows.min(left), "{}", told());
                left -= found.rows;
                if found.rows < rows {
                    break;
                }
                after = found.last;
            }
            assert_eq!(left, 0, "{}", paged.columns);
        }
        server.drop(DATABASE).await;
    }
}

fn number(image: &[u8], shape: &TableShape) -> i64 {
    match Image::new(image, shape.columns.len()).unwrap().values(&shape.columns).next().unwrap().unwrap() {
        Value::Signed(number) => number,
        other => panic!("{other:?} is no number"),
    }
}
