//! Voters change at stop-signs only, and only into voters that can go on.

use super::*;
use crate::config::{Change, Invite, Policy, Refused};
use crate::ids::ClusterId;
use crate::time::Stamp;
use alloc::string::String;
use alloc::vec;
use proptest::prelude::*;

fn node(number: u64) -> NodeId {
    NodeId::new(number)
}

fn member(number: u64, role: Role) -> Member {
    Member {
        node: node(number),
        peer: std::format!("127.0.0.1:{number}"),
        role,
        ..Member::default()
    }
}

fn cluster(size: u64) -> Shared {
    let members = (1..=size).map(|number| member(number, Role::Voter));
    Shared::genesis(ClusterId([7; 16]), members.collect()).unwrap()
}

fn changed(shared: &Shared, change: &Change) -> Result<Shared, Unfit> {
    let now = shared.mark().change;
    let at = Slot::new(now.get() + 1);
    match shared.apply(at, Stamp::from_nanos(at.get()), "ann", now, change) {
        Ok(next) => Ok(next),
        Err(Refused::Unfit(why)) => Err(why),
        Err(Refused::Moved { .. }) => panic!("nobody else changes anything"),
    }
}

fn add(number: u64, role: Role) -> Change {
    Change::Add(member(number, role))
}

/// A stop-sign, if there is to be one with these newcomers ready.
fn turned(shared: &Shared, ready: &[u64]) -> Option<Shared> {
    let at = Slot::new(shared.mark().change.get() + 1);
    let next = shared.next_membership(at, |node| ready.contains(&node.get()))?;
    let mut shared = shared.turn(at, Stamp::from_nanos(at.get()), &next);
    shared.forget_leaving();
    Some(shared)
}

fn voters(shared: &Shared) -> Vec<u64> {
    let membership = shared.membership();
    let seats = membership.seats().iter();
    seats.map(|seat| seat.node.get()).collect()
}

#[test]
fn a_newcomer_learns_before_it_counts() {
    let shared = changed(&cluster(1), &add(2, Role::Voter)).unwrap();
    assert_eq!(voters(&shared), [1]);
    assert_eq!(turned(&shared, &[]), None, "nobody is ready");
    let grown = turned(&shared, &[2]).unwrap();
    assert_eq!(voters(&grown), [1, 2]);
    assert_eq!(grown.epoch(), Epoch::new(2));
    assert_eq!(grown.member(node(2)).unwrap().next, None);
    assert_eq!(turned(&grown, &[2]), None, "nothing is left to do");
}

#[test]
fn one_that_is_not_ready_does_not_hold_up_another() {
    let shared = changed(&cluster(3), &add(4, Role::Voter)).unwrap();
    let shared = changed(&shared, &add(5, Role::Voter)).unwrap();
    let grown = turned(&shared, &[5]).unwrap();
    assert_eq!(voters(&grown), [1, 2, 3, 5]);
    assert_eq!(grown.newcomers().collect::<Vec<_>>(), [node(4)]);
}

fn drain(number: u64) -> Change {
    let node = node(number);
    Change::Drain { node, drains: true }
}

/// Else a change would leave only those to lead that take no clients, for as long as the newcomer takes.
#[test]
fn who_leaves_waits_for_a_newcomer_if_all_the_others_drain() {
    let drained = changed(&cluster(2), &drain(1)).unwrap();
    let leave = Change::Remove { node: node(2) };
    let to_vote_only = Change::Role {
        node: node(2),
        role: Role::QuorumOnly,
    };
    assert_eq!(changed(&drained, &leave), Err(Unfit::Leaders));
    let grows = changed(&drained, &add(3, Role::Voter)).unwrap();
    let grows = changed(&grows, &add(4, Role::QuorumOnly)).unwrap();
    for (change, after) in [(leave, vec![1, 3, 4]), (to_vote_only, vec![1, 2, 3, 4])] {
        let goes = changed(&grows, &change).unwrap();
        assert_eq!(
            turned(&goes, &[]),
            None,
            "only one that drains would be left"
        );
        assert_eq!(turned(&goes, &[4]), None, "the newcomer never leads");
        let gone = turned(&goes, &[3, 4]).unwrap();
        assert_eq!(voters(&gone), after);
        assert!(gone.is_settled());
    }
    // The way back is open as long as the newcomer has not come.
    let goes = changed(&grows, &Change::Remove { node: node(2) }).unwrap();
    let given_up = Change::Remove { node: node(3) };
    assert_eq!(changed(&goes, &given_up), Err(Unfit::Leaders));
    let stays = Change::Role {
        node: node(2),
        role: Role::Voter,
    };
    let stays = changed(&goes, &stays).unwrap();
    assert_eq!(
        changed(&stays, &given_up).map(|shared| voters(&shared)),
        Ok(vec![1, 2])
    );
}

#[test]
fn a_replaced_member_votes_until_the_new_one_does() {
    let new = member(4, Role::Voter);
    let shared = changed(&cluster(3), &Change::Replace { old: node(3), new }).unwrap();
    assert_eq!(turned(&shared, &[]), None);
    let replaced = turned(&shared, &[4]).unwrap();
    assert_eq!(voters(&replaced), [1, 2, 4]);
    assert_eq!(replaced.member(node(3)), None);
    // The new one may prove useless: then the old one stays.
    let kept = changed(&shared, &Change::Remove { node: node(4) }).unwrap();
    assert_eq!(voters(&kept), [1, 2, 3]);
    assert_eq!(kept.member(node(3)).unwrap().next, None);
}

#[test]
fn a_newcomer_that_never_came_is_replaced_too() {
    let first = Change::Replace {
        old: node(3),
        new: member(4, Role::Voter),
    };
    let shared = changed(&cluster(3), &first).unwrap();
    let second = Change::Replace {
        old: node(4),
        new: member(5, Role::Voter),
    };
    let shared = changed(&shared, &second).unwrap();
    assert_eq!(shared.member(node(4)), None);
    assert_eq!(voters(&turned(&shared, &[5]).unwrap()), [1, 2, 5]);
}

#[test]
fn a_voter_leaves_at_the_stop_sign_and_stays_reachable_until_the_epoch_works() {
    let shared = changed(&cluster(3), &Change::Remove { node: node(2) }).unwrap();
    assert_eq!(voters(&shared), [1, 2, 3]);
    let at = Slot::new(9);
    let next = shared.next_membership(at, |_| false).unwrap();
    let mut left = shared.turn(at, Stamp::ZERO, &next);
    assert_eq!((voters(&left), left.leaving().len()), (vec![1, 3], 1));
    assert_eq!(left.membership(), next);
    left.forget_leaving();
    assert!(left.leaving().is_empty());
    assert_eq!(Shared::parse(&left.encode()), Ok(left));
}

#[test]
fn a_number_is_never_used_twice() {
    let shared = changed(&cluster(3), &Change::Remove { node: node(3) }).unwrap();
    let shared = turned(&shared, &[]).unwrap();
    assert_eq!(changed(&shared, &add(3, Role::Voter)), Err(Unfit::NodeUsed));
    assert_eq!(shared.node_last(), node(3));
    assert!(changed(&shared, &add(4, Role::Voter)).is_ok());
}

#[test]
fn what_could_not_lead_or_serve_is_refused() {
    let remove = |number| Change::Remove { node: node(number) };
    assert_eq!(changed(&cluster(1), &remove(1)), Err(Unfit::Voters));
    assert_eq!(changed(&cluster(3), &remove(4)), Err(Unfit::NoSuchMember));
    let lesser = |number| Change::Role {
        node: node(number),
        role: Role::QuorumOnly,
    };
    let shared = changed(&cluster(3), &lesser(3)).unwrap();
    assert_eq!(changed(&shared, &lesser(2)), Err(Unfit::Voters));
    // Two votes are one too few for a quorum-only one: the other may be missing.
    assert_eq!(changed(&cluster(2), &lesser(2)).err(), None);
    let min = Change::Policy(Policy {
        members_min: 3,
        ..Policy::default()
    });
    let shared = changed(&cluster(3), &min).unwrap();
    assert_eq!(changed(&shared, &remove(3)), Err(Unfit::MembersMin));
    let mut full = cluster(9);
    assert_eq!(changed(&full, &add(10, Role::Voter)), Err(Unfit::Members));
    full = turned(&changed(&full, &remove(9)).unwrap(), &[]).unwrap();
    assert!(changed(&full, &add(10, Role::Voter)).is_ok());
}

#[test]
fn a_change_of_mind_is_one_change() {
    let role = |role| Change::Role {
        node: node(3),
        role,
    };
    let shared = changed(&cluster(3), &role(Role::Observer)).unwrap();
    let kept = changed(&shared, &role(Role::Voter)).unwrap();
    assert_eq!(turned(&kept, &[]), None);
    let shared = turned(&shared, &[]).unwrap();
    assert_eq!(voters(&shared), [1, 2]);
    assert_eq!(shared.member(node(3)).unwrap().role, Role::Observer);
    // An observer counts for nothing, and goes at once.
    let shared = changed(&shared, &Change::Remove { node: node(3) }).unwrap();
    assert_eq!(shared.member(node(3)), None);
    assert!(shared.leaving().is_empty());
}

#[test]
fn an_invitation_is_used_once_and_in_time() {
    let secret_hash = [9; 32];
    let invite = |approve| Change::Invite {
        secret_hash,
        role: Role::Voter,
        approve,
        ttl_ms: 1,
    };
    let join = |number| Change::Join {
        secret_hash,
        member: member(number, Role::Observer),
    };
    assert_eq!(changed(&cluster(1), &join(2)), Err(Unfit::NotInvited));
    let invited = changed(&cluster(1), &invite(false)).unwrap();
    let joined = changed(&invited, &join(2)).unwrap();
    assert_eq!(joined.newcomers().collect::<Vec<_>>(), [node(2)]);
    assert_eq!(changed(&joined, &join(3)), Err(Unfit::NotInvited));
    let late = Stamp::from_nanos(2_000_000);
    let now = invited.mark().change;
    let late = invited.apply(Slot::new(9), late, "", now, &join(2));
    assert_eq!(late, Err(Refused::Unfit(Unfit::NotInvited)));
    let revoked = changed(&invited, &Change::Uninvite { secret_hash }).unwrap();
    assert_eq!(changed(&revoked, &join(2)), Err(Unfit::NotInvited));
    let asked = changed(&changed(&cluster(1), &invite(true)).unwrap(), &join(2)).unwrap();
    assert!(!asked.member(node(2)).unwrap().is_in());
    assert_eq!(turned(&asked, &[2]), None, "nobody approved");
    let approved = changed(&asked, &Change::Approve { node: node(2) }).unwrap();
    assert_eq!(voters(&turned(&approved, &[2]).unwrap()), [1, 2]);
    let again = changed(&approved, &Change::Approve { node: node(2) });
    assert_eq!(again, Err(Unfit::NotAsked));
}

#[test]
fn there_are_only_so_many_invitations() {
    let invite = |number: usize| Change::Invite {
        secret_hash: [u8::try_from(number).unwrap(); 32],
        role: Role::Observer,
        approve: false,
        ttl_ms: crate::limits::INVITE_MS_MAX,
    };
    let max = crate::limits::INVITES_MAX;
    let full = (0..max).fold(cluster(1), |shared, number| {
        changed(&shared, &invite(number)).unwrap()
    });
    assert_eq!(changed(&full, &invite(max)), Err(Unfit::Invites));
    let invites: Vec<&Invite> = full.invites().iter().collect();
    assert_eq!(invites.len(), max);
    let long = Change::Invite {
        secret_hash: [0; 32],
        role: Role::Observer,
        approve: false,
        ttl_ms: crate::limits::INVITE_MS_MAX + 1,
    };
    assert_eq!(changed(&cluster(1), &long), Err(Unfit::Malformed));
}

#[test]
fn a_stop_sign_is_no_change_that_anybody_asks_for() {
    let next = Change::Epoch(cluster(1).membership());
    assert_eq!(changed(&cluster(1), &next), Err(Unfit::Malformed));
    assert!(next.check().is_err());
}

#[test]
fn golden_bytes() {
    let seats = vec![
        Seat {
            node: node(1),
            role: Role::Voter,
        },
        Seat {
            node: node(300),
            role: Role::QuorumOnly,
        },
    ];
    let membership = Membership::new(Epoch::new(2), Slot::new(1000), seats).unwrap();
    let bytes = membership.encode();
    let hex: String = bytes
        .iter()
        .map(|byte| std::format!("{byte:02x}"))
        .collect();
    assert_eq!(hex, "02e807020100ac0201");
    assert_eq!(Membership::parse(&bytes), Ok(membership));
    for len in 0..bytes.len() {
        assert_eq!(Membership::parse(&bytes[..len]), Err(FormError::Form));
    }
    let longer = [&bytes[..], &[0]].concat();
    let trailing = Err(FormError::Trailing { extra: 1 });
    assert_eq!(Membership::parse(&longer), trailing);
    // An observer with a vote, and voters out of order.
    for wrong in ["0200020100ac0202", "02000201000100", "020000"] {
        let bytes: Vec<u8> = (0..wrong.len() / 2)
            .map(|at| u8::from_str_radix(&wrong[2 * at..2 * at + 2], 16).unwrap())
            .collect();
        assert!(Membership::parse(&bytes).is_err(), "{wrong}");
    }
}

fn changes() -> impl Strategy<Value = Vec<(u8, u64, u64, u8)>> {
    prop::collection::vec((0..6_u8, 1..12_u64, 1..12_u64, 0..3_u8), 1..40)
}

proptest! {
    /// Whatever is asked for and whoever is ready, the voters can always elect one that has the
    /// locks, and what is asked for has come true once everybody is ready.
    #[test]
    fn there_are_always_voters_that_can_go_on(steps in changes(), size in 1..5_u64) {
        let mut shared = cluster(size);
        for (what, one, other, role) in steps {
            let role = [Role::Voter, Role::QuorumOnly, Role::Observer][usize::from(role)];
            let change = match what {
                0 => add(shared.node_last().get() + 1, role),
                1 => Change::Remove { node: node(one) },
                2 => Change::Role { node: node(one), role },
                3 => Change::Replace {
                    old: node(one),
                    new: member(shared.node_last().get() + 1, role),
                },
                _ => {
                    if let Some(next) = turned(&shared, &[one, other]) {
                        shared = next;
                    }
                    continue;
                }
            };
            if let Ok(next) = changed(&shared, &change) {
                shared = next;
            }
            prop_assert!(Membership::new(
                shared.epoch(), Slot::new(0), shared.membership().seats().to_vec(),
            ).is_ok());
            prop_assert_eq!(Shared::parse(&shared.encode()), Ok(shared.clone()));
        }
        let everybody: Vec<u64> = (1..100).collect();
        while let Some(next) = turned(&shared, &everybody) {
            shared = next;
        }
        prop_assert!(shared.members().iter().all(|member| member.next.is_none()), "{:?}", shared);
    }
}
