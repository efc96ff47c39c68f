//! A table with stable small indices, so that hot paths need no hashing; where things stand in it by name; and sets of them.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;

/// Values by index; a removed value's index is used again. The list is of pointers: values are large, do not move when it
/// grows, and the way to one goes through memory that the way to the others has fetched.
pub struct Table<T> {
    slots: Vec<Option<Box<T>>>,
    free: Vec<usize>,
    /// Places that have been looked at since there is this.
    #[cfg(test)]
    pub looked: std::cell::Cell<u64>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            #[cfg(test)]
            looked: std::cell::Cell::new(0),
        }
    }
}

impl<T> Table<T> {
    /// Puts a value in and returns its index.
    pub fn insert(&mut self, value: T) -> usize {
        if let Some(at) = self.free.pop()
            && let Some(slot) = self.slots.get_mut(at)
        {
            *slot = Some(Box::new(value));
            return at;
        }
        self.slots.push(Some(Box::new(value)));
        self.slots.len().saturating_sub(1)
    }

    /// Takes a value out.
    pub fn remove(&mut self, at: usize) -> Option<T> {
        let value = self.slots.get_mut(at)?.take()?;
        self.free.push(at);
        Some(*value)
    }

    /// A value by index.
    pub fn get(&self, at: usize) -> Option<&T> {
        #[cfg(test)]
        self.looked.update(|looked| looked + 1);
        self.slots.get(at)?.as_deref()
    }

    /// A value by index.
    pub fn get_mut(&mut self, at: usize) -> Option<&mut T> {
        #[cfg(test)]
        self.looked.update(|looked| looked + 1);
        self.slots.get_mut(at)?.as_deref_mut()
    }

    /// Values that are in.
    pub fn len(&self) -> usize {
        self.slots.len().saturating_sub(self.free.len())
    }

    /// All values with their indices.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (usize, &mut T)> {
        #[cfg(test)]
        self.looked.update(|looked| looked + self.slots.len() as u64);
        self.slots
            .iter_mut()
            .enumerate()
            .filter_map(|(at, slot)| slot.as_deref_mut().map(|value| (at, value)))
    }
}

/// Where things stand by a name of theirs. It can be asked and not gone through: who finds something by it has not
/// searched.
pub struct Index<K>(HashMap<K, usize>);

impl<K> Default for Index<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + Hash> Index<K> {
    /// Where what has this name stands.
    pub fn get<Q: Eq + Hash + ?Sized>(&self, name: &Q) -> Option<usize>
    where
        K: Borrow<Q>,
    {
        self.0.get(name).copied()
    }

    /// What has this name stands here now. Returns where it stood.
    pub fn insert(&mut self, name: K, at: usize) -> Option<usize> {
        self.0.insert(name, at)
    }

    /// Names that there are.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Nothing has this name any more. Returns where it stood.
    pub fn remove<Q: Eq + Hash + ?Sized>(&mut self, name: &Q) -> Option<usize>
    where
        K: Borrow<Q>,
    {
        self.0.remove(name)
    }
}

/// A set that is gone through as a list, in any order, and that one leaves without a look at the others.
pub struct Bag<T> {
    list: Vec<T>,
    places: HashMap<T, usize>,
    /// Entries that have been looked at since there is this.
    #[cfg(test)]
    pub looked: std::cell::Cell<u64>,
}

impl<T> Default for Bag<T> {
    fn default() -> Self {
        Self {
            list: Vec::new(),
            places: HashMap::new(),
            #[cfg(test)]
            looked: std::cell::Cell::new(0),
        }
    }
}

impl<T: Copy + Eq + Hash> Bag<T> {
    /// Puts a value in, unless it is in.
    pub fn insert(&mut self, value: T) {
        if let Entry::Vacant(place) = self.places.entry(value) {
            place.insert(self.list.len());
            self.list.push(value);
        }
    }

    /// Takes a value out, if it is in; the last one takes its place.
    pub fn remove(&mut self, value: &T) {
        let Some(place) = self.places.remove(value) else { return };
        self.look(2);
        self.list.swap_remove(place);
        if let Some(moved) = self.list.get(place) {
            self.places.insert(*moved, place);
        }
    }

    /// All values.
    pub fn list(&self) -> &[T] {
        self.look(self.list.len());
        &self.list
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The list, while who goes through it needs what it lies in. Until it is given back nothing is put in or taken out.
    pub fn lend(&mut self) -> Vec<T> {
        std::mem::take(&mut self.list)
    }

    /// Gives the list back.
    pub fn give_back(&mut self, list: Vec<T>) {
        self.list = list;
    }

    #[cfg(test)]
    fn look(&self, entries: usize) {
        self.looked.update(|looked| looked + entries as u64);
    }

    #[cfg(not(test))]
    fn look(&self, _: usize) {}
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_bag_is_a_set(steps in prop::collection::vec((any::<bool>(), 0..20u8), 0..200)) {
            let (mut bag, mut set) = (Bag::default(), BTreeSet::new());
            for (comes, value) in steps {
                if comes {
                    bag.insert(value);
                    set.insert(value);
                } else {
                    bag.remove(&value);
                    set.remove(&value);
                }
                prop_assert_eq!((bag.len(), bag.is_empty()), (set.len(), set.is_empty()));
                let mut list = bag.list().to_vec();
                list.sort_unstable();
                prop_assert!(list.iter().eq(&set), "{:?} {:?}", list, set);
                prop_assert!(bag.list().iter().enumerate().all(|(place, value)| bag.places[value] == place));
            }
        }
    }
}
