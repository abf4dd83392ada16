//! Every code of every charset, asked of the server itself.

use std::collections::BTreeMap;

use mysql_async::prelude::Queryable;
use mysync_binlog::decode::{Change, DecodeError, KeySpans, RowsEvent};
use mysync_binlog::dump::select::select;
use mysync_binlog::dump::table::TableName;
use mysync_binlog::event::{Cursor, EventKind};
use mysync_binlog::plan::{Plans, Table};
use mysync_change::image::{Image, Value};
use mysync_change::position::FilePosition;

use crate::dump::{self, ROOM};
use crate::generate::{CHARSETS, hex};
use crate::server::{Server, servers};
use crate::stream::Database;

const DATABASE: &str = "mysync_charsets";

/// Unicode's own charsets, and four bytes of gb18030, go by arithmetic, so one code in this many is enough. A prime.
const EVERY: usize = 97;

/// Everything that may be a character of `charset`, by its shape.
fn codes(charset: &str) -> Vec<Vec<u8>> {
    let bytes = |from: u8, to: u8| from..=to;
    let one = bytes(0, 255).map(|a| vec![a]);
    let two = || bytes(0, 255).flat_map(|a| bytes(0, 255).map(move |b| vec![a, b]));
    let above = || two().filter(|code| code[0] >= 0x80);
    let surrogates = |units: fn(u16) -> [u8; 2]| {
        (0..1 << 20_u32).step_by(EVERY).map(move |at| {
            let (high, low) = (0xD800 + (at >> 10) as u16, 0xDC00 + (at & 0x3FF) as u16);
            [units(high), units(low)].concat()
        })
    };
    match charset {
        "utf8mb4" | "utf8mb3" | "utf32" => {
            let most = if charset == "utf8mb3" { 0xFFFF } else { 0x10_FFFF };
            let all = (0..=most).step_by(EVERY).filter_map(char::from_u32);
            let utf8 = charset != "utf32";
            all.map(|c| if utf8 { c.to_string().into_bytes() } else { u32::from(c).to_be_bytes().into() }).collect()
        }
        "ucs2" => two().step_by(EVERY).collect(),
        "utf16" => two().step_by(EVERY).chain(surrogates(u16::to_be_bytes)).collect(),
        "utf16le" => two().step_by(EVERY).chain(surrogates(u16::to_le_bytes)).collect(),
        "ujis" | "eucjpms" => {
            let three = above().map(|code| [&[0x8F], &*code].concat());
            one.chain(above()).chain(three).collect()
        }
        "gb18030" => {
            let pairs = || bytes(0x81, 0xFE).flat_map(|a| bytes(0x30, 0x39).map(move |b| [a, b]));
            let four = pairs().flat_map(|a| pairs().map(move |b| [a, b].concat()));
            one.chain(above()).chain(four.step_by(EVERY)).collect()
        }
        "big5" | "cp932" | "euckr" | "gb2312" | "gbk" | "sjis" => one.chain(above()).collect(),
        _ => one.collect(),
    }
}

/// Fills a table with all that a column of the charset takes as one character, and asks what it is.
async fn stored(server: &mut Server, charset: &str) -> Vec<(Vec<u8>, String)> {
    server.run("create temporary table codes (id int primary key auto_increment, code varbinary(4))").await;
    for codes in codes(charset).chunks(20_000) {
        let values: Vec<String> = codes.iter().map(|code| format!("(x'{}')", hex(code))).collect();
        server.run(&format!("insert into codes (code) values {}", values.join(","))).await;
    }
    server.run(&format!("create table {charset} (id int primary key, t char(1) character set {charset})")).await;
    let text = format!("convert(code using {charset})");
    server
        .run(&format!(
            "insert into {charset} select id, {text} from codes \
             where char_length({text}) = 1 and cast({text} as binary) = code order by id"
        ))
        .await;
    server.run("drop temporary table codes").await;
    // Padding is no part of a CHAR: a space comes as nothing.
    let query = format!("select cast(t as binary), convert(t using utf8mb4) from {charset} order by id");
    server.sql.query(query).await.unwrap()
}

/// Every row's text as it is decoded, by table, or that it is refused.
async fn decoded(server: &Server, mut each: impl FnMut(&str, Result<String, DecodeError>)) {
    let (mut stream, until) = server.stream().await;
    let mut cursor = Cursor::new(FilePosition { file: "".into(), offset: 4 });
    let mut plans = Plans::default();
    while cursor.position() < until {
        let Some(event) = stream.next_event().unwrap() else {
            stream.fill().await.unwrap();
            continue;
        };
        cursor.follow(&event).unwrap();
        match event.header.kind {
            EventKind::Query => plans.begin_transaction(),
            EventKind::TableMap => plans.map(event.body, &Database(DATABASE)).unwrap(),
            EventKind::WriteRows => {
                let rows = RowsEvent::parse(event.header.kind, event.body).unwrap();
                assert_eq!(rows.change, Change::Insert);
                let Table::Captured(plan) = plans.get(rows.table_id).unwrap() else { continue };
                let columns = &plan.shape().columns;
                let mut row = rows.rows(plan).unwrap();
                for at in 0.. {
                    if row.is_empty() {
                        break;
                    }
                    let mut image = Vec::new();
                    let text = row.after(&mut image, &mut KeySpans::default()).map(|()| {
                        let image = Image::new(&image, columns.len()).unwrap();
                        match image.values(columns).nth(1) {
                            Some(Ok(Value::Text(text))) => text.to_owned(),
                            other => panic!("{other:?}"),
                        }
                    });
                    if text.is_err() {
                        // It stands inside the row that it refused.
                        row = rows.rows(plan).unwrap();
                        (0..=at).for_each(|_| row.skip().unwrap());
                    }
                    each(&plan.shape().name, text);
                }
            }
            _ => {}
        }
    }
}

/// Texts of a table as a dump reads them, without the rows of `refused`, one of which ends it.
async fn dumped(server: &mut Server, table: &str, refused: &[usize]) -> Vec<String> {
    let name = TableName { database: DATABASE.to_owned(), table: table.to_owned() };
    let mut connection = dump::session(server).await;
    let table = dump::table(&mut connection, &name).await;
    if let Some(first) = refused.first() {
        let error = select(&mut connection, &table, None, &ROOM).await.unwrap_err();
        assert_eq!(error.code(), "DUMP_VALUE", "{name} row {first}");
        let rows: Vec<String> = refused.iter().map(usize::to_string).collect();
        let nth = format!("select id, row_number() over (order by id) as nth from {}", name.table);
        let list = rows.join(",");
        server
            .run(&format!("delete from {} where id in (select id from ({nth}) n where nth in ({list}))", name.table))
            .await;
    }
    let found = select(&mut connection, &table, None, &ROOM).await.unwrap_or_else(|error| panic!("{error}"));
    let columns = &table.shape().columns;
    let text = |at| {
        let (image, _) = found.chunk.row(at).unwrap();
        match Image::new(image, columns.len()).unwrap().values(columns).nth(1) {
            Some(Ok(Value::Text(text))) => text.to_owned(),
            other => panic!("{other:?}"),
        }
    };
    (0..found.chunk.len()).map(text).collect()
}

#[tokio::test]
async fn every_character_of_every_charset_is_what_select_shows_and_what_is_none_is_refused() {
    let (_guard, servers) = servers("charsets", DATABASE).await;
    for mut server in servers {
        let mut expected = Vec::new();
        for (charset, _) in CHARSETS {
            expected.extend(stored(&mut server, charset).await.into_iter().map(|row| (charset, row)));
        }
        let mut expected = expected.into_iter();
        let mut texts: BTreeMap<String, Vec<Option<String>>> = BTreeMap::new();
        let (mut characters, mut refused, mut wrong) = (0, 0, Vec::new());
        decoded(&server, |table, text| {
            let (charset, (code, shown)) = expected.next().unwrap();
            assert_eq!(table, charset);
            // Where there is no character SELECT shows a question mark, nothing for ucs2, and for these two in places U+FFFD.
            let asked = code.iter().all(|byte| [0, b'?'].contains(byte));
            let is_none = match &*shown {
                "" => !code.is_empty(),
                "?" => !asked,
                shown => shown == "\u{FFFD}" && matches!(charset, "big5" | "tis620"),
            };
            let right = match &text {
                Ok(text) => !is_none && *text == shown,
                Err(error) => is_none && error.code() == "TEXT_UNDECODABLE",
            };
            texts.entry(table.to_owned()).or_default().push((!is_none).then_some(shown.clone()));
            if is_none {
                refused += 1
            } else {
                characters += 1
            }
            if !right {
                wrong.push(format!("{charset} x'{}': {shown:?}, not {text:?}", hex(&code)));
            }
        })
        .await;
        println!("{characters} characters, {refused} codes without one");
        assert_eq!(wrong.len(), 0, "{} of them, such as {:#?}", wrong.len(), &wrong[..wrong.len().min(40)]);
        assert!(expected.next().is_none() && characters > 150_000 && refused > 20_000);
        for (table, texts) in texts {
            let refused: Vec<usize> =
                (1..).zip(&texts).filter(|(_, text)| text.is_none()).map(|(nth, _)| nth).collect();
            let expected: Vec<String> = texts.into_iter().flatten().collect();
            assert!(dumped(&mut server, &table, &refused).await == expected, "a dump reads {table} in another way");
        }
        server.drop(DATABASE).await;
    }
}
