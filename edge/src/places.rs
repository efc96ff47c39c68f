//! Places of those who read event streams: so many of one process, and so many of one identity.

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

/// There are too many listeners already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TooMany {
    /// Of this process.
    #[error("too many listeners here")]
    Here,
    /// Of one identity, or of all guests behind one address.
    #[error("this token's identity, or your address without one, listens {0} times already")]
    OfOne(u32),
}

/// Who listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Listener {
    /// A token says who.
    Named(Identity),
    /// A guest: all behind one address (of IPv6 its /64) together.
    Behind(Household),
}

impl Listener {
    /// Whoever a token proves, else who comes from this address; nobody who could be counted without either.
    pub fn of(access: &Access, ip: Option<IpAddr>) -> Option<Self> {
        access.proven().cloned().map(Self::Named).or_else(|| ip.map(|ip| Self::Behind(ip.into())))
    }
}

impl TooMany {
    /// What a client hears, who may come back after this time.
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
    /// Of guests behind one address: three quarters of all, so that they never keep the others out.
    behind_one: u32,
    held: Arc<Mutex<HashMap<Listener, u32>>>,
}

/// One listener's place; given back when it is dropped.
#[derive(Debug)]
pub struct Place {
    _here: OwnedSemaphorePermit,
    _of_one: Option<OfOne>,
}

#[derive(Debug)]
struct OfOne {
    who: Listener,
    held: Arc<Mutex<HashMap<Listener, u32>>>,
}

impl Places {
    /// `all` together, `each` of one identity (0: as many as there are).
    pub fn new(all: usize, each: u32) -> Self {
        let behind_one = u32::try_from(all.saturating_sub(all / 4)).unwrap_or(u32::MAX);
        Self { all: Arc::new(Semaphore::new(all)), each, behind_one, held: Arc::default() }
    }

    /// Takes a place; who cannot be told apart is counted with all alone.
    pub fn take(&self, who: Option<&Listener>) -> Result<Place, TooMany> {
        let here = Arc::clone(&self.all).try_acquire_owned().map_err(|_| TooMany::Here)?;
        let most = |who: &Listener| match who {
            Listener::Named(_) => self.each,
            Listener::Behind(_) => self.behind_one,
        };
        let of_one = who.filter(|who| most(who) > 0).map(|who| self.of_one(who, most(who))).transpose()?;
        Ok(Place { _here: here, _of_one: of_one })
    }

    fn of_one(&self, who: &Listener, most: u32) -> Result<OfOne, TooMany> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let count = held.entry(who.clone()).or_default();
        if *count >= most {
            return Err(TooMany::OfOne(most));
        }
        *count = count.saturating_add(1);
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
        let [ann, bob] = [ann, bob].map(Listener::Named);
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
        let house = Listener::Behind(IpAddr::from([192, 0, 2, 7]).into());
        let _guests: Vec<_> = (0..6).map(|_| shared.take(Some(&house)).unwrap()).collect();
        assert_eq!(shared.take(Some(&house)).unwrap_err(), TooMany::OfOne(6));
        assert!(shared.take(Some(&ann)).is_ok(), "others find a place");
        let free = Places::new(50, 0);
        let _all: Vec<_> = (0..50).map(|_| free.take(Some(&ann)).unwrap()).collect();
    }
}
