//! What reading costs.

use serde::{Deserialize, Serialize};

/// Dollars for reading 1,024 GB, counted in thousandths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Price(u64);

impl Price {
    /// What Athena takes.
    pub const ATHENA: Self = Self(5_000);

    /// Dollars for so many bytes.
    #[must_use]
    pub fn of(self, bytes: u64) -> f64 {
        f64::from(self) * (bytes as f64 / (1_u64 << 40) as f64)
    }
}

impl TryFrom<f64> for Price {
    type Error = String;

    fn try_from(dollars: f64) -> Result<Self, String> {
        if (0.0..=1e6).contains(&dollars) {
            return Ok(Self((dollars * 1e3).round() as u64));
        }
        Err(format!("{dollars} is no price: it is between 0 and 1,000,000 dollars"))
    }
}

impl From<Price> for f64 {
    fn from(price: Price) -> Self {
        price.0 as Self / 1e3
    }
}

#[cfg(test)]
mod tests {
    use crate::Settings;

    #[test]
    fn a_price_is_of_a_terabyte() {
        let price = |text: &str| {
            Settings::load(&format!("[query]\nprice_per_tb = {text}\n"), []).map(|all| all.query.price_per_tb)
        };
        assert_eq!(price("5").unwrap().of(1 << 39), 2.5);
        assert_eq!(price("6.25").unwrap().of(1 << 40), 6.25);
        assert!(price("-1").unwrap_err().message().contains("is no price"));
    }
}
