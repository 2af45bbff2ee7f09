//! Where the others are found.

use std::collections::BTreeMap;
use tenure_core::config::Config;
use tenure_core::ids::NodeId;

/// Addresses beside those that the shared configuration names: of this server's file, of its last run,
/// of the answer to its join. Hints, no more: a member that the configuration does not know yet is
/// looked for at them, and every other one at them too.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Contacts(BTreeMap<NodeId, Vec<String>>);

impl Contacts {
    /// A member may be found at `address`.
    pub fn add(&mut self, node: NodeId, address: String) {
        let known = self.0.entry(node).or_default();
        if !address.is_empty() && !known.contains(&address) {
            known.push(address);
        }
    }

    /// With whom this server wants to speak: those that the configuration names, and those that may have
    /// come since.
    pub(super) fn wanted(&self, config: &Config) -> Vec<NodeId> {
        let newer = self.0.keys().copied();
        let newer = newer.filter(|node| *node > config.shared().node_last());
        let all = config.peers().chain(newer);
        all.filter(|node| *node != config.me()).collect()
    }

    /// Where to look for `peer` this time: one address after another. None: it is no peer any more.
    pub(super) fn address(&self, config: &Config, peer: NodeId, attempt: usize) -> Option<String> {
        if !self.wanted(config).contains(&peer) {
            return None;
        }
        let mut all = self.0.get(&peer).cloned().unwrap_or_default();
        let shared = config.shared();
        let mut members = shared.members().iter().chain(shared.leaving());
        if let Some(member) = members.find(|member| member.node == peer)
            && !all.contains(&member.peer)
        {
            all.push(member.peer.clone());
        }
        let turn = attempt.checked_rem(all.len())?;
        all.get(turn).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::Contacts;
    use tenure_core::config::{Config, Member};
    use tenure_core::ids::{ClusterId, NodeId};

    fn config(me: u64) -> Config {
        let member = |node| Member {
            node: NodeId::new(node),
            peer: format!("listed-{node}"),
            ..Member::default()
        };
        let members = vec![member(1), member(3)];
        let config = Config::new(ClusterId([1; 16]), NodeId::new(1), members).expect("it is right");
        let (shared, membership) = (config.shared().clone(), config.membership().clone());
        Config::seen_by(NodeId::new(me), shared, membership)
    }

    fn tried(contacts: &Contacts, me: u64, peer: u64) -> Vec<Option<String>> {
        let address = |attempt| contacts.address(&config(me), NodeId::new(peer), attempt);
        (0..3).map(address).collect()
    }

    #[test]
    fn every_address_has_its_turn() {
        let mut contacts = Contacts::default();
        contacts.add(NodeId::new(1), "file-1".to_owned());
        contacts.add(NodeId::new(1), "listed-1".to_owned());
        contacts.add(NodeId::new(1), String::new());
        let expected = ["file-1", "listed-1", "file-1"].map(|it| Some(it.to_owned()));
        assert_eq!(tried(&contacts, 3, 1), expected);
        let listed = || Some("listed-1".to_owned());
        assert_eq!(
            tried(&Contacts::default(), 3, 1),
            [listed(), listed(), listed()]
        );
    }

    #[test]
    fn only_who_may_be_a_member_is_dialed() {
        let mut contacts = Contacts::default();
        for node in [2, 4, 9] {
            contacts.add(NodeId::new(node), format!("hint-{node}"));
        }
        let wanted = |me| contacts.wanted(&config(me));
        let nodes = |all: &[u64]| -> Vec<NodeId> { all.iter().copied().map(NodeId::new).collect() };
        assert_eq!(wanted(3), nodes(&[1, 4, 9]), "2 is no member any more");
        assert_eq!(wanted(9), nodes(&[1, 3, 4]), "4 may have come since");
        assert_eq!(tried(&contacts, 7, 2), [None, None, None]);
        assert_eq!(tried(&contacts, 7, 4)[1].as_deref(), Some("hint-4"));
    }
}
