//! The file of a snapshot: what is read is what would be written, and anything else is refused.

use crate::memory;
use tenure_core::ids::{ClusterId, Slot, SnapshotId};
use tenure_core::wal::snapshot::{CHUNK_BYTES_MAX, Encoder, HEADER_BYTES, Reader, SnapshotDamage};

const CLUSTER: ClusterId = ClusterId(*b"0123456789abcdef");

/// A file of these bytes, named as it says of itself, so that its name is not what is refused.
pub fn snapshot_file(bytes: &[u8]) {
    let number = |at: Option<usize>| {
        let place = at.and_then(|at| bytes.get(at..at + 8));
        place.map_or(0, |place| {
            u64::from_le_bytes(place.try_into().expect("eight bytes"))
        })
    };
    let id = SnapshotId {
        slot: Slot::new(number(Some(HEADER_BYTES - 16))),
        hash: number(bytes.len().checked_sub(16)),
    };
    // A chunk of nothing is 16 bytes, and costs its place and, here, a vector.
    let read = memory::within(bytes.len(), 10, || read(id, bytes));
    let Ok(chunks) = read else {
        return;
    };
    let (mut encoder, mut again) = Encoder::begin(CLUSTER, id.slot);
    for chunk in &chunks {
        again.extend_from_slice(&encoder.chunk(chunk));
        again.extend_from_slice(chunk);
    }
    let (end, contents) = encoder.finish(id.hash);
    again.extend_from_slice(&end);
    assert_eq!(again, bytes, "what is read would be written the same");
    for (index, chunk) in (0..).zip(&chunks) {
        let place = contents.place(index).expect("each chunk has a place");
        let at = usize::try_from(place.offset).expect("it is in memory");
        let payload = contents.payload(index, &bytes[at..at + place.bytes]);
        assert_eq!(payload, Ok(&chunk[..]), "each chunk is found alone");
    }
}

fn read(id: SnapshotId, bytes: &[u8]) -> Result<Vec<Vec<u8>>, SnapshotDamage> {
    let len = u64::try_from(bytes.len()).expect("a length fits 64 bits");
    let mut reader = Reader::new(CLUSTER, id, len);
    let (mut chunks, mut at) = (Vec::new(), 0);
    while !reader.is_done() {
        let wanted = reader.wants()?;
        assert!(
            wanted <= CHUNK_BYTES_MAX && wanted <= bytes.len() - at,
            "no more is wanted than a chunk, nor than there is"
        );
        let chunk = reader.take(&bytes[at..at + wanted])?;
        chunks.extend(chunk.map(Vec::from));
        at += wanted;
    }
    let contents = reader.finish();
    assert_eq!(usize::try_from(contents.chunks()), Ok(chunks.len()));
    Ok(chunks)
}
