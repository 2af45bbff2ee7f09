//! What parameter commands set, until an execute command uses it.

use super::numbers;
use super::{Command, Param};
use crate::ids::{Fence, RequestId, SessionId, TicketId};
use crate::limits::{CLAIM_KEYS_MAX, KEY_BYTES_MAX};
use crate::machine::command::Mode;
use crate::machine::key::Key;
use crate::machine::parts::{Part, Parts, PartsError};
use crate::node::input::Token;
use crate::wire::codes;
use crate::wire::codes::Code;
use alloc::vec::Vec;
use bytes::Bytes;

/// Registers that an execute command leaves as they are.
const STAYING: &[u16] = &[
    numbers::ZONE,
    numbers::CLIENT_NAME,
    numbers::LOCATION_DOMAIN,
    numbers::SESSION_ID,
];

/// Registers that say one key of a claim, and how it is shared.
const OF_ONE_KEY: &[u16] = &[
    numbers::LOCK_NAME,
    numbers::KEY_VALUES,
    numbers::LOCK_MODE,
    numbers::PERMITS,
    numbers::CAPACITY,
];

/// Why the registers are not what a command needs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Bad {
    /// Its code.
    pub code: Code,
    /// Which register or command.
    pub number: u16,
    /// What is wrong, for people.
    pub what: &'static str,
}

#[derive(Clone, Debug)]
enum Value {
    Int(u64),
    Bytes16([u8; 16]),
    Bytes32([u8; 32]),
    Text(Bytes),
}

/// The registers of one stream.
#[derive(Clone, Debug, Default)]
pub(super) struct Registers {
    // A request sets about ten: looking through them is cheaper than any map.
    set: Vec<(u16, Value)>,
    /// The first thing that makes the claim that is being built impossible: it must not be executed
    /// without what could not be understood.
    bad: Option<Bad>,
    /// Keys that ADD_KEY added to the claim.
    parts: Vec<Part>,
}

impl Registers {
    /// Sets a register. A later value replaces an earlier one.
    pub(super) fn set(&mut self, command: Command<'_>) {
        let value = match command.param {
            Param::Int(value) => Value::Int(value),
            Param::Text(text) => Value::Text(Bytes::copy_from_slice(text)),
            Param::Fixed(bytes) => match (bytes.try_into(), bytes.try_into()) {
                (Ok(bytes), _) => Value::Bytes16(bytes),
                (_, Ok(bytes)) => Value::Bytes32(bytes),
                // 64 bytes: only reserved commands have so many.
                (Err(_), Err(_)) => return,
            },
            Param::Nothing => return,
        };
        let known = self.set.iter_mut().find(|(of, _)| *of == command.number);
        if let Some((_, old)) = known {
            *old = value;
        } else {
            self.set.push((command.number, value));
            assert!(
                self.set.len() <= numbers::ALL.len(),
                "only known registers are set, each once"
            );
        }
    }

    /// Makes whatever is executed next on this stream a refusal.
    pub(super) fn spoil(&mut self, code: Code, number: u16, what: &'static str) {
        self.bad.get_or_insert(Bad { code, number, what });
    }

    /// What spoiled the claim.
    pub(super) const fn spoiled(&self) -> Option<Bad> {
        self.bad
    }

    /// Forgets the claim, and keeps what stays.
    pub(super) fn clear_claim(&mut self) {
        self.set.retain(|(number, _)| STAYING.contains(number));
        self.bad = None;
        self.parts.clear();
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.set.clear();
        self.bad = None;
        self.parts.clear();
    }

    /// Forgets one row of an answer, and keeps whose answer it is.
    pub(super) fn clear_row(&mut self) {
        self.set
            .retain(|(number, _)| *number == numbers::REQUEST_ID);
    }

    fn value(&self, number: u16) -> Option<&Value> {
        let found = self.set.iter().find(|(of, _)| *of == number);
        found.map(|(_, value)| value)
    }

    pub(super) fn int(&self, number: u16) -> Option<u64> {
        match self.value(number) {
            Some(Value::Int(value)) => Some(*value),
            Some(Value::Bytes16(_) | Value::Bytes32(_) | Value::Text(_)) | None => None,
        }
    }

    pub(super) fn text(&self, number: u16) -> Option<Bytes> {
        match self.value(number) {
            Some(Value::Text(text)) => Some(text.clone()),
            Some(Value::Int(_) | Value::Bytes16(_) | Value::Bytes32(_)) | None => None,
        }
    }

    pub(super) fn bytes16(&self, number: u16) -> Option<[u8; 16]> {
        match self.value(number) {
            Some(Value::Bytes16(bytes)) => Some(*bytes),
            Some(Value::Int(_) | Value::Text(_) | Value::Bytes32(_)) | None => None,
        }
    }

    pub(super) fn token(&self, number: u16) -> Option<Token> {
        match self.value(number) {
            Some(Value::Bytes32(bytes)) => Some(Token(*bytes)),
            Some(Value::Int(_) | Value::Text(_) | Value::Bytes16(_)) | None => None,
        }
    }

    pub(super) fn need_int(&self, number: u16) -> Result<u64, Bad> {
        self.int(number).ok_or(missing(number))
    }

    pub(super) fn need_bytes16(&self, number: u16) -> Result<[u8; 16], Bad> {
        self.bytes16(number).ok_or(missing(number))
    }

    pub(super) fn need_token(&self, number: u16) -> Result<Token, Bad> {
        self.token(number).ok_or(missing(number))
    }

    /// A register that is 0 or 1; 0 if it was not set.
    pub(super) fn flag(&self, number: u16) -> Result<bool, Bad> {
        match self.int(number) {
            None | Some(0) => Ok(false),
            Some(1) => Ok(true),
            Some(_) => Err(bad_value(number, "0 or 1 was expected")),
        }
    }

    /// Zero if the caller named none.
    pub(super) fn request_id(&self) -> RequestId {
        let bytes = self.bytes16(numbers::REQUEST_ID).unwrap_or_default();
        RequestId::new(u128::from_be_bytes(bytes))
    }

    /// The session that is set, if it is not zero.
    pub(super) fn session(&self) -> Option<SessionId> {
        let bytes = self.bytes16(numbers::SESSION_ID)?;
        let id = u128::from_be_bytes(bytes);
        (id != 0).then_some(SessionId::new(id))
    }

    pub(super) fn need_session(&self) -> Result<SessionId, Bad> {
        self.session().ok_or(missing(numbers::SESSION_ID))
    }

    pub(super) fn fence(&self) -> Result<Fence, Bad> {
        self.need_int(numbers::FENCE).map(Fence::new)
    }

    pub(super) fn ticket(&self) -> Result<TicketId, Bad> {
        self.need_int(numbers::TICKET).map(TicketId::new)
    }

    /// How many permits a lock has.
    pub(super) fn capacity(&self) -> Result<u32, Bad> {
        let capacity = self.need_int(numbers::CAPACITY)?;
        Ok(u32::try_from(capacity).unwrap_or(u32::MAX))
    }

    /// How often a session has entered a grant.
    pub(super) fn entered(&self) -> u32 {
        let entered = self.int(numbers::ENTERED).unwrap_or_default();
        u32::try_from(entered).unwrap_or(u32::MAX)
    }

    /// Permits if they are set; else a mode, exclusive unless said.
    pub(super) fn mode(&self) -> Result<Mode, Bad> {
        let mode = self.int(numbers::LOCK_MODE);
        let Some(n) = self.int(numbers::PERMITS) else {
            if self.int(numbers::CAPACITY).is_some() {
                return Err(missing(numbers::PERMITS));
            }
            return classical(mode);
        };
        if mode.is_some() {
            let what = "a lock is shared in a mode or by permits, not both";
            return Err(bad_value(numbers::PERMITS, what));
        }
        Ok(Mode::Permits {
            n: u32::try_from(n).unwrap_or(u32::MAX),
            capacity: self.capacity()?,
        })
    }

    /// The key and mode that are set become one more of the claim.
    pub(super) fn add_part(&mut self) -> Result<(), Bad> {
        let (key, mode) = (self.key()?, self.mode()?);
        self.parts.push(Part { key, mode });
        self.set.retain(|(number, _)| !OF_ONE_KEY.contains(number));
        // Looked at with each, so that no more is kept than a claim may have.
        let (count, bytes) = (self.parts.len(), self.parts.iter());
        let len = bytes.map(|part| part.key.as_bytes().len()).sum();
        if count > CLAIM_KEYS_MAX || len > KEY_BYTES_MAX {
            self.parts.clear();
            return Err(no_claim(if count > CLAIM_KEYS_MAX {
                PartsError::TooMany { count }
            } else {
                PartsError::TooLong { len }
            }));
        }
        Ok(())
    }

    /// Whether ADD_KEY added any.
    pub(super) const fn has_parts(&self) -> bool {
        !self.parts.is_empty()
    }

    /// The keys of the claim: those that were added, and the one that is set.
    pub(super) fn parts(&self) -> Result<Parts, Bad> {
        let mut parts = self.parts.clone();
        let is_set = |number: &u16| self.value(*number).is_some();
        if parts.is_empty() || OF_ONE_KEY.iter().any(is_set) {
            let (key, mode) = (self.key()?, self.mode()?);
            parts.push(Part { key, mode });
        }
        Parts::new(parts).map_err(no_claim)
    }

    /// The lock: a path, or the canonical bytes of its pairs.
    pub(super) fn key(&self) -> Result<Key, Bad> {
        let (name, pairs) = (
            self.text(numbers::LOCK_NAME),
            self.text(numbers::KEY_VALUES),
        );
        match (name, pairs) {
            (Some(name), None) => {
                let path = core::str::from_utf8(&name).ok();
                let key = path.and_then(|path| Key::from_path(path).ok());
                key.ok_or(bad_value(
                    numbers::LOCK_NAME,
                    "a path of 1 to 1024 bytes of UTF-8 was expected",
                ))
            }
            (None, Some(pairs)) => Key::parse(pairs).map_err(|_| {
                let what = "the canonical bytes of pairs were expected";
                bad_value(numbers::KEY_VALUES, what)
            }),
            (Some(_), Some(_)) => Err(bad_value(
                numbers::KEY_VALUES,
                "a lock has a name or pairs, not both",
            )),
            (None, None) => Err(missing(numbers::LOCK_NAME)),
        }
    }
}

/// Exclusive unless said.
const fn classical(mode: Option<u64>) -> Result<Mode, Bad> {
    Ok(match mode {
        None | Some(0) => Mode::Exclusive,
        Some(1) => Mode::Shared,
        Some(2) => Mode::Null,
        Some(3) => Mode::ConcurrentRead,
        Some(4) => Mode::ConcurrentWrite,
        Some(5) => Mode::ProtectedWrite,
        Some(_) => return Err(bad_value(numbers::LOCK_MODE, "no such mode")),
    })
}

const fn no_claim(why: PartsError) -> Bad {
    let what = match why {
        PartsError::Empty => "a claim has at least one key",
        PartsError::Twice => "a claim has each key once",
        PartsError::TooMany { .. } => "a claim has at most 64 keys",
        PartsError::TooLong { .. } => "the keys of a claim have at most 16 KiB",
    };
    bad_value(numbers::ADD_KEY, what)
}

pub(super) const fn missing(number: u16) -> Bad {
    Bad {
        code: codes::MISSING,
        number,
        what: "a register was not set",
    }
}

pub(super) const fn bad_value(number: u16, what: &'static str) -> Bad {
    Bad {
        code: codes::BAD_VALUE,
        number,
        what,
    }
}
