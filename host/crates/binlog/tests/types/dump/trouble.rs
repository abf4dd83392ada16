//! Tables that change while they are read, that cannot be read, and that are too large.

use mysync_binlog::dump::DumpError;
use mysync_binlog::dump::select::{Limits, select};
use mysync_binlog::dump::table::{DumpTable, TableName, prepare, tables};
use mysync_change::image::{Image, Value};
use mysync_change::pattern::Pattern;
use mysync_pipeline::failure::Kind;

use super::{ROOM, selected, session, table};
use crate::server::servers;

fn named(database: &str, table: &str) -> TableName {
    TableName { database: database.to_owned(), table: table.to_owned() }
}

#[tokio::test]
async fn a_table_that_was_altered_since_it_was_looked_at_is_read_again() {
    const DATABASE: &str = "mysync_dump_altered";
    let (_guard, servers) = servers("altered tables", DATABASE).await;
    for mut server in servers {
        let mut connection = session(&server).await;
        for (declared, altering) in [
            ("a int primary key, b int", "alter table t drop column b"),
            ("a int primary key, b int", "alter table t rename column b to c"),
            ("a int primary key, b int", "alter table t modify b bigint"),
            ("a int primary key, b int", "alter table t modify b varchar(5)"),
            (
                "a int primary key, b varchar(5) character set latin1",
                "alter table t modify b varchar(5) character set utf8mb4",
            ),
            ("a int primary key, b int", "alter table t drop primary key"),
            ("a int primary key, b int", "alter table t drop primary key, add primary key (b)"),
            // The protocol says the same of both: only a value that is too long tells.
            ("a int primary key, b binary(2)", "alter table t modify b binary(5)"),
            ("a int primary key, b decimal(5,2)", "rename table t to other"),
            ("a int primary key, b int", "drop table t"),
            ("a int primary key, b int", "drop database mysync_dump_altered"),
        ] {
            for sql in [
                "create database if not exists mysync_dump_altered",
                "use mysync_dump_altered",
                "drop table if exists t, other",
            ] {
                server.run(sql).await;
            }
            server.run(&format!("create table t ({declared})")).await;
            server.run("insert into t values (1, 1), (2, 2)").await;
            let name = named(DATABASE, "t");
            let before = table(&mut connection, &name).await;
            server.run(altering).await;
            let (told, key) = match select(&mut connection, &before, None, &ROOM).await {
                Err(DumpError::Altered { table }) => (table == "mysync_dump_altered.t", String::new()),
                Err(error) => panic!("{altering}: {error}"),
                // Rows in another order: the key tells.
                Ok(_) => (false, before.key().to_owned()),
            };
            // And the connection is still of use.
            let now = DumpTable::read(&mut connection, DATABASE, "t", &selected(DATABASE)).await.unwrap();
            assert!(told || now.is_some_and(|now| now.key() != key), "{altering}");
        }
        server.run("create database if not exists mysync_dump_altered").await;
        server.drop(DATABASE).await;
    }
}

#[tokio::test]
async fn a_text_without_meaning_is_told_with_its_column_and_the_rows_behind_it_can_be_read() {
    const DATABASE: &str = "mysync_dump_values";
    let (_guard, servers) = servers("values without meaning", DATABASE).await;
    for mut server in servers {
        let mut connection = session(&server).await;
        server.run("create table t (id int primary key, a char(1) character set tis620)").await;
        server.run("insert into t values (1, 'a'), (2, convert(x'dd' using tis620)), (3, 'c')").await;
        let before = table(&mut connection, &named(DATABASE, "t")).await;
        let error = select(&mut connection, &before, None, &ROOM).await.unwrap_err();
        assert_eq!((error.code(), error.kind()), ("DUMP_VALUE", Kind::Definite));
        let message = error.to_string();
        assert!(
            message.contains("mysync_dump_values.t") && message.contains("column a") && message.contains("tis620"),
            "{message}"
        );
        let found = select(&mut connection, &before, Some(&["2".to_owned()]), &ROOM).await.unwrap();
        assert_eq!((found.rows, found.last), (1, Some(vec!["3".to_owned()])));
        server.drop(DATABASE).await;
    }
}

#[tokio::test]
async fn an_account_without_select_is_told_what_to_grant() {
    const DATABASE: &str = "mysync_dump_denied";
    let (_guard, servers) = servers("denied tables", DATABASE).await;
    for mut server in servers {
        server.run("create table t (a int primary key, b int)").await;
        server.run("create user if not exists mysync_denied identified with caching_sha2_password by ''").await;
        server.run("grant insert on mysync_dump_denied.t to mysync_denied").await;
        let mut connection = server.connect_as("mysync_denied").await;
        prepare(&mut connection).await.unwrap();
        let read = DumpTable::read(&mut connection, DATABASE, "t", &selected(DATABASE)).await;
        let error = match read {
            Ok(Some(table)) => select(&mut connection, &table, None, &ROOM).await.unwrap_err(),
            Ok(None) => panic!("there is no such table"),
            Err(error) => error,
        };
        assert_eq!((error.code(), error.kind()), ("DUMP_DENIED", Kind::Definite));
        let grant = "GRANT SELECT ON `mysync_dump_denied`.`t` TO 'mysync_denied'@'%'";
        assert!(error.to_string().contains(grant), "{error}");
        server.run("drop user mysync_denied").await;
        server.drop(DATABASE).await;
    }
}

#[tokio::test]
async fn rows_of_several_packets_are_whole_and_what_is_too_large_ends_the_connection_and_nothing_else() {
    const DATABASE: &str = "mysync_dump_large";
    let (_guard, servers) = servers("large rows", DATABASE).await;
    for mut server in servers {
        let mut connection = session(&server).await;
        server.run("create table t (id int primary key, a longtext)").await;
        let packet = 0xff_ffff;
        // The row has 1 + 1 bytes in front, 4 of its id, and 4 of the length.
        let sizes = [1, packet - 11, packet - 10, packet - 9, 2 * packet - 10, 40 << 20, 3];
        for (id, size) in sizes.iter().enumerate() {
            server.run(&format!("insert into t values ({id}, repeat('x', {size}))")).await;
        }
        let table = table(&mut connection, &named(DATABASE, "t")).await;
        let found = select(&mut connection, &table, None, &ROOM).await.unwrap();
        let read: Vec<usize> =
            (0..found.chunk.len()).map(|at| text_bytes(found.chunk.row(at).unwrap().0, &table)).collect();
        assert_eq!(read, sizes);
        for (limit, after) in [(41 << 20, "4"), (17 << 20, "0"), (100, "1")] {
            let mut connection = session(&server).await;
            let limits = Limits { rows: u64::MAX, bytes: limit };
            let error = select(&mut connection, &table, Some(&[after.to_owned()]), &limits).await;
            if limit == 41 << 20 {
                assert_eq!(error.unwrap().rows, 2);
                continue;
            }
            assert_eq!(error.unwrap_err().code(), "DUMP_CHUNK_LARGE");
            // What comes next would be the rest of the rows.
            assert_eq!(connection.query("select 1").await.unwrap_err().code(), "SOURCE_CONNECTION_LOST");
            let again = select(&mut connection, &table, None, &limits).await.unwrap_err();
            assert_eq!((again.code(), again.kind()), ("SOURCE_CONNECTION_LOST", Kind::Transient));
        }
        server.drop(DATABASE).await;
    }
}

fn text_bytes(image: &[u8], table: &DumpTable) -> usize {
    let columns = &table.shape().columns;
    match Image::new(image, columns.len()).unwrap().values(columns).nth(1).unwrap().unwrap() {
        Value::Text(text) if text.bytes().all(|byte| byte == b'x') => text.len(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn tables_come_in_order_without_views_and_those_that_nobody_selected() {
    const DATABASE: &str = "mysync_dump_tables";
    let (_guard, servers) = servers("lists of tables", DATABASE).await;
    for mut server in servers {
        for table in ["b", "`b.c`", "a", "excluded", "ж", "B"] {
            server.run(&format!("create table {table} (id int primary key)")).await;
        }
        server.run("create view seen as select * from a").await;
        server.run("insert into a values (1), (2), (3)").await;
        server.run("analyze table a").await;
        let mut connection = session(&server).await;
        let mut wanted = selected(DATABASE);
        wanted.exclude.push(Pattern::new("*.excluded"));
        let list = tables(&mut connection, &wanted, &[Pattern::new("*")]).await.unwrap();
        let names: Vec<String> = list.iter().map(|(name, _)| name.to_string()).collect();
        let expected = ["B", "a", "b", "b.c", "ж"].map(|name| format!("{DATABASE}.{name}"));
        assert_eq!(names, expected);
        assert_eq!(list[1].1, 3);
        let some = tables(&mut connection, &wanted, &[Pattern::new("*.b*"), Pattern::new("other.*")]).await.unwrap();
        assert_eq!(some.iter().map(|(name, _)| &*name.table).collect::<Vec<_>>(), ["b", "b.c"]);
        // Whatever is selected, what is the server's own is not: it holds accounts.
        wanted.tables = vec![Pattern::new("*.*")];
        let all = tables(&mut connection, &wanted, &[Pattern::new("*")]).await.unwrap();
        assert!(
            all.len() >= expected.len()
                && all.iter().all(|(name, _)| name.database != "mysql" && name.database != "sys")
        );
        assert!(DumpTable::read(&mut connection, DATABASE, "nowhere", &wanted).await.unwrap().is_none());
        wanted.exclude_columns = vec![Pattern::new("*.id")];
        let refused = DumpTable::read(&mut connection, DATABASE, "a", &wanted).await.unwrap_err();
        assert_eq!(refused.code(), "KEY_COLUMN_EXCLUDED");
        server.drop(DATABASE).await;
    }
}
