//! Choices made by bytes: a short input makes few of them, and small ones.

/// Takes choices from the front of an input; zeros when it is used up.
#[derive(Debug)]
pub(crate) struct Draw<'a> {
    rest: &'a [u8],
}

impl<'a> Draw<'a> {
    pub(crate) const fn new(input: &'a [u8]) -> Self {
        Self { rest: input }
    }

    /// Whether all was used.
    pub(crate) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// What was not used.
    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.rest.split_first() else {
            return 0;
        };
        self.rest = rest;
        *first
    }

    /// Two bytes.
    pub(crate) fn short(&mut self) -> u64 {
        u64::from(u16::from_be_bytes([self.byte(), self.byte()]))
    }

    /// A number below `bound`, which is at most 65,536.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        assert!(bound > 0, "there is something to choose from");
        let drawn = if bound <= 256 {
            u64::from(self.byte())
        } else {
            self.short()
        };
        usize::try_from(drawn).expect("16 bits fit") % bound
    }

    /// A number that is small, or near an end of its range.
    pub(crate) fn number(&mut self) -> u64 {
        match self.byte() {
            small @ 0..=239 => u64::from(small),
            below @ 240..=247 => u64::MAX - u64::from(below - 240),
            _ => (0..8).fold(0, |value, _| value << 8 | u64::from(self.byte())),
        }
    }
}
