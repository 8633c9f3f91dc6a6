//! Polling again at once what woke itself.
//!
//! hyper passes a request's body to the service through a channel whose two ends are polled by one task, so that
//! reading a body wakes the very task that reads. The scheduler takes such a task for one that yields: it
//! puts it at the end of the line and wakes another thread, which then takes it over. That is a good part
//! of what a small request costs. Here the task is polled once more in place, as often as it usually takes.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use futures::task::AtomicWaker;

/// Polls in a row before others get their turn.
const MAX_POLLS: usize = 8;

/// Nobody polls; whoever wakes has to pass it on.
const IDLE: u8 = 0;
/// Being polled.
const POLLING: u8 = 1;
/// Woken: while polled, or, from idle, with the wake passed on.
const WOKEN: u8 = 2;

/// A future that is polled again where it stands when it was woken while it was polled.
pub(super) struct Repoll<F> {
    future: Pin<Box<F>>,
    relay: Arc<Relay>,
    waker: Waker,
}

struct Relay {
    state: AtomicU8,
    outer: AtomicWaker,
}

impl<F: Future> Repoll<F> {
    pub(super) fn new(future: F) -> Self {
        let relay = Arc::new(Relay { state: AtomicU8::new(IDLE), outer: AtomicWaker::new() });
        let waker = Waker::from(Arc::clone(&relay));
        Self { future: Box::pin(future), relay, waker }
    }
}

impl Wake for Relay {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.state.swap(WOKEN, Ordering::AcqRel) == IDLE {
            self.outer.wake();
        }
    }
}

impl<F: Future> Future for Repoll<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let Self { future, relay, waker } = &mut *self;
        relay.outer.register(cx.waker());
        for _ in 0..MAX_POLLS {
            relay.state.store(POLLING, Ordering::Release);
            if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(waker)) {
                return Poll::Ready(output);
            }
            if relay.state.compare_exchange(POLLING, IDLE, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                return Poll::Pending;
            }
        }
        // Still woken, and so nobody else passes it on.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, sync::atomic::AtomicUsize};

    use super::*;

    /// Wakes itself so many times before it is ready; counts how often it was polled.
    fn restless(times: usize, polls: &Arc<AtomicUsize>) -> impl Future<Output = ()> + use<> {
        let polls = Arc::clone(polls);
        poll_fn(move |cx| {
            if polls.fetch_add(1, Ordering::SeqCst) < times {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Poll::Ready(())
        })
    }

    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn what_woke_itself_is_polled_in_place() {
        let (polls, count) = (Arc::new(AtomicUsize::new(0)), Arc::new(Count(AtomicUsize::new(0))));
        let waker = Waker::from(Arc::clone(&count));
        let mut repoll = Box::pin(Repoll::new(restless(MAX_POLLS - 1, &polls)));
        assert!(repoll.as_mut().poll(&mut Context::from_waker(&waker)).is_ready());
        assert_eq!((polls.load(Ordering::SeqCst), count.0.load(Ordering::SeqCst)), (MAX_POLLS, 0));
    }

    #[test]
    fn what_never_rests_lets_others_have_their_turn() {
        let (polls, count) = (Arc::new(AtomicUsize::new(0)), Arc::new(Count(AtomicUsize::new(0))));
        let waker = Waker::from(Arc::clone(&count));
        let mut repoll = Box::pin(Repoll::new(restless(MAX_POLLS, &polls)));
        assert!(repoll.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        assert_eq!((polls.load(Ordering::SeqCst), count.0.load(Ordering::SeqCst)), (MAX_POLLS, 1));
        assert!(repoll.as_mut().poll(&mut Context::from_waker(&waker)).is_ready());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn no_wake_is_lost() {
        let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
        let reader = tokio::spawn(Repoll::new(async move {
            let mut sum = 0;
            while let Some(number) = receiver.recv().await {
                sum += number;
            }
            sum
        }));
        for number in 1..=10_000_u64 {
            sender.send(number).await.unwrap();
        }
        drop(sender);
        assert_eq!(reader.await.unwrap(), 50_005_000);
    }
}
