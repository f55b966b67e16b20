//! Fallible allocation: returns [`OutOfMemory`] where the standard library aborts the process.
//!
//! What an operation of a cache needs is allocated with these functions, before the operation changes anything.
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc};
use std::ptr::NonNull;

use crate::error::OutOfMemory;

/// Moves a value to the heap.
///
/// # Errors
///
/// [`OutOfMemory`] if the allocation fails.
pub(crate) fn try_box<T>(value: T) -> Result<Box<T>, OutOfMemory> {
    let layout = Layout::new::<T>();
    if layout.size() == 0 {
        return Ok(Box::new(value)); // allocates nothing
    }
    // SAFETY: the layout is not empty, as `alloc` requires. The memory is new, has `T`'s layout, and comes from the global
    // allocator, as `Box::from_raw` requires, and the value is written before the box exists.
    unsafe {
        let place = NonNull::new(alloc(layout).cast::<T>()).ok_or(OutOfMemory)?;
        place.write(value);
        Ok(Box::from_raw(place.as_ptr()))
    }
}

/// Makes an empty vector with a capacity of `len` elements.
///
/// # Errors
///
/// [`OutOfMemory`] if the allocation fails.
pub(crate) fn try_with_capacity<T>(len: usize) -> Result<Vec<T>, OutOfMemory> {
    let mut vec = Vec::new();
    vec.try_reserve_exact(len)?;
    Ok(vec)
}

/// Copies bytes to the heap.
///
/// # Errors
///
/// [`OutOfMemory`] if the allocation fails.
pub(crate) fn try_copy(bytes: &[u8]) -> Result<Box<[u8]>, OutOfMemory> {
    let mut copy = try_with_capacity(bytes.len())?;
    copy.extend_from_slice(bytes);
    Ok(copy.into_boxed_slice()) // the capacity is the length, so this does not reallocate
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_any_size_are_boxed() {
        assert_eq!(*try_box([7_u64; 9]).unwrap(), [7; 9]);
        assert_eq!(*try_box(()).unwrap(), ());
    }

    #[test]
    fn an_impossible_allocation_is_an_error() {
        assert_eq!(try_with_capacity::<u64>(usize::MAX / 16), Err(OutOfMemory));
    }
}
