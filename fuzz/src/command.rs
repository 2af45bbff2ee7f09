//! Entries of the log and the commands in them.

use crate::memory;
use bytes::Bytes;
use tenure_core::entry::{Entry, EntryBuilder};
use tenure_core::machine::codec;

/// Reads `bytes` as an entry, and as one command.
pub fn command(bytes: &[u8]) {
    let whole = Bytes::copy_from_slice(bytes);
    if let Ok(entry) = memory::within(whole.len(), 2, || Entry::parse(whole.clone())) {
        let mut builder = EntryBuilder::default();
        for command in entry.commands() {
            assert!(builder.push(command), "what was in an entry fits in one");
            one(&Bytes::copy_from_slice(command));
        }
        let again = builder.finish(entry.kind(), entry.stamp());
        assert_eq!(again, entry, "an entry is its kind, stamp and commands");
    }
    one(&whole);
    let _ = codec::decode_start(&whole);
}

fn one(bytes: &Bytes) {
    let Ok(command) = memory::within(bytes.len(), 8, || codec::decode(bytes)) else {
        return;
    };
    assert_eq!(command.check(), Ok(()), "what was read is within limits");
    let again = codec::encode(&command);
    // The first form of a claim had one key, and no count of them.
    assert!(
        again.len() <= bytes.len() + 1,
        "no form is shorter than ours"
    );
    let read = codec::decode(&again);
    assert_eq!(read.as_ref(), Ok(&command), "written and read back");
    let header = codec::decode_header(&again).expect("a command has a header");
    assert_eq!(header.via, command.via, "the header alone says the same");
}
