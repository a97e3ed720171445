//! A point in time by which work has to end.

use rustix::time::Timespec;
use std::time::{Duration, Instant};

/// A deadline on the monotonic clock.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Instant);

impl Deadline {
    /// This long from now.
    pub fn after(time: Duration) -> Self {
        Self(Instant::now() + time)
    }

    /// At this moment.
    pub const fn at(moment: Instant) -> Self {
        Self(moment)
    }

    /// The earlier of two.
    pub fn or(self, other: Self) -> Self {
        Self(self.0.min(other.0))
    }

    /// What is left, zero when it has passed.
    pub fn remaining(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// What is left, as poll(2) takes it.
    pub fn timespec(self) -> Timespec {
        let left = self.remaining();
        Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        }
    }

    /// Whether it has passed.
    pub fn passed(self) -> bool {
        self.remaining().is_zero()
    }
}
