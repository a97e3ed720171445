//! What a daemon was told when it was started: the words of its command line, and the options among them.

/// The words of `/proc/PID/cmdline` but the first, which is the daemon's own name.
pub(crate) fn words(cmdline: &[u8]) -> Vec<String> {
    let words = cmdline.split(|&byte| byte == 0).skip(1).filter(|word| !word.is_empty());
    words.map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}

/// The values of options on a command line: `--name VALUE`, `--name=VALUE`, `-n VALUE`, `-nVALUE`.
pub(crate) fn values<'w, 'n>(
    words: &'w [String],
    names: &'n [&'n str],
) -> impl Iterator<Item = &'w str> + use<'w, 'n> {
    words.iter().enumerate().filter_map(move |(at, word)| {
        names.iter().find_map(|name| match word.strip_prefix(name)? {
            "" => words.get(at + 1).map(String::as_str),
            rest => match rest.strip_prefix('=') {
                Some(value) => Some(value),
                None if !name.starts_with("--") => Some(rest),
                None => None,
            },
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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
