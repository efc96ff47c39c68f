//! A table with stable small indices, so that hot paths need no hashing; and where things stand in it by name.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;

/// Values by index; a removed value's index is used again.
pub struct Table<T> {
    slots: Vec<Option<T>>,
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
            *slot = Some(value);
            return at;
        }
        self.slots.push(Some(value));
        self.slots.len().saturating_sub(1)
    }

    /// Takes a value out.
    pub fn remove(&mut self, at: usize) -> Option<T> {
        let value = self.slots.get_mut(at)?.take()?;
        self.free.push(at);
        Some(value)
    }

    /// A value by index.
    pub fn get(&self, at: usize) -> Option<&T> {
        #[cfg(test)]
        self.looked.update(|looked| looked + 1);
        self.slots.get(at)?.as_ref()
    }

    /// A value by index.
    pub fn get_mut(&mut self, at: usize) -> Option<&mut T> {
        #[cfg(test)]
        self.looked.update(|looked| looked + 1);
        self.slots.get_mut(at)?.as_mut()
    }

    /// Values that are in.
    pub fn len(&self) -> usize {
        self.slots.len().saturating_sub(self.free.len())
    }

    /// All values with their indices.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (usize, &mut T)> {
        #[cfg(test)]
        self.looked.update(|looked| looked + self.slots.len() as u64);
        self.slots.iter_mut().enumerate().filter_map(|(at, slot)| slot.as_mut().map(|value| (at, value)))
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
