//! What was stored and synced, in order, for tests that make crash images of it.

use bytes::Bytes;
use tenure_core::ids::SegmentNo;

/// One thing that was done to the log's files.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Trace {
    /// A segment is there: zero in every byte, and synced.
    Made {
        /// Which.
        segment: SegmentNo,
        /// How large.
        bytes: u64,
    },
    /// A group was stored into the mapping, in the order first byte 8 to the end, then 0 to 7.
    Stored {
        /// Where.
        segment: SegmentNo,
        /// Where in it.
        offset: u64,
        /// What.
        bytes: Bytes,
    },
    /// All that was stored in the segment so far is synced.
    Synced {
        /// Which.
        segment: SegmentNo,
    },
}
