//! The same work on many things, shared between two threads.
//!
//! For commands that only look: what forks or enters a mount or user namespace has to have one thread, and a thread may
//! be counted for a moment after it was joined.

use std::panic::resume_unwind;
use std::thread::{Builder, scope};

/// Below this many things a second thread costs more than it saves.
const WORTH_A_SECOND: usize = 32;

/// `work` on each of `items`, in order.
pub(crate) fn map<I: Sync, T: Send>(items: &[I], work: impl Fn(&I) -> T + Sync) -> Vec<T> {
    if items.len() < WORTH_A_SECOND {
        return items.iter().map(work).collect();
    }
    let (mine, others) = items.split_at(items.len() / 2);
    let do_all = |part: &[I]| part.iter().map(&work).collect::<Vec<T>>();
    scope(|scope| {
        let helper = Builder::new().name("share".to_owned()).spawn_scoped(scope, || do_all(others));
        let mut done = do_all(mine);
        done.extend(match helper {
            Ok(helper) => helper.join().unwrap_or_else(|panic| resume_unwind(panic)),
            // No second thread to be had: it takes longer, no more.
            Err(_) => do_all(others),
        });
        done
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_done_once_and_in_order_however_many_there_are() {
        for count in [0, 1, 31, 32, 33, 1000] {
            let items: Vec<u32> = (0..count).collect();
            assert_eq!(map(&items, |n| n + 1), (1..=count).collect::<Vec<_>>());
        }
    }
}
