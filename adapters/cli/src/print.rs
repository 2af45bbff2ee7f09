//! What the verbs print: a table for people, or JSON for scripts.

use crate::args::Output;
use crate::exit::{Code, Exit};
use serde_json::json;
use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;
use tenure_client::{Forced, Grant, HolderView, LockView, Mode, WaiterView};
use tenure_core::wire::token::TokenText;

/// A grant, with its token.
pub(crate) fn grant(
    name: &str,
    grant: &Grant,
    token: &TokenText,
    output: Output,
) -> Result<(), Exit> {
    let (fence, ttl) = (grant.fence, grant.remaining_ms);
    match output {
        Output::Table => {
            let mut text = format!(
                "{name}   {}   fence {fence}",
                mode(grant.parts.first().mode)
            );
            if let Some(ttl) = ttl {
                write!(text, "   for {}", time(ttl)).expect("writing to a string does not fail");
            }
            line(&text)?;
            line(&format!("  token   {token}"))
        }
        Output::Json => {
            let holder = text(&grant.holder);
            line(
                &json!({
                    "lock": name,
                    "token": token.to_string(),
                    "fence": fence.get(),
                    "ttl_ms": ttl,
                    "holder": holder,
                })
                .to_string(),
            )
        }
    }
}

/// One lock, with its holders and its line.
pub(crate) fn lock(view: &LockView, output: Output) -> Result<(), Exit> {
    if output == Output::Json {
        return line(&lock_json(view));
    }
    let name = name(view);
    match view.holders.first() {
        None => line(&format!("{name}   free"))?,
        Some(first) => line(&format!(
            "{name}   {}   fence {}",
            mode(first.mode),
            first.fence
        ))?,
    }
    for holder in &view.holders {
        let who = text(&holder.holder);
        let left = holder
            .remaining_ms
            .map(|left| format!("   {} left", time(left)));
        let (since, left) = (time(holder.held_ms), left.unwrap_or_default());
        line(&format!("  held by   {who}   {since} ago{left}"))?;
    }
    for (place, waiter) in (1..).zip(&view.waiters) {
        let (who, since) = (text(&waiter.holder), time(waiter.waiting_ms));
        line(&format!(
            "  {:<7}   {who}   waiting {since}",
            ordinal(place)
        ))?;
    }
    let shown = u64::try_from(view.waiters.len()).unwrap_or(u64::MAX);
    match view.waiting.saturating_sub(shown) {
        0 => Ok(()),
        more => line(&format!("  and {more} more")),
    }
}

/// What was taken from its holder.
pub(crate) fn forced(name: &str, forced: &Forced, output: Output) -> Result<(), Exit> {
    let (holder, fence) = (text(&forced.holder), forced.fence);
    let millis = |left: Duration| u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
    let remaining_ms = forced.remaining.map(millis);
    if output == Output::Json {
        let value = json!({
            "lock": name,
            "fence": fence.get(),
            "hard": true,
            "holder": holder,
            "remaining_ms": remaining_ms,
        });
        return line(&value.to_string());
    }
    line(&format!("{name}   taken from {holder}   fence {fence}"))?;
    let until = remaining_ms.map_or_else(
        || "for ever".to_owned(),
        |left| format!("for up to {}", time(left)),
    );
    line(&format!(
        "  it may believe that it has the lock {until}; only a storage that checks fences keeps its writes out"
    ))
}

/// The first line of a list.
pub(crate) fn list_head() -> Result<(), Exit> {
    line(&row("LOCK", "MODE", "LEFT", "WAITING", "HOLDER"))
}

/// One lock of a list.
pub(crate) fn list_row(view: &LockView, output: Output) -> Result<(), Exit> {
    if output == Output::Json {
        return line(&lock_json(view));
    }
    let first = view.holders.first();
    let held = first.map_or_else(|| "free".to_owned(), |holder| mode(holder.mode));
    let left = first.and_then(|holder| holder.remaining_ms);
    let left = left.map_or_else(|| "-".to_owned(), time);
    let who = first.map(|holder| text(&holder.holder)).unwrap_or_default();
    line(&row(
        &name(view),
        &held,
        &left,
        &view.waiting.to_string(),
        &who,
    ))
}

fn row(name: &str, mode: &str, left: &str, waiting: &str, holder: &str) -> String {
    let line = format!("{name:<32} {mode:<10} {left:<8} {waiting:<8} {holder}");
    line.trim_end().to_owned()
}

fn lock_json(view: &LockView) -> String {
    let holder = |holder: &HolderView| {
        json!({
            "holder": text(&holder.holder),
            "mode": mode(holder.mode),
            "fence": holder.fence.get(),
            "held_ms": holder.held_ms,
            "remaining_ms": holder.remaining_ms,
        })
    };
    let waiter = |waiter: &WaiterView| {
        json!({
            "holder": text(&waiter.holder),
            "mode": mode(waiter.mode),
            "waiting_ms": waiter.waiting_ms,
        })
    };
    json!({
        "lock": name(view),
        "holders": view.holders.iter().map(holder).collect::<Vec<_>>(),
        "waiters": view.waiters.iter().map(waiter).collect::<Vec<_>>(),
        "waiting": view.waiting,
    })
    .to_string()
}

fn name(view: &LockView) -> String {
    let pairs = || format!("{:?}", view.key.pairs());
    view.key.path().unwrap_or_else(pairs)
}

fn mode(mode: Mode) -> String {
    if let Mode::Permits { n, capacity } = mode {
        return format!("{n} of {capacity}");
    }
    mode.name().to_owned()
}

/// A stranger's text, such that it can't move the cursor or forge a line.
fn text(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let harmless = |letter: char| if letter.is_control() { '?' } else { letter };
    text.chars().map(harmless).collect()
}

fn time(millis: u64) -> String {
    let seconds = Duration::from_millis(millis).as_secs();
    match seconds {
        0 => format!("{millis} ms"),
        1..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3600),
    }
}

fn ordinal(place: u64) -> String {
    let ending = match (place % 10, place % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{place}{ending}")
}

/// Prints one line.
pub(crate) fn line(text: &str) -> Result<(), Exit> {
    let printed = writeln!(std::io::stdout(), "{text}");
    printed.map_err(|error| Exit::new(Code::System, format!("standard output: {error}")))
}

#[cfg(test)]
mod tests {
    use super::{ordinal, text, time};

    #[test]
    fn a_strangers_text_is_harmless() {
        assert_eq!(text(b"bob\x1b[2J\nroot"), "bob?[2J?root");
    }

    #[test]
    fn times_and_places_are_said_as_people_do() {
        let times: Vec<String> = [7, 1000, 119_999, 120_000, 7_200_000].map(time).into();
        assert_eq!(times, ["7 ms", "1 s", "119 s", "2 min", "2 h"]);
        let places: Vec<String> = [1, 2, 3, 4, 11, 12, 13, 21, 112].map(ordinal).into();
        let wanted = [
            "1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "112th",
        ];
        assert_eq!(places, wanted);
    }
}
