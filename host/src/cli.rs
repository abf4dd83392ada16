//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, value_parser};

use crate::config::ROWS_PER_SECOND_MAX;
use crate::moment;

const EXIT_CODES: &str = "\
Exit codes:
  0    done; for `status` and `check`: everything is well
  1    something that ran or was looked at is not well; the message says what
  2    the command line or the configuration cannot be used, or the running process cannot be reached
  130  ended at once by SIGINT (143: by SIGTERM); for `run`, `capture` and `deliver` by a second one";

const JSON_RECORDS: &str = "\
With --json each record is an object of:
  seq               its number in the log
  partition         and, on Kafka, offset: of the message that holds it
  committed         when the source committed its transaction, or a dump has read the row: RFC 3339 in UTC
  transaction       GTID, or FILE:OFFSET where there is none; dump/NUMBER:CHUNK for rows that a dump has read
  file, file_offset where the transaction stands in the binlog, or of which chunk of a dump it is
  row               its number in the transaction
  ends_transaction  whether it is the last one of its transaction in its partition
  database, table   absent for a record of no table
  operation         insert, update, delete, read (by a dump), move-out and move-in (both halves of a changed key), or what happened to the
                    table, such as truncate
  statement         of what happened to the table
  before, after     the row by column: a text, null, or {\"hex\": TEXT} for bytes. Numbers are texts too, so that no digit is lost.
                    Columns that the source did not send are absent
  writer            for which alone it is, of rows that a dump has read
What is absent has no key.";

/// Keeps Redis equal to MySQL, through sandboxed writers.
#[derive(Debug, Parser)]
#[command(name = "mysync", version, after_help = EXIT_CODES)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Captures changes and delivers them to every writer, until SIGTERM or SIGINT
    Run(RunOptions),
    /// Captures changes into a log on Kafka and delivers none, until SIGTERM or SIGINT. Of several such processes one captures, and the others
    /// stand by
    Capture(RunOptions),
    /// Delivers what a log on Kafka holds to every writer, until SIGTERM or SIGINT. Several such processes share the partitions
    Deliver(RunOptions),
    /// Checks configuration, source, log, stores and writers; moves nothing
    Check(ConfigFile),
    /// Shows what the running process does, with the reason for every stop
    Status(StatusOptions),
    /// Loads rows that were in MySQL before the log began, into the stores of one writer or of all: the running process does it, and this
    /// follows it. Rows are added and changed; what was deleted from MySQL while a writer missed it stays in its store
    Dump(DumpOptions),
    /// Looks into the log
    #[command(subcommand)]
    Log(LogCommand),
    /// Moves a stopped writer to another place in the log, or starts it again
    #[command(subcommand)]
    Writer(WriterCommand),
}

/// Which configuration.
#[derive(Debug, Args)]
pub struct ConfigFile {
    /// The main file
    #[arg(long, short, env = "MYSYNC_CONFIG", default_value = "mysync.toml", value_name = "FILE")]
    pub config: PathBuf,
}

#[derive(Debug, Args)]
pub struct RunOptions {
    #[command(flatten)]
    pub config: ConfigFile,
    /// Listen here for health, metrics and commands, instead of where the configuration says: each process of a machine needs an address of
    /// its own
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub admin: Option<SocketAddr>,
}

/// Which running process.
#[derive(Debug, Args)]
pub struct Process {
    #[command(flatten)]
    pub config: ConfigFile,
    /// Where the process listens, instead of what the configuration says
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub admin: Option<SocketAddr>,
}

#[derive(Debug, Args)]
pub struct StatusOptions {
    #[command(flatten)]
    pub process: Process,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct DumpOptions {
    #[command(subcommand)]
    pub command: Option<DumpCommand>,
    #[command(flatten)]
    pub load: LoadOptions,
}

#[derive(Debug, Args)]
pub struct LoadOptions {
    #[command(flatten)]
    pub process: Process,
    /// The tables of this writer, and for it alone
    #[arg(long, value_name = "NAME")]
    pub writer: Option<String>,
    /// Read no faster than this, whatever the configuration says
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..=ROWS_PER_SECOND_MAX))]
    pub rows_per_second: Option<u64>,
    /// Order it and do not follow it
    #[arg(long, short)]
    pub detach: bool,
}

#[derive(Debug, Subcommand)]
pub enum DumpCommand {
    /// Shows the dumps that are not over, and those that have ended since the process started
    Status(StatusOptions),
    /// Lets dumps wait until they are resumed
    Pause(WhichDump),
    /// Goes on with dumps that were paused, or have stopped for a reason that was mended since
    Resume(WhichDump),
    /// Ends dumps for good; what they have loaded stays
    Cancel(WhichDump),
}

#[derive(Debug, Args)]
pub struct WhichDump {
    /// Its number; without it: every dump that is not over
    pub number: Option<u64>,
    #[command(flatten)]
    pub process: Process,
}

#[derive(Debug, Subcommand)]
pub enum LogCommand {
    /// Prints records, one a line: SEQ PARTITION TIME TRANSACTION/ROW TABLE OPERATION IMAGES, where PARTITION is PARTITION@OFFSET on Kafka
    #[command(after_long_help = JSON_RECORDS)]
    Tail(TailOptions),
}

#[derive(Debug, Args)]
pub struct TailOptions {
    #[command(flatten)]
    pub config: ConfigFile,
    /// Begin behind this sequence number, instead of at the beginning
    #[arg(long, value_name = "SEQ", default_value_t = 0)]
    pub from: u64,
    /// Go on with what comes
    #[arg(long, short)]
    pub follow: bool,
    /// One JSON object a line, with every value whole: see below
    #[arg(long)]
    pub json: bool,
}

/// Which writer, and the process that is told.
#[derive(Debug, Args)]
pub struct WhichWriter {
    /// The writer's name: that of its file
    pub name: String,
    #[command(flatten)]
    pub process: Process,
}

#[derive(Debug, Subcommand)]
pub enum WriterCommand {
    /// Writes again what the log holds, from its start or behind a record: after the store was emptied, or the mapping changed
    Rewind(RewindOptions),
    /// Takes this log in place of the one the store was last written from: after the log's directory was lost or replaced
    Rebase(RebaseOptions),
    /// Starts it again in the running process, with both of its files as they are now: after what stopped it was mended. Where several
    /// processes deliver, name the one in which it has stopped by --admin
    Resume(WhichWriter),
}

#[derive(Debug, Args)]
pub struct RewindOptions {
    #[command(flatten)]
    pub writer: WhichWriter,
    /// `start`; the sequence number of the record behind which to begin, or the record to begin with as PARTITION@OFFSET in Kafka: only the
    /// partition that holds it moves; or a time such as 2026-11-25T10:00:00Z: what the source committed from then on is written again, and a
    /// partition without any of that stays where it is
    #[arg(long, value_name = "start|SEQ|TIME|PARTITION@OFFSET", default_value = "start", value_parser = RewindTo::parse)]
    pub to: RewindTo,
}

#[derive(Debug, Args)]
pub struct RebaseOptions {
    #[command(flatten)]
    pub writer: WhichWriter,
    /// `start`: everything this log holds; `end`: only what comes from now on
    #[arg(long, value_name = "start|end", default_value = "start")]
    pub to: RebaseTo,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RewindTo {
    Start,
    /// The record with this number.
    Behind(u64),
    /// What was committed from here on, in microseconds since 1970.
    Time(u64),
    /// The record with this offset, as Kafka counts them.
    Offset {
        partition: u32,
        offset: i64,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum RebaseTo {
    Start,
    End,
}

impl RewindTo {
    fn parse(text: &str) -> Result<Self, String> {
        const EXPECTED: &str =
            "it is `start`, a sequence number, a time such as 2026-11-25T10:00:00Z, or PARTITION@OFFSET";
        let expected = |_| EXPECTED.to_owned();
        if text == "start" {
            return Ok(RewindTo::Start);
        }
        if let Some((partition, offset)) = text.split_once('@') {
            let offset = offset.parse().ok().filter(|offset| *offset >= 0).ok_or_else(|| EXPECTED.to_owned())?;
            return Ok(RewindTo::Offset { partition: partition.parse().map_err(expected)?, offset });
        }
        match text.contains(['-', ':']) && text.starts_with(|first: char| first.is_ascii_digit()) {
            true => moment::parse(text).map(RewindTo::Time),
            false => text.parse().map(RewindTo::Behind).map_err(expected),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn a_dump_is_ordered_looked_at_and_changed_by_one_word() {
        let parse = |words: &str| match Cli::try_parse_from(format!("mysync dump {words}").split_whitespace()) {
            Ok(Cli { command: Command::Dump(options) }) => Some(options),
            _ => None,
        };
        let load = parse("--writer users --rows-per-second 500 -d").unwrap();
        assert!(load.command.is_none() && load.load.detach && load.load.rows_per_second == Some(500));
        assert_eq!(load.load.writer.as_deref(), Some("users"));
        assert!(parse("").is_some_and(|options| options.command.is_none()));
        let json = parse("status --json --config other.toml").unwrap().command;
        assert!(matches!(json, Some(DumpCommand::Status(options)) if options.json));
        let third = parse("cancel 3").unwrap().command;
        assert!(matches!(third, Some(DumpCommand::Cancel(WhichDump { number: Some(3), .. }))));
        assert!(matches!(parse("pause").unwrap().command, Some(DumpCommand::Pause(WhichDump { number: None, .. }))));
        for wrong in ["users", "--rows-per-second 0", "--writer users cancel", "cancel three", "resume --writer users"]
        {
            assert!(parse(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn each_process_has_an_address_of_its_own() {
        let options =
            |words: &str| match Cli::try_parse_from(format!("mysync {words}").split_whitespace()).ok()?.command {
                Command::Run(options) | Command::Capture(options) | Command::Deliver(options) => Some(options.admin),
                _ => None,
            };
        for command in ["run", "capture", "deliver"] {
            assert_eq!(options(&format!("{command} -c other.toml")), Some(None));
            let address = options(&format!("{command} --admin 127.0.0.1:7071")).unwrap();
            assert_eq!(address.unwrap().port(), 7071);
            assert_eq!(options(&format!("{command} --admin localhost:7071")), None);
        }
    }

    #[test]
    fn places_are_told_apart() {
        assert_eq!(RewindTo::parse("start"), Ok(RewindTo::Start));
        assert_eq!(RewindTo::parse("42"), Ok(RewindTo::Behind(42)));
        assert_eq!(RewindTo::parse("2026-11-24T11:30:45+02:00"), Ok(RewindTo::Time(1_795_512_645_000_000)));
        assert_eq!(RewindTo::parse("3@0"), Ok(RewindTo::Offset { partition: 3, offset: 0 }));
        for wrong in ["end", "-1", "", "@1", "1@", "1@-1", "-1@1", "1@2@3", "1@9223372036854775808", "1.5"] {
            assert!(RewindTo::parse(wrong).unwrap_err().contains("PARTITION@OFFSET"), "{wrong}");
        }
        assert!(RewindTo::parse("2026-11-24T11:30:45").unwrap_err().contains("no zone"));
        let cli = Cli::try_parse_from(["mysync", "writer", "rebase", "users", "--to", "end"]).unwrap();
        assert!(
            matches!(cli.command, Command::Writer(WriterCommand::Rebase(options)) if options.to == RebaseTo::End && options.writer.name == "users")
        );
    }
}
