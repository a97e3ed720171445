//! The command line.

mod exec;
mod sys;

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use exec::{ExecArgs, Settings, Target, TargetProcess};

#[derive(Parser)]
#[command(name = "porthole")]
struct Cli {
    #[arg(short, default_value = "table")]
    output: String,
    #[arg(long, default_value = "/run/porthole")]
    run_dir: PathBuf,
    #[command(subcommand)]
    command: Sub,
}

#[derive(Subcommand)]
enum Sub {
    Exec {
        target: String,
        #[command(flatten)]
        exec: Box<ExecArgs>,
    },
}

fn target(word: &str) -> Option<Target> {
    if let Some(path) = word.strip_prefix("netns:") {
        let (path, bundle) = path.split_once(',').unwrap_or((path, ""));
        return Some(Target {
            label: word.to_owned(),
            pod: String::new(),
            netns: openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?,
            process: None,
            bundle: (!bundle.is_empty()).then(|| bundle.into()),
        });
    }
    let (pid, pod) = word.strip_prefix("pid:")?.split_once(',').unwrap_or((word.strip_prefix("pid:")?, ""));
    let pid: i32 = pid.parse().ok()?;
    let pidfd = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let proc_dir = openat(CWD, format!("/proc/{pid}"), flags, Mode::empty()).ok()?;
    let netns: OwnedFd = openat(&proc_dir, "ns/net", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    Some(Target {
        label: word.to_owned(),
        pod: pod.to_owned(),
        netns,
        process: Some(TargetProcess { pid, pidfd, proc_dir }),
        bundle: None,
    })
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let Sub::Exec { target: word, exec } = cli.command;
    let Some(target) = target(&word) else {
        eprintln!("porthole: {word}: no such target");
        return ExitCode::from(125);
    };
    let settings = Settings { run_dir: cli.run_dir, json: cli.output == "json" };
    match exec::run(&target, &exec, &settings) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            let report = error.report();
            if settings.json {
                eprintln!("{}", serde_json::to_string(&report).unwrap_or_default());
            } else {
                eprintln!("porthole: {word}: {}", report.message);
                if let Some(remedy) = &report.remedy {
                    eprintln!("help: {remedy}");
                }
            }
            ExitCode::from(report.status)
        }
    }
}
