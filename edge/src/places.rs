//! Places of which a process has so many: those of connections, and those of who reads event streams. Of one identity so
//! many; behind one address three times as many as are free. Somebody alone may then hold three quarters of all, a whole
//! office does; the more addresses hold many, the fewer each gets, and a newcomer always finds one.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use freshet_cluster::Identity;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::bearer::Access;
use crate::hops::Household;
use crate::problem::Problem;

/// Event streams that one process serves at a time, unless configured. Each costs a queue of at most
/// some hundred kilobytes when its reader is slow.
pub const ALL: usize = 8_000;
/// Event streams of one identity, unless configured.
pub const EACH: u32 = 20;

/// There is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TooMany {
    /// In this process.
    #[error("too many listeners here")]
    Here,
    /// For one identity, or for all behind one address.
    #[error("this token's identity, or your address without one, listens {0} times already")]
    OfOne(u32),
}

/// Who holds a place.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Holder {
    /// A token says who.
    Named(Identity),
    /// All behind one address (of IPv6 its /64) together.
    Behind(Household),
}

impl Holder {
    /// Whoever a token proves, else who comes from this address; nobody who could be counted without either.
    pub fn of(access: &Access, ip: Option<IpAddr>) -> Option<Self> {
        access.proven().cloned().map(Self::Named).or_else(|| ip.map(|ip| Self::Behind(ip.into())))
    }
}

impl TooMany {
    /// What a listener hears, who may come back after this time.
    pub fn problem(self, later: Duration) -> Problem {
        match self {
            Self::Here => {
                let detail = format!("{self}: come back later, another one may answer");
                Problem::unavailable("too-many-listeners", detail, later)
            }
            Self::OfOne(_) => {
                let detail = format!("{self}: end one of these streams first");
                Problem::too_many_requests(detail, later).reason("too-many-listeners")
            }
        }
    }
}

/// All places of a process.
#[derive(Debug, Clone)]
pub struct Places {
    all: Arc<Semaphore>,
    each: u32,
    held: Arc<Mutex<HashMap<Holder, u32>>>,
}

/// One place; given back when it is dropped.
#[derive(Debug)]
pub struct Place {
    _here: OwnedSemaphorePermit,
    _of_one: Option<OfOne>,
}

#[derive(Debug)]
struct OfOne {
    who: Holder,
    held: Arc<Mutex<HashMap<Holder, u32>>>,
}

/// All behind one address may hold so many times as many places as are free (alpha of the dynamic threshold of
/// Choudhury and Hahne, by which switches share their buffers).
const SHARE: usize = 3;

impl Places {
    /// `all` together, `each` of one identity (0: as many as there are).
    pub fn new(all: usize, each: u32) -> Self {
        Self { all: Arc::new(Semaphore::new(all)), each, held: Arc::default() }
    }

    /// Takes a place; who cannot be told apart is counted with all alone.
    pub fn take(&self, who: Option<&Holder>) -> Result<Place, TooMany> {
        let here = Arc::clone(&self.all).try_acquire_owned().map_err(|_| TooMany::Here)?;
        // Among the free ones counts the one that is being taken: a process with one place gives it away.
        let free = self.all.available_permits().saturating_add(1);
        let most = |who: &Holder| match who {
            Holder::Named(_) => self.each,
            Holder::Behind(_) => u32::try_from(free.saturating_mul(SHARE)).unwrap_or(u32::MAX),
        };
        let of_one = who.filter(|who| most(who) > 0).map(|who| self.of_one(who, most(who))).transpose()?;
        Ok(Place { _here: here, _of_one: of_one })
    }

    fn of_one(&self, who: &Holder, most: u32) -> Result<OfOne, TooMany> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let before = held.get(who).copied().unwrap_or(0);
        if before >= most {
            return Err(TooMany::OfOne(before));
        }
        held.insert(who.clone(), before.saturating_add(1));
        Ok(OfOne { who: who.clone(), held: Arc::clone(&self.held) })
    }

    /// Gives no more.
    pub fn close(&self) {
        self.all.close();
    }
}

impl Drop for OfOne {
    fn drop(&mut self) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = held.get_mut(&self.who) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                held.remove(&self.who);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_together_and_for_each_and_come_back() {
        let places = Places::new(5, 2);
        let [ann, bob]: [Identity; 2] = ["ann", "bob"].map(|who| who.parse().unwrap());
        let [ann, bob] = [ann, bob].map(Holder::Named);
        let first = places.take(Some(&ann)).unwrap();
        let second = places.take(Some(&ann)).unwrap();
        assert_eq!(places.take(Some(&ann)).unwrap_err(), TooMany::OfOne(2));
        let _bobs = places.take(Some(&bob)).unwrap();
        let guests = [places.take(None).unwrap(), places.take(None).unwrap()];
        assert_eq!(
            places.take(Some(&bob)).unwrap_err(),
            TooMany::Here,
            "a refusal above took no place for good"
        );
        drop(first);
        let again = places.take(Some(&ann)).unwrap();
        assert_eq!(places.held.lock().unwrap().len(), 2);
        drop((second, again, guests));
        assert_eq!(places.held.lock().unwrap().len(), 1, "who has gone is not remembered");
        let shared = Places::new(8, 2);
        let house = |n| Holder::Behind(IpAddr::from([192, 0, 2, n]).into());
        let _guests: Vec<_> = (0..6).map(|_| shared.take(Some(&house(7))).unwrap()).collect();
        assert_eq!(shared.take(Some(&house(7))).unwrap_err(), TooMany::OfOne(6));
        assert!(shared.take(Some(&ann)).is_ok(), "others find a place");
        assert_eq!(shared.held.lock().unwrap().len(), 1, "who got none is not remembered");
        let free = Places::new(50, 0);
        let _all: Vec<_> = (0..50).map(|_| free.take(Some(&ann)).unwrap()).collect();
    }

    #[test]
    fn those_behind_a_few_addresses_never_hold_all() {
        const ALL: usize = 10_000;
        for addresses in 1..=20_u8 {
            let places = Places::new(ALL, 0);
            let mut held = Vec::new();
            // Each takes what it gets, in turn, until nobody gets any more.
            loop {
                let before = held.len();
                for n in 0..addresses {
                    held.extend(places.take(Some(&Holder::Behind(IpAddr::from([192, 0, 2, n]).into()))));
                }
                if held.len() == before {
                    break;
                }
            }
            let fair = ALL * SHARE * usize::from(addresses) / (1 + SHARE * usize::from(addresses));
            assert!(
                held.len().abs_diff(fair) <= usize::from(addresses) * SHARE,
                "{addresses}: {}",
                held.len()
            );
            let newcomer = Holder::Behind(IpAddr::from([198, 51, 100, 7]).into());
            assert!(places.take(Some(&newcomer)).is_ok(), "{addresses} addresses keep out others");
        }
        let one = Places::new(1, 0);
        assert!(one.take(Some(&Holder::Behind(IpAddr::from([192, 0, 2, 7]).into()))).is_ok());
    }
}
