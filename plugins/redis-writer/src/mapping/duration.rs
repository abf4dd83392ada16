//! Durations as people write them: `7d`, `90s`.

const UNITS: [(&str, u64); 6] =
    [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000), ("w", 604_800_000)];

/// The longest time to live, in milliseconds: 1,000 years. Added to a commit time it stays far from the largest that Redis takes.
const MAX_MS: u64 = 365_250 * 86_400_000;

/// Reads a duration, in milliseconds; `None` if it is none, or zero, or longer than a thousand years.
pub fn milliseconds(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, ms) = UNITS.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*ms).filter(|ms| (1..=MAX_MS).contains(ms))
}

#[cfg(test)]
mod tests {
    use super::milliseconds;

    #[test]
    fn a_number_and_a_unit() {
        assert_eq!(milliseconds("250ms"), Some(250));
        assert_eq!(milliseconds("90s"), Some(90_000));
        assert_eq!(milliseconds("7d"), Some(604_800_000));
        assert_eq!(milliseconds("7d"), milliseconds("1w"));
        for wrong in [
            "",
            "7",
            "d",
            "0s",
            "-1s",
            "1.5h",
            "7 d",
            "7days",
            "366000d",
            "99999999999999999999s",
            "18446744073709551615w",
        ] {
            assert_eq!(milliseconds(wrong), None, "{wrong}");
        }
    }
}
