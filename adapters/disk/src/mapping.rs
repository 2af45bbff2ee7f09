//! The one unsafe file: a segment in memory.
//!
//! # Why this is sound
//!
//! A mapping is sound while nobody changes the file's length or its bytes behind the back of the
//! references into it.
//! - *Length.* A segment is made at its full length under another name, and is renamed when it is
//!   synced. Nothing here truncates or extends it afterwards. So no page of the mapping is ever
//!   beyond the end of the file, and none is a hole: every block was written once.
//! - *Bytes.* Only [`Mapping::store`] writes to a mapped segment, through the one `&mut`. Other
//!   processes of ours are kept out by the lock on `LOCK`, which is held for as long as any mapping
//!   lives. What root does to the file by hand is out of reach; then the bytes differ, and no
//!   reference is left dangling: nobody reads through the mapping.
//! - *Lifetime.* `MmapMut` unmaps when it is dropped, and no slice of it leaves this file.
#![expect(unsafe_code, reason = "a file can't be mapped without it")]

use memmap2::MmapMut;
use std::fs::File;
use std::io;
use std::sync::atomic::{Ordering, fence};

/// A mapped segment. It is only ever stored into.
pub(crate) struct Mapping {
    map: MmapMut,
}

impl Mapping {
    /// Maps all of `file`, which was written and synced in every byte.
    pub(crate) fn new(file: &File) -> io::Result<Self> {
        // SAFETY: see the head of this file.
        let map = unsafe { MmapMut::map_mut(file)? };
        Ok(Self { map })
    }

    /// Copies a group to `offset`, its first eight bytes last: a group that was cut off in the
    /// middle of this, by a write-back of the page and the end of the power, begins with zeros.
    pub(crate) fn store(&mut self, offset: usize, first: [u8; 8], others: &[u8]) {
        let end = offset + 8 + others.len();
        assert!(
            end <= self.map.len() && offset.is_multiple_of(4096),
            "a group lies in its segment, at a sector's start"
        );
        let place = &mut self.map[offset..end];
        place[8..].copy_from_slice(others);
        fence(Ordering::Release);
        let word = place.as_mut_ptr().cast::<u64>();
        // SAFETY: `word` points at eight bytes of `place`, which is borrowed mutably, and is
        // aligned: mappings begin at a page, and `offset` is a multiple of 4096. Volatile, so that
        // it is one store that is neither split nor moved before the copy.
        unsafe { word.write_volatile(u64::from_ne_bytes(first)) };
    }
}
