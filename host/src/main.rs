//! `mysync`: keeps Redis equal to MySQL. Parse, load, assemble, run.

mod adapters;
mod admin;
mod assemble;
mod check;
mod cli;
mod client;
mod config;
mod dump;
mod fault;
mod moment;
mod outside;
mod records;
mod role;
mod signals;
mod status;
mod supervisor;
mod tail;
mod telemetry;
mod writer;

use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use mysync_pipeline::dump::orders;
use mysync_pipeline::shutdown::Shutdown;
use mysync_pipeline::status::Board;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tracing::{info, warn};

use admin::dumps::Dumps;
use admin::{Admin, COMMANDS_MAX, Observed};
use cli::{Cli, Command, LogCommand, RunOptions, WhichWriter, WriterCommand};
use config::{LogKind, Settings};
use fault::Fault;
use role::Role;
use writer::Move;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run(options) => run(&options, Role::Run),
        Command::Capture(options) => run(&options, Role::Capture),
        Command::Deliver(options) => run(&options, Role::Deliver),
        Command::Check(options) => runtime().and_then(|runtime| runtime.block_on(check::run(&options.config))),
        Command::Status(options) => status::run(&options),
        Command::Dump(options) => runtime().and_then(|runtime| runtime.block_on(dump::run(&options))),
        Command::Log(LogCommand::Tail(options)) => runtime().and_then(|runtime| runtime.block_on(tail::run(&options))),
        Command::Writer(WriterCommand::Rewind(options)) => move_writer(&options.writer, Move::Rewind(options.to)),
        Command::Writer(WriterCommand::Rebase(options)) => move_writer(&options.writer, Move::Rebase(options.to)),
        Command::Writer(WriterCommand::Resume(options)) => writer::resume(&options),
    };
    done.unwrap_or_else(|fault| {
        eprintln!("{fault}");
        fault.exit_code()
    })
}

fn move_writer(which: &WhichWriter, to: Move) -> Result<ExitCode, Fault> {
    runtime()?.block_on(writer::run(which, to))
}

fn run(options: &RunOptions, role: Role) -> Result<ExitCode, Fault> {
    let mut settings = Settings::load(&options.config.config)?;
    role.check(&settings.log)?;
    if let Some(address) = options.admin {
        settings.admin.listen_on(address)?;
    }
    telemetry::start_logging(&settings.telemetry)?;
    let metrics = telemetry::start_metrics()?;
    for warning in &settings.warnings {
        warn!(code = "CONFIG", "{warning}");
    }
    runtime()?.block_on(async {
        let log = assemble::open_log(&settings).await?;
        let shutdown = Shutdown::default();
        signals::end_on_signal(shutdown.clone())
            .map_err(|error| Fault::failed("SIGNALS", format!("cannot watch for signals: {error}")))?;
        let board = Arc::new(Board::default());
        let (commands, asked) = mpsc::channel(COMMANDS_MAX);
        let mut observed = Observed::new(settings.source.name.clone(), role, board.clone());
        if let LogKind::Kafka(kafka) = &settings.log.kind {
            observed = observed.deleting_after(kafka.retention);
        }
        let (orders, book) = orders();
        let dumps = Dumps::new(&settings, orders.clone());
        let admin = Admin::bind(&settings.admin, observed, metrics.clone(), commands, dumps).await?;
        if let Some(admin) = admin {
            tokio::spawn(admin.serve(shutdown.ending()));
        }
        tokio::spawn(telemetry::keep_up(metrics));
        info!(version = env!("CARGO_PKG_VERSION"), source = settings.source.name, "mysync starts");
        assemble::run(settings, log, board, shutdown, asked, (orders, book), role).await?;
        info!("mysync ended");
        Ok(ExitCode::SUCCESS)
    })
}

fn runtime() -> Result<Runtime, Fault> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.map_err(|error| Fault::failed("RUNTIME", format!("cannot start threads: {error}")))
}
