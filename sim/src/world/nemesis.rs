//! Who makes trouble.

use super::event::Event;
use super::{Phase, World};
use crate::clock::DRIFT_PPM_MAX;
use crate::marks::Mark;
use crate::scenario::{MS, SECOND, Trouble};

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
            Trouble::Crash => self.servers[any].crash_in = Some(self.nemesis.below(24)),
            Trouble::CrashLeader => {
                let leader = self.leader_or_any();
                self.servers[leader].crash_in = Some(self.nemesis.below(24));
            }
            Trouble::PowerCut => {
                for index in 0..self.servers.len() {
                    self.crash(index, Mark::PowerCut);
                }
            }
            Trouble::Pause => self.pause(any, stall),
            Trouble::PauseAll => {
                for index in 0..self.servers.len() {
                    self.pause(index, stall);
                }
            }
            Trouble::Isolate => self.isolate(any),
            Trouble::IsolateLeader => {
                let leader = self.leader_or_any();
                self.isolate(leader);
            }
            Trouble::CutOneWay => {
                let other = self.any_server();
                if other != any {
                    self.marks.hit(Mark::OneWay);
                    self.net.cut(any, other, true);
                }
            }
            Trouble::CutSome => self.cut_some(),
            Trouble::CutAll => {
                self.marks.hit(Mark::CutAll);
                for index in 0..self.servers.len() {
                    self.isolate(index);
                }
            }
            Trouble::Mend => self.mend(),
            Trouble::Clog => {
                let other = self.any_server();
                self.net.clog(any, other, self.now + stall);
            }
            Trouble::BlackHole => {
                let bytes_max = self.nemesis.log_uniform(20, 2_000) as usize;
                for other in 0..self.servers.len() {
                    self.net.black_hole(any, other, Some(bytes_max));
                }
            }
            Trouble::ClockJump | Trouble::ClockBack | Trouble::ClockRate => self.bend(trouble),
        }
        self.trace(any, trouble_name(trouble));
    }

    /// Its process stands still; what it would have been told waits.
    pub(super) fn pause(&mut self, index: usize, stall: crate::Nanos) {
        let until = self.now + stall;
        if let Some(process) = self.servers[index].process() {
            self.marks.hit(Mark::Pause);
            process.busy_until = process.busy_until.max(until);
        }
    }

    pub(super) fn isolate(&mut self, index: usize) {
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

    pub(super) fn mend(&mut self) {
        for from in 0..self.servers.len() {
            for to in 0..self.servers.len() {
                self.net.cut(from, to, false);
                self.net.black_hole(from, to, None);
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

    /// The safety phase ends: a majority is whole from now on, and what is outside of it stays as
    /// it is for ever.
    pub(super) fn heal(&mut self) {
        let servers = self.servers.len();
        let quorum = servers / 2 + 1;
        let mut all: Vec<usize> = (0..servers).collect();
        self.nemesis.shuffle(&mut all);
        let size = self.nemesis.range(quorum as u64, servers as u64) as usize;
        all.truncate(size);
        self.core = all;
        self.phase = Phase::Liveness;
        self.net.heal();
        for index in 0..servers {
            if !self.core.contains(&index) {
                self.leave_outside(index);
                continue;
            }
            let drift = DRIFT_PPM_MAX / 2;
            self.servers[index].clock.mend(self.now, drift);
            self.servers[index].crash_in = None;
            self.servers[index].mend_disk();
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

    /// Cut off for good, or dead.
    fn leave_outside(&mut self, index: usize) {
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
        Trouble::PauseAll => "pause all",
        Trouble::Isolate => "isolate",
        Trouble::IsolateLeader => "isolate leader",
        Trouble::CutOneWay => "cut one way",
        Trouble::CutSome => "cut some links",
        Trouble::CutAll => "cut all links",
        Trouble::Mend => "mend links",
        Trouble::Clog => "clog",
        Trouble::BlackHole => "black hole",
        Trouble::ClockJump => "clock jumps",
        Trouble::ClockBack => "clock steps back",
        Trouble::ClockRate => "clock runs wild",
    }
}
