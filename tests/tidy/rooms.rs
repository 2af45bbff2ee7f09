//! Data flows one way between the rooms of `core`.

use crate::source;

/// The rooms of `core`, lower ones first. A room names only rooms before it.
const ROOMS: &[&str] = &[
    "ids", "time", "limits", "rng", "hash", "config", "founding", "entry", "replica", "machine",
    "query", "node", "wal", "wire", "client",
];

/// Pairs that keep apart although the order would allow them: the first knows nothing of the second.
const APART: &[(&str, &str)] = &[
    ("machine", "replica"),
    ("query", "replica"),
    ("wal", "machine"),
    ("wal", "query"),
    ("client", "replica"),
    ("client", "wal"),
    ("wal", "node"),
    ("wire", "wal"),
];

#[test]
fn rooms_name_only_rooms_below_them() {
    let mut offences = Vec::new();
    for file in source::files("core/src") {
        let room = room_of(&file.path);
        if room == "lib" {
            continue;
        }
        assert!(
            ROOMS.contains(&room),
            "{room} is a new room: give it its place in ROOMS"
        );
        for (index, line) in file.text.lines().enumerate() {
            for named in rooms_named_in(line) {
                if !may_name(room, named) {
                    offences.push(format!("{}:{}: {room} -> {named}", file.path, index + 1));
                }
            }
        }
    }
    assert!(
        offences.is_empty(),
        "against the flow:\n{}",
        offences.join("\n")
    );
}

#[test]
fn the_rule_tells_up_from_down() {
    assert!(may_name("node", "machine"));
    assert!(!may_name("node", "wire"));
    assert!(may_name("wal", "wal"));
    assert!(!may_name("machine", "node"));
    assert!(!may_name("machine", "replica"));
    let line = "use crate::node::input::Input; let x = crate::time::Stamp::ZERO; // crate::wal";
    assert_eq!(rooms_named_in(line), ["node", "time"]);
}

fn may_name(room: &str, named: &str) -> bool {
    let place = |name| ROOMS.iter().position(|known| *known == name);
    room == named || (place(named) < place(room) && !APART.contains(&(room, named)))
}

fn room_of(path: &str) -> &str {
    let inside = path
        .strip_prefix("core/src/")
        .expect("files of core were asked for");
    let first = inside
        .split('/')
        .next()
        .expect("splitting gives at least one");
    first.trim_end_matches(".rs")
}

/// The rooms that `line` reaches through `crate::`, which is how rooms name each other here.
fn rooms_named_in(line: &str) -> Vec<&str> {
    let code = source::code(line);
    let reached = code
        .match_indices("crate::")
        .map(|(at, prefix)| &code[at + prefix.len()..]);
    let words = reached.map(|rest| {
        assert!(
            !rest.starts_with('{'),
            "write one `use crate::room` a line: {line}"
        );
        let is_letter = |c: char| c.is_alphanumeric() || c == '_';
        let end = rest.find(|c| !is_letter(c)).unwrap_or(rest.len());
        &rest[..end]
    });
    words.filter(|word| ROOMS.contains(word)).collect()
}
