//! The `everfresh` command: reads its arguments, runs what they ask for, and ends with an exit code.

mod args;
mod control_plane;
mod data;
mod demo;
mod demo_origin;
mod edge_file;
mod edge_process;
mod serve;

use args::{Args, Role};
use clap::Parser;
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::SystemTime;

fn main() -> ExitCode {
    let args = Args::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_env("EVERFRESH_LOG");
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(filter.unwrap_or_else(|_| args.role.default_log_filter().into()))
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    let environment = |name: &str| std::env::var(name).ok();
    let outcome = match args.role {
        Role::Client(command) => {
            let mut world = cli::World {
                out: &mut std::io::stdout().lock(),
                err: &mut std::io::stderr(),
                environment: &environment,
                now: &wall_clock,
                pause: &std::thread::sleep,
            };
            return cli::run(command, &mut world).into();
        }
        Role::Serve(args) => serve::run(args, &environment, wall_clock),
        Role::Control(args) => control_plane::run(args, &environment, wall_clock),
        Role::Edge(args) => edge_process::run(args, &environment, wall_clock),
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

#[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
fn wall_clock() -> SystemTime {
    SystemTime::now()
}
