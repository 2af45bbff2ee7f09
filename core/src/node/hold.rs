//! Words that may not be spoken before the disk remembers what they speak of.

use super::output::Output;
use crate::ids::{Ballot, RecordNo};
use crate::limits::HELD_WORDS_MAX;
use crate::replica::Until;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

/// Outputs kept until a record or a promise is durable.
#[derive(Debug)]
pub(super) struct Hold {
    record: RecordNo,
    promise: Ballot,
    for_records: BTreeMap<RecordNo, Vec<Output>>,
    for_promises: VecDeque<(Ballot, Output)>,
}

impl Hold {
    /// Nothing of this boot's log is durable yet; `promise` is what the superblock said.
    pub(super) const fn new(promise: Ballot) -> Self {
        Self {
            record: RecordNo::new(0),
            promise,
            for_records: BTreeMap::new(),
            for_promises: VecDeque::new(),
        }
    }

    /// How many words wait.
    pub(super) fn words(&self) -> usize {
        let of_records = self.for_records.values().map(Vec::len);
        of_records.sum::<usize>() + self.for_promises.len()
    }

    /// Lets `output` out once what it speaks of is durable: now, or later. One that waits already is not
    /// said twice: who hears nothing from a slow disk asks again and again.
    pub(super) fn until(&mut self, until: Until, output: Output, out: &mut Vec<Output>) {
        if self.waits(until, &output) {
            return;
        }
        if !self.is_durable(until) && self.words() >= HELD_WORDS_MAX {
            return; // as if it were lost on its way: who needs it asks again
        }
        match until {
            Until::Record(record) if record > self.record => {
                self.for_records.entry(record).or_default().push(output);
            }
            Until::Promise(ballot) if ballot > self.promise => {
                self.for_promises.push_back((ballot, output));
            }
            Until::Now | Until::Record(_) | Until::Promise(_) => out.push(output),
        }
    }

    /// Whether what a word speaks of is durable.
    fn is_durable(&self, until: Until) -> bool {
        match until {
            Until::Now => true,
            Until::Record(record) => record <= self.record,
            Until::Promise(ballot) => ballot <= self.promise,
        }
    }

    fn waits(&self, until: Until, output: &Output) -> bool {
        match until {
            Until::Now => false,
            Until::Record(record) => {
                let waiting = self.for_records.get(&record);
                waiting.is_some_and(|waiting| waiting.contains(output))
            }
            Until::Promise(ballot) => {
                let is_same = |(of, word): &(Ballot, Output)| *of == ballot && word == output;
                self.for_promises.iter().any(is_same)
            }
        }
    }

    /// Lets out what speaks of records up to `through`, oldest first.
    pub(super) fn durable(&mut self, through: RecordNo, out: &mut Vec<Output>) {
        assert!(through >= self.record, "what is durable stays durable");
        self.record = through;
        while let Some(first) = self.for_records.first_entry() {
            if *first.key() > through {
                break;
            }
            out.extend(first.remove());
        }
    }

    /// Lets out what speaks of promises up to `ballot`.
    pub(super) fn promised(&mut self, ballot: Ballot, out: &mut Vec<Output>) {
        assert!(ballot >= self.promise, "a promise stays");
        self.promise = ballot;
        while let Some((waits_for, output)) = self.for_promises.pop_front() {
            if waits_for > ballot {
                self.for_promises.push_front((waits_for, output));
                break;
            }
            out.push(output);
        }
    }
}

#[cfg(test)]
mod tests;
