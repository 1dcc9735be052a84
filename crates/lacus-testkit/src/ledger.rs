//! What a workload was promised, against what is there: acknowledged once, there once.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// The promises that a workload printed, a line each: `acked 17`, `refused 18`. What it was about to send when it ended
/// is in neither, and may be there or not.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Promises {
    /// Acknowledged: must be there.
    pub acked: BTreeSet<u64>,
    /// Refused with an error: may be there, when the answer was lost and not the work.
    pub refused: BTreeSet<u64>,
}

impl Promises {
    /// Reads them from what the workload printed. A line that was cut off is none.
    #[must_use]
    pub fn read(stdout: &str) -> Self {
        let numbers = |word| {
            let complete = stdout.rsplit_once('\n').map_or("", |(lines, _)| lines);
            complete.lines().filter_map(|line| line.strip_prefix(word)?.trim().parse().ok()).collect()
        };
        Self { acked: numbers("acked "), refused: numbers("refused ") }
    }

    /// Checks them against the numbers that are there.
    ///
    /// # Errors
    /// Which acknowledged numbers are missing, and which numbers are there twice.
    pub fn check(&self, there: impl IntoIterator<Item = u64>) -> Result<(), String> {
        let mut counts: BTreeMap<u64, usize> = BTreeMap::new();
        for number in there {
            *counts.entry(number).or_default() += 1;
        }
        let twice: Vec<u64> = counts.iter().filter(|(_, count)| **count > 1).map(|(number, _)| *number).collect();
        if !twice.is_empty() {
            return Err(format!("there twice: {}", listed(&twice)));
        }
        let missing: Vec<u64> = self.acked.iter().filter(|number| !counts.contains_key(number)).copied().collect();
        if !missing.is_empty() {
            return Err(format!("acknowledged but missing: {}", listed(&missing)));
        }
        Ok(())
    }
}

/// The first numbers, and how many there are.
fn listed(numbers: &[u64]) -> String {
    let first: Vec<String> = numbers.iter().take(10).map(u64::to_string).collect();
    format!("{} ({} in all)", first.join(", "), numbers.len())
}

/// Where cargo built the example of this name, for a test of the same package.
///
/// # Panics
/// If it is not there.
#[must_use]
pub fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    let profile = test.ancestors().nth(2).expect("tests lie in target/<profile>/deps");
    let example = profile.join("examples").join(name);
    assert!(example.is_file(), "{} is not there: cargo builds it with the tests", example.display());
    example
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_and_a_doubled_number_are_found() {
        let promises = Promises::read("acked 1\nrefused 2\nacked 3\nacked 45");
        assert_eq!(promises.acked, BTreeSet::from([1, 3]), "the last line was cut off");
        assert_eq!(promises.check([1, 3, 4]), Ok(()));
        assert_eq!(promises.check([1, 2]), Err("acknowledged but missing: 3 (1 in all)".to_owned()));
        assert_eq!(promises.check([1, 3, 4, 4]), Err("there twice: 4 (1 in all)".to_owned()));
    }
}
