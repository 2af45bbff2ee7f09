//! Who makes trouble.

use super::event::Event;
use super::{Phase, World};
use crate::clock::DRIFT_PPM_MAX;
use crate::marks::Mark;
use crate::scenario::{MS, SECOND, Trouble};
use crate::server::{Server, node_id};
use tenure_core::limits::ELECTION_TIMEOUT;
use tenure_core::node::input::Input;

/// Two leaders that are isolated within this time are one fault: the second had just begun.
const SOON: crate::Nanos = 2 * SECOND;

impl World {
    /// The next item of the list of faults is due at its time.
    pub(super) fn expect_fault(&mut self) {
        if let Some(fault) = self.faults.front() {
            self.queue.push(fault.at, Event::Trouble);
        }
    }

    /// The nemesis does the first thing on its list.
    pub(super) fn trouble(&mut self) {
        if let Some(fault) = self.faults.pop_front()
            && self.phase == Phase::Safety
        {
            self.make(fault.trouble);
        }
        self.expect_fault();
    }

    fn any_server(&mut self) -> usize {
        self.nemesis.index(self.servers.len())
    }

    /// A server that thinks that it leads, or any.
    fn leader_or_any(&mut self) -> usize {
        let leads = |index: &usize| {
            let process = self.servers[*index].process_ref();
            process.is_some_and(|process| process.node.view().role == "leader")
        };
        let leaders: Vec<usize> = (0..self.servers.len()).filter(leads).collect();
        self.marks.sometimes(leaders.len() > 1, Mark::TwoLeaders);
        if leaders.is_empty() {
            return self.any_server();
        }
        leaders[self.nemesis.index(leaders.len())]
    }

    fn make(&mut self, trouble: Trouble) {
        let stall = MS + self.nemesis.exponential(self.plan.nemesis.stall_mean);
        let any = self.any_server();
        match trouble {
            Trouble::Crash => self.crash_soon(any, 0),
            Trouble::RestartLoop => {
                let loops = self.nemesis.range(2, 6);
                self.crash_soon(any, loops);
            }
            Trouble::CrashLeader => {
                let leader = self.leader_or_any();
                self.crash_soon(leader, 0);
            }
            Trouble::PowerCut => self.all(|world, index| world.crash(index, Mark::PowerCut)),
            Trouble::Pause => self.pause(any, stall),
            Trouble::PauseLeader => {
                let leader = self.leader_or_any();
                let nap = self.nemesis.range(180, 440) * MS;
                self.pause(leader, nap);
            }
            Trouble::PauseAll => self.all(|world, index| world.pause(index, stall)),
            Trouble::SlowCpu => {
                self.marks.hit(Mark::SlowCpu);
                self.servers[any].slow_cpu_until = self.now + stall;
            }
            Trouble::SlowDisk => {
                self.marks.hit(Mark::SlowDisk);
                self.servers[any].slow_disk_until = self.now + stall;
            }
            Trouble::Isolate => self.isolate(any),
            Trouble::IsolateLeader => {
                let leader = self.leader_or_any();
                self.isolate(leader);
            }
            Trouble::CutOneWay
            | Trouble::CutSome
            | Trouble::CutAll
            | Trouble::Mend
            | Trouble::Clog
            | Trouble::Swizzle
            | Trouble::Flap
            | Trouble::SlowReader
            | Trouble::BlackHole => self.trouble_links(trouble, any, stall),
            Trouble::HandOver => self.want_leader(any),
            Trouble::HandOverStorm => {
                self.marks.hit(Mark::HandOverStorm);
                self.all(Self::want_leader);
            }
            Trouble::AddMember
            | Trouble::RemoveMember
            | Trouble::ReplaceMember
            | Trouble::ChangeRole
            | Trouble::Drain
            | Trouble::TakeBack
            | Trouble::Invite
            | Trouble::StuckLearner => self.change_members(trouble),
            Trouble::Wipe => self.wipe(any),
            Trouble::LowSpace => self.bound_disk(any),
            Trouble::LowSpaces => self.all(Self::bound_disk),
            Trouble::ClockFreeze => self.freeze_clock(stall),
            Trouble::ClockJump | Trouble::ClockBack | Trouble::ClockRate => self.bend(trouble),
        }
        self.trace(any, trouble_name(trouble));
    }

    /// An operator asks a server for another leader.
    fn want_leader(&mut self, asked: usize) {
        let is_named = self.nemesis.chance(500_000);
        let to = is_named.then(|| node_id(self.any_server()));
        self.order(asked, Input::HandOver { to });
    }

    /// Does something to links, those of one server or of any.
    fn trouble_links(&mut self, trouble: Trouble, any: usize, stall: crate::Nanos) {
        match trouble {
            Trouble::CutOneWay => self.cut_one_way(any),
            Trouble::CutSome => self.cut_some(),
            Trouble::CutAll => {
                self.marks.hit(Mark::CutAll);
                self.all(Self::isolate);
            }
            Trouble::Clog => {
                let other = self.any_server();
                self.net.clog((any, other), self.now, self.now + stall);
            }
            Trouble::Swizzle => self.swizzle_some(stall),
            Trouble::Flap => self.flap_some(stall),
            Trouble::SlowReader => {
                let (gap, until) = (self.nemesis.log_uniform(100_000, 20 * MS), self.now + stall);
                self.all(|world, other| world.net.read_slowly((other, any), gap, until));
            }
            Trouble::BlackHole => {
                let bytes_max = self.nemesis.log_uniform(20, 2_000) as usize;
                self.all(|world, other| world.net.black_hole(any, other, Some(bytes_max)));
            }
            _ => self.mend(),
        }
    }

    fn all(&mut self, act: impl Fn(&mut Self, usize)) {
        for index in 0..self.servers.len() {
            act(self, index);
        }
    }

    /// A server crashes at one of its next effects, and soon after so many starts again.
    fn crash_soon(&mut self, index: usize, loops: u64) {
        let server = &mut self.servers[index];
        server.crash_in = Some(self.nemesis.below(24));
        server.loops = loops;
    }

    fn cut_one_way(&mut self, from: usize) {
        let to = self.any_server();
        if from != to {
            self.marks.hit(Mark::OneWay);
            self.net.cut(from, to, true);
        }
    }

    /// Tells a server something, if it serves.
    pub(super) fn order(&mut self, index: usize, input: Input) {
        if self.servers[index].process_ref().is_some() {
            self.tell(index, input);
        }
    }

    /// Somebody else takes the room on a disk, or gives it back.
    fn bound_disk(&mut self, index: usize) {
        let is_taken = self.nemesis.chance(600_000);
        let segments = self.nemesis.below(3) * self.plan.host.segment_bytes;
        let rest = self.nemesis.log_uniform(1, self.plan.host.segment_bytes);
        let growth = is_taken.then_some(segments + rest);
        self.servers[index].disk.bound(growth);
        self.schedule(index, self.now);
    }

    /// Its process stands still; what it would have been told waits.
    pub(super) fn pause(&mut self, index: usize, stall: crate::Nanos) {
        let until = self.now + stall;
        if let Some(process) = self.servers[index].process() {
            self.marks.hit(Mark::Pause);
            let leads = process.node.view().role == "leader";
            self.marks.sometimes(leads, Mark::LeaderPause);
            // A host's clock counts what it sleeps: its process sees a leap (C6).
            let is_long = stall > ELECTION_TIMEOUT.as_nanos() as crate::Nanos;
            self.marks.sometimes(is_long, Mark::ClockSuspend);
            process.busy_until = process.busy_until.max(until);
        }
    }

    pub(super) fn isolate(&mut self, index: usize) {
        self.mark_absence(index);
        self.mark_isolation(index);
        for other in 0..self.servers.len() {
            if other != index {
                self.net.cut(index, other, true);
                self.net.cut(other, index, true);
                if self.nemesis.chance(300_000) {
                    self.hint(other, index, false);
                    self.hint(index, other, false);
                }
            }
        }
    }

    /// One leader is isolated soon after another one was (N13).
    fn mark_isolation(&mut self, index: usize) {
        if self.phase == Phase::Safety && self.servers[index].leads() {
            let last = self.leader_isolated.replace((index, self.now));
            let again = last.is_some_and(|(other, at)| other != index && self.now - at < SOON);
            self.marks.sometimes(again, Mark::LeadersIsolated);
        }
    }

    pub(super) fn cut_some(&mut self) {
        for from in 0..self.servers.len() {
            for to in 0..from {
                if self.nemesis.chance(400_000) {
                    self.net.cut(from, to, true);
                    self.net.cut(to, from, true);
                }
            }
        }
    }

    /// Clogs a part of the links one by one, and lets them go in another order (FoundationDB's
    /// swizzle-clogging).
    fn swizzle_some(&mut self, stall: crate::Nanos) {
        self.marks.hit(Mark::Swizzle);
        let servers = self.servers.len();
        let mut links: Vec<(usize, usize)> = (0..servers)
            .flat_map(|from| (0..servers).map(move |to| (from, to)))
            .filter(|(from, to)| from != to)
            .collect();
        self.nemesis.shuffle(&mut links);
        links.truncate(self.nemesis.index(links.len() + 1));
        let step = stall / (links.len() as u64 + 1);
        let mut ends: Vec<u64> = (0..links.len() as u64).collect();
        self.nemesis.shuffle(&mut ends);
        for ((link, begin), end) in links.into_iter().zip(0..).zip(ends) {
            let from = self.now + begin * step;
            let until = self.now + stall + end * step;
            self.net.clog(link, from, until);
        }
    }

    fn flap_some(&mut self, stall: crate::Nanos) {
        let turn = self.nemesis.log_uniform(10 * MS, 400 * MS);
        for from in 0..self.servers.len() {
            for to in 0..self.servers.len() {
                if self.nemesis.chance(400_000) {
                    self.net.flap((from, to), turn, self.now + stall);
                }
            }
        }
    }

    /// A server that started crashes again soon, if it is in a loop.
    pub(super) fn loop_again(&mut self, index: usize) {
        let draw = self.nemesis.below(40);
        let server = &mut self.servers[index];
        if server.loops > 0 && self.phase == Phase::Safety {
            server.loops -= 1;
            server.crash_in = Some(draw);
            self.marks.hit(Mark::RestartLoop);
        }
    }

    pub(super) fn mend(&mut self) {
        for from in 0..self.servers.len() {
            for to in 0..self.servers.len() {
                self.net.cut(from, to, false);
                self.net.black_hole(from, to, None);
                self.net.lose(from, to, None);
            }
        }
    }

    /// Only one clock may leave its specification: a majority that lies outvotes the truth.
    fn bend(&mut self, trouble: Trouble) {
        let Some(bad) = self.plan.bad_clock else {
            return;
        };
        let by = self.nemesis.log_uniform(MS, 3_600 * SECOND);
        let rate = self.nemesis.range(0, 1_000_000) as i64 - 500_000;
        let clock = &mut self.servers[bad].clock;
        if trouble == Trouble::ClockJump {
            self.marks.hit(Mark::ClockJump);
            clock.jump(self.now, by);
        } else if trouble == Trouble::ClockBack {
            self.marks.hit(Mark::ClockBack);
            clock.step_back(self.now, by.min(5 * SECOND));
        } else {
            self.marks.hit(Mark::ClockRate);
            clock.set_rate(self.now, rate);
        }
        self.reschedule(bad);
    }

    /// The one bad clock shows the same time for a while, and then goes on from there (C5).
    fn freeze_clock(&mut self, stall: crate::Nanos) {
        if let Some(bad) = self.plan.bad_clock {
            let serves = self.servers[bad].process_ref().is_some();
            self.marks.sometimes(serves, Mark::ClockFreeze);
            self.servers[bad].clock.freeze(self.now, self.now + stall);
            self.reschedule(bad);
        }
    }

    /// A clock that is bent while its server follows only: what a leader's clock may do is another law.
    pub(super) fn bend_voter(&mut self, index: usize, leads: bool) {
        if let Some(bent_ppm) = self.plan.bent_ppm
            && self.plan.bad_clock == Some(index)
            && self.phase == Phase::Safety
        {
            self.marks.hit(Mark::ClockRate);
            let rate = if leads { 0 } else { bent_ppm };
            self.servers[index].clock.set_rate(self.now, rate);
            self.reschedule(index);
        }
    }

    /// The safety phase ends: a majority is whole from now on, and what is outside of it stays as
    /// it is for ever.
    pub(super) fn heal(&mut self) {
        let servers = self.servers.len();
        self.core = self.draw_core();
        self.phase = Phase::Liveness;
        self.net.heal();
        for index in 0..servers {
            let is_core = self.core.contains(&index);
            if !is_core && self.servers[index].disk.files().next().is_some() {
                self.leave_outside(index);
                continue;
            }
            let drift = DRIFT_PPM_MAX / 2;
            self.servers[index].clock.mend(self.now, drift);
            self.servers[index].crash_in = None;
            self.servers[index].mend_disk();
            self.servers[index].disk.bound(None);
            if !is_core {
                continue; // one that was never there comes when it is wanted, and is whole
            }
            if let Some(process) = self.servers[index].process() {
                process.busy_until = process.busy_until.min(self.now);
                process.run_at = None;
            }
            self.queue
                .push(self.now + 10 * MS, Event::PowerOn { server: index });
            self.schedule(index, self.now);
        }
        let drain = self.plan.drain_at();
        self.queue.push(drain, Event::Drain);
        let settle = self.now + self.plan.liveness - 3 * SECOND;
        self.queue.push(settle, Event::Settle);
        self.trace(0, "heal");
    }

    /// A majority of those that vote, or more of them; and all of the others that are there, or none.
    fn draw_core(&mut self) -> Vec<usize> {
        let mut all: Vec<usize> = (0..self.servers.len()).collect();
        self.nemesis.shuffle(&mut all);
        let may_come = |server: &Server| {
            !server.is_lost() && !server.is_gone && (server.is_founder() || server.joined.is_some())
        };
        all.retain(|index| may_come(&self.servers[*index]));
        self.judges.advance(&mut self.marks);
        let membership = self.judges.history.shared().membership();
        let votes = |index: &usize| membership.role(node_id(*index)).is_some();
        let (mut voters, others): (Vec<usize>, Vec<usize>) = all.into_iter().partition(votes);
        let (quorum, most) = (membership.quorum(), membership.seats().len());
        let size = self.nemesis.range(quorum as u64, most as u64) as usize;
        self.marks.sometimes(
            size < most && self.plan.host.founders.is_some(),
            Mark::MinorityStaysAway,
        );
        let away = voters.split_off(size.min(voters.len()));
        let is_begun = self.can_know_the_epoch(&voters);
        let all_of_them = self.nemesis.chance(500_000);
        voters.extend(others.into_iter().filter(|_| all_of_them || !is_begun));
        voters.extend(away.into_iter().filter(|_| !is_begun));
        voters
    }

    /// Cut off for good, or dead.
    fn leave_outside(&mut self, index: usize) {
        self.servers[index].is_outside = true;
        if self.nemesis.chance(500_000) {
            self.crash(index, Mark::Crash);
        }
        self.isolate(index);
    }
}

const fn trouble_name(trouble: Trouble) -> &'static str {
    match trouble {
        Trouble::Crash => "will crash",
        Trouble::CrashLeader => "leader will crash",
        Trouble::PowerCut => "power cut",
        Trouble::Pause => "pause",
        Trouble::PauseLeader => "pause leader",
        Trouble::PauseAll => "pause all",
        Trouble::RestartLoop => "crashes in a loop",
        Trouble::SlowCpu => "slow processor",
        Trouble::SlowDisk => "slow disk",
        Trouble::Isolate => "isolate",
        Trouble::IsolateLeader => "isolate leader",
        Trouble::CutOneWay => "cut one way",
        Trouble::CutSome => "cut some links",
        Trouble::CutAll => "cut all links",
        Trouble::Mend => "mend links",
        Trouble::Clog => "clog",
        Trouble::Swizzle => "swizzle",
        Trouble::Flap => "links flap",
        Trouble::SlowReader => "slow reader",
        Trouble::BlackHole => "black hole",
        Trouble::HandOver => "hand over",
        Trouble::HandOverStorm => "hand over, all of them",
        Trouble::StuckLearner => "learner is cut off",
        Trouble::Invite => "operator invites a member",
        Trouble::AddMember => "operator adds a member",
        Trouble::RemoveMember => "operator removes a member",
        Trouble::ReplaceMember => "operator replaces a member",
        Trouble::ChangeRole => "operator changes a role",
        Trouble::Drain => "operator drains a server, or no more",
        Trouble::TakeBack => "operator takes a wish back",
        Trouble::Wipe => "disk is lost",
        Trouble::LowSpace => "space changes",
        Trouble::LowSpaces => "space changes on all",
        Trouble::ClockJump => "clock jumps",
        Trouble::ClockBack => "clock steps back",
        Trouble::ClockRate => "clock runs wild",
        Trouble::ClockFreeze => "clock stands still",
    }
}
