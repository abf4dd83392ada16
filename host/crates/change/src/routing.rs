//! How a log lays out its records: which partition keeps a row, and what shares a message. Fixed when a log is made, or the history of a key
//! would lie in two partitions.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Of the bytes of keys, as [`crate::key`] writes them.
const KEY_VERSION: u32 = 1;

/// What records of a log stand together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// Rows of a transaction and a shape follow each other in one envelope, and envelopes in one message: for logs that are read in order and
    /// deleted by age.
    #[default]
    Runs,
    /// Every row is an envelope and a message of its own under its key: for logs that keep the last record of each key.
    Keyed,
}

/// What makes a number of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hash {
    Murmur2,
}

/// What a log is asked for when it is opened, and must be as it was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Routing {
    pub key_version: u32,
    pub hash: Hash,
    /// That a table's rows are spread over.
    pub partitions: u32,
    pub layout: Layout,
    /// What the topic is called, or those of tables; none: nobody noted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
}

impl Routing {
    pub fn new(partitions: u32, layout: Layout, topic: Option<String>) -> Self {
        Self { key_version: KEY_VERSION, hash: Hash::Murmur2, partitions, layout, topic }
    }
}

impl fmt::Display for Routing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key_version, hash: Hash::Murmur2, partitions, layout, topic } = self;
        let layout = match layout {
            Layout::Runs => "in runs",
            Layout::Keyed => "each under its key",
        };
        write!(f, "{partitions} partitions by murmur2 of keys of version {key_version}, rows {layout}")?;
        topic.iter().try_for_each(|topic| write!(f, ", in topic {topic}"))
    }
}

/// Which partition keeps a key: the one that Kafka's Java client sends it to.
#[inline]
pub fn partition(key: &[u8], partitions: usize) -> usize {
    (murmur2(key) & 0x7fff_ffff) as usize % partitions.max(1)
}

/// MurmurHash2 with the seed of Kafka's Java client.
#[inline]
pub fn murmur2(bytes: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c ^ bytes.len() as u32;
    let (words, tail) = bytes.as_chunks::<4>();
    for word in words {
        let word = u32::from_le_bytes(*word).wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ (word ^ word >> 24).wrapping_mul(M);
    }
    if !tail.is_empty() {
        let word = tail.iter().rev().fold(0, |word, byte| word << 8 | u32::from(*byte));
        hash = (hash ^ word).wrapping_mul(M);
    }
    hash = (hash ^ hash >> 13).wrapping_mul(M);
    hash ^ hash >> 15
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_that_of_kafkas_java_client() {
        // From its own tests.
        for (text, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(text.as_bytes()) as i32, hash, "{text}");
        }
    }

    #[test]
    fn keys_stay_where_they_are_and_spread() {
        let place = |id: i64, partitions| {
            let mut key = Vec::new();
            crate::key::write("shop", "users", [&id.to_le_bytes()[..]].into_iter(), &mut key);
            partition(&key, partitions)
        };
        // A change of these numbers orphans the keys of every log there is.
        assert_eq!([1, 2, 3, 4, 5, 6, 7, 8].map(|id| place(id, 16)), PLACES);
        let mut counts = [0; 16];
        (0..16_000).for_each(|id| counts[place(id, 16)] += 1);
        assert!(counts.iter().all(|count| (700..1300).contains(count)), "{counts:?}");
        assert!((0..100).all(|id| place(id, 1) == 0));
    }

    const PLACES: [usize; 8] = [9, 15, 12, 0, 10, 15, 12, 0];

    #[test]
    fn a_routing_is_compared_and_says_what_it_is() {
        let routing = Routing::new(4, Layout::Keyed, None);
        let json = serde_json::to_string(&routing).unwrap();
        assert_eq!(json, r#"{"key_version":1,"hash":"murmur2","partitions":4,"layout":"keyed"}"#);
        assert_eq!(serde_json::from_str::<Routing>(&json).unwrap(), routing);
        assert_ne!(routing, Routing::new(8, Layout::Keyed, None));
        let by_table = Routing::new(4, Layout::Keyed, Some("{database}.{table}".to_owned()));
        assert_eq!(serde_json::from_str::<Routing>(&serde_json::to_string(&by_table).unwrap()).unwrap(), by_table);
        assert_eq!(by_table.to_string(), format!("{routing}, in topic {{database}}.{{table}}"));
        assert_eq!(routing.to_string(), "4 partitions by murmur2 of keys of version 1, rows each under its key");
    }
}
