//! A client as an operator, who takes locks from others; and as one from whom they are taken.

use super::op::Doing;
use super::{Client, Scene, ZONE};
use crate::marks::Mark;
use tenure_core::ids::Fence;
use tenure_core::machine::command::Client as Named;
use tenure_core::machine::command::{Cause, Force};
use tenure_core::machine::key::Key;
use tenure_core::node::input::Ask;

impl Client {
    /// Takes a grant that it has seen, which may have ended since; or what it has itself.
    pub(super) fn takes(&mut self, scene: &mut Scene<'_>) -> bool {
        if self.knobs.force_ppm == 0 || !self.taker.chance(self.knobs.force_ppm) {
            return false;
        }
        let Some((key, fence)) = self.any_seen() else {
            return false;
        };
        let ask = Ask::Force(Force {
            key,
            fence,
            cause: Cause {
                by: format!("client-{}", self.index),
                reason: "for a test".to_owned(),
            },
        });
        let name = Named::Key(self.request_id());
        self.start(Doing::Force, name, ask, scene);
        true
    }

    fn any_seen(&mut self) -> Option<(Key, Fence)> {
        let seen = self.seen.iter().map(|(key, fence, _)| (key, *fence));
        let own = self
            .held
            .iter()
            .map(|held| (held.proof.key.clone(), held.fence));
        let all: Vec<_> = seen
            .map(|(key, fence)| (key.clone(), fence))
            .chain(own)
            .collect();
        let index = self.taker.index(all.len().max(1));
        all.get(index).cloned()
    }

    /// A keep-alive says what an operator took from this client's session.
    pub(super) fn taken_away(&mut self, taken: &[Fence], scene: &mut Scene<'_>) {
        scene.marks.sometimes(!taken.is_empty(), Mark::ToldOfTaken);
        if let Some(session) = &mut self.session {
            session.taken = taken.to_vec();
        }
        for fence in taken {
            scene.judges.beliefs.on_stopped(ZONE, *fence);
        }
        self.held.retain(|held| !taken.contains(&held.fence));
    }
}
