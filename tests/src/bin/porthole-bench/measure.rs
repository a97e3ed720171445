//! Measuring: wall time of a process from its start to its end, taken in turn, and the ratio of medians.

use std::fs::{File, OpenOptions};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    quick: bool,
}

impl Effort {
    /// Little with `BENCH_QUICK=1`: enough to see that everything works, too little to believe a number.
    pub fn asked_for() -> Self {
        Self { quick: std::env::var_os("BENCH_QUICK").is_some_and(|value| value != "0") }
    }

    /// Whether this is a smoke run.
    pub const fn is_quick(self) -> bool {
        self.quick
    }

    /// How often the whole comparison is repeated, so that a spread can be told.
    pub const fn rounds(self) -> usize {
        if self.quick { 2 } else { 7 }
    }

    /// `full` samples of each in a round, or a few.
    pub const fn samples(self, full: usize) -> usize {
        if self.quick { 3 } else { full }
    }

    /// How many pins there are to be, one level after the other.
    pub fn levels(self, full: &[usize]) -> Vec<usize> {
        full.iter().map(|&level| if self.quick { level / 10 } else { level }).collect()
    }

    /// The level at which `exec` and `list` are measured.
    pub const fn crowd(self) -> usize {
        if self.quick { 100 } else { 1_000 }
    }
}

/// Samples of one thing, by round, in seconds.
#[derive(Clone, Debug, Default)]
pub struct Series {
    rounds: Vec<Vec<f64>>,
}

/// A ratio of medians: of all samples, and the least and the greatest of the rounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio {
    /// Of all samples.
    pub value: f64,
    /// Least of the rounds.
    pub low: f64,
    /// Greatest of the rounds.
    pub high: f64,
}

impl Series {
    /// The median of all samples, in seconds.
    pub fn median(&self) -> f64 {
        median(self.rounds.iter().flatten().copied().collect())
    }

    /// What 99 of 100 samples are no slower than, in seconds.
    pub fn p99(&self) -> f64 {
        let mut samples: Vec<_> = self.rounds.iter().flatten().copied().collect();
        samples.sort_by(f64::total_cmp);
        samples.get((samples.len() * 99).div_ceil(100).saturating_sub(1)).copied().unwrap_or(f64::NAN)
    }

    /// The ratio to `other`, which was measured in turn with this one.
    pub fn against(&self, other: &Self) -> Ratio {
        let of_rounds: Vec<_> = self
            .rounds
            .iter()
            .zip(&other.rounds)
            .map(|(a, b)| median(a.clone()) / median(b.clone()))
            .collect();
        Ratio {
            value: self.median() / other.median(),
            low: of_rounds.iter().copied().fold(f64::INFINITY, f64::min),
            high: of_rounds.iter().copied().fold(0.0, f64::max),
        }
    }
}

/// The middle one; of an even number the mean of the two in the middle.
fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    let middle = samples.len() / 2;
    match samples.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => samples[middle],
        _ => f64::midpoint(samples[middle - 1], samples[middle]),
    }
}

/// Runs `cycle` again and again, which measures each of `N` things once: A B C, A B C, … so that whatever else the machine
/// does meets all of them. The first one of each round warms up and does not count.
pub fn in_turn<const N: usize>(
    effort: Effort,
    samples: usize,
    mut cycle: impl FnMut() -> [Duration; N],
) -> [Series; N] {
    let mut series: [Series; N] = std::array::from_fn(|_| Series::default());
    for _ in 0..effort.rounds() {
        cycle();
        let mut round: [Vec<f64>; N] = std::array::from_fn(|_| Vec::new());
        for _ in 0..effort.samples(samples) {
            for (samples, took) in round.iter_mut().zip(cycle()) {
                samples.push(took.as_secs_f64());
            }
        }
        for (series, samples) in series.iter_mut().zip(round) {
            series.rounds.push(samples);
        }
    }
    series
}

/// Wall time from before the start of a process until after its end. Its standard input is open before, its output
/// goes nowhere.
///
/// # Panics
/// When it cannot be started or fails: what did not work is not to be measured.
pub fn time(mut command: Command, stdin: Option<File>) -> Duration {
    quiet(&mut command, stdin);
    let start = Instant::now();
    let status = command.status();
    let took = start.elapsed();
    let status = status.unwrap_or_else(|e| panic!("start {command:?}: {e}"));
    assert!(status.success(), "{command:?}: {status}");
    took
}

/// Wall time of `count` processes, all started before the first is waited for.
///
/// # Panics
/// As [`time`].
pub fn time_at_once(count: usize, command: impl Fn() -> Command) -> Duration {
    let mut commands: Vec<_> = (0..count).map(|_| command()).collect();
    commands.iter_mut().for_each(|command| quiet(command, None));
    let start = Instant::now();
    let children: Vec<_> = commands.iter_mut().map(|command| command.spawn().expect("start it")).collect();
    let ends: Vec<_> = children.into_iter().map(|mut child: Child| child.wait()).collect();
    let took = start.elapsed();
    for status in ends {
        assert!(status.as_ref().is_ok_and(|status| status.success()), "{:?}: {status:?}", commands[0]);
    }
    took
}

fn quiet(command: &mut Command, stdin: Option<File>) {
    let null = || OpenOptions::new().read(true).write(true).open("/dev/null").expect("open /dev/null");
    command.stdin(stdin.unwrap_or_else(null)).stdout(null()).stderr(Stdio::inherit());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_one_in_whatever_order_they_come() {
        assert_eq!(median(vec![9.0, 1.0, 5.0]), 5.0);
        assert_eq!(median(vec![4.0, 1.0, 3.0, 2.0]), 2.5);
        assert_eq!(median(vec![7.0]), 7.0);
        assert!(median(Vec::new()).is_nan());
    }

    #[test]
    fn of_fifty_samples_the_slowest_is_the_ninety_ninth_hundredth() {
        let samples = |count: u32| Series { rounds: vec![(1..=count).map(f64::from).collect()] };
        assert_eq!(samples(50).p99(), 50.0);
        assert_eq!(samples(200).p99(), 198.0);
    }

    #[test]
    fn one_slow_sample_does_not_move_the_ratio() {
        let a = Series { rounds: vec![vec![2.0, 2.0, 900.0], vec![2.0, 2.0, 2.0]] };
        let b = Series { rounds: vec![vec![1.0, 1.0, 1.0], vec![1.0, 1.0, 1.0]] };
        assert_eq!(a.against(&b), Ratio { value: 2.0, low: 2.0, high: 2.0 });
    }

    #[test]
    fn the_spread_is_that_of_the_rounds() {
        let a = Series { rounds: vec![vec![1.0], vec![3.0], vec![2.0]] };
        let b = Series { rounds: vec![vec![1.0], vec![2.0], vec![2.0]] };
        assert_eq!(a.against(&b), Ratio { value: 1.0, low: 1.0, high: 1.5 });
    }

    #[test]
    fn each_round_has_its_samples_and_the_first_cycle_does_not_count() {
        let mut calls: u32 = 0;
        let [a, b] = in_turn(Effort { quick: true }, 50, || {
            calls += 1;
            [Duration::from_secs(calls.into()), Duration::from_secs(1)]
        });
        assert_eq!(a.rounds, [[2.0, 3.0, 4.0], [6.0, 7.0, 8.0]]);
        assert_eq!(b.rounds.len(), 2);
        assert_eq!(calls, 8);
    }
}
