//! What fixed bugs left behind: for each the situation in which it was found, and what is right there.
//! A page says in its head what went wrong; it differs once the fix is broken.

use super::{Page, forgetful, growing, narrow, page};
use crate::disk::Fate;
use crate::stage::Stage;

/// All of them, as `docs/SIMULATION.md` lists the bugs.
pub(super) const PAGES: &[Page] = &[
    page("0012-a-guess-is-no-word", 3, a_guess_is_no_word),
    page("0013-read-what-is-applied", 3, read_what_is_applied),
    page("0014-late-accept", 5, late_accept),
    page("0015-slow-then-fast", 3, slow_then_fast),
    page("0016-black-hole", 3, black_hole),
    forgetful(page("0017-read-what-is-settled", 5, read_what_is_settled)),
    page("0018-slow-disks", 3, slow_disks),
    page("0019-promised-in-vain", 3, promised_in_vain),
    narrow(page("0020-full-of-open-slots", 3, full_of_open_slots)),
    page("0021-heard-again", 3, heard_again),
    page("0022-one-slow-voter", 3, one_slow_voter),
    narrow(page("0023-a-copy-waits-once", 3, a_copy_waits_once)),
    page("0024-whose-clock-is-wrong", 3, whose_clock_is_wrong),
    page("0025-written-alone", 3, written_alone),
    growing(
        page(
            "0026-newcomer-without-the-past",
            1,
            newcomer_without_the_past,
        ),
        1,
    ),
    growing(page("0027-wish-taken-back", 1, wish_taken_back), 1),
    page("0028-all-drain", 3, all_drain),
    page("0029-too-late", 5, too_late),
    page(
        "0030-promised-and-started-again",
        3,
        promised_and_started_again,
    ),
    growing(page("0031-not-on-the-disk-yet", 1, not_on_the_disk_yet), 1),
    page("0032-soon-said-again", 3, soon_said_again),
    forgetful(page("0033-kept-for-a-learner", 3, kept_for_a_learner)),
];

fn a_guess_is_no_word(s: &mut Stage) {
    s.elect();
    s.acquire("ann", 1, 5_000, 0);
    s.say(
        "A guess is no word. Server 3 restarts; what it had acknowledged counts again once it says so.\n\
         The bug (0x3c826c02bd1c0a3d): the leader guessed that accepts were lost, sent them again from the first slot\n\
         on, and took its own guess for the word of 3 that its disk had lost all: 3 was never counted again.",
    );
    s.crash(3, Fate::Kept);
    s.power_on(3);
    s.say("Nobody asks it for anything, so it says nothing, and after a while 1 sends again.");
    s.pass(200);
    s.say("It said that it has all. With 2 gone, bob gets his lock by the votes of 1 and 3.");
    s.crash(2, Fate::Kept);
    s.lock("bobs/lock".to_owned());
    s.acquire("bob", 1, 5_000, 0);
}

fn read_what_is_applied(s: &mut Stage) {
    s.elect();
    s.acquire("ann", 1, 5_000, 0);
    s.pass(50);
    s.say(
        "Read what is applied. Bob asks server 3, which has applied all that was ever decided.\n\
         The bug (0x8bc564bb096f611f, 0x10c476eb821bd123): such a read waited for the next entry, which in an idle\n\
         cluster never came. Now it is answered as soon as the leader says up to where it must see.",
    );
    s.read("bob", 3);
}

fn late_accept(s: &mut Stage) {
    s.elect();
    s.say(
        "Late accept. Server 1 proposes ann's wish for slot 2 and is cut off; what it says is long on its way.\n\
         The bug (0x6bfee4e11b72cddd): a server that had learned another value for the slot, and promised nothing above\n\
         the old ballot, took the two for two values of one ballot, and stopped. Only such of one ballot contradict.",
    );
    for other in 2..=5 {
        s.keep(1, other);
    }
    s.acquire("ann", 1, 5_000, 0);
    s.isolate(1);
    s.say("Servers 2, 4 and 5 choose another value there. Server 3 hears nothing of that ballot, and learns what was chosen.");
    s.lose(2, 3, "prepare");
    s.lose(2, 3, "accept");
    s.elect();
    s.pass(50);
    s.say("Now the old accept arrives at 3. It keeps what was chosen, and owes 1 no word. Whoever asks, it serves.");
    s.let_go(1, 3);
    s.read("bob", 3);
}

fn slow_then_fast(s: &mut Stage) {
    s.elect();
    s.say(
        "Slow, then fast. The leader's clock runs at half speed for three seconds, and from ann's grant on at double.\n\
         The bug (0xd51ea86082f489c3): agreed time was the smaller of what the leader's clock and the others' allow, and\n\
         what it had not used was kept: it ran at double, and ann's 2 s ended after one. Beyond T_e nothing is kept.",
    );
    s.run_clock(1, -500_000);
    s.pass(3_000);
    s.run_clock(1, 1_000_000);
    s.acquire("ann", 1, 2_000, 0);
    s.acquire("bob", 1, 60_000, 60_000);
    s.say("Bob gets the lock when 2 s have passed, but for the T_e = 0.15 s that may be used.");
    s.pass(2_100);
    s.say(
        "Between two rounds nobody looks after the leader's clock (0x614483e15ffa703c: that is a published bound).\n\
         It jumps ahead by 0.1 s, and carol's 2 s are shorter by so much.",
    );
    s.run_clock(1, 0);
    s.lock("another/lock".to_owned());
    s.acquire("carol", 1, 2_000, 0);
    s.acquire("dave", 1, 60_000, 60_000);
    s.jump_clock(1, 100);
    s.pass(2_100);
}

fn black_hole(s: &mut Stage) {
    s.elect();
    s.say(
        "Black hole. Pings of server 1 pass, its accepts vanish: it is heard, so nobody else stands.\n\
         The bug (0x9f2b2433586429f8): a leader that decides nothing for 2 s gives up, and since its log is the longest it\n\
         won again, and again. Now it leaves it to others for a second.",
    );
    s.lose(1, 2, "accept ");
    s.lose(1, 3, "accept ");
    s.acquire("ann", 1, 5_000, 0);
    s.skip(1_999);
    s.say("Two seconds later its beats stop. The others stand, and are not heard at once. It has the time to win again, and does not.");
    for (from, to) in [(2, 1), (2, 3), (3, 1), (3, 2)] {
        s.lose(from, to, "would you");
    }
    s.pass(210);
    s.mend();
    s.lose(1, 2, "accept ");
    s.lose(1, 3, "accept ");
    s.pass(100);
}

fn read_what_is_settled(s: &mut Stage) {
    s.elect();
    for other in 3..=5 {
        s.lose(1, other, "accept ");
    }
    s.acquire("ann", 1, 60_000, 0);
    s.crash(1, Fate::Kept);
    s.mend();
    s.isolate(2);
    s.elect();
    for number in 1..=4 {
        s.lock(format!("work/{number}"));
        s.acquire("bob", 3, 60_000, 0);
        s.pass(1);
    }
    s.say(
        "Read what is settled. On the disk of 2 stands ann's wish for slot 2, which was never chosen. It learns what was.\n\
         The bug (0x9cf0f4676066d4e7, 0x8170c73aff4b72f3): it read its log for another one as far as it knew of decisions,\n\
         though the records that tell of them were on their way to its disk, and gave away ann's wish as chosen.",
    );
    s.slow_disk(2);
    s.mend();
    s.lose(3, 2, "accept ");
    s.pass(80);
    s.say("Server 1 is back, and hears only 2. What it asks for must wait for the disk of 2, and it asks again.");
    for other in 3..=5 {
        for left in 1..=2 {
            s.cut(left, other);
            s.cut(other, left);
        }
    }
    s.power_on(1);
    s.pass(90);
    s.say("Now it is durable, and read.");
    s.fast_disk(2);
    s.skip(225);
    s.pass(30);
}

fn slow_disks(s: &mut Stage) {
    s.elect();
    s.say(
        "Slow disks. Server 1 dies, and on the disks that are left a promise takes 0.6 s.\n\
         The bug (read by a stranger): a try was given up after 0.45 s, whatever the disks took, so nobody was ever\n\
         elected. A try waits for its own promise, and then twice as long as that took.",
    );
    s.crash(1, Fate::Kept);
    s.lose(3, 2, "would you");
    s.slow_disk(2);
    s.slow_disk(3);
    s.pass(152);
    s.skip(600);
    s.fast_disk(2);
    s.say("Its own promise is on disk after 0.6 s. That of 3 takes as long, and it waits.");
    s.pass(1);
    s.skip(600);
    s.fast_disk(3);
    s.power_on(1);
    s.skip(300);
    s.say(
        "The disks are fast again. Server 1 stands when 2 dies, and 3 promises it in vain.\n\
         The bug (0x1a4c1e9b51fd78ae): 3 would wait for a candidate for as long as its last promise took, twice. It waits T_e.",
    );
    s.mend();
    s.crash(2, Fate::Kept);
    s.lose(3, 1, "promise");
    s.pass(160);
    s.crash(1, Fate::Kept);
    s.power_on(2);
    s.pass(135);
}

fn promised_in_vain(s: &mut Stage) {
    s.elect();
    s.say(
        "Promised in vain. For a moment 1 is not heard. Server 3 stands, and its prepare is lost.\n\
         The bug (0x43edd6b5e0a229c4): then 1 goes on, and to 3, which has promised more, what 2 tells of that leader was\n\
         no evidence, for ever. Now 2 tells the leader of the promise, and that one stands above it.",
    );
    s.isolate(1);
    s.lose(2, 3, "would you");
    s.lose(3, 2, "prepare");
    s.pass(190);
    s.say("Server 1 is back, but its link to 3 is cut for good. It goes on with 2, which hears what 3 promised.");
    s.mend();
    s.cut(1, 3);
    s.cut(3, 1);
    s.lose(3, 2, "prepare");
    s.pass(60);
    s.say("A candidate gets 0.3 s to be elected. Then 1 stands, above what was promised, and 3 has a leader again.");
    s.skip(300);
    s.pass(600);
}

fn full_of_open_slots(s: &mut Stage) {
    s.elect();
    s.pass(100);
    s.say(
        "Full of open slots. A leader of this cluster has one slot open at most, so an acceptor keeps room for two.\n\
         The bug (0x9dd373c6d2711a1c): each leader that fails leaves its first entry open, and an acceptor that was full\n\
         took nothing any more, not even what it held: no leader ever decided anything again.\n\
         What is accepted is not heard of, and one leader after another dies.",
    );
    for (from, to) in [(1, 2), (1, 3), (2, 1), (2, 3), (3, 1), (3, 2)] {
        s.lose(from, to, "accepted");
    }
    s.crash(1, Fate::Kept);
    s.pass(150);
    s.power_on(1);
    s.skip(100);
    s.crash(2, Fate::Kept);
    s.pass(120);
    s.power_on(2);
    s.skip(100);
    s.say("The third one is heard again, with three open slots. The first undecided one is always taken, and what is held takes no more room.");
    s.crash(1, Fate::Kept);
    s.mend();
    s.pass(400);
}

fn heard_again(s: &mut Stage) {
    s.elect();
    s.say(
        "Heard again. The link between 1 and 3 is cut, and 2 tells 3 that 1 leads. Bob's wish gets lost on its way to 1.\n\
         The bug (0x1bf514058f55e264): the pauses between tries grow to 4 s, and that the leader was heard again changed\n\
         nothing. Now it is asked at once.",
    );
    s.cut(1, 3);
    s.cut(3, 1);
    s.pass(100);
    s.acquire("bob", 3, 5_000, 0);
    s.pass(4_500);
    s.say("The next try would be in three seconds.");
    s.mend();
    s.pass(100);
}

fn one_slow_voter(s: &mut Stage) {
    s.elect();
    s.say(
        "One slow voter. The clock of 2 runs at half speed, and 2 answers pings before 3 does.\n\
         The bug (0x85f75c6decc29db8): the slower of two voters, or the first that answered, decided how far agreed time\n\
         may go, and leases ended late. All that answered lately count, and one wrong clock is outvoted.",
    );
    s.run_clock(2, -500_000);
    s.acquire("ann", 1, 2_000, 0);
    s.acquire("bob", 1, 60_000, 60_000);
    s.say("Ann's 2 s end in time, and bob is next.");
    s.pass(2_200);
}

fn a_copy_waits_once(s: &mut Stage) {
    s.elect();
    s.pass(100);
    s.say(
        "A copy waits once. A leader of this cluster has one slot open at most; its accepts get lost, so bob's wish waits.\n\
         The bug (0x27a516d785af5f5a): server 2 sends the wish again and again, and each copy got a slot, so that the queue\n\
         grew and drew more copies. A command waits in the leader's queue once.",
    );
    s.lose(1, 2, "accept ");
    s.lose(1, 3, "accept ");
    s.acquire("ann", 1, 5_000, 0);
    s.lock("bobs/lock".to_owned());
    s.acquire("bob", 2, 5_000, 0);
    s.skip(1_500);
    s.say("Accepts pass again, after three copies more. One gets a slot.");
    s.mend();
    s.pass(200);
}

fn whose_clock_is_wrong(s: &mut Stage) {
    s.elect();
    s.pass(9_900);
    s.say(
        "Whose clock is wrong? Clocks are compared over ten seconds. In the next ten the leader's runs at double speed for two,\n\
         in which it does not hear 3. The bug (0x32cf9cc3dfa81dc7): it compared what each clock had gained since it was first\n\
         heard, so its own was wrong beside that of 2 and right beside that of 3; and of 2 or 3, which are right, one was named.",
    );
    s.cut(3, 1);
    s.run_clock(1, 1_000_000);
    s.pass(2_000);
    s.run_clock(1, 0);
    s.mend();
    s.pass(7_000);
    s.say(
        "It named nobody: over the whole time it heard one clock besides its own, and of two nobody can tell.\n\
         Then its own runs too fast again, and it hears all. Only that one is named (0x84e75bd07f235ca2: two were), and 2 leads.",
    );
    s.run_clock(1, 500_000);
    s.pass(7_500);
}

fn written_alone(s: &mut Stage) {
    s.elect();
    s.pass(2_000);
    s.say(
        "Written alone. Server 1 is cut off after two idle seconds, and writes on: it is on its disk alone, with its time.\n\
         The bug (0x35a9f6befeb0f2f, 0x56f5a7af53a601f1): after a power cut it was proposed again with its stamp, and a lease\n\
         that another leader had granted meanwhile ended early. Logs tell who began last, and where: the rest is void.",
    );
    s.isolate(1);
    for number in 1..=4 {
        s.lock(format!("alone/{number}"));
        s.acquire("ann", 1, 5_000, 0);
        s.pass(5);
    }
    s.say("Servers 2 and 3 restart, and know no time later than the log's. Server 2 leads, and bob gets a lease of 1 s.");
    s.crash(2, Fate::Kept);
    s.crash(3, Fate::Kept);
    s.power_on(2);
    s.power_on(3);
    s.elect();
    s.lock("bobs/lock".to_owned());
    s.acquire("bob", 2, 1_000, 0);
    s.say("A power cut, after which 3 stays away. Server 2 began at slot 2, so what 1 wrote from there on is void, and its time with it.");
    for server in 1..=3 {
        s.crash(server, Fate::Kept);
    }
    s.mend();
    s.power_on(1);
    s.power_on(2);
    s.elect();
    s.say("Bob's second has not passed, in any time that its log has seen.");
    s.acquire("carol", 1, 5_000, 0);
}

fn newcomer_without_the_past(s: &mut Stage) {
    s.elect();
    for number in 1..=300 {
        s.lock(format!("work/{number}"));
        s.acquire("ann", 1, 60_000, 0);
        s.pass(1);
    }
    s.crash(1, Fate::Kept);
    s.power_on(1);
    s.elect();
    s.say(
        "Newcomer without the past. Server 1 leads anew, and knows that 256 slots were decided before. 2 is let in.\n\
         The bug (read by a stranger): what 2 acknowledges is what that leader proposed, above 256. An epoch could begin\n\
         over voters that lack the rest, and nobody serves while they fetch it. So 2 must say that it has that, too.",
    );
    s.lose(1, 2, "chosen");
    s.let_in(2, 1);
    s.pass(50);
    s.skip(1_000);
    s.say("What is chosen does not reach it: no stop-sign, and bob is served.");
    s.lock("bobs/lock".to_owned());
    s.acquire("bob", 1, 60_000, 0);
    s.say("It learns the past, and then it votes.");
    s.mend();
    s.pass(120);
}

fn wish_taken_back(s: &mut Stage) {
    s.elect();
    s.say(
        "Wish taken back. Server 2 is let in, and before it has said anything the operator takes that back.\n\
         The bug (read by a stranger): a leader takes no proposals while it waits for the next voters to have everything.\n\
         If what it waits for is taken back in that moment, it waited for ever. It looks again as long as it waits.",
    );
    s.cut(2, 1);
    s.let_in(2, 1);
    s.say("That 2 goes again is on its way to a slow disk when 2 is heard. Server 1 begins to wait for it.");
    s.slow_disk(1);
    s.remove(2, 1);
    s.mend();
    s.pass(150);
    s.acquire("ann", 1, 5_000, 0);
    s.say("Now the wish is gone, and there is nothing to wait for.");
    s.fast_disk(1);
    s.pass(100);
}

fn all_drain(s: &mut Stage) {
    s.elect();
    s.say(
        "All drain. Servers 1 and 2 are to be taken down: they hand over, and take no clients.\n\
         The bug (read by a stranger): when the last one that was to stay dies, those that are left are a healthy quorum,\n\
         and served nobody. One that drains refuses clients only while it hears one that does not.",
    );
    s.drain(2, 1);
    s.drain(1, 1);
    s.skip(700);
    s.acquire("ann", 1, 5_000, 0);
    s.say("Then 3 dies. To be served outranks the wish, or all that was granted would end.");
    s.crash(3, Fate::Kept);
    s.skip(1_000);
    s.acquire("ann", 2, 5_000, 0);
}

fn too_late(s: &mut Stage) {
    s.elect();
    s.crash(5, Fate::Kept);
    s.lose(1, 5, "accept");
    s.power_on(5);
    s.pass(100);
    s.say(
        "Too late. Server 1 dies, and 2 stands; the promise of 4 is long on its way, and no other server hears of it.\n\
         The bug (read by a stranger): meanwhile another leader begins and decides. What a voter then reports to 2 as decided,\n\
         behind a hole, counted as void, since that leader had begun below it: 2 proposed something else there.",
    );
    s.crash(1, Fate::Kept);
    s.lose(2, 3, "prepare");
    s.lose(2, 5, "prepare");
    s.pass(125);
    s.keep(4, 2);
    s.pass(10);
    s.say("Then 2 is cut off, and 1 is back. Server 3 stands above 2; its first entry is chosen for slot 2, and 5 learns of it.");
    s.isolate(2);
    s.lose(3, 5, "prepare");
    s.lose(3, 5, "accept ");
    s.power_on(1);
    s.elect();
    s.skip(40);
    s.pass(45);
    s.say("Server 5 restarts, and hears only 2. It knows what is decided for slot 2, and not that slot 1 is decided too: a hole.");
    s.crash(5, Fate::Kept);
    s.mend();
    for other in [1, 3, 4] {
        for late in [2, 5] {
            s.cut(late, other);
            s.cut(other, late);
        }
    }
    s.power_on(5);
    s.pass(40);
    s.say("The promise of 4 arrives. Server 2 proposes what is decided, under a ballot that nobody needs any more.");
    s.let_go(4, 2);
}

fn promised_and_started_again(s: &mut Stage) {
    s.elect();
    s.acquire("ann", 1, 5_000, 0);
    s.pass(4_500);
    s.say(
        "Promised and started again. Ann's lease of 5 s has half a second left, and nothing was written meanwhile. Server 1 dies,\n\
         2 stands, and the promise of 3 is lost. The bug (0x9ddd25361880c209): 3 starts again, and says that it may have followed\n\
         whomever it promised, which is 2 itself. So 2 went by the time in the log of 3: all 4.5 s were counted again.",
    );
    s.crash(1, Fate::Kept);
    s.lose(3, 2, "promise");
    s.pass(215);
    s.crash(3, Fate::Kept);
    s.mend();
    s.power_on(3);
    s.elect();
    s.say("The log of 3 tells whom it followed. That is server 1, whose time 2 has heard, and goes on with: ann's lease ends.");
    s.pass(1_000);
}

fn not_on_the_disk_yet(s: &mut Stage) {
    s.elect();
    for number in 1..=300 {
        s.lock(format!("work/{number}"));
        s.acquire("ann", 1, 60_000, 0);
        s.pass(1);
    }
    s.crash(1, Fate::Kept);
    s.power_on(1);
    s.elect();
    s.say(
        "Not on the disk yet. Server 1 leads anew, above what was decided before. 2 is let in, and has on its disk what 1\n\
         proposed since, before it learns the rest.\n\
         The bug (0xfe980c1b21553cd3): what it learned it told at once, while that was on its way to its disk, and the next\n\
         epoch could begin over voters of whom one more lost disk takes the past along.",
    );
    s.lose(1, 2, "chosen");
    s.let_in(2, 1);
    s.pass(50);
    s.say("It learns the past now, and its disk takes its time: no stop-sign.");
    s.slow_disk(2);
    s.mend();
    s.pass(120);
    s.say("The disk has it all, the next pong says so, and 2 votes.");
    s.fast_disk(2);
    s.pass(120);
}

fn soon_said_again(s: &mut Stage) {
    s.elect();
    s.say(
        "Soon said again. What server 2 forwards is lost, though its pings pass: the pauses between its tries grow.\n\
         The bug (0xab59993ef9bba90f): when the link was whole again nothing said so, and ann waited for the pause to end.",
    );
    s.lose(2, 1, "forward");
    s.acquire("ann", 2, 60_000, 0);
    s.skip(8_000);
    s.say("The link is whole. What bob asks for is answered, and ann asked before him: hers was lost, and is soon said again.");
    s.mend();
    s.lock("bobs/lock".to_owned());
    s.acquire("bob", 2, 60_000, 0);
    s.pass(2_000);
}

fn kept_for_a_learner(s: &mut Stage) {
    s.elect();
    s.crash(3, Fate::Kept);
    let mut numbers = 1..;
    let mut take = |s: &mut Stage, count| {
        for number in numbers.by_ref().take(count) {
            s.lock(format!("work/{number}"));
            s.acquire("ann", 1, 60_000, 0);
            s.pass(1);
        }
    };
    take(s, 60);
    s.say(
        "Kept for a learner. Server 3 was down, and fetches a snapshot of 1; some of its chunks are lost.\n\
         The bug (0x6a3f055564bc0a82): whoever was in the middle of one found it replaced by the next, again and again, and\n\
         the slots above it gone with that.",
    );
    s.power_on(3);
    s.lose(1, 3, "chunk 1");
    s.pass(45);
    s.say("Others go on, and 1 makes newer snapshots. It keeps the one that 3 fetches, and the log above that.");
    take(s, 60);
    s.say("Asked again, 1 still has the chunk, and 3 goes on from the log.");
    s.mend();
    s.lose(3, 2, "asks for chunk");
    s.pass(1_200);
}
