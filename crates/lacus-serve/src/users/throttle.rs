//! Passwords can't be guessed fast: who was wrong too often waits.
//!
//! Each try costs some of an allowance that comes back with time; a right password gets its cost back at once. The allowance
//! is that of one user from one network: guesses of others keep nobody out who comes from elsewhere.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The cost of a wrong password: once the allowance is used up, this is the time between two attempts.
const COST: Duration = Duration::from_secs(2);
/// The allowance: ten wrong passwords in a row.
const ALLOWANCE: Duration = Duration::from_secs(20);
/// As many are remembered.
const REMEMBERED_MAX: usize = 10_000;
/// No user has a longer name: all of those count as one.
const NAME_BYTES_MAX: usize = 63;

/// Who tries.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Who {
    network: IpAddr,
    user: String,
}

/// What was tried, and by whom.
#[derive(Default)]
pub(crate) struct Throttle {
    /// When everything is paid back.
    paid_back: Mutex<HashMap<Who, Instant>>,
}

impl Who {
    pub(crate) fn new(address: IpAddr, user: &str) -> Self {
        let user = if user.len() > NAME_BYTES_MAX { "" } else { user };
        Self { network: network(address), user: user.to_owned() }
    }
}

/// The network that one person with this address may have.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address {
        // Whoever has one such address has all 2^64 of its network.
        IpAddr::V6(address) if address.to_ipv4_mapped().is_none() => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64))
        }
        address => address.to_canonical(),
    }
}

impl Throttle {
    /// Waits until one more attempt is allowed, and charges for it.
    pub(crate) async fn admit(&self, who: &Who) {
        while let Err(later) = self.charge(who, Instant::now()) {
            tokio::time::sleep(later).await;
        }
    }

    /// Refunds an attempt that was right.
    pub(crate) fn refund(&self, who: &Who) {
        let mut paid_back = self.paid_back();
        if let Some(at) = paid_back.get_mut(who) {
            *at = at.checked_sub(COST).unwrap_or(*at);
        }
    }

    fn charge(&self, who: &Who, now: Instant) -> Result<(), Duration> {
        let mut paid_back = self.paid_back();
        let at = paid_back.get(who).map_or(now, |at| now.max(*at)) + COST;
        if at > now + ALLOWANCE {
            return Err(at - now - ALLOWANCE);
        }
        if paid_back.len() >= REMEMBERED_MAX && !paid_back.contains_key(who) {
            paid_back.retain(|_, at| *at > now);
            forget_some(&mut paid_back);
        }
        paid_back.insert(who.clone(), at);
        Ok(())
    }

    fn paid_back(&self) -> MutexGuard<'_, HashMap<Who, Instant>> {
        self.paid_back.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes room by forgetting those who owe least.
fn forget_some(paid_back: &mut HashMap<Who, Instant>) {
    if paid_back.len() < REMEMBERED_MAX {
        return;
    }
    let mut times: Vec<Instant> = paid_back.values().copied().collect();
    let (_, tenth, _) = times.select_nth_unstable(REMEMBERED_MAX / 10);
    let tenth = *tenth;
    paid_back.retain(|_, at| *at > tenth);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(address: &str, user: &str) -> Who {
        Who::new(address.parse().unwrap(), user)
    }

    #[test]
    fn ten_wrong_ones_are_free_and_then_each_takes_its_time() {
        let (throttle, ada, now) = (Throttle::default(), who("10.0.0.1", "ada"), Instant::now());
        assert!((0..10).all(|_| throttle.charge(&ada, now).is_ok()));
        assert_eq!(throttle.charge(&ada, now), Err(COST));
        assert_eq!(throttle.charge(&ada, now), Err(COST), "to wait costs nothing");
        assert!(throttle.charge(&ada, now + COST).is_ok());
        assert_eq!(throttle.charge(&ada, now + COST), Err(COST));
        assert!(throttle.charge(&who("10.0.0.1", "bob"), now).is_ok(), "others don't wait");
        assert!(throttle.charge(&who("10.0.0.2", "ada"), now).is_ok(), "nor does she at another place");
        assert!((0..10).all(|_| throttle.charge(&ada, now + 20 * COST).is_ok()));
    }

    #[test]
    fn right_ones_cost_nothing() {
        let (throttle, ada, now) = (Throttle::default(), who("10.0.0.1", "ada"), Instant::now());
        for _ in 0..1000 {
            assert!(throttle.charge(&ada, now).is_ok());
            throttle.refund(&ada);
        }
    }

    #[test]
    fn a_network_of_ipv6_is_one() {
        assert_eq!(who("2001:db8::1", "ada"), who("2001:db8::ffff:1", "ada"));
        assert_ne!(who("2001:db8::1", "ada"), who("2001:db8:0:1::1", "ada"));
        assert_eq!(who("::ffff:10.0.0.1", "ada"), who("10.0.0.1", "ada"));
        assert_eq!(who("10.0.0.1", &"a".repeat(64)), who("10.0.0.1", &"b".repeat(99)));
    }

    #[test]
    fn who_owes_most_is_remembered_longest() {
        let (throttle, ada, now) = (Throttle::default(), who("10.0.0.1", "ada"), Instant::now());
        assert!((0..10).all(|_| throttle.charge(&ada, now).is_ok()));
        for number in 0..3 * REMEMBERED_MAX {
            assert!(
                throttle
                    .charge(&who("10.0.0.1", &number.to_string()), now + Duration::from_nanos(number as u64))
                    .is_ok()
            );
            assert!(throttle.paid_back().len() <= REMEMBERED_MAX);
        }
        assert!(throttle.charge(&ada, now).is_err());
    }
}
