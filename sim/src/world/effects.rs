//! What servers want done. Outputs to one destination are done in their order, between
//! destinations in any, and the power may go between any two of them (A2).

use super::event::Event;
use super::{AUDIT_EVERY, Phase, World};
use crate::judges::Judges;
use crate::load::ZONE;
use crate::marks::Mark;
use crate::net::Frame;
use crate::server::{DiskDone, index_of, node_id};
use std::collections::{BTreeMap, VecDeque};
use tenure_core::ids::NodeId;
use tenure_core::limits::ELECTION_TIMEOUT;
use tenure_core::machine::Form;
use tenure_core::node::input::Input;
use tenure_core::node::output::{Halt, Note, Output, Why};
use tenure_core::replica::message::Message;

/// Where an output goes.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Destination {
    Peer(NodeId),
    Caller(u64),
    Log,
    Superblock,
    Reads,
    Snapshots,
    Operator,
}

fn destination(output: &Output) -> Destination {
    match output {
        Output::Send { to, .. } => Destination::Peer(*to),
        Output::Reply { tag, .. } => Destination::Caller(tag.conn),
        Output::Append { .. } => Destination::Log,
        Output::Promise { .. } => Destination::Superblock,
        Output::Load { .. } | Output::LoadChunk { .. } => Destination::Reads,
        Output::SnapshotChunk { .. } | Output::SnapshotDone { .. } | Output::Truncate { .. } => {
            Destination::Snapshots
        }
        Output::Retire(_) | Output::Configured { .. } | Output::Note(_) | Output::Halt { .. } => {
            Destination::Operator
        }
    }
}

impl World {
    /// A server takes what is in its inbox.
    pub(super) fn run_server(&mut self, index: usize, start: u64) {
        let now = self.now;
        let server = &mut self.servers[index];
        if server.start != start {
            return;
        }
        let Some(process) = server.process() else {
            return;
        };
        if process.run_at != Some(now) {
            return;
        }
        process.run_at = None;
        if process.busy_until > now {
            let at = process.busy_until;
            self.schedule(index, at);
            return;
        }
        let late = server.ticks_late(now);
        let is_starved = late > ELECTION_TIMEOUT.as_nanos() as crate::Nanos;
        self.marks.sometimes(is_starved, Mark::ClockStarved);
        let outputs = server.round(now);
        self.rounds += 1;
        let audit = self.rounds.is_multiple_of(AUDIT_EVERY);
        self.watch(index, &outputs, audit);
        self.trace_round(index, &outputs);
        if self.judges.docket.first().is_some() {
            return;
        }
        self.do_outputs(index, outputs);
        if self.servers[index].start == start {
            self.begin_sync(index);
            self.reschedule(index);
        }
    }

    pub(super) fn reschedule(&mut self, index: usize) {
        if let Some(at) = self.servers[index].next_run(self.now) {
            self.schedule(index, at);
        }
    }

    fn do_outputs(&mut self, index: usize, outputs: Vec<Output>) {
        let start = self.servers[index].start;
        for output in self.in_some_order(outputs) {
            if self.effect(index) {
                self.marks.hit(Mark::CrashBetweenOutputs);
                return;
            }
            self.do_output(index, output);
            if self.servers[index].start != start {
                return;
            }
        }
    }

    /// Any order that keeps the order of each destination.
    fn in_some_order(&mut self, outputs: Vec<Output>) -> Vec<Output> {
        if !self.plan.host.shuffle || outputs.len() < 2 {
            // As the real host: words first.
            let (words, rest): (Vec<_>, Vec<_>) = outputs
                .into_iter()
                .partition(|output| matches!(output, Output::Send { .. } | Output::Reply { .. }));
            return words.into_iter().chain(rest).collect();
        }
        let mut queues: BTreeMap<Destination, VecDeque<Output>> = BTreeMap::new();
        for output in outputs {
            queues
                .entry(destination(&output))
                .or_default()
                .push_back(output);
        }
        let mut queues: Vec<VecDeque<Output>> = queues.into_values().collect();
        let mut ordered = Vec::new();
        while !queues.is_empty() {
            let one = self.crashes.index(queues.len());
            match queues[one].pop_front() {
                Some(output) => ordered.push(output),
                None => drop(queues.swap_remove(one)),
            }
        }
        ordered
    }

    /// Something is about to be done. True if the power goes before.
    fn effect(&mut self, index: usize) -> bool {
        let server = &mut self.servers[index];
        let Some(left) = server.crash_in else {
            return false;
        };
        if left > 0 {
            server.crash_in = Some(left - 1);
            return false;
        }
        self.crash(index, Mark::Crash);
        true
    }

    fn do_output(&mut self, index: usize, output: Output) {
        match output {
            Output::Send { to, message } => self.send(index, index_of(to), message),
            Output::Reply { tag, reply } => {
                let client = (tag.conn >> 32) as usize;
                if client >= self.clients.len() {
                    return; // an operator's
                }
                let net = self.net.knobs();
                if self.wire.chance(net.drop_ppm) {
                    self.marks.hit(Mark::ReplyLost);
                    return;
                }
                let travel = 30_000 + self.wire.exponential(net.delay_mean);
                let reply = Box::new(reply);
                self.queue
                    .push(self.now + travel, Event::Told { client, tag, reply });
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
                self.expect_disk(index, begun);
            }
            Output::Load { from, upto } => {
                let entries = self.servers[index].load(from, upto);
                self.marks.sometimes(!entries.is_empty(), Mark::Loaded);
                let mut slot = from;
                for entry in &entries {
                    self.judges
                        .votes
                        .on_decided_entry(slot, entry, &mut self.judges.docket);
                    slot = slot.next();
                }
                self.tell(
                    index,
                    Input::Loaded {
                        first: from,
                        entries,
                    },
                );
            }
            Output::SnapshotChunk { .. }
            | Output::SnapshotDone { .. }
            | Output::Truncate { .. }
            | Output::LoadChunk { .. } => self.do_snapshot(index, output),
            Output::Retire(_) => {}
            Output::Configured { config } => self.configured(index, *config),
            Output::Note(note) => self.do_note(index, &note),
            Output::Halt {
                reason: Halt::Removed { .. },
            } => self.removed(index),
            Output::Halt {
                reason: Halt::Role { .. },
            } => self.role_changed(index),
            Output::Halt { reason } => {
                let detail = format!("server {}: {reason}", index + 1);
                self.judges.docket.broken("no server halts", detail);
            }
        }
    }

    fn do_note(&mut self, index: usize, note: &Note) {
        match note {
            Note::Leading { .. } => {
                self.marks.hit(Mark::Election);
                let promoted = matches!(self.servers[index].kept, Some((Form::Witness, _)));
                self.marks.sometimes(promoted, Mark::PromotedLeads);
                self.has_leader(index, true);
                let drains = self.judges.history.shared().drains(node_id(index));
                self.marks.sometimes(drains, Mark::LeadsDrained);
            }
            Note::Epoch { membership } => {
                self.marks.hit(Mark::Epoch);
                let voters = membership.seats().len();
                self.marks.sometimes(voters == 1, Mark::ShrunkToOne);
                self.marks.sometimes(voters >= 5, Mark::GrownToFive);
            }
            Note::HandingOver { to, why } => {
                self.marks.hit(Mark::HandingOver);
                let drained = *why == Why::Drains;
                self.marks.sometimes(drained, Mark::HandsOverDrained);
                if *why == Why::Location {
                    self.marks.hit(Mark::Relocated);
                    self.judge_place(index, *to);
                }
            }
            Note::KeepsLeading { .. } => self.marks.hit(Mark::KeepsLeading),
            Note::ClockOff { node, ahead_ms } => {
                self.marks.hit(Mark::ClockOff);
                let is_bad = self.plan.bad_clock == Some(index_of(*node));
                let docket = &mut self.judges.docket;
                docket.check(is_bad, "only a wrong clock raises an alarm", || {
                    format!("server {node} is said to be {ahead_ms} ms ahead")
                });
            }
            Note::Forced { fence, .. } => {
                let is_so = self.judges.beliefs.is_taken(ZONE, *fence);
                let docket = &mut self.judges.docket;
                docket.check(is_so, "servers tell of what was taken", || {
                    format!("server {} says so of {fence}", index + 1)
                });
            }
            Note::Following { leader } => self.has_leader(index, leader.is_some()),
            Note::Fetching { id, .. } => self.fetch_began(index, *id),
            Note::Installed { id, .. } => self.fetch_ended(index, *id, true),
            Note::SnapshotFailed { id, .. } => self.fetch_ended(index, *id, false),
            Note::BadSnapshot { id, .. } => {
                self.fetch_ended(index, *id, false);
                self.marks.hit(Mark::BadSnapshot);
                let is_forged = self.plan.net.corrupt_ppm > 0;
                self.judges
                    .docket
                    .check(is_forged, "what is sent as a snapshot is one", || {
                        format!("server {} refused {id}", index + 1)
                    });
            }
            Note::Reverted { .. } => {
                let detail = format!("server {} says so of a peer", index + 1);
                self.judges.docket.broken("no disk goes back", detail);
            }
        }
    }

    fn judge_place(&mut self, index: usize, to: NodeId) {
        let server = &self.servers[index];
        if let Some(process) = server.process_ref()
            && self.plan.bad_clock != Some(index)
        {
            let shared = process.node.view().machine.shared();
            let giver = (index, server.start, shared.mark().change);
            let Judges { places, docket, .. } = &mut self.judges;
            places.on_relocated(giver, to, docket);
        }
    }

    fn has_leader(&mut self, index: usize, has_one: bool) {
        let now = self.now;
        let leads = self.servers[index].leads();
        self.bend_voter(index, leads);
        if let Some(process) = self.servers[index].process() {
            let since = process.leaderless_since.unwrap_or(now);
            process.leaderless_since = (!has_one).then_some(since);
        }
    }

    pub(super) fn expect_disk(&mut self, index: usize, begun: Option<(crate::Nanos, DiskDone)>) {
        if let Some((at, done)) = begun {
            let start = self.servers[index].start;
            self.queue.push(
                at,
                Event::Disk {
                    server: index,
                    start,
                    done,
                },
            );
        }
    }

    fn begin_sync(&mut self, index: usize) {
        let begun = self.servers[index].begin_sync(self.now, &mut self.marks);
        if begun.is_some() && self.effect(index) {
            self.marks.hit(Mark::CrashBeforeSync);
            return;
        }
        self.expect_disk(index, begun);
    }

    /// Something on a disk is done.
    pub(super) fn disk_done(&mut self, index: usize, done: DiskDone) {
        if done == DiskDone::Snapshot {
            // Rare: a crash that is near comes now, before the name is there or before it is synced.
            let ppm = self.plan.host.name_crash_ppm;
            let now = ppm > 0 && self.phase == Phase::Safety && self.crashes.chance(ppm);
            let near = &mut self.servers[index].crash_in;
            *near = near.map(|_| 0).or(now.then_some(0));
        }
        if self.effect(index) {
            self.marks.hit(Mark::CrashInSync);
            return;
        }
        if self.phase == Phase::Safety && self.crashes.chance(self.plan.host.sync_error_ppm) {
            // The host stops: what a sync left behind that failed, nobody knows (D3, D4).
            self.crash(index, Mark::SyncError);
            return;
        }
        let was_opening = self.servers[index].is_opening();
        let begun =
            self.servers[index].disk_done(self.now, done, &mut self.judges, &mut self.marks);
        self.expect_disk(index, begun);
        self.judges.advance(&mut self.marks);
        if was_opening && self.servers[index].process_ref().is_some() {
            self.trace(index, "serves");
            self.loop_again(index);
            self.schedule(index, self.now);
            for peer in 0..self.servers.len() {
                if peer != index && self.servers[peer].process_ref().is_some() {
                    self.hint(index, peer, true);
                    self.hint(peer, index, true);
                }
            }
        }
        self.reschedule(index);
    }

    fn send(&mut self, from: usize, to: usize, message: Message) {
        let (from_boot, to_start) = (self.servers[from].boot(), self.servers[to].start);
        if self.servers[to].process_ref().is_none() || !self.have_met(from, to) {
            return;
        }
        let message = if self.plan.net.codec {
            let Some(message) = self.through_the_codec((from, to), from_boot, message) else {
                return;
            };
            message
        } else {
            message
        };
        let frame = Frame {
            from,
            to,
            from_boot,
            to_start,
            message,
            is_old: false,
        };
        for (at, frame) in self.net.send(self.now, frame, &mut self.marks) {
            self.queue.push(at, Event::Frame(Box::new(frame)));
        }
    }

    /// A frame arrives, if its receiver still lives.
    pub(super) fn arrive(&mut self, frame: Frame) {
        if self.servers[frame.to].start != frame.to_start {
            return;
        }
        let Frame {
            to,
            from_boot: boot,
            message,
            is_old,
            ..
        } = frame;
        if !is_old {
            self.mark_arrival(to, (frame.from, boot), &message);
        }
        let from = node_id(frame.from);
        self.tell(
            to,
            Input::Peer {
                from,
                boot,
                message,
            },
        );
    }
}
