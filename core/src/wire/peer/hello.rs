//! The first words on a link: who is there, and may he come in.
//!
//! Both sides say hello, the caller first. A side that does not like what it hears says why, and
//! closes. Version, cluster, member, data directory and membership are proved here once; the header
//! of every later frame repeats them, and a frame that says otherwise ends the link.

use super::{FrameError, Header, VERSION, cluster_hash};
use crate::config::Config;
use crate::config::Mark;
use crate::config::Standing;
use crate::founding;
use crate::founding::{Stage, Word};
use crate::ids::{Boot, ClusterId, Epoch, GroupId, Incarnation, NodeId};
use crate::limits::MEMBERS_MAX;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Who is there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Hello {
    /// The version of everything after the hellos. Its frames are read by all later versions.
    pub version: u8,
    /// The cluster.
    pub cluster: ClusterId,
    /// The sender.
    pub node: NodeId,
    /// Whom the sender means to talk to.
    pub to: NodeId,
    /// The sender's data directory.
    pub incarnation: Incarnation,
    /// The sender's start.
    pub boot: Boot,
    /// The sender's membership.
    pub epoch: Epoch,
    /// The state of the sender's shared configuration.
    pub mark: Mark,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
pub(super) struct HelloForm(
    u8,
    ClusterId,
    NodeId,
    NodeId,
    Incarnation,
    Boot,
    Epoch,
    Mark,
);

/// A word of a founding, as it stands on the wire.
pub(super) type WordForm<S> = (u8, ClusterId, u64, NodeId, NodeId, Incarnation, S);

pub(super) const fn word_form(word: &Word) -> WordForm<&Stage> {
    (
        word.version,
        word.cluster,
        word.list,
        word.node,
        word.to,
        word.incarnation,
        &word.stage,
    )
}

pub(super) fn word_from_form(form: WordForm<Stage>) -> Word {
    let (version, cluster, list, node, to, incarnation, stage) = form;
    Word {
        version,
        cluster,
        list,
        node,
        to,
        incarnation,
        stage,
    }
}

/// The header of a frame with a word of a founding: there is no epoch and no start yet.
pub fn founding_header(word: &Word) -> Header {
    Header {
        group: GroupId::new(0),
        cluster: cluster_hash(word.cluster),
        epoch: Epoch::new(0),
        from: word.node,
        incarnation: word.incarnation,
        boot: Boot::new(0),
    }
}

impl Hello {
    pub(super) const fn form(&self) -> HelloForm {
        HelloForm(
            self.version,
            self.cluster,
            self.node,
            self.to,
            self.incarnation,
            self.boot,
            self.epoch,
            self.mark,
        )
    }

    pub(super) const fn from_form(form: HelloForm) -> Self {
        let HelloForm(version, cluster, node, to, incarnation, boot, epoch, mark) = form;
        Self {
            version,
            cluster,
            node,
            to,
            incarnation,
            boot,
            epoch,
            mark,
        }
    }

    /// The header that all frames of this sender must have.
    pub fn header(&self) -> Header {
        Header {
            group: GroupId::new(0),
            cluster: cluster_hash(self.cluster),
            epoch: self.epoch,
            from: self.node,
            incarnation: self.incarnation,
            boot: self.boot,
        }
    }

    /// Whether a later frame is this sender's.
    pub fn check(&self, found: &Header) -> Result<(), FrameError> {
        let (expected, found) = (self.header(), *found);
        if expected == found {
            Ok(())
        } else {
            Err(FrameError::Sender { expected, found })
        }
    }
}

// The order of the variants is their number on the wire: add at the end only.
/// Why a peer is not let in. Both sides log it: one of them has a wrong configuration.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error, Serialize, Deserialize)]
pub enum HelloRefusal {
    /// No version that both know.
    #[error("the peer speaks version {found}, this server {expected}")]
    Version {
        /// The refusing server's.
        expected: u8,
        /// The peer's.
        found: u8,
    },
    /// Another cluster: an address or a cluster's name is wrong somewhere.
    #[error("the peer is of cluster {found}, this server of {expected}")]
    Cluster {
        /// The refusing server's.
        expected: ClusterId,
        /// The peer's.
        found: ClusterId,
    },
    /// Not a member, or the refusing server's own number.
    #[error("server {node} is not a member of this cluster")]
    UnknownMember {
        /// The peer's number.
        node: NodeId,
    },
    /// The peer meant to reach another member: an address is wrong.
    #[error("the peer looks for server {found}, and this is server {expected}")]
    NotMe {
        /// The refusing server.
        expected: NodeId,
        /// Whom the peer looked for.
        found: NodeId,
    },
    /// Two data directories claim one number: two servers run with it, or one lost its data.
    #[error(
        "server {node} is known with data directory {expected:?}, this one has {found:?}: two servers run \
         with its number, or it lost its data, and `tenure member replace {node}` is the way back"
    )]
    Incarnation {
        /// The peer's number.
        node: NodeId,
        /// Known before.
        expected: Incarnation,
        /// The peer's.
        found: Incarnation,
    },
    /// A later start of the same data directory has been heard.
    #[error("start {found:?} of server {node} is over: start {expected:?} has been heard")]
    OldBoot {
        /// The peer's number.
        node: NodeId,
        /// Heard before.
        expected: Boot,
        /// The peer's.
        found: Boot,
    },
    /// Two histories of the shared configuration: one of the servers is of another cluster with the
    /// same name, or was brought back from something that never happened here.
    #[error(
        "the configurations are forked: the peer's is {found}, and here, at {expected}, it is unknown"
    )]
    Forked {
        /// The refusing server's.
        expected: Mark,
        /// The peer's.
        found: Mark,
    },
    /// It was a member, and is not any more: the cluster works without it. Numbers are never used twice.
    #[error("server {node} is no member of this cluster any more")]
    Removed {
        /// The peer's number.
        node: NodeId,
    },
    /// It asked to be a member, and nobody has let it in yet.
    #[error("server {node} waits for an operator: `tenure member approve {node}` lets it in")]
    NotApproved {
        /// The peer's number.
        node: NodeId,
    },
    /// It would found a cluster, which stands, and began without a data directory of its.
    #[error(
        "this cluster stands, and server {node} comes with an empty data directory: one that lost its data \
         is replaced (`tenure member replace {node}`), a new one joins with `[join]`"
    )]
    Stands {
        /// The peer's number.
        node: NodeId,
    },
}

/// Says hello, and decides who comes in.
#[derive(Clone, Debug)]
pub struct Doorman {
    config: Config,
    incarnation: Incarnation,
    boot: Boot,
    known: BTreeMap<NodeId, (Incarnation, Boot)>,
}

impl Doorman {
    /// For the server that `config` calls itself.
    pub const fn new(config: Config, incarnation: Incarnation, boot: Boot) -> Self {
        let known = BTreeMap::new();
        Self {
            config,
            incarnation,
            boot,
            known,
        }
    }

    /// The shared configuration changed: who is no member any more is forgotten.
    pub fn update(&mut self, config: Config) {
        let peers: Vec<NodeId> = config.peers().collect();
        let node_last = config.shared().node_last();
        let stays = |node: &NodeId| peers.contains(node) || *node > node_last;
        self.known.retain(|node, _| stays(node));
        self.config = config;
    }

    /// A member's data directory, as it was remembered from an earlier start.
    pub fn remember(&mut self, node: NodeId, incarnation: Incarnation, boot: Boot) {
        self.known.insert(node, (incarnation, boot));
        assert!(
            self.known.len() <= 2 * MEMBERS_MAX,
            "only members are known, and those that were before a restart"
        );
    }

    /// The data directory of each member that was let in: what must be remembered at the next start.
    pub fn incarnations(&self) -> BTreeMap<NodeId, Incarnation> {
        let known = self.known.iter();
        known
            .map(|(node, (incarnation, _))| (*node, *incarnation))
            .collect()
    }

    /// The first word to `to`.
    pub fn hello(&self, to: NodeId) -> Hello {
        Hello {
            version: VERSION,
            cluster: self.config.cluster(),
            node: self.config.me(),
            to,
            incarnation: self.incarnation,
            boot: self.boot,
            epoch: self.config.epoch(),
            mark: self.config.shared().mark(),
        }
    }

    /// The header of everything that this server sends.
    pub fn header(&self) -> Header {
        self.hello(self.config.me()).header()
    }

    /// Answers one that would found the cluster, which stands since long: it may go on only with the data
    /// directory that the cluster began with (rule 36).
    pub fn answer_founder(&self, word: &Word) -> Result<Word, HelloRefusal> {
        let hello = Hello {
            version: VERSION,
            cluster: word.cluster,
            node: word.node,
            to: word.to,
            incarnation: word.incarnation,
            boot: Boot::new(0),
            epoch: Epoch::new(0),
            mark: self.config.shared().beginning(),
        };
        self.check_place(&hello)?;
        let (node, found) = (word.node, word.incarnation);
        match self.known.get(&node) {
            None => Err(HelloRefusal::Stands { node }),
            Some((expected, _)) if *expected != found => Err(HelloRefusal::Incarnation {
                node,
                expected: *expected,
                found,
            }),
            Some(_) => Ok(Word {
                version: founding::VERSION,
                cluster: self.config.cluster(),
                list: self.config.shared().beginning().hash,
                node: self.config.me(),
                to: node,
                incarnation: self.incarnation,
                stage: Stage::Founded(found),
            }),
        }
    }

    /// Lets a peer in, and remembers its data directory and start; or says why not.
    pub fn admit(&mut self, hello: &Hello) -> Result<(), HelloRefusal> {
        self.check_place(hello)?;
        let node = hello.node;
        if let Some((incarnation, boot)) = self.known.get(&node) {
            if *incarnation != hello.incarnation {
                return Err(HelloRefusal::Incarnation {
                    node,
                    expected: *incarnation,
                    found: hello.incarnation,
                });
            }
            if hello.boot < *boot {
                return Err(HelloRefusal::OldBoot {
                    node,
                    expected: *boot,
                    found: hello.boot,
                });
            }
        }
        self.check_mark(hello)?;
        // Of one that only a later configuration knows, nothing is remembered: anybody may say so.
        if self.config.peers().any(|peer| peer == node) {
            self.remember(node, hello.incarnation, hello.boot);
        }
        Ok(())
    }

    /// Whether the two configurations have one past. Asked last: what is said of a server that should
    /// not be there at all is worth more.
    fn check_mark(&self, hello: &Hello) -> Result<(), HelloRefusal> {
        // One that is behind is let in: it catches up here.
        let (expected, found) = (self.config.shared().mark(), hello.mark);
        match self.config.shared().judge(found) {
            Standing::Forked => Err(HelloRefusal::Forked { expected, found }),
            Standing::Same | Standing::Behind | Standing::Ahead => Ok(()),
        }
    }

    /// Whether the peer is a member of this cluster, and looks for this server.
    fn check_place(&self, hello: &Hello) -> Result<(), HelloRefusal> {
        let (expected, found) = (VERSION, hello.version);
        if expected != found {
            return Err(HelloRefusal::Version { expected, found });
        }
        let (expected, found) = (self.config.cluster(), hello.cluster);
        if expected != found {
            return Err(HelloRefusal::Cluster { expected, found });
        }
        self.check_member(hello)?;
        let (expected, found) = (self.config.me(), hello.to);
        if expected != found {
            return Err(HelloRefusal::NotMe { expected, found });
        }
        Ok(())
    }

    fn check_member(&self, hello: &Hello) -> Result<(), HelloRefusal> {
        let node = hello.node;
        if self.config.peers().any(|peer| peer == node) {
            return Ok(());
        }
        let shared = self.config.shared();
        if node == self.config.me() || node == NodeId::new(0) {
            return Err(HelloRefusal::UnknownMember { node });
        }
        if shared.member(node).is_some() {
            return Err(HelloRefusal::NotApproved { node });
        }
        if node <= shared.node_last() {
            return Err(HelloRefusal::Removed { node });
        }
        // Its number is of a change that has not been heard of here, and it has: it may be the one that
        // this server, long away, learns of that change from.
        match shared.judge(hello.mark) {
            Standing::Ahead => Ok(()),
            Standing::Same | Standing::Behind | Standing::Forked => {
                Err(HelloRefusal::UnknownMember { node })
            }
        }
    }
}
