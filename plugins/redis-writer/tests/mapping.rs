//! What is wrong with a mapping is said when it is loaded, or when a table's shape is shown: with line, column and reason.
#![allow(clippy::unwrap_used, clippy::panic)]

mod shop;

use mysync_writer_sdk::Problem;
use mysync_writer_sdk::testing::{Trial, table};
use redis_writer::RedisWriter;

fn shown(problems: Vec<Problem>) -> Vec<String> {
    let at = |problem: &Problem| match (problem.line, problem.column) {
        (Some(line), Some(column)) => format!("{line}:{column} "),
        _ => String::new(),
    };
    problems.into_iter().map(|problem| at(&problem) + &problem.message).collect()
}

/// What is wrong with the text by itself.
fn refused(text: &str) -> Vec<String> {
    shown(Trial::<RedisWriter>::new(text).err().unwrap_or_default())
}

/// What is wrong with the text once the table of users is known.
fn mismatch(text: &str) -> Vec<String> {
    let mut trial = Trial::<RedisWriter>::new(text).unwrap_or_else(|problems| panic!("{:?}", shown(problems)));
    shown(trial.define(&shop::shape()).err().unwrap_or_default())
}

#[test]
fn what_is_no_mapping() {
    assert_eq!(refused(""), ["1:1 no `[[map]]`: a mapping says what becomes of at least one table"]);
    assert_eq!(refused("connector = \"cache\"\nmap = 3"), ["2:7 `map` is a list of tables: write `[[map]]`"]);
    assert_eq!(refused("[map]\ntable = \"a.b\"").len(), 1);
    assert_eq!(refused("[[map]]\ntable = \"a.b").len(), 1, "no TOML");
}

#[test]
fn every_mistake_of_a_map_is_told_at_once_and_in_order() {
    let text = r#"component = "redis-writer.wasm"
tables = ["shop.users"]

[[map]]
table = "users"
as = "hash"
key = "user:id"
colums = ["id"]
ttl = "7 days"

[[map]]
as = "sortedset"
key = "user:{id"
"#;
    assert_eq!(
        refused(text),
        [
            "5:9 `table` names the database too: write \"database.users\"",
            "7:7 `key` is the same for every row: put a column in it, as in \"user:{id}\"",
            "8:1 unknown key `colums`: did you mean `columns`?",
            "9:7 `ttl = \"7 days\"` is no duration: write \"90s\", \"15m\", \"1h\", \"7d\"",
            "11:1 `table` is missing",
            "12:6 unknown structure \"sortedset\": did you mean \"sorted-set\"?",
            "13:7 `key = \"user:{id\"`: a `{` without a `}` behind it: write `{{` for the character itself",
        ]
    );
}

/// A map of `shop.users` with these lines from line 4.
fn map(lines: &str) -> String {
    format!("[[map]]\ntable = \"shop.users\"\nkey = \"user:{{id}}\"\n{lines}\n")
}

#[test]
fn keys_that_do_not_go_together() {
    let cases = [
        ("", "1:1 `as` is missing"),
        ("as = \"set\"", "1:1 `member` is missing"),
        ("as = \"sorted-set\"\nmember = \"{id}\"", "1:1 `score` is missing"),
        ("as = \"string\"", "1:1 `value` is missing"),
        (
            "as = \"list\"\nmember = \"all\"",
            "5:10 `member` is the same for every row: put a column in it, as in \"user:{id}\"",
        ),
        ("as = \"hash\"\nmember = \"{id}\"", "5:1 `member` does not go with `as = \"hash\"`"),
        ("as = \"set\"\nmember = \"{id}\"\ncolumns = [\"id\"]", "6:1 `columns` does not go with `as = \"set\"`"),
        (
            "as = \"string\"\nvalue = \"{id}\"\ncolumns = [\"id\"]",
            "6:1 `columns` does not go with a `value` that is a template",
        ),
        (
            "as = \"hash\"\ncolumns = [\"id\"]\nexclude = [\"name\"]",
            "6:1 `exclude` takes columns out of all: it does not go with `columns`",
        ),
        ("as = \"hash\"\ncolumns = \"id\"", "5:11 `columns` is a list of texts: write [\"one\", \"two\"]"),
        ("as = \"hash\"\nrename = [\"a\"]", "5:10 `rename` is a table of texts: write { one = \"other\" }"),
        ("as = \"hash\"\nttl = 60", "5:7 `ttl` is a text: write it in quotes"),
        ("as = \"hash\"\non_delete = \"drop\"", "5:13 `on_delete` is \"remove\" or \"keep\""),
        ("as = \"hash\"\non_truncate = \"remove\"", "5:15 `on_truncate` is \"stop\" or \"keep\""),
        ("as = \"zset\"", "4:6 unknown structure \"zset\": did you mean \"set\"?"),
    ];
    for (lines, expected) in cases {
        assert_eq!(refused(&map(lines)), [expected], "{lines}");
    }
}

#[test]
fn a_table_that_the_writer_is_not_given() {
    let with = |tables: &str| refused(&format!("tables = {tables}\n{}", map("as = \"hash\"")));
    assert_eq!(with("[\"shop.orders\"]"), ["3:9 \"shop.users\" is not among the writer's `tables`: no row would come"]);
    assert!(with("[\"shop.*\"]").is_empty() && with("[\"shop.orders\", \"shop.users\"]").is_empty());
}

#[test]
fn columns_that_the_table_lacks() {
    let cases = [
        (
            "as = \"hash\"\ncolumns = [\"id\", \"emial\"]",
            "5:18 shop.users has no column `emial`: did you mean `email`?",
        ),
        ("as = \"hash\"\nexclude = [\"zzz\"]", "5:12 shop.users has no column `zzz`"),
        ("as = \"hash\"\nrename = { agee = \"x\" }", "5:12 shop.users has no column `agee`: did you mean `age`?"),
        ("as = \"set\"\nmember = \"{uid}\"", "5:10 shop.users has no column `uid`: did you mean `id`?"),
        ("as = \"string\"\nvalue = \"{nam}\"", "5:9 shop.users has no column `nam`: did you mean `name`?"),
        (
            "as = \"sorted-set\"\nmember = \"{id}\"\nscore = \"ages\"",
            "6:9 shop.users has no column `ages`: did you mean `age`?",
        ),
        ("as = \"sorted-set\"\nmember = \"{id}\"\nscore = \"name\"", "6:9 `score` is a number, and `name` is varchar"),
        (
            "as = \"hash\"\ncolumns = [\"id\"]\nrename = { name = \"n\" }",
            "6:12 `name` is renamed, but it is not among the columns of the entry",
        ),
        ("as = \"hash\"\nrename = { name = \"email\" }", "5:19 the entry has a field `email` already"),
        ("as = \"hash\"\ncolumns = []", "5:1 no column is left for the entry"),
    ];
    for (lines, expected) in cases {
        let problems = mismatch(&map(lines));
        assert_eq!(problems.len(), 1, "{lines}: {problems:?}");
        assert_eq!(problems[0], expected, "{lines}");
    }
    let text = map("as = \"hash\"").replace("{id}", "{ID}");
    assert_eq!(mismatch(&text), ["3:7 shop.users has no column `ID`"], "names are taken exactly");
}

#[test]
fn one_key_cannot_hold_two_structures() {
    let text = map("as = \"hash\"") + &map("as = \"set\"\nmember = \"{name}\"");
    assert_eq!(mismatch(&text), ["7:7 this is also the key of a hash (line 3): one key of Redis holds one structure"]);
    assert!(mismatch(&(map("as = \"hash\"") + &map("as = \"hash\""))).is_empty());
}

#[test]
fn a_table_that_no_map_concerns_is_ignored_and_a_changed_one_is_looked_at_again() {
    let mut trial = Trial::<RedisWriter>::new(&map("as = \"hash\"\ncolumns = [\"id\", \"city\"]")).unwrap();
    assert!(trial.define(&table("shop.orders").column("id", "int")).unwrap().ignore);
    let plan = trial.define(&shop::shape()).unwrap();
    assert_eq!((plan.ignore, plan.columns), (false, vec![0, 3]), "no more columns than it needs");
    let without_city = table("shop.users").column("id", "int").column("name", "varchar").key(&["id"]);
    assert_eq!(shown(trial.define(&without_city).unwrap_err()), ["5:18 shop.users has no column `city`"]);
}

#[test]
fn braces_in_names_are_doubled() {
    let text = map("as = \"hash\"\ncolumns = [\"id\"]").replace("user:{id}", "{{{id}}}");
    let mut trial = Trial::<RedisWriter>::new(&text).unwrap();
    trial.define(&shop::shape()).unwrap();
    assert_eq!(
        shop::lines(&mut trial, [mysync_writer_sdk::testing::insert(shop::USERS, shop::ann())]),
        ["HSET {1} id 1"]
    );
}
