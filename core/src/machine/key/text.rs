//! A key for people: `deploy/prod`, or `{env="prod", shard=5u8}`.

use super::{Key, KeyError, Value};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::fmt::Write;

/// Writes what [`parse`] reads.
pub(super) fn write(key: &Key, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if let Some(path) = key.path() {
        let odd = path.starts_with(['{', '"']) || path.contains(char::is_control);
        return if odd {
            quote(&path, f)
        } else {
            f.write_str(&path)
        };
    }
    f.write_str("{")?;
    for (number, (name, value)) in key.pairs().iter().enumerate() {
        if number > 0 {
            f.write_str(", ")?;
        }
        if name.chars().all(is_bare) {
            f.write_str(name)?;
        } else {
            quote(name, f)?;
        }
        f.write_str("=")?;
        write_value(value, f)?;
    }
    f.write_str("}")
}

fn write_value(value: &Value, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match value {
        Value::U8(number) => write!(f, "{number}u8"),
        Value::U16(number) => write!(f, "{number}u16"),
        Value::U32(number) => write!(f, "{number}u32"),
        Value::U64(number) => write!(f, "{number}u64"),
        Value::I8(number) => write!(f, "{number}i8"),
        Value::I16(number) => write!(f, "{number}i16"),
        Value::I32(number) => write!(f, "{number}i32"),
        Value::I64(number) => write!(f, "{number}i64"),
        Value::F32(number) => write!(f, "{number:?}f32"),
        Value::F64(number) => write!(f, "{number:?}f64"),
        Value::String(text) => quote(text, f),
        Value::Bytes(bytes) => {
            f.write_str("0x")?;
            bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
        }
    }
}

fn quote(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_char('"')?;
    for letter in text.chars() {
        match letter {
            '"' | '\\' => write!(f, "\\{letter}")?,
            _ if letter.is_control() => write!(f, "\\u{{{:x}}}", u32::from(letter))?,
            _ => f.write_char(letter)?,
        }
    }
    f.write_char('"')
}

const fn is_bare(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-' | '.' | '/' | ':')
}

/// Reads what [`write`] writes; spaces around names, values and commas are free.
pub(super) fn parse(text: &str) -> Result<Key, KeyError> {
    let mut reader = Reader::new(text);
    if text.starts_with('"') {
        let path = reader.quoted()?;
        reader.end()?;
        return Key::from_path(&path);
    }
    if !text.starts_with('{') {
        return Key::from_path(text);
    }
    reader.take('{', "{")?;
    let mut pairs = Vec::new();
    loop {
        reader.spaces();
        let name = if reader.rest().starts_with('"') {
            reader.quoted()?
        } else {
            reader.word(is_bare, "a name")?.into()
        };
        reader.spaces();
        reader.take('=', "=")?;
        reader.spaces();
        pairs.push((name, reader.value()?));
        reader.spaces();
        if reader.rest().starts_with('}') {
            break;
        }
        reader.take(',', ", or }")?;
    }
    reader.take('}', "}")?;
    reader.end()?;
    let borrowed: Vec<(&str, Value)> = pairs
        .iter()
        .map(|(name, value): &(String, Value)| (name.as_str(), value.clone()))
        .collect();
    Key::from_pairs(&borrowed)
}

/// Text on its way to being names and values.
pub(crate) struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// How many bytes were read.
    pub(crate) const fn at(&self) -> usize {
        self.at
    }

    /// What is still to come.
    pub(crate) fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    const fn wrong(&self, expected: &'static str) -> KeyError {
        KeyError::Text {
            offset: self.at,
            expected,
        }
    }

    pub(crate) fn spaces(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
    }

    fn take(&mut self, letter: char, expected: &'static str) -> Result<(), KeyError> {
        if !self.rest().starts_with(letter) {
            return Err(self.wrong(expected));
        }
        self.at += letter.len_utf8();
        Ok(())
    }

    /// Takes this, if it is what comes.
    pub(crate) fn skip(&mut self, what: &str) -> bool {
        let is_it = self.rest().starts_with(what);
        if is_it {
            self.at += what.len();
        }
        is_it
    }

    fn end(&mut self) -> Result<(), KeyError> {
        self.spaces();
        if self.rest().is_empty() {
            Ok(())
        } else {
            Err(self.wrong("the end"))
        }
    }

    /// Letters in a row, at least one.
    pub(crate) fn word(
        &mut self,
        is_of_it: fn(char) -> bool,
        expected: &'static str,
    ) -> Result<&'a str, KeyError> {
        let rest = self.rest();
        let end = rest.find(|letter| !is_of_it(letter)).unwrap_or(rest.len());
        if end == 0 {
            return Err(self.wrong(expected));
        }
        self.at += end;
        Ok(rest.get(..end).unwrap_or_default())
    }

    pub(crate) fn quoted(&mut self) -> Result<String, KeyError> {
        self.take('"', "a quote")?;
        let mut out = String::new();
        loop {
            let letter = self
                .rest()
                .chars()
                .next()
                .ok_or(self.wrong("a closing quote"))?;
            self.at += letter.len_utf8();
            match letter {
                '"' => return Ok(out),
                '\\' => out.push(self.escape()?),
                _ => out.push(letter),
            }
        }
    }

    fn escape(&mut self) -> Result<char, KeyError> {
        let wrong = self.wrong("\\\", \\\\ or \\u{hex}");
        let letter = self.rest().chars().next().ok_or(wrong.clone())?;
        self.at += letter.len_utf8();
        match letter {
            '"' | '\\' => Ok(letter),
            'u' => {
                self.take('{', "{")?;
                let hex = self.word(is_bare, "a character's number in hex")?;
                self.take('}', "}")?;
                let number = u32::from_str_radix(hex, 16).map_err(|_| wrong.clone())?;
                char::from_u32(number).ok_or(wrong)
            }
            _ => Err(wrong),
        }
    }

    /// A value with its type.
    pub(crate) fn value(&mut self) -> Result<Value, KeyError> {
        if self.rest().starts_with('"') {
            return self.quoted().map(Value::String);
        }
        let wrong = self.wrong("\"text\", 0xHEX, or a number with its type, as 5u8 or -1.5f64");
        let rest = self.rest();
        let end = rest.find(ends_value).unwrap_or(rest.len());
        let word = rest.get(..end).unwrap_or_default();
        self.at += end;
        if let Some(hex) = word.strip_prefix("0x") {
            return bytes_of(hex).map(Value::Bytes).ok_or(wrong);
        }
        number_of(word).ok_or(wrong)
    }
}

fn ends_value(letter: char) -> bool {
    matches!(letter, ',' | '}' | ')') || letter.is_whitespace()
}

fn bytes_of(hex: &str) -> Option<Vec<u8>> {
    if !hex.len().is_multiple_of(2) || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let byte = |at| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok();
    (0..hex.len()).step_by(2).map(byte).collect()
}

fn number_of(word: &str) -> Option<Value> {
    let split = word.rfind(['u', 'i', 'f'])?;
    // "inff64" and "-inff32": the last letter that begins a type begins the type.
    let (number, kind) = word.split_at_checked(split)?;
    Some(match kind {
        "u8" => Value::U8(number.parse().ok()?),
        "u16" => Value::U16(number.parse().ok()?),
        "u32" => Value::U32(number.parse().ok()?),
        "u64" => Value::U64(number.parse().ok()?),
        "i8" => Value::I8(number.parse().ok()?),
        "i16" => Value::I16(number.parse().ok()?),
        "i32" => Value::I32(number.parse().ok()?),
        "i64" => Value::I64(number.parse().ok()?),
        "f32" => Value::F32(number.parse().ok()?),
        "f64" => Value::F64(number.parse().ok()?),
        _ => return None,
    })
}
