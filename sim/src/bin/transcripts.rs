//! `cargo transcripts`: plays every page of the book and compares it with what stands in
//! `tests/transcripts`; `cargo transcripts --accept` writes it there.

use std::process::ExitCode;
use tenure_sim::book::{BUGS, PAGES, Verdict, accept, compare};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let writes = match arguments.next().as_deref() {
        None => false,
        Some("--accept") => true,
        Some(other) => {
            eprintln!("transcripts does not know {other}; it knows --accept");
            return ExitCode::from(2);
        }
    };
    let mut failed = false;
    for page in PAGES.iter().chain(BUGS) {
        let verdict = if writes { accept(page) } else { compare(page) };
        match verdict {
            Ok(Verdict::Same) => {}
            Ok(Verdict::Written) => println!("{}: written", page.name),
            Ok(Verdict::Differs(how)) => {
                failed = true;
                println!("{}: {how}", page.name);
            }
            Err(problem) => {
                failed = true;
                println!("{}: {problem}", page.name);
            }
        }
    }
    if failed {
        println!(
            "`cargo transcripts --accept` writes what is played now: read the difference first."
        );
        return ExitCode::from(1);
    }
    println!("{} pages", PAGES.len() + BUGS.len());
    ExitCode::SUCCESS
}
