//! A run in words that stay: one event a line, in fixed columns. `docs/SIMULATION.md` explains them
//! by number.

use crate::Nanos;
use crate::server::Server;
use tenure_core::entry::{Entry, EntryKind};
use tenure_core::ids::Slot;
use tenure_core::machine::answer::Answer;
use tenure_core::machine::codec;
use tenure_core::node::output::{Note, Output, Reply};
use tenure_core::replica::message::Message;

/// What stands above the columns.
pub const HEAD: &str = "\
#     1      2     3        4          5             6      7
#  time, s server role    ballot promised/accepted/ log/   event
#                                chosen/applied     durable";

/// One line: what `server` is, and what happened there.
pub fn line(now: Nanos, server: &Server, event: &str) -> String {
    let (seconds, micros) = (now / 1_000_000_000, now % 1_000_000_000 / 1_000);
    let time = format!("{seconds:>3}.{micros:06}");
    let name = server.index + 1;
    let Some(process) = server.process_ref() else {
        let role = if server.is_opening() { "opens" } else { "down" };
        let line = format!(
            "{time}  {name}  {role:<9}  {:<6} {:<15} {:<6} {event}",
            "-", "-", "-"
        );
        return line.trim_end().to_owned();
    };
    let view = process.node.view();
    let (accepted, chosen, applied) = (view.accepted, view.decided, view.applied);
    let slots = format!("{}/{accepted}/{chosen}/{applied}", view.promised);
    let (tail, durable) = process.storage.numbers();
    let disk = format!("{tail}/{durable}");
    let (role, ballot) = (view.role, view.ballot.to_string());
    format!("{time}  {name}  {role:<9}  {ballot:<6} {slots:<15} {disk:<6} {event}")
}

/// What a server wants done, in words; nothing for what happens all the time and means little:
/// pings, records (their group is told of when it is durable), hints.
pub fn words(output: &Output) -> Option<String> {
    match output {
        Output::Send { to, message } => said(message).map(|said| format!("-> {to}  {said}")),
        Output::Reply { reply, .. } => Some(format!("answers {}", replied(reply))),
        Output::Promise {
            ballot,
            membership: None,
        } => Some(format!("writes promise {ballot}")),
        Output::Promise {
            ballot: _,
            membership: Some(next),
        } => Some(format!("writes epoch {}", next.epoch())),
        Output::Note(Note::Leading { ballot }) => Some(format!("leads under {ballot}")),
        Output::Note(Note::Epoch { membership }) => {
            let voters = membership.seats().iter().map(|seat| seat.node.to_string());
            let voters: Vec<String> = voters.collect();
            let epoch = membership.epoch();
            Some(format!("begins epoch {epoch}: {} vote", voters.join(" ")))
        }
        Output::Note(Note::HandingOver { to, .. }) => Some(format!("hands over to {to}")),
        Output::Note(Note::ClockOff { node, .. }) => {
            Some(format!("finds the clock of {node} wrong"))
        }
        Output::Note(Note::Forced { fence, .. }) => Some(format!("hears that {fence} was taken")),
        Output::Note(Note::KeepsLeading { .. }) => Some("is not relieved".to_owned()),
        Output::Configured { config } => {
            Some(format!("has configuration {}", config.shared().mark()))
        }
        Output::Halt { reason } => Some(format!("halts: {reason}")),
        Output::Load { from, upto } => Some(format!("reads its log {from} to {upto}")),
        Output::Note(Note::Fetching { id, from }) => {
            Some(format!("fetches the snapshot to {} from {from}", id.slot))
        }
        Output::Note(Note::Installed { id }) => {
            Some(format!("goes on from the snapshot to {}", id.slot))
        }
        Output::Note(Note::BadSnapshot { id, .. }) => Some(format!("refuses snapshot {id}")),
        Output::Note(Note::SnapshotFailed { id }) => Some(format!("keeps no snapshot {id}")),
        Output::Truncate { upto, .. } => Some(format!("truncates its log to {upto}")),
        Output::Append { .. }
        | Output::SnapshotChunk { .. }
        | Output::SnapshotDone { .. }
        | Output::LoadChunk { .. }
        | Output::Retire(_)
        | Output::Note(Note::Following { .. } | Note::Reverted { .. }) => None,
    }
}

/// A message in words; nothing for a ping and its answer.
pub fn said(message: &Message) -> Option<String> {
    if matches!(message, Message::Ping { .. } | Message::Pong { .. }) {
        return None;
    }
    if let Message::Prepare { ballot, .. } = message {
        return Some(format!("prepare {ballot}"));
    }
    if let Message::Promise {
        ballot,
        decided,
        reports,
        ..
    } = message
    {
        let report = |report: &tenure_core::replica::message::Report| {
            format!("{}@{} {}", report.slot, report.ballot, what(&report.entry))
        };
        let reports: Vec<String> = reports.iter().map(report).collect();
        let reports = if reports.is_empty() {
            "nothing".to_owned()
        } else {
            reports.join(", ")
        };
        return Some(format!(
            "promise {ballot}: chosen to {decided}, then {reports}"
        ));
    }
    if let Message::Accept {
        ballot,
        first,
        entries,
        commit,
        ..
    } = message
    {
        let entries = told(*first, entries);
        return Some(format!("accept {ballot}: {entries}; chosen to {commit}"));
    }
    if let Message::Accepted { ballot, upto } = message {
        return Some(format!("accepted {ballot} to {upto}"));
    }
    if let Message::Nack {
        ballot,
        promised,
        want,
    } = message
    {
        return Some(if ballot == promised {
            format!("asks for accepts of {ballot} from {want}")
        } else {
            format!("refuses {ballot}: promised {promised}")
        });
    }
    if let Message::PreVote { ballot, .. } = message {
        return Some(format!("would you vote for {ballot}?"));
    }
    if let Message::PreVoteReply {
        ballot, granted, ..
    } = message
    {
        let word = if *granted { "would" } else { "would not" };
        return Some(format!("{word} vote for {ballot}"));
    }
    if let Message::Decided { first, entries, .. } = message {
        return Some(format!("chosen is {}", told(*first, entries)));
    }
    let said = said_of_reads(message).or_else(|| said_of_snapshots(message));
    said.or_else(|| Some(first_word(message).to_lowercase()))
}

fn said_of_reads(message: &Message) -> Option<String> {
    if let Message::ReadIndex { .. } = message {
        return Some("asks what a read must see".to_owned());
    }
    if let Message::ReadAt { slot, .. } = message {
        return Some(format!("a read must see slot {slot}"));
    }
    if let Message::Outranked { promised, .. } = message {
        return Some(format!("somebody promised {promised}"));
    }
    None
}

fn said_of_snapshots(message: &Message) -> Option<String> {
    if let Message::SnapshotOffer { id, chunks } = message {
        return Some(format!("has snapshot to {}, of {chunks} chunks", id.slot));
    }
    if let Message::SnapshotGet { index, .. } = message {
        return Some(format!("asks for chunk {index}"));
    }
    if let Message::SnapshotChunk { index, bytes, .. } = message {
        return Some(format!("chunk {index}, {} bytes", bytes.len()));
    }
    if let Message::CatchUp { from } = message {
        return Some(format!("asks for what is chosen from {from}"));
    }
    None
}

fn told(first: Slot, entries: &[Entry]) -> String {
    let mut told: Vec<(u64, u64, String)> = Vec::new();
    for (slot, entry) in (first.get()..).zip(entries) {
        let what = what(entry);
        match told.last_mut() {
            Some((_, last, before)) if *before == what => *last = slot,
            Some(_) | None => told.push((slot, slot, what)),
        }
    }
    let words = told.iter().map(|(first, last, what)| {
        if first == last {
            format!("{first} {what}")
        } else {
            format!("{first} to {last} {what}")
        }
    });
    let words: Vec<String> = words.collect();
    if words.is_empty() {
        "nothing new".to_owned()
    } else {
        words.join(", ")
    }
}

/// An entry in a word or two.
pub fn what(entry: &Entry) -> String {
    match entry.kind() {
        EntryKind::Noop => "noop".to_owned(),
        EntryKind::LeaderStart => "start".to_owned(),
        EntryKind::Stop => "stop".to_owned(),
        EntryKind::Batch => {
            let name = |bytes: &[u8]| {
                let command = codec::decode(&bytes::Bytes::copy_from_slice(bytes));
                command.map_or_else(
                    |_| "?".to_owned(),
                    |command| first_word(&command.operation).to_lowercase(),
                )
            };
            let names: Vec<String> = entry.commands().map(name).collect();
            if names.is_empty() {
                "time".to_owned()
            } else {
                names.join("+")
            }
        }
    }
}

fn replied(reply: &Reply) -> String {
    if let Reply::Decided { answer, slot, .. } = reply {
        if let Answer::Granted(grant) = answer {
            return format!("granted, fence {} (slot {slot})", grant.fence);
        }
        return format!("{} (slot {slot})", first_word(answer).to_lowercase());
    }
    if let Reply::Lock { view, slot, .. } = reply {
        let holder = view.holders.first().map(|holder| &holder.holder);
        let holder = holder.map_or("nobody".into(), |name| String::from_utf8_lossy(name));
        return format!("held by {holder} (slot {slot})");
    }
    if let Reply::Failed(failure) = reply {
        let why = failure.to_string();
        let end = why.find(';').unwrap_or(why.len());
        return format!("not: {}", &why[..end]);
    }
    first_word(reply).to_lowercase()
}

/// The name of a variant.
fn first_word(value: &impl std::fmt::Debug) -> String {
    let text = format!("{value:?}");
    let end = text.find(|c: char| !c.is_alphanumeric());
    text[..end.unwrap_or(text.len())].to_owned()
}
