//! Proposals on their way to the leader: any server takes any request.

use super::Leading;
use crate::ids::NodeId;
use crate::replica::message::{Message, Proposal, Refused};
use crate::replica::{Effect, Replica, Role, Until};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

impl Replica {
    /// Asks for `proposals` of this server to be decided.
    pub fn propose(&mut self, proposals: Vec<Proposal>, out: &mut Vec<Effect>) {
        let me = self.config.me();
        if self.leads_a_quorum() {
            self.enqueue(me, proposals, out);
        } else {
            self.forwards.extend(proposals);
        }
    }

    pub(in crate::replica) fn on_forward(
        &mut self,
        from: NodeId,
        proposals: Vec<Proposal>,
        out: &mut Vec<Effect>,
    ) {
        if self.leads_a_quorum() {
            self.enqueue(from, proposals, out);
        } else {
            let numbers = proposals.iter().map(|proposal| proposal.number).collect();
            self.refuse(from, numbers, Refused::NotLeader, out);
        }
    }

    fn enqueue(&mut self, from: NodeId, proposals: Vec<Proposal>, out: &mut Vec<Effect>) {
        let Role::Leading(leading) = &mut self.role else {
            return;
        };
        let mut refused = Vec::new();
        for proposal in proposals {
            let most = self.bounds.proposals;
            if let Err(proposal) = leading.queue.push(from, proposal, most) {
                refused.push(proposal.number);
            }
        }
        if !refused.is_empty() {
            self.refuse(from, refused, Refused::Busy, out);
        }
    }

    /// Tells `to`, a peer or this server itself, that its proposals `numbers` are not appended.
    pub fn refuse(&self, to: NodeId, numbers: Vec<u64>, reason: Refused, out: &mut Vec<Effect>) {
        out.push(if to == self.config.me() {
            Effect::Refused { numbers, reason }
        } else {
            let message = Message::Refuse { numbers, reason };
            Effect::Send {
                to,
                message,
                until: Until::Now,
            }
        });
    }

    /// Gives back what never got a slot.
    pub(in crate::replica) fn refuse_all(&self, leading: Leading, out: &mut Vec<Effect>) {
        let mut numbers: BTreeMap<NodeId, Vec<u64>> = BTreeMap::new();
        for (from, proposal) in leading.queue.into_waiting() {
            numbers.entry(from).or_default().push(proposal.number);
        }
        for (from, numbers) in numbers {
            self.refuse(from, numbers, Refused::NotLeader, out);
        }
    }

    pub(in crate::replica) fn flush_forwards(&mut self, out: &mut Vec<Effect>) {
        if self.forwards.is_empty() {
            return;
        }
        let forwards = core::mem::take(&mut self.forwards);
        let Some(leader) = self.leader() else {
            let numbers = forwards.iter().map(|proposal| proposal.number).collect();
            return out.push(Effect::Unsent { numbers });
        };
        let mut proposals = Vec::new();
        let mut bytes = 0;
        for proposal in forwards {
            if bytes + proposal.command.len() > self.bounds.batch_bytes && !proposals.is_empty() {
                let message = Message::Forward {
                    proposals: core::mem::take(&mut proposals),
                };
                out.push(Effect::Send {
                    to: leader,
                    message,
                    until: Until::Now,
                });
                bytes = 0;
            }
            bytes += proposal.command.len();
            proposals.push(proposal);
        }
        out.push(Effect::Send {
            to: leader,
            message: Message::Forward { proposals },
            until: Until::Now,
        });
    }
}
