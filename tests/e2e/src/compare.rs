//! What Redis should hold by what MySQL holds, worked out without any part of the program, and what it does hold.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail, ensure};
use mysync_test_support::{Mysql, RedisServer, until_within};
use redis::Connection;
use serde_json::{Value, json};

use crate::world::PATIENCE;

/// What is kept under one key.
#[derive(Debug, Clone, PartialEq)]
pub enum Entry {
    Hash(BTreeMap<String, String>),
    Set(BTreeSet<String>),
    List(Vec<String>),
    Text(String),
    Json(Value),
}

pub type Entries = BTreeMap<String, Entry>;

/// Differences that are told; more say nothing new.
const TOLD: usize = 5;

/// The entries of the shop's tables.
pub async fn expected(mysql: &Mysql) -> Result<Entries> {
    let mut entries = Entries::new();
    type User = (i32, String, Option<String>, String, i32);
    for (id, name, email, city, score) in
        mysql.query::<User>("SELECT id, name, email, city, score FROM shop.users").await?
    {
        let mut hash = BTreeMap::from([
            ("id".to_owned(), id.to_string()),
            ("name".to_owned(), name),
            ("city".to_owned(), city.clone()),
            ("score".to_owned(), score.to_string()),
        ]);
        hash.extend(email.map(|email| ("email".to_owned(), email)));
        entries.insert(format!("user:{id}"), Entry::Hash(hash));
        let members = entries.entry(format!("users:by-city:{city}")).or_insert_with(|| Entry::Set(BTreeSet::new()));
        if let Entry::Set(members) = members {
            members.insert(id.to_string());
        }
    }
    type Order = (i64, i32, String, Option<String>);
    for (id, user_id, total, note) in
        mysql.query::<Order>("SELECT id, user_id, CAST(total AS CHAR), note FROM shop.orders").await?
    {
        let total: Value = serde_json::from_str(&total)?;
        let document = json!({"id": id, "user_id": user_id, "total": total, "note": note});
        entries.insert(format!("order:{id}"), Entry::Json(document));
    }
    for (id, k, c) in mysql.query::<(i32, i32, String)>("SELECT id, k, c FROM shop.bulk").await? {
        let hash = BTreeMap::from([("k".to_owned(), k.to_string()), ("c".to_owned(), c)]);
        entries.insert(format!("bulk:{id}"), Entry::Hash(hash));
    }
    for (id, city) in mysql.query::<(i32, String)>("SELECT id, city FROM shop.visits ORDER BY turn").await? {
        let members = entries.entry(format!("visits:{city}")).or_insert_with(|| Entry::List(Vec::new()));
        if let Entry::List(members) = members {
            members.push(id.to_string());
        }
    }
    Ok(entries)
}

/// Everything in Redis but fences.
pub fn actual(conn: &mut Connection) -> Result<Entries> {
    let mut entries = Entries::new();
    let mut cursor = "0".to_owned();
    loop {
        let (next, keys): (String, Vec<String>) = redis::cmd("SCAN").arg(&cursor).arg("COUNT").arg(1000).query(conn)?;
        let keys: Vec<String> = keys.into_iter().filter(|key| !key.starts_with("mysync:")).collect();
        let mut types = redis::pipe();
        keys.iter().for_each(|key| _ = types.cmd("TYPE").arg(key));
        let types: Vec<String> = if keys.is_empty() { Vec::new() } else { types.query(conn)? };
        let mut reads = redis::pipe();
        for (key, kind) in keys.iter().zip(&types) {
            match kind.as_str() {
                "hash" => reads.cmd("HGETALL").arg(key),
                "set" => reads.cmd("SMEMBERS").arg(key),
                "list" => reads.cmd("LRANGE").arg(key).arg(0).arg(-1),
                _ => reads.cmd("GET").arg(key),
            };
        }
        let values: Vec<redis::Value> = if keys.is_empty() { Vec::new() } else { reads.query(conn)? };
        for ((key, kind), value) in keys.into_iter().zip(types).zip(values) {
            let entry = match kind.as_str() {
                "hash" => Entry::Hash(redis::from_redis_value(value)?),
                "set" => Entry::Set(redis::from_redis_value(value)?),
                "list" => Entry::List(redis::from_redis_value(value)?),
                "string" => text(&redis::from_redis_value::<String>(value)?),
                // Gone between two questions.
                "none" => continue,
                kind => bail!("{key} is a {kind}"),
            };
            entries.insert(key, entry);
        }
        if next == "0" {
            return Ok(entries);
        }
        cursor = next;
    }
}

fn text(text: &str) -> Entry {
    match serde_json::from_str(text) {
        Ok(value @ Value::Object(_)) => Entry::Json(value),
        _ => Entry::Text(text.to_owned()),
    }
}

/// The first differences, in words.
pub fn differences(expected: &Entries, actual: &Entries) -> Vec<String> {
    let keys: BTreeSet<&String> = expected.keys().chain(actual.keys()).collect();
    let differs = keys.into_iter().filter(|key| expected.get(*key) != actual.get(*key));
    differs.map(|key| format!("{key}: MySQL {:?}, Redis {:?}", expected.get(key), actual.get(key))).collect()
}

/// Equal as of now.
pub async fn equal(mysql: &Mysql, redis: &RedisServer) -> Result<usize> {
    same(&expected(mysql).await?, &actual(&mut redis.conn()?)?)
}

/// [`equal`] but for the order of lists: a dump brings rows in the order of their key, whenever they were written.
pub async fn equal_in_any_order(mysql: &Mysql, redis: &RedisServer) -> Result<usize> {
    same(&in_any_order(expected(mysql).await?), &in_any_order(actual(&mut redis.conn()?)?))
}

fn in_any_order(mut entries: Entries) -> Entries {
    for entry in entries.values_mut() {
        if let Entry::List(members) = entry {
            members.sort();
        }
    }
    entries
}

/// The same entries; answers how many there are.
pub fn same(expected: &Entries, actual: &Entries) -> Result<usize> {
    let found = differences(expected, actual);
    ensure!(
        found.is_empty(),
        "{} of {} entries differ: {}",
        found.len(),
        expected.len(),
        found[..found.len().min(TOLD)].join("; ")
    );
    Ok(expected.len())
}

/// Waits until both are equal, and answers how many entries there are.
pub async fn wait_equal(mysql: &Mysql, redis: &RedisServer) -> Result<usize> {
    until_within(PATIENCE, "Redis equals MySQL", async || equal(mysql, redis).await).await
}
