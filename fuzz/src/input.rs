//! Reading numbers from a fuzzer's input.

/// An input that is read from its beginning. After its end it yields zeros.
pub struct Input<'a>(std::slice::Iter<'a, u8>);

impl<'a> Input<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes.iter())
    }

    pub fn is_at_end(&self) -> bool {
        self.0.as_slice().is_empty()
    }

    pub fn byte(&mut self) -> u8 {
        self.0.next().copied().unwrap_or_default()
    }

    /// Reads a number of `bytes` bytes.
    pub fn word(&mut self, bytes: u32) -> u64 {
        (0..bytes).fold(0, |word, _| word << 8 | u64::from(self.byte()))
    }

    /// Reads a number below `bound`, which is at most 256.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::from(self.byte()) % bound
    }

    /// Reads a small positive or negative distance, as a number modulo 2^64.
    pub fn offset(&mut self) -> u64 {
        i64::from(self.byte().cast_signed()).cast_unsigned()
    }
}
