//! `mysync log tail`: the log, one record a line.

mod json;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mysync_change::batch::BlockReader;
use mysync_change::envelope::EnvelopeError;
use mysync_change::image::{Image, Value};
use mysync_change::pattern::Pattern;
use mysync_change::rows::Operation;
use mysync_change::schema::{Fingerprint, TableShape};
use mysync_pipeline::failure::{Failure, Kind};
use mysync_pipeline::ports::LogReader;

use crate::cli::TailOptions;
use crate::config;
use crate::fault::Fault;
use crate::outside::{Log, Reader};
use crate::records::{self, Body, Record};

/// How often a log that is followed is looked at: soon enough for a person who watches.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// The same for whether it has got partitions.
const LOOK_FOR_NEW_EVERY: Duration = Duration::from_secs(2);
/// How much of a value is shown, in characters.
const SHOWN_CHARS: usize = 200;

/// Looks and never advances.
const CONSUMER: &str = "mysync log tail";

/// A partition, and its records that were read and not yet printed.
struct Partition {
    number: u32,
    log: Reader,
    after: u64,
    lines: VecDeque<(u64, String)>,
    ended: bool,
}

/// Shapes that records have had.
#[derive(Default)]
struct Shapes {
    known: BTreeMap<Fingerprint, Arc<TableShape>>,
    printed: BTreeSet<Fingerprint>,
}

pub async fn run(options: &TailOptions) -> Result<ExitCode, Fault> {
    let log = Log::open(&config::load_log(&options.config.config)?).await?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    print(&log, options, &mut out).await?;
    Ok(ExitCode::SUCCESS)
}

/// Prints the records behind `from` of all partitions, in the order of their sequence numbers. With `follow` it does not return.
async fn print(log: &Log, options: &TailOptions, out: &mut impl Write) -> Result<(), Failure> {
    let TailOptions { from, follow, json, .. } = *options;
    let mut partitions = Vec::new();
    add_new(&mut partitions, log, from).await?;
    let mut looked = Instant::now();
    let mut shapes = Shapes::default();
    loop {
        for partition in &mut partitions {
            if let Err(failure) = partition.fill(&mut shapes, json).await {
                waited_for(failure, follow)?;
                partition.ended = true;
            }
        }
        let next = partitions.iter_mut().filter(|partition| !partition.lines.is_empty());
        match next.min_by_key(|partition| partition.lines.front().map(|(seq, _)| *seq)) {
            Some(partition) => {
                let line = partition.lines.pop_front().map(|(_, line)| line).unwrap_or_default();
                // Whoever read it has seen enough.
                if out.write_all(line.as_bytes()).is_err() {
                    return Ok(());
                }
            }
            None if follow => {
                let _ = out.flush();
                tokio::time::sleep(LOOK_EVERY).await;
                partitions.iter_mut().for_each(|partition| partition.ended = false);
                if looked.elapsed() >= LOOK_FOR_NEW_EVERY {
                    let added = match log.look_again().await {
                        Ok(()) => add_new(&mut partitions, log, from).await,
                        gone => gone,
                    };
                    added.or_else(|failure| waited_for(failure, follow))?;
                    looked = Instant::now();
                }
            }
            None => {
                return out.flush().or_else(|error: io::Error| match error.kind() {
                    io::ErrorKind::BrokenPipe => Ok(()),
                    _ => Err(Failure::definite("OUTPUT", format!("cannot write to standard output: {error}"))),
                });
            }
        }
    }
}

/// Takes in partitions that the log has got since.
async fn add_new(partitions: &mut Vec<Partition>, log: &Log, after: u64) -> Result<(), Failure> {
    for number in log.partitions(&[Pattern::new("*")]) {
        if partitions.iter().all(|partition| partition.number != number) {
            let log = log.reader(CONSUMER, number).await?;
            partitions.push(Partition { number, log, after, lines: VecDeque::new(), ended: false });
        }
    }
    Ok(())
}

/// Whoever follows waits for what is away for a while.
fn waited_for(failure: Failure, follow: bool) -> Result<(), Failure> {
    if !follow || failure.kind == Kind::Definite {
        return Err(failure);
    }
    eprintln!("mysync: [{}] {}", failure.code, failure.message);
    Ok(())
}

impl Partition {
    async fn fill(&mut self, shapes: &mut Shapes, json: bool) -> Result<(), Failure> {
        if self.ended || !self.lines.is_empty() {
            return Ok(());
        }
        let mut block = BlockReader::default();
        while self.lines.is_empty() {
            if !self.log.read(self.after, &mut block).await? {
                self.ended = true;
                return Ok(());
            }
            let mut used = Vec::new();
            records::each(&block, |record| used.push(Fingerprint(record.header.shape))).map_err(damaged)?;
            used.dedup();
            for fingerprint in used {
                // Table events have no shape.
                if fingerprint.0 != [0; 16] && !shapes.known.contains_key(&fingerprint) {
                    shapes.known.insert(fingerprint, self.log.shape(fingerprint).await?);
                }
            }
            let (number, after, offset) = (self.number, self.after, self.log.offset());
            let (lines, mut unreadable) = (&mut self.lines, None);
            records::each(&block, |record| {
                if record.seq <= after || unreadable.is_some() {
                    return;
                }
                let fingerprint = Fingerprint(record.header.shape);
                let shape = shapes.known.get(&fingerprint).map(Arc::as_ref);
                if json {
                    match json::line(number, offset, &record, shape) {
                        Ok(line) => lines.push_back((record.seq, line)),
                        Err(failure) => unreadable = Some(failure),
                    }
                    return;
                }
                if let Some(shape) = shape.filter(|_| shapes.printed.insert(fingerprint)) {
                    lines.push_back((record.seq, shape_line(number, offset, &record, shape)));
                }
                lines.push_back((record.seq, line(number, offset, &record, shape)));
            })
            .map_err(damaged)?;
            if let Some(failure) = unreadable {
                return Err(failure);
            }
            self.after = block.last_seq().unwrap_or(after).max(after);
        }
        Ok(())
    }
}

fn damaged(error: EnvelopeError) -> Failure {
    Failure::definite(error.code(), error.to_string())
}

/// `SEQ PARTITION TIME TRANSACTION/ROW TABLE OPERATION IMAGES`, with ` .` at the end of a transaction.
fn line(partition: u32, offset: Option<i64>, record: &Record<'_>, shape: Option<&TableShape>) -> String {
    let header = &record.header;
    let mut text = head(partition, offset, record);
    let written = match &record.body {
        Body::Event(event) => {
            let table = plain(&format!("{}.{}", event.database, event.table));
            write!(text, "{table} {} {:?}", event.what, event.statement)
        }
        Body::Other(kind) => write!(text, "{kind:?}"),
        Body::Row(row) => {
            let table = shape.map_or_else(|| "?".to_owned(), |shape| plain(&shape.full_name()));
            let _ = write!(text, "{table} {}", word(row.operation));
            for (image, sign) in [(row.before, "-"), (row.after, "+")] {
                if let Some((bytes, shape)) = image.zip(shape) {
                    let _ = write!(text, " {sign}");
                    show_image(&mut text, bytes, shape);
                }
            }
            text.write_str(if row.ends_transaction { " ." } else { "" })
        }
    };
    // Writing into a String cannot fail.
    let _ = written;
    if let Some(target) = header.target {
        let _ = write!(text, " for {target}");
    }
    text.push('\n');
    text
}

/// The same as a line about the shape that the record is the first to have: `TABLE shape (COLUMN KIND ATTRIBUTES, …) key (COLUMN, …)`.
fn shape_line(partition: u32, offset: Option<i64>, record: &Record<'_>, shape: &TableShape) -> String {
    let name = |at: &u16| shape.columns.get(usize::from(*at)).map_or("?", |column| column.name.as_str());
    let columns = shape.columns.iter().map(|column| {
        let attributes = column.attributes.iter().map(|(key, value)| format!(" {key}={value}")).collect::<String>();
        format!("{} {}{attributes}{}", column.name, column.kind, if column.nullable { " NULL" } else { "" })
    });
    let (columns, key) = (columns.collect::<Vec<_>>(), shape.primary_key.iter().map(name).collect::<Vec<_>>());
    let text = format!("{} shape ({}) key ({})", shape.full_name(), columns.join(", "), key.join(", "));
    format!("{}{}\n", head(partition, offset, record), plain(&text))
}

/// `SEQ PARTITION TIME TRANSACTION/ROW `. A GTID is followed by its place in the binlog: `GTID@FILE:OFFSET`; on Kafka a partition by the offset
/// there: `PARTITION@OFFSET`.
fn head(partition: u32, offset: Option<i64>, record: &Record<'_>) -> String {
    let (transaction, time) = (record.header.transaction, time(record.header.committed_us));
    let place = match transaction.gtid {
        Some(_) => format!("@{}:{}", transaction.file, transaction.offset),
        None => String::new(),
    };
    let row = record.place().row;
    let offset = offset.map_or_else(String::new, |offset| format!("@{offset}"));
    format!("{} {partition}{offset} {time} {transaction}{place}/{row} ", record.seq)
}

fn word(operation: Operation) -> &'static str {
    match operation {
        Operation::Insert => "insert",
        Operation::Update => "update",
        Operation::Delete => "delete",
        Operation::Read => "read",
        Operation::MoveOut => "move-out",
        Operation::MoveIn => "move-in",
    }
}

/// Without control characters: what stands in a table must not command a terminal.
fn plain(text: &str) -> String {
    let shown = |character: char| match character.is_control() {
        true => character.escape_debug().to_string(),
        false => character.to_string(),
    };
    text.chars().map(shown).collect()
}

/// `{id: 1, name: "Ada"}`, without control characters.
fn show_image(text: &mut String, bytes: &[u8], shape: &TableShape) {
    let image = match Image::new(bytes, shape.columns.len()) {
        Ok(image) => image,
        Err(error) => return text.push_str(&format!("({error})")),
    };
    text.push('{');
    let mut first = true;
    for (column, value) in shape.columns.iter().zip(image.values(&shape.columns)) {
        if let Ok(Value::Absent) = value {
            continue;
        }
        let _ = write!(text, "{}{}: ", if first { "" } else { ", " }, plain(&column.name));
        first = false;
        let _ = match value {
            Ok(Value::Null | Value::Absent) => text.write_str("NULL"),
            Ok(Value::Signed(number)) => write!(text, "{number}"),
            Ok(Value::Unsigned(number)) => write!(text, "{number}"),
            Ok(Value::Float(number)) => write!(text, "{number}"),
            Ok(Value::Double(number)) => write!(text, "{number}"),
            Ok(Value::Text(value)) => match value.char_indices().nth(SHOWN_CHARS) {
                Some((end, _)) => write!(text, "{:?}… ({} bytes)", &value[..end], value.len()),
                None => write!(text, "{value:?}"),
            },
            Ok(Value::Bytes(value)) => {
                let _ = text.write_str("0x");
                let shown = &value[..value.len().min(SHOWN_CHARS / 2)];
                for byte in shown {
                    let _ = write!(text, "{byte:02x}");
                }
                if shown.len() < value.len() { write!(text, "… ({} bytes)", value.len()) } else { Ok(()) }
            }
            Err(error) => return text.push_str(&format!("({error})}}")),
        };
    }
    text.push('}');
}

/// Microseconds since 1970 as `2026-11-24T09:30:00.000001Z`.
pub fn time(micros: u64) -> String {
    let (seconds, micros) = (micros / 1_000_000, micros % 1_000_000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Days are counted in eras of 400 years that begin on a 1st of March, so that the leap day is the last one of its year.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        assert_eq!(time(0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(time(951_782_400_000_000), "2000-02-29T00:00:00.000000Z");
        assert_eq!(time(1_795_512_645_123_456), "2026-11-24T09:30:45.123456Z");
        assert_eq!(time(4_107_542_399_999_999), "2100-02-28T23:59:59.999999Z");
        assert_eq!(time(4_107_542_400_000_000), "2100-03-01T00:00:00.000000Z");
    }
}
