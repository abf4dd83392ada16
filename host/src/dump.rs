//! `mysync dump`: orders first loads of the running process, follows them, and changes them.
//!
//! The process that runs does the work and keeps its place in the log: nothing that happens to this command harms a dump.

pub mod told;

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::admin::dumps::{Changed, Ordered};
use crate::admin::report::DumpReport;
use crate::cli::{DumpCommand, DumpOptions, LoadOptions, StatusOptions, WhichDump};
use crate::config::encode;
use crate::fault::{EXIT_FAILED, Fault};
use crate::{client, signals, status};

/// How often a terminal shows how far it has come.
const GLANCE: Duration = Duration::from_millis(500);
/// How often a line says it where there is no terminal.
const LINES_APART: Duration = Duration::from_secs(5);
/// How long a dump that was just ordered may take to show in the status.
const UNSEEN: Duration = Duration::from_secs(10);

pub async fn run(options: &DumpOptions) -> Result<ExitCode, Fault> {
    match &options.command {
        None => load(&options.load).await,
        Some(DumpCommand::Status(options)) => show(options),
        Some(DumpCommand::Pause(which)) => change(which, "pause", "is paused"),
        Some(DumpCommand::Resume(which)) => change(which, "resume", "goes on"),
        Some(DumpCommand::Cancel(which)) => change(which, "cancel", "is cancelled"),
    }
}

async fn load(options: &LoadOptions) -> Result<ExitCode, Fault> {
    let address = status::address(&options.process)?;
    let writer = options.writer.as_ref().map(|writer| format!("writer={}", encode(writer)));
    let rate = options.rows_per_second.map(|rate| format!("rows_per_second={rate}"));
    let query: Vec<String> = writer.into_iter().chain(rate).collect();
    let Ordered { number } = order(address, &format!("/api/dumps?{}", query.join("&")))?;
    if options.detach {
        println!("dump {number} is ordered: 'mysync dump status' shows how far it is");
        return Ok(ExitCode::SUCCESS);
    }
    let words = format!("\ndump {number} goes on without you: see 'mysync dump status', 'pause' and 'cancel'");
    signals::leave_on_signal(words)
        .map_err(|error| Fault::failed("SIGNALS", format!("cannot watch for signals: {error}")))?;
    follow(address, number).await
}

fn change(which: &WhichDump, verb: &str, outcome: &str) -> Result<ExitCode, Fault> {
    let address = status::address(&which.process)?;
    let number = which.number.map_or(String::new(), |number| format!("?number={number}"));
    let Changed { numbers } = order(address, &format!("/api/dumps/{verb}{number}"))?;
    numbers.iter().for_each(|number| println!("dump {number} {outcome}"));
    Ok(ExitCode::SUCCESS)
}

fn order<T: serde::de::DeserializeOwned>(address: SocketAddr, path: &str) -> Result<T, Fault> {
    let answer = client::post(address, path)?;
    if answer.is_good() {
        return answer.read(address);
    }
    Err(Fault::failed("DUMP_REFUSED", format!("the running process does not do it: {}", answer.refusal())))
}

fn show(options: &StatusOptions) -> Result<ExitCode, Fault> {
    let address = status::address(&options.process)?;
    let dumps = status::ask(address)?.0.dumps;
    if options.json {
        let text = serde_json::to_string(&dumps);
        println!("{}", text.map_err(|error| Fault::failed("OUTPUT", format!("cannot be written as JSON: {error}")))?);
    } else if dumps.is_empty() {
        println!("there is no dump that is not over, and none has ended since the process started");
    } else {
        print!("{}", told::table(&dumps));
        dumps.iter().filter_map(told::more).for_each(|line| println!("\n{line}"));
    }
    let stopped = dumps.iter().any(|dump| dump.state == "stopped");
    Ok(if stopped { ExitCode::from(EXIT_FAILED) } else { ExitCode::SUCCESS })
}

/// Shows how far a dump is until it is over, or stands.
async fn follow(address: SocketAddr, number: u64) -> Result<ExitCode, Fault> {
    let mut shown = Shown { terminal: std::io::stdout().is_terminal(), last: None };
    let mut seen = Instant::now();
    loop {
        let (report, _) = status::ask(address).map_err(|fault| Fault {
            message: format!("{}; dump {number} goes on where it is when mysync runs again", fault.message),
            ..fault
        })?;
        match report.dumps.iter().find(|dump| dump.number == number) {
            Some(dump) => {
                seen = Instant::now();
                if let Some(end) = shown.show(dump) {
                    return end;
                }
            }
            None if seen.elapsed() > UNSEEN => return Err(forgotten(number)),
            None => {}
        }
        tokio::time::sleep(GLANCE).await;
    }
}

fn forgotten(number: u64) -> Fault {
    let message = format!(
        "the running process does not show dump {number} any more: it was started again after the dump had ended. Its log lines of that time \
         say how"
    );
    Fault::failed("DUMP_FORGOTTEN", message)
}

/// What somebody sees of a dump that is followed.
struct Shown {
    terminal: bool,
    /// State and table of the last line, and when it was said.
    last: Option<(String, Option<String>, Instant)>,
}

impl Shown {
    /// Shows it, where there is something to show. The end of the command, once the dump is over or stands.
    fn show(&mut self, dump: &DumpReport) -> Option<Result<ExitCode, Fault>> {
        let end = ended(dump);
        if self.terminal {
            // One line that is drawn again and again, and cut off where the terminal ends.
            print!("\r\x1b[?7l{}\x1b[K\x1b[?7h", told::bar(dump) + &told::progress(dump));
            let _ = std::io::stdout().flush();
        } else if end.is_none() && self.is_due(dump, Instant::now()) {
            println!("{}", told::progress(dump));
        }
        if end.is_some() && self.terminal {
            println!();
        }
        if let Some(Ok(_)) = end {
            println!("{}", told::done(dump));
        }
        end
    }

    fn is_due(&mut self, dump: &DumpReport, now: Instant) -> bool {
        let due = self.last.as_ref().is_none_or(|(state, table, said)| {
            *state != dump.state || *table != dump.table || now.duration_since(*said) >= LINES_APART
        });
        if due {
            self.last = Some((dump.state.clone(), dump.table.clone(), now));
        }
        due
    }
}

fn ended(dump: &DumpReport) -> Option<Result<ExitCode, Fault>> {
    let number = dump.number;
    match dump.state.as_str() {
        "done" => Some(Ok(ExitCode::SUCCESS)),
        "stopped" => {
            let why = told::failure(dump).unwrap_or_default();
            let message = format!("dump {number} has stopped: {why}. Once that is mended: mysync dump resume {number}");
            Some(Err(Fault::failed("DUMP_STOPPED", message)))
        }
        "cancelled" => {
            Some(Err(Fault::failed("DUMP_CANCELLED", format!("dump {number} was cancelled; what it has loaded stays"))))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use mysync_pipeline::dump::Stage;
    use mysync_pipeline::failure::Failure;

    use super::*;
    use crate::admin::report::dump::tests::status;

    #[test]
    fn a_file_gets_a_line_now_and_then_and_whenever_something_changes() {
        let mut shown = Shown { terminal: false, last: None };
        let start = Instant::now();
        let mut dump = DumpReport::new(&status(3, Stage::Running));
        let mut due = |dump: &DumpReport, second| shown.is_due(dump, start + Duration::from_secs(second));
        assert_eq!([0, 1, 4, 5, 6].map(|second| due(&dump, second)), [true, false, false, true, false]);
        dump.table = Some("shop.orders".to_owned());
        assert_eq!([6, 7].map(|second| due(&dump, second)), [true, false]);
        dump.state = "paused".to_owned();
        assert!(due(&dump, 8));
    }

    #[test]
    fn who_follows_is_told_how_it_ended() {
        let end = |stage| ended(&DumpReport::new(&status(3, stage)));
        for stage in [Stage::Waiting, Stage::Running, Stage::Paused] {
            assert!(end(stage).is_none());
        }
        assert!(end(Stage::Retrying(Failure::transient("SOURCE_SILENT", "silent"))).is_none());
        assert!(matches!(end(Stage::Done), Some(Ok(_))));
        let Some(Err(stopped)) = end(Stage::Stopped(Failure::definite("SOURCE_TLS", "no trust"))) else {
            panic!("goes on")
        };
        assert_eq!((stopped.code, stopped.exit), ("DUMP_STOPPED", EXIT_FAILED));
        assert_eq!(
            stopped.message,
            "dump 3 has stopped: [SOURCE_TLS] no trust. Once that is mended: mysync dump resume 3"
        );
        assert!(matches!(end(Stage::Cancelled), Some(Err(Fault { code: "DUMP_CANCELLED", exit: EXIT_FAILED, .. }))));
    }
}
