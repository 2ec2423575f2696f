//! Whatever happens, nothing is left: no process, no folder.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};

use super::{ALL, Confined, Who};
use crate::rig::{text, until};

/// A word in a command line that no other test uses.
fn mark(what: &str, level: &str, who: Who) -> String {
    format!("coroner-mark-{what}-{level}-{who:?}-{}", std::process::id())
}

/// Processes whose command line holds the mark, as an argument of its own.
fn marked(mark: &str) -> usize {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    lines.filter(|line| line.split(|byte| *byte == 0).any(|word| word == mark.as_bytes())).count()
}

/// Folders of runs at levels C and D that this test has made.
fn folders_with(mark: &str) -> usize {
    let folders = std::fs::read_dir("/tmp").unwrap().flatten();
    folders
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("coroner-sandbox-"))
        .filter(|entry| entry.path().join("work").join(mark).exists())
        .count()
}

/// Leaves a process behind in a session of its own, which is marked.
fn script(mark: &str, then: &str) -> String {
    format!(
        "touch \"$HOME/{mark}\"; setsid python3 -c 'import time; time.sleep(1000)' {mark} </dev/null >/dev/null 2>&1 & \
         python3 -c 'import time; time.sleep(0.2)'; echo started; {then}"
    )
}

#[test]
fn a_daemon_is_gone_when_its_parent_has_ended() {
    std::thread::scope(|scope| {
        let tests = ALL.map(|(level, who)| {
            scope.spawn(move || {
                let Some(confined) = Confined::new("a daemon", level, who) else { return };
                let mark = mark("end", level, who);
                let (output, diagnosis) = confined.diagnosed(&[], &["sh", "-c", &script(&mark, "exit 4")]);
                assert_eq!(output.status.code(), Some(4), "{level} {who:?}: {}", text(&output.stderr));
                assert_eq!(marked(&mark), 0, "{level} {who:?}");
                assert_eq!(diagnosis["sandbox"]["survivors"], 1, "{level} {who:?}: {diagnosis}");
                assert_eq!(folders_with(&mark), 0);
            })
        });
        tests.into_iter().for_each(|test| test.join().unwrap());
    });
}

#[test]
fn everything_is_gone_at_a_limit_at_a_stop_and_when_we_are_killed() {
    std::thread::scope(|scope| {
        let tests = ALL.map(|(level, who)| {
            scope.spawn(move || {
                limit(level, who);
                told(level, who, Signal::TERM, Some(143));
                told(level, who, Signal::KILL, None);
            })
        });
        tests.into_iter().for_each(|test| test.join().unwrap());
    });
}

fn limit(level: &'static str, who: Who) {
    let Some(confined) = Confined::new("a limit", level, who) else { return };
    let mark = mark("limit", level, who);
    let output = confined.run(&["--timeout", "2"], &["sh", "-c", &script(&mark, "while :; do :; done")]);
    assert_eq!(output.status.code(), Some(124), "{level} {who:?}: {}", text(&output.stderr));
    assert_eq!((marked(&mark), folders_with(&mark)), (0, 0), "{level} {who:?}");
}

/// A signal to coroner itself.
fn told(level: &'static str, who: Who, signal: Signal, status: Option<i32>) {
    let Some(confined) = Confined::new("a signal", level, who) else { return };
    let mark = mark(&format!("signal-{}", signal.as_raw()), level, who);
    let mut command = confined.command(&[], &["sh", "-c", &script(&mark, "sleep 1000")]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "started\n", "{level} {who:?}");
    assert!(marked(&mark) >= 1, "{level} {who:?}");
    kill_process(Pid::from_child(&child), signal).unwrap();
    assert_eq!(child.wait().unwrap().code(), status, "{level} {who:?}");
    until("nothing is left", || marked(&mark) == 0 && folders_with(&mark) == 0);
}
