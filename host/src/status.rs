//! `mysync status`: what the running process does, for people and for scripts.

use std::net::SocketAddr;
use std::process::ExitCode;

use crate::admin::report::dump::name;
use crate::admin::report::{Report, WriterReport};
use crate::cli::{Process, StatusOptions};
use crate::client::{self, Answer};
use crate::config::{self, AdminSettings};
use crate::dump::told;
use crate::fault::{EXIT_FAILED, Fault};

pub fn run(options: &StatusOptions) -> Result<ExitCode, Fault> {
    let (report, answer) = ask(address(&options.process)?)?;
    match options.json {
        true => println!("{}", answer.body),
        false => print!("{}", table(&report)),
    }
    Ok(if report.healthy { ExitCode::SUCCESS } else { ExitCode::from(EXIT_FAILED) })
}

/// What the process says of itself, and the answer as it came.
pub fn ask(address: SocketAddr) -> Result<(Report, Answer), Fault> {
    let answer = client::get(address, "/api/status")?;
    Ok((answer.read(address)?, answer))
}

pub fn address(process: &Process) -> Result<SocketAddr, Fault> {
    match process.admin {
        Some(address) => Ok(address),
        None => address_of(&config::load_admin(&process.config.config)?),
    }
}

/// Where the configured process can be asked.
pub fn address_of(admin: &AdminSettings) -> Result<SocketAddr, Fault> {
    admin.listen.ok_or_else(|| {
        Fault::unusable("ADMIN_OFF", "admin.listen is \"none\", so the process cannot be asked: give it an address")
    })
}

fn table(report: &Report) -> String {
    let capture = &report.capture;
    let verdict = match (report.healthy, report.ready) {
        (false, _) => "unhealthy",
        (true, false) => "starting",
        (true, true) => "healthy",
    };
    let mut text = format!("source {}: {verdict}\n{}\n", report.source, does(report));
    let mut rows = vec![
        ["", "STATE", "LAG", "SEQ", "ROWS", "ERRORS", "P50", "P99"].map(str::to_owned),
        [
            "capture".to_owned(),
            capture.state.clone(),
            String::new(),
            capture.seq.to_string(),
            capture.rows.to_string(),
            capture.errors.to_string(),
            String::new(),
            String::new(),
        ],
    ];
    rows.extend(report.writers.iter().map(writer_row));
    text.push_str(&aligned(&rows, 2));
    if !report.dumps.is_empty() {
        text.push_str(&format!("\n{}", told::table(&report.dumps)));
    }
    if let Some(position) = &capture.position {
        text.push_str(&format!("\nposition {position}\n"));
    }
    let told: Vec<&str> = report.reasons.iter().map(|reason| reason.of.as_str()).collect();
    for reason in &report.reasons {
        text.push_str(&format!("\n{}: [{}] {}\n", reason.of, reason.code, reason.message));
    }
    // What is being retried and not yet a reason for alarm.
    let capture = ("capture".to_owned(), &capture.code, &capture.message);
    let writers = report.writers.iter().map(|w| (format!("writer {}/{}", w.writer, w.partition), &w.code, &w.message));
    let dumps = report.dumps.iter().map(|dump| (name(dump.number), &dump.code, &dump.message));
    for (of, code, message) in [capture].into_iter().chain(writers).chain(dumps) {
        if let (Some(code), Some(message), false) = (code, message, told.contains(&of.as_str())) {
            text.push_str(&format!("\n{of}: [{code}] {message}\n"));
        }
    }
    text
}

/// Half of the program is told apart, and which process captures if that is another.
fn does(report: &Report) -> String {
    let half = match report.role.as_str() {
        "capture" => "this process captures only",
        "deliver" => "this process delivers only",
        _ => "",
    };
    let leader = match (&report.capture.leader, report.capture.state.as_str()) {
        (Some(leader), state) if state != "running" => format!("the last to capture was {leader}"),
        _ => String::new(),
    };
    match (half, leader.as_str()) {
        ("", "") => String::new(),
        (told, "") | ("", told) => format!("{told}\n"),
        (half, leader) => format!("{half}; {leader}\n"),
    }
}

fn writer_row(writer: &WriterReport) -> [String; 8] {
    [
        format!("{}/{}", writer.writer, writer.partition),
        writer.state.clone(),
        writer.lag_seconds.map_or("unknown".to_owned(), |lag| format!("{lag:.1} s")),
        writer.seq.to_string(),
        writer.rows.to_string(),
        writer.errors.to_string(),
        millis(writer.commit_to_store_p50_seconds),
        millis(writer.commit_to_store_p99_seconds),
    ]
}

fn millis(seconds: Option<f64>) -> String {
    seconds.map_or(String::new(), |seconds| format!("≤ {} ms", (seconds * 1e5).round() / 1e2))
}

/// The first columns are words, the others figures.
pub fn aligned<const N: usize>(rows: &[[String; N]], words: usize) -> String {
    let widths: Vec<usize> =
        (0..N).map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| match column {
            _ if column < words => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}
