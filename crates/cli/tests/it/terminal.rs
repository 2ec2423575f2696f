//! `coroner run` at a terminal: what the command sees of it, and what the keys do.

use std::process::Command;

use serde_json::{Value, json};

use crate::rig::{Home, text};

/// Plays the steps at a terminal on which `coroner run -- COMMAND` was typed. See terminal.py.
fn at_terminal(home: &Home, steps: &Value, command: &[&str]) -> Value {
    let coroner = [&[env!("CARGO_BIN_EXE_coroner"), "run", "--"], command].concat();
    typed(home, steps, &coroner)
}

fn typed(home: &Home, steps: &Value, command: &[&str]) -> Value {
    let driver = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/terminal.py");
    let mut python = Command::new("python3");
    python.arg(driver).arg(steps.to_string()).args(command);
    home.dress(&mut python);
    python.env("TERM", "xterm-256color");
    let output = python.output().unwrap();
    let stdout = text(&output.stdout);
    serde_json::from_str(&stdout).unwrap_or_else(|_| panic!("{stdout}{}", text(&output.stderr)))
}

#[test]
fn the_command_sees_the_terminal_that_is_there() {
    let home = Home::new();
    let program = "import os, sys\nprint([os.isatty(i) for i in range(3)], os.get_terminal_size())\nopen('/dev/tty').close()";
    let seen = at_terminal(
        &home,
        &json!([["size", [33, 111]]]),
        &["sh", "-c", &format!("sleep 0.2; python3 -c \"{program}\"")],
    );
    let shown = seen["shown"].as_str().unwrap();
    assert_eq!(shown, "[True, True, True] os.terminal_size(columns=111, lines=33)\r\n");
    assert_eq!(seen["code"], 0);
}

#[test]
fn only_what_goes_to_the_terminal_is_one() {
    let home = Home::new();
    let coroner = env!("CARGO_BIN_EXE_coroner");
    let program = "import os; print([os.isatty(i) for i in range(3)]); os.write(2, b'err')";
    for (redirected, expected) in [
        ("2> err", "[True, True, False]\r\n"),
        ("< /dev/null", "[False, True, True]\r\nerr"),
        ("2> err < /dev/null", "[False, True, False]\r\n"),
    ] {
        let script = format!("'{coroner}' run -- python3 -c \"{program}\" {redirected}");
        let seen = typed(&home, &json!([]), &["sh", "-c", &script]);
        assert_eq!(seen["shown"], expected, "{redirected}");
    }
    let script = format!("'{coroner}' run -- python3 -c \"{program}\" > out; cat out");
    let seen = typed(&home, &json!([]), &["sh", "-c", &script]);
    assert_eq!(seen["shown"], "err[True, False, True]\r\n");
    assert_eq!(std::fs::read_to_string(home.path().join("err")).unwrap(), "err");
}

#[test]
fn keys_reach_the_command() {
    let home = Home::new();
    let steps = json!([["expect", "name? "], ["type", "Ada\n"], ["expect", "hello Ada"]]);
    let seen = at_terminal(&home, &steps, &["python3", "-c", "print('hello', input('name? '))"]);
    assert_eq!(seen["shown"], "name? Ada\r\nhello Ada\r\n");
    // a password is asked for on /dev/tty, and not shown
    let steps = json!([["expect", "Password: "], ["type", "secret\n"]]);
    let seen =
        at_terminal(&home, &steps, &["python3", "-c", "import getpass; print(len(getpass.getpass()))"]);
    assert_eq!(seen["shown"], "Password: \r\n6\r\n");
}

/// Says how often it was interrupted.
const INTERRUPTED: &str = "
import signal, time
count = 0
def take(*_):
    global count
    count += 1
signal.signal(signal.SIGINT, take)
print('ready', flush=True)
while not count: time.sleep(0.01)
time.sleep(0.3)
print('interrupted', count, flush=True)
raise SystemExit(3)
";

#[test]
fn interrupt_reaches_the_command_once_and_we_outlive_it() {
    let home = Home::new();
    let steps = json!([["expect", "ready"], ["type", "\u{3}"], ["expect", "interrupted"]]);
    let seen = at_terminal(&home, &steps, &["python3", "-c", INTERRUPTED]);
    assert!(seen["shown"].as_str().unwrap().contains("interrupted 1\r\n"), "{seen}");
    assert_eq!(seen["code"], 3);
    // one that dies of it: the shell must see that too, or a loop around it would go on
    let dies = "import signal, sys, time; signal.signal(2, signal.SIG_DFL); print(sys.argv[1], flush=True); time.sleep(600)";
    let steps = json!([["expect", "ready"], ["type", "\u{3}"]]);
    let seen = at_terminal(&home, &steps, &["python3", "-c", dies, "ready"]);
    assert_eq!(seen["signal"], 2, "{seen}");
    let coroner = env!("CARGO_BIN_EXE_coroner");
    let script = format!("for i in 1 2 3; do '{coroner}' run -- python3 -c '{dies}' \"round $i\"; done");
    let steps = json!([["expect", "round 1"], ["type", "\u{3}"]]);
    let seen = typed(&home, &steps, &["bash", "-c", &script]);
    assert!(!seen["shown"].as_str().unwrap().contains("round 2"), "{seen}");
}

#[test]
fn a_signal_to_us_alone_reaches_the_command_once() {
    let home = Home::new();
    let steps = json!([["expect", "ready"], ["signal", "SIGINT"], ["expect", "interrupted"]]);
    let seen = at_terminal(&home, &steps, &["python3", "-c", INTERRUPTED]);
    assert!(seen["shown"].as_str().unwrap().contains("interrupted 1\r\n"), "{seen}");
}

#[test]
fn a_command_that_signals_its_whole_group_does_not_take_us_along() {
    let home = Home::new();
    let program =
        "import os, signal\nsignal.signal(15, lambda *_: print('mine', flush=True))\nos.kill(0, 15)";
    let seen = at_terminal(&home, &json!([]), &["python3", "-c", program]);
    assert_eq!((&seen["shown"], &seen["code"]), (&json!("mine\r\n"), &json!(0)));
}

#[test]
fn suspended_and_resumed_like_any_command() {
    let home = Home::new();
    let coroner = env!("CARGO_BIN_EXE_coroner");
    let job = |command: &str| {
        let script = format!(
            "set -m; '{coroner}' run -- sh -c '{command}'; echo back in the shell; fg; echo status $?"
        );
        ["bash".to_owned(), "-c".to_owned(), script]
    };
    let steps = json!([
        ["expect", "ready"],
        ["type", "\u{1a}"],
        ["expect", "back in the shell"],
        ["type", "go\n"],
        ["expect", "go went on"],
        ["expect", "status 3"]
    ]);
    let words = job("echo ready; read x; echo $x went on; exit 3");
    let seen = typed(&home, &steps, &words.each_ref().map(String::as_str));
    assert_eq!(seen["code"], 0, "{seen}");
    // one that stops itself
    let steps = json!([["expect", "back in the shell"], ["expect", "went on"], ["expect", "status 3"]]);
    let words = job("kill -STOP $$; echo went on; exit 3");
    let seen = typed(&home, &steps, &words.each_ref().map(String::as_str));
    assert_eq!(seen["code"], 0, "{seen}");
}

#[test]
fn a_new_size_is_there_when_the_command_hears_of_it() {
    let home = Home::new();
    let program = "
import os, signal
sizes = []
signal.signal(signal.SIGWINCH, lambda *_: sizes.append(os.get_terminal_size(1).columns))
print('ready', flush=True)
while 77 not in sizes: signal.pause()
print('wide', flush=True)
";
    let steps = json!([["size", [24, 80]], ["expect", "ready"], ["size", [24, 77]], ["expect", "wide"]]);
    let seen = at_terminal(&home, &steps, &["python3", "-c", program]);
    assert_eq!(seen["code"], 0, "{seen}");
}

#[test]
fn modes_set_through_the_output_reach_the_terminal_and_are_undone() {
    let home = Home::new();
    // what curses does: modes of standard output, keys from standard input
    let program = "
import sys, termios, tty
tty.setraw(1)
print('raw', end='', flush=True)
key = sys.stdin.buffer.raw.read(1)
print(key == b'q', end='\\n', flush=True)
";
    let steps = json!([["expect", "raw"], ["modes", "raw"], ["type", "q"], ["expect", "True"]]);
    let seen = at_terminal(&home, &steps, &["python3", "-c", program]);
    assert_eq!(seen["shown"], "rawTrue\n", "no echo, no return before the line end");
    assert_eq!((&seen["raw"], &seen["code"]), (&json!(false), &json!(0)), "{seen}");
}

#[test]
fn lines_and_progress_bars_come_out_as_without_us() {
    let home = Home::new();
    let program = "import time\nfor i in range(3):\n  print(f'\\r{i}%', end='', flush=True); time.sleep(0.01)\nprint('\\rdone\\r\\nx\\n\\ny\\r', end='', flush=True)";
    let ours = at_terminal(&home, &json!([]), &["python3", "-c", program]);
    let plain = typed(&home, &json!([]), &["python3", "-c", program]);
    assert_eq!(ours["shown"], plain["shown"]);
}

#[test]
fn a_pager_beside_us_keeps_the_terminal() {
    let home = Home::new();
    // who comes after us in the pipe reads keys from the terminal while we run
    let coroner = env!("CARGO_BIN_EXE_coroner");
    let pager = "import sys\nprint('first:', sys.stdin.readline().strip(), flush=True)\nprint('key:', open('/dev/tty').readline().strip())";
    let script = format!(
        "'{coroner}' run -- sh -c 'echo line; sleep 0.5' | python3 -c \"{}\"",
        pager.replace('"', "\\\"")
    );
    let steps = json!([["expect", "first: line"], ["type", "k\n"], ["expect", "key: k"]]);
    let seen = typed(&home, &steps, &["sh", "-c", &script]);
    assert_eq!(seen["code"], 0, "{seen}");
}

#[test]
fn a_terminal_that_goes_away_takes_the_command_along() {
    let home = Home::new();
    let coroner = env!("CARGO_BIN_EXE_coroner");
    // the session's leader ends first: its terminal hangs up
    let script = format!(
        "'{coroner}' run -- sh -c 'echo $$ > pid; sleep 1000' & while ! test -s pid; do sleep 0.01; done; kill -HUP $!; wait"
    );
    typed(&home, &json!([]), &["sh", "-c", &script]);
    let pid = std::fs::read_to_string(home.path().join("pid")).unwrap();
    crate::rig::until("the command is gone", || !crate::rig::lives(pid.trim()));
}

#[test]
fn who_waits_is_told_what_for() {
    let rig = crate::attempt::Rig::toy(
        "import time\n\ndef evaluate(candidate, inputs):\n    time.sleep(1)\n    return {'score': candidate.f(3)}\n",
    );
    let home = &rig.home;
    let coroner = env!("CARGO_BIN_EXE_coroner");
    // what the rules say stands there while a model is asked, and is gone when it has answered
    home.file("script.jsonl", &json!({"text": "", "after_ms": 1500}).to_string());
    let command = "echo the frobnicator is out of tune; exit 3";
    let asks = ["env", "CORONER_MODEL_SCRIPT=script.jsonl", coroner, "run", "--", "sh", "-c", command];
    let seen = typed(home, &json!([["expect", "asking a model; by the rules: Execution failed"]]), &asks);
    assert_eq!(seen["code"], 3, "{seen}");
    let candidate = home.file("candidate.py", "def f(x):\n    return x\n");
    let tests =
        [coroner, "test", &candidate, "--task", "task/task.toml", "--versions", "versions", "--offline"];
    let seen = typed(home, &json!([["expect", "measuring"]]), &tests);
    assert_eq!(seen["code"], 0, "{seen}");
}
