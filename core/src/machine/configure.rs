//! Changes of the configuration. They need nothing of the locks: a machine without any applies them alike.

use super::answer::{Answer, Refusal};
use super::command::{Command, Configure};
use super::{Machine, Origin};
use crate::config::Refused;

impl Machine {
    /// Compares and sets. That alone makes a change once: a retry comes after the change that it asks
    /// for, and is told of it.
    pub(super) fn configure(
        &mut self,
        origin: Origin,
        command: &Command,
        configure: &Configure,
    ) -> Answer {
        let principal = core::str::from_utf8(&command.principal);
        let by = principal.ok().filter(|name| !name.is_empty());
        let by = by.unwrap_or(&configure.by);
        let Configure { expect, change, .. } = configure;
        match self
            .shared
            .apply(origin.slot, self.stamp, by, *expect, change)
        {
            Ok(next) => {
                self.shared = next;
                let mark = self.shared.mark();
                Answer::Configured { mark }
            }
            Err(Refused::Moved { now }) => match self.shared.made(by, *expect, change) {
                Some(mark) => Answer::Configured { mark },
                None => Answer::Refused(Refusal::ConfigMoved { now }),
            },
            Err(Refused::Unfit(why)) => Answer::Refused(Refusal::ConfigUnfit { why }),
        }
    }
}
