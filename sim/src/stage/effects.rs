//! What servers want done is done: words travel, disks store.

use super::{Stage, WORDS_MAX, Word};
use crate::server::{Life, index_of, node_id};
use crate::transcript::{said, words};
use tenure_core::machine::answer::Answer;
use tenure_core::node::input::Input;
use tenure_core::node::output::{Output, Reply};
use tenure_core::replica::message::Message;

impl Stage {
    pub(super) fn hand(&mut self, index: usize, input: Input) {
        if let Some(process) = self.servers[index].process() {
            process.inbox.push_back(input);
        }
    }

    /// Everything that can happen at once happens: words arrive, disks store, servers act.
    pub(super) fn settle(&mut self) {
        for _ in 0..WORDS_MAX {
            let moved = self.deliver_one() || self.store_one() || self.run_one();
            if !moved {
                return;
            }
        }
        panic!("words cause words for ever");
    }

    fn deliver_one(&mut self) -> bool {
        let free = |word: &Word| !self.kept.contains(&(word.from, word.to));
        let Some(word) = self.words.iter().position(free) else {
            return false;
        };
        let Some(word) = self.words.remove(word) else {
            return false;
        };
        let Word {
            from,
            to,
            boots,
            message,
        } = word;
        if self.servers[to].boot() == boots.1 {
            let (from, boot) = (node_id(from), boots.0);
            self.hand(
                to,
                Input::Peer {
                    from,
                    boot,
                    message,
                },
            );
        }
        true
    }

    fn store_one(&mut self) -> bool {
        let fast =
            |index: &usize| !self.slow_disks.contains(index) && !self.disks[*index].is_empty();
        let Some(index) = (0..self.servers.len()).find(fast) else {
            return false;
        };
        if let Some(done) = self.disks[index].pop_front() {
            let (judges, marks) = (&mut self.judges, &mut self.marks);
            let next = self.servers[index].disk_done(self.now, done, judges, marks);
            self.disks[index].extend(next.map(|(_, done)| done));
            self.judges.advance(&mut self.marks);
        }
        true
    }

    fn run_one(&mut self) -> bool {
        let has_input = |index: &usize| {
            let process = self.servers[*index].process_ref();
            process.is_some_and(|process| !process.inbox.is_empty())
        };
        let Some(index) = (0..self.servers.len()).find(has_input) else {
            return false;
        };
        self.run(index);
        true
    }

    pub(super) fn run(&mut self, index: usize) {
        self.judges.docket.now = self.now;
        let outputs = self.servers[index].round(self.now);
        let (server, marks) = (&self.servers[index], &mut self.marks);
        self.judges.watch(server, &outputs, marks);
        for output in outputs {
            if let Some(mut words) = words(&output) {
                if let Output::Send { to, message } = &output
                    && self.is_lost(index, index_of(*to), message)
                {
                    words.push_str("  [lost]");
                }
                self.note(index, &words);
            }
            self.carry_out(index, output);
        }
        let begun = self.servers[index].begin_sync(self.now, &mut self.marks);
        self.disks[index].extend(begun.map(|(_, done)| done));
    }

    fn carry_out(&mut self, index: usize, output: Output) {
        match output {
            Output::Send { to, message } => self.send(index, index_of(to), message),
            Output::Reply { tag, reply } => {
                if let Reply::Decided {
                    answer: Answer::Granted(grant),
                    ..
                } = reply
                    && let Some(name) = self.clients.get(tag.conn as usize)
                {
                    self.fences.insert(name.clone(), grant.fence);
                }
            }
            Output::Append { number, record } => {
                if let Some(process) = self.servers[index].process() {
                    process.storage.append(number, record);
                }
            }
            Output::Promise { ballot, membership } => {
                let begun = self.servers[index].begin_promise(
                    self.now,
                    (ballot, membership),
                    &mut self.marks,
                );
                self.disks[index].extend(begun.map(|(_, done)| done));
            }
            Output::Load { from: first, upto } => {
                let entries = self.servers[index].load(first, upto);
                self.hand(index, Input::Loaded { first, entries });
            }
            Output::SnapshotChunk {
                slot,
                index: chunk,
                bytes,
                received,
            } => {
                let (now, marks) = (self.now, &mut self.marks);
                let begun =
                    self.servers[index].add_chunk(now, (slot, chunk), &bytes, received, marks);
                self.disks[index].extend(begun.map(|(_, done)| done));
            }
            Output::SnapshotDone { id, chunks, keep } => {
                let (now, marks) = (self.now, &mut self.marks);
                let begun = self.servers[index].finish_snapshot(now, (id, chunks), keep, marks);
                self.disks[index].extend(begun.map(|(_, done)| done));
            }
            Output::Truncate { upto, snapshot } => {
                let (now, marks) = (self.now, &mut self.marks);
                let begun = self.servers[index].begin_truncate(now, upto, snapshot, marks);
                self.disks[index].extend(begun.map(|(_, done)| done));
            }
            Output::LoadChunk { id, index: chunk } => {
                let bytes = self.servers[index].load_chunk(id, chunk);
                self.hand(
                    index,
                    Input::ChunkLoaded {
                        id,
                        index: chunk,
                        bytes,
                    },
                );
            }
            Output::Halt { .. } => self.stop(index),
            Output::Retire(_) | Output::Configured { .. } | Output::Note(_) => {}
        }
    }

    /// It serves no more, and does not come back by itself.
    fn stop(&mut self, index: usize) {
        self.servers[index].life = Life::Down;
        self.servers[index].start += 1;
        self.disks[index].clear();
    }

    fn is_lost(&self, from: usize, to: usize, message: &Message) -> bool {
        let said = said(message).unwrap_or_default();
        let mut lost = self.lost.iter();
        self.cut.contains(&(from, to))
            || lost.any(|(a, b, kind)| (*a, *b) == (from, to) && said.starts_with(kind))
    }

    fn send(&mut self, from: usize, to: usize, message: Message) {
        if self.is_lost(from, to, &message) {
            return;
        }
        let boots = (self.servers[from].boot(), self.servers[to].boot());
        self.words.push_back(Word {
            from,
            to,
            boots,
            message,
        });
    }
}
