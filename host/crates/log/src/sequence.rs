//! Where a leader's sequence numbers begin.

/// A leader's first number is at least so many for each second of the clock: no more rows than that are captured in one.
const SECOND: u64 = 1 << 29;

/// The first number of a leader of a log in which `given` is the highest that was ever given; 0: none.
///
/// Numbers never come back, not even those of a tail that was lost, nor of a log that was wiped: they are the versions that stores see. A clock
/// that stood still or went back must not bring them back either.
pub fn first(given: u64, now_us: u64) -> u64 {
    let clock = now_us / 1_000_000 * SECOND;
    if given == 0 { clock.max(1) } else { clock.max(given + SECOND) }
}
