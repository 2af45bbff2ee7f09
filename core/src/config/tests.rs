//! A config that exists is right.

use super::*;
use alloc::vec;

fn member(node: u64) -> Member {
    Member {
        node: NodeId::new(node),
        peer: String::new(),
        client: String::new(),
        http: String::new(),
        location: String::new(),
    }
}

fn config(me: u64, nodes: &[u64]) -> Result<Config, ConfigError> {
    let members = nodes.iter().map(|node| member(*node)).collect();
    Config::new(ClusterId([7; 16]), NodeId::new(me), members)
}

#[test]
fn a_quorum_is_a_majority() {
    let quorums = [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3)];
    for (size, quorum) in quorums {
        let nodes: Vec<u64> = (1..=size).collect();
        assert_eq!(config(1, &nodes).unwrap().quorum(), quorum, "of {size}");
    }
}

#[test]
fn a_wrong_list_is_refused() {
    assert_eq!(config(1, &[]), Err(ConfigError::Size { found: 0 }));
    assert_eq!(
        config(1, &[1, 2, 1]),
        Err(ConfigError::Twice {
            node: NodeId::new(1)
        })
    );
    assert_eq!(
        config(4, &[1, 2, 3]),
        Err(ConfigError::NotAMember {
            node: NodeId::new(4)
        })
    );
    assert_eq!(config(0, &[0, 1, 2]), Err(ConfigError::Zero));
    let ten: Vec<u64> = vec![1, 2, 3, 4, 5, 6, 7, 8, 9, 10];
    assert_eq!(config(1, &ten), Err(ConfigError::Size { found: 10 }));
}
