//! `get_or_insert_with` and its like: of all callers that miss a key at the same time, one computes the value.
//!
//! The protocol is in `single_flight/`.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use super::cache::Cache;
use super::single_flight::{Joined, Leader, Waited};
use crate::clock::Clock;

/// What a caller has, short of a value.
enum Next<'a, V, E> {
    Done(Result<V, Arc<E>>),
    Lead(Leader<'a, V>),
    /// The leader failed with an error of another type.
    Again,
}

impl<V: Clone, C: Clock> Cache<V, C> {
    /// Returns the value of a live entry, or computes and stores one, which expires after `ttl`, or never if that is `None`.
    ///
    /// Of all threads and tasks that miss the key at the same time, one runs `compute`, the leader; the others wait, and get its value.
    ///
    /// ```
    /// # use nearcache::local::Cache;
    /// # use std::sync::atomic::{AtomicU32, Ordering};
    /// # use std::time::Duration;
    /// let cache = Cache::builder().max_entries(10).build();
    /// let computed = AtomicU32::new(0);
    /// std::thread::scope(|scope| {
    ///     for _ in 0..8 {
    ///         scope.spawn(|| {
    ///             let page = cache.get_or_insert_with(b"/", Some(Duration::from_secs(60)), || {
    ///                 computed.fetch_add(1, Ordering::Relaxed);
    ///                 "<h1>Hello</h1>"
    ///             });
    ///             assert_eq!(page, "<h1>Hello</h1>");
    ///         });
    ///     }
    /// });
    /// assert_eq!(computed.into_inner(), 1);
    /// ```
    ///
    /// - If the key is written or removed meanwhile, leader and waiters get the value, but it is not stored. Callers that come after
    ///   that write do not wait for this computation.
    /// - If the leader panics, the waiter that has waited longest leads.
    /// - If `compute` asks for the same key again, or for one whose computation needs this key, that call computes at once,
    ///   because waiting would never end. This covers other threads and tasks, and other caches. It does not cover
    ///   threads and tasks that `compute` itself starts and waits for: these must not ask for the key.
    /// - A value that cannot be stored, because it is too heavy or there is no memory, is returned all the same.
    ///
    /// A hit costs what [`get`](Self::get) costs. A miss takes the shard lock three times, one of them to store the value. `compute` runs
    /// with nothing locked.
    ///
    /// A waiter waits however long the leader takes. [`RawCache::join`](super::RawCache::join) takes a timeout.
    ///
    /// In asynchronous code use [`get_or_insert_async`](Self::get_or_insert_async): this method blocks the thread, and the leader may
    /// be a task that needs it.
    pub fn get_or_insert_with(&self, key: &[u8], ttl: Option<Duration>, compute: impl FnOnce() -> V) -> V {
        let computed = self.try_get_or_insert_with(key, ttl, || Ok::<_, Infallible>(compute()));
        computed.unwrap_or_else(|error| match *error {})
    }

    /// Returns the value of a live entry, or computes and stores one, as [`get_or_insert_with`](Self::get_or_insert_with) does. If `compute`
    /// fails, its error goes to all callers that waited for it.
    ///
    /// ```
    /// # use nearcache::local::Cache;
    /// let cache = Cache::builder().max_entries(10).build();
    /// let answer = cache.try_get_or_insert_with(b"answer", None, || "42".parse::<u32>());
    /// assert_eq!(answer, Ok(42));
    /// let error = cache.try_get_or_insert_with(b"other", None, || "x".parse::<u32>());
    /// assert!(error.is_err());
    /// assert!(!cache.contains(b"other"));
    /// ```
    ///
    /// A waiter whose error type is another one than the leader's computes for itself, or waits for the next leader.
    ///
    /// # Errors
    ///
    /// The error of `compute`, in an [`Arc`] because several callers may get it. Nothing is stored. The next caller computes again.
    pub fn try_get_or_insert_with<E>(
        &self,
        key: &[u8],
        ttl: Option<Duration>,
        compute: impl FnOnce() -> Result<V, E>,
    ) -> Result<V, Arc<E>>
    where
        E: Send + Sync + 'static,
    {
        loop {
            let next = match self.raw.join(key, &self.clock) {
                Joined::Hit(value) => return Ok(value),
                Joined::Leader(leader) => Next::Lead(leader),
                Joined::Waiter(waiter) => after_wait(waiter.wait(None)),
            };
            match next {
                Next::Done(result) => return result,
                Next::Lead(leader) => {
                    let result = leader.run(compute);
                    return self.finish(leader, key, ttl, result);
                }
                Next::Again => {}
            }
        }
    }

    /// Returns the value of a live entry, or computes and stores one, as [`get_or_insert_with`](Self::get_or_insert_with) does, without
    /// blocking the thread.
    ///
    /// Works with every runtime, and with none: waiting tasks are woken by their wakers. Tasks and threads wait for each other's computations.
    /// `compute` is called, and its future polled, only if the caller leads. If the leader's future is dropped, the waiter that has waited
    /// longest leads.
    ///
    /// ```
    /// # use nearcache::local::Cache;
    /// # use std::{pin::pin, task::{Context, Poll, Waker}};
    /// async fn render() -> &'static str {
    ///     "<h1>Hello</h1>"
    /// }
    ///
    /// let cache = Cache::builder().max_entries(10).build();
    /// let page = pin!(cache.get_or_insert_async(b"/", None, render));
    /// // A runtime does this:
    /// let page = page.poll(&mut Context::from_waker(Waker::noop()));
    /// assert_eq!(page, Poll::Ready("<h1>Hello</h1>"));
    /// ```
    ///
    /// A task that stops polling the leader's future, but keeps it, keeps the waiters waiting.
    pub async fn get_or_insert_async<F>(
        &self,
        key: &[u8],
        ttl: Option<Duration>,
        compute: impl FnOnce() -> F,
    ) -> V
    where
        F: Future<Output = V>,
    {
        let compute = || {
            let computation = compute();
            async move { Ok::<_, Infallible>(computation.await) }
        };
        let computed = self.try_get_or_insert_async(key, ttl, compute).await;
        computed.unwrap_or_else(|error| match *error {})
    }

    /// Returns the value of a live entry, or computes and stores one, as [`get_or_insert_async`](Self::get_or_insert_async) does. If the
    /// computation fails, its error goes to all callers that waited for it, as with
    /// [`try_get_or_insert_with`](Self::try_get_or_insert_with).
    ///
    /// # Errors
    ///
    /// The error of the computation. Nothing is stored. The next caller computes again.
    pub async fn try_get_or_insert_async<E, F>(
        &self,
        key: &[u8],
        ttl: Option<Duration>,
        compute: impl FnOnce() -> F,
    ) -> Result<V, Arc<E>>
    where
        E: Send + Sync + 'static,
        F: Future<Output = Result<V, E>>,
    {
        loop {
            let next = match self.raw.join(key, &self.clock) {
                Joined::Hit(value) => return Ok(value),
                Joined::Leader(leader) => Next::Lead(leader),
                Joined::Waiter(mut waiter) => after_wait(poll_fn(|context| waiter.poll(context)).await),
            };
            match next {
                Next::Done(result) => return result,
                Next::Lead(leader) => {
                    // Declared after the leader, so that the next one leads only when this computation is dropped.
                    let mut computation = pin!(leader.run(compute));
                    let result = poll_fn(|context| leader.poll(computation.as_mut(), context)).await;
                    return self.finish(leader, key, ttl, result);
                }
                Next::Again => {}
            }
        }
    }

    /// Hands the result of a computation to the waiters, stores a value, and returns the result.
    fn finish<E>(
        &self,
        leader: Leader<'_, V>,
        key: &[u8],
        ttl: Option<Duration>,
        result: Result<V, E>,
    ) -> Result<V, Arc<E>>
    where
        E: Send + Sync + 'static,
    {
        match result {
            Ok(value) => {
                let new = self.new_entry(key, value.clone(), ttl);
                // A value that cannot be stored is returned all the same.
                let _ = leader.complete(new, &self.capacity, &self.clock);
                Ok(value)
            }
            Err(error) => {
                let error = Arc::new(error);
                leader.fail(Arc::<E>::clone(&error));
                Err(error)
            }
        }
    }
}

/// Tells a waiter what to do next.
fn after_wait<V, E>(waited: Waited<'_, V>) -> Next<'_, V, E>
where
    E: Send + Sync + 'static,
{
    match waited {
        Waited::Value(value) => Next::Done(Ok(value)),
        Waited::Failed(error) => error
            .downcast()
            .map_or(Next::Again, |error| Next::Done(Err(error))),
        Waited::Leader(leader) => Next::Lead(leader),
    }
}
