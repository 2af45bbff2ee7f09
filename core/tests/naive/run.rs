//! The machine and the model, side by side.

use crate::book::Book;
use crate::draw::{self, Ask, Gap, Step, Who};
use crate::invariants::{self, Broken, Ledger};
use crate::model::Model;
use crate::observe::{Observation, reads_agree};
use crate::turn::{Kind, Turn};
use core::time::Duration;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use std::collections::BTreeMap;
use tenure_core::ids::{Seed, Slot, ZoneId};
use tenure_core::machine::answer::{Answer, Event, Refusal, Table};
use tenure_core::machine::snapshot::{Restore, Slice};
use tenure_core::machine::{Limits, Machine};

const ZONES: [ZoneId; 2] = [ZoneId::new(0), ZoneId::new(1)];

/// So tight that each of them is reached.
fn tight() -> Limits {
    Limits {
        locks: 9,
        tickets: 6,
        sessions: 4,
        answers: 8,
        session_window: 4,
        entries: 2,
        zones: ZONES.len(),
        ..Limits::default()
    }
}

/// Which answers were met, and how often.
type Met = BTreeMap<&'static str, u64>;

struct World {
    limits: Limits,
    machine: Machine,
    /// None where an entry may leave work to the next: then which entry does what is not promised, and the promises
    /// alone are checked.
    model: Option<Model>,
    ledger: Ledger,
    book: Book,
    before: Observation,
    slot: u64,
    rounds: u64,
    met: Met,
    /// The latest entries, for whoever reads why a promise is broken.
    told: Vec<String>,
}

impl World {
    fn new(limits: Limits, with_model: bool) -> Self {
        let mut world = Self {
            limits,
            machine: Machine::configured(limits, Seed::new(7)),
            model: with_model.then(|| Model::new(limits, &ZONES)),
            ledger: Ledger::new(limits, &ZONES),
            book: Book::new(&ZONES, limits.session_window),
            before: Observation::default(),
            slot: 0,
            rounds: 0,
            met: Met::new(),
            told: Vec::new(),
        };
        world.before = Observation::of(&world.machine, &world.book.known);
        world.found();
        world
    }

    /// The first leader, and a session in each zone: from then on there is room for no other zone.
    fn found(&mut self) {
        let gap = || Gap::Millis(1);
        let open = |zone| Ask::Open {
            who: Who::Nobody,
            zone,
            ttl: 4,
            name: 0,
        };
        let asks = vec![open(0), open(30)];
        self.step(&Step::Lead { gap: gap() }).expect("a leader");
        let opened = self.step(&Step::Batch { gap: gap(), asks });
        opened.expect("two sessions");
    }

    fn step(&mut self, step: &Step) -> Result<(), Broken> {
        let (kind, gap, asks) = match step {
            Step::Batch { gap, asks } => (Kind::Batch, gap, asks.as_slice()),
            Step::Noop { gap } => (Kind::Noop, gap, [].as_slice()),
            Step::Lead { gap } => (Kind::Lead, gap, [].as_slice()),
            Step::Restart => return self.restart(),
        };
        let commands = asks.iter().filter_map(|ask| self.book.command(ask));
        let turn = Turn {
            kind,
            stamp: 0,
            commands: commands.collect(),
        };
        let stamp = self.stamp(gap);
        self.apply(&Turn { stamp, ..turn })
    }

    fn apply(&mut self, turn: &Turn) -> Result<(), Broken> {
        self.slot += 1;
        self.rounds += u64::from(turn.kind == Kind::Lead);
        let mut events = Vec::new();
        let entry = turn.entry(self.rounds);
        self.machine
            .apply(Slot::new(self.slot), &entry, &mut events);
        self.book.hear(&turn.commands, &events);
        self.meet(&events);
        self.tell(turn, &events);
        let after = Observation::of(&self.machine, &self.book.known);
        let settled = self
            .machine
            .next_deadline()
            .is_none_or(|due| due > self.machine.stamp());
        let seen = invariants::Step {
            turn,
            events: &events,
            before: &self.before,
            after: &after,
            settled,
        };
        self.ledger.check(&seen)?;
        let later = self.machine.stamp().plus(Duration::from_millis(900));
        for at in [self.machine.stamp(), later] {
            reads_agree(&self.machine, &self.book.known, at)
                .map_err(|shown| Broken("reads of one position agree", shown))?;
        }
        if let Some(model) = &mut self.model {
            let told = model.apply(turn, &events);
            same_events(&told, &events)?;
            let shown = model.observe(&self.book.known, &after).in_order();
            same("the model sees the same", &shown, &after)?;
            let due = self.machine.next_deadline().map(|due| due.as_nanos());
            let on_time = model
                .next_end()
                .is_none_or(|end| due.is_some_and(|due| due <= end));
            invariants::hold(on_time && settled, "nothing ends late", || {
                format!(
                    "an entry is due at {due:?}, and the next end is {:?}",
                    model.next_end()
                )
            })?;
        }
        self.book.look(&after);
        self.before = after;
        Ok(())
    }

    /// Another server takes over, with nothing but a snapshot.
    fn restart(&mut self) -> Result<(), Broken> {
        let digest = self.machine.digest();
        self.machine.open_snapshot();
        let mut chunks = Vec::new();
        let id = loop {
            match self.machine.snapshot_slice(64).expect("one is open") {
                Slice::More => {}
                Slice::Chunk { bytes, .. } => chunks.push(bytes),
                Slice::Done { id, .. } => break id,
            }
        };
        let mut restore = Restore::new(id, self.limits, Seed::new(self.slot));
        for chunk in &chunks {
            restore.chunk(chunk).expect("its own snapshot");
        }
        self.machine = restore.finish().expect("its own snapshot");
        same("a snapshot is the whole", &digest, &self.machine.digest())?;
        let after = Observation::of(&self.machine, &self.book.known);
        same("a snapshot is the whole", &self.before, &after)
    }

    fn stamp(&self, gap: &Gap) -> u64 {
        let now = self.machine.stamp().as_nanos();
        match gap {
            Gap::Millis(ms) => now + ms * 1_000_000,
            Gap::Back(ms) => now.saturating_sub(ms * 1_000_000),
            Gap::End { nth, off } => {
                let ends = match &self.model {
                    Some(model) => model.ends(),
                    None => self
                        .machine
                        .next_deadline()
                        .iter()
                        .map(|due| due.as_nanos())
                        .collect(),
                };
                let end = ends.get(usize::from(*nth)).or(ends.first()).copied();
                end.unwrap_or(now).saturating_add_signed(i64::from(*off))
            }
        }
    }

    fn tell(&mut self, turn: &Turn, events: &[Event]) {
        let mut told = format!("{} {:?} at {}", self.slot, turn.kind, turn.stamp);
        for command in &turn.commands {
            told += &format!(
                "\n    {} {:?} {:?}",
                command.zone, command.client, command.operation
            );
        }
        for event in events {
            told += &format!("\n      {event:?}");
        }
        self.told.push(told);
    }

    fn meet(&mut self, events: &[Event]) {
        for event in events {
            let word = match event {
                Event::Answered { answer, .. } | Event::Ended { answer, .. } => word(answer),
                Event::Offered { .. } => "event: offered",
                Event::Lost { .. } => "event: lost",
                Event::SessionExpired { .. } => "event: session expired",
            };
            *self.met.entry(word).or_default() += 1;
        }
    }
}

/// In whatever order: only the order of an entry's own commands is promised.
fn same_events(model: &[Event], machine: &[Event]) -> Result<(), Broken> {
    let sorted = |events: &[Event]| {
        let mut lines: Vec<String> = events.iter().map(|event| format!("{event:?}")).collect();
        lines.sort_unstable();
        lines
    };
    same("the model says the same", &sorted(model), &sorted(machine))
}

fn same<T: Eq + core::fmt::Debug>(
    what: &'static str,
    model: &T,
    machine: &T,
) -> Result<(), Broken> {
    invariants::hold(model == machine, what, || {
        format!("\n  model   {model:#?}\n  machine {machine:#?}")
    })
}

/// How many entries are shown before a broken promise.
const TOLD: usize = 12;

fn run(limits: Limits, with_model: bool, steps: &[Step]) -> Result<Met, Broken> {
    let mut world = World::new(limits, with_model);
    for step in steps {
        if let Err(Broken(promise, shown)) = world.step(step) {
            let from = world.told.len().saturating_sub(TOLD);
            let told = world.told[from..].join("\n");
            return Err(Broken(promise, format!("{shown}\n{told}")));
        }
    }
    Ok(world.met)
}

/// Every word that can be said, but for those of configurations, conversions and force, which are not drawn.
const WORDS: &[&str] = &[
    "cancelled",
    "closed",
    "event: lost",
    "event: offered",
    "event: session expired",
    "granted",
    "kept alive",
    "offered",
    "opened",
    "queued",
    "refused: cancelled",
    "refused: forgotten",
    "refused: has-capacity",
    "refused: held",
    "refused: identifier-in-use",
    "refused: invalid",
    "refused: no-permits",
    "refused: no-such-ticket",
    "refused: not-covered",
    "refused: not-held",
    "refused: not-leased",
    "refused: quota of answers",
    "refused: quota of entries",
    "refused: quota of locks",
    "refused: quota of sessions",
    "refused: quota of tickets",
    "refused: quota of zones",
    "refused: request-id-reused",
    "refused: session-busy",
    "refused: session-gone",
    "refused: wait-timeout",
    "released",
    "released: already",
    "released: once",
    "renewed",
    "replayed",
    "resized",
];

fn word(answer: &Answer) -> &'static str {
    match answer {
        Answer::Granted(grant) if grant.replayed => "replayed",
        Answer::Granted(_) => "granted",
        Answer::Queued { .. } => "queued",
        Answer::Offered { .. } => "offered",
        Answer::Released { already: true, .. } => "released: already",
        Answer::Released { entered: 0, .. } => "released",
        Answer::Released { .. } => "released: once",
        Answer::Renewed { .. } => "renewed",
        Answer::Cancelled { .. } => "cancelled",
        Answer::SessionOpened { .. } => "opened",
        Answer::KeptAlive { .. } => "kept alive",
        Answer::SessionClosed { .. } => "closed",
        Answer::Resized { .. } => "resized",
        Answer::Converted { .. } => "converted",
        Answer::Forced { .. } => "forced",
        Answer::Configured { .. } => "configured",
        Answer::Refused(refusal) => refusal_word(refusal),
    }
}

const fn refusal_word(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::Held { .. } => "refused: held",
        Refusal::WaitTimeout { .. } => "refused: wait-timeout",
        Refusal::Cancelled => "refused: cancelled",
        Refusal::NotHeld => "refused: not-held",
        Refusal::NotLeased => "refused: not-leased",
        Refusal::NoSuchTicket => "refused: no-such-ticket",
        Refusal::SessionGone => "refused: session-gone",
        Refusal::IdentifierInUse => "refused: identifier-in-use",
        Refusal::SessionBusy => "refused: session-busy",
        Refusal::Forgotten => "refused: forgotten",
        Refusal::RequestIdReused => "refused: request-id-reused",
        Refusal::Quota { what } => match what {
            Table::Locks => "refused: quota of locks",
            Table::Tickets => "refused: quota of tickets",
            Table::Sessions => "refused: quota of sessions",
            Table::Answers => "refused: quota of answers",
            Table::Zones => "refused: quota of zones",
            Table::Entries => "refused: quota of entries",
            Table::Taken => "refused: quota of taken",
        },
        Refusal::HasCapacity { .. } => "refused: has-capacity",
        Refusal::NoPermits => "refused: no-permits",
        Refusal::NotCovered { .. } => "refused: not-covered",
        Refusal::Entered { .. } => "refused: entered",
        Refusal::Converting => "refused: converting",
        Refusal::UpgradeDeadlock { .. } => "refused: upgrade-deadlock",
        Refusal::FenceChanged { .. } => "refused: fence-changed",
        Refusal::Deadlock { .. } => "refused: deadlock",
        Refusal::SearchLimit => "refused: search-limit",
        Refusal::ConfigMoved { .. } => "refused: config-moved",
        Refusal::ConfigUnfit { .. } => "refused: config-unfit",
        Refusal::Invalid { .. } => "refused: invalid",
    }
}

fn failed(Broken(promise, shown): Broken) -> TestCaseError {
    TestCaseError::fail(format!("{promise}: {shown}"))
}

proptest! {
    #![proptest_config(Config { cases: 80, max_shrink_time: 20_000, max_shrink_iters: 20_000, failure_persistence: None, ..Config::default() })]

    #[test]
    fn the_machine_does_what_was_promised(steps in draw::steps(1..400)) {
        run(tight(), true, &steps.0).map_err(failed)?;
    }

    /// The same with entries that have room for two ends or grants: what is left over is done by the next ones, and
    /// no promise is broken meanwhile.
    #[test]
    fn the_promises_hold_while_work_is_left(steps in draw::steps(1..400)) {
        let limits = Limits { expiry_batch: 2, ..tight() };
        run(limits, false, &steps.0).map_err(failed)?;
    }
}

/// The same steps each time, so that nobody has to be lucky.
#[test]
fn every_answer_is_met() {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let mut met = Met::new();
    for _ in 0..30 {
        let drawn = draw::steps(200..300).new_tree(&mut runner);
        let steps = drawn.expect("a drawing").current();
        let one = run(tight(), true, &steps.0);
        let one = one.unwrap_or_else(|Broken(promise, shown)| panic!("{promise}: {shown}"));
        for (word, count) in one {
            *met.entry(word).or_default() += count;
        }
    }
    let words: Vec<_> = met.keys().copied().collect();
    assert_eq!(words, WORDS, "{met:#?}");
}
