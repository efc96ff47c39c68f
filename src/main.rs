//! The `freshet` command.

fn main() -> std::process::ExitCode {
    freshet::main(std::env::args_os())
}
