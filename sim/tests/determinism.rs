//! The same seed in two processes gives the same world.

use std::process::Command;

fn run(arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_sim"))
        .args(arguments)
        .output();
    let output = output.expect("the simulator runs");
    let text = String::from_utf8(output.stdout).expect("its output is text");
    (output.status.code(), text)
}

fn field(json: &str, key: &str) -> String {
    let after = json
        .split(&format!("\"{key}\":"))
        .nth(1)
        .expect("the field is there");
    let end = after.find([',', '}']).expect("it ends");
    after[..end].to_owned()
}

#[test]
fn the_same_seed_in_two_processes_has_the_same_trace_hash() {
    let hash = |seed| {
        field(
            &run(&[seed, "--scenario", "swarm", "--json"]).1,
            "trace_hash",
        )
    };
    let first = hash("0x5eed");
    assert_eq!(first, hash("0x5eed"), "the same seed is the same world");
    assert_ne!(first, hash("0x5eee"), "another seed is another world");
}

#[test]
fn fixed_seeds_break_no_law() {
    for scenario in ["calm", "lite", "swarm", "power-cuts", "stale-leader"] {
        let (code, json) = run(&[
            "--from",
            "1",
            "--seeds",
            "2",
            "--scenario",
            scenario,
            "--json",
        ]);
        assert_eq!(code, Some(0), "{scenario}: {json}");
        assert_eq!(field(&json, "seeds"), "2");
        let acked: u64 = field(&json, "ops_acked").parse().expect("a number");
        assert!(
            acked > 50,
            "{scenario}: only {acked} requests were answered"
        );
    }
}
