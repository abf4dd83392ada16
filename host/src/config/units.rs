//! Durations and sizes as people write them.

use std::time::Duration;

/// Reads `250ms`, `30s`, `10m`, `24h` or `7d`.
pub fn duration(text: &str) -> Result<Duration, String> {
    const EXPECTED: &str =
        "which is no duration: write a whole number and one of ms, s, m, h, d, as in \"250ms\" or \"7d\"";
    let millis = match split(text) {
        Some((number, "ms")) => Some(number),
        Some((number, "s")) => number.checked_mul(1_000),
        Some((number, "m")) => number.checked_mul(60_000),
        Some((number, "h")) => number.checked_mul(3_600_000),
        Some((number, "d")) => number.checked_mul(86_400_000),
        _ => None,
    };
    millis.map(Duration::from_millis).ok_or_else(|| format!("is \"{text}\", {EXPECTED}"))
}

/// Reads `1024B`, `64KiB`, `512MiB`, `10GiB` or `1TiB`, in bytes.
pub fn bytes(text: &str) -> Result<u64, String> {
    const EXPECTED: &str = "which is no size: write a whole number and one of B, KiB, MiB, GiB, TiB, as in \"10GiB\"";
    let (number, unit) = split(text).ok_or_else(|| format!("is \"{text}\", {EXPECTED}"))?;
    let shift = match unit {
        "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "TiB" => 40,
        _ => return Err(format!("is \"{text}\", {EXPECTED}")),
    };
    number.checked_mul(1 << shift).ok_or_else(|| format!("is \"{text}\", which is larger than any disk"))
}

fn split(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(end);
    Some((number.parse().ok()?, unit.trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_are_exact() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("7d"), Ok(Duration::from_secs(604_800)));
        assert_eq!(duration("1 h"), Ok(Duration::from_secs(3_600)));
        assert_eq!(bytes("10GiB"), Ok(10 << 30));
        assert_eq!(bytes("0B"), Ok(0));
    }

    #[test]
    fn what_is_meant_is_never_guessed() {
        for text in ["", "7", "d", "-1s", "1.5h", "7 days", "99999999999999999999s", "18446744073709551615d"] {
            assert!(duration(text).is_err(), "{text}");
        }
        for text in ["", "10", "10GB", "10gib", "1e3B", "99999999999999999TiB"] {
            assert!(bytes(text).is_err(), "{text}");
        }
        assert!(bytes("10GB").unwrap_err().contains("GiB"));
    }
}
