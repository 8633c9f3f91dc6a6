//! Single flight: work that is under way is joined, not repeated.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
};

use futures::{FutureExt as _, future::Shared};

use crate::registry::BoxFuture;

/// The outcome of a flight, `None` when its task died.
type Outcome<V> = Shared<BoxFuture<'static, Option<V>>>;

/// Work under way, by key.
pub(super) struct Flights<K, V: Clone> {
    max: usize,
    under_way: Arc<Mutex<HashMap<K, Outcome<V>>>>,
}

/// A flight that was joined or started.
pub(super) struct Flight<V: Clone> {
    /// What it comes to.
    pub(super) outcome: Outcome<V>,
    /// Whether it was already under way.
    pub(super) joined: bool,
}

impl<K, V> Flights<K, V>
where
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    pub(super) fn new(max: usize) -> Self {
        Self { max, under_way: Arc::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Joins the flight of `key` or starts one, in a task of its own: it goes on when nobody waits any more.
    /// `None` when there are too many.
    pub(super) fn join(&self, key: K, work: impl FnOnce() -> BoxFuture<'static, V>) -> Option<Flight<V>> {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(outcome) = under_way.get(&key) {
            return Some(Flight { outcome: outcome.clone(), joined: true });
        }
        if under_way.len() >= self.max {
            return None;
        }
        let task = tokio::spawn(work());
        let landing = Landing { key: key.clone(), under_way: Arc::clone(&self.under_way) };
        let outcome = async move {
            let outcome = task.await.ok();
            drop(landing);
            outcome
        };
        // The waiter above must run even when nobody awaits the outcome, or the key would stay for ever.
        let outcome = outcome.boxed().shared();
        tokio::spawn(outcome.clone());
        under_way.insert(key, outcome.clone());
        Some(Flight { outcome, joined: false })
    }
}

/// Removes its key when the flight is over, however it ended.
struct Landing<K: Eq + Hash, V: Clone> {
    key: K,
    under_way: Arc<Mutex<HashMap<K, Outcome<V>>>>,
}

impl<K: Eq + Hash, V: Clone> Drop for Landing<K, V> {
    fn drop(&mut self) {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        time::Duration,
    };

    use super::*;

    #[tokio::test]
    async fn equal_work_is_done_once_and_then_forgotten() {
        let flights = Flights::new(2);
        let runs = Arc::new(AtomicUsize::new(0));
        let work = |runs: &Arc<AtomicUsize>| {
            let runs = Arc::clone(runs);
            move || {
                async move {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    runs.fetch_add(1, Ordering::SeqCst)
                }
                .boxed() as BoxFuture<'static, usize>
            }
        };
        let first = flights.join("a", work(&runs)).expect("room");
        let second = flights.join("a", work(&runs)).expect("room");
        assert!(!first.joined && second.joined);
        let other = flights.join("b", work(&runs)).expect("room");
        assert!(flights.join("c", work(&runs)).is_none(), "no room for a third");
        assert_eq!(first.outcome.await, second.outcome.await);
        other.outcome.await;
        assert_eq!((runs.load(Ordering::SeqCst), flights.len()), (2, 0));
    }

    #[tokio::test]
    async fn a_panic_is_an_outcome() {
        let flights: Flights<&str, ()> = Flights::new(1);
        let flight = flights.join("a", || async { panic!("as tests may") }.boxed()).expect("room");
        assert_eq!(flight.outcome.await, None);
        assert_eq!(flights.len(), 0);
    }
}
