//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

const EXIT_CODES: &str = "\
Exit codes:
  0    done; for `status` and `check`: everything is well
  1    something that ran or was looked at is not well; the message says what
  2    the command line or the configuration cannot be used, or the running process cannot be reached
  130  ended at once by a second SIGINT (143: by a second SIGTERM)";

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
    Run(ConfigFile),
    /// Checks configuration, source, log, stores and writers; moves nothing
    Check(ConfigFile),
    /// Shows what the running process does, with the reason for every stop
    Status(StatusOptions),
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
pub struct StatusOptions {
    #[command(flatten)]
    pub config: ConfigFile,
    /// Where the process listens, instead of what the configuration says
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub admin: Option<SocketAddr>,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub enum LogCommand {
    /// Prints records, one a line
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
}

#[derive(Debug, Subcommand)]
pub enum WriterCommand {
    /// Writes again what the log holds, from its start or behind a record: after the store was emptied, or the mapping changed
    Rewind(RewindOptions),
    /// Takes this log in place of the one the store was last written from: after the log's directory was lost or replaced
    Rebase(RebaseOptions),
    /// Starts it again in the running process, with both of its files as they are now: after what stopped it was mended
    Resume(ResumeOptions),
}

#[derive(Debug, Args)]
pub struct ResumeOptions {
    /// The writer's name: that of its file
    pub name: String,
    #[command(flatten)]
    pub config: ConfigFile,
}

#[derive(Debug, Args)]
pub struct RewindOptions {
    /// The writer's name: that of its file
    pub name: String,
    #[command(flatten)]
    pub config: ConfigFile,
    /// `start`, or the sequence number of the record behind which to begin: only the partition that holds it moves
    #[arg(long, value_name = "start|SEQ", default_value = "start", value_parser = RewindTo::parse)]
    pub to: RewindTo,
}

#[derive(Debug, Args)]
pub struct RebaseOptions {
    /// The writer's name: that of its file
    pub name: String,
    #[command(flatten)]
    pub config: ConfigFile,
    /// `start`: everything this log holds; `end`: only what comes from now on
    #[arg(long, value_name = "start|end", default_value = "start")]
    pub to: RebaseTo,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RewindTo {
    Start,
    Behind(u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum RebaseTo {
    Start,
    End,
}

impl RewindTo {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "start" => Ok(RewindTo::Start),
            seq => seq.parse().map(RewindTo::Behind).map_err(|_| "it is `start` or a sequence number".to_owned()),
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
    fn places_are_told_apart() {
        assert_eq!(RewindTo::parse("start"), Ok(RewindTo::Start));
        assert_eq!(RewindTo::parse("42"), Ok(RewindTo::Behind(42)));
        assert!(RewindTo::parse("end").is_err() && RewindTo::parse("-1").is_err());
        let cli = Cli::try_parse_from(["mysync", "writer", "rebase", "users", "--to", "end"]).unwrap();
        assert!(
            matches!(cli.command, Command::Writer(WriterCommand::Rebase(options)) if options.to == RebaseTo::End && options.name == "users")
        );
    }
}
