//! Writing the bytes of a tree.

use nearcache::OutOfMemory;

type Result = std::result::Result<(), OutOfMemory>;

/// What is written so far.
pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    #[inline]
    pub(super) fn byte(&mut self, byte: u8) -> Result {
        self.0.try_reserve(1)?;
        self.0.push(byte);
        Ok(())
    }

    #[inline]
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> Result {
        self.0.try_reserve(bytes.len())?;
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    /// Writes a tag, and bytes of a width that the tag implies.
    #[inline]
    pub(super) fn tagged<const N: usize>(&mut self, tag: u8, bytes: [u8; N]) -> Result {
        self.0.try_reserve(1 + N)?;
        self.0.push(tag);
        self.0.extend_from_slice(&bytes);
        Ok(())
    }

    #[inline]
    pub(super) fn number(&mut self, number: u32) -> Result {
        match u8::try_from(number) {
            Ok(byte) if byte < 0x80 => self.byte(byte),
            _ => self.long_number(number),
        }
    }

    fn long_number(&mut self, mut number: u32) -> Result {
        while number >= 0x80 {
            self.byte(number.to_le_bytes()[0] | 0x80)?;
            number >>= 7;
        }
        self.byte(number.to_le_bytes()[0])
    }
}
