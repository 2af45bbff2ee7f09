//! Durations as people write them: `60s`, `250ms`, `5m`, `2h`, or milliseconds without a unit.

/// Milliseconds; none if `text` is no duration, or too long for any.
pub(crate) fn parse_ms(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    // `parse` alone would take "+5".
    let number: u64 = number.parse().ok()?;
    let unit_ms = match unit {
        "" | "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number.checked_mul(unit_ms)
}

#[cfg(test)]
mod tests {
    use super::parse_ms;
    use proptest::{prop_assert_eq, proptest};

    #[test]
    fn durations_have_a_unit_or_are_milliseconds() {
        let good = [
            ("0", 0),
            ("1500", 1500),
            ("250ms", 250),
            ("60s", 60_000),
            ("5m", 300_000),
            ("24h", 86_400_000),
            ("18446744073709551615", u64::MAX),
        ];
        for (text, ms) in good {
            assert_eq!(parse_ms(text), Some(ms), "{text}");
        }
        let bad = [
            "",
            "banana",
            "s",
            "-5s",
            "+5s",
            "1.5s",
            "1 s",
            " 1s",
            "1S",
            "1d",
            "18446744073709551616",
            "18446744073709551615s",
            "١s",
        ];
        for text in bad {
            assert_eq!(parse_ms(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_said_is_read_or_refused(text in ".{0,24}", number in 0_u64..1 << 40) {
            let is_duration = text.starts_with(|letter: char| letter.is_ascii_digit());
            assert!(is_duration || parse_ms(&text).is_none());
            prop_assert_eq!(parse_ms(&format!("{number}s")), Some(number * 1_000));
        }
    }
}
