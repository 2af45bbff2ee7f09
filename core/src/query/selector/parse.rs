//! Reading a selector.

use super::{Compare, Node, Operand, SelectorError};
use crate::limits::{SELECTOR_BYTES_MAX, SELECTOR_DEPTH_MAX, SELECTOR_TERMS_MAX};
use crate::machine::key::{KeyError, PATH_NAME, RawPair, Reader, escaped, one_pair, tag_of};
use alloc::string::String;
use alloc::vec::Vec;

type Read<T> = Result<T, SelectorError>;

/// Signs, the longer ones first: none is taken for the beginning of another.
const SIGNS: [(&str, Compare); 6] = [
    ("!=", Compare::IsNot),
    ("<=", Compare::AtMost),
    (">=", Compare::AtLeast),
    ("=", Compare::Is),
    ("<", Compare::Less),
    (">", Compare::More),
];

pub(super) fn selector(text: &str) -> Read<Node> {
    if text.len() > SELECTOR_BYTES_MAX {
        return Err(SelectorError::TooLong { len: text.len() });
    }
    let mut parser = Parser {
        reader: Reader::new(text),
        terms: 0,
    };
    let node = parser.any(0)?;
    if parser.reader.rest().is_empty() {
        Ok(node)
    } else {
        Err(parser.wrong("and, or, or the end"))
    }
}

const fn is_bare(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-' | '.' | '/')
}

struct Parser<'a> {
    reader: Reader<'a>,
    terms: usize,
}

impl Parser<'_> {
    const fn wrong(&self, expected: &'static str) -> SelectorError {
        let offset = self.reader.at();
        SelectorError::Text { offset, expected }
    }

    fn any(&mut self, depth: usize) -> Read<Node> {
        let mut nodes = Vec::from([self.all(depth)?]);
        while self.take_word("or") {
            nodes.push(self.all(depth)?);
        }
        Ok(one_or(nodes, Node::Any))
    }

    fn all(&mut self, depth: usize) -> Read<Node> {
        let mut nodes = Vec::from([self.term(depth)?]);
        while self.take_word("and") {
            nodes.push(self.term(depth)?);
        }
        Ok(one_or(nodes, Node::All))
    }

    /// Takes this word, if it is what comes.
    fn take_word(&mut self, word: &str) -> bool {
        self.reader.spaces();
        let is_it = self.reader.rest().split(|letter| !is_bare(letter)).next() == Some(word);
        is_it && self.reader.skip(word)
    }

    fn term(&mut self, depth: usize) -> Read<Node> {
        self.reader.spaces();
        let offset = self.reader.at();
        if self.reader.skip("(") {
            if depth >= SELECTOR_DEPTH_MAX {
                return Err(SelectorError::TooDeep { offset });
            }
            let node = self.any(depth + 1)?;
            let closed = self.reader.skip(")");
            return closed.then_some(node).ok_or(self.wrong("and, or, or )"));
        }
        self.terms += 1;
        if self.terms > SELECTOR_TERMS_MAX {
            return Err(SelectorError::TooManyTerms { offset });
        }
        let name = name(&mut self.reader)?;
        self.reader.spaces();
        match name.as_str() {
            "_pairs" => self.count(),
            _ if name.starts_with('_') && name != PATH_NAME => {
                let why = KeyError::Reserved;
                Err(SelectorError::Key { offset, why })
            }
            _ if self.reader.skip(":") => self.types(&name),
            _ => self.pair(&name),
        }
    }

    fn compare(&mut self) -> Read<Compare> {
        let found = SIGNS.iter().find(|(sign, _)| self.reader.skip(sign));
        let (_, compare) = found.ok_or(self.wrong("= != < <= > >= or :"))?;
        self.reader.spaces();
        Ok(*compare)
    }

    fn pair(&mut self, name: &str) -> Read<Node> {
        let compare = self.compare()?;
        if compare == Compare::Is && self.take_word("any") {
            let name = escaped(name).into();
            return Ok(Node::Types { name, bounds: None });
        }
        let offset = self.reader.at();
        let value = self.reader.value().map_err(|why| within(offset, why))?;
        let bytes = one_pair(name, &value);
        let bytes = bytes.map_err(|why| SelectorError::Key { offset, why })?;
        let pair = RawPair::all(&bytes).map(|pair| Operand {
            name: pair.name.into(),
            tag: pair.tag,
            value: pair.value.into(),
        });
        let pair = pair.last().ok_or(self.wrong("a pair"))?;
        Ok(Node::Pair { pair, compare })
    }

    fn types(&mut self, name: &str) -> Read<Node> {
        let first = self.tag()?;
        let last = if self.reader.skip("..") {
            self.tag()?
        } else {
            first
        };
        let name = escaped(name).into();
        let bounds = Some((first, last));
        Ok(Node::Types { name, bounds })
    }

    fn tag(&mut self) -> Read<u8> {
        let wrong = self.wrong("a type, such as u8 or string");
        let word = self
            .reader
            .word(|letter| letter.is_ascii_alphanumeric(), "a type");
        let word = word.map_err(|_| wrong.clone())?;
        tag_of(word).ok_or(wrong)
    }

    fn count(&mut self) -> Read<Node> {
        let compare = self.compare()?;
        let wrong = self.wrong("a number of pairs");
        let digits = self
            .reader
            .word(|letter| letter.is_ascii_digit(), "a number");
        let pairs = digits.ok().and_then(|digits| digits.parse().ok());
        let pairs = pairs.ok_or(wrong)?;
        Ok(Node::Count { compare, pairs })
    }
}

/// The name of a pair, bare or in quotes.
pub(in crate::query) fn name(reader: &mut Reader<'_>) -> Read<String> {
    let offset = reader.at();
    let name = if reader.rest().starts_with('"') {
        reader.quoted()
    } else {
        reader.word(is_bare, "a name").map(Into::into)
    };
    let name = name.map_err(|why| within(offset, why))?;
    if name.is_empty() {
        let why = KeyError::NameEmpty;
        return Err(SelectorError::Key { offset, why });
    }
    Ok(name)
}

fn one_or(mut nodes: Vec<Node>, list: fn(Vec<Node>) -> Node) -> Node {
    match nodes.pop() {
        Some(only) if nodes.is_empty() => only,
        Some(last) => {
            nodes.push(last);
            list(nodes)
        }
        None => list(nodes),
    }
}

/// What is wrong with a name or a value that begins at `offset`.
fn within(offset: usize, why: KeyError) -> SelectorError {
    if let KeyError::Text { offset, expected } = why {
        SelectorError::Text { offset, expected }
    } else {
        SelectorError::Key { offset, why }
    }
}
