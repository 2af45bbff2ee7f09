//! A program that takes locks, by the client's half of the core.

use bytes::Bytes;
use std::collections::BTreeMap;
use std::time::Duration;
use tenure_core::client::{
    CallId, Client, Input, LinkId, News, Output, SessionSettings, Settings, Want,
};
use tenure_core::ids::{ClusterId, Fence, Seed};
use tenure_core::machine::answer::Answer;
use tenure_core::machine::command::{Acquire, Life, Mode};
use tenure_core::machine::key::Key;
use tenure_core::machine::parts::Parts;
use tenure_core::time::Timestamp;
use tenure_core::wire::client::Word;
use tenure_sim::rand::Rand;

/// A clock that runs apart from the true time by at most what the belief allows.
#[derive(Clone, Copy)]
pub(crate) struct Clock {
    offset: u64,
    /// Nanoseconds of this clock in a million true ones.
    rate: u64,
}

impl Clock {
    pub(crate) fn draw(rand: &mut Rand) -> Self {
        Self {
            offset: rand.below(1 << 40),
            rate: rand.range(1_000_000 - 500, 1_000_000 + 500),
        }
    }

    pub(crate) fn read(&self, now: u64) -> Timestamp {
        Timestamp::from_nanos(self.offset + scale(now, self.rate, 1_000_000))
    }

    /// The first true moment at which this clock shows `when`.
    pub(crate) fn true_time(&self, when: Timestamp) -> u64 {
        let local = when.as_nanos().saturating_sub(self.offset);
        scale(local, 1_000_000, self.rate) + 2
    }
}

fn scale(value: u64, by: u64, of: u64) -> u64 {
    let scaled = u128::from(value) * u128::from(by) / u128::from(of);
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

/// One program.
pub(crate) struct User {
    pub(crate) client: Client,
    pub(crate) clock: Clock,
    pub(crate) link: Option<(LinkId, usize)>,
    /// What it holds, as far as it was told.
    pub(crate) held: BTreeMap<Fence, Key>,
    pub(crate) call: Option<CallId>,
    pub(crate) grants: u64,
    calls: u64,
    session: bool,
}

/// What a step of a user did that the world must know.
pub(crate) enum Act {
    Connect(LinkId, usize),
    Disconnect(LinkId),
    Send(LinkId, Bytes),
    /// It believes in a grant, or for longer.
    Believes {
        key: Key,
        replayed: bool,
        fresh: bool,
    },
    Lost,
    SessionLost,
}

impl User {
    pub(crate) fn new(number: usize, servers: usize, now: u64, rand: &mut Rand) -> Self {
        let clock = Clock::draw(rand);
        let session = number.is_multiple_of(2);
        let settings = Settings {
            servers,
            cluster: Some(ClusterId([7; 16])),
            session: session.then(|| SessionSettings {
                ttl_ms: rand.range(1_000, 3_000),
                identifier: Bytes::new(),
                threads: true,
            }),
            patience: Duration::from_secs(5),
        };
        Self {
            client: Client::new(settings, Seed::new(rand.any()), clock.read(now)),
            clock,
            link: None,
            held: BTreeMap::new(),
            call: None,
            grants: 0,
            calls: 0,
            session,
        }
    }

    /// Whether it believes at this true moment that it holds `key`.
    pub(crate) fn believes(&self, key: &Key, now: u64) -> Option<Fence> {
        let now = self.clock.read(now);
        let held = self.held.iter().filter(|(_, of)| *of == key);
        held.map(|(fence, _)| *fence).find(|fence| {
            let until = self.client.belief(*fence);
            until.is_some_and(|until| until.is_none_or(|until| now < until))
        })
    }

    /// Takes a lock, gives one back, or changes its mind.
    pub(crate) fn decide(&mut self, rand: &mut Rand) -> Option<Input> {
        if let Some(call) = self.call {
            if rand.below(20) > 0 {
                return None;
            }
            self.call = None;
            return Some(Input::Abandon { call });
        }
        self.calls += 1;
        let call = CallId(self.calls);
        if let Some(fence) = self.held.keys().next().copied() {
            if rand.below(4) > 0 {
                return None;
            }
            self.held.remove(&fence);
            return Some(Input::Call {
                call,
                want: Want::Release { fence },
            });
        }
        let lease = Life::Lease {
            ttl_ms: rand.range(600, 2_000),
        };
        let by_session = self.session && rand.below(3) > 0;
        let acquire = Acquire {
            parts: Parts::one(
                Key::from_path(["a", "b"][rand.index(2)]).expect("a good path"),
                Mode::Exclusive,
            ),
            life: if by_session { Life::Session } else { lease },
            wait_ms: [0, rand.range(1, 4_000)][rand.index(2)],
            holder: Bytes::new(),
            reentrant: false,
        };
        let renew = rand.below(4) > 0;
        self.call = Some(call);
        Some(Input::Call {
            call,
            want: Want::Acquire { acquire, renew },
        })
    }

    /// One input, and a flush.
    pub(crate) fn step(&mut self, now: u64, input: Input) -> Vec<Act> {
        let mut out = Vec::new();
        let now = self.clock.read(now);
        self.client.step(now, input, &mut out);
        self.client.step(now, Input::Flush, &mut out);
        out.into_iter()
            .filter_map(|output| self.act(output))
            .collect()
    }

    fn act(&mut self, output: Output) -> Option<Act> {
        match output {
            Output::Connect { link, server } => Some(Act::Connect(link, server)),
            Output::Disconnect { link } => Some(Act::Disconnect(link)),
            Output::Send { link, bytes } => Some(Act::Send(link, bytes)),
            Output::Answer { call, result } => {
                if self.call == Some(call) {
                    self.call = None;
                }
                let Ok(Word::Decided {
                    answer: Answer::Granted(grant),
                    ..
                }) = result
                else {
                    return None;
                };
                self.grants += 1;
                self.held.insert(grant.fence, grant.key().clone());
                Some(Act::Believes {
                    key: grant.key().clone(),
                    replayed: grant.replayed,
                    fresh: true,
                })
            }
            Output::Grant { fence, news } => match news {
                News::Until(_) => {
                    let key = self.held.get(&fence)?.clone();
                    let (replayed, fresh) = (false, false);
                    Some(Act::Believes {
                        key,
                        replayed,
                        fresh,
                    })
                }
                News::Jeopardy => None,
                News::Lost(_) => {
                    self.held.remove(&fence);
                    Some(Act::Lost)
                }
            },
            Output::SessionLost => Some(Act::SessionLost),
        }
    }
}
