//! The command line.
#![allow(dead_code, missing_docs, unreachable_pub, unused_imports, reason = "development only")]
mod demo;
mod netlink;
use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[derive(Parser)]
struct Cli {
    #[arg(long)]
    config: Option<std::path::PathBuf>,
    #[command(subcommand)]
    command: Cmd,
}
#[derive(Subcommand)]
enum Cmd {
    Demo(demo::DemoArgs),
    List,
    Inspect {
        target: String,
    },
    Exec {
        target: String,
        #[arg(last = true)]
        words: Vec<String>,
    },
}
fn main() -> ExitCode {
    if let Some(code) = demo::guest(std::env::args_os()) {
        return code;
    }
    let cli = Cli::parse();
    let (config, _) = porthole_registry::config::Config::load(cli.config.as_deref());
    let places = demo::Places::new(&config, cli.config.as_deref());
    match cli.command {
        Cmd::Demo(args) => match demo::run(&args, &places) {
            Ok(code) => code,
            Err(e) => {
                let mut line = e.to_string();
                let mut c = std::error::Error::source(&e);
                while let Some(s) = c {
                    line += &format!(": {s}");
                    c = s.source();
                }
                eprintln!("porthole: {line}");
                if let Some(r) = e.remedy() {
                    eprintln!("help: {r}");
                }
                ExitCode::FAILURE
            }
        },
        Cmd::Exec { target, words } => std::process::Command::new("ip")
            .args(["netns", "exec", &target])
            .args(&words)
            .status()
            .map_or(ExitCode::FAILURE, |_| ExitCode::SUCCESS),
        Cmd::Inspect { target } => {
            use std::os::fd::AsFd;
            let f = std::fs::File::open(std::path::Path::new("/run/netns").join(target)).unwrap();
            for l in netlink::addresses(f.as_fd()).unwrap() {
                println!("{l:?}");
            }
            println!("{:?}", netlink::host_veth(f.as_fd()));
            println!("{:?}", netlink::namespace_ids(&[f.as_fd()]));
            ExitCode::SUCCESS
        }
        _ => ExitCode::SUCCESS,
    }
}
