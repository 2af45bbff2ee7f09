//! What a client makes of an answer.

use super::op::{Doing, Op};
use super::{Act, Client, Scene, Session, Why, ZONE, belief_ns};
use crate::Nanos;
use crate::check::calls::{Call, Told};
use crate::marks::Mark;
use crate::scenario::MS;
use tenure_core::ids::{Fence, SessionId, Slot, Tag};
use tenure_core::machine::answer::{Answer, Refusal};
use tenure_core::machine::command::Client as Named;
use tenure_core::machine::command::Life;
use tenure_core::machine::key::Key;
use tenure_core::node::input::{Ask, Token};
use tenure_core::node::output::{Failure, Reply};
use tenure_core::query::{LockView, Verdict};

/// How soon a client whose server takes no clients asks another one.
const ELSEWHERE_AFTER: Nanos = 20 * MS;

impl Client {
    /// An answer arrived.
    pub fn told(&mut self, tag: Tag, reply: &Reply, scene: &mut Scene<'_>) {
        self.rand.at(scene.now);
        let Some(attempt) = self.attempts.get(&tag.request).copied() else {
            return;
        };
        if tag.conn != self.conn() {
            return;
        }
        if !matches!(
            reply,
            Reply::Decided {
                answer: Answer::Queued { .. } | Answer::Offered { .. },
                ..
            }
        ) {
            self.attempts.remove(&tag.request);
        }
        match reply {
            Reply::Decided {
                answer,
                token,
                slot,
            } => {
                self.note_order(attempt.op, *slot, scene);
                self.decided(attempt.op, answer, (*token, *slot), scene);
            }
            Reply::Resumed => {
                scene.marks.hit(Mark::SessionResumed);
                self.finish(attempt.op, scene);
            }
            Reply::Lock { view, slot, .. } => {
                self.read(view, (attempt.told, *slot), scene);
                let fences = view.holders.iter().map(|holder| holder.fence).collect();
                if let Some(op) = self.finish(attempt.op, scene) {
                    self.note_call(&view.key, &op, Told::Read { fences }, scene);
                }
            }
            Reply::Verdict { verdict, slot, .. } => {
                self.verified(attempt.op, verdict, (attempt.told, *slot), scene);
                self.finish(attempt.op, scene);
            }
            Reply::Config { .. } | Reply::Locks { .. } | Reply::Servers { .. } => {
                self.finish(attempt.op, scene);
            }
            Reply::Failed(failure) => self.failed(attempt.op, *failure, scene),
        }
    }

    /// What was asked after something was answered stands behind it in the log.
    fn note_order(&self, id: u64, slot: Slot, scene: &mut Scene<'_>) {
        if let Some(op) = self.ops.get(&id) {
            scene.judges.docket.check(
                slot > op.told,
                "what is asked after an answer stands behind it",
                || format!("{:?} at {slot}, asked after {}", op.doing, op.told),
            );
        }
    }

    /// For the judge who knows nothing of the log.
    fn note_call(&self, key: &Key, op: &Op, told: Told, scene: &mut Scene<'_>) {
        scene.judges.calls.on_answer(Call {
            client: self.index,
            key: key.clone(),
            called: op.began,
            returned: Some(scene.now),
            told,
        });
    }

    fn finish(&mut self, id: u64, scene: &mut Scene<'_>) -> Option<Op> {
        self.acked += 1;
        self.forget(id, scene)
    }

    fn read(&mut self, view: &LockView, slots: (Slot, Slot), scene: &mut Scene<'_>) {
        scene.marks.hit(Mark::ReadAnswered);
        scene
            .marks
            .sometimes(!view.holders.is_empty(), Mark::ReadOfHeld);
        let judges = &mut *scene.judges;
        judges
            .history
            .reads
            .on_read(slots, ZONE, view, &mut judges.docket);
        for holder in &view.holders {
            if self.seen.len() < 8 && self.held.iter().all(|held| held.fence != holder.fence) {
                self.seen
                    .push((view.key.clone(), holder.fence, holder.session));
            }
        }
    }

    /// Whoever asks whether a grant holds is told what the log says, and no more than that to who has no proof.
    fn verified(&mut self, id: u64, verdict: &Verdict, slots: (Slot, Slot), scene: &mut Scene<'_>) {
        scene.marks.hit(Mark::Verified);
        let judges = &mut *scene.judges;
        let (reads, docket) = (&judges.history.reads, &mut judges.docket);
        reads.on_verdict(slots, ZONE, verdict, docket);
        let Some(op) = self.ops.get(&id) else {
            return;
        };
        docket.check(
            !matches!(op.doing, Doing::Forge),
            "only who has the proof releases",
            || format!("a forged token was answered {verdict:?}"),
        );
        let local = self.clock.read(scene.now).as_nanos() + docket.clock_slack;
        let (Doing::Verify { until }, None) = (&op.doing, &verdict.held) else {
            return;
        };
        // What it believed when it asked, and still may, was so in between.
        let held = |held: &super::Held| held.fence == verdict.fence && !held.releasing;
        let is_taken = judges.beliefs.is_taken(ZONE, verdict.fence);
        docket.check(
            *until <= local || !self.held.iter().any(held) || is_taken,
            "nothing ends while its holder believes",
            || format!("{} holds no more for a third party", verdict.fence),
        );
    }

    fn decided(
        &mut self,
        id: u64,
        answer: &Answer,
        (token, slot): (Option<Token>, Slot),
        scene: &mut Scene<'_>,
    ) {
        let Some(op) = self.ops.get_mut(&id) else {
            return;
        };
        if let Answer::Queued { ticket, .. } = answer {
            op.ticket = Some(*ticket);
            return;
        }
        if let Answer::Offered { .. } = answer {
            return;
        }
        let Some(op) = self.finish(id, scene) else {
            return;
        };
        self.note_answer(&op, answer, scene);
        let judges = &mut *scene.judges;
        judges.docket.check(
            !matches!(op.doing, Doing::Forge) || matches!(answer, Answer::Refused(_)),
            "only who has the proof releases",
            || format!("a forged proof was answered {answer:?}"),
        );
        match answer {
            Answer::Granted(grant) => {
                scene.marks.hit(Mark::Granted);
                let Some(token) = token else {
                    let detail = format!("fence {}", grant.fence);
                    judges.docket.broken("a grant has its token", detail);
                    return;
                };
                self.taken(grant, token, op.first_sent, scene);
            }
            Answer::Renewed { fence, ttl_ms } => {
                scene.marks.hit(Mark::Renewed);
                let until = op.first_sent.saturating_add(belief_ns(*ttl_ms));
                self.extend(*fence, (until, slot), scene);
            }
            Answer::Released { entered: 1.., .. } => {}
            Answer::Released { fence, already, .. } => {
                scene.marks.hit(if *already {
                    Mark::ReleasedAlready
                } else {
                    Mark::Released
                });
                self.held.retain(|held| held.fence != *fence);
            }
            Answer::Cancelled { .. } => scene.marks.hit(Mark::Cancelled),
            Answer::SessionOpened { session, ttl_ms } => {
                self.session_opened(*session, *ttl_ms, token, op.first_sent, scene);
            }
            Answer::KeptAlive {
                session,
                ttl_ms,
                taken,
            } => {
                let until = op.first_sent.saturating_add(belief_ns(*ttl_ms));
                self.kept_alive(*session, taken, (until, slot), scene);
            }
            Answer::SessionClosed { session } => {
                scene.marks.hit(Mark::SessionClosed);
                if self.lives_in(*session) {
                    self.session_over(scene);
                }
            }
            Answer::Configured { mark } => self.config_seen = self.config_seen.max(mark.change),
            Answer::Refused(refusal) => self.refused(&op, refusal, scene),
            Answer::Converted { .. }
            | Answer::Resized { .. }
            | Answer::Forced { .. }
            | Answer::Queued { .. }
            | Answer::Offered { .. } => {}
        }
    }

    fn note_answer(&mut self, op: &Op, answer: &Answer, scene: &mut Scene<'_>) {
        match (answer, &op.request.ask) {
            // Of a re-entrant grant only the first entry is one, and only the last release.
            (Answer::Granted(grant), _) if !self.is_first_entry(grant) => {}
            (Answer::Released { entered: 1.., .. }, _) => {}
            (Answer::Granted(grant), _) => {
                let op = &self.since_first_asked(op, grant);
                for part in grant.parts.iter() {
                    let told = Told::Granted {
                        fence: grant.fence,
                        mode: part.mode,
                        kept: grant.life == Life::Static,
                    };
                    self.note_call(&part.key, op, told, scene);
                }
            }
            (Answer::Released { fence, already, .. }, Ask::Release { proof, .. }) => {
                let (fence, already) = (*fence, *already);
                let told = || Told::Released { fence, already };
                let held = self.held.iter().find(|held| held.fence == fence);
                match held {
                    Some(held) => {
                        for part in held.parts.iter() {
                            self.note_call(&part.key, op, told(), scene);
                        }
                    }
                    None => self.note_call(&proof.key, op, told(), scene),
                }
            }
            (_, _) => {}
        }
    }

    fn extend(&mut self, fence: Fence, (until, slot): (u64, Slot), scene: &mut Scene<'_>) {
        let until_true = self.believed(scene, until);
        if let Some(held) = self.held.iter_mut().find(|held| held.fence == fence)
            && !held.releasing
        {
            held.until = held.until.max(until);
            let judges = &mut *scene.judges;
            judges
                .beliefs
                .on_extended((ZONE, fence), until_true, slot, &mut judges.docket);
        }
    }

    /// A late answer may be about the session before.
    fn lives_in(&self, session: SessionId) -> bool {
        self.session.as_ref().is_some_and(|mine| mine.id == session)
    }

    fn kept_alive(
        &mut self,
        id: SessionId,
        taken: &[Fence],
        (until, slot): (u64, Slot),
        scene: &mut Scene<'_>,
    ) {
        scene.marks.hit(Mark::KeptAlive);
        if !self.lives_in(id) {
            return;
        }
        self.taken_away(taken, scene);
        let Some(session) = &mut self.session else {
            return;
        };
        session.until = session.until.max(until);
        let mine = self.held.iter().filter(|held| held.life == Life::Session);
        let fences: Vec<Fence> = mine.map(|held| held.fence).collect();
        for fence in fences {
            self.extend(fence, (until, slot), scene);
        }
    }

    fn session_opened(
        &mut self,
        id: SessionId,
        ttl_ms: u64,
        secret: Option<Token>,
        first_sent: u64,
        scene: &mut Scene<'_>,
    ) {
        scene.marks.hit(Mark::SessionOpened);
        self.session = Some(Session {
            id,
            secret,
            ttl_ms,
            until: first_sent.saturating_add(belief_ns(ttl_ms)),
            closing: false,
            taken: Vec::new(),
        });
        self.next_seq = 0;
        self.open_seqs.clear();
        let at = scene.now + ttl_ms * 1_000_000 / 4;
        let why = Why::KeepAlive;
        scene.acts.push(Act::Wake { at, why });
    }

    /// The session is no more, and all that hung on it.
    fn session_over(&mut self, scene: &mut Scene<'_>) {
        self.session = None;
        let mine = self.held.iter().filter(|held| held.life == Life::Session);
        for held in mine {
            scene.judges.beliefs.on_stopped(ZONE, held.fence);
        }
        self.held.retain(|held| held.life != Life::Session);
        let named = |op: &Op| matches!(op.request.client, Named::Session { .. });
        let ended: Vec<u64> = self
            .ops
            .iter()
            .filter(|(_, op)| named(op))
            .map(|(id, _)| *id)
            .collect();
        for id in ended {
            self.forget(id, scene);
        }
        self.open_seqs.clear();
    }

    fn refused(&mut self, op: &Op, refusal: &Refusal, scene: &mut Scene<'_>) {
        let docket = &mut scene.judges.docket;
        let local = self.clock.read(scene.now).as_nanos() + docket.clock_slack;
        match (&op.doing, refusal) {
            (Doing::Renew { fence } | Doing::Release { fence }, Refusal::NotHeld) => {
                let believed = |held: &&super::Held| {
                    held.fence == *fence && held.until > local && !held.releasing
                };
                let lost = self.held.iter().find(believed);
                docket.check(
                    lost.is_none() || scene.judges.beliefs.is_taken(ZONE, *fence),
                    "nothing ends while its holder believes",
                    || format!("client {} was told that {fence} is not held", self.index),
                );
                self.held.retain(|held| held.fence != *fence);
            }
            (Doing::Open, Refusal::SessionGone) => {}
            (_, Refusal::SessionGone) => {
                let named = match (&op.request.ask, op.request.client) {
                    (Ask::KeepAlive { session } | Ask::CloseSession { session }, _) => {
                        Some(*session)
                    }
                    (_, Named::Session { id, .. }) => Some(id),
                    (_, Named::None | Named::Key(_)) => None,
                };
                let Some(session) = &self.session else {
                    return;
                };
                if named.is_some_and(|id| id != session.id) {
                    return;
                }
                docket.check(
                    session.closing || session.until <= local,
                    "nothing ends while its holder believes",
                    || format!("client {} was told that its session is gone", self.index),
                );
                self.session_over(scene);
            }
            (Doing::Configure, Refusal::ConfigMoved { now }) => {
                self.config_seen = self.config_seen.max(now.change);
            }
            (Doing::Forge, _) => {}
            (_, Refusal::Forgotten) => docket.broken(
                "a retry gets its answer",
                format!("client {}: {:?} was forgotten", self.index, op.doing),
            ),
            (_, _) => {}
        }
    }

    fn failed(&mut self, id: u64, failure: Failure, scene: &mut Scene<'_>) {
        let Some(op) = self.ops.get(&id) else {
            return;
        };
        let forged = matches!(op.doing, Doing::Forge);
        let docket = &mut scene.judges.docket;
        match failure {
            Failure::BadProof => {
                scene.marks.sometimes(forged, Mark::BadProofRefused);
                docket.check(forged, "the right proof is taken", || {
                    format!("{:?}", op.doing)
                });
                self.finish(id, scene);
                return;
            }
            Failure::Invalid(what) => {
                let detail = format!("{:?}: {what}", op.doing);
                docket.broken("a right request is taken", detail);
                return;
            }
            Failure::Busy => scene.marks.hit(Mark::AnsweredBusy),
            Failure::DiskFull => scene.marks.hit(Mark::AnsweredDiskFull),
            Failure::NotReady(_) => {
                scene.marks.hit(Mark::AnsweredNotReady);
                // Another server may be: whoever hears this goes on at once, and waits for nothing.
                let attempts = op.sent;
                scene.acts.push(Act::Wake {
                    at: scene.now + ELSEWHERE_AFTER,
                    why: Why::Retry { op: id, attempts },
                });
            }
            Failure::NoQuorum => scene.marks.hit(Mark::AnsweredNoQuorum),
            Failure::Unknown => scene.marks.hit(Mark::AnsweredUnknown),
        }
        if op.request.client == Named::None
            && !matches!(op.doing, Doing::Inspect | Doing::Verify { .. })
        {
            self.forget(id, scene);
        }
    }
}
