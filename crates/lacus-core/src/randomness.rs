//! Randomness of the machine, for what nobody may guess: keys, passwords, salts. What a test has to replay takes dice with a
//! seed.

use crate::error::{Error, Result};

/// Bytes that nobody can guess.
///
/// # Errors
/// [`Kind::Unavailable`](crate::Kind::Unavailable) if the machine has none to give.
pub fn random<const COUNT: usize>() -> Result<[u8; COUNT]> {
    let mut bytes = [0; COUNT];
    getrandom::fill(&mut bytes)
        .map_err(|error| Error::unavailable(format!("no randomness from the machine: {error}")))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_are_the_same() {
        assert_ne!(random::<32>().unwrap(), random::<32>().unwrap());
    }
}
