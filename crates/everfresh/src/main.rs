//! The `everfresh` command: reads its arguments, runs what they ask for, and ends with an exit code.

mod args;
mod control_plane;
mod data;
mod demo;
mod demo_origin;
mod edge_file;
mod edge_process;
mod inspect;
mod log_level;
mod serve;
mod stored;
mod verifying;

use args::{Args, Role};
use clap::Parser;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::SystemTime;

fn main() -> ExitCode {
    let args = Args::parse();
    let environment = |name: &str| std::env::var(name).ok();
    let log_level = log_level::start(environment("EVERFRESH_LOG").as_deref(), args.role.default_log_filter());
    let outcome = match args.role {
        Role::Client(command) => return with_world(&environment, |world| cli::run(command, world)),
        Role::Verify(args) => return with_world(&environment, |world| verifying::run(&args, world)),
        Role::Serve(args) => serve::run(args, &environment, wall_clock, log_level),
        Role::Control(args) => control_plane::run(args, &environment, wall_clock),
        Role::Edge(args) => edge_process::run(args, &environment, wall_clock, log_level),
        Role::Inspect(args) => inspect::run(args),
        Role::Stored(args) => stored::run(&args, &mut std::io::stdout().lock()),
        Role::Demo(args) => demo::run(args, wall_clock),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing can be done if even this cannot be written.
            let _ = writeln!(std::io::stderr(), "everfresh: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs a command of the client in the world of this process.
fn with_world(
    environment: &dyn Fn(&str) -> Option<String>,
    command: impl FnOnce(&mut cli::World<'_>) -> cli::Exit,
) -> ExitCode {
    let mut world = cli::World {
        input: &mut std::io::stdin(),
        out: &mut std::io::stdout().lock(),
        err: &mut std::io::stderr(),
        environment,
        now: &wall_clock,
        pause: &std::thread::sleep,
    };
    command(&mut world).into()
}

#[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
fn wall_clock() -> SystemTime {
    SystemTime::now()
}
