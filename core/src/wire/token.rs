//! A grant's proof as one word for people and scripts: `<fence>.<64 hex digits>`.

use crate::ids::Fence;
use crate::node::input::Token;
use core::fmt;

/// A grant's fence, and the secret that proves it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TokenText {
    /// Which grant. Neither a secret nor a claim: a wrong one makes a wrong proof.
    pub fence: Fence,
    /// The proof that the caller has it.
    pub token: Token,
}

impl TokenText {
    /// Reads what `Display` writes; none if `text` is something else.
    pub fn parse(text: &str) -> Option<Self> {
        let (fence, digits) = text.split_once('.')?;
        if !fence.bytes().all(|letter| letter.is_ascii_digit()) || digits.len() != 64 {
            return None;
        }
        let mut token = [0; 32];
        for (byte, pair) in token.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
            let [high, low] = pair else { return None };
            *byte = (digit(*high)? << 4) | digit(*low)?;
        }
        Some(Self {
            fence: Fence::new(fence.parse().ok()?),
            token: Token(token),
        })
    }
}

fn digit(letter: u8) -> Option<u8> {
    let value = char::from(letter).to_digit(16)?;
    u8::try_from(value).ok()
}

impl fmt::Display for TokenText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // One write of all digits: 32 small ones cost more than all else in an answer.
        let mut digits = [0; 64];
        for (pair, byte) in digits.chunks_exact_mut(2).zip(self.token.0) {
            for (letter, value) in pair.iter_mut().zip([byte >> 4, byte & 15]) {
                let offset = if value < 10 { b'0' } else { b'a' - 10 };
                *letter = offset + value;
            }
        }
        let digits = core::str::from_utf8(&digits).map_err(|_| fmt::Error)?;
        write!(f, "{}.{digits}", self.fence)
    }
}

#[cfg(test)]
mod tests {
    use super::TokenText;
    use crate::ids::Fence;
    use crate::node::input::Token;
    use alloc::format;
    use alloc::string::{String, ToString};
    use proptest::prelude::any;
    use proptest::{prop_assert_eq, proptest};

    #[test]
    fn a_token_says_its_fence_and_its_secret() {
        let mut token = [0xab; 32];
        token[0] = 0x01;
        let text = TokenText {
            fence: Fence::new(17),
            token: Token(token),
        };
        let written = text.to_string();
        assert_eq!(written, format!("17.01{}", "ab".repeat(31)));
        assert_eq!(TokenText::parse(&written.to_uppercase()), Some(text));
    }

    #[test]
    fn anything_else_is_no_token() {
        let hex = "ab".repeat(32);
        let bad = [
            String::new(),
            hex.clone(),
            format!(".{hex}"),
            format!("-1.{hex}"),
            format!("+1.{hex}"),
            format!("1.{hex}0"),
            format!("1.{}", &hex[1..]),
            format!("1.{}zz", &hex[2..]),
            format!("18446744073709551616.{hex}"),
            format!("1.{}é", &hex[2..]),
        ];
        for text in bad {
            assert_eq!(TokenText::parse(&text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(fence in any::<u64>(), token in any::<[u8; 32]>()) {
            let text = TokenText { fence: Fence::new(fence), token: Token(token) };
            prop_assert_eq!(TokenText::parse(&text.to_string()), Some(text));
        }
    }
}
