//! The text of a token: `<fence>.<64 hex digits>` (`docs/decisions/0060-token-text.md`).

use std::fmt;
use tenure_core::ids::Fence;
use tenure_core::node::input::Token;

/// A grant's fence and the secret that proves it, as one word for people and scripts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct TokenText {
    /// Which grant.
    pub(crate) fence: Fence,
    /// The proof that the caller has it.
    pub(crate) token: Token,
}

impl TokenText {
    /// Reads what `Display` writes; none if `text` is something else.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (fence, hex) = text.split_once('.')?;
        let is_number = fence.bytes().all(|byte| byte.is_ascii_digit());
        let fence = fence.parse().ok().filter(|_| is_number)?;
        let mut token = [0; 32];
        let digits = hex.as_bytes();
        if digits.len() != 64 {
            return None;
        }
        for (byte, pair) in token.iter_mut().zip(digits.chunks_exact(2)) {
            let &[high, low] = pair else { return None };
            *byte = (digit(high)? << 4) | digit(low)?;
        }
        Some(Self {
            fence: Fence::new(fence),
            token: Token(token),
        })
    }
}

fn digit(letter: u8) -> Option<u8> {
    match letter {
        b'0'..=b'9' => Some(letter - b'0'),
        b'a'..=b'f' => Some(letter - b'a' + 10),
        b'A'..=b'F' => Some(letter - b'A' + 10),
        _ => None,
    }
}

impl fmt::Display for TokenText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            fence,
            token: Token(bytes),
        } = self;
        // One write of the whole: 32 small ones cost more than all else in the answer.
        let mut hex = [0; 64];
        for (pair, byte) in hex.chunks_exact_mut(2).zip(bytes) {
            if let [high, low] = pair {
                *high = b"0123456789abcdef"[usize::from(byte >> 4)];
                *low = b"0123456789abcdef"[usize::from(byte & 15)];
            }
        }
        let hex = std::str::from_utf8(&hex).map_err(|_| fmt::Error)?;
        write!(f, "{fence}.{hex}")
    }
}

#[cfg(test)]
mod tests {
    use super::TokenText;
    use proptest::prelude::any;
    use proptest::{prop_assert_eq, proptest};
    use tenure_core::ids::Fence;
    use tenure_core::node::input::Token;

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
