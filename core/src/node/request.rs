//! What callers want: checked, proved, and turned into commands, reads, or an answer at once.

use super::Node;
use super::input::{Admin, Ask, Proof, Question, Request};
use super::output::{Failure, Output, Reply};
use super::pending::Caller;
use crate::ids::{Tag, ZoneId};
use crate::limits::PAGE_MAX;
use crate::machine::codec;
use crate::machine::command;
use crate::machine::command::{Client, Command, Operation};
use crate::query::Listing;
use crate::replica::Effect;
use alloc::vec::Vec;
use bytes::Bytes;

impl Node {
    pub(super) fn request(
        &mut self,
        tag: Tag,
        request: Request,
        effects: &mut Vec<Effect>,
        out: &mut Vec<Output>,
    ) {
        let Request {
            zone,
            principal,
            client,
            ask,
        } = request;
        if let Ask::Admin(Admin::HandOver { to }) = ask {
            self.replica.on_hand_over(self.now, to, effects);
        }
        let result = match self.plan(zone, ask) {
            Ok(Plan::Propose(operation)) => {
                self.propose(tag, zone, principal, client, operation, effects)
            }
            Ok(Plan::Read(question)) => self.read(tag, zone, question),
            Ok(Plan::Say(reply)) => {
                out.push(Output::Reply { tag, reply });
                Ok(())
            }
            Err(failure) => Err(failure),
        };
        if let Err(failure) = result {
            out.push(Output::Reply {
                tag,
                reply: Reply::Failed(failure),
            });
        }
    }

    /// What to do about `ask`. Proofs are checked here, before anything is proposed: the log gets
    /// no garbage, and apply compares equality only (rule 24).
    fn plan(&self, zone: ZoneId, ask: Ask) -> Result<Plan, Failure> {
        if let Some(why) = self.not_ready()
            && why.refuses(&ask)
        {
            return Err(Failure::NotReady(why));
        }
        if self.has_no_room_for(&ask) {
            return Err(Failure::DiskFull);
        }
        let operation = match ask {
            Ask::Acquire(acquire) => Operation::Acquire(acquire),
            Ask::Release { proof, all } => {
                let Proof { key, fence, .. } = self.checked(zone, proof)?;
                Operation::Release { key, fence, all }
            }
            Ask::Renew { proof, ttl_ms } => {
                let Proof { key, fence, .. } = self.checked(zone, proof)?;
                Operation::Renew { key, fence, ttl_ms }
            }
            Ask::Convert(convert) => {
                let Proof { fence, .. } = self.checked(zone, convert.proof())?;
                Operation::Convert(command::Convert {
                    fence,
                    parts: convert.parts,
                    wait_ms: convert.wait_ms,
                })
            }
            Ask::Cancel { ticket } => Operation::Cancel { ticket },
            Ask::OpenSession {
                ttl_ms,
                identifier,
                threads,
            } => Operation::OpenSession {
                ttl_ms,
                identifier,
                threads,
            },
            Ask::KeepAlive { session } => Operation::KeepAlive { session },
            Ask::CloseSession { session } => Operation::CloseSession { session },
            Ask::Resize { key, capacity } => Operation::Resize { key, capacity },
            Ask::Force(force) => Operation::Force(force),
            Ask::Admin(Admin::Configure(configure)) => Operation::Configure(configure),
            Ask::Admin(Admin::ReadConfig) => return Ok(Plan::Read(Question::Config)),
            Ask::Resume { session, secret } => {
                let is_right = self.proofs.is_session(zone, session, &secret);
                let resumed = is_right.then_some(Plan::Say(Reply::Resumed));
                return resumed.ok_or(Failure::BadProof);
            }
            Ask::Inspect { key } => return Ok(Plan::Read(Question::Inspect { key })),
            Ask::Verify(verify) => return Ok(Plan::Read(Question::Verify(verify))),
            Ask::List(listing) => return Ok(Plan::Read(Question::List(within(listing)))),
            Ask::Stale(question) => return Ok(Plan::Say(self.stale(zone, question))),
            Ask::Servers | Ask::Admin(Admin::HandOver { .. }) => {
                return Ok(Plan::Say(self.servers()));
            }
        };
        Ok(Plan::Propose(operation))
    }

    fn stale(&self, zone: ZoneId, question: Question) -> Reply {
        let question = match question {
            Question::List(listing) => Question::List(within(listing)),
            Question::Config | Question::Inspect { .. } | Question::Verify(_) => question,
        };
        self.look(zone, &question, self.machine.stamp())
    }

    fn checked(&self, zone: ZoneId, proof: Proof) -> Result<Proof, Failure> {
        if self.proofs.is_right(zone, &proof) {
            Ok(proof)
        } else {
            Err(Failure::BadProof)
        }
    }

    fn servers(&self) -> Reply {
        Reply::Servers {
            nodes: self
                .config
                .members()
                .iter()
                .map(|member| member.node)
                .collect(),
            leader: self.replica.leader(),
            applied: self.machine.applied(),
            digest: self.machine.digest(),
        }
    }

    fn propose(
        &mut self,
        tag: Tag,
        zone: ZoneId,
        principal: Bytes,
        client: Client,
        operation: Operation,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Failure> {
        if self.pending.is_full(&self.limits.queues) {
            return Err(Failure::Busy);
        }
        let via = self.pending.next_via();
        let command = Command {
            zone,
            principal,
            client,
            via,
            operation,
        };
        command.check().map_err(Failure::Invalid)?;
        let caller = Caller {
            tag: Some(tag),
            zone,
            client,
            is_request: true,
        };
        let proposal = self
            .pending
            .add(via, caller, codec::encode(&command), self.now);
        self.replica.propose(alloc::vec![proposal], effects);
        Ok(())
    }

    /// Proposes a command of this server's own, on behalf of a caller or of its absence. Nobody
    /// waits for its answer, but it is proposed until there is one.
    pub(super) fn order(&mut self, zone: ZoneId, operation: Operation, effects: &mut Vec<Effect>) {
        let via = self.pending.next_via();
        let command = Command {
            zone,
            principal: Bytes::new(),
            client: Client::None,
            via,
            operation,
        };
        let caller = Caller {
            tag: None,
            zone,
            client: Client::None,
            is_request: false,
        };
        let proposal = self
            .pending
            .add(via, caller, codec::encode(&command), self.now);
        self.replica.propose(alloc::vec![proposal], effects);
    }

    fn read(&mut self, tag: Tag, zone: ZoneId, question: Question) -> Result<(), Failure> {
        if self.reads.len() >= self.limits.queues.reads {
            return Err(Failure::Busy);
        }
        self.reads.ask(tag, zone, question, self.now);
        Ok(())
    }
}

enum Plan {
    Propose(Operation),
    Read(Question),
    Say(Reply),
}

/// A page has at least one lock, and not too many.
fn within(listing: Listing) -> Listing {
    let limit = listing.limit.clamp(1, PAGE_MAX);
    Listing { limit, ..listing }
}
