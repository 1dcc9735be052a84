//! What a person may set to repeat or to enlarge a test run: a seed, counts, how thorough.
//!
//! `LACUS_SEED=17` repeats a run, `LACUS_PROVE=1` asks for everything (`make prove`) instead of a sample (`make test`).

use std::fmt::Debug;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

/// The value of a variable, or `default` when it is not set.
///
/// # Panics
/// If the value can't be read as a `T`.
#[expect(clippy::disallowed_methods, reason = "tests have no settings: this is where they read the environment")]
pub fn setting<T: FromStr>(name: &str, default: T) -> T
where
    T::Err: Debug,
{
    match std::env::var(name) {
        Ok(value) => value.parse().unwrap_or_else(|error| panic!("{name}={value}: {error:?}")),
        Err(_) => default,
    }
}

/// Whether everything was asked for, not a sample.
#[must_use]
pub fn prove() -> bool {
    setting("LACUS_PROVE", 0) != 0
}

/// `LACUS_SEED`, or another seed each time. Print it, so that a failure can be repeated.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "a seed is where chance comes in")]
pub fn seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    setting("LACUS_SEED", now.as_secs() ^ u64::from(now.subsec_nanos()) ^ u64::from(std::process::id()) << 32)
}

/// The Python that has the clients: of the virtual environment that `tests/install.sh` makes beside the target directory.
///
/// # Panics
/// If it is not there.
#[must_use]
pub fn python() -> PathBuf {
    beside_target("venv/bin/python").expect("there is no venv beside the target directory: run tests/install.sh")
}

/// The Python that has Apache Superset: of the virtual environment that `tests/install.sh prove` makes beside the target directory.
///
/// # Panics
/// If it is not there.
#[must_use]
pub fn superset_python() -> PathBuf {
    let python = beside_target("superset-venv/bin/python");
    python.expect("there is no superset-venv beside the target directory: run tests/install.sh prove")
}

/// A file in a folder beside the target directory.
fn beside_target(file: &str) -> Option<PathBuf> {
    let program = std::env::current_exe().expect("a program knows its own path");
    program.ancestors().map(|directory| directory.join(file)).find(|path| path.is_file())
}

/// The folder with the packages of the clients in JavaScript, which `tests/install.sh` makes beside the target directory.
///
/// # Panics
/// If it is not there.
#[must_use]
pub fn node_folder() -> PathBuf {
    let program = std::env::current_exe().expect("a program knows its own path");
    let folder =
        program.ancestors().map(|directory| directory.join("node")).find(|path| path.join("node_modules").is_dir());
    folder.expect("there is no node folder beside the target directory: run tests/install.sh")
}

/// Numbers that look random and are the same for the same seed (SplitMix64).
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The sequence of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 to `end`, without `end`; zero when `end` is.
    pub fn below(&mut self, end: u64) -> u64 {
        self.number().checked_rem(end).unwrap_or(0)
    }

    /// The same things in another order.
    pub fn shuffle<T>(&mut self, things: &mut [T]) {
        for last in (1..things.len()).rev() {
            let other = self.below(last as u64 + 1);
            things.swap(last, usize::try_from(other).expect("it is below a usize"));
        }
    }
}
