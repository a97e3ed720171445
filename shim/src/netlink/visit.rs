//! Asking in other network namespaces: threads that go there, one after the other, and end.

use std::os::fd::BorrowedFd;
use std::panic::resume_unwind;
use std::thread::{Builder, Scope, ScopedJoinHandle};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::Error;
use super::socket::RouteSocket;

/// Two share the work of many namespaces: the calls are short, and the kernel serializes some of them.
const WORKERS: usize = 2;
/// Below this many namespaces a second thread costs more than it saves.
const WORTH_A_SECOND: usize = 16;

/// Runs `ask` with a socket of the namespace, in a thread of its own.
pub fn visit<T: Send>(
    netns: BorrowedFd<'_>,
    ask: impl FnOnce(&mut RouteSocket) -> Result<T, Error> + Send,
) -> Result<T, Error> {
    std::thread::scope(|scope| {
        let worker = spawn(scope, move || {
            enter(netns)?;
            ask(&mut RouteSocket::open()?)
        })?;
        join(worker)
    })
}

/// Runs `ask` in every namespace. One that cannot be entered or asked is an error in its place, no more.
pub fn visit_many<T: Send>(
    namespaces: &[BorrowedFd<'_>],
    ask: impl Fn(&mut RouteSocket) -> Result<T, Error> + Sync,
) -> Vec<Result<T, Error>> {
    if namespaces.is_empty() {
        return Vec::new();
    }
    let workers = if namespaces.len() < WORTH_A_SECOND { 1 } else { WORKERS };
    let share = namespaces.len().div_ceil(workers);
    std::thread::scope(|scope| {
        let ask = &ask;
        let started: Vec<_> = namespaces
            .chunks(share)
            .map(|part| (part.len(), spawn(scope, move || tour(part, ask))))
            .collect();
        let mut results = Vec::with_capacity(namespaces.len());
        for (size, worker) in started {
            match worker {
                Ok(worker) => results.extend(join(worker)),
                Err(Error::Thread(source)) => {
                    results.extend((0..size).map(|_| Err(Error::Thread(source.kind().into()))));
                }
                Err(other) => results.push(Err(other)),
            }
        }
        results
    })
}

fn tour<T>(
    namespaces: &[BorrowedFd<'_>],
    ask: impl Fn(&mut RouteSocket) -> Result<T, Error>,
) -> Vec<Result<T, Error>> {
    let mut buffer = Vec::new();
    namespaces
        .iter()
        .map(|netns| {
            enter(*netns)?;
            let mut socket = RouteSocket::with_buffer(std::mem::take(&mut buffer))?;
            let answer = ask(&mut socket);
            buffer = socket.into_buffer();
            answer
        })
        .collect()
}

/// Moves the calling thread: never called but by one that was started for it.
fn enter(netns: BorrowedFd<'_>) -> Result<(), Error> {
    move_into_link_name_space(netns, Some(LinkNameSpaceType::Network)).map_err(|e| Error::Enter(e.into()))
}

fn spawn<'scope, 'env, T: Send + 'scope>(
    scope: &'scope Scope<'scope, 'env>,
    work: impl FnOnce() -> T + Send + 'scope,
) -> Result<ScopedJoinHandle<'scope, T>, Error> {
    Builder::new().name("netns".to_owned()).spawn_scoped(scope, work).map_err(Error::Thread)
}

fn join<T>(worker: ScopedJoinHandle<'_, T>) -> T {
    worker.join().unwrap_or_else(|panic| resume_unwind(panic))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{File, read_link};
    use std::os::fd::AsFd;

    #[test]
    fn the_calling_thread_stays_where_it_is() {
        let before = read_link("/proc/thread-self/ns/net").unwrap();
        let netns = File::open("/proc/thread-self/ns/net").unwrap();
        match visit(netns.as_fd(), |_| Ok(())) {
            Ok(()) | Err(Error::Enter(_)) => {}
            Err(other) => panic!("{other}"),
        }
        assert_eq!(before, read_link("/proc/thread-self/ns/net").unwrap());
    }

    #[test]
    fn what_is_no_network_namespace_is_an_error_in_its_place() {
        let file = File::open("/proc/self/status").unwrap();
        let answers = visit_many(&[file.as_fd(); 40], |_| Ok(()));
        assert_eq!(answers.len(), 40);
        assert!(answers.iter().all(|a| matches!(a, Err(Error::Enter(_)))));
    }
}
