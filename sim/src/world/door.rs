//! Who speaks with whom: two processes say hello before anything else, and a server that lost its data
//! directory is let in by nobody (P7).

use super::event::Event;
use super::{Phase, World};
use crate::marks::Mark;
use crate::scenario::SECOND;
use crate::server::{Lost, index_of, node_id};
use tenure_core::config::Config;
use tenure_core::founding::Founding;
use tenure_core::ids::{ClusterId, Slot};
use tenure_core::wire::peer::{Hello, HelloRefusal};

/// A server that was refused is started again after this long.
const AGAIN: crate::Nanos = SECOND;

impl World {
    /// Whether two processes have let each other in. If they have not met, they do now.
    pub(super) fn have_met(&mut self, from: usize, to: usize) -> bool {
        let has_met = |world: &Self, index: usize, peer: usize| {
            let process = world.servers[index].process_ref();
            process.is_some_and(|process| process.guests.have(peer, world.servers[peer].start))
        };
        if has_met(self, from, to) && has_met(self, to, from) {
            return true;
        }
        for (guest, host) in [(from, to), (to, from)] {
            let Some(process) = self.servers[guest].process_ref() else {
                return false;
            };
            let hello = process.hello(host);
            if let Err(refusal) = self.servers[host].admit(&hello) {
                self.refuse(guest, host, &refusal);
                return false;
            }
        }
        self.knock_from_elsewhere(from, to);
        for (host, guest) in [(from, to), (to, from)] {
            let start = self.servers[guest].start;
            if let Some(process) = self.servers[host].process() {
                process.guests.meet(guest, start);
            }
            // Of two that lost theirs, neither knows what the other one had; they are too few to serve.
            let is_right = !self.servers[guest].is_lost() || self.servers[host].is_lost();
            let docket = &mut self.judges.docket;
            docket.check(is_right, "who lost its disk is let in by nobody", || {
                format!("server {} lets server {} in", host + 1, guest + 1)
            });
        }
        true
    }

    /// A server of another cluster, which has the same number and whatever else, dials this one (N14).
    fn knock_from_elsewhere(&mut self, like: usize, host: usize) {
        let Some(process) = self.servers[like].process_ref() else {
            return;
        };
        let stranger = Hello {
            cluster: ClusterId(*b"not this cluster"),
            ..process.hello(host)
        };
        let answer = self.servers[host].admit(&stranger);
        self.marks.hit(Mark::StrangerKnocks);
        let is_right = matches!(answer, Err(HelloRefusal::Cluster { .. }));
        let docket = &mut self.judges.docket;
        docket.check(
            is_right,
            "a server of another cluster is let in by nobody",
            || format!("server {}: {answer:?}", host + 1),
        );
    }

    /// A server is not let in. It stops if that is so for good, as the real one does.
    fn refuse(&mut self, guest: usize, host: usize, refusal: &HelloRefusal) {
        let is_right = match refusal {
            HelloRefusal::Incarnation { .. } | HelloRefusal::OldBoot { .. } => {
                self.servers[guest].is_lost()
            }
            HelloRefusal::Removed { .. } => !self.is_member(guest),
            // A newcomer that is faster than the news of it.
            HelloRefusal::UnknownMember { .. } | HelloRefusal::NotApproved { .. } => return,
            HelloRefusal::Version { .. }
            | HelloRefusal::Cluster { .. }
            | HelloRefusal::NotMe { .. }
            | HelloRefusal::Forked { .. }
            | HelloRefusal::Stands { .. } => false,
        };
        let docket = &mut self.judges.docket;
        docket.check(is_right, "a healthy member is let in", || {
            format!("server {}: {refusal}", host + 1)
        });
        let is_heard = self.net.is_open(guest, host) && self.net.is_open(host, guest);
        let Some(process) = self.servers[guest].process().filter(|_| is_heard) else {
            return;
        };
        if !process.guests.is_hopeless(node_id(host)) {
            return;
        }
        if self.servers[guest].is_lost() {
            self.marks.hit(Mark::LostRefused);
            self.crash(guest, Mark::Crash);
        } else {
            self.marks.hit(Mark::RemovedRefused);
            self.removed(guest);
        }
    }

    /// What all servers have alike is another thing at this one.
    pub(super) fn configured(&mut self, index: usize, config: Config) {
        if let Some(process) = self.servers[index].process() {
            process.guests.update(config);
        }
    }

    /// A server loses its data directory, if the others are enough without it, now and later: nobody
    /// promises anything to those that lost more.
    pub(super) fn wipe(&mut self, index: usize) {
        let is_new = self.servers[index].disk.files().next().is_none();
        let is_needed =
            !self.has_quorum_but(Some(index)) || !self.can_know_the_epoch(&self.others(index));
        if is_new || self.servers[index].is_gone || is_needed {
            return;
        }
        let is_fixed = self.plan.host.founders.is_none();
        // One that came later has not met all: it can't tell who lost what before.
        let how = if is_fixed && self.nemesis.chance(500_000) {
            Lost::Formatted
        } else {
            Lost::Asks
        };
        self.crash(index, Mark::Crash);
        self.marks.hit(Mark::Wiped);
        self.servers[index].wipe(how);
        self.judges.promises[index].lose();
    }

    /// Those that vote now, but for one.
    fn others(&self, one: usize) -> Vec<usize> {
        let membership = self.judges.history.shared().membership();
        let seats = membership.seats().iter();
        let others = seats.map(|seat| index_of(seat.node));
        others.filter(|index| *index != one).collect()
    }

    /// Whether one of these voters knows that their epoch began: until then it takes a majority of the one
    /// before to tell.
    pub(super) fn can_know_the_epoch(&self, voters: &[usize]) -> bool {
        let base = self.judges.history.shared().membership().base();
        let knows = |index: &usize| {
            let process = self.servers[*index].process_ref();
            process.is_some_and(|process| process.node.view().decided >= base)
        };
        base == Slot::new(0) || voters.iter().any(knows)
    }

    /// Whether those that vote now, but for one and for all that are lost, are a majority.
    pub(super) fn has_quorum_but(&self, one: Option<usize>) -> bool {
        let membership = self.judges.history.shared().membership();
        let is_there = |index: usize| {
            let server = &self.servers[index];
            Some(index) != one && server.is_whole()
        };
        let seats = membership.seats().iter();
        let whole = seats.filter(|seat| is_there(index_of(seat.node)));
        whole.count() >= membership.quorum()
    }

    /// An empty data directory under a list of members: its server asks the others to found the cluster with
    /// it, which stands, and ends when one of them says so (rule 36).
    pub(super) fn ask_to_found(&mut self, index: usize) {
        let server = &self.servers[index];
        let config = Config::of(node_id(index), server.genesis());
        let founding = config
            .ok()
            .and_then(|config| Founding::begin(config, None, server.door.incarnation).ok());
        let Some(founding) = founding else {
            return; // it came later: its number votes, so it may not join again
        };
        for peer in (0..self.servers.len()).filter(|peer| *peer != index) {
            let is_heard = self.net.is_open(index, peer) && self.net.is_open(peer, index);
            let Some(process) = self.servers[peer].process_ref().filter(|_| is_heard) else {
                continue;
            };
            let answer = process
                .guests
                .doorman
                .answer_founder(&founding.word(node_id(peer)));
            self.marks.sometimes(answer.is_err(), Mark::FounderRefused);
            let docket = &mut self.judges.docket;
            docket.check(answer.is_err(), "a cluster is founded once", || {
                format!("server {} and {answer:?}", index + 1)
            });
        }
        if self.phase == Phase::Safety {
            let again = self.now + AGAIN;
            self.queue.push(again, Event::PowerOn { server: index });
        }
    }
}
