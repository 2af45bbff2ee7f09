//! Which modes may be held beside each other, as the table of docs/LOCKS.md has it.

use tenure_core::machine::command::Mode;

const MODES: [Mode; 6] = [
    Mode::Null,
    Mode::ConcurrentRead,
    Mode::ConcurrentWrite,
    Mode::Shared,
    Mode::ProtectedWrite,
    Mode::Exclusive,
];

/// A row for each held mode, a letter for each asked one, in the order above.
const TABLE: [&str; 6] = [
    "yyyyyy", // NL
    "yyyyy-", // CR
    "yyy---", // CW
    "yy-y--", // PR
    "yy----", // PW
    "y-----", // EX
];

/// Whether two claims may hold a lock together in these modes. Permits and modes never do; whether there are
/// enough permits is another question.
pub(crate) fn compatible(held: Mode, asked: Mode) -> bool {
    if let (Mode::Permits { .. }, Mode::Permits { .. }) = (held, asked) {
        return true;
    }
    let at = |mode| MODES.iter().position(|known| *known == mode);
    match (at(held), at(asked)) {
        (Some(row), Some(column)) => TABLE[row].as_bytes()[column] == b'y',
        _ => false,
    }
}

/// Whether who holds one mode keeps out whomever the other would (0116). Permits cover nothing.
pub(crate) fn covers(held: Mode, asked: Mode) -> bool {
    let known = |mode| MODES.contains(&mode);
    let kept_out = |mode| MODES.iter().filter(move |m| !compatible(mode, **m));
    known(held) && known(asked) && kept_out(asked).all(|other| !compatible(held, *other))
}
