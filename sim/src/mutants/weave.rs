//! Many mutants in one build (mutant schemata: Untch, Offutt and Harrold, 1993): the body of each
//! function that some patch changes becomes a choice among the bodies, by a number that the process is
//! given when it starts. A build takes minutes, and a hunt mostly less than a second.
//!
//! A patch that changes more than bodies (a field, a signature) is not woven: it gets its own build.

use std::collections::BTreeMap;
use std::ops::Range;

/// A function that stands in no other.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Function<'a> {
    name: &'a str,
    /// Where `fn` stands.
    at: usize,
    /// What is between its braces.
    body: Range<usize>,
}

/// Where the string, character or comment ends that begins at `at`; `at` itself if none does.
fn skip(text: &str, at: usize) -> usize {
    let rest = &text[at..];
    let find = |what: &str, from: usize| rest[from..].find(what).map(|end| from + end + what.len());
    let len = if rest.starts_with("//") {
        rest.find('\n')
    } else if rest.starts_with("/*") {
        find("*/", 2)
    } else if rest.starts_with("r\"") {
        find("\"", 2)
    } else if rest.starts_with("r#\"") {
        find("\"#", 3)
    } else if let Some(inside) = rest.strip_prefix('"') {
        let mut escaped = false;
        let end = inside.find(|c| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        });
        end.map(|end| end + 2)
    } else if rest.starts_with("'\\") {
        find("'", 3)
    } else if rest.starts_with('\'') {
        let mut chars = rest.char_indices().skip(2);
        let quote = chars.next().filter(|(_, c)| *c == '\'');
        Some(quote.map_or(1, |(end, _)| end + 1)) // else a lifetime
    } else {
        Some(0)
    };
    at + len.unwrap_or(rest.len())
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The first of `wanted` outside of parentheses, from `at` on.
fn find_flat(text: &str, mut at: usize, wanted: &[char]) -> Option<usize> {
    let mut depth = 0;
    while let Some(c) = text[at..].chars().next() {
        let end = skip(text, at);
        if end > at {
            at = end;
            continue;
        }
        if depth == 0 && wanted.contains(&c) {
            return Some(at);
        }
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
        at += c.len_utf8();
    }
    None
}

/// The functions of a source file, but those inside of others.
fn functions(text: &str) -> Vec<Function<'_>> {
    let (mut found, mut at) = (Vec::new(), 0);
    let mut before = ' ';
    while let Some(c) = text[at..].chars().next() {
        let end = skip(text, at);
        if end > at {
            (at, before) = (end, ' ');
            continue;
        }
        if text[at..].starts_with("fn ")
            && !is_word(before)
            && let Some(open) = find_flat(text, at, &['{', ';'])
            && text[open..].starts_with('{')
            && let Some(close) = find_flat(text, open + 1, &['}'])
        {
            let head = text[at + 3..].trim_start();
            let name = head.split(|c| !is_word(c)).next().unwrap_or_default();
            let body = open + 1..close;
            found.push(Function { name, at, body });
            (at, before) = (close, '}');
            continue;
        }
        before = c;
        at += c.len_utf8();
    }
    found
}

/// What stands outside of the bodies, without white space.
fn outside(text: &str, functions: &[Function<'_>]) -> String {
    let (mut left, mut at) = (String::new(), 0);
    for function in functions {
        left.push_str(&text[at..function.body.start]);
        at = function.body.end;
    }
    left.push_str(&text[at..]);
    left.retain(|c| !c.is_whitespace());
    left
}

/// The other bodies of one function, each with the number that chooses it.
type Bodies = BTreeMap<u64, String>;

/// All patches of all files.
#[derive(Debug, Default)]
pub(super) struct Loom {
    /// Of each file, by the place of the function among those of the file.
    files: BTreeMap<String, BTreeMap<usize, Bodies>>,
}

impl Loom {
    /// Takes what mutant `number` makes of files: name, text before, text after. False, and nothing
    /// taken, if it changes more than the bodies of functions.
    pub(super) fn take(&mut self, number: u64, changed: &[(String, String, String)]) -> bool {
        let mut taken = Vec::new();
        for (name, old, new) in changed {
            let (before, after) = (functions(old), functions(new));
            let names = |functions: &[Function<'_>]| -> Vec<String> {
                functions
                    .iter()
                    .map(|function| function.name.to_owned())
                    .collect()
            };
            if names(&before) != names(&after) || outside(old, &before) != outside(new, &after) {
                return false;
            }
            for (place, (before, after)) in before.into_iter().zip(after).enumerate() {
                let body = &new[after.body];
                if old[before.body] != *body {
                    taken.push((name.clone(), place, body.to_owned()));
                }
            }
        }
        for (name, place, body) in taken {
            let bodies = self.files.entry(name).or_default().entry(place);
            bodies.or_default().insert(number, body);
        }
        true
    }

    /// The files that have choices.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// The text of file `name` with all its choices.
    pub(super) fn weave(&self, name: &str, text: &str) -> String {
        let root = if name.starts_with("core/") {
            "crate"
        } else {
            "tenure_core"
        };
        let functions = functions(text);
        let mut woven = text.to_owned();
        let Some(choices) = self.files.get(name) else {
            return woven;
        };
        // From the end, so that places stay.
        for (place, bodies) in choices.iter().rev() {
            let Some(Function { at, body, .. }) = functions.get(*place) else {
                continue;
            };
            let arms = bodies.iter();
            let arms: String = arms
                .map(|(number, body)| format!("{number} => {{{body}}}\n"))
                .collect();
            let own = &text[body.clone()];
            let choice = format!("match {root}::mutant() {{\n{arms}_ => {{{own}}}\n}}");
            woven.replace_range(body.clone(), &choice);
            // What is chosen when the process runs is not constant.
            let line = woven[..*at].rfind('\n').map_or(0, |end| end + 1);
            let head = woven[line..*at].replace("const ", "");
            woven.replace_range(line..*at, &head);
        }
        woven
    }
}

/// What core gets, so that a choice can be made; its tests find it in their environment.
pub(super) const CHOICE: &str = "
static MUTANT: core::sync::atomic::AtomicU64 = core::sync::atomic::AtomicU64::new(0);
/// Which mutant this process is.
#[cfg(not(test))]
pub fn mutant() -> u64 {
    MUTANT.load(core::sync::atomic::Ordering::Relaxed)
}
/// Makes it one.
pub fn set_mutant(number: u64) {
    MUTANT.store(number, core::sync::atomic::Ordering::Relaxed);
}
/// Which mutant this process is.
#[cfg(test)]
pub fn mutant() -> u64 {
    static CHOSEN: std::sync::OnceLock<u64> = std::sync::OnceLock::new();
    let chosen = || std::env::var(\"TENURE_MUTANT\").unwrap_or_default();
    *CHOSEN.get_or_init(|| chosen().parse().unwrap_or(0))
}
";

/// Where the choice is made.
pub(super) const MAIN: &str = "fn main() -> ExitCode {\n";

/// How.
pub(super) const CHOOSE: &str =
    "    let mutant = std::env::var(\"TENURE_MUTANT\").unwrap_or_default();
    tenure_core::set_mutant(mutant.parse().unwrap_or(0));
";

#[cfg(test)]
mod tests;
