//! Exhaustive search of small cases: every order of events that three real replicas can meet within
//! bounds, breadth first, so that the first schedule found that breaks a law is a shortest one.
//!
//! What was said once may arrive at any time, again, or never: so drops, duplicates and reordering
//! need no steps of their own. A crash may come before each promise and each record is durable, and
//! loses it. Anybody may stand at any time: votes and time only keep the peace, and agreement
//! must not lean on them. (Lamport, Specifying Systems, 2002, chapter 14: such small models find
//! what large random ones meet too rarely.)

mod laws;
mod model;
mod words;

use model::{Step, What, World};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// A deliberate bug: a search must find what it breaks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Lie {
    /// A promise reports nothing of what was accepted.
    Reports,
    /// A promise does not say what is decided: then a candidate's base is its own (F7).
    Bases,
    /// A promise does not report stop-signs.
    Signs,
}

impl Lie {
    /// By its name.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "reports" => Some(Self::Reports),
            "bases" => Some(Self::Bases),
            "signs" => Some(Self::Signs),
            _ => None,
        }
    }
}

/// How far a search goes.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Servers.
    pub servers: usize,
    /// How often somebody stands: so many ballots at most.
    pub ballots: u64,
    /// Commands that leaders propose besides their own first entries.
    pub commands: u64,
    /// How often a leader ends its epoch, in which the last server stops to vote.
    pub signs: u64,
    /// Crashes.
    pub crashes: u64,
    /// States to look at.
    pub states: usize,
    /// Time to take.
    pub time: Duration,
    /// What servers lie about.
    pub lie: Option<Lie>,
    /// Words that are dead are remembered all the same: many more states, and as many situations.
    pub remembers: bool,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            servers: 3,
            ballots: 2,
            commands: 0,
            signs: 0,
            crashes: 1,
            states: 20_000_000,
            time: Duration::from_secs(20),
            lie: None,
            remembers: false,
        }
    }
}

/// What a search found.
#[derive(Debug)]
pub struct Found {
    /// Different states.
    pub states: usize,
    /// Different situations: what servers are and have on their disks, without the words on their way.
    pub situations: usize,
    /// Steps tried.
    pub steps: u64,
    /// The length of the longest schedule.
    pub depth: usize,
    /// Whether nothing is left within the bounds.
    pub is_whole: bool,
    /// The law that was broken, what happened, and the schedule that leads there.
    pub broken: Option<(String, Vec<String>)>,
}

type Parents = BTreeMap<u64, (u64, Step)>;

/// Searches.
pub fn search(bounds: &Bounds) -> Found {
    let until = Instant::now() + bounds.time;
    let first = World::new(bounds);
    let mut parents: Parents = BTreeMap::new();
    let begin = Step {
        what: What::Begin,
        crash_after: None,
    };
    parents.insert(first.print(), (0, begin));
    let mut situations = BTreeSet::from([first.situation()]);
    let mut queue = VecDeque::from([(0, first)]);
    let mut found = Found {
        states: 1,
        situations: 1,
        steps: 0,
        depth: 0,
        is_whole: false,
        broken: None,
    };
    while let Some((depth, world)) = queue.pop_front() {
        found.depth = depth;
        if found.states >= bounds.states || Instant::now() >= until {
            return found;
        }
        for step in world.steps(bounds) {
            found.steps += 1;
            let next = match attempt(&world, step) {
                Ok(next) => next,
                Err(law) => {
                    let mut schedule = path(&parents, world.print());
                    schedule.push(step);
                    found.broken = Some((law, told(bounds, &schedule)));
                    return found;
                }
            };
            let print = next.print();
            if let Entry::Vacant(vacant) = parents.entry(print) {
                vacant.insert((world.print(), step));
                situations.insert(next.situation());
                found.states += 1;
                found.situations = situations.len();
                queue.push_back((depth + 1, next));
            }
        }
    }
    found.is_whole = true;
    found
}

/// What a step leads to, or the law that it breaks. A panic of a replica is one too.
fn attempt(world: &World, step: Step) -> Result<World, String> {
    let tried = catch_unwind(AssertUnwindSafe(|| {
        let next = world.after(step)?;
        laws::check(&next)?;
        Ok(next)
    }));
    tried.unwrap_or_else(|_| {
        let text = crate::report::take_panic().unwrap_or_default();
        Err(format!("assertion: {text}"))
    })
}

fn path(parents: &Parents, mut print: u64) -> Vec<Step> {
    let mut steps = Vec::new();
    while let Some((parent, step)) = parents.get(&print) {
        if step.what == What::Begin {
            break;
        }
        steps.push(*step);
        print = *parent;
    }
    steps.reverse();
    steps
}

/// The schedule in words: played once more.
fn told(bounds: &Bounds, schedule: &[Step]) -> Vec<String> {
    let mut world = Rc::new(World::new(bounds));
    let mut words = Vec::new();
    for step in schedule {
        words.push(world.words(*step));
        match attempt(&world, *step) {
            Ok(next) => world = Rc::new(next),
            Err(law) => words.push(format!("broken: {law}")),
        }
    }
    words
}

/// Prints what a search found, as text or as one line of JSON.
pub fn report(found: &Found, cpu: Duration, json: bool) {
    if let Some((law, schedule)) = &found.broken {
        for (number, words) in (1..).zip(schedule) {
            println!("{number:>3}  {words}");
        }
        eprintln!("{law}");
    }
    let law = found.broken.as_ref().map(|(law, _)| {
        let end = law.find(':').unwrap_or(law.len());
        format!("{{\"law\":\"{}\",\"seed\":\"\"}}", &law[..end])
    });
    let Found {
        states,
        situations,
        steps,
        depth,
        is_whole,
        ..
    } = found;
    let cpu = cpu.as_secs_f64();
    if json {
        let failures = law.unwrap_or_default();
        println!(
            "{{\"states\":{states},\"situations\":{situations},\"steps\":{steps},\"depth\":{depth},\"whole\":{is_whole},\"cpu_s\":{cpu:.3},\"failures\":[{failures}]}}"
        );
    } else {
        let rest = if *is_whole {
            "all within the bounds"
        } else {
            "more are left"
        };
        println!(
            "{states} states, {situations} situations, {steps} steps, {depth} deep, {cpu:.1} CPU s; {rest}"
        );
    }
}

#[cfg(test)]
mod tests;
