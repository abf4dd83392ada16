//! Dumps in words and figures, for people.

use crate::admin::report::DumpReport;
use crate::status::aligned;

const BAR: usize = 20;
/// An estimate is no reason to say that everything is there.
const SHARE_MAX: f64 = 0.99;

/// All of them, a row each.
pub fn table(dumps: &[DumpReport]) -> String {
    let mut rows = vec![
        ["DUMP", "WRITER", "STATE", "TABLE", "TABLES", "ROWS", "ABOUT", "LEFT OUT", "ROWS/S", "TIME LEFT"]
            .map(str::to_owned),
    ];
    rows.extend(dumps.iter().map(|dump| {
        let running = dump.state == "running";
        [
            dump.number.to_string(),
            dump.writer.clone().unwrap_or_else(|| "(all)".to_owned()),
            dump.state.clone(),
            dump.table.clone().unwrap_or_default(),
            match dump.tables {
                Some(tables) => format!("{}/{tables}", dump.tables_done),
                None => dump.tables_done.to_string(),
            },
            grouped(dump.rows),
            dump.rows_estimated.map_or(String::new(), grouped),
            grouped(dump.rows_left_out),
            dump.rows_per_second.filter(|_| running).map_or(String::new(), grouped),
            dump.seconds_left.filter(|_| running).map_or(String::new(), duration),
        ]
    }));
    aligned(&rows, 4)
}

/// Why it is not done yet, where that is not plain from its state.
pub fn more(dump: &DumpReport) -> Option<String> {
    failure(dump)
        .map(|failure| format!("dump {}: {failure}", dump.number))
        .or_else(|| Some(format!("dump {} waits for {}", dump.number, dump.waits_for.as_ref()?)))
}

pub fn failure(dump: &DumpReport) -> Option<String> {
    Some(format!("[{}] {}", dump.code.as_ref()?, dump.message.as_ref()?))
}

/// `[#########           ]  45 %  `
pub fn bar(dump: &DumpReport) -> String {
    let Some(share) = share(dump) else { return String::new() };
    let full = (share * BAR as f64) as usize;
    format!("[{}{}] {:>3.0} %  ", "#".repeat(full), " ".repeat(BAR - full), (share * 100.0).floor())
}

/// How much of it is in the log.
fn share(dump: &DumpReport) -> Option<f64> {
    if dump.state == "done" {
        return Some(1.0);
    }
    let all = dump.rows_estimated.filter(|all| *all > 0)?;
    Some(((dump.rows + dump.rows_left_out) as f64 / all as f64).min(SHARE_MAX))
}

/// How far it is, in a line.
pub fn progress(dump: &DumpReport) -> String {
    let mut parts = vec![format!("dump {}", dump.number)];
    if let Some(table) = &dump.table {
        // The table that is being read counts from 1.
        let at = dump.tables.map_or(String::new(), |all| format!(" ({} of {all})", (dump.tables_done + 1).min(all)));
        parts.push(format!("{table}{at}"));
    }
    parts.push(match dump.rows_estimated.filter(|all| *all > dump.rows) {
        Some(all) => format!("{} of about {} rows", grouped(dump.rows), grouped(all)),
        None => format!("{} rows", grouped(dump.rows)),
    });
    match dump.state.as_str() {
        "running" => {
            parts.extend(dump.rows_per_second.map(|rate| format!("{} rows/s", grouped(rate))));
            parts.extend(dump.seconds_left.map(|left| format!("{} left", duration(left))));
        }
        state => parts.push(state.to_owned()),
    }
    parts.extend(failure(dump).or_else(|| Some(format!("waits for {}", dump.waits_for.as_ref()?))));
    parts.join("  ")
}

/// What it has come to.
pub fn done(dump: &DumpReport) -> String {
    let rows = grouped(dump.rows);
    let mut text =
        format!("dump {} is done: {rows} rows of {} tables are in the stores", dump.number, dump.tables_done);
    if dump.rows_left_out > 0 {
        let left_out = grouped(dump.rows_left_out);
        text.push_str(&format!(", and newer changes in place of {left_out} more"));
    }
    if let Some(ended_us) = dump.ended_us {
        text.push_str(&format!(", after {}", duration(ended_us.saturating_sub(dump.asked_us) as f64 / 1e6)));
    }
    text
}

/// `1,234,567`
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `4.2 s`, `20 s`, `3 min 20 s`, `2 h 5 min`
fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        0..10 => format!("{seconds:.1} s"),
        10..60 => format!("{whole} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use mysync_pipeline::dump::{DumpStatus, Stage};
    use mysync_pipeline::failure::Failure;

    use super::*;
    use crate::admin::report::dump::tests::status;

    fn report(stage: Stage) -> DumpReport {
        DumpReport::new(&status(3, stage))
    }

    #[test]
    fn how_far_it_is_fits_into_a_line() {
        let mut dump = report(Stage::Running);
        assert_eq!(
            progress(&dump),
            "dump 3  shop.users (2 of 3)  450,000 of about 1,000,500 rows  50,000 rows/s  11 s left"
        );
        assert_eq!(bar(&dump), "[#########           ]  45 %  ");
        dump.waits_for = Some("writer users-cache to apply what it has".to_owned());
        assert!(progress(&dump).ends_with("  waits for writer users-cache to apply what it has"));
        let paused = report(Stage::Paused);
        assert_eq!(progress(&paused), "dump 3  shop.users (2 of 3)  450,000 of about 1,000,500 rows  paused");
        let retrying = report(Stage::Retrying(Failure::transient("SOURCE_SILENT", "no answer")));
        assert!(progress(&retrying).ends_with("  retrying  [SOURCE_SILENT] no answer"));
        let unknown =
            DumpStatus { tables: None, rows_estimated: None, rows_per_second: None, ..status(3, Stage::Running) };
        let unknown = DumpReport::new(&unknown);
        assert_eq!((progress(&unknown).as_str(), bar(&unknown).as_str()), ("dump 3  shop.users  450,000 rows", ""));
    }

    #[test]
    fn no_estimate_says_that_it_is_over() {
        let mut dump = report(Stage::Running);
        dump.rows = 2_000_000;
        assert!(progress(&dump).contains("  2,000,000 rows  "), "it was too low");
        assert_eq!(bar(&dump), "[################### ]  99 %  ");
        dump.state = "done".to_owned();
        assert_eq!(bar(&dump), "[####################] 100 %  ");
        (dump.tables_done, dump.ended_us) = (3, Some(210_000_000));
        assert_eq!(
            done(&dump),
            "dump 3 is done: 2,000,000 rows of 3 tables are in the stores, and newer changes in place of 500 more, after 3 min 20 s"
        );
    }

    #[test]
    fn the_table_has_a_row_for_each() {
        let all = DumpStatus { writer: None, table: String::new(), tables: None, ..status(4, Stage::Waiting) };
        let text = table(&[report(Stage::Running), DumpReport::new(&all)]);
        let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split("  ").map(str::trim).collect()).collect();
        let cells = |row: &[&str]| {
            row.iter().filter(|cell| !cell.is_empty()).map(|cell| (*cell).to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(
            cells(&rows[1]),
            ["3", "users-cache", "running", "shop.users", "1/3", "450,000", "1,000,500", "500", "50,000", "11 s"]
        );
        assert_eq!(cells(&rows[2]), ["4", "(all)", "waiting", "1", "450,000", "1,000,500", "500"]);
    }

    #[test]
    fn figures_are_readable() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(
            [0.04, 9.4, 59.4, 200.0, 7_500.0].map(duration),
            ["0.0 s", "9.4 s", "59 s", "3 min 20 s", "2 h 5 min"]
        );
    }
}
