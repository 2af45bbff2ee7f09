//! The swarm: for each seed some of all faults, with intensities over orders of magnitude
//! (Groce et al., "Swarm testing", 2012).

use super::{MS, Plan, SECOND, Trouble};
use crate::Nanos;
use crate::rand::Rand;

/// What a server takes for one of its inputs on average, at most.
const INPUT_MEAN_MAX: Nanos = MS / 10;

impl Plan {
    pub(super) fn swarm(&mut self, rand: &mut Rand) {
        self.servers = match rand.below(100) {
            0..5 => 1,
            5..8 => 2,
            8..20 => 5,
            20..23 => 4,
            _ => 3,
        };
        self.swarm_net(rand);
        self.swarm_host(rand);
        self.swarm_load(rand);
        self.swarm_nemesis(rand);
        if self.servers > 1 && rand.chance(400_000) {
            self.bad_clock = Some(rand.index(self.servers));
        }
        self.host.located = rand.chance(500_000);
        if rand.chance(200_000) {
            let total: u64 = self.nemesis.troubles.iter().map(|(_, weight)| weight).sum();
            self.nemesis.troubles.push((Trouble::Wipe, 1 + total / 10));
        }
        if self.servers > 2 && rand.chance(200_000) {
            self.swarm_members(rand);
        }
        if self.bad_clock.is_some() && rand.chance(300_000) {
            let weight = rand.log_uniform(10, 1_000);
            self.nemesis.troubles.push((Trouble::ClockFreeze, weight));
        }
    }

    /// Members come and go, too, whatever else happens.
    fn swarm_members(&mut self, rand: &mut Rand) {
        const ALL: &[Trouble] = &[
            Trouble::AddMember,
            Trouble::RemoveMember,
            Trouble::ReplaceMember,
            Trouble::ChangeRole,
            Trouble::Invite,
            Trouble::StuckLearner,
            Trouble::Drain,
            Trouble::TakeBack,
        ];
        self.host.founders = Some(self.servers);
        self.servers += rand.range(1, 4) as usize;
        let total: u64 = self.nemesis.troubles.iter().map(|(_, weight)| weight).sum();
        for trouble in ALL {
            if rand.chance(600_000) {
                let weight = 1 + total * rand.log_uniform(10, 300) / 1_000;
                self.nemesis.troubles.push((*trouble, weight));
            }
        }
    }

    fn swarm_net(&mut self, rand: &mut Rand) {
        let mut some = |low, high| {
            if rand.chance(500_000) {
                rand.log_uniform(low, high)
            } else {
                0
            }
        };
        self.net.drop_ppm = some(100, 200_000);
        self.net.duplicate_ppm = some(100, 200_000);
        self.net.replay_ppm = some(100, 200_000);
        self.net.reorder_ppm = some(1_000, 1_000_000);
        self.net.heavy_tail_ppm = some(100, 50_000);
        self.net.beat_drop_ppm = some(1_000, 300_000);
        self.net.thin_ppm = some(10_000, 700_000);
        self.net.spoil_ppm = some(1_000, 100_000);
        self.net.under_way_max = some(2, 256) as usize;
        self.net.asymmetry = some(2, 30);
        self.net.corrupt_ppm = some(1_000, 50_000);
        self.net.delay_mean = rand.log_uniform(20_000, 20 * MS);
    }

    /// Links of some seeds are narrow, for what servers say to each other here.
    pub(super) fn narrow(&mut self, seed: u64) {
        let mut rand = Rand::stream(seed, "narrow");
        if rand.chance(200_000) {
            self.net.bytes_per_s = rand.log_uniform(20_000, 5_000_000);
        }
    }

    fn swarm_host(&mut self, rand: &mut Rand) {
        self.host.sync_mean = rand.log_uniform(20_000, 20 * MS);
        if rand.chance(300_000) {
            self.host.slow_sync_ppm = rand.log_uniform(100, 10_000);
        }
        if rand.chance(300_000) {
            self.host.sync_error_ppm = rand.log_uniform(100, 10_000);
        }
        let round_mean = rand.log_uniform(2_000, MS);
        let inputs_max = rand.log_uniform(1, 256);
        // What clients ask again, and all of them at every server, is some thousand words a second: a server
        // that takes fewer is behind for ever.
        self.host.round_mean = round_mean.min(inputs_max * INPUT_MEAN_MAX);
        self.host.inputs_max = inputs_max as usize;
        self.host.shuffle = rand.chance(800_000);
        if rand.chance(100_000) {
            self.host.chunk_drop_ppm = rand.log_uniform(1_000, 100_000);
        }
        // At least what one entry of everything that waited can take.
        self.host.segment_bytes = 4096 * rand.log_uniform(64, 256);
    }

    fn swarm_load(&mut self, rand: &mut Rand) {
        let load = &mut self.load;
        load.clients = rand.range(3, 14) as usize;
        load.keys = rand.log_uniform(1, 16) as usize;
        load.think = rand.log_uniform(10 * MS, 300 * MS);
        load.patience = rand.log_uniform(100 * MS, 2 * SECOND);
        load.wait_ppm = rand.range(100_000, 900_000);
        load.shared_ppm = rand.range(0, 600_000);
        load.modes_ppm = if rand.chance(500_000) {
            rand.range(1, 500_000)
        } else {
            0
        };
        load.reenter_ppm = if rand.chance(500_000) {
            rand.range(1, 600_000)
        } else {
            0
        };
        load.many_ppm = rand.range(0, 400_000);
        load.forget_ppm = rand.log_uniform(1_000, 500_000);
        load.duplicate_ppm = rand.log_uniform(1_000, 300_000);
        load.hang_up_ppm = rand.log_uniform(1_000, 200_000);
        load.crash_ppm = rand.log_uniform(100, 20_000);
        load.read_ppm = rand.range(20_000, 400_000);
    }

    fn swarm_nemesis(&mut self, rand: &mut Rand) {
        const ALL: &[Trouble] = &[
            Trouble::Crash,
            Trouble::CrashLeader,
            Trouble::PowerCut,
            Trouble::Pause,
            Trouble::PauseLeader,
            Trouble::PauseAll,
            Trouble::RestartLoop,
            Trouble::SlowCpu,
            Trouble::SlowDisk,
            Trouble::Isolate,
            Trouble::IsolateLeader,
            Trouble::CutOneWay,
            Trouble::CutSome,
            Trouble::CutAll,
            Trouble::Clog,
            Trouble::Swizzle,
            Trouble::Flap,
            Trouble::SlowReader,
            Trouble::BlackHole,
            Trouble::HandOver,
            Trouble::LowSpace,
            Trouble::LowSpaces,
            Trouble::ClockJump,
            Trouble::ClockBack,
            Trouble::ClockRate,
        ];
        let mut troubles = vec![(Trouble::Mend, 300)];
        for trouble in ALL {
            if rand.chance(400_000) {
                troubles.push((*trouble, rand.log_uniform(10, 1_000)));
            }
        }
        self.trouble(rand.log_uniform(100 * MS, 5 * SECOND), &troubles);
        self.nemesis.down_mean = rand.log_uniform(10 * MS, 3 * SECOND);
        self.nemesis.stall_mean = rand.log_uniform(20 * MS, 5 * SECOND);
    }
}
