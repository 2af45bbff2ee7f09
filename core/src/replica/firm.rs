//! How far this server's log is decided and on its disk: what others may count on (rule 29).
//!
//! A decided slot is known a moment before its record is durable. Words about single records wait for
//! them; a pong can't wait, so it tells of what was decided some pongs ago, and is durable since.

use crate::ids::{RecordNo, Slot};

#[derive(Clone, Copy, Debug)]
pub(super) struct Firm {
    upto: Slot,
    /// This was decided when so many records had been appended.
    next: Option<(Slot, RecordNo)>,
}

impl Firm {
    /// All that was `recovered` was read from the disk.
    pub(super) const fn new(recovered: Slot) -> Self {
        Self {
            upto: recovered,
            next: None,
        }
    }

    /// How far, now that the log is `decided` to here, and `durable` of its `records` are.
    pub(super) fn upto(&mut self, decided: Slot, records: RecordNo, durable: RecordNo) -> Slot {
        if self.next.is_none() && decided > self.upto {
            self.next = Some((decided, records));
        }
        if let Some((slot, _)) = self.next.take_if(|(_, last)| *last <= durable) {
            self.upto = slot;
        }
        self.upto
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_decided_counts_when_its_records_are_durable() {
        let mut firm = Firm::new(Slot::new(3));
        let mut upto = |decided, records, durable| {
            let [records, durable] = [records, durable].map(RecordNo::new);
            firm.upto(Slot::new(decided), records, durable).get()
        };
        assert_eq!(upto(3, 0, 0), 3);
        assert_eq!(upto(5, 2, 1), 3, "a record is on its way");
        assert_eq!(upto(9, 6, 1), 3);
        assert_eq!(upto(9, 6, 2), 5, "the first two are there, and no more");
        assert_eq!(upto(9, 6, 5), 5);
        assert_eq!(upto(9, 6, 6), 9);
        assert_eq!(upto(12, 6, 6), 12, "by a snapshot");
    }
}
