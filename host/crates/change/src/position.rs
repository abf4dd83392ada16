//! Where MySQL's binlog has been read to: GTID set first, file and offset beside it.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::dump::Dumps;

/// A text that is no position, with what was expected.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("'{text}' is not {expected}")]
pub struct ParsePositionError {
    text: String,
    expected: &'static str,
}

fn no(text: &str, expected: &'static str) -> ParsePositionError {
    ParsePositionError { text: text.to_owned(), expected }
}

/// The server part of a GTID: its UUID and, since MySQL 8.3, an optional tag (empty: none).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GtidSource {
    pub uuid: [u8; 16],
    pub tag: Arc<str>,
}

impl GtidSource {
    pub fn untagged(uuid: [u8; 16]) -> Self {
        Self { uuid, tag: Arc::from("") }
    }
}

impl fmt::Display for GtidSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_server(f, &self.uuid, &self.tag)
    }
}

/// Whether two tags are one. Most are empty, and comparing nothing with nothing by a call takes the processor 50 ns: an empty text may stand
/// where no memory is.
#[inline]
pub fn is_same_tag(one: &str, other: &str) -> bool {
    one.len() == other.len() && (one.is_empty() || one == other)
}

/// The server part of a GTID.
pub(crate) fn write_server(f: &mut fmt::Formatter<'_>, uuid: &[u8; 16], tag: &str) -> fmt::Result {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [b'-'; 36];
    let mut at = 0;
    for (i, byte) in uuid.iter().enumerate() {
        // A group of digits ends before each of these bytes.
        at += usize::from(matches!(i, 4 | 6 | 8 | 10));
        text[at] = DIGITS[usize::from(byte >> 4)];
        text[at + 1] = DIGITS[usize::from(byte & 15)];
        at += 2;
    }
    f.write_str(std::str::from_utf8(&text).unwrap_or_default())?;
    if tag.is_empty() { Ok(()) } else { write!(f, ":{tag}") }
}

fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    let mut uuid = [0; 16];
    let mut digits = text.bytes().filter(|b| *b != b'-');
    for byte in &mut uuid {
        let mut nibble = || digits.next().and_then(|b| (b as char).to_digit(16));
        *byte = (nibble()? * 16 + nibble()?) as u8;
    }
    digits.next().is_none().then_some(uuid)
}

/// One transaction's global id.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Gtid {
    pub source: GtidSource,
    pub number: u64,
}

impl fmt::Display for Gtid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.source, self.number)
    }
}

/// A set of GTIDs, holes kept exactly.
///
/// Intervals are half-open `[start, end)`, ascending and never adjacent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GtidSet {
    sources: BTreeMap<GtidSource, Vec<(u64, u64)>>,
}

impl GtidSet {
    pub fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    /// Sources in order, each with its half-open intervals.
    pub fn iter(&self) -> impl Iterator<Item = (&GtidSource, &[(u64, u64)])> {
        self.sources.iter().map(|(source, intervals)| (source, intervals.as_slice()))
    }

    pub fn contains(&self, source: &GtidSource, number: u64) -> bool {
        self.sources.get(source).is_some_and(|list| {
            let i = list.partition_point(|(_, end)| *end <= number);
            list.get(i).is_some_and(|(start, _)| *start <= number)
        })
    }

    /// Adds one GTID. The usual case, the next number of a known source, changes one integer.
    pub fn add(&mut self, source: &GtidSource, number: u64) {
        let Some(list) = self.sources.get_mut(source) else {
            self.sources.insert(source.clone(), vec![(number, number + 1)]);
            return;
        };
        match list.last_mut() {
            Some((_, end)) if *end == number => *end += 1,
            _ => insert(list, number, number + 1),
        }
    }

    /// Adds `[start, end)` of a source.
    pub fn add_interval(&mut self, source: GtidSource, start: u64, end: u64) {
        if start < end {
            insert(self.sources.entry(source).or_default(), start, end);
        }
    }

    /// What is in `self` and not in `other`.
    pub fn minus(&self, other: &GtidSet) -> GtidSet {
        let mut rest = GtidSet::default();
        for (source, list) in &self.sources {
            let holes = other.sources.get(source).map_or(&[][..], Vec::as_slice);
            for &(start, end) in list {
                let mut from = start;
                for &(h_start, h_end) in holes.iter().filter(|(s, e)| *s < end && *e > start) {
                    rest.add_interval(source.clone(), from, h_start.max(from));
                    from = from.max(h_end);
                }
                rest.add_interval(source.clone(), from, end);
            }
        }
        rest
    }

    pub fn is_subset_of(&self, other: &GtidSet) -> bool {
        self.minus(other).is_empty()
    }
}

fn insert(list: &mut Vec<(u64, u64)>, start: u64, end: u64) {
    let first = list.partition_point(|(_, e)| *e < start);
    let last = list.partition_point(|(s, _)| *s <= end);
    let merged = list[first..last].iter().fold((start, end), |(s, e), (a, b)| (s.min(*a), e.max(*b)));
    list.splice(first..last, [merged]);
}

/// MySQL's own notation: `uuid:1-5:7,uuid:tag:1-3`.
impl fmt::Display for GtidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (source, list)) in self.sources.iter().enumerate() {
            write!(f, "{}{source}", if i == 0 { "" } else { "," })?;
            for (start, end) in list {
                if end - start == 1 { write!(f, ":{start}")? } else { write!(f, ":{start}-{}", end - 1)? }
            }
        }
        Ok(())
    }
}

impl FromStr for GtidSet {
    type Err = ParsePositionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "a GTID set such as 3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5:7";
        let mut set = GtidSet::default();
        for part in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
            let mut fields = part.split(':').map(str::trim);
            let uuid = fields.next().and_then(parse_uuid).ok_or_else(|| no(text, EXPECTED))?;
            let mut source = GtidSource::untagged(uuid);
            for field in fields {
                if field.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
                    source.tag = Arc::from(field.to_ascii_lowercase());
                    continue;
                }
                let (start, end) = field.split_once('-').unwrap_or((field, field));
                match (start.trim().parse::<u64>(), end.trim().parse::<u64>()) {
                    (Ok(start), Ok(end)) if start > 0 && end >= start && end < u64::MAX => {
                        set.add_interval(source.clone(), start, end + 1);
                    }
                    _ => return Err(no(text, EXPECTED)),
                }
            }
        }
        Ok(set)
    }
}

impl Serialize for GtidSet {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for GtidSet {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A byte offset in a binlog file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilePosition {
    pub file: Arc<str>,
    pub offset: u64,
}

impl FilePosition {
    /// Splits `binlog.000017` into its base name and number. Files compare by number, because after 999999 the name grows.
    fn number(&self) -> (&str, u64) {
        let (base, digits) = self.file.rsplit_once('.').unwrap_or((&self.file, ""));
        (base, digits.parse().unwrap_or(0))
    }
}

impl Ord for FilePosition {
    fn cmp(&self, other: &Self) -> Ordering {
        let ((base, number), (other_base, other_number)) = (self.number(), other.number());
        base.cmp(other_base).then(number.cmp(&other_number)).then(self.offset.cmp(&other.offset))
    }
}

impl PartialOrd for FilePosition {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for FilePosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.offset)
    }
}

impl FromStr for FilePosition {
    type Err = ParsePositionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = text.rsplit_once(':').and_then(|(file, offset)| Some((file, offset.parse().ok()?)));
        match parsed {
            Some((file, offset)) if !file.is_empty() => Ok(Self { file: Arc::from(file), offset }),
            _ => Err(no(text, "a binlog position such as binlog.000017:4")),
        }
    }
}

/// Where the binlog has been read to, on a transaction boundary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourcePosition {
    /// Everything read, when the server has GTIDs on.
    pub gtids: Option<GtidSet>,
    /// Where the next event begins on the server that was read.
    pub file: FilePosition,
}

impl fmt::Display for SourcePosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.gtids {
            Some(gtids) => write!(f, "{gtids} ({})", self.file),
            None => self.file.fmt(f),
        }
    }
}

/// Which source transaction a change belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TransactionId {
    pub gtid: Option<Gtid>,
    /// Where the transaction begins in the binlog of the server that was read.
    pub file: Arc<str>,
    pub offset: u64,
}

/// GTID if there is one, otherwise `file:offset`. This text is the identity that fences keep.
impl fmt::Display for TransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.gtid {
            Some(gtid) => gtid.fmt(f),
            None => write!(f, "{}:{}", self.file, self.offset),
        }
    }
}

/// What capture has put into the log, stored with the records it covers.
///
/// It covers whole transactions; inside one that is larger than a block it says how far that one has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Everything before this is in the log.
    pub position: SourcePosition,
    /// Of the transaction that begins at `position`, this many rows are in the log too (counted before any filter).
    pub rows_of_next: u64,
    /// UUID of the server that was read.
    pub server: String,
    /// The log keeps them beside the rest, because they seldom change.
    #[serde(skip)]
    pub dumps: Arc<Dumps>,
}

impl Checkpoint {
    /// Of a log that begins here.
    pub fn new(position: SourcePosition, server: String) -> Self {
        Self { position, rows_of_next: 0, server, dumps: Arc::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

    fn set(text: &str) -> GtidSet {
        text.parse().unwrap()
    }

    #[test]
    fn holes_and_tags_survive_text() {
        for text in ["", &format!("{A}:1-7:9-10"), &format!("{A}:1-3,{A}:blue:5:8-9")] {
            assert_eq!(set(text).to_string(), *text);
        }
        assert_eq!(set(&format!("{A}:1-2:3:tag:4")).to_string(), format!("{A}:1-3,{A}:tag:4"));
        for bad in ["x:1", &format!("{A}:0-1"), &format!("{A}:5-4"), "nonsense"] {
            assert!(bad.parse::<GtidSet>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_hole_is_filled_by_its_own_number_only() {
        let mut gtids = set(&format!("{A}:1-7:9-10"));
        let source = GtidSource::untagged(parse_uuid(A).unwrap());
        assert!(!gtids.contains(&source, 8) && gtids.contains(&source, 9) && !gtids.contains(&source, 11));
        gtids.add(&source, 11);
        assert_eq!(gtids.to_string(), format!("{A}:1-7:9-11"));
        gtids.add(&source, 8);
        assert_eq!(gtids.to_string(), format!("{A}:1-11"));
        gtids.add(&source, 5);
        assert_eq!(gtids.to_string(), format!("{A}:1-11"));
    }

    #[test]
    fn difference_is_exact() {
        let ours = set(&format!("{A}:1-10:20-30"));
        let theirs = set(&format!("{A}:2-3:5:25-40"));
        assert_eq!(ours.minus(&theirs).to_string(), format!("{A}:1:4:6-10:20-24"));
        assert!(set(&format!("{A}:20-30")).is_subset_of(&ours) && !theirs.is_subset_of(&ours));
    }

    #[test]
    fn file_names_compare_by_number() {
        let at = |text: &str| text.parse::<FilePosition>().unwrap();
        assert!(at("binlog.999999:4") < at("binlog.1000000:4") && at("binlog.000002:5") > at("binlog.000002:4"));
        assert!("binlog.000001".parse::<FilePosition>().is_err());
    }
}
