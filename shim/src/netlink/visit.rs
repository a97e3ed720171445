//! Asking in other network namespaces: threads that go there, one after the other, and end.

use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd};
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

/// Runs `ask` in the namespace that `open` finds for each item. One that cannot be opened, entered or asked is an error in
/// its place, no more. Few are open at a time, so that there can be more of them than a process may have open files.
pub fn visit_each<I: Sync, F: AsFd, T: Send>(
    items: &[I],
    open: impl Fn(&I) -> Option<F> + Sync,
    ask: impl Fn(&mut RouteSocket) -> Result<T, Error> + Sync,
) -> Vec<Result<T, Error>> {
    if items.is_empty() {
        return Vec::new();
    }
    let workers = if items.len() < WORTH_A_SECOND { 1 } else { WORKERS };
    let share = items.len().div_ceil(workers);
    std::thread::scope(|scope| {
        let (open, ask) = (&open, &ask);
        let started: Vec<_> = items
            .chunks(share)
            .map(|part| (part.len(), spawn(scope, move || tour(part, open, ask))))
            .collect();
        let mut results = Vec::with_capacity(items.len());
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

fn tour<I, F: AsFd, T>(
    items: &[I],
    open: impl Fn(&I) -> Option<F>,
    ask: impl Fn(&mut RouteSocket) -> Result<T, Error>,
) -> Vec<Result<T, Error>> {
    let mut buffer = Vec::new();
    items
        .iter()
        .map(|item| {
            let netns = open(item).ok_or_else(|| Error::Enter(ErrorKind::NotFound.into()))?;
            enter(netns.as_fd())?;
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
        let answers = visit_each(&[file.as_fd(); 40], |fd| Some(*fd), |_| Ok(()));
        assert_eq!(answers.len(), 40);
        assert!(answers.iter().all(|a| matches!(a, Err(Error::Enter(_)))));
        let absent = visit_each(&[(); 40], |()| None::<File>, |_| Ok(()));
        assert!(absent.iter().all(|a| matches!(a, Err(Error::Enter(_)))));
    }
}
