//! The connections of callers, and what each of them waits for.

use crate::door::Replies;
use std::collections::BTreeMap;
use tenure_core::ids::Tag;
use tenure_core::machine::answer::Answer;
use tenure_core::node::output::Reply;

/// All connections of callers.
#[derive(Default)]
pub(crate) struct Callers {
    open: BTreeMap<u64, Caller>,
    /// Those with replies that were not flushed.
    touched: Vec<u64>,
}

struct Caller {
    replies: Box<dyn Replies>,
    /// The requests whose last reply is still to come; each with whether it stands in a line, which may
    /// take long.
    waiting: BTreeMap<u64, bool>,
    touched: bool,
}

impl Callers {
    pub(crate) fn open(&mut self, conn: u64, replies: Box<dyn Replies>) {
        let caller = Caller {
            replies,
            waiting: BTreeMap::new(),
            touched: false,
        };
        let old = self.open.insert(conn, caller);
        assert!(old.is_none(), "a connection's number is used once");
    }

    /// Notes that `tag` waits; false if its connection is over.
    pub(crate) fn asked(&mut self, tag: Tag) -> bool {
        let caller = self.open.get_mut(&tag.conn);
        caller.is_some_and(|caller| caller.waiting.insert(tag.request, false).is_none())
    }

    /// Forgets `tag`; false if it did not wait.
    pub(crate) fn gone(&mut self, tag: Tag) -> bool {
        let caller = self.open.get_mut(&tag.conn);
        caller.is_some_and(|caller| caller.waiting.remove(&tag.request).is_some())
    }

    /// Forgets a connection, and tells what it waited for.
    pub(crate) fn close(&mut self, conn: u64) -> impl Iterator<Item = Tag> + use<> {
        let caller = self.open.remove(&conn);
        let waiting = caller.map(|caller| caller.waiting).unwrap_or_default();
        let tag = move |request| Tag { conn, request };
        waiting.into_keys().map(tag)
    }

    /// Hands a reply to its connection, if that still stands.
    pub(crate) fn deliver(&mut self, tag: Tag, reply: Reply) {
        let Some(caller) = self.open.get_mut(&tag.conn) else {
            return;
        };
        let known = if is_last(&reply) {
            caller.waiting.remove(&tag.request)
        } else {
            let waits = caller.waiting.get_mut(&tag.request);
            waits.map(|in_line| std::mem::replace(in_line, true))
        };
        if known.is_none() {
            return;
        }
        caller.replies.deliver(tag.request, reply);
        if !caller.touched {
            caller.touched = true;
            self.touched.push(tag.conn);
        }
    }

    /// Whether somebody waits for an answer that may come soon. Who stands in a line does not count.
    pub(crate) fn are_owed(&self) -> bool {
        let mut waiting = self
            .open
            .values()
            .flat_map(|caller| caller.waiting.values());
        waiting.any(|in_line| !in_line)
    }

    /// Sends what was delivered.
    pub(crate) fn flush(&mut self) {
        for conn in self.touched.drain(..) {
            if let Some(caller) = self.open.get_mut(&conn) {
                caller.touched = false;
                caller.replies.flush();
            }
        }
    }
}

/// Whether no other reply follows for the same request.
fn is_last(reply: &Reply) -> bool {
    match reply {
        Reply::Decided { answer, .. } => {
            !matches!(answer, Answer::Queued { .. } | Answer::Offered { .. })
        }
        Reply::Resumed
        | Reply::Config { .. }
        | Reply::Lock { .. }
        | Reply::Verdict { .. }
        | Reply::Locks { .. }
        | Reply::Servers { .. }
        | Reply::Failed(_) => true,
    }
}
