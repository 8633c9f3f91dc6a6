//! The memory that evidence may take: charged as bytes arrive, for all searches together and for each alone.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::time::Instant;

use super::FetchErrorKind;

/// The bytes of manifests and evidence that all searches together may hold.
#[derive(Clone, Debug)]
pub struct Memory {
    left: Arc<AtomicU64>,
}

impl Memory {
    /// So many bytes.
    #[must_use]
    pub fn new(bytes: u64) -> Self {
        Self { left: Arc::new(AtomicU64::new(bytes)) }
    }

    /// A share of it, of at most `max_bytes`, of which nothing is taken yet.
    #[must_use]
    pub fn share(&self, max_bytes: u64) -> Held {
        Held(Arc::new(Share { memory: self.clone(), max_bytes, bytes: AtomicU64::new(0) }))
    }
}

/// What one search holds of the [`Memory`]: given back when the last clone is dropped.
#[derive(Clone, Debug)]
pub struct Held(Arc<Share>);

#[derive(Debug)]
struct Share {
    memory: Memory,
    max_bytes: u64,
    bytes: AtomicU64,
}

impl Held {
    /// Takes `bytes` more. Nobody waits here: two searches that wait for each other's memory would wait for ever.
    ///
    /// # Errors
    /// `TooLarge` where this share would have more than it may, `Busy` where so much is not left for all.
    pub fn take(&self, bytes: u64) -> Result<(), FetchErrorKind> {
        let Share { memory, max_bytes, bytes: taken } = &*self.0;
        let more = |taken: u64| taken.checked_add(bytes).filter(|taken| taken <= max_bytes);
        if taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_err() {
            return Err(FetchErrorKind::TooLarge { max_bytes: *max_bytes });
        }
        let less = |left: u64| left.checked_sub(bytes);
        if memory.left.fetch_update(Ordering::AcqRel, Ordering::Acquire, less).is_err() {
            taken.fetch_sub(bytes, Ordering::AcqRel);
            return Err(FetchErrorKind::Busy);
        }
        Ok(())
    }

    fn give_back(&self, bytes: u64) {
        self.0.bytes.fetch_sub(bytes, Ordering::AcqRel);
        self.0.memory.left.fetch_add(bytes, Ordering::AcqRel);
    }

    /// Begins to read something: what it takes is given back unless [`Reading::keep`] is called.
    #[must_use]
    pub fn reading(&self) -> Reading<'_> {
        Reading { held: self, bytes: 0 }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.memory.left.fetch_add(*self.bytes.get_mut(), Ordering::AcqRel);
    }
}

/// Something that is being read.
#[derive(Debug)]
pub struct Reading<'a> {
    held: &'a Held,
    bytes: u64,
}

impl Reading<'_> {
    /// Takes memory for `bytes` that have arrived.
    ///
    /// # Errors
    /// As [`Held::take`].
    pub fn arrived(&mut self, bytes: u64) -> Result<(), FetchErrorKind> {
        self.held.take(bytes)?;
        self.bytes += bytes;
        Ok(())
    }

    /// It was read to its end: it stays as long as the search.
    pub fn keep(mut self) {
        self.bytes = 0;
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.held.give_back(self.bytes);
        }
    }
}

/// What a call to a source may take.
#[derive(Clone, Debug)]
pub struct Call {
    /// When it has to be over.
    pub deadline: Instant,
    /// The memory for what it reads.
    pub held: Held,
}

impl Call {
    /// A call that ends by `deadline`, and whose memory is bounded by the caps alone.
    #[must_use]
    pub fn until(deadline: Instant) -> Self {
        Self { deadline, held: Memory::new(u64::MAX).share(u64::MAX) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(memory: &Memory) -> u64 {
        memory.left.load(Ordering::Acquire)
    }

    #[test]
    fn what_was_taken_is_given_back() {
        let memory = Memory::new(100);
        let held = memory.share(80);
        assert_eq!(held.take(60), Ok(()));
        assert_eq!(held.take(21), Err(FetchErrorKind::TooLarge { max_bytes: 80 }));
        let other = memory.share(80);
        assert_eq!(other.take(41), Err(FetchErrorKind::Busy));
        assert_eq!((other.take(40), left(&memory)), (Ok(()), 0));
        let clone = held.clone();
        drop(held);
        assert_eq!(left(&memory), 0);
        drop(clone);
        assert_eq!(left(&memory), 60);
        let mut broken = other.reading();
        broken.arrived(30).unwrap();
        assert_eq!(left(&memory), 30);
        drop(broken);
        let mut whole = other.reading();
        whole.arrived(20).unwrap();
        whole.keep();
        assert_eq!(left(&memory), 40);
        drop(other);
        assert_eq!(left(&memory), 100);
    }
}
