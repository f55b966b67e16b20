//! Counts of durations in buckets whose width is at most 1/64 of the duration.

use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

/// A bucket's width is its lower bound divided by 2 to this power.
const PRECISION: u32 = 6;
const BUCKETS: usize = (64 - PRECISION as usize + 1) << PRECISION;

/// Durations in nanoseconds. Its text form is the maximum, then a pair of bucket and count for each used bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: vec![0; BUCKETS],
            max: 0,
        }
    }
}

#[allow(clippy::cast_possible_truncation)] // a bucket's number
fn bucket_of(nanos: u64) -> usize {
    let Some(octave) = nanos.checked_ilog2().and_then(|log| log.checked_sub(PRECISION)) else {
        return nanos as usize;
    };
    ((u64::from(octave) << PRECISION) + (nanos >> octave)) as usize
}

/// The largest duration in a bucket.
fn end_of(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    let octave = (bucket >> PRECISION).saturating_sub(1);
    let first = bucket - (octave << PRECISION);
    ((first + 1) << octave) - 1
}

impl Histogram {
    pub(crate) fn record(&mut self, nanos: u64) {
        self.counts[bucket_of(nanos)] += 1;
        self.max = self.max.max(nanos);
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        let pairs = self.counts.iter_mut().zip(&other.counts);
        pairs.for_each(|(mine, other)| *mine += other);
        self.max = self.max.max(other.max);
    }

    pub(crate) const fn max(&self) -> u64 {
        self.max
    }

    pub(crate) fn len(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The duration that all but `above` of a million operations do not exceed.
    pub(crate) fn quantile(&self, above: u64) -> u64 {
        let mut left = self.len() * above / 1_000_000;
        let used = self.counts.iter().enumerate().rev();
        for (bucket, &count) in used {
            if count > left {
                return end_of(bucket).min(self.max);
            }
            left -= count;
        }
        0
    }
}

impl Display for Histogram {
    fn fmt(&self, to: &mut Formatter<'_>) -> fmt::Result {
        write!(to, "{}", self.max)?;
        let used = self.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        used.into_iter()
            .try_for_each(|(bucket, count)| write!(to, " {bucket} {count}"))
    }
}

impl FromStr for Histogram {
    type Err = Box<dyn std::error::Error>;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let numbers = text
            .split_whitespace()
            .map(str::parse)
            .collect::<Result<Vec<u64>, _>>()?;
        let (max, pairs) = numbers.split_first().ok_or("empty histogram")?;
        let mut read = Self {
            max: *max,
            ..Self::default()
        };
        for pair in pairs.as_chunks::<2>().0 {
            let bucket = read.counts.get_mut(usize::try_from(pair[0])?);
            *bucket.ok_or("no such bucket")? += pair[1];
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_at_most_a_64th_wide() {
        for nanos in (0..2000).chain((11..64).map(|bits| (1 << bits) - 1)) {
            let end = end_of(bucket_of(nanos));
            assert!(end >= nanos && end - nanos <= nanos >> PRECISION, "{nanos} {end}");
        }
    }

    #[test]
    fn quantiles_survive_the_text_form() {
        let mut histogram = Histogram::default();
        (1..=1_000_000).for_each(|nanos| histogram.record(nanos));
        let read: Histogram = histogram.to_string().parse().expect("its own text");
        assert_eq!(read, histogram);
        for above in [500_000, 10_000, 1000, 100] {
            let expected = 1_000_000 - above;
            let found = read.quantile(above);
            assert!(found >= expected && found - expected <= expected / 32, "{found}");
        }
        assert_eq!(read.quantile(0), 1_000_000);
    }
}
