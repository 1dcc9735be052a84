//! Rounds by turns: what one round says on a busy machine is as much about its neighbours as about what it measures.

use std::fmt;

use super::process::median;

/// Rounds of each side, by turns.
pub(super) const ROUNDS: usize = 5;

/// Wall and CPU seconds of a round.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spent {
    pub(super) wall: f64,
    pub(super) cpu: f64,
}

/// What one side needs of what the other does, compared within each round.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ratio {
    pub(super) median: f64,
    least: f64,
    most: f64,
}

impl Ratio {
    /// Of the figures of two sides, a round each.
    pub(super) fn of(ours: impl IntoIterator<Item = f64>, theirs: impl IntoIterator<Item = f64>) -> Self {
        let rounds: Vec<f64> = ours.into_iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect();
        let least = rounds.iter().copied().fold(f64::INFINITY, f64::min);
        let most = rounds.iter().copied().fold(0.0, f64::max);
        Self { median: median(rounds), least, most }
    }
}

/// The median, and between which two all rounds are: `1.94 × (1.71 to 2.20)`.
impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { median, least, most } = self;
        write!(f, "{median:.2} ×")?;
        // Whoever is compared with itself has no range.
        if least < most { write!(f, " ({least:.2} to {most:.2})") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_the_median_of_the_rounds_and_not_that_of_medians() {
        // The third round was slow for both.
        let (ours, theirs) = ([2.0, 3.0, 30.0], [1.0, 2.0, 10.0]);
        let ratio = Ratio::of(ours, theirs);
        assert_eq!(ratio.to_string(), "2.00 × (1.50 to 3.00)");
        assert_eq!(Ratio::of(theirs, theirs).to_string(), "1.00 ×");
    }
}
