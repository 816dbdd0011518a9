//! Where an account keeps what it was given to run: in the order of creation, and by id. What a batch is, is its provider's affair.

use crate::clock::VirtualMs;
use crate::rng::mix;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Something that was created and has an id.
pub(crate) trait Kept {
    fn id(&self) -> &str;
    fn created_ms(&self) -> VirtualMs;
}

#[derive(Debug)]
pub(crate) struct Shelf<T> {
    inner: Mutex<Inner<T>>,
}

#[derive(Debug)]
struct Inner<T> {
    order: Vec<Arc<T>>,
    by_id: HashMap<String, Arc<T>>,
    ordinals: u64,
}

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Self { inner: Mutex::new(Inner { order: Vec::new(), by_id: HashMap::new(), ordinals: 0 }) }
    }
}

impl<T: Kept> Inner<T> {
    fn keep(&mut self, kept: T) -> Arc<T> {
        let kept = Arc::new(kept);
        self.order.push(kept.clone());
        self.by_id.insert(kept.id().to_owned(), kept.clone());
        kept
    }
}

impl<T: Kept> Shelf<T> {
    fn inner(&self) -> MutexGuard<'_, Inner<T>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `make` is told the position in the order of creation, by which faults are drawn.
    pub(crate) fn add(&self, make: impl FnOnce(u64) -> T) -> Arc<T> {
        let mut inner = self.inner();
        inner.ordinals += 1;
        let ordinal = inner.ordinals - 1;
        inner.keep(make(ordinal))
    }

    /// One of somebody else in the same account: no fault is drawn for it, and it moves no other's.
    pub(crate) fn add_foreign(&self, make: impl FnOnce(u64) -> T) -> Arc<T> {
        let mut inner = self.inner();
        let ordinal = mix(inner.order.len() as u64) | 1 << 63;
        inner.keep(make(ordinal))
    }

    pub(crate) fn get(&self, id: &str) -> Option<Arc<T>> {
        self.inner().by_id.get(id).cloned()
    }

    pub(crate) fn remove(&self, id: &str) {
        let mut inner = self.inner();
        inner.order.retain(|kept| kept.id() != id);
        inner.by_id.remove(id);
    }

    /// Oldest first; those younger than the lag are left out.
    pub(crate) fn visible(&self, now_ms: VirtualMs, lag_ms: u64) -> Vec<Arc<T>> {
        let shows = |kept: &&Arc<T>| kept.created_ms().saturating_add(lag_ms) <= now_ms;
        self.inner().order.iter().filter(shows).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[derive(Debug)]
    struct Thing(&'static str, u64, u64);

    impl Kept for Thing {
        fn id(&self) -> &str {
            self.0
        }
        fn created_ms(&self) -> VirtualMs {
            self.1
        }
    }

    #[test]
    fn others_move_no_ordinal_and_the_young_are_not_seen() {
        let shelf = Shelf::default();
        assert_eq!(shelf.add(|ordinal| Thing("a", 10, ordinal)).2, 0);
        assert!(shelf.add_foreign(|ordinal| Thing("theirs", 11, ordinal)).2 >= 1 << 63);
        assert_eq!(shelf.add(|ordinal| Thing("b", 20, ordinal)).2, 1);
        let seen = |now, lag| shelf.visible(now, lag).iter().map(|thing| thing.0).collect::<Vec<_>>();
        assert_eq!((seen(20, 0), seen(20, 9)), (vec!["a", "theirs", "b"], vec!["a", "theirs"]));
        assert_eq!(shelf.get("b").unwrap().1, 20);
        shelf.remove("a");
        assert!(shelf.get("a").is_none() && seen(20, 0) == ["theirs", "b"]);
        // What is gone counts all the same.
        assert_eq!(shelf.add(|ordinal| Thing("c", 30, ordinal)).2, 2);
    }
}
