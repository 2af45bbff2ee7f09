//! A snapshot's file is believed when every byte of it is right, and then only.

use super::*;
use crate::ids::Seed;
use crate::rng::Rng;
use crate::wal::testing::hex;

const CLUSTER: ClusterId = ClusterId(*b"0123456789abcdef");

fn file(slot: u64, hash: u64, chunks: &[&[u8]]) -> (Vec<u8>, Contents) {
    let (mut encoder, mut file) = Encoder::begin(CLUSTER, Slot::new(slot));
    for chunk in chunks {
        file.extend_from_slice(&encoder.chunk(chunk));
        file.extend_from_slice(chunk);
    }
    let (end, contents) = encoder.finish(hash);
    file.extend_from_slice(&end);
    (file, contents)
}

fn id(slot: u64, hash: u64) -> SnapshotId {
    let slot = Slot::new(slot);
    SnapshotId { slot, hash }
}

fn read(id: SnapshotId, file: &[u8]) -> Result<(Vec<Vec<u8>>, Contents), SnapshotDamage> {
    let mut reader = Reader::new(CLUSTER, id, file.len() as u64);
    let (mut chunks, mut at) = (Vec::new(), 0);
    while !reader.is_done() {
        let wanted = reader.wants()?;
        let chunk = reader.take(&file[at..at + wanted])?;
        chunks.extend(chunk.map(Vec::from));
        at += wanted;
    }
    Ok((chunks, reader.finish()))
}

#[test]
fn the_bytes_are_the_golden_ones() {
    let (file, _) = file(7, 0x0102_0304_0506_0708, &[b"first", b"2nd"]);
    assert_eq!(
        hex(&file),
        "\
         544e52534e415000010000001df6df0e30313233343536373839616263646566\
         070000000000000000000000000000009bda7b2743484e4b0000000005000000\
         6669727374158c145043484e4b0100000003000000326e64d9037355444f4e45\
         020000001000000008070605040302017800000000000000"
    );
}

#[test]
fn what_was_written_is_read() {
    let long = [0x5a; 3000];
    let (file, written) = file(9, 77, &[b"one", b"", &long]);
    let (chunks, contents) = read(id(9, 77), &file).unwrap();
    assert_eq!(chunks, [b"one".to_vec(), Vec::new(), long.to_vec()]);
    assert_eq!(contents, written);
    assert_eq!(contents.chunks(), 3);
    for (index, chunk) in (0..).zip(&chunks) {
        let place = contents.place(index).unwrap();
        let at = place.offset as usize;
        let payload = contents.payload(index, &file[at..at + place.bytes]);
        assert_eq!(payload, Ok(&chunk[..]));
    }
    assert_eq!(contents.place(3), None);
}

#[test]
fn a_snapshot_without_chunks_is_one() {
    let (file, _) = file(1, 2, &[]);
    let (chunks, contents) = read(id(1, 2), &file).unwrap();
    assert_eq!((chunks.len(), contents.chunks()), (0, 0));
}

#[test]
fn a_flipped_bit_anywhere_is_refused_where_it_is() {
    let (file, _) = file(9, 77, &[b"one", b"another"]);
    for byte in 0..file.len() {
        for bit in 0..8 {
            let mut hurt = file.clone();
            hurt[byte] ^= 1 << bit;
            let damage = read(id(9, 77), &hurt).unwrap_err();
            let before = byte as u64;
            assert!(damage.offset <= before, "byte {byte}: {damage}");
        }
    }
}

#[test]
fn a_file_that_is_too_short_or_too_long_is_refused() {
    let (file, _) = file(9, 77, &[b"one", b"another"]);
    for len in 0..file.len() {
        assert!(read(id(9, 77), &file[..len]).is_err(), "{len} bytes");
    }
    let mut longer = file.clone();
    longer.push(0);
    let damage = read(id(9, 77), &longer).unwrap_err();
    let expected = SnapshotProblem::Field {
        what: "the length of the file",
        expected: file.len() as u64,
        found: longer.len() as u64,
    };
    assert_eq!(
        (damage.offset, damage.problem),
        (file.len() as u64, expected)
    );
}

#[test]
fn another_snapshots_file_is_refused_by_name() {
    let (file, contents) = file(9, 77, &[b"one"]);
    let problem = |id| read(id, &file).unwrap_err().problem;
    let field = |what, expected, found| SnapshotProblem::Field {
        what,
        expected,
        found,
    };
    assert_eq!(problem(id(8, 77)), field("the slot", 8, 9));
    assert_eq!(problem(id(9, 78)), field("the hash", 78, 77));
    let other = ClusterId([1; 16]);
    let mut reader = Reader::new(other, id(9, 77), file.len() as u64);
    let damage = reader.take(&file[..HEADER_BYTES]).unwrap_err();
    assert_eq!(
        damage.problem,
        SnapshotProblem::OtherCluster {
            expected: other,
            found: CLUSTER
        }
    );
    // A chunk of the same number and length, of another snapshot.
    let (stranger, _) = self::file(10, 77, &[b"one"]);
    let place = contents.place(0).unwrap();
    let at = place.offset as usize;
    let payload = contents.payload(0, &stranger[at..at + place.bytes]);
    assert!(matches!(
        payload.unwrap_err().problem,
        SnapshotProblem::Crc { .. }
    ));
}

#[test]
fn chunks_in_another_order_are_refused() {
    let (file, contents) = file(9, 77, &[b"one", b"two"]);
    let [first, second] = [0, 1].map(|index| contents.place(index).unwrap());
    let mut swapped = file.clone();
    let (one, two) = (first.offset as usize, second.offset as usize);
    swapped[one..two].copy_from_slice(&file[two..two + second.bytes]);
    let damage = read(id(9, 77), &swapped).unwrap_err();
    let problem = SnapshotProblem::Field {
        what: "the chunk's number",
        expected: 0,
        found: 1,
    };
    assert_eq!((damage.offset, damage.problem), (first.offset, problem));
}

#[test]
fn a_length_from_outside_is_never_believed() {
    let (mut file, contents) = file(9, 77, &[b"one"]);
    let at = contents.place(0).unwrap().offset as usize;
    file[at + 12..at + 16].copy_from_slice(&u32::MAX.to_le_bytes());
    let damage = read(id(9, 77), &file).unwrap_err();
    let room = (file.len() - at - PIECE_HEAD_BYTES) as u64;
    let wanted = u64::from(u32::MAX);
    assert_eq!(damage.problem, SnapshotProblem::Length { wanted, room });
}

/// A file of any bytes is an error or a snapshot, and nothing else happens.
#[test]
fn strange_bytes_are_refused() {
    let mut rng = Rng::new(Seed::new(11));
    let (good, _) = file(9, 77, &[b"one", b"another", &[0; 600]]);
    for _ in 0..2000 {
        let mut bytes = good.clone();
        for _ in 0..=rng.below(4) {
            let at = rng.below(bytes.len() as u64) as usize;
            bytes[at] = rng.next() as u8;
        }
        bytes.truncate(rng.below(bytes.len() as u64 + 1) as usize);
        assert!(read(id(9, 77), &bytes).is_err() || bytes == good);
    }
}

#[test]
fn the_end_says_how_many_chunks_there_are_and_is_not_believed_blindly() {
    let (file, contents) = file(9, 77, &[b"one", b"another"]);
    let len = file.len() as u64;
    let end = &file[file.len() - END_BYTES..];
    assert_eq!(
        chunks_at_end(CLUSTER, id(9, 77), end, len),
        Ok(contents.chunks())
    );
    for at in 0..END_BYTES {
        let mut end = end.to_vec();
        end[at] ^= 1;
        assert!(
            chunks_at_end(CLUSTER, id(9, 77), &end, len).is_err(),
            "byte {at}"
        );
    }
    for (id, len) in [(id(9, 78), len), (id(8, 77), len), (id(9, 77), len + 1)] {
        assert!(chunks_at_end(CLUSTER, id, end, len).is_err(), "{id}, {len}");
    }
    assert!(chunks_at_end(CLUSTER, id(9, 77), &end[1..], len).is_err());
}
