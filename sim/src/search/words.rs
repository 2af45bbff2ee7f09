//! What was said, and what of that is to be remembered: not the words that change nothing any more, for
//! ever. States that differ in such words alone are one, and there are many more of these than of others.

use super::Lie;
use super::model::{Server, World, print_of};
use std::rc::Rc;
use tenure_core::entry::EntryKind;
use tenure_core::ids::{Ballot, NodeId, Slot};
use tenure_core::replica::message::Message;
use tenure_core::replica::record::Record;

/// Something that was said.
#[derive(Debug)]
pub(super) struct Word {
    pub(super) print: u64,
    pub(super) from: usize,
    pub(super) to: usize,
    /// The starts of who said it, and of who hears it.
    pub(super) boots: (u64, u64),
    pub(super) message: Message,
}

/// Whether a word matters here: pings, votes and refusals only keep the peace.
const fn matters(message: &Message) -> bool {
    matches!(
        message,
        Message::Prepare { .. }
            | Message::Promise { .. }
            | Message::Accept { .. }
            | Message::Accepted { .. }
    )
}

impl Lie {
    /// Changes what is said.
    fn tell(self, message: &mut Message) {
        if let Message::Promise {
            first,
            decided,
            reports,
            ..
        } = message
        {
            match self {
                Self::Reports => reports.clear(),
                Self::Bases => (*first, *decided) = (Slot::new(1), Slot::new(0)),
                Self::Signs => reports.retain(|report| report.entry.kind() != EntryKind::Stop),
            }
        }
    }
}

impl World {
    /// What its receiver becomes that hears a word, and what that one says.
    pub(super) fn heard(&self, word: &Word) -> Result<(Server, Vec<(NodeId, Message)>), String> {
        let mut server = Server::clone(&self.servers[word.to]);
        let (mut effects, mut said) = (Vec::new(), Vec::new());
        server.hear(word, &mut effects);
        server.store(effects, None, &mut said)?;
        server.seal();
        Ok((server, said))
    }

    /// Says it; what is dead on arrival was never said.
    pub(super) fn say(&mut self, from: (usize, u64), said: Vec<(NodeId, Message)>) {
        for (to, message) in said {
            if let Some(word) = self.word_of(from, to, message)
                && (self.remembers || !self.is_dead(&word))
                && let Err(place) = self.place_of(&word)
            {
                Rc::make_mut(&mut self.words).insert(place, Rc::new(word));
            }
        }
        if !self.remembers {
            self.bury(from.0);
        }
    }

    /// The word that this is; none if it does not matter here.
    pub(super) fn word_of(
        &self,
        (from, boot): (usize, u64),
        to: NodeId,
        mut message: Message,
    ) -> Option<Word> {
        if !matters(&message) {
            return None;
        }
        if let Some(lie) = self.lie {
            lie.tell(&mut message);
        }
        let to = to.get() as usize - 1;
        let boots = (boot, self.servers[to].boot);
        let print = print_of(&(from, to, boots, &message));
        Some(Word {
            print,
            from,
            to,
            boots,
            message,
        })
    }

    /// Where it stands among those that were said, or would.
    pub(super) fn place_of(&self, word: &Word) -> Result<usize, usize> {
        self.words
            .binary_search_by_key(&word.print, |word| word.print)
    }

    /// Forgets the words to server `index` that are dead. Only what happens to a server can make a word
    /// to it one.
    pub(super) fn bury(&mut self, index: usize) {
        let alive = |word: &&Rc<Word>| word.to != index || !self.is_dead(word);
        let words: Vec<Rc<Word>> = self.words.iter().filter(alive).cloned().collect();
        if words.len() < self.words.len() {
            self.words = Rc::new(words);
        }
    }

    pub(super) fn is_dead(&self, word: &Word) -> bool {
        let server = &self.servers[word.to];
        // Said to a start that crashed.
        if server.boot != word.boots.1 {
            return true;
        }
        // A durable promise above its ballot closes that for good (Paxos Made Simple, §2.2).
        let Some(ballot) = ballot_of(&word.message) else {
            return false;
        };
        if ballot < server.promise {
            return true;
        }
        could_only_repeat(server, ballot, &word.message) && self.repeats(word)
    }

    /// Whether it leaves its receiver as it is, which says nothing that was not said.
    fn repeats(&self, word: &Word) -> bool {
        let Ok((server, said)) = self.heard(word) else {
            return false; // breaks a law: let the search find it
        };
        let before = &self.servers[word.to];
        server.print == before.print
            && said.into_iter().all(|(to, message)| {
                let word = self.word_of((word.to, before.boot), to, message);
                word.is_none_or(|word| self.place_of(&word).is_ok() || self.is_dead(&word))
            })
    }
}

/// The ballot that it speaks of, if its receiver goes by that.
const fn ballot_of(message: &Message) -> Option<Ballot> {
    match message {
        Message::Prepare { ballot, .. }
        | Message::Promise { ballot, .. }
        | Message::Accept { ballot, .. }
        | Message::Accepted { ballot, .. } => Some(*ballot),
        _ => None,
    }
}

/// Whether a word that repeats something now will never do anything else. A promise and an acceptance are
/// counted once, or come too late for their ballot. A prepare is answered with what was accepted below it,
/// and nothing more can be. An accept that waits for what is before it may yet do something; one whose
/// entries are all held, and whose news of decisions are known, will not.
fn could_only_repeat(server: &Server, ballot: Ballot, message: &Message) -> bool {
    match message {
        Message::Promise { .. } | Message::Accepted { .. } => true,
        Message::Prepare { .. } => ballot == server.promise,
        Message::Accept {
            first,
            entries,
            commit,
            ..
        } => {
            let slots = (first.get()..).take(entries.len()).map(Slot::new);
            let mut held = slots.map(|slot| holds(server, slot, ballot));
            server.replica.decided() >= *commit && held.all(|held| held)
        }
        _ => false,
    }
}

fn holds(server: &Server, slot: Slot, under: Ballot) -> bool {
    let is_it = |record: &Record| matches!(record, Record::Accepted { slot: held, ballot, .. } if *held == slot && *ballot == under);
    server.image().iter().any(is_it)
}
