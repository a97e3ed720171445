//! What rules mean.

use super::*;

fn ann() -> User {
    User {
        uid: 1000,
        name: Some("ann".into()),
        gids: [1000, 27].into(),
        groups: ["ann".into(), "sre".into()].into(),
    }
}

struct Asked {
    user: User,
    namespace: Option<&'static str>,
    pod: Option<&'static str>,
    profile: &'static str,
    program: Program,
    arguments: Vec<String>,
    needs: BTreeSet<Need>,
    writable: Vec<PathBuf>,
}

impl Asked {
    /// ann, in shop/web-0, as `general`.
    fn for_command(words: &str) -> Self {
        let mut words = words.split(' ').map(str::to_owned);
        Self {
            user: ann(),
            namespace: Some("shop"),
            pod: Some("web-0"),
            profile: "general",
            program: Program::OfHost(words.next().unwrap().into()),
            arguments: words.collect(),
            needs: BTreeSet::new(),
            writable: Vec::new(),
        }
    }

    fn of(&self, policy: &str) -> Decision {
        let target =
            PodName { namespace: self.namespace.map(str::to_owned), pod: self.pod.map(str::to_owned) };
        self.decide(policy, Some(&target), Some((&self.program, &self.arguments)))
    }

    /// Before the target is looked at and the command is looked for.
    fn beforehand(&self, policy: &str) -> Decision {
        self.decide(policy, None, None)
    }

    fn decide(
        &self,
        policy: &str,
        target: Option<&PodName>,
        command: Option<(&Program, &[String])>,
    ) -> Decision {
        let Self { user, profile, needs, writable, .. } = self;
        let query = Query { user, target, profile, command, needs, writable };
        // Where `/bin` and `/sbin` are links.
        let real = |dir: &Path| match dir.to_str() {
            Some("/bin") => "/usr/bin".into(),
            Some("/sbin") => "/usr/sbin".into(),
            _ => dir.to_owned(),
        };
        parse(policy).unwrap().decide(&query, &real)
    }

    #[track_caller]
    fn is_allowed(&self, policy: &str) -> bool {
        self.of(policy).allowed
    }
}

fn curl() -> Asked {
    Asked::for_command("/usr/bin/curl http://x")
}

#[test]
fn the_first_rule_that_matches_decides_and_no_rule_is_no() {
    let deny = "[[rule]]\nusers = ['ann']\neffect = 'deny'\n";
    let allow = "[[rule]]\nusers = ['ann']\neffect = 'allow'\n";
    assert!(!curl().is_allowed(""));
    assert!(curl().is_allowed(allow));
    assert!(!curl().is_allowed(&format!("{deny}{allow}")));
    let decision = curl().of(&format!("[[rule]]\nusers = ['bob']\neffect = 'deny'\n{allow}{deny}"));
    assert_eq!((decision.allowed, decision.rule), (true, Some(1)));
    assert_eq!(decision.missed, ["it is about other users"]);
}

#[test]
fn users_and_groups_are_named_by_name_and_number_and_either_will_do() {
    for (who, want) in [
        ("users = ['ann']", true),
        ("users = ['1000']", true),
        ("users = ['*']", true),
        ("users = ['an']", false),
        ("users = ['27']", false),
        ("groups = ['sre']", true),
        ("groups = ['%sre']", true),
        ("groups = ['27']", true),
        ("groups = ['%27']", true),
        ("groups = ['28', 'wheel']", false),
        ("users = ['bob']\ngroups = ['sre']", true),
        ("users = ['bob']\ngroups = ['wheel']", false),
    ] {
        assert_eq!(curl().is_allowed(&format!("[[rule]]\n{who}\neffect = 'allow'\n")), want, "{who}");
    }
}

#[test]
fn namespaces_and_pods_are_patterns_and_a_dash_is_no_namespace() {
    let allowed = |namespace, pod, keys: &str| {
        let asked = Asked { namespace, pod, ..curl() };
        asked.is_allowed(&format!("[[rule]]\nusers = ['ann']\n{keys}\neffect = 'allow'\n"))
    };
    for (namespace, keys, want) in [
        (Some("shop"), "", true),
        (None, "", true),
        (Some("shop"), "namespaces = ['shop', 'team-*']", true),
        (Some("team-a"), "namespaces = ['shop', 'team-*']", true),
        (Some("team"), "namespaces = ['shop', 'team-*']", false),
        (None, "namespaces = ['*']", false),
        (None, "namespaces = ['-']", true),
        (Some("-"), "namespaces = ['-']", false),
        (Some("shop"), "namespaces = ['-']", false),
        (Some("shop"), "pods = ['web-?']", true),
        (Some("shop"), "pods = ['db-*']", false),
    ] {
        assert_eq!(allowed(namespace, Some("web-0"), keys), want, "{namespace:?} {keys}");
    }
    assert!(!allowed(None, None, "pods = ['*']"), "what is no pod has no name to match");
}

#[test]
fn a_rule_that_names_no_profile_allows_the_harmless_and_denies_all() {
    let as_profile = |profile, rule: &str| {
        Asked { profile, ..curl() }.is_allowed(&format!("[[rule]]\nusers = ['ann']\n{rule}\n"))
    };
    for (profile, want) in [("restricted", true), ("general", true), ("netadmin", false), ("sysadmin", false)]
    {
        assert_eq!(as_profile(profile, "effect = 'allow'"), want, "{profile}");
    }
    assert!(as_profile("sysadmin", "effect = 'allow'\nprofiles = ['*']"));
    let deny_first = "effect = 'deny'\n[[rule]]\nusers = ['ann']\nprofiles = ['*']\neffect = 'allow'";
    assert!(!as_profile("sysadmin", deny_first));
}

#[test]
fn what_is_dangerous_has_to_be_allowed_by_name() {
    for need in Need::ALL {
        let asked = Asked { needs: [need].into(), ..curl() };
        let rule = |allow: &str| {
            format!("[[rule]]\nusers = ['ann']\ncommands = ['curl']\n{allow}\neffect = 'allow'\n")
        };
        assert!(!asked.is_allowed(&rule("")), "{need}");
        assert!(asked.is_allowed(&rule(&format!("allow = ['{need}']"))), "{need}");
        let decision = asked.of(&rule(""));
        assert_eq!(decision.missed, [format!("it does not allow {need}")]);
    }
    let both = Asked { needs: [Need::Enter, Need::Root].into(), ..curl() };
    assert!(!both.is_allowed("[[rule]]\nusers = ['ann']\nallow = ['enter']\neffect = 'allow'\n"));
    let sysadmin = Asked { profile: "sysadmin", ..both };
    assert!(sysadmin.is_allowed("[[rule]]\nusers = ['ann']\nprofiles = ['sysadmin']\neffect = 'allow'\n"));
}

#[test]
fn variables_matter_where_commands_are_named_and_not_elsewhere() {
    let asked = Asked { needs: [Need::Env].into(), ..curl() };
    assert!(asked.is_allowed("[[rule]]\nusers = ['ann']\neffect = 'allow'\n"));
    assert!(!asked.is_allowed("[[rule]]\nusers = ['ann']\ncommands = ['curl']\neffect = 'allow'\n"));
}

#[test]
fn a_command_is_a_program_where_it_is_and_arguments_one_by_one() {
    for (words, command, want) in [
        ("/usr/bin/curl x", "/usr/bin/curl", true),
        ("/usr/bin/curl x", "/bin/curl", true),
        ("/usr/bin/curl x", "/usr/bin/*", true),
        ("/usr/bin/curl x", "/usr/*/curl", true),
        ("/usr/bin/curl x", "/*/curl", false),
        ("/usr/bin/curl x", "curl", true),
        ("/usr/bin/curl x", "cur", false),
        ("/usr/bin/curl x", "cur?", true),
        ("/tmp/curl x", "curl", false),
        ("/tmp/curl x", "/usr/bin/curl", false),
        ("/usr/local/bin/curl x", "curl", true),
        ("/usr/sbin/ip addr", "ip", true),
        ("/usr/sbin/ip addr", "ip addr", true),
        ("/usr/sbin/ip addr", "/sbin/ip addr", true),
        ("/usr/sbin/ip addr show", "ip addr", false),
        ("/usr/sbin/ip addr show", "ip addr *", true),
        ("/usr/sbin/ip addr", "ip addr *", true),
        ("/usr/sbin/ip", "ip *", true),
        ("/usr/sbin/ip link", "ip addr *", false),
        ("/usr/sbin/ip -br addr", "ip * addr", true),
        ("/usr/sbin/ip a b addr", "ip * addr", false),
    ] {
        let rule = format!("[[rule]]\nusers = ['ann']\ncommands = ['{command}']\neffect = 'allow'\n");
        assert_eq!(Asked::for_command(words).is_allowed(&rule), want, "{words} / {command}");
    }
}

#[test]
fn what_a_rule_with_commands_allows_is_pinned() {
    let named = "[[rule]]\nusers = ['ann']\ncommands = ['curl']\neffect = 'allow'\n";
    assert_eq!(curl().of(named).program, Some("/usr/bin/curl".into()));
    assert_eq!(curl().of("[[rule]]\nusers = ['ann']\neffect = 'allow'\n").program, None);
}

#[test]
fn a_program_of_the_target_is_known_by_its_word_alone() {
    let run = |word: &str, command: &str| {
        let asked = Asked { program: Program::OfTarget(word.into()), arguments: vec![], ..curl() };
        asked.is_allowed(&format!("[[rule]]\nusers = ['ann']\ncommands = ['{command}']\neffect = 'allow'\n"))
    };
    assert!(run("/bin/ls", "/bin/ls") && run("ls", "ls"));
    assert!(!run("/bin/ls", "ls") && !run("ls", "/bin/ls") && !run("/bin/../tmp/ls", "/bin/*/*/ls"));
    assert!(!run("./ls", "ls") && !run("/bin//ls", "/bin/*/ls"));
}

#[test]
fn a_missing_program_matches_no_command() {
    let asked = Asked { program: Program::Missing, ..curl() };
    let decision = asked.of("[[rule]]\nusers = ['ann']\ncommands = ['/*']\neffect = 'allow'\n");
    assert_eq!(decision.missed, ["it is about other commands, or there is no such program"]);
    assert!(asked.is_allowed("[[rule]]\nusers = ['ann']\neffect = 'allow'\n"));
}

#[test]
fn a_mistake_is_said_with_its_place() {
    for (text, place, what) in [
        ("[[rule]]\nusers = ['ann']\n", "1:1", "missing field `effect`"),
        ("[[rule]]\nusers = ['ann']\neffect = 'permit'\n", "3:10", "expected \"allow\" or \"deny\""),
        ("[[rule]]\neffect = 'allow'\n", "1:1", "has to say whom"),
        ("\n[[rule]]\nusers = ['a', '']\neffect = 'allow'\n", "3:15", "is empty"),
        ("[[rule]]\nusers = []\neffect = 'allow'\n", "2:9", "the list is empty"),
        ("[[rule]]\nusers = ['a*']\neffect = 'allow'\n", "2:10", "no pattern"),
        ("[[rule]]\nuser = ['a']\neffect = 'allow'\n", "2:1", "unknown field `user`"),
        ("[[rules]]\n", "1:3", "unknown field `rules`"),
        ("[[rule]]\nusers = 'ann'\neffect = 'allow'\n", "2:9", "invalid type"),
        ("[[rule]]\nusers = ['ann'\neffect = 'allow'\n", "3:1", ""),
        ("[[rule]]\nusers=['ann']\nnamespaces=['[ab]']\neffect='allow'\n", "3:13", "`*` and `?` alone"),
        ("[[rule]]\nusers=['ann']\ncommands=['bin/ip']\neffect='allow'\n", "3:11", "relative"),
        ("[[rule]]\nusers=['ann']\ncommands=['/usr/../ip']\neffect='allow'\n", "3:11", "no plain path"),
        ("[[rule]]\nusers=['ann']\ncommands=['*']\neffect='allow'\n", "3:11", "leave `commands` out"),
        ("[[rule]]\nusers=['ann']\nallow=['all']\neffect='allow'\n", "3:8", "no such thing to allow"),
        ("[[rule]]\nallow=['enter']\neffect='deny'\n", "2:7", "nothing to allow"),
    ] {
        let mistake = parse(text).unwrap_err().to_string();
        assert!(mistake.starts_with(&format!("{place}: ")) && mistake.contains(what), "{text}: {mistake}");
    }
}

#[test]
fn rules_are_shown_as_they_were_understood() {
    let policy =
        parse("# one\n[[rule]]\ngroups = ['%sre']\ncommands = ['ip  addr *']\neffect = 'allow'\n").unwrap();
    let shown = &policy.show()[0];
    assert_eq!((shown.rule, shown.line, &shown.groups[0][..]), (1, 2, "sre"));
    assert_eq!(
        (&shown.commands[0][..], &shown.profiles[..]),
        ("ip addr *", &["restricted".into(), "general".into()][..])
    );
}

#[test]
fn a_rule_names_the_directories_that_may_be_written_to() {
    let rule = "[[rule]]\nusers = ['ann']\neffect = 'allow'\nwritable = ['/srv/dumps', '/var/tmp/x']\n";
    for (directories, want) in [
        (&["/srv/dumps"][..], true),
        (&["/srv/dumps/of/today", "/var/tmp/x"], true),
        (&["/srv"], false),
        (&["/srv/dumps2"], false),
        (&["/srv/dumps", "/etc"], false),
        (&["/"], false),
    ] {
        let writable = directories.iter().map(PathBuf::from).collect();
        let decision = Asked { writable, ..curl() }.of(rule);
        assert_eq!(decision.allowed, want, "{directories:?}");
        if !want {
            let refused = directories.last().unwrap();
            assert_eq!(decision.missed, [format!("it does not allow writing to {refused}")]);
        }
    }
    let without = Asked { writable: vec!["/srv/dumps".into()], ..curl() };
    assert!(
        !without.is_allowed("[[rule]]\nusers = ['ann']\neffect = 'allow'\nallow = ['root', 'directory']\n")
    );
    for (written, what) in [
        ("'srv'", "\"srv\" is no absolute path"),
        ("'/'", "is no plain path of a directory"),
        ("'/srv/'", "is no plain path of a directory"),
        ("'/srv/../etc'", "is no plain path of a directory"),
        ("'/srv/*'", "has a wildcard"),
        ("\"/srv/\\u0007\"", "has a wildcard or control character"),
    ] {
        let text = format!("[[rule]]\nusers = ['ann']\neffect = 'allow'\nwritable = [{written}]\n");
        let mistake = parse(&text).unwrap_err();
        assert!(mistake.line == 4 && mistake.what.contains(what), "{written}: {mistake}");
    }
    let deny = "[[rule]]\neffect = 'deny'\nwritable = ['/srv']\n";
    assert!(parse(deny).unwrap_err().what.contains("has nothing to allow"));
}

#[test]
fn beforehand_only_what_nothing_would_make_allowed_is_refused() {
    let allow = "[[rule]]\nusers = ['ann']\neffect = 'allow'\n";
    let other = "[[rule]]\nusers = ['bob']\neffect = 'allow'\n";
    let deny = |keys: &str| format!("[[rule]]\neffect = 'deny'\n{keys}{allow}");
    for (policy, want) in [
        (String::new(), false),
        (other.to_owned(), false),
        (allow.to_owned(), true),
        (format!("{allow}namespaces = ['nowhere']\npods = ['none']\ncommands = ['nothing']\n"), true),
        (format!("{allow}profiles = ['netadmin']\n"), false),
        (deny(""), false),
        (deny("profiles = ['general']\n"), false),
        (deny("profiles = ['trace']\n"), true),
        (deny("namespaces = ['*', '-']\n"), true),
        (deny("pods = ['*']\n"), true),
        (deny("commands = ['/usr/bin/curl']\n"), true),
    ] {
        assert_eq!(curl().beforehand(&policy).allowed, want, "{policy}");
    }
    let asks_for_more = Asked { needs: [Need::Directory].into(), ..curl() };
    assert!(!asks_for_more.beforehand(allow).allowed);
    assert!(asks_for_more.beforehand(&format!("{allow}allow = ['directory']\n")).allowed);
}
