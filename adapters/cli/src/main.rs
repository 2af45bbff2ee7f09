//! The one binary, `tenure`.

mod args;
mod exit;
mod serve;
mod several;

use args::{Cli, Verb};
use clap::Parser as _;
use exit::{Code, Exit};
use std::process::ExitCode;

fn main() -> ExitCode {
    match run(Cli::parse().verb) {
        Ok(code) => code,
        Err(exit) => end(&exit),
    }
}

fn run(verb: Verb) -> Result<ExitCode, Exit> {
    match verb {
        Verb::Serve(serve) => serve::run(&serve)?,
        Verb::TokenKey { file } => {
            let made = tenure_server::key::make(&file);
            made.map_err(|error| Exit::new(Code::Config, error))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn end(exit: &Exit) -> ExitCode {
    eprintln!("tenure: {exit}");
    ExitCode::from(exit.code as u8)
}
