//! The ends of every type's range, each value by itself.

use crate::generate::{CHARSETS, Type, hex};
use crate::server;
use crate::tables::{Table, verify};

fn quoted(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| format!("'{text}'")).collect()
}

fn bare(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// Values as SQL, by type.
pub fn extremes(vectors: bool) -> Vec<(Type, Vec<String>)> {
    let mut all = numbers();
    all.extend(times());
    all.extend(texts());
    all.extend(bytes());
    all.extend(lists());
    all.push((Type::Json, documents()));
    all.extend(shapes());
    if vectors {
        all.push((
            Type::Vector(1),
            bare(&["string_to_vector('[-3.402823466e38]')", "string_to_vector('[1.175494351e-38]')"]),
        ));
        let longest = vec!["1.5"; 16_383].join(",");
        all.push((Type::Vector(16_383), vec![format!("string_to_vector('[{longest}]')"), "x'0000803f'".to_owned()]));
    }
    all
}

fn numbers() -> Vec<(Type, Vec<String>)> {
    let mut all = Vec::new();
    for (name, bits) in [("tinyint", 8), ("smallint", 16), ("mediumint", 24), ("int", 32), ("bigint", 64)] {
        let (least, most) = (i64::MIN >> (64 - bits), i64::MAX >> (64 - bits));
        let signed = [least, least + 1, -1, 0, 1, most].map(|v| v.to_string()).to_vec();
        let largest = u64::MAX >> (64 - bits);
        let unsigned = [0, 1, largest / 2, largest / 2 + 1, largest].map(|v| v.to_string()).to_vec();
        all.push((Type::Int { name, bits, unsigned: false }, signed));
        all.push((Type::Int { name, bits, unsigned: true }, unsigned));
    }
    let floats = ["0", "-0e0", "3.402823466e38", "-3.402823466e38", "1.175494351e-38", "1e-45", "16777217"];
    all.push((Type::Float(false), bare(&floats)));
    let doubles =
        ["0", "-0e0", "1.7976931348623157e308", "-1.7976931348623157e308", "2.2250738585072014e-308", "5e-324"];
    all.push((Type::Double(false), bare(&doubles)));
    let (nines, zeros) = ("9".repeat(35), "0".repeat(29));
    let wide = [format!("{nines}.{}", "9".repeat(30)), format!("-{nines}.{}", "9".repeat(30))];
    let small =
        [format!("0.{zeros}1"), format!("-0.{zeros}1"), "0".to_owned(), "-0.0".to_owned(), "1000000000".to_owned()];
    all.push((Type::Decimal { precision: 65, scale: 30, unsigned: false }, [&wide[..], &small[..]].concat()));
    let (sixty_five, thirty) = ("9".repeat(65), "9".repeat(30));
    all.push((Type::Decimal { precision: 65, scale: 0, unsigned: false }, vec![format!("-{sixty_five}"), sixty_five]));
    all.push((Type::Decimal { precision: 30, scale: 30, unsigned: true }, vec![format!("0.{thirty}"), "0".to_owned()]));
    all.push((Type::Decimal { precision: 1, scale: 0, unsigned: false }, bare(&["9", "-9", "0"])));
    all.push((Type::Decimal { precision: 1, scale: 1, unsigned: false }, bare(&["0.9", "-0.9"])));
    all.push((Type::Year, bare(&["0", "1901", "2155"])));
    for bits in [1, 7, 8, 9, 33, 63, 64] {
        all.push((Type::Bit(bits), [0, 1, u64::MAX >> (64 - bits)].map(|v| v.to_string()).to_vec()));
    }
    all
}

fn times() -> Vec<(Type, Vec<String>)> {
    let dates = ["0000-00-00", "0001-01-01", "1000-01-01", "2020-00-00", "2020-02-00", "2024-02-29", "9999-12-31"];
    let mut all = vec![(Type::Date, quoted(&dates))];
    for decimals in 0..=6 {
        let nines = "9".repeat(decimals as usize);
        let last = |text: &str| if decimals == 0 { text.to_owned() } else { format!("{text}.{nines}") };
        let spans =
            ["00:00:00", "838:59:59", "-838:59:59", "-00:00:01", "-00:00:00.1", "-00:00:00.000001", "-01:59:59.5"];
        let spans = spans.iter().map(|text| (*text).to_owned()).chain([last("-837:59:58"), last("00:00:00")]);
        all.push((Type::Time(decimals), spans.map(|text| format!("'{text}'")).collect()));
        let moments = [last("0000-00-00 00:00:00"), last("1000-01-01 00:00:00"), last("9999-12-31 23:59:59")];
        let partly = ["0000-00-00 00:00:00", "2020-00-00 00:00:00"];
        let moments = moments.iter().map(String::as_str).chain(partly).collect::<Vec<_>>();
        all.push((Type::Datetime(decimals), quoted(&moments)));
        let stamps = ["0000-00-00 00:00:00".to_owned(), last("1970-01-01 00:00:01"), last("2038-01-19 03:14:07")];
        all.push((Type::Timestamp(decimals), stamps.iter().map(|text| format!("'{text}'")).collect()));
    }
    all
}

fn texts() -> Vec<(Type, Vec<String>)> {
    let literal = |text: &str| format!("_utf8mb4 x'{}'", hex(text.as_bytes()));
    let mut all = Vec::new();
    for (charset, characters) in CHARSETS {
        let spaced = format!("{characters}  ");
        let values = [characters, &spaced, &characters.repeat(5)].map(literal);
        let values: Vec<String> = ["''".to_owned(), "' '".to_owned()].into_iter().chain(values).collect();
        all.push((Type::Text { declared: "char(255)".into(), charset, longest: 255 }, values.clone()));
        all.push((Type::Text { declared: "varchar(60)".into(), charset, longest: 60 }, values.clone()));
        all.push((Type::Text { declared: "text".into(), charset, longest: 255 }, values));
    }
    // Lengths around those where the prefix on the wire grows.
    for (declared, lengths) in [
        ("varchar(255)", &[255][..]),
        ("varchar(256)", &[255, 256]),
        ("varchar(16000)", &[63, 64, 16_000]),
        ("char(255)", &[255]),
        ("tinytext", &[63]),
        ("text", &[16_383]),
        ("mediumtext", &[65_536]),
        ("longtext", &[70_000]),
    ] {
        let values = lengths.iter().map(|length| format!("repeat(_utf8mb4 x'f09d849e', {length})")).collect();
        all.push((Type::Text { declared: declared.into(), charset: "utf8mb4", longest: 16_000 }, values));
    }
    all
}

fn bytes() -> Vec<(Type, Vec<String>)> {
    let every: Vec<u8> = (0..=255).collect();
    let every = format!("x'{}'", hex(&every[..255]));
    let of = |declared: &str, values: &[&str]| (Type::Bytes { declared: declared.into(), longest: 255 }, bare(values));
    vec![
        of("binary(1)", &["''", "x'00'", "x'ff'"]),
        of("binary(255)", &["''", "x'61000000'", "x'0000'", &every]),
        of("varbinary(255)", &["''", "x'00'", &every]),
        of("varbinary(60000)", &["''", "repeat(x'00', 255)", "repeat(x'ff', 60000)"]),
        of("tinyblob", &["''", &every]),
        of("blob", &["''", "repeat(x'00ff', 32767)"]),
        of("mediumblob", &["''", "repeat(x'00ff', 40000)"]),
        of("longblob", &["''", "repeat(x'00ff', 40000)"]),
    ]
}

fn lists() -> Vec<(Type, Vec<String>)> {
    let labels = |count: usize, label: &str| (0..count).map(|i| format!("{label}{i}")).collect::<Vec<_>>();
    let mut all = Vec::new();
    for count in [1, 255, 256, 1000] {
        let values = ["0".to_owned(), "1".to_owned(), count.to_string()].to_vec();
        all.push((Type::Enum { charset: "utf8mb4", labels: labels(count, "é") }, values));
    }
    let odd = ["", "a,b", "it''s", "中𝄞", "\\\"quoted\\\""].map(|label| label.replace("''", "'")).to_vec();
    all.push((Type::Enum { charset: "utf8mb4", labels: odd }, bare(&["0", "1", "2", "3", "4", "5"])));
    for count in [1, 8, 9, 16, 17, 24, 25, 32, 33, 64] {
        let values = [0, 1, u64::MAX >> (64 - count), 1 << (count - 1)].map(|v: u64| v.to_string()).to_vec();
        all.push((Type::Set { charset: "latin1", labels: labels(count, "ÿ") }, values));
    }
    // Behind an empty label there is no comma.
    let with_empty = ["", "x", "y"].map(str::to_owned).to_vec();
    all.push((Type::Set { charset: "utf8mb4", labels: with_empty }, (0..8).map(|v| v.to_string()).collect()));
    all
}

/// Every kind of JSON value there is, at the top and inside others.
fn documents() -> Vec<String> {
    let scalars = [
        "cast('null' as json)",
        "true",
        "false",
        "0",
        "-32768",
        "32767",
        "-32769",
        "32768",
        "65535",
        "65536",
        "-2147483648",
        "-2147483649",
        "4294967295",
        "4294967296",
        "-9223372036854775808",
        "18446744073709551615",
        "0e0",
        "-0e0",
        "1e15",
        "1e16",
        "0.1e0",
        "1e-5",
        "1e-7",
        "1.7976931348623157e308",
        "5e-324",
        "123456789012345680e0",
        "cast('99999999999999999999999999999999999.999999999999999999999999999999' as decimal(65,30))",
        "cast('-0.000000000000000000000000000001' as decimal(65,30))",
        "cast(0 as decimal(1,0))",
        "cast('2024-02-29' as date)",
        "cast('0000-00-00' as date)",
        "cast('-838:59:59' as time)",
        "cast('-00:00:00.000001' as time(6))",
        "cast('838:59:58.999999' as time(6))",
        "cast('9999-12-31 23:59:59.999999' as datetime(6))",
        "cast('1000-01-01 00:00:00' as datetime)",
        "timestamp'2038-01-19 03:14:07.000001'",
        "cast(2026 as year)",
        "b'101'",
        "cast('' as binary)",
        "cast(x'00ff' as binary)",
        "repeat(x'a7', 200)",
        "st_geomfromtext('POINT(1 2)')",
        "''",
        "_utf8mb4 x'000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f7f22272f5c'",
        "_utf8mb4 x'e4b8adf09d849ee280a8efbfbf'",
        "repeat('s', 127)",
        "repeat('s', 128)",
        "repeat('s', 16384)",
        "repeat('s', 70000)",
        "json_array()",
        "json_object()",
    ];
    let mut all: Vec<String> = scalars.iter().map(|s| format!("json_extract(json_array({s}), '$[0]')")).collect();
    let inside =
        |sql: &String| format!("json_object('', {sql}, '中𝄞\"', json_array({sql}, 1), repeat('k', 300), {sql})");
    all.extend(all.clone().iter().map(inside));
    // As deep as MySQL allows; more entries than a small object can have; and a small document that holds a large one.
    let deep = |open: &str, close: &str| format!("'{}1{}'", open.repeat(99), close.repeat(99));
    all.extend([deep("[", "]"), deep("{\"a\":", "}")]);
    let many: Vec<String> = (0..5000).map(|i| format!("\"key {i}\": {i}")).collect();
    all.push(format!("'{{{}}}'", many.join(",")));
    all.push(format!("'[{}]'", vec!["70000"; 20_000].join(",")));
    all.push("json_array(1, repeat('large ', 13000), json_object('a', json_array(true)))".to_owned());
    all
}

fn shapes() -> Vec<(Type, Vec<String>)> {
    let of = |kind, texts: &[&str]| {
        let values = |srid: u32| texts.iter().map(move |wkt| format!("st_geomfromtext('{wkt}', {srid})"));
        (Type::Geometry(kind), values(0).chain(values(4326)).collect())
    };
    vec![
        of("point", &["POINT(0 0)", "POINT(-89.5 -179.25)"]),
        of("linestring", &["LINESTRING(0 0,1 1)"]),
        of("polygon", &["POLYGON((0 0,10 0,10 10,0 10,0 0),(2 2,2 4,4 4,4 2,2 2))"]),
        of("multipoint", &["MULTIPOINT((0 0),(1 1))"]),
        of("multilinestring", &["MULTILINESTRING((0 0,1 1),(2 2,3 3))"]),
        of("multipolygon", &["MULTIPOLYGON(((0 0,1 0,1 1,0 0)),((5 5,6 5,6 6,5 5)))"]),
        of("geometrycollection", &["GEOMETRYCOLLECTION EMPTY", "GEOMETRYCOLLECTION(POINT(1 1),LINESTRING(0 0,1 1))"]),
        of("geometry", &["POINT(1 2)", "GEOMETRYCOLLECTION(GEOMETRYCOLLECTION(POINT(1 1)))"]),
    ]
}

#[tokio::test]
async fn the_ends_of_every_range_arrive_as_they_are() {
    const DATABASE: &str = "mysync_extremes";
    let (_guard, servers) = server::servers("extremes", DATABASE).await;
    for mut server in servers {
        let mut tables = Vec::new();
        for (i, (kind, mut values)) in extremes(server.has_vectors()).into_iter().enumerate() {
            let mut table = Table::new(format!("t{i}"), vec![kind]);
            server.run(&table.create()).await;
            values.push("null".to_owned());
            for (id, value) in values.iter().enumerate() {
                server.run(&format!("insert into {} values ({id}, {value})", table.name)).await;
            }
            table.inserted = table.rows(&mut server).await;
            values.rotate_left(1);
            for (id, value) in values.iter().enumerate() {
                server.run(&format!("update {} set c0 = {value} where id = {id}", table.name)).await;
            }
            table.updated = table.rows(&mut server).await;
            server.run(&format!("delete from {}", table.name)).await;
            tables.push(table);
        }
        verify(&server, DATABASE, &tables).await;
        server.drop(DATABASE).await;
    }
}
