//! The topics of a log: which of its partitions hold a table's rows.
//!
//! Partitions are numbered through all topics in the order in which these were added. What is there stays as it is: a table keeps its topic, and
//! a topic its numbers.

use serde::{Deserialize, Serialize};

use crate::pattern::Pattern;

/// Partitions in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    pub first: usize,
    pub count: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topic {
    pub name: String,
    /// The number of its first partition.
    pub first: u32,
    pub partitions: u32,
    /// Whose rows it holds, as database and name.
    pub tables: Vec<(String, String)>,
}

impl Topic {
    fn span(&self) -> Span {
        Span { first: self.first as usize, count: self.partitions as usize }
    }

    fn holds(&self, database: &str, table: &str) -> bool {
        self.tables.iter().any(|(in_database, name)| in_database == database && name == table)
    }

    fn holds_any(&self, tables: &[Pattern]) -> bool {
        self.tables.iter().any(|(database, table)| {
            let name = format!("{database}.{table}");
            tables.iter().any(|pattern| pattern.matches(name.as_bytes()))
        })
    }
}

/// Gives tables topics of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ByTable {
    /// With `{database}` and `{table}` in it.
    template: String,
    /// Of each topic.
    partitions: u32,
}

/// All topics of a log. There is always a first one: it holds all rows, unless tables have topics of their own, and then what belongs to none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topics {
    list: Vec<Topic>,
    by_table: Option<ByTable>,
}

impl Topics {
    /// One for all tables.
    pub fn one(name: impl Into<String>, partitions: u32) -> Self {
        let first = Topic { name: name.into(), first: 0, partitions, tables: Vec::new() };
        Self { list: vec![first], by_table: None }
    }

    /// One of `partitions` for each table, called after the template; what belongs to no table is in `first`.
    pub fn by_table(first: impl Into<String>, template: impl Into<String>, partitions: u32) -> Self {
        Self { by_table: Some(ByTable { template: template.into(), partitions }), ..Self::one(first, 1) }
    }

    /// The same with those that were added before.
    pub fn with(mut self, added: impl IntoIterator<Item = Topic>) -> Self {
        self.list.truncate(1);
        self.list.extend(added);
        self
    }

    pub fn list(&self) -> &[Topic] {
        &self.list
    }

    /// Those behind the first.
    pub fn added(&self) -> &[Topic] {
        self.list.get(1..).unwrap_or_default()
    }

    /// Whether tables have topics of their own.
    pub fn are_by_table(&self) -> bool {
        self.by_table.is_some()
    }

    /// How many partitions there are in all topics.
    pub fn partitions(&self) -> u32 {
        self.list.last().map_or(0, |last| last.first + last.partitions)
    }

    /// Where a table's rows are, if it has been given a topic.
    pub fn find(&self, database: &str, table: &str) -> Option<Span> {
        self.added().iter().find(|topic| topic.holds(database, table)).map(Topic::span)
    }

    /// Where what happened to a table has to be told: with its rows, or with those of every table of its database if its name is `*`; in the
    /// first topic if there are none. What is of no table has to be told everywhere.
    pub fn told_in(&self, database: &str, table: &str) -> Vec<Span> {
        if self.by_table.is_none() || table.is_empty() {
            return self.list.iter().map(Topic::span).collect();
        }
        let is_it = |(of, name): &(String, String)| of == database && (name == table || table == "*");
        let mut spans: Vec<Span> =
            self.added().iter().filter(|topic| topic.tables.iter().any(is_it)).map(Topic::span).collect();
        if spans.is_empty() {
            spans.extend(self.list.first().map(Topic::span));
        }
        spans
    }

    /// Gives a table that has no topic one, where tables have their own: a new one, or that of another table for which the template makes the same name. Answers where it is.
    pub fn add(&mut self, database: &str, table: &str) -> Span {
        let Some(ByTable { template, partitions }) = &self.by_table else {
            return Span { first: 0, count: self.partitions() as usize };
        };
        let name = template.replace("{database}", &escaped(database)).replace("{table}", &escaped(table));
        let (first, partitions) = (self.partitions(), *partitions);
        let held = (database.to_owned(), table.to_owned());
        if let Some(topic) = self.list.iter_mut().skip(1).find(|topic| topic.name == name) {
            topic.tables.push(held);
            return topic.span();
        }
        let topic = Topic { name, first, partitions, tables: vec![held] };
        let span = topic.span();
        self.list.push(topic);
        span
    }

    /// The topic that holds a partition, and which one of its own it is there.
    pub fn place(&self, partition: u32) -> Option<(&Topic, u32)> {
        let topic = self.list.iter().rfind(|topic| topic.first <= partition)?;
        let there = partition - topic.first;
        (there < topic.partitions).then_some((topic, there))
    }

    /// The number of a topic's partition; none: it is none of the log.
    pub fn number(&self, topic: &str, partition: u32) -> Option<u32> {
        let topic = self.list.iter().find(|known| known.name == topic)?;
        (partition < topic.partitions).then(|| topic.first + partition)
    }

    /// Those that hold rows of these tables, and the first.
    pub fn of(&self, tables: &[Pattern]) -> impl Iterator<Item = &Topic> {
        let (first, added) = self.list.split_at(1.min(self.list.len()));
        first.iter().chain(added.iter().filter(|topic| topic.holds_any(tables)))
    }
}

/// A name with nothing in it but letters, digits and `_`: every other character is its number in hexadecimal between two `-`.
fn escaped(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    for character in name.chars() {
        if character.is_ascii_alphanumeric() || character == '_' {
            escaped.push(character);
        } else {
            escaped.push_str(&format!("-{:x}-", u32::from(character)));
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_shop() -> Topics {
        let mut topics = Topics::by_table("shop", "shop.{database}.{table}", 2);
        for table in ["users", "order lines", "größen"] {
            topics.add("shop", table);
        }
        topics
    }

    #[test]
    fn tables_have_partitions_of_their_own_behind_the_first_topic() {
        let topics = of_shop();
        let names: Vec<&str> = topics.list().iter().map(|topic| &*topic.name).collect();
        assert_eq!(names, ["shop", "shop.shop.users", "shop.shop.order-20-lines", "shop.shop.gr-f6--df-en"]);
        assert_eq!(topics.find("shop", "order lines"), Some(Span { first: 3, count: 2 }));
        assert_eq!((topics.find("shop", "orders"), topics.partitions()), (None, 7));
        for partition in 0..7 {
            let (topic, there) = topics.place(partition).unwrap();
            assert_eq!(topics.number(&topic.name, there), Some(partition));
        }
        assert_eq!(
            (topics.place(7), topics.number("shop", 1), topics.number("shop.shop.users", 2)),
            (None, None, None)
        );
    }

    #[test]
    fn what_was_added_is_there_again_and_stays_where_it_is() {
        let added = serde_json::to_string(of_shop().added()).unwrap();
        let stored: Vec<Topic> = serde_json::from_str(&added).unwrap();
        let mut topics = Topics::by_table("shop", "shop.{database}.{table}", 5).with(stored);
        assert_eq!(topics.list(), of_shop().list());
        topics.add("shop", "orders");
        assert_eq!(topics.find("shop", "orders"), Some(Span { first: 7, count: 5 }));
    }

    #[test]
    fn names_that_would_be_the_same_share_a_topic() {
        let mut topics = Topics::by_table("s", "s.{database}_{table}", 1);
        topics.add("a", "b_c");
        topics.add("a_b", "c");
        assert_eq!(topics.find("a", "b_c"), topics.find("a_b", "c"));
        assert_eq!((topics.added().len(), topics.added()[0].tables.len()), (1, 2));
    }

    #[test]
    fn one_topic_holds_every_table() {
        let topics = Topics::one("shop", 3);
        assert_eq!(topics.told_in("any", "table"), [Span { first: 0, count: 3 }]);
        assert_eq!(topics.of(&[Pattern::new("shop.users")]).count(), 1);
        assert!(!topics.are_by_table());
    }

    #[test]
    fn what_happens_to_tables_is_told_where_their_rows_are() {
        let firsts = |database, table| -> Vec<usize> {
            of_shop().told_in(database, table).iter().map(|span| span.first).collect()
        };
        assert_eq!(
            (firsts("shop", "users"), firsts("shop", "*"), firsts("", "")),
            (vec![1], vec![1, 3, 5], vec![0, 1, 3, 5])
        );
        assert_eq!((firsts("shop", "unknown"), firsts("other", "*")), (vec![0], vec![0]));
    }

    #[test]
    fn a_writer_has_the_topics_of_its_tables_and_the_first() {
        let topics = of_shop();
        let of = |pattern: &str| -> Vec<u32> { topics.of(&[Pattern::new(pattern)]).map(|topic| topic.first).collect() };
        assert_eq!((of("shop.users"), of("shop.*s"), of("other.*")), (vec![0, 1], vec![0, 1, 3], vec![0]));
    }
}
