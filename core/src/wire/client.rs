//! The stream of commands between a client and a server.
//!
//! A command is a 16-bit number, big-endian, and its top bits say what parameter follows, so that
//! anybody can skip a command that he does not know:
//! ```text
//! 0 000  1-byte integer      0 100  16 bytes      1 000  string, 1-byte length
//! 0 001  2-byte integer      0 101  32 bytes      1 001  string, 2-byte length
//! 0 010  4-byte integer      0 110  64 bytes      1 010  string, 4-byte length
//! 0 011  8-byte integer      0 111  nothing       1 011  string, 8-byte length
//!                                                 1 1xx  nothing
//! ```
//! Commands with a parameter set a register; commands without one do what the registers say.
//! [`Edge`] is the server's half of a connection, [`Caller`] the client's.

use bytes::BufMut;

pub mod numbers;

mod answer;
mod caller;
mod edge;
mod registers;
mod request;

pub use caller::{AnswerError, Caller, Heard, Rejection, ServerRow, Word};
pub use edge::{Asked, Edge};
pub use request::Bad;

/// The version of this protocol.
pub const VERSION: u16 = 1;
/// Streams of one connection.
pub const STREAMS_MAX: u32 = 64;
/// Requests of one connection that wait for their answer; more are refused as `busy`.
pub const REQUESTS_MAX: usize = 4096;
/// Sessions that one connection has proved.
pub const SESSIONS_MAX: usize = 64;
/// Bytes of one answer that a client reads.
pub const ANSWER_BYTES_MAX: usize = 16 << 20;

/// Why a stream of commands can't be read on. The server says so, and closes the connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum StreamError {
    /// A string over its cap. Found before a byte is allocated for it.
    #[error("command {command:#06x} has a string of {found} bytes; at most {max} are allowed")]
    TooLong {
        /// The command.
        command: u16,
        /// What its length says.
        found: u64,
        /// The cap.
        max: usize,
    },
    /// A stream number that no connection has.
    #[error("stream {found}; a connection has the streams 0 to 63")]
    BadStream {
        /// The number.
        found: u32,
    },
}

/// What follows a command's number.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Param<'a> {
    /// An integer of 1, 2, 4 or 8 bytes.
    Int(u64),
    /// 16, 32 or 64 bytes.
    Fixed(&'a [u8]),
    /// A string.
    Text(&'a [u8]),
    /// Nothing: the command executes.
    Nothing,
}

/// One command of the stream.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Command<'a> {
    /// Its number.
    pub number: u16,
    /// Its parameter.
    pub param: Param<'a>,
}

/// Reads the command at the front of `bytes`, and says how many bytes it has; none if it is not all
/// there yet.
pub fn lex(bytes: &[u8]) -> Result<Option<(Command<'_>, usize)>, StreamError> {
    let Some((number, rest)) = bytes.split_first_chunk::<2>() else {
        return Ok(None);
    };
    let number = u16::from_be_bytes(*number);
    let class = number >> 12;
    let param = match class {
        0..=3 => {
            let width = 1_usize << class;
            let Some(digits) = rest.get(..width) else {
                return Ok(None);
            };
            (Param::Int(integer(digits)), 2 + width)
        }
        4..=6 => {
            let width = 1_usize << class;
            let Some(fixed) = rest.get(..width) else {
                return Ok(None);
            };
            (Param::Fixed(fixed), 2 + width)
        }
        8..=11 => match lex_text(number, rest)? {
            Some(text) => text,
            None => return Ok(None),
        },
        _ => (Param::Nothing, 2),
    };
    let (param, len) = param;
    Ok(Some((Command { number, param }, len)))
}

fn lex_text(number: u16, rest: &[u8]) -> Result<Option<(Param<'_>, usize)>, StreamError> {
    let width = 1_usize << ((number >> 12) & 3);
    let Some((digits, rest)) = rest.split_at_checked(width) else {
        return Ok(None);
    };
    let (found, max) = (integer(digits), numbers::cap(number));
    let len = match usize::try_from(found) {
        Ok(len) if len <= max => len,
        _ => {
            return Err(StreamError::TooLong {
                command: number,
                found,
                max,
            });
        }
    };
    let text = rest.get(..len);
    Ok(text.map(|text| (Param::Text(text), 2 + width + len)))
}

/// At most eight bytes, big-endian.
fn integer(digits: &[u8]) -> u64 {
    let shift = |value: u64, digit: &u8| (value << 8) | u64::from(*digit);
    digits.iter().fold(0, shift)
}

/// Writes a command with an integer, in as many bytes as its number says.
fn put_int<B: BufMut>(out: &mut B, number: u16, value: u64) {
    let width = 1_usize << (number >> 12);
    assert!(number >> 12 < 4, "the command has an integer");
    let fits = width == 8 || value >> (8 * width) == 0;
    assert!(fits, "the integer fits the command");
    out.put_u16(number);
    out.put_uint(value, width);
}

/// Writes a command with the integer 1 if it is so, and nothing if not.
fn put_flag<B: BufMut>(out: &mut B, number: u16, flag: bool) {
    if flag {
        put_int(out, number, 1);
    }
}

/// Writes a command with 16, 32 or 64 bytes.
fn put_fixed<B: BufMut>(out: &mut B, number: u16, bytes: &[u8]) {
    let width = 1_usize << (number >> 12);
    assert!(
        bytes.len() == width,
        "the bytes are as many as the command has"
    );
    out.put_u16(number);
    out.put_slice(bytes);
}

/// Writes a command with a string.
fn put_text<B: BufMut>(out: &mut B, number: u16, text: &[u8]) {
    assert!(number & 0xc000 == 0x8000, "the command has a string");
    assert!(
        text.len() <= numbers::cap(number),
        "the string is in its cap"
    );
    out.put_u16(number);
    let len = u64::try_from(text.len()).unwrap_or(u64::MAX);
    out.put_uint(len, 1_usize << ((number >> 12) & 3));
    out.put_slice(text);
}

/// Writes a command that executes.
fn put_execute<B: BufMut>(out: &mut B, number: u16) {
    let class = number >> 12;
    assert!(class == 7 || class >= 12, "the command has no parameter");
    out.put_u16(number);
}

/// As much of `text` as fits a command's string.
fn cut(number: u16, text: &[u8]) -> &[u8] {
    text.get(..numbers::cap(number)).unwrap_or(text)
}

#[cfg(test)]
mod tests;
