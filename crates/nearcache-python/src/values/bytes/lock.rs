//! The value of a lock: the process that holds it, and the holder's token.

use nearcache::OutOfMemory;
use nearcache::shared::ProcessId;

use super::kinds::LOCK;

/// Encodes a lock; returns its kind and its bytes.
pub(crate) fn encode_lock(holder: ProcessId, token: &str) -> Result<(u8, Vec<u8>), OutOfMemory> {
    let holder = holder.to_u64().to_ne_bytes();
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(holder.len() + token.len())?;
    bytes.extend_from_slice(&holder);
    bytes.extend_from_slice(token.as_bytes());
    Ok((LOCK, bytes))
}

/// Returns the process and the token of a lock; `None` if the value is not a lock.
pub(crate) fn decode_lock(kind: u8, bytes: &[u8]) -> Option<(ProcessId, &[u8])> {
    let (holder, token) = bytes.split_first_chunk().filter(|_| kind == LOCK)?;
    Some((ProcessId::from_u64(u64::from_ne_bytes(*holder)), token))
}
