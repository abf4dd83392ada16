//! Tables that are not as most are: keys of other kinds, or none, columns that are hidden, computed or left out, images that are not whole.

use mysync_binlog::decode::Change;
use mysync_change::image::{Image, Value};
use mysync_change::schema::TableShape;

use crate::server::{Server, servers};
use crate::stream::{self, Decoded};

const DATABASE: &str = "mysync_kinds";

/// What a row change looks like, one line each: `+` after, `-` before, `!` another key.
async fn changes(server: &Server) -> (Vec<TableShape>, Vec<String>) {
    let (mut shapes, mut lines) = (Vec::new(), Vec::new());
    stream::read(server.stream().await, DATABASE, |decoded| {
        lines.push(line(&decoded));
        shapes.push(decoded.plan.shape().clone());
    })
    .await;
    shapes.dedup();
    (shapes, lines)
}

fn line(decoded: &Decoded) -> String {
    let columns = &decoded.plan.shape().columns;
    let mut line = decoded.plan.shape().name.clone();
    for (sign, image) in [('-', &decoded.before), ('+', &decoded.after)] {
        let Some(image) = image else { continue };
        let values = Image::new(image, columns.len()).unwrap().values(columns).map(|value| match value.unwrap() {
            Value::Null => "NULL".to_owned(),
            Value::Absent => "?".to_owned(),
            Value::Signed(value) => value.to_string(),
            Value::Unsigned(value) => value.to_string(),
            Value::Text(value) => value.to_owned(),
            other => format!("{other:?}"),
        });
        line += &format!(" {sign}{}", values.collect::<Vec<_>>().join(","));
    }
    assert_eq!(decoded.before.is_some(), decoded.change != Change::Insert);
    if decoded.key_changed { line + " !" } else { line }
}

fn names(shape: &TableShape) -> Vec<&str> {
    shape.columns.iter().map(|column| &*column.name).collect()
}

fn attribute<'a>(shape: &'a TableShape, column: &str, name: &str) -> Option<&'a str> {
    let column = shape.columns.iter().find(|c| c.name == column).unwrap();
    column.attributes.iter().find(|(key, _)| key == name).map(|(_, value)| &**value)
}

#[tokio::test]
async fn keys_are_what_the_table_says() {
    let (_guard, servers) = servers("keys", DATABASE).await;
    for mut server in servers {
        server.run("create table swapped (a int, b int, c int, primary key (b, a))").await;
        server.run("insert into swapped values (1, 2, 3)").await;
        server.run("update swapped set c = 4").await;
        server.run("update swapped set a = 5").await;
        server.run("create table prefixed (a varchar(20), b text, primary key (a, b(3)))").await;
        server.run("insert into prefixed values ('k', 'abcdef')").await;
        server.run("create table promoted (a int, b int not null, unique (b))").await;
        server.run("insert into promoted values (1, 2)").await;
        server.run("update promoted set a = 3").await;
        server.run("create table keyless (a int, b int, unique (b))").await;
        server.run("insert into keyless values (1, 2)").await;
        server.run("update keyless set a = 3").await;
        server.run("set session sql_generate_invisible_primary_key=on").await;
        server.run("create table unnamed (a int)").await;
        server.run("insert into unnamed values (9)").await;
        server.run("set session sql_generate_invisible_primary_key=off").await;
        let (shapes, lines) = changes(&server).await;
        let expected = [
            "swapped +1,2,3",
            "swapped -1,2,3 +1,2,4",
            "swapped -1,2,4 +5,2,4 !",
            "prefixed +k,abcdef",
            "promoted +1,2",
            "promoted -1,2 +3,2",
            "keyless +1,2",
            "keyless -1,2 +3,2 !",
            "unnamed +1,9",
        ];
        assert_eq!(lines, expected);
        let keys: Vec<&[u16]> = shapes.iter().map(|shape| &*shape.primary_key).collect();
        assert_eq!(keys, [&[1, 0][..], &[0, 1], &[1], &[], &[0]]);
        assert_eq!(attribute(&shapes[1], "b", "key-prefix"), Some("3"));
        assert_eq!(attribute(&shapes[1], "a", "key-prefix"), None);
        assert_eq!(names(&shapes[4]), ["my_row_id", "a"]);
        assert_eq!(attribute(&shapes[4], "my_row_id", "invisible"), Some("true"));
        server.drop(DATABASE).await;
    }
}

#[tokio::test]
async fn hidden_computed_and_excluded_columns_stand_in_their_places() {
    let (_guard, servers) = servers("columns", DATABASE).await;
    for mut server in servers {
        let create =
            "create table t (id int primary key, v int as (a + 1) virtual, excluded_text text character set gbk,
            a int, s int as (a * 2) stored, hidden int invisible, excluded_json json, z int, key ((a + z)))";
        server.run(create).await;
        server
            .run("insert into t (id, a, z, hidden, excluded_text, excluded_json) values (1, 10, 20, 30, 'x', '{}')")
            .await;
        server.run("insert into t (id) values (2)").await;
        server.run("update t set a = 11, excluded_text = 'y' where id = 1").await;
        server.run("alter table t drop column excluded_text, add column first int first").await;
        server.run("delete from t").await;
        let (shapes, lines) = changes(&server).await;
        let expected = [
            "t +1,11,10,20,30,20",
            "t +2,NULL,NULL,NULL,NULL,NULL",
            "t -1,11,10,20,30,20 +1,12,11,22,30,20",
            "t -NULL,1,12,11,22,30,20",
            "t -NULL,2,NULL,NULL,NULL,NULL,NULL",
        ];
        assert_eq!(lines, expected);
        assert_eq!(names(&shapes[0]), ["id", "v", "a", "s", "hidden", "z"]);
        assert_eq!(attribute(&shapes[0], "hidden", "invisible"), Some("true"));
        assert_eq!(shapes[1].primary_key, [1]);
        server.drop(DATABASE).await;
    }
}

#[tokio::test]
async fn what_a_minimal_image_lacks_is_absent_and_not_null() {
    let (_guard, servers) = servers("minimal images", DATABASE).await;
    for mut server in servers {
        server.run("create table t (id int primary key, a int, b int default 7, c text)").await;
        server.run("create table keyless (a int, b int)").await;
        server.run("set session binlog_row_image=minimal").await;
        server.run("insert into t (id, a) values (1, null), (2, 5)").await;
        server.run("update t set a = 6 where id = 1").await;
        server.run("update t set id = 9 where id = 2").await;
        server.run("delete from t where id = 1").await;
        server.run("insert into keyless (a) values (1)").await;
        server.run("update keyless set b = 2").await;
        server.run("set session binlog_row_image=noblob").await;
        server.run("update t set a = 8").await;
        let (_, lines) = changes(&server).await;
        let expected = [
            "t +1,NULL,?,?",
            "t +2,5,?,?",
            "t -1,?,?,? +?,6,?,?",
            "t -2,?,?,? +9,?,?,? !",
            "t -1,?,?,?",
            "keyless +1,?",
            "keyless -1,NULL +?,2 !",
            "t -9,5,7,? +9,8,7,?",
        ];
        assert_eq!(lines, expected);
        server.drop(DATABASE).await;
    }
}

#[tokio::test]
async fn a_vector_before_a_text_leaves_it_its_charset() {
    let (_guard, servers) = servers("vectors", DATABASE).await;
    for mut server in servers {
        if server.has_vectors() {
            server
                .run("create table t (v vector(1), a text character set latin2, w vector(1), b text character set gbk)")
                .await;
            server.run("insert into t (a, b) values ('łő', '中')").await;
            let (shapes, lines) = changes(&server).await;
            assert_eq!(lines, ["t +NULL,łő,NULL,中"]);
            assert_eq!(attribute(&shapes[0], "b", "charset"), Some("gbk"));
        }
        server.drop(DATABASE).await;
    }
}
