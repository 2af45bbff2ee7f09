//! Multi-Paxos in schedules: each page is a script over real nodes (`crate::stage`), and what it shows
//! stands in `tests/transcripts`. A page more is a function of a few lines and a row in `PAGES`.

mod bugs;

use crate::disk::Fate;
use crate::scenario::HostKnobs;
use crate::stage::Stage;
use std::fs;
use std::path::{Path, PathBuf};

/// One page: its name, which is its file's, and its script.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    /// Number and title.
    pub name: &'static str,
    servers: usize,
    /// Servers that are let in later.
    newcomers: usize,
    /// In what its servers differ from others: room, limits, snapshots.
    differ: fn(&mut HostKnobs),
    script: fn(&mut Stage),
}

impl Page {
    /// What the script shows.
    pub fn play(&self) -> String {
        let mut stage = Stage::new(self.servers, self.newcomers, self.differ);
        (self.script)(&mut stage);
        stage.transcript()
    }
}

/// All pages, in their order.
pub const PAGES: &[Page] = &[
    page("0001-lost-promise", 3, lost_promise),
    page("0002-duelling-candidates", 3, duelling_candidates),
    page("0003-hole-in-the-log", 3, hole_in_the_log),
    page("0004-half-a-quorum-found", 5, half_a_quorum_found),
    page("0005-half-a-quorum-missed", 5, half_a_quorum_missed),
    page("0006-torn-tail", 3, torn_tail),
    page("0007-late-write-fenced-off", 3, late_write),
    forgetful(page("0008-cold-follower", 3, cold_follower)),
    page("0009-time-of-a-deposed-leader", 3, time_of_a_deposed_leader),
    growing(page("0010-stop-sign", 3, stop_sign), 1),
    page("0011-removed-leader", 3, removed_leader),
];

/// What fixed bugs left behind, in the order in which they were found.
pub const BUGS: &[Page] = bugs::PAGES;

const fn page(name: &'static str, servers: usize, script: fn(&mut Stage)) -> Page {
    Page {
        name,
        servers,
        newcomers: 0,
        differ: |_| {},
        script,
    }
}

/// A page on which servers make snapshots and forget what lies below.
const fn forgetful(page: Page) -> Page {
    let differ = |knobs: &mut HostKnobs| {
        knobs.snapshots.bytes = 2_000;
        knobs.snapshots.window_slots = 2;
        knobs.segment_bytes = 16 << 10;
    };
    Page { differ, ..page }
}

/// A page on which a leader may have one open slot, and no more.
const fn narrow(page: Page) -> Page {
    let differ = |knobs: &mut HostKnobs| knobs.limits.open_slots = Some(1);
    Page { differ, ..page }
}

/// A page on which more servers are let in.
const fn growing(page: Page, newcomers: usize) -> Page {
    Page { newcomers, ..page }
}

fn lost_promise(s: &mut Stage) {
    s.elect();
    s.say("Lost promise. A promise binds from the moment it is on disk, heard or not.");
    s.say(
        "Server 1 is out of hearing. Server 2 stands, and the word of 3 that promises it is lost.",
    );
    s.isolate(1);
    s.lose(3, 2, "promise");
    s.pass(210);
    s.say("Server 3 dies and comes back; now it hears 1 and not 2. It keeps a promise that nobody knows of.");
    s.crash(3, Fate::Lost);
    s.mend();
    s.isolate(2);
    s.power_on(3);
    s.acquire("ann", 1, 5_000, 0);
    s.say("All hear each other. Whoever leads next has a higher ballot, and ann is answered.");
    s.mend();
    s.elect();
    s.pass(300);
}

fn duelling_candidates(s: &mut Stage) {
    s.elect();
    s.say("Duelling candidates. Server 1 dies, and what 2 and 3 propose to each other is lost.");
    s.crash(1, Fate::Kept);
    s.lose(2, 3, "accept");
    s.lose(3, 2, "accept");
    s.pass(3_000);
    s.say("One after the other was promised, and chose nothing. Then accepts pass again.");
    s.mend();
    s.elect();
}

fn hole_in_the_log(s: &mut Stage) {
    s.elect();
    s.say("Hole in the log. The accept of one slot is lost on its way to 3, the next one arrives.");
    s.lose(1, 3, "accept");
    s.acquire("ann", 1, 5_000, 0);
    s.mend();
    s.acquire("bob", 1, 5_000, 5_000);
    s.say("Server 3 accepted nothing over the hole: it asked for what is missing, and got both.");
    s.pass(200);
}

fn half_a_quorum(s: &mut Stage) {
    for follower in 3..=5 {
        s.lose(1, follower, "accept");
    }
    s.acquire("ann", 1, 5_000, 0);
    s.crash(1, Fate::Kept);
    s.mend();
}

fn half_a_quorum_found(s: &mut Stage) {
    s.elect();
    s.say("Half a quorum. Ann's command reaches 1 and 2 of five servers, and 1 dies.");
    half_a_quorum(s);
    s.say("The next leader hears of it from 2, cannot know that it is not chosen, and proposes it again.");
    s.elect();
}

fn half_a_quorum_missed(s: &mut Stage) {
    s.elect();
    s.say("Half a quorum, missed. Ann's command reaches 1 and 2 of five servers, 1 dies, 2 is not heard.");
    half_a_quorum(s);
    s.isolate(2);
    s.say("The next leader's quorum knows nothing of it. Its slot gets another value.");
    s.elect();
    s.say("Server 2 comes back, and accepts the later ballot's value over its own.");
    s.mend();
    s.pass(400);
}

fn torn_tail(s: &mut Stage) {
    s.elect();
    s.say("Torn tail. The power of 3 goes while a group of several sectors is on its way to its disk.");
    s.lock("long/".to_owned() + &"name".repeat(250));
    s.slow_disk(3);
    s.acquire("ann", 1, 5_000, 0);
    s.crash(3, Fate::Mixed);
    s.say("It had acknowledged nothing of it, so the group may go. It gets the entry again.");
    s.power_on(3);
    s.pass(400);
}

fn late_write(s: &mut Stage) {
    s.elect();
    s.say(
        "Late write, fenced off. Ann is granted the lock, writes, and sleeps; bob waits in line.",
    );
    s.acquire("ann", 1, 600, 0);
    s.write("ann");
    s.acquire("bob", 2, 600, 5_000);
    s.say(
        "Her lease ends in the log. Bob is offered the lock, his server confirms, and it is his.",
    );
    s.pass(1_000);
    s.write("bob");
    s.say("Ann wakes up in the middle of what she believed to be hers.");
    s.write("ann");
}

fn cold_follower(s: &mut Stage) {
    s.elect();
    s.crash(3, Fate::Kept);
    for number in 1..=60 {
        s.lock(format!("work/{number}"));
        s.acquire("ann", 1, 60_000, 0);
        s.pass(1);
    }
    s.say("Cold follower. Server 3 was down while ann took sixty locks, and the others truncated their logs.");
    s.power_on(3);
    s.keep(3, 1);
    s.keep(3, 2);
    s.pass(45);
    s.say("It asks for the slots after its last one. The others go on: two of three are enough for bob.");
    s.lock("bobs/lock".to_owned());
    s.acquire("bob", 2, 60_000, 0);
    s.say("Those slots are gone: a snapshot stands for them. What is above it comes from the log, as always.");
    s.let_go(3, 1);
    s.let_go(3, 2);
    s.pass(200);
    s.say("Server 3 counts again: with it and the leader a quorum decides.");
    s.crash(2, Fate::Kept);
    s.lock("carols/lock".to_owned());
    s.acquire("carol", 3, 60_000, 0);
    s.pass(50);
}

fn time_of_a_deposed_leader(s: &mut Stage) {
    s.elect();
    s.say("Time of a deposed leader. Nothing is written for 4 s. Then 1 is cut off, and 2 and 3 start anew.");
    s.pass(4_000);
    s.isolate(1);
    s.crash(2, Fate::Kept);
    s.crash(3, Fate::Kept);
    s.power_on(2);
    s.power_on(3);
    s.pass(600);
    s.elect();
    s.say("They forgot how late it was, and their time goes on from the last entry. Ann gets a lease of 2 s.");
    s.acquire("ann", 2, 2_000, 0);
    s.say("Server 1 is back and leads. Its own time was 4 s ahead, and is no time that ann's lease has seen.");
    s.mend();
    s.pass(100);
    s.crash(2, Fate::Kept);
    s.elect();
    s.acquire("bob", 1, 2_000, 0);
}

fn stop_sign(s: &mut Stage) {
    s.elect();
    s.say("Stop-sign. Server 4 is let in. It gets the log as a follower does, and has no vote.");
    s.lose(1, 3, "accept 1.1.1: 3 stop");
    s.lose(1, 4, "accept 1.1.1: 3 stop");
    s.lose(2, 1, "accepted 1.1.1 to 3");
    s.let_in(4, 1);
    s.pass(242);
    s.say("It has all, so 1 ended its epoch with a sign that names the next voters, and only 2 has it. Ann must wait: above a sign nothing is proposed.");
    s.acquire("ann", 1, 5_000, 0);
    s.say("Then 1 dies. Who leads next hears of the sign, and proposes that again, and nothing above it in this epoch.");
    s.crash(1, Fate::Kept);
    s.mend();
    s.elect();
    s.say("Above it a new instance began, in which 4 votes: of four, three are a quorum.");
    s.acquire("ann", 4, 5_000, 0);
    s.say("Server 1 wakes up in the old epoch. It takes no accept of the new one before it has learned the sign, and all below it.");
    s.power_on(1);
    s.pass(100);
}

fn removed_leader(s: &mut Stage) {
    s.elect();
    s.say("Removed leader. Server 1 leads, and is to go. It ends its epoch itself, and hears no answer.");
    s.lose(2, 1, "accepted 1.1.1 to 3");
    s.lose(3, 1, "accepted 1.1.1 to 3");
    s.remove(1, 1);
    s.isolate(1);
    s.say("The sign is chosen, and 1 cannot know. It leads on and proposes nothing above its sign. Bob has to wait.");
    s.pass(100);
    s.acquire("bob", 1, 5_000, 0);
    s.pass(80);
    s.say("Server 2 led and found the sign; 2 and 3 vote from now on. What 3 accepts first is lost, so the new epoch does not work yet.");
    s.mend();
    s.lose(3, 2, "accepted 2.1.2");
    s.pass(60);
    s.say("Now it works. Until then 2 fed 1 as well: it passed bob's wish on, gives him his answer, and stops.");
    s.mend();
    s.elect();
    s.pass(1_000);
}

/// What a comparison came to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// The file says what is played.
    Same,
    /// It does now.
    Written,
    /// It does not: the first line that differs.
    Differs(String),
}

fn path(page: &Page) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/transcripts");
    folder.join(format!("{}.txt", page.name))
}

/// Compares a page with its file.
pub fn compare(page: &Page) -> Result<Verdict, String> {
    let path = path(page);
    let known =
        fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let played = page.play();
    if known == played {
        return Ok(Verdict::Same);
    }
    let mut lines = known.lines().zip(played.lines()).zip(1..);
    let differs = lines.find(|((known, played), _)| known != played);
    Ok(Verdict::Differs(differs.map_or_else(
        || "one ends before the other".to_owned(),
        |((known, played), number)| format!("line {number}\n  file    {known}\n  played  {played}"),
    )))
}

/// Writes what is played to its file.
pub fn accept(page: &Page) -> Result<Verdict, String> {
    let (path, played) = (path(page), page.play());
    if fs::read_to_string(&path).is_ok_and(|known| known == played) {
        return Ok(Verdict::Same);
    }
    let written = fs::write(&path, played);
    written.map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(Verdict::Written)
}
