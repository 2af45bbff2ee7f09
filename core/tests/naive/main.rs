//! The lock machine beside a naive model of what it promises.
//!
//! Random entries, drawn so that few keys, sessions and permits collide, go to the machine and to `model`, which is lists and
//! loops over them and was written from the promises alone. After each entry `invariants` checks every promise by what
//! anybody could see, and then machine and model must have said the same, and show the same. What fails is shrunk.
//!
//! | file | |
//! |---|---|
//! | `model` | what each command does, by docs/LOCKS.md and the decisions |
//! | `invariants` | the promises, one by one |
//! | `draw` | random steps that shrink |
//! | `book` | what callers know, and what a step means by that |
//! | `run` | both side by side |

mod book;
mod draw;
mod invariants;
mod model;
mod observe;
mod run;
mod turn;
