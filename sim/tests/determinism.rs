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
    for scenario in ["swarm"] {
        let arguments = ["0x5eed", "--scenario", scenario, "--json"];
        let (first, second) = (run(&arguments).1, run(&arguments).1);
        let (first, second) = (field(&first, "trace_hash"), field(&second, "trace_hash"));
        assert_eq!(first, second, "{scenario}");
        assert_ne!(
            first,
            field(
                &run(&["0x5eee", "--scenario", scenario, "--json"]).1,
                "trace_hash"
            )
        );
    }
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
        assert_eq!(field(&json, "seeds"), "1");
        let acked: u64 = field(&json, "ops_acked").parse().expect("a number");
        assert!(
            acked > 50,
            "{scenario}: only {acked} requests were answered"
        );
    }
}
