//! Servers that come and go, and one that only votes.

use super::{MS, Plan, SECOND, Trouble};
use crate::rand::Rand;

impl Plan {
    pub(super) fn members(&mut self, rand: &mut Rand) {
        self.servers = 9;
        self.host.founders = Some(rand.range(1, 5) as usize);
        self.safety = 24 * SECOND;
        let (adds, removes) = if rand.chance(700_000) {
            (5, 2)
        } else {
            (1, 10)
        };
        let troubles = [
            (Trouble::AddMember, adds),
            (Trouble::RemoveMember, removes),
            (Trouble::Invite, 8),
            (Trouble::StuckLearner, 2),
            (Trouble::HandOverStorm, 1),
            (Trouble::ReplaceMember, 3),
            (Trouble::ChangeRole, 2),
            (Trouble::Drain, 4),
            (Trouble::TakeBack, 5),
            (Trouble::Wipe, 1),
            (Trouble::Crash, 4),
            (Trouble::CrashLeader, 3),
            (Trouble::PowerCut, 1),
            (Trouble::Isolate, 2),
            (Trouble::IsolateLeader, 3),
            (Trouble::CutOneWay, 2),
            (Trouble::CutSome, 1),
            (Trouble::Mend, 8),
            (Trouble::HandOver, 1),
        ];
        self.trouble(rand.log_uniform(150 * MS, SECOND), &troubles);
        self.nemesis.down_mean = rand.log_uniform(20 * MS, SECOND);
        self.nemesis.stall_mean = 300 * MS;
        self.host.sync_mean = rand.log_uniform(50_000, 8 * MS);
        self.host.shuffle = true;
        self.net.drop_ppm = rand.log_uniform(100, 60_000);
        self.net.replay_ppm = rand.log_uniform(100, 300_000);
        self.net.heavy_tail_ppm = rand.log_uniform(100, 20_000);
        if rand.chance(500_000) {
            self.forgetful();
        }
    }

    pub(super) fn arbiter(&mut self, rand: &mut Rand) {
        self.stable_graphs(rand);
        self.servers = 5;
        // Sites have every third server: the last one has this alone.
        self.host.arbiter = Some(2);
        if rand.chance(500_000) {
            self.forgetful();
        }
    }

    pub(super) fn roles(&mut self, rand: &mut Rand) {
        self.servers = rand.range(3, 6) as usize;
        self.host.founders = Some(self.servers);
        self.host.arbiter = rand.chance(500_000).then_some(0);
        self.safety = 16 * SECOND;
        let troubles = [
            (Trouble::ChangeRole, 8),
            (Trouble::TakeBack, 3),
            (Trouble::HandOverStorm, 1),
            (Trouble::Crash, 3),
            (Trouble::CrashLeader, 3),
            (Trouble::PowerCut, 1),
            (Trouble::Isolate, 2),
            (Trouble::IsolateLeader, 2),
            (Trouble::CutOneWay, 1),
            (Trouble::Mend, 6),
            (Trouble::HandOver, 2),
            (Trouble::LowSpace, rand.below(2)),
            (Trouble::Wipe, rand.below(2)),
        ];
        self.trouble(rand.log_uniform(100 * MS, SECOND), &troubles);
        self.nemesis.down_mean = rand.log_uniform(20 * MS, 2 * SECOND);
        self.forgetful();
        self.host.snapshots.bytes = rand.log_uniform(2 << 10, 64 << 10);
        self.host.name_crash_ppm = 10_000;
        self.host.shuffle = true;
        self.host.sync_mean = rand.log_uniform(50_000, 8 * MS);
        self.host.chunk_drop_ppm = rand.log_uniform(100, 20_000);
        self.net.corrupt_ppm = if rand.chance(500_000) { 100_000 } else { 0 };
        self.net.drop_ppm = rand.log_uniform(100, 60_000);
        self.net.replay_ppm = rand.log_uniform(100, 300_000);
        self.net.heavy_tail_ppm = rand.log_uniform(100, 20_000);
    }
}
