//! Dates and times: MySQL's packed fields to the text that the writer contract names. Nothing is rounded, shifted or mended.

use super::number::{big_endian, little_endian};

/// Bytes behind the whole seconds, by number of decimals.
pub fn fraction_width(decimals: u8) -> usize {
    usize::from(decimals).div_ceil(2)
}

/// Year to second, as MySQL stores them, with the fraction in the unit that `decimals` names.
struct Fields {
    year: u64,
    month: u64,
    day: u64,
    hour: u64,
    minute: u64,
    second: u64,
}

/// DATE: 3 bytes. `YYYY-MM-DD`.
pub fn date(raw: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let packed = little_endian(raw);
    put_date(packed >> 9, packed >> 5 & 15, packed & 31, out);
    Some(())
}

/// TIME since MySQL 5.6: 3 bytes and a fraction. `[-]HH:MM:SS[.f]`.
pub fn time(raw: &[u8], decimals: u8, out: &mut Vec<u8>) -> Option<()> {
    let fraction_bits = 8 * fraction_width(decimals) as u32;
    let value = (big_endian(raw) as i64) - (0x80_0000_i64 << fraction_bits);
    let (seconds, fraction) =
        (value.unsigned_abs() >> fraction_bits, value.unsigned_abs() & !(u64::MAX << fraction_bits));
    if value < 0 {
        out.push(b'-');
    }
    put_clock(seconds >> 12 & 0x3FF, seconds >> 6 & 63, seconds & 63, out);
    put_fraction(fraction, decimals, out)
}

/// DATETIME since MySQL 5.6: 5 bytes and a fraction. `YYYY-MM-DDTHH:MM:SS[.f]`.
pub fn datetime(raw: &[u8], decimals: u8, out: &mut Vec<u8>) -> Option<()> {
    let (whole, fraction) = raw.split_at_checked(5)?;
    let packed = big_endian(whole).checked_sub(0x80_0000_0000)?;
    put_fields(&unpack(packed), b'T', out);
    put_fraction(big_endian(fraction), decimals, out)
}

/// TIMESTAMP: 4 bytes of seconds since 1970 in UTC and a fraction. `YYYY-MM-DDTHH:MM:SS[.f]Z`.
pub fn timestamp(raw: &[u8], decimals: u8, out: &mut Vec<u8>) -> Option<()> {
    let (whole, fraction) = raw.split_at_checked(4)?;
    put_timestamp(big_endian(whole), out);
    put_fraction(big_endian(fraction), decimals, out)?;
    out.push(b'Z');
    Some(())
}

/// TIME of tables made before MySQL 5.6: HHMMSS as a signed number of 3 bytes.
pub fn old_time(raw: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let value = ((little_endian(raw) << 40) as i64) >> 40;
    if value < 0 {
        out.push(b'-');
    }
    let clock = value.unsigned_abs();
    put_clock(clock / 10_000, clock / 100 % 100, clock % 100, out);
    Some(())
}

/// DATETIME of tables made before MySQL 5.6: YYYYMMDDHHMMSS as a number of 8 bytes.
pub fn old_datetime(raw: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let (date, clock) = (little_endian(raw) / 1_000_000, little_endian(raw) % 1_000_000);
    let fields = Fields {
        year: date / 10_000,
        month: date / 100 % 100,
        day: date % 100,
        hour: clock / 10_000,
        minute: clock / 100 % 100,
        second: clock % 100,
    };
    put_fields(&fields, b'T', out);
    (fields.year <= 9999).then_some(())
}

/// TIMESTAMP of tables made before MySQL 5.6.
pub fn old_timestamp(raw: &[u8], out: &mut Vec<u8>) -> Option<()> {
    put_timestamp(little_endian(raw), out);
    out.push(b'Z');
    Some(())
}

/// A DATE inside JSON.
pub fn json_date(packed: i64, out: &mut Vec<u8>) {
    let fields = unpack(packed.unsigned_abs() >> 24);
    put_date(fields.year, fields.month, fields.day, out);
}

/// A DATETIME inside JSON, always with six decimals.
pub fn json_datetime(packed: i64, out: &mut Vec<u8>) {
    put_fields(&unpack(packed.unsigned_abs() >> 24), b' ', out);
    put_micros(packed, out);
}

/// A TIME inside JSON, always with six decimals.
pub fn json_time(packed: i64, out: &mut Vec<u8>) {
    if packed < 0 {
        out.push(b'-');
    }
    let seconds = packed.unsigned_abs() >> 24;
    put_clock(seconds >> 12 & 0x3FF, seconds >> 6 & 63, seconds & 63, out);
    put_micros(packed, out);
}

fn put_micros(packed: i64, out: &mut Vec<u8>) {
    out.push(b'.');
    put_digits(packed.unsigned_abs() & 0xFF_FFFF, 6, out);
}

fn unpack(packed: u64) -> Fields {
    let (days, clock) = (packed >> 17, packed & 0x1_FFFF);
    Fields {
        year: (days >> 5) / 13,
        month: (days >> 5) % 13,
        day: days & 31,
        hour: clock >> 12,
        minute: clock >> 6 & 63,
        second: clock & 63,
    }
}

/// Second 0 is not 1970 but MySQL's zero timestamp.
fn put_timestamp(seconds: u64, out: &mut Vec<u8>) {
    if seconds == 0 {
        return out.extend_from_slice(b"0000-00-00T00:00:00");
    }
    let (year, month, day) = civil(seconds / 86_400);
    let clock = seconds % 86_400;
    put_fields(
        &Fields { year, month, day, hour: clock / 3600, minute: clock / 60 % 60, second: clock % 60 },
        b'T',
        out,
    );
}

/// Day of the Gregorian calendar, `days` after 1970-01-01, counted in years that begin in March.
fn civil(days: u64) -> (u64, u64, u64) {
    const ERA: u64 = 146_097;
    let days = days + 719_468;
    let (era, day_of_era) = (days / ERA, days % ERA);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

fn put_fields(fields: &Fields, between: u8, out: &mut Vec<u8>) {
    put_date(fields.year, fields.month, fields.day, out);
    out.push(between);
    put_clock(fields.hour, fields.minute, fields.second, out);
}

pub(crate) fn put_date(year: u64, month: u64, day: u64, out: &mut Vec<u8>) {
    let [y1, y2] = two_digits(year / 100 % 100);
    let [y3, y4] = two_digits(year);
    let [m1, m2] = two_digits(month);
    let [d1, d2] = two_digits(day);
    out.extend_from_slice(&[y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2]);
}

pub(crate) fn put_clock(hour: u64, minute: u64, second: u64, out: &mut Vec<u8>) {
    if hour >= 100 {
        out.push(b'0' + (hour / 100 % 10) as u8);
    }
    let [h1, h2] = two_digits(hour);
    let [m1, m2] = two_digits(minute);
    let [s1, s2] = two_digits(second);
    out.extend_from_slice(&[h1, h2, b':', m1, m2, b':', s1, s2]);
}

/// `stored` has an even number of digits; an odd one drops its last, which MySQL keeps at 0.
fn put_fraction(stored: u64, decimals: u8, out: &mut Vec<u8>) -> Option<()> {
    if decimals > 0 {
        out.push(b'.');
        put_digits(if decimals % 2 == 1 { stored / 10 } else { stored }, decimals, out);
    }
    (stored < 10_u64.pow(2 * fraction_width(decimals) as u32)).then_some(())
}

pub(crate) fn put_digits(mut number: u64, count: u8, out: &mut Vec<u8>) {
    let mut text = [b'0'; 6];
    for digit in text.iter_mut().take(usize::from(count)).rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
    out.extend_from_slice(text.get(..usize::from(count)).unwrap_or(&text));
}

/// The last two digits of `number`.
#[inline]
fn two_digits(number: u64) -> [u8; 2] {
    let number = (number % 100) as u8;
    [b'0' + number / 10, b'0' + number % 10]
}
