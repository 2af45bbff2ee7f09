//! Who holds what, by the log alone: a second, naive book of grants (K11, K12, K15 in agreed time).

use super::Docket;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tenure_core::ids::{Fence, SessionId, ZoneId};
use tenure_core::limits::{GRACE, GRACE_INTERVAL};
use tenure_core::machine::answer::{Answer, Grant};
use tenure_core::machine::command::{Life, Mode};
use tenure_core::machine::key::Key;
use tenure_core::machine::parts::{Part, Parts};
use tenure_core::time::Stamp;

/// A grant that stands.
#[derive(Clone, Debug)]
pub struct Live {
    /// The locks, and how each is shared.
    pub parts: Parts,
    /// Whose it is, if a session's.
    pub session: Option<SessionId>,
    /// When it ends, if it has an end of its own.
    deadline: Option<Stamp>,
    /// How often its session is in it; zero: it is not re-entrant.
    pub entered: u32,
}

/// After a change of leader whoever was alive lives a little longer, at most once in ten seconds.
#[derive(Clone, Copy, Debug, Default)]
struct Grace {
    alive_after: Stamp,
    until: Stamp,
    given: Option<Stamp>,
}

impl Grace {
    fn end(self, deadline: Stamp) -> Stamp {
        if deadline > self.alive_after {
            deadline.max(self.until)
        } else {
            deadline
        }
    }
}

#[derive(Debug)]
struct Session {
    deadline: Stamp,
}

/// The book.
#[derive(Debug, Default)]
pub struct Locks {
    live: BTreeMap<(ZoneId, Fence), Live>,
    highest: BTreeMap<(ZoneId, Key), Fence>,
    /// Grants that met one that still stood: right only if that one ended in the same entry, whose
    /// events tell the grant that a release made possible before the release itself.
    met: Vec<((ZoneId, Fence), Fence)>,
    sessions: BTreeMap<SessionId, Session>,
    /// How many grants operators took from each.
    taken: BTreeMap<SessionId, usize>,
    opened: BTreeSet<SessionId>,
    grace: Grace,
    touched: BTreeSet<(ZoneId, Key)>,
    /// Of locks that were shared by permits, the last that was said.
    capacities: BTreeMap<(ZoneId, Key), u32>,
    /// Permits that were granted at once in this entry: they must fit at its end, with the largest
    /// capacity that the lock had in it.
    permitted: BTreeMap<(ZoneId, Key), u32>,
    /// Keys of the grants of closed sessions. No event says that they go, and each takes its room in an
    /// entry: so many may still be to go.
    unsaid: usize,
    /// Agreed time at the entry before.
    before: Stamp,
    /// How many grants were seen.
    pub granted: u64,
    /// How many leases ended by time.
    pub expired: u64,
    /// How often a lock was held by two at once.
    pub shared: u64,
}

fn after_ms(stamp: Stamp, ms: u64) -> Stamp {
    stamp.plus(Duration::from_millis(ms))
}

/// Whether two modes may be held at once.
pub fn compatible(a: Mode, b: Mode) -> bool {
    /// Who meets whom: each mode with those that it may be held beside, from itself on.
    const BESIDE: [(Mode, &[Mode]); 6] = [
        (
            Mode::Null,
            &[
                Mode::Null,
                Mode::ConcurrentRead,
                Mode::ConcurrentWrite,
                Mode::Shared,
                Mode::ProtectedWrite,
                Mode::Exclusive,
            ],
        ),
        (
            Mode::ConcurrentRead,
            &[
                Mode::ConcurrentRead,
                Mode::ConcurrentWrite,
                Mode::Shared,
                Mode::ProtectedWrite,
            ],
        ),
        (Mode::ConcurrentWrite, &[Mode::ConcurrentWrite]),
        (Mode::Shared, &[Mode::Shared]),
        (Mode::ProtectedWrite, &[]),
        (Mode::Exclusive, &[]),
    ];
    let beside = |one: Mode, other: Mode| {
        let mut rows = BESIDE.iter();
        rows.any(|(mode, beside)| *mode == one && beside.contains(&other))
    };
    // How many permits there are is counted.
    let permits = |mode| matches!(mode, Mode::Permits { .. });
    permits(a) && permits(b) || beside(a, b) || beside(b, a)
}

impl Locks {
    /// A grant that stands, or none.
    pub fn live(&self, zone: ZoneId, fence: Fence) -> Option<&Live> {
        self.live.get(&(zone, fence))
    }

    /// The fences that hold a lock.
    pub fn holders(&self, zone: ZoneId, key: &Key) -> Vec<Fence> {
        let mine = self
            .live
            .iter()
            .filter(|((z, _), live)| *z == zone && live.parts.of(key).is_some());
        mine.map(|((_, fence), _)| *fence).collect()
    }

    /// How many keys are held.
    pub fn standing(&self) -> usize {
        self.live.values().map(|live| live.parts.count()).sum()
    }

    /// How many keys more may still be taken up by grants of closed sessions.
    pub const fn unsaid(&self) -> usize {
        self.unsaid
    }

    /// The locks whose holders changed since this was last asked.
    pub fn take_touched(&mut self) -> BTreeSet<(ZoneId, Key)> {
        std::mem::take(&mut self.touched)
    }

    fn touch(&mut self, zone: ZoneId, parts: &Parts) {
        let keys = parts.iter().map(|part| (zone, part.key.clone()));
        self.touched.extend(keys);
    }

    /// How many sessions live.
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// A leader started when agreed time was `before`; now it is `now`.
    pub fn on_leader(&mut self, before: Stamp, now: Stamp) {
        let grace = &mut self.grace;
        if grace
            .given
            .is_none_or(|given| now.since(given) >= GRACE_INTERVAL)
        {
            if before >= grace.until {
                grace.alive_after = before;
            }
            grace.until = now.plus(GRACE);
            grace.given = Some(now);
        }
    }

    /// A claim waits: it may be the first that says what capacity a lock has.
    pub fn on_queued(&mut self, zone: ZoneId, parts: &Parts) {
        for part in parts.iter() {
            if let Mode::Permits { capacity, .. } = part.mode {
                self.on_resized(zone, &part.key, capacity);
            }
        }
    }

    /// A lock has another capacity.
    pub fn on_resized(&mut self, zone: ZoneId, key: &Key, capacity: u32) {
        self.capacities.insert((zone, key.clone()), capacity);
    }

    /// Whether a lock of this claim had this capacity when that was last said.
    pub fn has_capacity(&self, zone: ZoneId, parts: &Parts, capacity: u32) -> bool {
        let of = |part: &Part| self.capacities.get(&(zone, part.key.clone()));
        parts.iter().any(|part| of(part) == Some(&capacity))
    }

    fn permits(&self, zone: ZoneId, key: &Key) -> u64 {
        let of = |live: &Live| match live.parts.of(key)?.mode {
            Mode::Permits { n, .. } => Some(u64::from(n)),
            _ => None,
        };
        let mine = self.live.iter().filter(|((z, _), _)| *z == zone);
        mine.filter_map(|(_, live)| of(live)).sum()
    }

    /// A new grant; `at_once` if it was not offered before.
    pub fn on_grant(&mut self, grant: &Grant, stamp: Stamp, at_once: bool, docket: &mut Docket) {
        self.granted += 1;
        self.touch(grant.zone, &grant.parts);
        for part in grant.parts.iter() {
            let place = (grant.zone, part.key.clone());
            let highest = self.highest.entry(place).or_default();
            docket.check(grant.fence > *highest, "fences rise", || {
                format!(
                    "{:?} granted under {} after {highest}",
                    part.key, grant.fence
                )
            });
            *highest = grant.fence;
            if let Mode::Permits { capacity, .. } = part.mode {
                let place = (grant.zone, part.key.clone());
                self.capacities.insert(place.clone(), capacity);
                if at_once {
                    let most = self.permitted.entry(place).or_default();
                    *most = capacity.max(*most);
                }
            }
            for ((zone, fence), live) in &self.live {
                let other = live.parts.of(&part.key).filter(|_| *zone == grant.zone);
                match other.map(|other| compatible(other.mode, part.mode)) {
                    None => {}
                    Some(true) => self.shared += 1,
                    Some(false) => self.met.push(((*zone, *fence), grant.fence)),
                }
            }
        }
        let deadline = match grant.life {
            Life::Lease { ttl_ms } => Some(after_ms(stamp, ttl_ms)),
            Life::Static | Life::Session => None,
        };
        let live = Live {
            parts: grant.parts.clone(),
            session: grant.session,
            deadline,
            entered: grant.entered,
        };
        self.live.insert((grant.zone, grant.fence), live);
    }

    /// A grant that stands was entered once more.
    pub fn on_entered(&mut self, grant: &Grant) {
        if let Some(live) = self.live.get_mut(&(grant.zone, grant.fence)) {
            live.entered = grant.entered;
        }
    }

    /// A command's first answer, if it is not a grant.
    pub fn on_answer(&mut self, zone: ZoneId, answer: &Answer, stamp: Stamp, docket: &mut Docket) {
        match answer {
            Answer::Renewed { fence, ttl_ms } => {
                let live = self.live.get_mut(&(zone, *fence));
                docket.check(live.is_some(), "only what stands is renewed", || {
                    format!("fence {fence}")
                });
                if let Some(live) = live {
                    let (grace, before) = (self.grace, self.before);
                    let is_alive = live.deadline.is_none_or(|at| grace.end(at) > before);
                    docket.check(is_alive, "the dead are not renewed", || {
                        format!("fence {fence}, {live:?}, renewed after {before:?}")
                    });
                    live.deadline = live.deadline.max(Some(after_ms(stamp, *ttl_ms)));
                }
            }
            Answer::SessionOpened { session, ttl_ms } => {
                // Told again to a retry, it prolongs nothing.
                let deadline = after_ms(stamp, *ttl_ms);
                if self.opened.insert(*session) {
                    self.sessions.insert(*session, Session { deadline });
                }
            }
            Answer::KeptAlive {
                session, ttl_ms, ..
            } => {
                let deadline = after_ms(stamp, *ttl_ms);
                let (grace, before) = (self.grace, self.before);
                let known = self.sessions.get(session);
                let is_alive = known.is_none_or(|known| grace.end(known.deadline) > before);
                docket.check(is_alive, "the dead are not renewed", || {
                    format!("session {session}, {known:?}, kept alive after {before:?}")
                });
                self.sessions.insert(*session, Session { deadline });
            }
            Answer::SessionClosed { session } => {
                self.sessions.remove(session);
                let of_it = |_: &_, live: &mut Live| live.session == Some(*session);
                let ended: Vec<_> = self.live.extract_if(.., of_it).collect();
                for ((zone, _), live) in ended {
                    self.touch(zone, &live.parts);
                    self.unsaid += live.parts.count();
                }
            }
            Answer::Granted(_)
            | Answer::Queued { .. }
            | Answer::Offered { .. }
            | Answer::Released { .. }
            | Answer::Cancelled { .. }
            | Answer::Converted { .. }
            | Answer::Resized { .. }
            | Answer::Forced { .. }
            | Answer::Configured { .. }
            | Answer::Refused(_) => {}
        }
    }

    /// A grant was given back, or left once; `all` if that was to be all of it.
    pub fn on_released(
        &mut self,
        (zone, fence): (ZoneId, Fence),
        (already, entered): (bool, u32),
        all: bool,
        docket: &mut Docket,
    ) {
        let was = self.live.get(&(zone, fence)).map(|live| live.entered);
        let known = was.is_some();
        docket.check(known != already, "a release ends what stands", || {
            format!("fence {fence}: standing {known}, answered already {already}")
        });
        let stays = match was {
            Some(was) if !all => was.saturating_sub(1),
            Some(_) | None => 0,
        };
        docket.check(entered == stays, "each release leaves once", || {
            format!("fence {fence}: entered {was:?}, all {all}, then {entered}")
        });
        let place = (zone, fence);
        if entered > 0
            && let Some(live) = self.live.get_mut(&place)
        {
            live.entered = entered;
        } else if let Some(live) = self.live.remove(&place) {
            self.touch(zone, &live.parts);
        }
    }

    /// A grant ended without its holder asking.
    pub fn on_lost(&mut self, zone: ZoneId, fence: Fence, stamp: Stamp, docket: &mut Docket) {
        let Some(live) = self.live.remove(&(zone, fence)) else {
            docket.broken("only what stands is lost", format!("fence {fence}"));
            return;
        };
        self.touch(zone, &live.parts);
        if let Some(deadline) = live.deadline {
            self.expired += 1;
            docket.check(
                stamp >= deadline,
                "no lease ends early in agreed time",
                || format!("fence {fence} at {stamp:?}, its deadline is {deadline:?}"),
            );
        }
    }

    /// An operator took a grant.
    pub fn on_taken(&mut self, zone: ZoneId, fence: Fence, docket: &mut Docket) {
        let live = self.live.remove(&(zone, fence));
        docket.check(live.is_some(), "only what stands is lost", || {
            format!("fence {fence}")
        });
        if let Some(live) = live {
            self.touch(zone, &live.parts);
            if let Some(session) = live.session {
                *self.taken.entry(session).or_default() += 1;
            }
        }
    }

    /// How many were taken from the session of a grant that stands.
    pub fn taken_beside(&self, zone: ZoneId, fence: Fence) -> Option<usize> {
        let session = self.live(zone, fence)?.session?;
        Some(self.taken.get(&session).copied().unwrap_or_default())
    }

    /// A session ended without its client asking.
    pub fn on_session_expired(&mut self, session: SessionId, stamp: Stamp, docket: &mut Docket) {
        let known = self.sessions.remove(&session);
        let due = known.is_some_and(|known| stamp >= self.grace.end(known.deadline));
        docket.check(due, "no session ends early in agreed time", || {
            format!("session {session} at {stamp:?}")
        });
    }

    /// An entry was applied, and what it said left room for `room` ends more: what is overdue beyond
    /// the grace must be gone, unless that room was needed as well (rule 42).
    pub fn on_applied(&mut self, stamp: Stamp, room: usize, docket: &mut Docket) {
        for (old, new) in self.met.drain(..) {
            docket.check(
                !self.live.contains_key(&old),
                "mutual exclusion in the log",
                || {
                    format!(
                        "granted under {new} while {} stands: {:?}",
                        old.1,
                        self.live.get(&old)
                    )
                },
            );
        }
        for ((zone, key), capacity) in std::mem::take(&mut self.permitted) {
            let taken = self.permits(zone, &key);
            docket.check(
                taken <= u64::from(capacity),
                "no more permits than the capacity",
                || format!("{key:?}: {taken} of {capacity}"),
            );
        }
        self.before = stamp;
        let unsaid = self.unsaid.min(room);
        self.unsaid -= unsaid;
        if unsaid == room {
            return;
        }
        let grace = self.grace;
        let late = |deadline: Stamp| grace.end(deadline) < stamp;
        let mut overdue = self
            .live
            .iter()
            .filter(|(_, live)| live.deadline.is_some_and(late));
        let first = overdue.next();
        docket.check(first.is_none(), "leases end in time", || {
            format!("{first:?} is overdue at {stamp:?}")
        });
        let first = self
            .sessions
            .iter()
            .find(|(_, session)| late(session.deadline));
        docket.check(first.is_none(), "sessions end in time", || {
            format!("{first:?} is overdue at {stamp:?}")
        });
    }
}
