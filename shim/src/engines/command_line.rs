//! The words of a daemon's command line, and the options among them.

/// The values of options on a command line: `--name VALUE`, `--name=VALUE`, `-n VALUE`, `-nVALUE`. Programs that take a
/// long name behind one dash, as the names here show, do not take the last form: `-config-dir` is no `-c`.
pub(crate) fn values<'w, 'n>(
    words: &'w [String],
    names: &'n [&'n str],
) -> impl Iterator<Item = &'w str> + use<'w, 'n> {
    let takes_joined = !names.iter().any(|name| name.len() > 2 && !name.starts_with("--"));
    words.iter().enumerate().filter_map(move |(at, word)| {
        names.iter().find_map(|name| match word.strip_prefix(name)? {
            "" => words.get(at + 1).map(String::as_str),
            rest => match rest.strip_prefix('=') {
                Some(value) => Some(value),
                None if takes_joined && !name.starts_with("--") => Some(rest),
                None => None,
            },
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words of `/proc/PID/cmdline` but the first, which is the daemon's own name.
    fn words(cmdline: &[u8]) -> Vec<String> {
        let words = cmdline.split(|&byte| byte == 0).skip(1).filter(|word| !word.is_empty());
        words.map(|word| String::from_utf8_lossy(word).into_owned()).collect()
    }

    #[test]
    fn an_option_is_not_taken_for_one_whose_name_begins_it() {
        let of = |line: &str, names: &'static [&'static str]| {
            let words: Vec<_> = line.split(' ').map(str::to_owned).collect();
            values(&words, names).last().map(str::to_owned)
        };
        let config = &["--config", "-config", "-c"];
        let directory = &["--config-dir", "-config-dir", "-d"];
        assert_eq!(of("-config-dir /x --config-dir=/y", config), None);
        assert_eq!(of("-config-dir /x", directory).as_deref(), Some("/x"));
        assert_eq!(of("-c=/a -d /b", directory).as_deref(), Some("/b"));
        assert_eq!(of("-Hunix:///x.sock", &["--host", "-H"]).as_deref(), Some("unix:///x.sock"));
    }

    #[test]
    fn an_option_is_known_in_every_spelling() {
        let config = |line: &str| {
            let words = words(line.replace(' ', "\0").as_bytes());
            values(&words, &["--config", "-config", "-c"]).next().map(str::to_owned)
        };
        for (line, said) in [
            ("/usr/bin/containerd", None),
            (
                "containerd --log-level info --config /etc/containerd/config.toml",
                Some("/etc/containerd/config.toml"),
            ),
            ("containerd -c=/etc/containerd/config.toml", Some("/etc/containerd/config.toml")),
            ("containerd -config=/srv/c.toml", Some("/srv/c.toml")),
            ("containerd -config /srv/c.toml", Some("/srv/c.toml")),
            ("containerd -c /srv/c.toml", Some("/srv/c.toml")),
        ] {
            assert_eq!(config(line).as_deref(), said, "{line}");
        }
    }
}
