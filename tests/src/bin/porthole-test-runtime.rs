//! The command line of an OCI runtime over libcontainer: as much of it as the tests use.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use libcontainer::container::Container;
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::signal::Signal;
use libcontainer::syscall::syscall::SyscallType;

type Result = std::result::Result<(), Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("porthole-test-runtime: {error}");
            let mut source = error.source();
            while let Some(cause) = source {
                eprintln!("  because: {cause}");
                source = cause.source();
            }
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[&str]) -> Result {
    match words {
        ["--root", root, "create", "--bundle", bundle, id] => create(Path::new(root), Path::new(bundle), id),
        ["--root", root, "start", id] => Ok(load(root, id)?.start()?),
        ["--root", root, "kill", id, signal] => Ok(load(root, id)?.kill(Signal::try_from(*signal)?, false)?),
        ["--root", root, "delete", "--force", id] => delete(root, id),
        ["--root", root, "state", id] => state(&load(root, id)?),
        _ => Err("usage: porthole-test-runtime --root DIR \
                  create --bundle DIR ID | start ID | kill ID SIGNAL | delete --force ID | state ID"
            .into()),
    }
}

fn create(root: &Path, bundle: &Path, id: &str) -> Result {
    std::fs::create_dir_all(root)?;
    let builder = ContainerBuilder::new(id.to_owned(), SyscallType::default()).with_root_path(root)?;
    builder.validate_id()?.as_init(bundle).with_systemd(false).with_detach(true).build()?;
    Ok(())
}

/// Deletes the container. The library gives up at a cgroup that is busy, before it calls any hook: as long as the
/// process that it has killed is on its way out.
fn delete(root: &str, id: &str) -> Result {
    for _ in 0..500 {
        let mut container = load(root, id)?;
        if container.delete(true).is_ok() {
            return Ok(());
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    Ok(load(root, id)?.delete(true)?)
}

fn load(root: &str, id: &str) -> std::result::Result<Container, Box<dyn std::error::Error>> {
    let dir = PathBuf::from(root).join(id);
    if !dir.is_dir() {
        return Err(format!("container {id} does not exist").into());
    }
    // The library stumbles over a process that ends between two looks at it; the next time it has ended.
    Ok(Container::load(dir.clone()).or_else(|_| Container::load(dir))?)
}

fn state(container: &Container) -> Result {
    let state = serde_json::json!({
        "id": container.id(),
        "status": container.status().to_string().to_lowercase(),
        "pid": container.pid().map_or(0, |pid| pid.as_raw()),
        "bundle": container.bundle(),
    });
    println!("{state}");
    Ok(())
}
