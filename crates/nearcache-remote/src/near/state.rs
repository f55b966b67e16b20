//! The state of a near tier: epoch, generations, gate, and the servers on which the listener is armed.
//!
//! It consists of atomic words, so that it may be in the memory of one process or in a file that all processes of the
//! machine map. Nothing in it is locked: a process may be killed between any two writes.

#[cfg(test)]
mod tests;

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use super::clock::BootTime;
use super::words_memory;
use crate::server_id::ServerId;

/// The number of stripes. A write invalidates all near copies of its stripe: one in 65,536 of the others.
pub const STRIPES: usize = 1 << 16;
/// On how many servers a listener can be armed. A Cluster with more primaries is not cached near.
pub const MAX_SERVERS: usize = 256;

/// The stripe of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stripe(u16);

impl Stripe {
    /// Returns the stripe of a stored key. O(length of the key); the same in every process.
    #[must_use]
    #[inline]
    #[allow(clippy::cast_possible_truncation)] // the low 16 bits are meant
    pub fn of(key: &[u8]) -> Self {
        Self(rapidhash::v3::rapidhash_v3(key) as u16)
    }
}

/// The epoch and the generation of a stripe at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp(u64);

impl Stamp {
    #[inline]
    fn new(epoch: u32, generation: u32) -> Self {
        Self((u64::from(epoch) << 32) | u64::from(generation))
    }

    /// Returns the stamp as a word for storage.
    #[must_use]
    pub const fn as_word(self) -> u64 {
        self.0
    }

    /// Returns the stamp of a stored word.
    #[must_use]
    pub const fn from_word(word: u64) -> Self {
        Self(word)
    }

    #[allow(clippy::cast_possible_truncation)] // the halves of the word
    const fn parts(self) -> (u32, u32) {
        ((self.0 >> 32) as u32, self.0 as u32)
    }
}

/// The gate, which was open when a read began.
///
/// A copy is compared with a gate that was read before, never after. In the other order, a stamp that is compared just before
/// the listener returns from an outage would be combined with the confirmation just after it.
#[derive(Clone, Copy, Debug)]
pub struct OpenGate {
    now: BootTime,
}

impl OpenGate {
    /// Returns when it was seen open.
    #[must_use]
    #[inline]
    pub const fn time(self) -> BootTime {
        self.now
    }
}

/// The words of a state. A file filled with zeros is a valid state, in which nothing is served.
#[repr(C)]
pub(super) struct Words {
    /// The format of the file; 0 in a new one.
    pub(super) format: AtomicU64,
    /// Which boot of the machine the times belong to.
    pub(super) boot: AtomicU64,
    epoch: AtomicU32,
    /// The epoch that the newest flush began: older copies must not even be served during an outage.
    flushed: AtomicU32,
    /// The number of the listener. A new one takes the next.
    term: AtomicU64,
    /// When the listener was last known to run, in milliseconds.
    heartbeat: AtomicU64,
    /// The send time of the newest answered round, in milliseconds.
    confirmed: AtomicU64,
    /// Where the listener is armed: see [`Words::mark`].
    servers: [AtomicU64; MAX_SERVERS],
    /// See [`Counters`].
    invalidations: AtomicU64,
    flushes: AtomicU64,
    losses: AtomicU64,
    generations: [AtomicU32; STRIPES],
}

impl Words {
    /// Returns what stands in `servers` for a server in a term. A listener that goes on after another one succeeded it
    /// writes marks of its old term, which mean nothing.
    fn mark(term: u64, server: ServerId) -> u64 {
        (server.as_word() ^ term.wrapping_mul(0x9e37_79b9_7f4a_7c15)).max(1)
    }

    /// Raises the epoch of a new state by a random number.
    ///
    /// If the file of a state is removed and created again, the copies that were stored with the old one remain. Their
    /// stamps must not become current when the new state has counted as far as the old one.
    pub(super) fn raise_epoch_to_random(&self) {
        let random = RandomState::new().hash_one(0);
        // 31 bits, so that the epoch never wraps around.
        self.epoch.fetch_add((random >> 33) as u32, SeqCst);
    }

    /// Shuts the gate, invalidates all copies, and forgets the listener and where it is armed.
    pub(super) fn shut(&self) {
        self.confirmed.store(0, SeqCst);
        self.epoch.fetch_add(1, SeqCst);
        for server in &self.servers {
            server.store(0, SeqCst);
        }
        self.heartbeat.store(0, SeqCst);
    }
}

/// What a state counts, since it was created.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Invalidations received for a key.
    pub invalidations: u64,
    /// Flushes: the server reported that all keys were deleted.
    pub flushes: u64,
    /// Connections of the listener lost, or primaries changed.
    pub losses: u64,
    /// The epoch now.
    pub epoch: u64,
}

/// The term of a listener: the right to arm and confirm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term(u64);

impl Term {
    pub(super) const fn number(self) -> u64 {
        self.0
    }

    pub(super) const fn from_number(number: u64) -> Self {
        Self(number)
    }
}

/// The state of a near tier. Lives as long as the process.
#[derive(Clone, Copy)]
pub struct NearState {
    pub(super) words: &'static Words,
}

impl fmt::Debug for NearState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = formatter.debug_struct("NearState");
        debug.field("counters", &self.counters()).finish_non_exhaustive()
    }
}

impl NearState {
    /// Creates a state in the memory of this process, which is never freed.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`](std::io::ErrorKind::OutOfMemory) if the allocation fails.
    pub fn private() -> std::io::Result<Self> {
        words_memory::allocate().map(|words| Self { words })
    }

    /// Returns the stamp of a stripe now.
    #[must_use]
    #[inline]
    pub fn stamp(self, stripe: Stripe) -> Stamp {
        let epoch = self.words.epoch.load(SeqCst);
        Stamp::new(epoch, self.generation(stripe).load(SeqCst))
    }

    /// Returns the gate if it is open: the newest answered round is recent enough for copies to be served.
    ///
    /// Reads the clock. To be called when a read begins: the read may then return what was current at that time.
    #[must_use]
    #[inline]
    pub fn open_gate(self, max_staleness: Duration) -> Option<OpenGate> {
        // Before the clock, which then cannot be earlier.
        let confirmed = self.words.confirmed.load(SeqCst);
        let now = BootTime::now();
        let is_open = confirmed != 0
            && now.as_millis() >= confirmed
            // Both times are rounded down, so the age may be a millisecond more than it seems.
            && now.since(BootTime::from_millis(confirmed)) < max_staleness;
        is_open.then_some(OpenGate { now })
    }

    /// Returns whether a copy with this stamp may be served: the gate was open, and nothing has invalidated the copy. Whether
    /// the copy has expired is for the caller to find out.
    #[must_use]
    #[inline]
    pub fn may_serve(self, _: OpenGate, stripe: Stripe, stamp: Stamp) -> bool {
        self.is_current(stripe, stamp)
    }

    /// Returns whether nothing has invalidated a copy with this stamp, as far as the listener knows.
    #[must_use]
    #[inline]
    pub fn is_current(self, stripe: Stripe, stamp: Stamp) -> bool {
        self.stamp(stripe) == stamp
    }

    /// Returns whether a copy may be served while the server cannot be reached: its key was not invalidated, and nothing
    /// was flushed. The promise does not hold for it.
    #[must_use]
    pub fn may_serve_in_outage(self, stripe: Stripe, stamp: Stamp) -> bool {
        let (epoch, generation) = stamp.parts();
        generation == self.generation(stripe).load(SeqCst) && epoch >= self.words.flushed.load(SeqCst)
    }

    /// Returns whether the newest answered round is recent enough for copies to be served.
    #[must_use]
    pub fn is_open(self, max_staleness: Duration) -> bool {
        self.open_gate(max_staleness).is_some()
    }

    /// Returns how long ago the newest answered round was sent; `None` if there is none.
    #[must_use]
    pub fn confirmation_age(self) -> Option<Duration> {
        // Before the clock, which then cannot be earlier.
        let confirmed = self.words.confirmed.load(SeqCst);
        if confirmed == 0 {
            return None;
        }
        let now = BootTime::now();
        (now.as_millis() >= confirmed).then(|| now.since(BootTime::from_millis(confirmed)))
    }

    /// Returns whether the listener is armed on a server.
    #[must_use]
    pub fn is_armed(self, server: ServerId) -> bool {
        if server == ServerId::UNKNOWN {
            return false;
        }
        let mark = Words::mark(self.words.term.load(SeqCst), server);
        let marks = self.words.servers.iter().map(|word| word.load(SeqCst));
        marks.take_while(|&word| word != 0).any(|word| word == mark)
    }

    /// Invalidates the copies of a stripe: this process is about to write, or has written, a key in it.
    #[inline]
    pub fn invalidate(self, stripe: Stripe) {
        self.generation(stripe).fetch_add(1, SeqCst);
    }

    /// Invalidates all copies, also for use during an outage: this process is about to flush, or has flushed.
    pub fn invalidate_all(self) {
        // `flushed` follows the epoch: in between, old copies are not current any more.
        let epoch = self.raise_epoch();
        self.words.flushed.fetch_max(epoch, SeqCst);
    }

    /// Raises the epoch and returns the new one.
    fn raise_epoch(self) -> u32 {
        self.words.epoch.fetch_add(1, SeqCst).wrapping_add(1)
    }

    /// Returns what the state has counted.
    #[must_use]
    pub fn counters(self) -> Counters {
        Counters {
            invalidations: self.words.invalidations.load(SeqCst),
            flushes: self.words.flushes.load(SeqCst),
            losses: self.words.losses.load(SeqCst),
            epoch: u64::from(self.words.epoch.load(SeqCst)),
        }
    }

    #[inline]
    fn generation(self, stripe: Stripe) -> &'static AtomicU32 {
        &self.words.generations[usize::from(stripe.0)]
    }
}

/// What only a listener does.
impl NearState {
    /// Returns how long ago the listener was known to run; `None` if there was none.
    #[must_use]
    pub fn heartbeat_age(self) -> Option<Duration> {
        let heartbeat = self.words.heartbeat.load(SeqCst);
        (heartbeat != 0).then(|| BootTime::now().since(BootTime::from_millis(heartbeat)))
    }

    /// Starts the next term, unless another listener did since `heartbeat_age` was read or runs.
    ///
    /// `lease` is how long a listener may be silent before another one succeeds it. Zero succeeds it in any case.
    #[must_use]
    pub fn begin_term(self, lease: Duration) -> Option<Term> {
        let old = self.words.term.load(SeqCst);
        if self.heartbeat_age().is_some_and(|age| age < lease) {
            return None;
        }
        let new = old + 1;
        self.words.term.compare_exchange(old, new, SeqCst, SeqCst).ok()?;
        self.raise_epoch();
        let term = Term(new);
        self.beat(term).then_some(term)
    }

    /// Reports that the listener of this term runs; returns whether it is still the term.
    #[must_use]
    pub fn beat(self, term: Term) -> bool {
        let is_current = self.is_term(term);
        if is_current {
            self.words
                .heartbeat
                .fetch_max(BootTime::now().as_millis(), SeqCst);
        }
        is_current
    }

    /// Arms the listener on these servers, where tracking is on; the epoch is raised before. Without servers, disarms it.
    ///
    /// More than [`MAX_SERVERS`] servers disarm it.
    pub fn arm(self, term: Term, servers: &[ServerId]) {
        self.raise_epoch();
        self.mark_armed(term, servers);
    }

    /// Writes the marks of an armed listener once more, in case a listener of an old term overwrote them.
    pub fn mark_armed(self, term: Term, servers: &[ServerId]) {
        if !self.is_term(term) {
            return;
        }
        let servers = if servers.len() > MAX_SERVERS { &[] } else { servers };
        let marks = servers.iter().map(|&server| Words::mark(term.0, server));
        for (word, mark) in self.words.servers.iter().zip(marks.chain(std::iter::repeat(0))) {
            word.store(mark, SeqCst);
        }
    }

    /// Reports that all servers answered a round that was sent at this time.
    ///
    /// A listener of an old term, for example one that was stopped in here and resumed, opens the gate for no copy that it
    /// does not know of: its round was sent before the term was read, hence before the next term began. Copies of the
    /// next term were requested after that, and copies of the old term ended with its epoch.
    pub fn confirm(self, term: Term, sent: BootTime) {
        if self.is_term(term) {
            self.words.confirmed.fetch_max(sent.as_millis(), SeqCst);
        }
    }

    /// Counts and applies an invalidation of one key that a server reported.
    pub fn apply_invalidation(self, key: &[u8]) {
        self.invalidate(Stripe::of(key));
        self.words.invalidations.fetch_add(1, SeqCst);
    }

    /// Counts and applies a flush that a server reported.
    pub fn apply_flush(self) {
        self.invalidate_all();
        self.words.flushes.fetch_add(1, SeqCst);
    }

    /// Counts a lost connection or a changed primary, and disarms the listener. Does nothing for an old term, whose copies
    /// ended when the next one began.
    pub fn apply_loss(self, term: Term) {
        if !self.is_term(term) {
            return;
        }
        self.arm(term, &[]);
        self.words.losses.fetch_add(1, SeqCst);
    }

    /// Ends a term before its lease, so that another listener can start the next one at once.
    pub fn end_term(self, term: Term) {
        if self.is_term(term) {
            self.words.heartbeat.store(0, SeqCst);
        }
    }

    fn is_term(self, term: Term) -> bool {
        self.words.term.load(SeqCst) == term.0
    }
}
