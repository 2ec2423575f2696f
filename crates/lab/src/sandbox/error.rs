//! Why there is no sandbox, and what to do about it. Never the command's fault.

use super::Level;

/// A sandbox that could not be had. The command did not run, or its end is not known.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The machine does not give what was asked for.
    #[error("nothing was run: level {wanted} was asked for, and this machine gives {}. {advice}", given(*.best))]
    TooWeak {
        /// The weakest that would have done.
        wanted: Level,
        /// The best that there is, if there is any.
        best: Option<Level>,
        /// What is missing and what to do.
        advice: String,
    },
    /// The plan asks for something that can't be.
    #[error("the sandbox can't do that: {0}")]
    Plan(String),
    /// A layer could not be put up.
    #[error("nothing was run: the sandbox could not be set up ({step}): {reason}")]
    Setup {
        /// What was being done.
        step: String,
        /// The system's words, and what to do.
        reason: String,
    },
    /// What watched the command inside is gone before it could say how the command ended.
    #[error("the sandbox was killed from outside before the command had ended: {0}")]
    Lost(String),
    /// The system refused something that has nothing to do with protection.
    #[error("the sandbox could not {what}: {source}")]
    System {
        /// What was being done.
        what: &'static str,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
}

fn given(best: Option<Level>) -> String {
    best.map_or_else(|| "none".to_owned(), |level| format!("level {level}"))
}

/// Names what was being done when the system refused it.
pub(super) fn system<E: Into<std::io::Error>>(what: &'static str) -> impl FnOnce(E) -> SandboxError {
    move |source| SandboxError::System { what, source: source.into() }
}

/// What bubblewrap's last words mean and what to do about them.
pub(super) fn explain_bubblewrap(said: &str) -> String {
    let said = said.trim();
    let advice = if said.contains("setting up uid map: Permission denied") {
        "AppArmor forbids unprivileged user namespaces, as Ubuntu does since 24.04: install the profile \
         (apt-get install apparmor-profiles, then link /usr/share/apparmor/extra-profiles/bwrap-userns-restrict into \
         /etc/apparmor.d and reload), or sysctl kernel.apparmor_restrict_unprivileged_userns=0, or allow level C"
    } else if said.contains("No space left on device") || said.contains("ENOSPC") {
        "user namespaces are switched off here (sysctl user.max_user_namespaces), as on AWS Fargate: switch them on, or \
         allow level C"
    } else if said.contains("Operation not permitted") || said.contains("Permission denied") {
        "new namespaces are forbidden here, as in a container with Docker's default seccomp profile: run it outside of \
         the container or with --security-opt seccomp=unconfined --cap-add SYS_ADMIN, or allow level C"
    } else if said.contains("Unknown option") {
        "this bubblewrap is too old: 0.6 or newer is needed (Debian 12, Ubuntu 22.04 backports), or allow level C"
    } else {
        "see `man bwrap`, or allow level C"
    };
    if said.is_empty() { advice.to_owned() } else { format!("{said}; {advice}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_what_to_do() {
        for (said, advice) in [
            ("bwrap: setting up uid map: Permission denied", "apparmor"),
            ("bwrap: Creating new namespace failed: No space left on device", "Fargate"),
            ("bwrap: No permissions to create new namespace, likely: Operation not permitted", "Docker"),
            ("bwrap: Unknown option --disable-userns", "too old"),
            ("", "level C"),
        ] {
            let text = explain_bubblewrap(said);
            assert!(text.starts_with(said) && text.contains(advice) && text.contains("level C"), "{text}");
        }
        let weak = SandboxError::TooWeak {
            wanted: Level::B,
            best: Some(Level::D),
            advice: "bubblewrap is not installed: apt-get install bubblewrap".to_owned(),
        };
        assert_eq!(
            weak.to_string(),
            "nothing was run: level B was asked for, and this machine gives level D. bubblewrap is not installed: \
             apt-get install bubblewrap"
        );
    }
}
