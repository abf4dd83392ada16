//! What Redis holds, of every structure, and what it should hold.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail, ensure};
use mysync_e2e_tests::World;
use mysync_test_support::{RedisServer, until};
use redis::{Connection, FromRedisValue};

/// What is kept under one key.
#[derive(Debug, Clone, PartialEq)]
pub enum Entry {
    Hash(BTreeMap<String, String>),
    Set(BTreeSet<String>),
    SortedSet(BTreeMap<String, f64>),
    List(Vec<String>),
    Text(String),
}

pub type Entries = BTreeMap<String, Entry>;

pub const NONE: [(&str, Entry); 0] = [];

pub fn hash<const N: usize>(fields: [(&str, &str); N]) -> Entry {
    Entry::Hash(fields.map(|(name, value)| (name.to_owned(), value.to_owned())).into())
}

pub fn set<const N: usize>(members: [&str; N]) -> Entry {
    Entry::Set(members.map(str::to_owned).into())
}

pub fn sorted_set<const N: usize>(members: [(&str, f64); N]) -> Entry {
    Entry::SortedSet(members.map(|(member, score)| (member.to_owned(), score)).into())
}

pub fn list<const N: usize>(members: [&str; N]) -> Entry {
    Entry::List(members.map(str::to_owned).into())
}

pub fn text(text: &str) -> Entry {
    Entry::Text(text.to_owned())
}

/// The entries of users, at one moment. An error is no more than a reason to look again.
pub fn all(redis: &RedisServer) -> Result<Entries> {
    let mut conn = redis.conn()?;
    let keys: Vec<String> = redis::cmd("KEYS").arg("user*").query(&mut conn)?;
    let types: Vec<Vec<&str>> = keys.iter().map(|key| vec!["TYPE", key]).collect();
    let types: Vec<String> = at_once(&mut conn, &types)?;
    let mut reads = vec![vec!["DBSIZE"]];
    for (key, kind) in keys.iter().zip(&types) {
        reads.push(match kind.as_str() {
            "hash" => vec!["HGETALL", key],
            "set" => vec!["SMEMBERS", key],
            "zset" => vec!["ZRANGE", key, "0", "-1", "WITHSCORES"],
            "list" => vec!["LRANGE", key, "0", "-1"],
            "string" => vec!["GET", key],
            kind => bail!("{key} is a {kind}"),
        });
    }
    let mut values = at_once::<redis::Value>(&mut conn, &reads)?.into_iter();
    let fences: Vec<String> = redis::cmd("KEYS").arg("mysync:*").query(&mut conn)?;
    let count: usize = redis::from_redis_value(values.next().unwrap_or(redis::Value::Nil))?;
    ensure!(count == keys.len() + fences.len(), "{count} keys, and entries are {keys:?}");
    keys.into_iter().zip(types).zip(values).map(|((key, kind), value)| Ok((key, entry(&kind, value)?))).collect()
}

fn entry(kind: &str, value: redis::Value) -> Result<Entry> {
    Ok(match kind {
        "hash" => Entry::Hash(redis::from_redis_value(value)?),
        "set" => Entry::Set(redis::from_redis_value(value)?),
        "zset" => Entry::SortedSet(redis::from_redis_value(value)?),
        "list" => Entry::List(redis::from_redis_value(value)?),
        _ => Entry::Text(redis::from_redis_value(value)?),
    })
}

/// Asks several questions at one moment.
pub fn at_once<T: FromRedisValue>(conn: &mut Connection, questions: &[Vec<&str>]) -> Result<Vec<T>> {
    let mut pipe = redis::pipe();
    pipe.atomic();
    for question in questions {
        let mut asked = redis::Cmd::new();
        question.iter().for_each(|word| _ = asked.arg(*word));
        pipe.add_command(asked);
    }
    Ok(if questions.is_empty() { Vec::new() } else { pipe.query(conn)? })
}

/// Waits until Redis holds these entries and no others.
pub async fn wait_for(world: &World, entries: impl IntoIterator<Item = (impl Into<String>, Entry)>) -> Result<()> {
    let expected: Entries = entries.into_iter().map(|(key, entry)| (key.into(), entry)).collect();
    until("Redis holds what it should", async || {
        let found = differences(&expected, &all(&world.redis)?);
        ensure!(found.is_empty(), "{} of {} entries differ:\n{}", found.len(), expected.len(), found.join("\n"));
        Ok(())
    })
    .await
}

/// What differs, in words.
fn differences(expected: &Entries, actual: &Entries) -> Vec<String> {
    let keys: BTreeSet<&String> = expected.keys().chain(actual.keys()).collect();
    let differing = keys.into_iter().filter(|key| expected.get(*key) != actual.get(*key));
    differing.map(|key| format!("{key}: expected {:?}, Redis {:?}", expected.get(key), actual.get(key))).collect()
}
