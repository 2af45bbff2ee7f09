//! What the documents say.

use crate::views::{Holder, Lock, Waiter};
use serde_json::Value;
use std::time::Duration;
use tenure_core::ids::{Fence, TicketId};
use tenure_core::machine::command::Mode;

pub(super) fn lock_of(document: &Value) -> Option<Lock> {
    let waiters = document["waiters"].as_array()?.iter().map(waiter_of);
    Some(Lock {
        holders: holders_of(&document["holders"])?,
        waiters: waiters.collect::<Option<_>>()?,
        waiting: document["waiting"].as_u64()?,
    })
}

pub(super) fn holders_of(list: &Value) -> Option<Vec<Holder>> {
    list.as_array()?.iter().map(holder_of).collect()
}

pub(super) fn holder_of(document: &Value) -> Option<Holder> {
    Some(Holder {
        name: document["holder"].as_str()?.to_owned(),
        fence: fence_of(&document["fence"])?,
        mode: mode_of(document)?,
        remaining: document["remaining_ms"].as_u64().map(Duration::from_millis),
    })
}

pub(super) fn fence_of(number: &Value) -> Option<Fence> {
    number.as_u64().map(Fence::new)
}

fn waiter_of(document: &Value) -> Option<Waiter> {
    let ticket = document["ticket"].as_str()?.parse().ok()?;
    Some(Waiter {
        name: document["holder"].as_str()?.to_owned(),
        ticket: TicketId::new(ticket),
    })
}

fn mode_of(document: &Value) -> Option<Mode> {
    let number = |name: &str| u32::try_from(document[name].as_u64()?).ok();
    match document["mode"].as_str()? {
        "permits" => Some(Mode::Permits {
            n: number("permits")?,
            capacity: number("capacity")?,
        }),
        name => Mode::named(name),
    }
}
