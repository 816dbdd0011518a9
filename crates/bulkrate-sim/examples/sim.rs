//! The simulator as a program of its own: `cargo run -p bulkrate-sim --example sim -- --port 0`.

use clap::Parser;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: bulkrate_sim::cli::Args,
}

fn main() -> Result<(), bulkrate_sim::SimError> {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.map_or(Ok(()), |runtime| {
        runtime.block_on(bulkrate_sim::cli::run(cli.args, bulkrate_sim::Speaks::OpenAi))
    })
}
