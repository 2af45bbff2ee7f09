//! A lock that is held.

use crate::driver::Command;
use crate::error::Error;
use crate::handle::Client;
use crate::options::millis;
use std::time::Duration;
use tenure_core::client::{Loss, News, Want};
use tenure_core::ids::{Fence, Slot};
use tenure_core::machine::answer::{Answer, Grant};
use tenure_core::machine::command::Mode;
use tenure_core::machine::parts::Parts;
use tenure_core::node::input::{Proof, Token};
use tenure_core::time::Timestamp;
use tenure_core::wire::client::Word;
use tenure_rt::sync::watch;

/// A lock that is held. Released when dropped; [`Guard::release`] also waits for the answer. Of a re-entrant one
/// that was entered more than once, only the last guard's release frees the lock.
///
/// The service can't stop a process that goes on after it lost the lock. Stop when [`Guard::lost`]
/// says so, and let your storage check [`Guard::fence`].
#[must_use = "the lock is released when this is dropped"]
#[derive(Debug)]
pub struct Guard {
    client: Client,
    grant: Grant,
    token: Token,
    slot: Slot,
    news: watch::Receiver<News>,
    held: bool,
}

impl Guard {
    pub(crate) const fn new(
        client: Client,
        grant: Grant,
        token: Token,
        slot: Slot,
        news: watch::Receiver<News>,
    ) -> Self {
        Self {
            client,
            grant,
            token,
            slot,
            news,
            held: true,
        }
    }

    /// The number to hand to your storage: greater than that of every earlier grant of this lock.
    pub const fn fence(&self) -> Fence {
        self.grant.fence
    }

    /// What was granted.
    pub const fn grant(&self) -> &Grant {
        &self.grant
    }

    /// The secret that renews and releases it.
    pub const fn token(&self) -> Token {
        self.token
    }

    /// The position in the log of the grant.
    pub const fn slot(&self) -> Slot {
        self.slot
    }

    /// What proves the grant to any server, from any process.
    pub fn proof(&self) -> Proof {
        Proof {
            key: self.grant.key().clone(),
            fence: self.grant.fence,
            session: self.grant.session,
            token: self.token,
        }
    }

    /// What is known of it now.
    pub fn news(&self) -> News {
        *self.news.borrow()
    }

    /// Until when it may be believed in, by `tenure_rt::clock::now`: for ever if none. A lock that is
    /// in jeopardy or lost has no such time.
    pub fn until(&self) -> Option<Timestamp> {
        match self.news() {
            News::Until(until) => until,
            News::Jeopardy | News::Lost(_) => Some(Timestamp::ZERO),
        }
    }

    /// Ends when the lock is lost, and says how. Until then it is held, as far as can be known.
    pub async fn lost(&mut self) -> Loss {
        loop {
            if let News::Lost(loss) = *self.news.borrow_and_update() {
                return loss;
            }
            if self.news.changed().await.is_err() {
                return Loss::Time; // nobody renews it any more
            }
        }
    }

    /// Ends when something new is known.
    pub async fn changed(&mut self) -> News {
        if self.news.changed().await.is_err() {
            return News::Lost(Loss::Time);
        }
        self.news()
    }

    /// Shares the lock in another mode, or takes another number of its permits. For less, or as much, that is at once and
    /// under the same fence. For more it becomes another grant: from then on [`Self::fence`] is another one, for your
    /// storage too. If others leave no room for it, it waits so long, before all who hold nothing; meanwhile, and if it
    /// is refused, the lock is held as it was.
    ///
    /// If nobody answers, or the future is dropped, it may have been done all the same: rely on no more than both modes
    /// allow, and give the lock back. In a session this guard may then go on believing in the fence that it knows, though
    /// the grant has another one.
    ///
    /// # Errors
    ///
    /// Others hold the lock; one who converts already waits for this grant (`codes::UPGRADE_DEADLOCK`); it is not held any
    /// more; or nobody answered.
    pub async fn convert(&mut self, mode: Mode, wait: Duration) -> Result<(), Error> {
        let fence = self.grant.fence;
        let want = Want::Convert {
            fence,
            parts: Parts::one(self.grant.key().clone(), mode),
            wait_ms: millis(wait),
        };
        let reply = self.client.call(want).await?;
        match (reply.word, reply.news) {
            (
                Word::Decided {
                    answer: Answer::Granted(grant),
                    token: Some(token),
                    slot,
                },
                Some(news),
            ) => {
                (self.grant, self.token, self.slot, self.news) = (grant, token, slot, news);
                self.client.mention(Command::Forget { fence });
            }
            (
                Word::Decided {
                    answer: Answer::Converted { .. },
                    ..
                },
                _,
            ) => self.grant.parts = Parts::one(self.grant.key().clone(), mode),
            _ => return Err(Error::Confused),
        }
        Ok(())
    }

    /// Gives it back. Says whether it had ended before.
    ///
    /// # Errors
    ///
    /// Nobody answered: it ends by its ttl at the latest, if it has one.
    pub async fn release(mut self) -> Result<bool, Error> {
        self.held = false;
        let proof = self.proof();
        match self.client.decide(Want::ReleaseBy(proof)).await? {
            Answer::Released { already, .. } => Ok(already),
            _ => Err(Error::Confused),
        }
    }

    /// Gives it back at once, however often this client's session has entered it: its other guards are lost.
    /// Says whether it had ended before.
    ///
    /// # Errors
    ///
    /// Nobody answered: it ends with its session at the latest.
    pub async fn release_all(mut self) -> Result<bool, Error> {
        self.held = false;
        let proof = self.proof();
        match self.client.decide(Want::ReleaseAll(proof)).await? {
            Answer::Released { already, .. } => Ok(already),
            _ => Err(Error::Confused),
        }
    }

    /// Keeps it after this process: it is neither renewed nor released any more, but lives until
    /// its ttl ends, or for ever if it is static. Its proof releases it from anywhere.
    pub fn leave(mut self) -> Proof {
        self.held = false;
        let fence = self.grant.fence;
        self.client.mention(Command::Forget { fence });
        self.proof()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.held && !matches!(self.news(), News::Lost(_)) {
            let fence = self.grant.fence;
            self.client.mention(Command::Release { fence });
        }
    }
}
