//! Requests of this server's own callers: commands that wait for the log, and tickets that
//! callers wait for.

use super::output::{Failure, Output, Reply};
use super::{Node, Queues};
use crate::ids::{Boot, NodeId, Tag, TicketId, ZoneId};
use crate::limits::{FORWARD_RETRY, REQUEST_PATIENCE};
use crate::machine::command::{Client, Operation, Via};
use crate::replica::Effect;
use crate::replica::message::{Proposal, Refused};
use crate::time::Timestamp;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use bytes::Bytes;

/// Who is to be answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller {
    /// Its request; none if it went away, or if there never was one.
    pub(super) tag: Option<Tag>,
    /// Its tenant.
    pub(super) zone: ZoneId,
    /// How its retries are known.
    pub(super) client: Client,
    /// Whether it came from outside, or is this server's own order.
    pub(super) is_request: bool,
}

/// A command that was proposed, or is to be.
#[derive(Debug)]
struct Waiting {
    caller: Caller,
    command: Bytes,
    born: Timestamp,
    sent_at: Timestamp,
    /// How often it was proposed. Each time but the last may still come through.
    sends: u32,
    /// Why the last proposal was refused before it was appended, if it was.
    refused: Option<Refused>,
}

impl Waiting {
    /// Whether it can be said that nothing happened and nothing will.
    const fn was_never_appended(&self) -> bool {
        self.sends == 0 || self.sends == 1 && self.refused.is_some()
    }

    /// Later and later, so that a slow leader is not buried under copies. Whoever does not lead keeps
    /// none; and what was sent before something that was answered, and is not, was lost.
    fn retry_at(&self, answered: Timestamp) -> Timestamp {
        let shift = match self.refused {
            Some(Refused::NotLeader) => 0,
            None if self.sent_at < answered => 0,
            Some(Refused::Busy | Refused::DiskFull) | None => self.sends.saturating_sub(1).min(4),
        };
        self.sent_at.plus(FORWARD_RETRY * 2_u32.pow(shift))
    }
}

/// What is proposed again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Again {
    /// Everything: the leader is new.
    All,
    /// What was not answered for a while.
    Due,
    /// What of that was refused.
    Refused,
}

/// Who waits for a ticket.
#[derive(Debug, Default)]
struct Line {
    zone: ZoneId,
    /// Each with whether only its connection stands for the ticket.
    tags: BTreeMap<Tag, bool>,
}

#[derive(Debug)]
pub(super) struct Pending {
    me: NodeId,
    boot: Boot,
    seq: u64,
    commands: BTreeMap<u64, Waiting>,
    by_tag: BTreeMap<Tag, u64>,
    tickets: BTreeMap<TicketId, Line>,
    tickets_by_tag: BTreeMap<Tag, TicketId>,
    /// Tickets whose callers went away, and whose cancel is on its way: a confirm of ours may be
    /// before it in the log.
    abandoned: BTreeMap<TicketId, ZoneId>,
    /// When the latest command that was answered was sent: words mostly keep their order.
    answered: Timestamp,
    check_at: Option<Timestamp>,
}

impl Pending {
    pub(super) const fn new(me: NodeId, boot: Boot) -> Self {
        Self {
            me,
            boot,
            seq: 0,
            commands: BTreeMap::new(),
            by_tag: BTreeMap::new(),
            tickets: BTreeMap::new(),
            tickets_by_tag: BTreeMap::new(),
            abandoned: BTreeMap::new(),
            answered: Timestamp::ZERO,
            check_at: None,
        }
    }

    pub(super) fn commands(&self) -> usize {
        self.commands.len()
    }

    /// When the oldest of them was taken.
    pub(super) fn oldest(&self) -> Option<Timestamp> {
        self.commands.values().next().map(|waiting| waiting.born)
    }

    pub(super) fn waiters(&self) -> usize {
        self.tickets_by_tag.len()
    }

    pub(super) fn is_full(&self, queues: &Queues) -> bool {
        self.commands.len() >= queues.commands || self.tickets_by_tag.len() >= queues.waiters
    }

    /// The name of the next command.
    pub(super) const fn next_via(&mut self) -> Via {
        self.seq += 1;
        Via {
            node: self.me,
            boot: self.boot,
            seq: self.seq,
        }
    }

    pub(super) fn add(
        &mut self,
        via: Via,
        caller: Caller,
        command: Bytes,
        now: Timestamp,
    ) -> Proposal {
        if let Some(tag) = caller.tag {
            self.by_tag.insert(tag, via.seq);
        }
        let waiting = Waiting {
            caller,
            command: command.clone(),
            born: now,
            sent_at: now,
            sends: 1,
            refused: None,
        };
        self.check_at = Some(self.check_at.unwrap_or(waiting.retry_at(self.answered)));
        self.commands.insert(via.seq, waiting);
        Proposal {
            number: via.seq,
            command,
        }
    }

    /// The log answered; gives who asked, if it was a caller of this server, in this boot.
    pub(super) fn answered(&mut self, via: Via) -> Option<Caller> {
        if via.node != self.me || via.boot != self.boot {
            return None;
        }
        let waiting = self.commands.remove(&via.seq)?;
        if let Some(tag) = waiting.caller.tag {
            self.by_tag.remove(&tag);
        }
        // Of one that was sent twice nobody knows which copy was answered (RFC 6298, §3: Karn's algorithm).
        if waiting.sends == 1 {
            self.answered = self.answered.max(waiting.sent_at);
            let soon = waiting.sent_at.plus(FORWARD_RETRY * 2);
            self.check_at = self.check_at.map(|at| at.min(soon));
        }
        Some(waiting.caller)
    }

    pub(super) fn wait(&mut self, ticket: TicketId, zone: ZoneId, tag: Tag, is_conn_only: bool) {
        let line = self.tickets.entry(ticket).or_default();
        line.zone = zone;
        line.tags.insert(tag, is_conn_only);
        self.tickets_by_tag.insert(tag, ticket);
    }

    /// The tenant of a ticket that somebody waits for here.
    pub(super) fn zone_of_waiter(&self, ticket: TicketId) -> Option<ZoneId> {
        self.tickets.get(&ticket).map(|line| line.zone)
    }

    /// The ticket ended; gives its tenant, and those who wait for it.
    pub(super) fn ended(&mut self, ticket: TicketId) -> (ZoneId, Vec<Tag>) {
        let line = self.tickets.remove(&ticket).unwrap_or_default();
        for tag in line.tags.keys() {
            self.tickets_by_tag.remove(tag);
        }
        (line.zone, line.tags.into_keys().collect())
    }

    /// Whether the ticket that ended had a caller here who went away. Tells so once.
    pub(super) fn was_abandoned(&mut self, ticket: TicketId) -> bool {
        self.abandoned.remove(&ticket).is_some()
    }

    /// A caller went away; gives the ticket that now nobody stands for.
    pub(super) fn gone(&mut self, tag: Tag) -> Option<(ZoneId, TicketId)> {
        if let Some(seq) = self.by_tag.remove(&tag)
            && let Some(waiting) = self.commands.get_mut(&seq)
        {
            waiting.caller.tag = None;
        }
        let ticket = self.tickets_by_tag.remove(&tag)?;
        let line = self.tickets.get_mut(&ticket)?;
        let was_conn_only = line.tags.remove(&tag).unwrap_or_default();
        let zone = line.zone;
        if line.tags.is_empty() {
            self.tickets.remove(&ticket);
        }
        if was_conn_only {
            self.abandoned.insert(ticket, zone);
        }
        was_conn_only.then_some((zone, ticket))
    }

    pub(super) const fn wake_at(&self) -> Option<Timestamp> {
        self.check_at
    }

    /// What nobody will hear an answer of any more: entries were skipped, and with them the answers
    /// to those commands that `is_done` knows. Gives those to be told so.
    fn skipped(&mut self, is_done: impl Fn(Via) -> bool) -> Vec<Tag> {
        let (node, boot) = (self.me, self.boot);
        let mut tags = Vec::new();
        self.commands.retain(|seq, waiting| {
            let seq = *seq;
            let is_skipped = is_done(Via { node, boot, seq });
            if is_skipped {
                tags.extend(waiting.caller.tag);
            }
            !is_skipped
        });
        for tag in &tags {
            self.by_tag.remove(tag);
        }
        tags
    }

    /// Forgets the abandoned tickets whose end was skipped.
    fn forget_abandoned(&mut self, is_alive: impl Fn(ZoneId, TicketId) -> bool) {
        self.abandoned
            .retain(|ticket, zone| is_alive(*zone, *ticket));
    }

    /// Every ticket that somebody waits for here.
    fn awaited(&self) -> Vec<(ZoneId, TicketId)> {
        let tickets = self.tickets.iter();
        tickets.map(|(ticket, line)| (line.zone, *ticket)).collect()
    }

    pub(super) fn audit(&self) -> Result<(), &'static str> {
        let tagged = self
            .commands
            .values()
            .filter(|waiting| waiting.caller.tag.is_some())
            .count();
        if tagged != self.by_tag.len() {
            return Err("a command's caller is not in the index");
        }
        let waiters: usize = self.tickets.values().map(|line| line.tags.len()).sum();
        if waiters != self.tickets_by_tag.len() {
            return Err("a ticket's waiter is not in the index");
        }
        Ok(())
    }

    /// What is to be proposed again.
    fn again(&mut self, now: Timestamp, which: Again) -> Vec<Proposal> {
        let (mut proposals, answered) = (Vec::new(), self.answered);
        for (seq, waiting) in &mut self.commands {
            if which != Again::All && now < waiting.retry_at(answered) {
                continue;
            }
            waiting.sent_at = now;
            if which == Again::Refused && waiting.refused.is_none() {
                continue;
            }
            waiting.sends = waiting.sends.saturating_add(1);
            waiting.refused = None;
            proposals.push(Proposal {
                number: *seq,
                command: waiting.command.clone(),
            });
        }
        self.plan();
        proposals
    }

    fn plan(&mut self) {
        let due = |waiting: &Waiting| match waiting.caller.tag {
            Some(_) => waiting
                .retry_at(self.answered)
                .min(waiting.born.plus(REQUEST_PATIENCE)),
            None => waiting.retry_at(self.answered),
        };
        self.check_at = self.commands.values().map(due).min();
    }

    /// Those whose callers waited long enough.
    ///
    /// What may yet be decided is forgotten if its caller can ask again under the same name. If only
    /// the connection stood for the caller, nobody could ever use what it gets: it waits on without a
    /// caller, and is undone when it is decided. An order of this server's own waits on, too.
    fn expired(&mut self, now: Timestamp) -> Vec<(Tag, Failure)> {
        let mut failed = Vec::new();
        let by_tag = &mut self.by_tag;
        self.commands.retain(|_, waiting| {
            let Some(tag) = waiting.caller.tag else {
                return true;
            };
            if now.since(waiting.born) < REQUEST_PATIENCE {
                return true;
            }
            by_tag.remove(&tag);
            waiting.caller.tag = None;
            let is_over = waiting.was_never_appended();
            failed.push((
                tag,
                if is_over {
                    Failure::NoQuorum
                } else {
                    Failure::Unknown
                },
            ));
            !is_over && waiting.caller.client == Client::None
        });
        failed
    }

    /// These never left this server.
    pub(super) fn unsent(&mut self, numbers: &[u64]) {
        for number in numbers {
            if let Some(waiting) = self.commands.get_mut(number) {
                waiting.sends = waiting.sends.saturating_sub(1);
            }
        }
    }

    /// The leader refused these before it appended them. Gives those to be answered so, and how.
    fn refuse(&mut self, numbers: &[u64], reason: Refused) -> Vec<(Tag, Failure)> {
        let failure = match reason {
            Refused::Busy => Some(Failure::Busy),
            Refused::DiskFull => Some(Failure::DiskFull),
            Refused::NotLeader => None,
        };
        let mut failed = Vec::new();
        for number in numbers {
            let Some(waiting) = self.commands.get_mut(number) else {
                continue;
            };
            waiting.refused = Some(reason);
            if let Some(failure) = failure
                && waiting.was_never_appended()
                && waiting.caller.is_request
            {
                let tag = waiting.caller.tag;
                self.commands.remove(number);
                if let Some(tag) = tag {
                    self.by_tag.remove(&tag);
                    failed.push((tag, failure));
                }
            }
        }
        if reason == Refused::NotLeader {
            self.plan();
        }
        failed
    }
}

impl Node {
    pub(super) fn refused(&mut self, numbers: &[u64], reason: Refused, out: &mut Vec<Output>) {
        for (tag, failure) in self.pending.refuse(numbers, reason) {
            let reply = Reply::Failed(failure);
            out.push(Output::Reply { tag, reply });
        }
    }

    /// What an earlier leader may have lost is proposed again: the machine knows a command by its
    /// via, and does it once.
    pub(super) fn new_leader(&mut self, effects: &mut Vec<Effect>) {
        let again = self.pending.again(self.now, Again::All);
        self.propose_again(again, effects);
        self.reads.restart();
    }

    /// A snapshot stands for entries that this server never read. What they answered to its own
    /// callers it cannot know, and says so: they ask again under the same name, or look. Those for
    /// whom only a connection stood have lost it as by a restart.
    pub(super) fn settle_skipped(&mut self, effects: &mut Vec<Effect>, out: &mut Vec<Output>) {
        let machine = &self.machine;
        let mut unknown = self.pending.skipped(|via| machine.has_done(via));
        let is_alive = |zone, ticket| machine.ticket(zone, ticket).is_some();
        self.pending.forget_abandoned(is_alive);
        for (zone, ticket) in self.pending.awaited() {
            match self.machine.ticket(zone, ticket) {
                None => unknown.extend(self.pending.ended(ticket).1),
                // The entry that offered it was among the skipped ones.
                Some(waiting) if waiting.offered => {
                    self.order(zone, Operation::Confirm { ticket }, effects);
                }
                Some(_) => {}
            }
        }
        for tag in unknown {
            let reply = Reply::Failed(Failure::Unknown);
            out.push(Output::Reply { tag, reply });
        }
    }

    pub(super) fn tick_pending(&mut self, effects: &mut Vec<Effect>, out: &mut Vec<Output>) {
        if self.pending.check_at.is_none_or(|at| self.now < at) {
            return;
        }
        for (tag, failure) in self.pending.expired(self.now) {
            out.push(Output::Reply {
                tag,
                reply: Reply::Failed(failure),
            });
        }
        // A leader has its own proposals in its queue or in its log, but for those that its queue had
        // no room for: nothing of the others is lost.
        let which = if self.replica.leads() {
            Again::Refused
        } else {
            Again::Due
        };
        let again = self.pending.again(self.now, which);
        self.propose_again(again, effects);
    }

    fn propose_again(&mut self, mut again: Vec<Proposal>, effects: &mut Vec<Effect>) {
        self.admit(self.config.me(), &mut again, effects);
        if !again.is_empty() {
            self.replica.propose(again, effects);
        }
    }
}
