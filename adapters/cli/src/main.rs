//! The one binary, `tenure`.

mod args;
mod bench;
mod child;
mod config;
mod exit;
mod lock;
mod member;
mod print;
mod serve;
mod several;
mod verbs;
mod web;

use args::{Cli, Verb};
use clap::Parser as _;
use exit::{Code, Exit};
use std::ffi::OsString;
use std::io::ErrorKind;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    if words.next().is_some_and(|word| word == child::BECOME) {
        let parent = words.next().unwrap_or_default();
        let command: Vec<OsString> = words.collect();
        return end(&not_started(
            &command,
            &child::become_command(&parent, &command),
        ));
    }
    match run(Cli::parse().verb) {
        Ok(code) => code,
        Err(exit) => end(&exit),
    }
}

fn run(verb: Verb) -> Result<ExitCode, Exit> {
    match verb {
        Verb::Serve(serve) => serve::run(&serve)?,
        Verb::Bench(bench) => bench::run(&bench)?,
        Verb::TokenKey { file } => {
            let made = tenure_server::key::make(&file);
            made.map_err(|error| Exit::new(Code::Config, error))?;
        }
        Verb::Lock(words) => return wait(lock::run(&words)).map(ExitCode::from),
        Verb::Acquire(words) => wait(verbs::acquire(&words))?,
        Verb::Release(words) => wait(verbs::release(&words))?,
        Verb::Unlock(words) => wait(verbs::unlock(&words))?,
        Verb::Show(words) => wait(verbs::show(&words))?,
        Verb::Ls(words) => wait(verbs::ls(&words))?,
        Verb::Config(words) => wait(config::config(&words))?,
        Verb::Member(words) => wait(member::member(&words))?,
        Verb::Zone(words) => wait(config::zone(&words))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs a verb that talks to the service.
fn wait<T>(verb: impl Future<Output = Result<T, Exit>>) -> Result<T, Exit> {
    let ran = tenure_rt::block_on(verb);
    ran.map_err(|error| Exit::new(Code::System, error))?
}

fn end(exit: &Exit) -> ExitCode {
    eprintln!("tenure: {exit}");
    ExitCode::from(exit.code as u8)
}

/// What a shell says of a command that it can't run.
fn not_started(command: &[OsString], error: &std::io::Error) -> Exit {
    let name = command.first().map(|word| word.to_string_lossy());
    let code = match error.kind() {
        ErrorKind::NotFound => Code::NotFound,
        _ => Code::NotExecutable,
    };
    Exit::new(code, format!("{}: {error}", name.unwrap_or_default()))
}
