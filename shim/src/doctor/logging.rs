//! Where the hook's line goes when something fails.

use super::check::Check;
use super::{Setting, Subject};
use std::os::unix::fs::FileTypeExt;

pub(super) const SUBJECT: Subject = Subject { checks: &["system-log"], look };

const SOCKET: &str = "/dev/log";

fn look(_setting: &Setting) -> Vec<Check> {
    let is_socket = std::fs::metadata(SOCKET).map(|meta| meta.file_type().is_socket());
    vec![judge(is_socket.map_err(|error| error.to_string()))]
}

fn judge(is_socket: Result<bool, String>) -> Check {
    let (name, remedy) = ("system-log", "start the system's logger: systemd-journald, or a syslog daemon");
    let lost = "what the hook has to say goes to its standard error, which engines may not keep";
    match is_socket {
        Ok(true) => Check::ok(name, SOCKET, "is a socket: the hook's failures go there"),
        Ok(false) => Check::warn(name, SOCKET, format!("is no socket: {lost}"), remedy),
        Err(cause) => Check::warn(name, SOCKET, format!("{cause}: {lost}"), remedy),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::check::Verdict;

    #[test]
    fn without_a_socket_of_the_log_there_is_a_warning() {
        assert_eq!(judge(Ok(true)).verdict, Verdict::Ok);
        assert_eq!(judge(Ok(false)).verdict, Verdict::Warn);
        assert_eq!(judge(Err("No such file".into())).verdict, Verdict::Warn);
    }
}
