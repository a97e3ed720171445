//! The work after the files are in place: each engine is asked what it would read, and made to read it. An engine that
//! refuses gets its own files back, and the others keep theirs.

use super::apply::Applied;
use super::engine::Engine;
use super::plan::Plan;
use super::restart::{self, Told};
use super::service::Service;
use super::tree::Tree;
use crate::problem::Problem;

/// An engine that has refused, and why.
#[derive(Debug)]
pub(super) struct Refused<'a> {
    pub(super) engine: &'a Engine,
    pub(super) problem: Problem,
}

/// A plan that was applied, and its result so far.
#[derive(Debug)]
pub(super) struct Settling<'a, 'p> {
    tree: &'a Tree,
    plan: &'p Plan,
    applied: Applied<'p>,
    /// The engines that have not refused.
    left: Vec<&'a Engine>,
    refused: Vec<Refused<'a>>,
    touched: Vec<Told<'a>>,
}

/// The final result of a plan.
#[derive(Debug, Default)]
pub(super) struct Settled<'a> {
    /// The engines that answer with the new configuration, each with the service that was restarted.
    pub(super) ready: Vec<(&'a Engine, Option<Service>)>,
    pub(super) refused: Vec<Refused<'a>>,
}

/// A failure that undoes the whole plan: no engine is left, or a part that all engines need has failed.
#[derive(Debug)]
pub(super) struct Failure<'a, 'p> {
    pub(super) applied: Applied<'p>,
    /// The engines that were made to read it.
    pub(super) touched: Vec<Told<'a>>,
    pub(super) problem: Problem,
}

impl<'a, 'p> Settling<'a, 'p> {
    /// Asks each engine whether the files are as meant, before a daemon reads them.
    pub(super) fn verify(
        tree: &'a Tree,
        plan: &'p Plan,
        engines: &'a [Engine],
        applied: Applied<'p>,
    ) -> Result<Self, Box<Failure<'a, 'p>>> {
        let left = engines.iter().collect();
        let mut settling = Self { tree, plan, applied, left, refused: Vec::new(), touched: Vec::new() };
        for engine in engines {
            if let Err(problem) = engine.verify(tree, plan) {
                settling = settling.without(engine, None, problem)?;
            }
        }
        Ok(settling)
    }

    /// Makes the engines read it, and checks them.
    pub(super) fn reload(mut self, restart: bool) -> Result<Settled<'a>, Box<Failure<'a, 'p>>> {
        let mut ready = Vec::new();
        for engine in self.left.clone() {
            match restart::one(self.tree, self.plan, engine, restart) {
                (told, Ok(answers)) => {
                    ready.extend(answers.then(|| (engine, told.service().cloned())));
                    self.touched.push(told);
                }
                (told, Err(problem)) => self = self.without(engine, Some(told), problem)?,
            }
        }
        match super::units::reload(self.tree, self.plan) {
            Ok(()) => Ok(Settled { ready, refused: self.refused }),
            Err(problem) => Err(self.fail(problem)),
        }
    }

    /// Undoes everything.
    pub(super) fn fail(self, problem: Problem) -> Box<Failure<'a, 'p>> {
        Box::new(Failure { applied: self.applied, touched: self.touched, problem })
    }

    /// Puts the files of an engine back. If it is the last one, everything is undone.
    fn without(
        mut self,
        engine: &'a Engine,
        told: Option<Told<'a>>,
        problem: Problem,
    ) -> Result<Self, Box<Failure<'a, 'p>>> {
        self.left.retain(|left| !std::ptr::eq(*left, engine));
        if self.left.is_empty() {
            self.touched.extend(told);
            let mut problem = problem;
            for Refused { engine, problem: other } in self.refused.drain(..) {
                problem.message += &format!("; {}: {}", engine.title(), other.message);
            }
            return Err(self.fail(problem));
        }
        let problem = self.applied.revert_for(engine, problem);
        let problem = restart::again(self.tree, told.as_slice(), problem);
        self.refused.push(Refused { engine, problem });
        Ok(self)
    }
}
