//! The command line of the hook: a stage, and where the configuration is.

use crate::failure::Failure;
use porthole_registry::stage::Stage;
use porthole_registry::text::clean;
use std::ffi::OsString;
use std::path::PathBuf;

/// What the hook is called for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Invocation {
    /// One of the stages that a runtime calls hooks in.
    Stage {
        /// Which.
        stage: Stage,
        /// The configuration, where it is not in its default place.
        config: Option<PathBuf>,
    },
    /// A person asks which version this is.
    Version,
}

impl Invocation {
    /// `[--config FILE] STAGE`, or `--version`.
    pub(crate) fn parse(args: impl Iterator<Item = OsString>) -> Result<Self, Failure> {
        let (mut stage, mut config) = (None, None);
        let mut args = args;
        while let Some(arg) = args.next() {
            match arg.to_str() {
                Some("--version") => return Ok(Self::Version),
                Some("--config") => {
                    config = Some(args.next().ok_or_else(|| Failure::usage("--config needs a file"))?.into());
                }
                Some(word) if stage.is_none() && Stage::of_hook(word).is_some() => {
                    stage = Stage::of_hook(word)
                }
                _ => {
                    let word = clean(&arg.to_string_lossy()).unwrap_or_default();
                    return Err(Failure::usage(&format!("{word} is no stage of a hook")));
                }
            }
        }
        let stage = stage.ok_or_else(|| Failure::usage("no stage is named"))?;
        Ok(Self::Stage { stage, config })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Option<Invocation> {
        Invocation::parse(args.iter().map(Into::into)).ok()
    }

    #[test]
    fn a_stage_is_named_as_the_specification_does() {
        for stage in Stage::HOOKED {
            assert_eq!(parse(&[stage.as_str()]), Some(Invocation::Stage { stage, config: None }));
        }
        assert_eq!(parse(&["createruntime"]), None);
        assert_eq!(parse(&["adopt"]), None);
        assert_eq!(parse(&[]), None);
        assert_eq!(parse(&["poststop", "poststop"]), None);
    }

    #[test]
    fn the_configuration_can_be_elsewhere() {
        let want = Invocation::Stage { stage: Stage::Poststop, config: Some("/c".into()) };
        assert_eq!(parse(&["--config", "/c", "poststop"]).as_ref(), Some(&want));
        assert_eq!(parse(&["poststop", "--config", "/c"]).as_ref(), Some(&want));
        assert_eq!(parse(&["poststop", "--config"]), None);
    }
}
