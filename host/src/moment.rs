//! Times as people write them on a command line.

const SECOND_US: u64 = 1_000_000;
const DAY_SECONDS: u64 = 86_400;

/// Reads an RFC 3339 time such as `2026-11-25T10:00:00Z` or `2026-11-25 12:00:00.5+02:00`, in microseconds since 1970. What is finer is cut
/// off. A leap second is the beginning of the next minute.
pub fn parse(text: &str) -> Result<u64, String> {
    const FORM: &str = "a time has the form 2026-11-25T10:00:00Z or 2026-11-25T12:00:00+02:00";
    let wrong = || FORM.to_owned();
    let (date, rest) = text.split_at_checked(10).ok_or_else(wrong)?;
    let rest = rest.strip_prefix(['T', 't', ' ']).ok_or_else(wrong)?;
    let (time, rest) = rest.split_at_checked(8).ok_or_else(wrong)?;
    let [year, month, day] = fields(date, '-', [4, 2, 2]).ok_or_else(wrong)?;
    let [hour, minute, second] = fields(time, ':', [2, 2, 2]).ok_or_else(wrong)?;
    let (micros, zone) = fraction(rest).ok_or_else(wrong)?;
    let east = match zone {
        "" => return Err(format!("the time has no zone: write Z for UTC, or an offset such as +02:00; {FORM}")),
        "Z" | "z" => 0,
        _ => offset(zone).ok_or_else(wrong)?,
    };
    if !(1..=12).contains(&month) || day == 0 || day > days_of(year, month) || hour > 23 || minute > 59 || second > 60 {
        return Err("there is no such day or hour in the calendar".to_owned());
    }
    let before_1970 = || "the time is before 1970".to_owned();
    let days = days_since_1970(year, month, day).ok_or_else(before_1970)?;
    let seconds = days * DAY_SECONDS + hour * 3_600 + minute * 60 + second;
    let seconds = seconds.checked_add_signed(-east).ok_or_else(before_1970)?;
    Ok(seconds * SECOND_US + micros)
}

/// Numbers of so many digits, with `between` between them.
fn fields<const N: usize>(text: &str, between: char, digits: [usize; N]) -> Option<[u64; N]> {
    let mut parts = text.split(between);
    let mut numbers = [0; N];
    for (number, digits) in numbers.iter_mut().zip(digits) {
        *number = parts.next().filter(|part| part.len() == digits).and_then(unsigned)?;
    }
    parts.next().is_none().then_some(numbers)
}

/// Digits and nothing else: no sign.
fn unsigned(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// The microseconds of `.5Z`, and what follows them.
fn fraction(text: &str) -> Option<(u64, &str)> {
    let Some(text) = text.strip_prefix('.') else { return Some((0, text)) };
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    let micros = unsigned(&format!("{:0<6.6}", digits))?;
    (!digits.is_empty()).then_some((micros, rest))
}

/// The seconds of `+02:00`.
fn offset(text: &str) -> Option<i64> {
    let sign = if text.starts_with('-') { -1 } else { 1 };
    let [hours, minutes] = fields(text.strip_prefix(['+', '-'])?, ':', [2, 2])?;
    (hours < 24 && minutes < 60).then(|| sign * (hours * 3_600 + minutes * 60) as i64)
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn days_of(year: u64, month: u64) -> u64 {
    match month {
        2 => 28 + u64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// None: before 1970.
fn days_since_1970(year: u64, month: u64, day: u64) -> Option<u64> {
    // Leap days up to the end of a year.
    let leaps = |year: u64| year / 4 - year / 100 + year / 400;
    let years = year.checked_sub(1970)? * 365 + leaps(year - 1) - leaps(1969);
    Some(years + (1..month).map(|month| days_of(year, month)).sum::<u64>() + day - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_the_same_moment_in_every_zone() {
        let moment = 1_795_512_645 * SECOND_US;
        for text in [
            "2026-11-24T09:30:45Z",
            "2026-11-24t09:30:45z",
            "2026-11-24 09:30:45+00:00",
            "2026-11-24T11:30:45+02:00",
            "2026-11-24T04:00:45-05:30",
            "2026-11-25T00:30:45.000+15:00",
        ] {
            assert_eq!(parse(text), Ok(moment), "{text}");
        }
        assert_eq!(parse("2026-11-24T09:30:45.5Z"), Ok(moment + 500_000));
        assert_eq!(parse("2026-11-24T09:30:45.1234569Z"), Ok(moment + 123_456));
    }

    #[test]
    fn what_is_printed_is_read_again() {
        for micros in [0, 951_782_400_000_000, 1_795_512_645_123_456, 4_107_542_399_999_999, 4_107_542_400_000_000] {
            assert_eq!(parse(&crate::tail::time(micros)), Ok(micros));
        }
        // Every day of four centuries.
        for day in 0..146_097 {
            let micros = day * DAY_SECONDS * SECOND_US;
            assert_eq!(parse(&crate::tail::time(micros)), Ok(micros));
        }
    }

    #[test]
    fn what_is_no_time_is_never_guessed() {
        assert!(parse("2026-11-24T09:30:45").unwrap_err().contains("no zone"));
        for text in [
            "",
            "2026-11-24",
            "2026-11-24T09:30Z",
            "2026-11-24T09:30:45.Z",
            "2026-11-24T09:30:45+2",
            "2026-11-24T09:30:45+24:00",
            "2026-11-24T09:30:45Zx",
            "2026-1-24T09:30:045Z",
            "+026-11-24T09:30:45Z",
            "2026-13-24T09:30:45Z",
            "2026-02-29T09:30:45Z",
            "2100-02-29T00:00:00Z",
            "2026-11-00T09:30:45Z",
            "2026-11-24T24:00:00Z",
            "1969-12-31T23:59:59Z",
            "1970-01-01T00:00:00+01:00",
            "2026-11-2éT09:30:45Z",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert_eq!(parse("2024-02-29T00:00:60Z"), parse("2024-02-29T00:01:00Z"));
    }
}
