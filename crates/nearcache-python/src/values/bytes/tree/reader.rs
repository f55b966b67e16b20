//! Reading the bytes of a tree, never beyond their end.

/// Why bytes are not a tree. One byte, because every node returns it if it fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ParseError {
    /// They do not follow the format.
    Malformed,
    OutOfMemory,
    /// The builder refused to make an object, and knows why.
    Refused,
}

impl From<std::collections::TryReserveError> for ParseError {
    fn from(_: std::collections::TryReserveError) -> Self {
        Self::OutOfMemory
    }
}

pub(crate) type Result<T> = std::result::Result<T, ParseError>;

/// The bytes that are not read yet.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    #[inline]
    pub(super) fn byte(&mut self) -> Result<u8> {
        let (&byte, rest) = self.0.split_first().ok_or(ParseError::Malformed)?;
        self.0 = rest;
        Ok(byte)
    }

    #[inline]
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk().ok_or(ParseError::Malformed)?;
        self.0 = rest;
        Ok(*array)
    }

    #[inline]
    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(ParseError::Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    /// Reads a number of at most 32 bits.
    #[inline]
    pub(super) fn number(&mut self) -> Result<usize> {
        let first = self.byte()?;
        if first < 0x80 {
            return Ok(usize::from(first));
        }
        self.long_number(first)
    }

    fn long_number(&mut self, first: u8) -> Result<usize> {
        let mut number = u64::from(first & 0x7f);
        for shift in [7, 14, 21, 28] {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte == 0 {
                // A shorter form exists.
                return Err(ParseError::Malformed);
            }
            if byte < 0x80 {
                let number = u32::try_from(number).map_err(|_| ParseError::Malformed)?;
                return usize::try_from(number).map_err(|_| ParseError::Malformed);
            }
        }
        Err(ParseError::Malformed)
    }

    /// Reads the number of some things that take at least `size` bytes each, which cannot be more than the rest has room for.
    #[inline]
    pub(super) fn count(&mut self, size: usize) -> Result<usize> {
        let count = self.number()?;
        if count > self.0.len() / size {
            return Err(ParseError::Malformed);
        }
        Ok(count)
    }

    /// Reads bytes with their length before them.
    #[inline]
    pub(super) fn bytes(&mut self) -> Result<&'a [u8]> {
        let len = self.number()?;
        self.take(len)
    }
}
