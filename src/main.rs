//! The `freshet` command.

/// It puts memory into huge pages where the system lets it: what a flush reads of thousands of viewers lies in as many
/// pages, more than a core remembers the places of.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    freshet::main(std::env::args_os())
}
