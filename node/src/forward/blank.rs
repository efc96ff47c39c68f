//! Memory without a trace of what stood in it.

/// A list without an item in it, and without a trace of those that were.
#[derive(Debug)]
pub struct Blank<T>(Vec<T>);

impl<T> Default for Blank<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Blank<T> {
    /// There is memory in it.
    pub fn has_memory(&self) -> bool {
        self.0.capacity() > 0
    }
}

impl<T: Clone + Default> Blank<T> {
    /// Of a list: all of its memory is overwritten.
    pub fn of(mut list: Vec<T>) -> Self {
        list.clear();
        list.resize(list.capacity(), T::default());
        list.clear();
        Self(list)
    }

    /// The list.
    pub fn into_list(self) -> Vec<T> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local! {
        static WRITTEN: Cell<usize> = const { Cell::new(0) };
    }

    /// Counts how often it is written.
    #[derive(Default)]
    struct Counted(#[expect(dead_code, reason = "gives it a size")] u64);

    impl Clone for Counted {
        fn clone(&self) -> Self {
            WRITTEN.set(WRITTEN.get() + 1);
            Self(0)
        }
    }

    #[test]
    fn all_memory_of_a_list_is_overwritten_and_stays_where_it_is() {
        let mut list: Vec<u64> = (1..=64).collect();
        list.truncate(9);
        let place = list.as_ptr();
        let list = Blank::of(list).into_list();
        assert_eq!((list.as_ptr(), list.len(), list.capacity()), (place, 0, 64));
        let mut list: Vec<Counted> = (0..64).map(Counted).collect();
        list.truncate(9);
        let list = Blank::of(list).into_list();
        assert_eq!((WRITTEN.get() + 1, list.capacity()), (64, 64), "the last one is moved there");
    }
}
