//! What clients want of the world, and the stores behind their locks.

use super::event::Event;
use super::{Phase, World};
use crate::load::{Act, Client, Scene};
use crate::marks::Mark;
use crate::scenario::SECOND;
use tenure_core::ids::Fence;
use tenure_core::machine::key::Key;

impl World {
    pub(super) fn with_client(
        &mut self,
        client: usize,
        act: impl FnOnce(&mut Client, &mut Scene<'_>),
    ) {
        let mut acts = Vec::new();
        let mut scene = Scene {
            now: self.now,
            servers: self.servers.len(),
            draining: self.phase == Phase::Draining,
            judges: &mut self.judges,
            marks: &mut self.marks,
            acts: &mut acts,
        };
        act(&mut self.clients[client], &mut scene);
        for wish in acts {
            self.do_act(client, wish);
        }
    }

    fn do_act(&mut self, client: usize, act: Act) {
        let travel = 30_000 + self.wire.exponential(self.net.knobs().delay_mean);
        match act {
            Act::Ask {
                server,
                tag,
                request,
            } => {
                let server = self.reachable(server);
                self.queue.push(
                    self.now + travel,
                    Event::Ask {
                        server,
                        tag,
                        request,
                    },
                );
            }
            Act::HangUp { server, tag } => {
                let server = self.reachable(server);
                self.queue
                    .push(self.now + travel, Event::Gone { server, tag });
            }
            Act::Wake { at, why } => {
                let life = self.clients[client].life();
                self.queue
                    .push(at.max(self.now + 1), Event::Client { client, life, why });
            }
            Act::Write { key, fence } => {
                let late = self.wire.chance(200_000);
                self.marks.sometimes(late, Mark::LateWrite);
                let travel = if late {
                    self.wire.exponential(3 * SECOND)
                } else {
                    travel
                };
                self.queue
                    .push(self.now + travel, Event::Store { key, fence });
            }
        }
    }

    /// In the liveness phase clients find servers that work.
    fn reachable(&self, server: usize) -> usize {
        let is_right = self.core.contains(&server) && self.takes_clients(server);
        if self.phase == Phase::Safety || is_right {
            return server;
        }
        let take = (0..self.servers.len()).filter(|index| self.takes_clients(*index));
        let take: Vec<usize> = take.collect();
        let whole = take.iter().filter(|index| self.core.contains(index));
        let whole: Vec<usize> = whole.copied().collect();
        // Those that came since then are whole, too.
        let those = if whole.is_empty() { take } else { whole };
        those[server % those.len()]
    }

    /// The store behind a lock takes a write, unless a later holder wrote before.
    pub(super) fn store(&mut self, key: Key, fence: Fence) {
        let seen = self.stores.entry(key).or_default();
        if fence < *seen {
            self.marks.hit(Mark::LateWriteRefused);
            return;
        }
        *seen = fence;
    }
}
