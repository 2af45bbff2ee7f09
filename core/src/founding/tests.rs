//! Two members are never founded with different data directories: every order, loss and delay of words,
//! with crashes and wiped disks.

use super::*;
use crate::config::Member;
use alloc::collections::BTreeSet;
use alloc::string::ToString;
use alloc::vec;

fn config(me: u64, members: u64) -> Config {
    let member = |node| Member {
        node: NodeId::new(node),
        ..Member::default()
    };
    let members = (1..=members).map(member).collect();
    Config::new(ClusterId([7; 16]), NodeId::new(me), members).unwrap()
}

fn alone(me: u64, members: u64) -> Founding {
    let config = config(me, members);
    Founding::begin(config, None, Incarnation::new(10 * me)).unwrap()
}

fn founders(pairs: &[(u64, u64)]) -> Founders {
    let pair =
        |&(node, incarnation): &(u64, u64)| (NodeId::new(node), Incarnation::new(incarnation));
    let pairs: Vec<_> = pairs.iter().map(pair).collect();
    Founders::try_from(pairs).unwrap()
}

fn agreed(me: u64, with: &[(u64, u64)]) -> Founding {
    let mut founding = alone(me, 3);
    let record = founding.record().clone();
    founding.kept(Record {
        agreed: Some(founders(with)),
        ..record
    });
    founding
}

const ALL: [(u64, u64); 3] = [(1, 10), (2, 20), (3, 30)];

/// What server 1 does when 2 and 3 answer so.
fn judged(one: &Founding, words: &[Word]) -> Step {
    let answer = |word: &Word| (word.node, word.clone());
    one.judge(&words.iter().map(answer).collect())
}

fn word(of: &Founding) -> Word {
    of.word(NodeId::new(1))
}

fn changed(of: &Founding, change: impl Fn(&mut Word)) -> Word {
    let mut word = word(of);
    change(&mut word);
    word
}

#[test]
fn it_agrees_when_all_are_there_and_founds_when_all_agreed() {
    let mut one = alone(1, 3);
    let (two, three) = (alone(2, 3), alone(3, 3));
    let silent = (NodeId::new(3), Obstacle::Silent);
    assert_eq!(judged(&one, &[word(&two)]), Step::Wait(vec![silent]));
    let Step::Keep(record) = judged(&one, &[word(&two), word(&three)]) else {
        panic!("all are there");
    };
    assert_eq!(record.agreed, Some(founders(&ALL)));
    one.kept(record);
    let not_yet = (NodeId::new(3), Obstacle::NotYet);
    let two = agreed(2, &ALL);
    let wait = Step::Wait(vec![not_yet]);
    assert_eq!(judged(&one, &[word(&two), word(&three)]), wait);
    let three = agreed(3, &ALL);
    let found = Step::Found(founders(&ALL));
    assert_eq!(judged(&one, &[word(&two), word(&three)]), found);
    // One that was cut off between its record and its formatting.
    let founded = changed(&three, |word| {
        word.stage = Stage::Founded(Incarnation::new(10))
    });
    assert_eq!(judged(&one, &[founded]), found);
}

#[test]
fn who_said_that_it_agreed_may_be_gone_then_and_who_was_alone_may_not() {
    let (two, three) = (agreed(2, &ALL), agreed(3, &ALL));
    let mut one = alone(1, 3);
    one.hear(&word(&three));
    let silent = Step::Wait(vec![(NodeId::new(3), Obstacle::Silent)]);
    assert_eq!(
        judged(&one, &[word(&two)]),
        silent,
        "all must be there to agree"
    );
    let mut one = agreed(1, &ALL);
    one.hear(&word(&alone(3, 3)));
    assert_eq!(judged(&one, &[word(&two)]), silent);
    one.hear(&word(&three));
    assert_eq!(judged(&one, &[word(&two)]), Step::Found(founders(&ALL)));
    // What it says now outranks what it said.
    let wiped = changed(&three, |word| word.incarnation = Incarnation::new(31));
    assert!(matches!(judged(&one, &[word(&two), wiped]), Step::Wait(_)));
}

#[test]
fn a_list_of_one_asks_nobody() {
    let mut one = alone(1, 1);
    let Step::Keep(record) = judged(&one, &[]) else {
        panic!("nobody else is needed");
    };
    one.kept(record);
    assert_eq!(judged(&one, &[]), Step::Found(founders(&[(1, 10)])));
}

#[test]
fn who_is_not_with_it_is_named_with_the_reason() {
    let (one, two, three) = (alone(1, 3), alone(2, 3), alone(3, 3));
    let why = |one: &Founding, three: Word| match judged(one, &[word(&two), three]) {
        Step::Wait(obstacles) => obstacles.last().unwrap().1.to_string(),
        step => panic!("{step:?}"),
    };
    let says = |one: &Founding, three: Word, text: &str| {
        let found = why(one, three);
        assert!(found.contains(text), "{found}");
    };
    let others = [(1, 11), (2, 20), (3, 30)];
    says(&one, changed(&three, |word| word.version = 2), "version 2");
    let cluster = ClusterId([8; 16]);
    says(
        &one,
        changed(&three, |word| word.cluster = cluster),
        "another `cluster`",
    );
    says(&one, changed(&three, |word| word.list += 1), "another list");
    let founded = |with| {
        changed(&three, |word| {
            word.stage = Stage::Founded(Incarnation::new(with))
        })
    };
    says(&one, founded(10), "has forgotten");
    says(&one, founded(11), "other data directories");
    says(&one, word(&agreed(3, &others)), "other data directories");
    let one = agreed(1, &ALL);
    let wiped = changed(&three, |word| word.incarnation = Incarnation::new(31));
    says(&one, wiped, "bring that one back");
    let others = [(1, 10), (2, 21), (3, 30)];
    says(&one, word(&agreed(3, &others)), "other data directories");
    let strange = changed(&three, |word| word.node = NodeId::new(2));
    let answers = BTreeMap::from([(NodeId::new(2), word(&two)), (NodeId::new(3), strange)]);
    let Step::Wait(obstacles) = one.judge(&answers) else {
        panic!("somebody else answers");
    };
    let found = NodeId::new(2);
    assert_eq!(obstacles[1], (NodeId::new(3), Obstacle::Member { found }));
}

#[test]
fn what_was_kept_is_gone_on_with() {
    let drawn = Incarnation::new(99);
    let kept = Record {
        list: 5,
        ..alone(1, 3).record().clone()
    };
    // The file was mended before anybody was asked for more.
    let again = Founding::begin(config(1, 3), Some(kept), drawn).unwrap();
    assert_eq!(again.record(), alone(1, 3).record());
    let kept = agreed(1, &ALL).record().clone();
    let again = Founding::begin(config(1, 3), Some(kept.clone()), drawn).unwrap();
    assert_eq!(again.record(), &kept);
    let other = Founding::begin(config(1, 2), Some(kept), drawn);
    assert_eq!(other.unwrap_err(), OtherList);
}

#[test]
fn a_record_is_read_as_it_was_written_or_not_at_all() {
    for founding in [alone(1, 3), agreed(1, &ALL)] {
        let bytes = founding.record().encode();
        assert_eq!(Record::parse(&bytes), Ok(founding.record().clone()));
        for len in 0..bytes.len() {
            assert!(Record::parse(&bytes[..len]).is_err(), "{len} bytes of it");
        }
        for at in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1;
            assert!(Record::parse(&bytes).is_err(), "byte {at} is another one");
        }
    }
    let golden = [
        0x05, 0, 0, 0, 0, 0, 0, 0, 0x0a, 0, 0, 0, 0, 0, 0, 0, // list, incarnation
        0x01, 0, 0, 0, 0, 0, 0, 0, 0x0a, 0, 0, 0, 0, 0, 0, 0, // the only founder
    ];
    let record = Record {
        list: 5,
        incarnation: Incarnation::new(10),
        agreed: Some(founders(&[(1, 10)])),
    };
    assert_eq!(record.encode()[8..], golden);
    let unordered = [(2, 20), (1, 10)].map(|(node, at)| (NodeId::new(node), Incarnation::new(at)));
    assert_eq!(Founders::try_from(unordered.to_vec()), Err(NotFounders));
}

/// What is on one server's disk: what it kept, and whether it is formatted.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Disk {
    incarnation: Incarnation,
    agreed: Option<Founders>,
    founded: bool,
}

/// All disks, and every word that was ever said: any of them may come at any time, and again.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct World {
    disks: Vec<Disk>,
    said: BTreeSet<(NodeId, Incarnation, Stage)>,
    /// With whom anybody was ever founded.
    founded: BTreeSet<Founders>,
    wipes: u64,
}

/// What a server gets wrong, to see that the search would find it.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Lie {
    None,
    /// It founds when it has heard of all others, agreed or not.
    FoundsAtOnce,
    /// It says that it agreed before that is durable, and crashes.
    AgreesAgain,
}

impl World {
    fn new(members: u64) -> Self {
        let disk = |node| Disk {
            incarnation: Incarnation::new(10 * node),
            agreed: None,
            founded: false,
        };
        let mut world = Self {
            disks: (1..=members).map(disk).collect(),
            said: BTreeSet::new(),
            founded: BTreeSet::new(),
            wipes: 0,
        };
        (0..world.disks.len()).for_each(|at| world.speaks(at));
        world
    }

    /// A running server says how it is; from then on that word may be heard.
    fn speaks(&mut self, at: usize) {
        let disk = &self.disks[at];
        let agreed = disk.agreed.clone();
        let stages = match agreed {
            Some(founders) if disk.founded => {
                founders.0.values().copied().map(Stage::Founded).collect()
            }
            Some(founders) => vec![Stage::Agreed(founders)],
            None => vec![Stage::Alone],
        };
        let (node, incarnation) = (node_at(at), disk.incarnation);
        self.said
            .extend(stages.into_iter().map(|stage| (node, incarnation, stage)));
    }

    /// The server at `at`, as it starts: all that it knows is on its disk, so a crash is no event.
    fn founding(&self, at: usize) -> Founding {
        let members = self.disks.len() as u64;
        let config = config(node_at(at).get(), members);
        let disk = &self.disks[at];
        let record = Record {
            list: config.shared().mark().hash,
            incarnation: disk.incarnation,
            agreed: disk.agreed.clone(),
        };
        Founding::begin(config, Some(record), Incarnation::default()).unwrap()
    }

    /// Every round of answers that server `at` may hear: of each other one any word, or none.
    fn rounds(&self, at: usize) -> Vec<BTreeMap<NodeId, Word>> {
        let mut rounds = vec![BTreeMap::new()];
        for other in (0..self.disks.len()).filter(|other| *other != at) {
            let from = node_at(other);
            let heard: Vec<_> = self.said.iter().filter(|said| said.0 == from).collect();
            let with = |round: &BTreeMap<NodeId, Word>| {
                let asked = self.founding(other).word(node_at(at));
                let answer = |(_, incarnation, stage): &&(NodeId, Incarnation, Stage)| {
                    let word = Word {
                        incarnation: *incarnation,
                        stage: stage.clone(),
                        ..asked.clone()
                    };
                    let mut round = round.clone();
                    round.insert(from, word);
                    round
                };
                heard.iter().map(answer).collect::<Vec<_>>()
            };
            let more: Vec<_> = rounds.iter().flat_map(with).collect();
            rounds.extend(more);
        }
        rounds
    }

    fn after(&self, at: usize, step: Step, lie: Lie) -> Vec<Self> {
        let mut next = self.clone();
        let mut nexts = Vec::new();
        match step {
            Step::Wait(_) => return nexts,
            Step::Keep(record) if lie == Lie::FoundsAtOnce => {
                next.founded.extend(record.agreed.clone());
                next.disks[at].agreed = record.agreed;
                next.disks[at].founded = true;
            }
            Step::Keep(record) => {
                next.disks[at].agreed = record.agreed;
                if lie == Lie::AgreesAgain {
                    let mut crashed = next.clone();
                    crashed.speaks(at);
                    crashed.disks[at].agreed = None;
                    nexts.push(crashed);
                }
            }
            Step::Found(founders) => {
                next.founded.insert(founders);
                next.disks[at].founded = true;
            }
        }
        next.speaks(at);
        nexts.push(next);
        nexts
    }

    fn nexts(&self, wipes_max: u64, lie: Lie) -> Vec<Self> {
        let mut nexts = Vec::new();
        for at in 0..self.disks.len() {
            if !self.disks[at].founded {
                let founding = self.founding(at);
                let rounds = self.rounds(at).into_iter();
                nexts.extend(rounds.flat_map(|round| self.after(at, founding.judge(&round), lie)));
            }
            if self.wipes < wipes_max {
                let mut next = self.clone();
                next.wipes += 1;
                next.disks[at] = Disk {
                    incarnation: Incarnation::new(10 * node_at(at).get() + next.wipes),
                    agreed: None,
                    founded: false,
                };
                next.speaks(at);
                nexts.push(next);
            }
        }
        nexts
    }

    fn holds(&self) -> bool {
        let of_disk = |disk: &Disk| disk.agreed.clone().filter(|_| disk.founded);
        let standing: BTreeSet<_> = self.disks.iter().filter_map(of_disk).collect();
        let apart = |one: &Founders, other: &Founders| {
            one == other || one.0.iter().all(|(node, at)| other.of(*node) != Some(*at))
        };
        let mut pairs = self.founded.iter();
        standing.len() <= 1 && pairs.all(|one| self.founded.iter().all(|other| apart(one, other)))
    }
}

fn node_at(at: usize) -> NodeId {
    NodeId::new(at as u64 + 1)
}

/// Looks at every world that can come about; how many there are, or none if one of them is wrong.
fn search(members: u64, wipes_max: u64, lie: Lie) -> Option<usize> {
    let mut seen = BTreeSet::from([World::new(members)]);
    let mut left: Vec<World> = seen.iter().cloned().collect();
    let mut has_stood = false;
    while let Some(world) = left.pop() {
        if !world.holds() {
            return None;
        }
        has_stood |= world.disks.iter().all(|disk| disk.founded);
        for next in world.nexts(wipes_max, lie) {
            if seen.insert(next.clone()) {
                left.push(next);
            }
        }
    }
    assert!(has_stood, "some worlds get as far as a cluster");
    Some(seen.len())
}

#[test]
fn at_most_one_cluster_comes_of_a_list_whatever_is_lost_late_or_wiped() {
    for (members, wipes) in [(1, 2), (2, 3), (3, 2)] {
        let worlds = search(members, wipes, Lie::None);
        std::eprintln!("{members} members, {wipes} wiped disks: {worlds:?} worlds");
        assert!(worlds.is_some(), "{members} members, {wipes} wiped disks");
    }
}

#[test]
fn the_search_finds_who_founds_too_soon() {
    assert_eq!(search(3, 1, Lie::FoundsAtOnce), None);
    assert_eq!(search(3, 1, Lie::AgreesAgain), None);
}
