//! State that a child of `fork` does not share with its parent.

use std::sync::Arc;

use arc_swap::{ArcSwapOption, Guard};

/// The state of one process.
struct Owned<T> {
    process: u32,
    state: T,
}

/// Holds a state that every process makes for itself.
///
/// A child of `fork` leaks what it inherits: that holds the parent's sockets and perhaps locks that a thread of the parent
/// held, so it must be neither used nor dropped.
pub(crate) struct PerProcess<T> {
    current: ArcSwapOption<Owned<T>>,
}

/// A state in use.
pub(crate) struct InUse<T>(Guard<Option<Arc<Owned<T>>>>);

impl<T> PerProcess<T> {
    pub(crate) const fn new() -> Self {
        Self {
            current: ArcSwapOption::const_empty(),
        }
    }

    /// Returns the state of this process, which `make` makes at the first call. `make` may run more than once.
    pub(crate) fn get(&self, make: impl Fn() -> T) -> InUse<T> {
        let process = std::process::id();
        loop {
            let current = self.current.load();
            if current.as_ref().is_some_and(|owned| owned.process == process) {
                return InUse(current);
            }
            let state = make();
            let previous = self
                .current
                .compare_and_swap(&current, Some(Arc::new(Owned { process, state })));
            if previous.as_ref().is_some_and(|owned| owned.process != process) {
                std::mem::forget(Guard::into_inner(previous));
            }
        }
    }

    /// Returns the state of this process, if it has one.
    pub(crate) fn existing(&self) -> Option<InUse<T>> {
        let current = self.current.load();
        let is_own = current
            .as_ref()
            .is_some_and(|owned| owned.process == std::process::id());
        is_own.then_some(InUse(current))
    }
}

impl<T> std::ops::Deref for InUse<T> {
    type Target = T;

    fn deref(&self) -> &T {
        match self.0.as_ref() {
            Some(owned) => &owned.state,
            // `get` and `existing` have seen that it is there.
            None => unreachable!("a state in use exists"),
        }
    }
}

impl<T> Drop for PerProcess<T> {
    fn drop(&mut self) {
        if self.existing().is_none() {
            std::mem::forget(self.current.swap(None));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::PerProcess;

    #[test]
    fn a_process_makes_its_state_once() {
        let state = PerProcess::new();
        assert!(state.existing().is_none());
        assert_eq!(*state.get(|| 1), 1);
        assert_eq!(*state.get(|| 2), 1);
        assert_eq!(state.existing().as_deref(), Some(&1));
    }
}
