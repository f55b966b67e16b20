//! A value in the form in which it is stored, and how it is made from a [`NewEntry`].

use super::cache::SharedCache;
use super::entry::NewEntry;
use super::extension::{Cost, EXTENSION, Extension};
use super::hashing::Keyed;
use super::record::{NEVER, words_for};
use super::time::expiry_to_millis;
use crate::clock::Clock;

/// A value in the form in which it is stored.
#[derive(Clone, Copy, Debug)]
pub(super) struct Payload<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) kind: u8,
    pub(super) expires_at: u64,
    pub(super) extension: Option<Extension>,
    /// The checksum of the bytes and the extension.
    pub(super) checksum: u32,
}

impl Payload<'_> {
    /// Returns how many words the extension has.
    #[inline]
    pub(super) const fn extension_words(&self) -> usize {
        if self.extension.is_some() { EXTENSION } else { 0 }
    }

    /// Returns how many words the record needs.
    #[inline]
    pub(super) const fn words(&self, key: &Keyed<'_>) -> usize {
        words_for(key.bytes.len(), self.extension_words(), self.bytes.len())
    }
}

impl<C: Clock> SharedCache<C> {
    /// Returns an entry's value in the form in which it is stored.
    #[inline]
    pub(super) fn payload<'a>(&self, key: &Keyed<'_>, entry: NewEntry<'a>) -> Payload<'a> {
        let payload = Payload {
            bytes: entry.value,
            kind: entry.kind,
            expires_at: expiry_to_millis(entry.expires_at),
            extension: None,
            checksum: self.file().hashing.checksum(key.hash, entry.value, entry.kind),
        };
        if entry.stale_until.is_none() && entry.cost.is_zero() {
            return payload;
        }
        let stale_until = entry.stale_until.map_or(0, expiry_to_millis);
        let stale_millis = match stale_until {
            NEVER => NEVER,
            time => time.saturating_sub(payload.expires_at),
        };
        let extended = self.extended(key, payload, Extension::new(stale_millis, Cost::new(entry.cost)));
        if extended.words(key) > self.file().geometry.max_record() {
            // The value matters more than its stale time and its cost.
            return payload;
        }
        extended
    }

    /// Adds an extension to a payload that has none.
    pub(super) fn extended<'a>(
        &self,
        key: &Keyed<'_>,
        payload: Payload<'a>,
        extension: Extension,
    ) -> Payload<'a> {
        let extension = Some(extension);
        Payload {
            extension,
            checksum: payload.checksum ^ self.file().hashing.extension_checksum(key.hash, extension),
            ..payload
        }
    }
}
