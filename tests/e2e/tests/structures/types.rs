//! Every type of MySQL in a hash, in a document and as a text of its own, as SELECT shows it.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};
use mysync_test_support::{homes, skip, until};

use crate::{started, writer};

/// How a type stands in Redis.
#[derive(Debug, Clone, Copy)]
enum Stands {
    /// As SELECT shows it, also in JSON.
    Verbatim,
    /// As SELECT shows it, which in JSON is a string.
    Quoted,
    /// A number that SELECT shows by itself only as bytes.
    Number,
    /// With `T` between date and time.
    Moment,
    /// The same in UTC, with `Z`.
    UtcMoment,
    /// Byte for byte; in JSON base64.
    Bytes,
    /// Without the four bytes that MySQL puts before a shape.
    Shape,
}

use Stands::*;

/// A declaration, and two values as SQL.
type Type = (&'static str, Stands, [&'static str; 2]);

const TYPES: [Type; 49] = [
    ("TINYINT", Verbatim, ["-128", "127"]),
    ("TINYINT UNSIGNED", Verbatim, ["0", "255"]),
    ("BOOLEAN", Verbatim, ["TRUE", "FALSE"]),
    ("SMALLINT", Verbatim, ["-32768", "32767"]),
    ("SMALLINT UNSIGNED", Verbatim, ["0", "65535"]),
    ("MEDIUMINT", Verbatim, ["-8388608", "8388607"]),
    ("MEDIUMINT UNSIGNED", Verbatim, ["0", "16777215"]),
    ("INT", Verbatim, ["-2147483648", "2147483647"]),
    ("INT UNSIGNED", Verbatim, ["0", "4294967295"]),
    ("BIGINT", Verbatim, ["-9223372036854775808", "9223372036854775807"]),
    ("BIGINT UNSIGNED", Verbatim, ["0", "18446744073709551615"]),
    (
        "DECIMAL(65,30)",
        Verbatim,
        ["-12345678901234567890123456789012345.123456789012345678901234567890", "0.000000000000000000000000000001"],
    ),
    ("DECIMAL(5,0) UNSIGNED", Verbatim, ["0", "99999"]),
    ("DECIMAL(10,4)", Verbatim, ["-0.5", "123456.78"]),
    ("FLOAT", Verbatim, ["0.1", "-12.5"]),
    ("DOUBLE", Verbatim, ["0.1e0 + 0.2e0", "-1e300"]),
    ("BIT(1)", Number, ["b'0'", "b'1'"]),
    ("BIT(64)", Number, ["b'101'", "18446744073709551615"]),
    ("YEAR", Number, ["2026", "0"]),
    ("DATE", Quoted, ["'2024-02-29'", "'0000-00-00'"]),
    ("TIME", Quoted, ["'-838:59:59'", "'00:00:01'"]),
    ("TIME(3)", Quoted, ["'-00:00:00.007'", "'123:00:00.5'"]),
    ("DATETIME", Moment, ["'9999-12-31 23:59:59'", "'0000-00-00 00:00:00'"]),
    ("DATETIME(6)", Moment, ["'1000-01-01 00:00:00.000001'", "'2026-11-24 08:00:00.5'"]),
    ("TIMESTAMP NULL", UtcMoment, ["'2026-11-24 08:00:00'", "'0000-00-00 00:00:00'"]),
    ("TIMESTAMP(3) NULL", UtcMoment, ["'2026-07-01 00:30:00.25'", "'2038-01-19 03:14:07.999'"]),
    ("CHAR(20) CHARACTER SET latin1", Quoted, ["'Zoë €'", "''"]),
    ("VARCHAR(50) CHARACTER SET utf8mb4", Quoted, ["'中𝄞 \\'\"\\\\/'", "' tab\\tline\\r\\n '"]),
    ("TINYTEXT CHARACTER SET cp1251", Quoted, ["'Жя'", "''"]),
    ("TEXT CHARACTER SET sjis", Quoted, ["'日本語'", "'x'"]),
    ("MEDIUMTEXT CHARACTER SET utf16", Quoted, ["'𝄞'", "REPEAT('é', 70000)"]),
    ("LONGTEXT", Quoted, ["'{\"a\": 1}'", "REPEAT('x', 300)"]),
    ("BINARY(4)", Bytes, ["x'00ff'", "'abcd'"]),
    ("VARBINARY(10)", Bytes, ["x'0d0a00ff'", "''"]),
    ("TINYBLOB", Bytes, ["x'ff'", "'ab'"]),
    ("BLOB", Bytes, ["x'2430a7'", "'abc'"]),
    ("MEDIUMBLOB", Bytes, ["REPEAT(x'00ff', 40000)", "'abcd'"]),
    ("LONGBLOB", Bytes, ["'utf8 é'", "x'c3'"]),
    ("ENUM('small','groß') CHARACTER SET utf8mb4", Quoted, ["'groß'", "0"]),
    ("SET('a','b','ü') CHARACTER SET utf8mb4", Quoted, ["'ü,a'", "''"]),
    ("JSON", Verbatim, ["'{\"b\": [1.50, null, \"é\\\\\"\"], \"a\": {}}'", "'\"text\"'"]),
    ("GEOMETRY", Shape, ["ST_GeomFromText('POINT(1 2)', 4326)", "ST_GeomFromText('LINESTRING(0 0,1 1)')"]),
    ("POINT", Shape, ["ST_GeomFromText('POINT(-1.5 2)')", "ST_GeomFromText('POINT(0 0)', 4326)"]),
    ("LINESTRING", Shape, ["ST_GeomFromText('LINESTRING(0 0,1 2)')", "ST_GeomFromText('LINESTRING(0 0,1 1)')"]),
    (
        "POLYGON",
        Shape,
        ["ST_GeomFromText('POLYGON((0 0,2 0,2 2,0 0))')", "ST_GeomFromText('POLYGON((0 0,9 0,9 9,0 0))')"],
    ),
    ("MULTIPOINT", Shape, ["ST_GeomFromText('MULTIPOINT((1 1),(2 2))')", "ST_GeomFromText('MULTIPOINT((1 1))')"]),
    (
        "MULTILINESTRING",
        Shape,
        ["ST_GeomFromText('MULTILINESTRING((0 0,1 1),(2 2,3 3))')", "ST_GeomFromText('MULTILINESTRING((0 0,1 1))')"],
    ),
    (
        "MULTIPOLYGON",
        Shape,
        [
            "ST_GeomFromText('MULTIPOLYGON(((0 0,2 0,2 2,0 0)))')",
            "ST_GeomFromText('MULTIPOLYGON(((0 0,9 0,9 9,0 0)))')",
        ],
    ),
    (
        "GEOMETRYCOLLECTION",
        Shape,
        ["ST_GeomFromText('GEOMETRYCOLLECTION(POINT(1 2))')", "ST_GeomFromText('GEOMETRYCOLLECTION EMPTY')"],
    ),
];
/// A type that MySQL has from 9.0 on.
const VECTOR: Type = ("VECTOR(3)", Bytes, ["STRING_TO_VECTOR('[1,-2.5,0]')", "x'0000803f'"]);

impl Stands {
    /// SQL for the bytes of a column in a hash, and for the text of its value in a document.
    fn shown(self, column: &str) -> [String; 2] {
        let text = match self {
            Verbatim | Quoted => format!("CONVERT(CAST({column} AS CHAR) USING utf8mb4)"),
            Number => format!("CAST({column} + 0 AS CHAR)"),
            Moment => format!("REPLACE(CAST({column} AS CHAR), ' ', 'T')"),
            UtcMoment => format!("CONCAT(REPLACE(CAST({column} AS CHAR), ' ', 'T'), 'Z')"),
            Bytes => column.to_owned(),
            Shape => format!("UNHEX(SUBSTRING(HEX({column}), 9))"),
        };
        let document = match self {
            Verbatim | Number => text.clone(),
            Quoted | Moment | UtcMoment => format!("JSON_QUOTE({text})"),
            Bytes | Shape => format!("CONCAT('\"', REPLACE(TO_BASE64({text}), '\\n', ''), '\"')"),
        };
        [text, document].map(|shown| format!("CAST({shown} AS BINARY)"))
    }
}

/// The values of each row, column by column.
type Rows = BTreeMap<i32, Vec<Option<Vec<u8>>>>;

/// Rows as SELECT shows them: the bytes of a hash's fields, or the texts of a document's values.
async fn select(conn: &mut Conn, types: &[Type], document: bool) -> Result<Rows> {
    let shown = types.iter().enumerate().map(|(at, (_, stands, _))| {
        let [field, value] = stands.shown(&format!("c{at}"));
        if document { value } else { field }
    });
    let query = format!("SELECT id, {} FROM shop.people", shown.collect::<Vec<_>>().join(", "));
    let rows: Vec<Row> = conn.query(query).await?;
    rows.into_iter()
        .map(|row| {
            let id = row.get_opt(0).context("no id")??;
            let values = (1..=types.len()).map(|at| Ok(row.get_opt(at).context("no value")??));
            Ok((id, values.collect::<Result<_>>()?))
        })
        .collect()
}

fn printable(bytes: Option<&Vec<u8>>) -> String {
    bytes.map_or("nothing".to_owned(), |bytes| bytes.escape_ascii().to_string().chars().take(300).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_is_in_redis_as_select_shows_it() -> Result<()> {
    let test = "every_type_is_in_redis_as_select_shows_it";
    let Some(home) = homes()?.into_iter().next() else { return Ok(skip(test, "there is no MySQL")) };
    let vectors = Some(VECTOR).filter(|_| home.name().as_str() >= "mysql-9");
    let types: Vec<Type> = TYPES.into_iter().chain(vectors).collect();
    let columns: Vec<String> =
        types.iter().enumerate().map(|(at, (declared, ..))| format!("c{at} {declared}")).collect();
    let schema = format!("CREATE TABLE shop.people (id INT PRIMARY KEY, {})", columns.join(", "));
    let alone =
        (0..types.len()).map(|at| format!("as = \"string\"\nkey = \"user:c{at}:{{id}}\"\nvalue = \"{{c{at}}}\""));
    let all = ["as = \"hash\"\nkey = \"user:{id}\"", "as = \"string\"\nkey = \"user:document:{id}\"\nvalue = \"json\""];
    let maps: Vec<String> = all.map(str::to_owned).into_iter().chain(alone).collect();
    let maps: Vec<&str> = maps.iter().map(String::as_str).collect();
    let Some((world, mysync)) = started(test, &schema, &writer("shop.people", &maps), "").await? else { return Ok(()) };

    let mut conn = world.mysql.conn().await?;
    conn.query_drop("SET NAMES utf8mb4, sql_mode = '', time_zone = '+03:00'").await?;
    for row in 0..2 {
        let values: Vec<&str> = types.iter().map(|(.., values)| values[row]).collect();
        conn.query_drop(format!("INSERT INTO shop.people VALUES ({row}, {})", values.join(", "))).await?;
    }
    conn.query_drop("INSERT INTO shop.people (id) VALUES (2)").await?;
    conn.query_drop("SET time_zone = '+00:00'").await?;
    let (fields, values) = (select(&mut conn, &types, false).await?, select(&mut conn, &types, true).await?);
    conn.disconnect().await?;
    ensure!(fields.len() == 3 && values.len() == 3);

    let last = format!("user:c{}:1", types.len() - 1);
    until("the last row is in Redis", async || {
        Ok(ensure!(world.redis.ask::<u64>(&["EXISTS", &last, "user:document:2"])? == 2))
    })
    .await?;
    let redis = &world.redis;
    for (id, fields) in &fields {
        let hash: BTreeMap<String, Vec<u8>> = redis.ask(&["HGETALL", &format!("user:{id}")])?;
        for (at, ((declared, ..), field)) in types.iter().zip(fields).enumerate() {
            let (found, field) = (hash.get(&format!("c{at}")), field.as_ref());
            ensure!(found == field, "row {id}, {declared}: MySQL {}, Redis {}", printable(field), printable(found));
            let alone: Option<Vec<u8>> = redis.ask(&["GET", &format!("user:c{at}:{id}")])?;
            ensure!(alone.as_ref() == field, "row {id}, {declared}: {}", printable(alone.as_ref()));
        }
        ensure!(hash.len() == 1 + fields.iter().flatten().count(), "row {id} has other fields: {:?}", hash.keys());
    }
    for (id, values) in &values {
        let document: Vec<u8> = redis.ask(&["GET", &format!("user:document:{id}")])?;
        let mut rest = document.as_slice();
        let mut expect = |piece: &[u8], what: &str| {
            let found = rest.get(..piece.len()).unwrap_or(rest).to_vec();
            ensure!(
                found == piece,
                "row {id}, {what}: {} is {}",
                printable(Some(&piece.to_vec())),
                printable(Some(&found))
            );
            rest = &rest[piece.len()..];
            Ok(())
        };
        expect(format!("{{\"id\":{id}").as_bytes(), "id")?;
        for (at, ((declared, ..), value)) in types.iter().zip(values).enumerate() {
            expect(format!(",\"c{at}\":").as_bytes(), declared)?;
            expect(value.as_deref().unwrap_or(b"null"), declared)?;
        }
        expect(b"}", "the end")?;
        ensure!(serde_json::from_slice::<serde_json::Value>(&document)?.is_object());
    }
    ensure!(mysync.terminate().await?.success());
    Ok(())
}
