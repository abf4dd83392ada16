//! What many measurements come to.

use std::time::Duration;

/// Times of one kind of event.
#[derive(Debug)]
pub struct Times(Vec<Duration>);

impl Times {
    pub fn new(mut times: Vec<Duration>) -> Self {
        times.sort();
        Self(times)
    }

    /// The time that so many of a thousand do not exceed.
    pub fn quantile(&self, thousandths: usize) -> Duration {
        let rank = (self.0.len() * thousandths).div_ceil(1000);
        self.0.get(rank.saturating_sub(1)).copied().unwrap_or_default()
    }
}

/// The one in the middle.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_times_that_were_measured() {
        let times = Times::new((1..=1000).rev().map(Duration::from_micros).collect());
        assert_eq!([500, 990, 999, 1000].map(|q| times.quantile(q).as_micros()), [500, 990, 999, 1000]);
        let few = Times::new(vec![Duration::from_micros(7), Duration::from_micros(3)]);
        assert_eq!([0, 500, 501].map(|q| few.quantile(q).as_micros()), [3, 3, 7]);
        assert_eq!(Times::new(Vec::new()).quantile(500), Duration::ZERO);
        assert!((median(vec![3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
    }
}
