//! How a list of members becomes a cluster: once, and only with all of them there (rule 36).
//!
//! An empty data directory under a list of members is given an incarnation, which it keeps before it says a
//! word. From then on its server asks all the others, in rounds, how they are, and answers when they ask:
//!
//! | stage    | it says                                        | it goes on when                                        |
//! |----------|------------------------------------------------|--------------------------------------------------------|
//! | alone    | its incarnation                                | all others answered in one round: it keeps who they are |
//! | agreed   | the incarnations of all, which it never changes | all others agreed on the same, or one is founded       |
//! | founded  | that it is, and with which directory of who asks | (its data directory is formatted, with the incarnations of all) |
//!
//! A data directory agrees once, and founding takes the agreement of all. So of two sets that were ever
//! founded, one with a common member is the same, and those without one have no data directory in common:
//! the earlier one's are all lost. Nothing here leans on the order of words, or on none being lost or late.

use crate::config::Config;
use crate::hash::hash64;
use crate::ids::{ClusterId, Incarnation, NodeId};
use crate::limits::MEMBERS_MAX;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use bytes::{Buf, BufMut};
use serde::{Deserialize, Serialize};

/// The version of the words that this server says and understands.
pub const VERSION: u8 = 1;

/// The data directories that found a cluster together, one of each member.
#[derive(Clone, Debug, Default, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(
    try_from = "Vec<(NodeId, Incarnation)>",
    into = "Vec<(NodeId, Incarnation)>"
)]
pub struct Founders(BTreeMap<NodeId, Incarnation>);

/// A list that is not in the order of its numbers, or too long.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("founders stand in the order of their numbers, and are {MEMBERS_MAX} at most")]
pub struct NotFounders;

impl TryFrom<Vec<(NodeId, Incarnation)>> for Founders {
    type Error = NotFounders;

    fn try_from(pairs: Vec<(NodeId, Incarnation)>) -> Result<Self, NotFounders> {
        let is_ordered = pairs.is_sorted_by(|(one, _), (next, _)| one < next);
        if is_ordered && pairs.len() <= MEMBERS_MAX {
            Ok(Self(pairs.into_iter().collect()))
        } else {
            Err(NotFounders)
        }
    }
}

impl From<Founders> for Vec<(NodeId, Incarnation)> {
    fn from(founders: Founders) -> Self {
        founders.0.into_iter().collect()
    }
}

impl Founders {
    /// The data directory of one of them.
    pub fn of(&self, node: NodeId) -> Option<Incarnation> {
        self.0.get(&node).copied()
    }

    /// All but `me`.
    pub fn others(&self, me: NodeId) -> BTreeMap<NodeId, Incarnation> {
        let mut others = self.0.clone();
        others.remove(&me);
        others
    }
}

/// What a data directory remembers that is not formatted yet.
///
/// ```text
/// 0 XXH3 of the rest u64 | 8 list u64 | 16 incarnation u64 | 24 once it agreed, for each founder: number u64  incarnation u64
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Record {
    /// The hash of what the cluster is to begin with.
    pub list: u64,
    /// The data directory.
    pub incarnation: Incarnation,
    /// With whom it founds the cluster.
    pub agreed: Option<Founders>,
}

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RecordError {
    /// No record has so many bytes.
    #[error("a record of a founding has 24 bytes and 16 for each founder, not {found}")]
    Length {
        /// How many there are.
        found: usize,
    },
    /// The bytes are not those that were written.
    #[error("a record of a founding with checksum {found:#018x}, its bytes have {expected:#018x}")]
    Check {
        /// What the bytes have.
        expected: u64,
        /// What the record says.
        found: u64,
    },
    /// Its founders are none.
    #[error(transparent)]
    Founders(#[from] NotFounders),
}

const HEAD_BYTES: usize = 24;
const FOUNDER_BYTES: usize = 16;

impl Record {
    /// The bytes of it.
    pub fn encode(&self) -> Vec<u8> {
        let mut rest = Vec::new();
        rest.put_u64_le(self.list);
        rest.put_u64_le(self.incarnation.get());
        for (node, incarnation) in self.agreed.iter().flat_map(|founders| &founders.0) {
            rest.put_u64_le(node.get());
            rest.put_u64_le(incarnation.get());
        }
        let mut bytes = hash64(&rest).to_le_bytes().to_vec();
        bytes.extend_from_slice(&rest);
        bytes
    }

    /// Reads what [`Self::encode`] wrote.
    ///
    /// # Errors
    ///
    /// They are other bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, RecordError> {
        let found = bytes.len();
        let length = RecordError::Length { found };
        let founders = found.checked_sub(HEAD_BYTES).ok_or(length)?;
        if founders % FOUNDER_BYTES != 0 || founders / FOUNDER_BYTES > MEMBERS_MAX {
            return Err(length);
        }
        let mut rest = bytes;
        let (found, expected) = (rest.get_u64_le(), hash64(rest));
        if found != expected {
            return Err(RecordError::Check { expected, found });
        }
        let (list, incarnation) = (rest.get_u64_le(), Incarnation::new(rest.get_u64_le()));
        let mut pairs = Vec::new();
        while rest.has_remaining() {
            let node = NodeId::new(rest.get_u64_le());
            pairs.push((node, Incarnation::new(rest.get_u64_le())));
        }
        let founders = Founders::try_from(pairs)?;
        Ok(Self {
            list,
            incarnation,
            agreed: (!founders.0.is_empty()).then_some(founders),
        })
    }
}

/// How a server is, and which: a question to a member of its list, and the answer to one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Word {
    /// The version of the sender's words.
    pub version: u8,
    /// The cluster.
    pub cluster: ClusterId,
    /// The hash of what it is to begin with: the list of its members, with their addresses.
    pub list: u64,
    /// The sender.
    pub node: NodeId,
    /// Whom the sender means to talk to.
    pub to: NodeId,
    /// The sender's data directory.
    pub incarnation: Incarnation,
    /// How far it is.
    pub stage: Stage,
}

// The order of the variants is their number on the wire: add at the end only.
/// How far a data directory is.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub enum Stage {
    /// It is empty.
    Alone,
    /// It is empty, and will be founded with these or never.
    Agreed(Founders),
    /// It is of a cluster that stands, and began with this data directory of the one that asks.
    Founded(Incarnation),
}

/// Why a member of the list does not found the cluster with this server yet.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Obstacle {
    /// Nothing was heard of it.
    #[error("it does not answer")]
    Silent,
    /// It speaks otherwise.
    #[error("it speaks version {found} of this, this server {VERSION}")]
    Version {
        /// Its.
        found: u8,
    },
    /// Its file names another cluster.
    #[error("it is of cluster {found}: its file has another `cluster`")]
    Cluster {
        /// Its.
        found: ClusterId,
    },
    /// An address is wrong.
    #[error("server {found} answers there")]
    Member {
        /// Who does.
        found: NodeId,
    },
    /// Its file has other members, or other addresses.
    #[error("its file has another list of `[members]` than this server's: they must be the same")]
    List,
    /// It has agreed on others, or on another data directory of this server's.
    #[error(
        "it has agreed to begin with other data directories: if no member serves, stop all of them, empty \
         all their data directories and start them again"
    )]
    Disagrees,
    /// This server has agreed on another data directory of its.
    #[error(
        "its data directory was {expected:?} when this server agreed to begin with it, and is {found:?}: bring \
         that one back; or, if no member serves, stop all of them, empty all their data directories and start \
         them again"
    )]
    Incarnation {
        /// What was agreed on.
        expected: Incarnation,
        /// Its.
        found: Incarnation,
    },
    /// It is of the cluster that this server was to found, by its leave, which it does not remember.
    #[error(
        "its cluster stands, and this data directory has forgotten that it agreed: replace this server"
    )]
    Forgotten,
    /// It has not heard of all others yet.
    #[error("it has not heard of all others yet")]
    NotYet,
}

/// What to do after a round.
#[derive(Clone, Debug, Eq, PartialEq)]
#[must_use = "a founding goes on only by what is done here"]
pub enum Step {
    /// Nothing but to ask again: these are not with this server yet.
    Wait(Vec<(NodeId, Obstacle)>),
    /// Make this durable, then tell [`Founding::kept`].
    Keep(Record),
    /// Format the data directory, as one of these.
    Found(Founders),
}

/// A data directory has agreed to found a cluster with another list of members than its file has now.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "this data directory has agreed to begin with another list of `[members]`: give that back; or, if no \
     member serves, empty the data directories of all of them"
)]
pub struct OtherList;

/// One server on its way.
#[derive(Clone, Debug)]
pub struct Founding {
    config: Config,
    record: Record,
    /// The last word of each member that said that it agreed. It is never taken back, so it counts although
    /// its sender is gone: one that is founded, and dies at once, holds up nobody.
    agreed: BTreeMap<NodeId, Word>,
}

impl Founding {
    /// Begins, or goes on with what the data directory has `kept`; `drawn` is the incarnation of one that
    /// has kept nothing. [`Self::record`] must be durable before the first word.
    ///
    /// # Errors
    ///
    /// It has agreed to another list of members.
    pub fn begin(
        config: Config,
        kept: Option<Record>,
        drawn: Incarnation,
    ) -> Result<Self, OtherList> {
        let list = config.shared().mark().hash;
        let mut record = kept.unwrap_or(Record {
            list,
            incarnation: drawn,
            agreed: None,
        });
        if record.agreed.is_none() {
            record.list = list;
        }
        if record.list != list {
            return Err(OtherList);
        }
        let agreed = BTreeMap::new();
        Ok(Self {
            config,
            record,
            agreed,
        })
    }

    /// What must be durable before this server says a word.
    pub const fn record(&self) -> &Record {
        &self.record
    }

    /// The cluster that is to be, as this server sees it.
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// What this server says to `to`.
    pub fn word(&self, to: NodeId) -> Word {
        let agreed = self.record.agreed.clone();
        Word {
            version: VERSION,
            cluster: self.config.cluster(),
            list: self.record.list,
            node: self.config.me(),
            to,
            incarnation: self.record.incarnation,
            stage: agreed.map_or(Stage::Alone, Stage::Agreed),
        }
    }

    /// A member asked, or answered.
    pub fn hear(&mut self, word: &Word) {
        let has_agreed = matches!(word.stage, Stage::Agreed(_));
        if has_agreed && self.config.peers().any(|peer| peer == word.node) {
            self.agreed.insert(word.node, word.clone());
        }
    }

    /// What follows from the answers of one round. Only what was asked for in it may be among them: who
    /// is away by now is not present.
    pub fn judge(&self, answers: &BTreeMap<NodeId, Word>) -> Step {
        let mut obstacles = Vec::new();
        let mut words = Vec::new();
        for peer in self.config.peers() {
            let agreed = self.agreed.get(&peer);
            let before = agreed.filter(|_| self.record.agreed.is_some());
            match self.check(peer, answers.get(&peer).or(before)) {
                Ok(word) => words.push(word),
                Err(obstacle) => obstacles.push((peer, obstacle)),
            }
        }
        match &self.record.agreed {
            Some(founders) => {
                let is_founded = |word: &&Word| matches!(word.stage, Stage::Founded(_));
                // One that is founded heard that all have agreed.
                let is_founded = words.iter().any(is_founded);
                if is_founded || obstacles.is_empty() {
                    Step::Found(founders.clone())
                } else {
                    Step::Wait(obstacles)
                }
            }
            None => self.agree(&words, obstacles),
        }
    }

    /// Whether `word` is of a member that is with this server.
    fn check<'w>(&self, peer: NodeId, word: Option<&'w Word>) -> Result<&'w Word, Obstacle> {
        let word = word.ok_or(Obstacle::Silent)?;
        if word.version != VERSION {
            let found = word.version;
            return Err(Obstacle::Version { found });
        }
        if word.cluster != self.config.cluster() {
            let found = word.cluster;
            return Err(Obstacle::Cluster { found });
        }
        if word.node != peer {
            return Err(Obstacle::Member { found: word.node });
        }
        let own = self.record.incarnation;
        match &word.stage {
            Stage::Alone | Stage::Agreed(_) if word.list != self.record.list => {
                return Err(Obstacle::List);
            }
            Stage::Founded(with) if *with != own => return Err(Obstacle::Disagrees),
            Stage::Alone | Stage::Agreed(_) | Stage::Founded(_) => {}
        }
        let Some(founders) = &self.record.agreed else {
            return match &word.stage {
                Stage::Founded(_) => Err(Obstacle::Forgotten),
                Stage::Alone | Stage::Agreed(_) => Ok(word),
            };
        };
        let (expected, found) = (founders.of(peer).unwrap_or_default(), word.incarnation);
        if expected != found {
            return Err(Obstacle::Incarnation { expected, found });
        }
        match &word.stage {
            Stage::Alone => Err(Obstacle::NotYet),
            Stage::Agreed(others) if others != founders => Err(Obstacle::Disagrees),
            Stage::Agreed(_) | Stage::Founded(_) => Ok(word),
        }
    }

    /// Agrees with all that are there, if they are all, and none has agreed otherwise.
    fn agree(&self, words: &[&Word], mut obstacles: Vec<(NodeId, Obstacle)>) -> Step {
        let mut founders = Founders::default();
        let own = (self.config.me(), self.record.incarnation);
        let others = words.iter().map(|word| (word.node, word.incarnation));
        founders.0.extend(others.chain([own]));
        let disagrees = |word: &&&Word| match &word.stage {
            Stage::Agreed(others) => {
                let knows = |(node, incarnation)| others.of(node) == Some(incarnation);
                !knows(own) || (obstacles.is_empty() && *others != founders)
            }
            Stage::Alone | Stage::Founded(_) => false,
        };
        let disagreeing: Vec<_> = words.iter().filter(disagrees).collect();
        let disagreeing = disagreeing.into_iter();
        obstacles.extend(disagreeing.map(|word| (word.node, Obstacle::Disagrees)));
        if !obstacles.is_empty() {
            return Step::Wait(obstacles);
        }
        let members = self.config.members().len();
        assert!(
            founders.0.len() == members,
            "a cluster is founded by all its members"
        );
        Step::Keep(Record {
            agreed: Some(founders),
            ..self.record.clone()
        })
    }

    /// The record is durable.
    pub fn kept(&mut self, record: Record) {
        assert!(
            self.record.agreed.is_none() && record.incarnation == self.record.incarnation,
            "a data directory agrees once"
        );
        self.record = record;
    }
}

#[cfg(test)]
mod tests;
