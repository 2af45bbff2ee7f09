//! Random steps. They say which of the known things they are about by small numbers, so that they mean something
//! whatever stands before them, also when shrinking takes much of that away.

#![expect(
    clippy::disallowed_types,
    reason = "proptest's choices are shared, in here"
)]

use core::fmt;
use proptest::collection::vec;
use proptest::prelude::*;

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Batch {
        gap: Gap,
        asks: Vec<Ask>,
    },
    Noop {
        gap: Gap,
    },
    Lead {
        gap: Gap,
    },
    /// The server goes on from a snapshot.
    Restart,
}

/// How agreed time moves on.
#[derive(Clone, Debug)]
pub(crate) enum Gap {
    Millis(u64),
    /// To where the nth of all that will end does; one nanosecond before or after it.
    End {
        nth: u8,
        off: i8,
    },
    /// The entry is an older leader's.
    Back(u64),
}

/// Who asks.
#[derive(Clone, Debug)]
pub(crate) enum Who {
    /// A connection.
    Nobody,
    /// With an `Idempotency-Key`.
    Named,
    Session {
        nth: u8,
        number: Number,
    },
}

/// The number of a request in its session.
#[derive(Clone, Debug)]
pub(crate) enum Number {
    /// The next one. The caller has all answers but for the last so many.
    Next { unconfirmed: u8 },
    /// Too many after the last confirmed one.
    Beyond,
    /// One whose answer was confirmed.
    Confirmed,
}

#[derive(Clone, Debug)]
pub(crate) enum Ask {
    Acquire(Claim),
    Release {
        who: Who,
        grant: u8,
        key: u8,
        all: bool,
    },
    Renew {
        who: Who,
        grant: u8,
        ttl: Option<u8>,
    },
    Cancel {
        who: Who,
        ticket: u8,
    },
    Confirm {
        ticket: u8,
    },
    Open {
        who: Who,
        zone: u8,
        ttl: u8,
        name: u8,
    },
    KeepAlive {
        session: u8,
    },
    Close {
        who: Who,
        session: u8,
    },
    Resize {
        who: Who,
        zone: u8,
        key: u8,
        capacity: u8,
    },
    /// A request is sent again under its name; sometimes it is another one.
    Again {
        nth: u8,
        how: Again,
    },
    /// The same bytes stand in the log twice.
    Forwarded {
        nth: u8,
    },
    /// Beyond some bound.
    Wrong {
        who: Who,
        what: u8,
    },
}

#[derive(Clone, Debug)]
pub(crate) enum Again {
    Same,
    OtherWait,
    OtherRequest,
}

#[derive(Clone, Debug)]
pub(crate) struct Claim {
    pub(crate) who: Who,
    pub(crate) zone: u8,
    pub(crate) parts: Vec<(u8, u8)>,
    pub(crate) life: u8,
    pub(crate) wait: u8,
    pub(crate) reentrant: bool,
}

/// How many ways there are to share each key; the last few do not fit how it is mostly shared.
pub(crate) const SHARES: u8 = 16;

pub(crate) fn steps(count: core::ops::Range<usize>) -> impl Strategy<Value = Steps> {
    vec(step(), count).prop_map(Steps)
}

/// Printed with one step a line, to be read.
#[derive(Clone)]
pub(crate) struct Steps(pub(crate) Vec<Step>);

impl fmt::Debug for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|step| write!(f, "\n  {step:?}"))
    }
}

fn step() -> impl Strategy<Value = Step> {
    let batch = (gap(), vec(ask(), 1..4)).prop_map(|(gap, asks)| Step::Batch { gap, asks });
    prop_oneof![
        24 => batch,
        1 => gap().prop_map(|gap| Step::Noop { gap }),
        1 => gap().prop_map(|gap| Step::Lead { gap }),
        1 => Just(Step::Restart),
    ]
}

fn gap() -> impl Strategy<Value = Gap> {
    prop_oneof![
        240 => Just(Gap::Millis(0)),
        120 => (1u64..700).prop_map(Gap::Millis),
        60 => (0u8..3, -1i8..2).prop_map(|(nth, off)| Gap::End { nth, off }),
        12 => (1u64..2000).prop_map(Gap::Back),
        6 => (1000u64..8000).prop_map(Gap::Millis),
        1 => (50_000u64..90_000).prop_map(Gap::Millis),
    ]
}

fn who() -> impl Strategy<Value = Who> {
    let number = prop_oneof![
        20 => (0u8..3).prop_map(|unconfirmed| Number::Next { unconfirmed }),
        1 => Just(Number::Beyond),
        1 => Just(Number::Confirmed),
    ];
    let session = (0u8..8, number).prop_map(|(nth, number)| Who::Session { nth, number });
    prop_oneof![3 => Just(Who::Nobody), 2 => Just(Who::Named), 6 => session]
}

fn ask() -> impl Strategy<Value = Ask> {
    prop_oneof![
        20 => claim().prop_map(Ask::Acquire),
        8 => (who(), 0u8..8, 0u8..8, any::<bool>())
            .prop_map(|(who, grant, key, all)| Ask::Release { who, grant, key, all }),
        4 => (who(), 0u8..8, proptest::option::of(0u8..4))
            .prop_map(|(who, grant, ttl)| Ask::Renew { who, grant, ttl }),
        3 => (who(), 0u8..6).prop_map(|(who, ticket)| Ask::Cancel { who, ticket }),
        4 => (0u8..6).prop_map(|ticket| Ask::Confirm { ticket }),
        3 => (who(), 0u8..ZONES, 0u8..4, 0u8..4)
            .prop_map(|(who, zone, ttl, name)| Ask::Open { who, zone, ttl, name }),
        8 => (0u8..8).prop_map(|session| Ask::KeepAlive { session }),
        1 => (who(), 0u8..8).prop_map(|(who, session)| Ask::Close { who, session }),
        2 => (who(), 0u8..ZONES, 0u8..8, 1u8..5)
            .prop_map(|(who, zone, key, capacity)| Ask::Resize { who, zone, key, capacity }),
        7 => (0u8..8, again()).prop_map(|(nth, how)| Ask::Again { nth, how }),
        2 => (0u8..6).prop_map(|nth| Ask::Forwarded { nth }),
        1 => (who(), 0u8..WRONGS).prop_map(|(who, what)| Ask::Wrong { who, what }),
    ]
}

/// How zones are drawn: few are the second, fewer one that there is no room for.
const ZONES: u8 = 40;

/// How many wrong requests there are.
pub(crate) const WRONGS: u8 = 10;

fn again() -> impl Strategy<Value = Again> {
    prop_oneof![4 => Just(Again::Same), 1 => Just(Again::OtherWait), 1 => Just(Again::OtherRequest)]
}

fn claim() -> impl Strategy<Value = Claim> {
    let parts = vec((0u8..4, 0u8..SHARES), 1..4);
    (who(), 0u8..ZONES, parts, 0u8..6, 0u8..8, any::<bool>()).prop_map(
        |(who, zone, parts, life, wait, reentrant)| Claim {
            who,
            zone,
            parts,
            life,
            wait,
            reentrant,
        },
    )
}
