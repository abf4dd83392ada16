//! Reading by key, in small chunks.

use mysync_binlog::connection::Connection;
use mysync_binlog::dump::select::{Limits, select};
use mysync_binlog::dump::table::TableName;
use mysync_change::image::{Image, Value};
use mysync_change::schema::TableShape;
use mysync_test_support::Random;

use super::{ROOM, session, table};
use crate::server::servers;

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
        || format!("'{}{:02}:00:{:02}.{n:06}'", if n.is_multiple_of(2) { "-" } else { "" }, n, n % 60),
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
