//! What a row becomes in each structure, with NULLs, and when it is deleted.

use anyhow::{Result, ensure};

use crate::entries::{Entry, NONE, hash, list, set, sorted_set, text, wait_for};
use crate::{people, started, stopped, writer};

/// A structure of each kind, several of them with other columns or names.
const EACH: [&str; 9] = [
    r#"
as = "hash"
key = "user:{id}"
columns = ["name", "id"]
"#,
    r#"
as = "hash"
key = "user:but:{id}"
exclude = ["city", "score"]
rename = { email = "mail", id = "number" }
"#,
    r#"
as = "string"
key = "user:all:{id}"
value = "json"
"#,
    r#"
as = "string"
key = "user:document:{id}"
value = "json"
columns = ["score", "id", "name"]
rename = { score = "points" }
"#,
    r#"
as = "string"
key = "user:mail:{id}"
value = "{email}"
"#,
    r#"
as = "string"
key = "user:{{label}}:{id}"
value = "{name} <{email}>"
"#,
    r#"
as = "set"
key = "users:in:{city}"
member = "{id}"
"#,
    r#"
as = "sorted-set"
key = "users:ranking"
member = "{name}#{id}"
score = "score"
"#,
    r#"
as = "list"
key = "users:recent:{city}"
member = "{id}"
"#,
];

/// The entries of one person in Oslo alone.
fn person(id: u32, name: &str, score: &str) -> Vec<(String, Entry)> {
    let (number, mail) = (id.to_string(), format!("{id}@example.org"));
    let quoted = serde_json::Value::from(name);
    vec![
        (format!("user:{id}"), hash([("id", &number), ("name", name)])),
        (format!("user:but:{id}"), hash([("number", &number), ("name", name), ("mail", &mail)])),
        (
            format!("user:all:{id}"),
            text(&format!(r#"{{"id":{id},"name":{quoted},"city":"Oslo","email":"{mail}","score":{score}}}"#)),
        ),
        (format!("user:document:{id}"), text(&format!(r#"{{"points":{score},"id":{id},"name":{quoted}}}"#))),
        (format!("user:mail:{id}"), text(&mail)),
        (format!("user:{{label}}:{id}"), text(&format!("{name} <{mail}>"))),
    ]
}

/// The entries that the people in Oslo share.
fn shared(set: Entry, sorted_set: Entry, list: Entry) -> Vec<(String, Entry)> {
    let keys = ["users:in:Oslo", "users:ranking", "users:recent:Oslo"].map(str::to_owned);
    keys.into_iter().zip([set, sorted_set, list]).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_table_fills_hashes_documents_texts_a_set_a_ranking_and_a_list() -> Result<()> {
    let test = "one_table_fills_hashes_documents_texts_a_set_a_ranking_and_a_list";
    let Some((world, mysync)) = people(test, &EACH).await? else { return Ok(()) };
    let mysql = &world.mysql;
    let zoe = person(2, "Zoë", "-1.00");
    mysql
        .exec(
            "INSERT INTO shop.people VALUES (1, 'Ann', 'Oslo', '1@example.org', 9.50), \
             (2, 'Zoë', 'Oslo', '2@example.org', -1)",
        )
        .await?;
    let both = shared(set(["1", "2"]), sorted_set([("Ann#1", 9.5), ("Zoë#2", -1.0)]), list(["1", "2"]));
    wait_for(&world, [person(1, "Ann", "9.50"), zoe.clone(), both].concat()).await?;

    mysql.exec("UPDATE shop.people SET name = 'A\\\"nn', score = 10 WHERE id = 1").await?;
    // The former name has left the ranking, and what was written last is the last of the list.
    let both = shared(set(["1", "2"]), sorted_set([("A\"nn#1", 10.0), ("Zoë#2", -1.0)]), list(["2", "1"]));
    wait_for(&world, [person(1, "A\"nn", "10.00"), zoe.clone(), both].concat()).await?;

    mysql.exec("DELETE FROM shop.people WHERE id = 1").await?;
    let one = shared(set(["2"]), sorted_set([("Zoë#2", -1.0)]), list(["2"]));
    wait_for(&world, [zoe, one].concat()).await?;
    mysql.exec("DELETE FROM shop.people").await?;
    wait_for(&world, NONE).await?;
    ensure!(mysync.terminate().await?.success());
    Ok(())
}

/// Each structure with each of its ways to take NULL.
const NULLS: [&str; 15] = [
    "as = \"hash\"\nkey = \"user:{id}\"\ncolumns = [\"id\", \"email\", \"score\"]",
    "as = \"hash\"\nkey = \"user:only:{id}\"\ncolumns = [\"email\"]\nnull = \"omit\"",
    "as = \"hash\"\nkey = \"user:empty:{id}\"\ncolumns = [\"email\"]\nnull = \"empty\"",
    "as = \"hash\"\nkey = \"user:dash:{id}\"\ncolumns = [\"email\", \"score\"]\nnull = \"-\"",
    "as = \"string\"\nkey = \"user:document:{id}\"\nvalue = \"json\"\ncolumns = [\"email\", \"id\"]",
    "as = \"string\"\nkey = \"user:document:less:{id}\"\nvalue = \"json\"\ncolumns = [\"email\", \"id\"]\nnull = \"omit\"",
    "as = \"string\"\nkey = \"user:document:none:{id}\"\nvalue = \"json\"\ncolumns = [\"email\"]\nnull = \"\\\"none\\\"\"",
    "as = \"string\"\nkey = \"user:mail:{id}\"\nvalue = \"to {email}\"",
    "as = \"string\"\nkey = \"user:mail:empty:{id}\"\nvalue = \"to {email}\"\nnull = \"empty\"",
    "as = \"string\"\nkey = \"user:mail:none:{id}\"\nvalue = \"to {email}\"\nnull = \"none\"",
    "as = \"string\"\nkey = \"user:of:{city}:{id}\"\nvalue = \"{id}\"",
    "as = \"set\"\nkey = \"users:in:{city}\"\nmember = \"{id}\"",
    "as = \"set\"\nkey = \"users:mails\"\nmember = \"{email}\"",
    "as = \"sorted-set\"\nkey = \"users:ranking\"\nmember = \"{id}\"\nscore = \"score\"",
    "as = \"list\"\nkey = \"users:recent\"\nmember = \"{city}:{id}\"",
];

#[tokio::test(flavor = "multi_thread")]
async fn null_comes_and_goes_in_every_structure() -> Result<()> {
    let Some((world, mysync)) = people("null_comes_and_goes_in_every_structure", &NULLS).await? else {
        return Ok(());
    };
    let nulls = || {
        [
            ("user:1", hash([("id", "1")])),
            ("user:empty:1", hash([("email", "")])),
            ("user:dash:1", hash([("email", "-"), ("score", "-")])),
            ("user:document:1", text(r#"{"email":null,"id":1}"#)),
            ("user:document:less:1", text(r#"{"id":1}"#)),
            ("user:document:none:1", text(r#"{"email":"\"none\""}"#)),
            ("user:mail:empty:1", text("")),
            ("user:mail:none:1", text("none")),
        ]
    };
    let values = [
        ("user:1", hash([("id", "1"), ("email", "a@x"), ("score", "0.50")])),
        ("user:only:1", hash([("email", "a@x")])),
        ("user:empty:1", hash([("email", "a@x")])),
        ("user:dash:1", hash([("email", "a@x"), ("score", "0.50")])),
        ("user:document:1", text(r#"{"email":"a@x","id":1}"#)),
        ("user:document:less:1", text(r#"{"email":"a@x","id":1}"#)),
        ("user:document:none:1", text(r#"{"email":"a@x"}"#)),
        ("user:mail:1", text("to a@x")),
        ("user:mail:empty:1", text("to a@x")),
        ("user:mail:none:1", text("to a@x")),
        ("user:of:Oslo:1", text("1")),
        ("users:in:Oslo", set(["1"])),
        ("users:mails", set(["a@x"])),
        ("users:ranking", sorted_set([("1", 0.5)])),
        ("users:recent", list(["Oslo:1"])),
    ];
    world.mysql.exec("INSERT INTO shop.people (id) VALUES (1)").await?;
    wait_for(&world, nulls()).await?;
    world.mysql.exec("UPDATE shop.people SET city = 'Oslo', email = 'a@x', score = 0.5").await?;
    wait_for(&world, values).await?;
    world.mysql.exec("UPDATE shop.people SET city = NULL, email = NULL, score = NULL").await?;
    wait_for(&world, nulls()).await?;
    world.mysql.exec("DELETE FROM shop.people").await?;
    wait_for(&world, NONE).await?;
    ensure!(mysync.terminate().await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_of_deleted_rows_stay_where_the_mapping_says_so() -> Result<()> {
    let test = "entries_of_deleted_rows_stay_where_the_mapping_says_so";
    let keeping: Vec<String> = [
        "as = \"hash\"\nkey = \"user:{id}\"\ncolumns = [\"name\", \"email\"]",
        "as = \"string\"\nkey = \"user:name:{id}\"\nvalue = \"{name}\"",
        "as = \"set\"\nkey = \"users:in:{city}\"\nmember = \"{id}\"",
        "as = \"sorted-set\"\nkey = \"users:ranking\"\nmember = \"{id}\"\nscore = \"score\"",
        "as = \"list\"\nkey = \"users:recent\"\nmember = \"{id}\"",
    ]
    .iter()
    .map(|map| format!("{map}\non_delete = \"keep\""))
    .collect();
    let mut maps: Vec<&str> = keeping.iter().map(String::as_str).collect();
    maps.push("as = \"string\"\nkey = \"user:there:{id}\"\nvalue = \"{id}\"\non_delete = \"remove\"");
    let Some((world, mysync)) = people(test, &maps).await? else { return Ok(()) };
    world
        .mysql
        .exec("INSERT INTO shop.people VALUES (1, 'Ann', 'Oslo', 'a@x', 1), (2, 'Bob', 'Oslo', 'b@x', 2)")
        .await?;
    world.mysql.exec("DELETE FROM shop.people WHERE id = 1").await?;
    let bob = [
        ("user:2", hash([("name", "Bob"), ("email", "b@x")])),
        ("user:name:2", text("Bob")),
        ("user:there:2", text("2")),
    ];
    let kept = [
        ("user:1", hash([("name", "Ann"), ("email", "a@x")])),
        ("user:name:1", text("Ann")),
        ("users:in:Oslo", set(["1", "2"])),
        ("users:ranking", sorted_set([("1", 1.0), ("2", 2.0)])),
        ("users:recent", list(["1", "2"])),
    ];
    wait_for(&world, bob.clone().into_iter().chain(kept)).await?;

    // Another row under the same key takes the entries over, and a row that moves takes them along.
    world.mysql.exec("INSERT INTO shop.people VALUES (1, 'Cleo', 'Rome', NULL, 3)").await?;
    world.mysql.exec("UPDATE shop.people SET id = 3 WHERE id = 2").await?;
    let bob = bob.map(|(key, entry)| match key {
        "user:there:2" => ("user:there:3", text("3")),
        "user:2" => ("user:3", entry),
        _ => ("user:name:3", entry),
    });
    let kept = [
        ("user:1", hash([("name", "Cleo")])),
        ("user:name:1", text("Cleo")),
        ("user:there:1", text("1")),
        ("users:in:Oslo", set(["1", "3"])),
        ("users:in:Rome", set(["1"])),
        ("users:ranking", sorted_set([("1", 3.0), ("3", 2.0)])),
        ("users:recent", list(["1", "3"])),
    ];
    wait_for(&world, bob.into_iter().chain(kept)).await?;
    ensure!(mysync.terminate().await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_meet_in_one_entry_share_it_and_the_later_change_wins() -> Result<()> {
    let test = "rows_that_meet_in_one_entry_share_it_and_the_later_change_wins";
    let maps = [
        "as = \"hash\"\nkey = \"user:of:{city}\"\ncolumns = [\"name\"]",
        "as = \"hash\"\nkey = \"user:of:{city}\"\ncolumns = [\"email\"]\nnull = \"-\"",
        "as = \"set\"\nkey = \"users:mails\"\nmember = \"{email}\"",
    ];
    let Some((world, mysync)) = people(test, &maps).await? else { return Ok(()) };
    world
        .mysql
        .exec("INSERT INTO shop.people VALUES (1, 'Ann', 'Oslo', 'us@x', 1), (2, 'Bob', 'Oslo', 'us@x', 2)")
        .await?;
    let oslo = |name, mail| ("user:of:Oslo", hash([("name", name), ("email", mail)]));
    wait_for(&world, [oslo("Bob", "us@x"), ("users:mails", set(["us@x"]))]).await?;
    world.mysql.exec("UPDATE shop.people SET email = NULL WHERE id = 1").await?;
    wait_for(&world, [oslo("Ann", "-")]).await?;
    world.mysql.exec("UPDATE shop.people SET score = 3 WHERE id = 2").await?;
    wait_for(&world, [oslo("Bob", "us@x"), ("users:mails", set(["us@x"]))]).await?;
    world.mysql.exec("DELETE FROM shop.people WHERE id = 1").await?;
    wait_for(&world, [("users:mails", set(["us@x"]))]).await?;
    ensure!(mysync.terminate().await?.success());
    Ok(())
}

/// The server is asked for full images at the start; a session can still say otherwise.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_leaves_out_columns_is_a_stop_unless_they_are_not_needed() -> Result<()> {
    let test = "a_session_that_leaves_out_columns_is_a_stop_unless_they_are_not_needed";
    let schema = "CREATE TABLE shop.people (id INT PRIMARY KEY, name VARCHAR(50), about TEXT)";
    let text = writer("shop.people", &["as = \"hash\"\nkey = \"user:{id}\""]);
    let Some((world, mysync)) = started(test, schema, &text, "").await? else { return Ok(()) };
    let session = async |image: &str, statement: &str| {
        world.mysql.exec(&format!("SET SESSION binlog_row_image = '{image}'; {statement}")).await
    };
    world.mysql.exec("INSERT INTO shop.people VALUES (1, 'Ann', 'text'), (2, 'Bob', 'text')").await?;
    session("NOBLOB", "UPDATE shop.people SET name = 'Anna' WHERE id = 1").await?;
    session("MINIMAL", "DELETE FROM shop.people WHERE id = 2").await?;
    let anna = || [("user:1", hash([("id", "1"), ("name", "Anna"), ("about", "text")]))];
    wait_for(&world, anna()).await?;

    session("MINIMAL", "UPDATE shop.people SET name = 'Annie' WHERE id = 1").await?;
    let reason = stopped(&world, &mysync, "ROW_REJECTED").await?;
    ensure!(reason.contains("the binlog does not hold `id` of this row"), "{reason}");
    wait_for(&world, anna()).await?;
    ensure!(mysync.terminate().await?.success());
    Ok(())
}
