//! Clients that came and have no session yet: so many at once, and none of them keeps others out.
//!
//! Who they are, most prove in less than a second. When there is no room for one more, the first goes of the network that most
//! are from, as soon as it has had its time: many who say nothing make room for each other, and for everybody else. Until then
//! whoever comes waits behind those who came before, from wherever it is, and so does a request to cancel.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::users::throttle::network;

/// As many are there at once.
const ARRIVALS_MAX: usize = 64;
/// The time that each client is given in any case.
const TIME_OF_EACH: Duration = Duration::from_secs(5);

/// The clients without a session.
#[derive(Default)]
pub(crate) struct Arrivals {
    there: Mutex<There>,
    /// Notified when a client has left.
    gone: Notify,
}

#[derive(Default)]
struct There {
    next: u64,
    /// In the order they came.
    clients: BTreeMap<u64, Client>,
}

struct Client {
    network: IpAddr,
    since: Instant,
    displaced: CancellationToken,
}

/// A client without a session, until this is dropped.
pub(crate) struct Arrived {
    arrivals: Arc<Arrivals>,
    number: u64,
    /// Cancelled when it has to go.
    pub(crate) displaced: CancellationToken,
}

impl Drop for Arrived {
    fn drop(&mut self) {
        self.arrivals.there().clients.remove(&self.number);
        self.arrivals.gone.notify_one();
    }
}

impl Arrivals {
    /// Admits a client as soon as there is room.
    pub(crate) async fn arrive(self: &Arc<Self>, from: IpAddr) -> Arrived {
        loop {
            match self.let_in(from, Instant::now()) {
                Ok(arrived) => return arrived,
                Err(later) => {
                    // Either a client left or one's time is over: there may be room.
                    let _gone = tokio::time::timeout(later, self.gone.notified()).await;
                }
            }
        }
    }

    fn let_in(self: &Arc<Self>, from: IpAddr, now: Instant) -> Result<Arrived, Duration> {
        let mut there = self.there();
        if there.clients.len() >= ARRIVALS_MAX {
            there.displace(now)?;
        }
        let (number, displaced) = (there.next, CancellationToken::new());
        there.next += 1;
        there.clients.insert(number, Client { network: network(from), since: now, displaced: displaced.clone() });
        Ok(Arrived { arrivals: Arc::clone(self), number, displaced })
    }

    fn there(&self) -> MutexGuard<'_, There> {
        self.there.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl There {
    /// Displaces a client: the first of the network that most clients are from. If its time is not over yet, returns how long
    /// that takes.
    fn displace(&mut self, now: Instant) -> Result<(), Duration> {
        let mut networks: HashMap<IpAddr, (usize, u64)> = HashMap::new();
        for (number, client) in &self.clients {
            networks.entry(client.network).or_insert((0, *number)).0 += 1;
        }
        let most = networks.into_values().max_by_key(|(count, first)| (*count, Reverse(*first)));
        let Some((_, first)) = most else { return Ok(()) };
        if let Some(client) = self.clients.get(&first) {
            let until = client.since + TIME_OF_EACH;
            if until > now {
                return Err(until - now);
            }
            client.displaced.cancel();
        }
        self.clients.remove(&first);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CROWD: &str = "10.0.0.1";

    fn come(arrivals: &Arc<Arrivals>, from: &str, now: Instant) -> Result<Arrived, Duration> {
        arrivals.let_in(from.parse().unwrap(), now)
    }

    fn crowd(arrivals: &Arc<Arrivals>, count: usize, now: Instant) -> Vec<Arrived> {
        (0..count).map(|_| come(arrivals, CROWD, now).ok().unwrap()).collect()
    }

    #[test]
    fn there_is_room_when_one_has_begun_its_session() {
        let (arrivals, now) = (Arc::new(Arrivals::default()), Instant::now());
        let mut crowd = crowd(&arrivals, ARRIVALS_MAX, now);
        assert_eq!(come(&arrivals, "10.0.0.2", now).err(), Some(TIME_OF_EACH));
        crowd.pop();
        assert!(come(&arrivals, "10.0.0.2", now).is_ok());
        assert!(crowd.iter().all(|arrived| !arrived.displaced.is_cancelled()));
    }

    #[test]
    fn a_crowd_makes_room_and_others_stay() {
        let (arrivals, now) = (Arc::new(Arrivals::default()), Instant::now());
        let other = come(&arrivals, "10.0.0.2", now).ok().unwrap();
        let crowd = crowd(&arrivals, ARRIVALS_MAX - 1, now + Duration::from_secs(1));
        assert_eq!(come(&arrivals, CROWD, now + TIME_OF_EACH).err(), Some(Duration::from_secs(1)));
        let later = now + Duration::from_secs(60);
        let more: Vec<Arrived> = (0..10).map(|_| come(&arrivals, "10.0.0.3", later).ok().unwrap()).collect();
        assert!(!other.displaced.is_cancelled(), "it came first, and nobody else is from there");
        let displaced = crowd.iter().map(|arrived| arrived.displaced.is_cancelled());
        assert_eq!(displaced.filter(|is_displaced| *is_displaced).count(), more.len());
        assert!(crowd[..more.len()].iter().all(|arrived| arrived.displaced.is_cancelled()), "the first of them");
        assert!(more.iter().all(|arrived| !arrived.displaced.is_cancelled()));
        drop((crowd, more, other));
        assert!(arrivals.there().clients.is_empty());
    }

    #[tokio::test]
    async fn who_comes_waits_until_there_is_room() {
        let (arrivals, began) = (Arc::new(Arrivals::default()), Instant::now());
        let mut crowd = crowd(&arrivals, ARRIVALS_MAX, began);
        let one_goes = async {
            tokio::task::yield_now().await;
            assert_eq!(arrivals.there().clients.len(), ARRIVALS_MAX, "nobody else is there yet");
            drop(crowd.pop());
        };
        let (_arrived, ()) = tokio::join!(arrivals.arrive("10.0.0.2".parse().unwrap()), one_goes);
        assert!(began.elapsed() < TIME_OF_EACH, "it did not wait longer");
    }
}
