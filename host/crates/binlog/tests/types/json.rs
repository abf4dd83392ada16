//! Random JSON values.

use crate::generate::{clock, date, double, quote, text, time};
use mysync_test_support::Random;

/// A JSON value as SQL.
pub fn json(random: &mut Random) -> String {
    fn inner(random: &mut Random, depth: u64) -> String {
        match random.below(if depth > 3 { 15 } else { 19 }) {
            0 => "cast('null' as json)".to_owned(),
            1 => random.pick(&["true", "false"]).to_string(),
            2 => {
                random.pick(&["0", "-1", "32767", "-32768", "65535", "65536", "-2147483648", "4294967295"]).to_string()
            }
            3 => random.pick(&["9223372036854775807", "-9223372036854775808", "18446744073709551615"]).to_string(),
            4 | 5 => double(random),
            6 => format!(
                "cast('{}' as decimal(65,30))",
                random.pick(&["-0.5", "12345678901234567890.123", "0", "1.000"])
            ),
            7 => format!("cast({} as date)", quote(&date(random))),
            8 => format!("cast({} as time(6))", quote(&time(random))),
            9 => format!("cast('{} {}' as datetime(6))", "2021-03-04", clock(random, 24)),
            10 => {
                let len = *random.pick(&[0, 1, 2, 56, 57, 58, 114, 115, 200]);
                format!("cast(x'{}' as binary)", "a7".repeat(len)).replace("x''", "''")
            }
            11 => "st_geomfromtext('POINT(1 2)')".to_owned(),
            12 => "cast('{}' as json)".to_owned(),
            13 => "json_array()".to_owned(),
            14 => quote(&text(random, "utf8mb4", 200)),
            15 | 16 => {
                let values: Vec<String> = (0..random.below(6)).map(|_| inner(random, depth + 1)).collect();
                format!("json_array({})", values.join(","))
            }
            17 if random.chance(8) => format!("json_array(repeat('large ', 13000), {})", inner(random, depth + 1)),
            _ => {
                let values: Vec<String> = (0..random.below(6))
                    .map(|i| {
                        format!(
                            "{}, {}",
                            quote(&format!("k{i}{}", text(random, "utf8mb4", 5))),
                            inner(random, depth + 1)
                        )
                    })
                    .collect();
                format!("json_object({})", values.join(","))
            }
        }
    }
    // A value that is no JSON of itself becomes one inside an array.
    format!("json_extract(json_array({}), '$[0]')", inner(random, 0))
}
