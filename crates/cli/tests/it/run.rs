//! `coroner run` with real children: what passes through, what comes back, what is left.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::rig::{Home, lives, started, text, until, with_input};

fn run(home: &Home, options: &[&str], command: &[&str]) -> std::process::Output {
    home.output(&[&["run"], options, &["--"], command].concat())
}

fn python(home: &Home, program: &str) -> std::process::Output {
    run(home, &[], &["python3", "-c", program])
}

#[test]
pub(crate) fn the_commands_status_is_ours() {
    let home = Home::new();
    let sh = |script: &str| run(&home, &[], &["sh", "-c", script]).status.code();
    for code in [0, 1, 3, 42, 124, 255] {
        assert_eq!(sh(&format!("exit {code}")), Some(code));
    }
    for (signal, number) in [("TERM", 15), ("SEGV", 11), ("ABRT", 6), ("KILL", 9), ("INT", 2), ("HUP", 1)] {
        assert_eq!(sh(&format!("kill -{signal} $$")), Some(128 + number), "{signal}");
    }
}

#[test]
fn what_can_not_start_gets_a_shells_status() {
    let home = Home::new();
    let plain = home.file("plain", "text");
    for (command, code) in
        [("no-such-command", 127), ("./no-such-file", 127), (plain.as_str(), 126), ("/tmp", 126)]
    {
        assert_eq!(run(&home, &[], &[command]).status.code(), Some(code), "{command}");
    }
    let script = home.file("script", "echo \"I am $1\"\nexit 5\n");
    Command::new("chmod").args(["+x", &script]).status().unwrap();
    let output = run(&home, &[], &[&script, "a script"]);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(5), "I am a script\n".to_owned()));
}

#[test]
fn bytes_pass_untouched_to_where_they_belong() {
    let home = Home::new();
    let all: Vec<u8> = (0..=255).cycle().take(70_000).collect();
    let file = home.path().join("bytes");
    std::fs::write(&file, &all).unwrap();
    let file = file.to_str().unwrap();
    let output = run(&home, &[], &["sh", "-c", &format!("cat '{file}'; head -c 1000 '{file}' >&2")]);
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stdout == all, "{} of {} bytes", output.stdout.len(), all.len());
    assert!(output.stderr == all[..1000], "{:?}", text(&output.stderr));
}

#[test]
fn a_hundred_megabytes_pass() {
    let home = Home::new();
    let output = run(&home, &[], &["sh", "-c", "head -c 100000000 /dev/zero; printf end >&2; exit 7"]);
    assert_eq!(output.status.code(), Some(7));
    assert_eq!(output.stdout.len(), 100_000_000);
    assert!(text(&output.stderr).starts_with("end"));
}

#[test]
fn input_is_the_commands_own() {
    let home = Home::new();
    let input: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    let output = with_input(home.coroner(&["run", "--", "cat"]), &input);
    assert!(output.stdout == input);
    let output =
        python(&home, "import sys; print(sys.stdin.read() == '', sys.stdin.isatty(), sys.stdout.isatty())");
    assert_eq!(text(&output.stdout), "True False False\n");
}

#[test]
fn two_streams_to_one_place_keep_their_order() {
    let home = Home::new();
    let (mut read, write) = std::io::pipe().unwrap();
    let program = "import os\nfor i in range(20000): os.write(1 + i % 2, b'%d\\n' % i)";
    let mut command = home.coroner(&["run", "--", "python3", "-c", program]);
    command.stdout(write.try_clone().unwrap()).stderr(write);
    let mut child = command.spawn().unwrap();
    drop(command);
    let mut got = String::new();
    read.read_to_string(&mut got).unwrap();
    assert!(child.wait().unwrap().success());
    let expected: String = (0..20000).map(|i| format!("{i}\n")).collect();
    assert!(got == expected, "out of order");
}

#[test]
fn a_prompt_without_a_line_end_arrives_before_the_answer() {
    let home = Home::new();
    let program = "import sys\nsys.stdout.write('name? ')\nsys.stdout.flush()\nprint('hello', sys.stdin.readline().strip())";
    let mut child = started(home.coroner(&["run", "--", "python3", "-c", program]));
    let mut prompt = [0; 6];
    child.stdout.as_mut().unwrap().read_exact(&mut prompt).unwrap();
    assert_eq!(&prompt, b"name? ");
    child.stdin.take().unwrap().write_all(b"Ada\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(text(&output.stdout), "hello Ada\n");
}

#[test]
fn a_reader_that_goes_ends_the_command_as_ever() {
    let home = Home::new();
    let mut child = started(home.coroner(&["run", "--", "sh", "-c", "yes; echo $? > status"]));
    let mut line = [0; 2];
    child.stdout.take().unwrap().read_exact(&mut line).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(std::fs::read_to_string(home.path().join("status")).unwrap(), "141\n");
    // the command itself, and nothing said about it: nobody wanted the rest
    let mut child = started(home.coroner(&["run", "--", "yes"]));
    child.stdout.take().unwrap().read_exact(&mut line).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(141), String::new()));
}

#[test]
fn time_is_up_for_everything_that_was_started() {
    // each has the time that it needs to come so far where there is much to do; all wait at once
    std::thread::scope(|scope| {
        scope.spawn(who_ignores_it_is_killed_with_all_its_own);
        scope.spawn(who_obeys_has_his_last_word);
    });
}

fn who_ignores_it_is_killed_with_all_its_own() {
    let home = Home::new();
    // ignores SIGTERM, as does a grandchild in a session of its own
    let script = "trap '' TERM; setsid sh -c 'trap \"\" TERM; echo $$ > far; while :; do sleep 1; done' & \
                  echo $$ > near; while :; do sleep 1; done";
    let mut command = home.coroner(&["run", "--timeout", "5", "--", "sh", "-c", script]);
    command.env("CORONER_RUN_GRACE", "300ms");
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(124));
    for file in ["near", "far"] {
        let pid = std::fs::read_to_string(home.path().join(file)).unwrap();
        assert!(!lives(pid.trim()), "{file} lives on");
    }
}

fn who_obeys_has_his_last_word() {
    let home = Home::new();
    // and is still one that ran out of time
    let obeys = "import signal, sys, time\nsignal.signal(15, lambda *_: (print('saved'), sys.exit(0)))\nprint('up', flush=True)\ntime.sleep(600)";
    let output = run(&home, &["--timeout", "5"], &["python3", "-c", obeys]);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(124), "up\nsaved\n".to_owned()));
}

#[test]
fn memory_is_limited_for_all_together() {
    let home = Home::new();
    let alone = "x = bytearray(400 << 20)\nimport time; time.sleep(600)";
    let output = run(&home, &["--memory", "200M"], &["python3", "-c", alone]);
    assert_eq!(output.status.code(), Some(137));
    let together = "import os, time\nfor i in range(3):\n  if os.fork() == 0: x = bytearray(100 << 20); time.sleep(600)\ntime.sleep(600)";
    let output = run(&home, &["--memory", "250M"], &["python3", "-c", together]);
    assert_eq!(output.status.code(), Some(137));
    // what is shared counts once: ten processes with the same 100 MiB
    let shared = "import os, time\nx = bytearray(b'x') * (100 << 20)\npids = []\nfor i in range(10):\n  pid = os.fork()\n  if pid == 0: time.sleep(1); os._exit(0)\n  pids.append(pid)\nfor p in pids: os.waitpid(p, 0)\nprint('all')";
    let output = run(&home, &["--memory", "400M"], &["python3", "-c", shared]);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), "all\n".to_owned()));
}

#[test]
fn what_is_left_running_does_not_hold_us() {
    let home = Home::new();
    let output = run(&home, &[], &["sh", "-c", "sleep 1000 & echo $!; exit 4"]);
    assert_eq!(output.status.code(), Some(4));
    let pid = text(&output.stdout).trim().to_owned();
    assert!(lives(&pid), "it is not ours to end");
    _ = kill_process(Pid::from_raw(pid.parse().unwrap()).unwrap(), Signal::KILL);
    // even one that never stops talking
    let output = run(&home, &[], &["sh", "-c", "yes & exit 5"]);
    assert_eq!(output.status.code(), Some(5));
}

/// Counts signals; says so when it has one, and at the end.
const COUNTS: &str = "
import signal, sys
got = {}
def take(number, frame):
    got[number] = got.get(number, 0) + 1
    print('got', number, got[number], flush=True)
    if number == signal.SIGTERM: sys.exit(9)
for s in (1, 2, 3, 10, 12, 15): signal.signal(s, take)
print('ready', flush=True)
while True: signal.pause()
";

#[test]
fn signals_are_passed_on_once() {
    let home = Home::new();
    let mut child = started(home.coroner(&["run", "--", "python3", "-c", COUNTS]));
    let pid = Pid::from_child(&child);
    let mut said = String::new();
    let mut wait_for = |line: &str| {
        let mut byte = [0];
        while !said.ends_with(line) {
            assert_eq!(child.stdout.as_mut().unwrap().read(&mut byte).unwrap(), 1, "{said} and no {line}");
            said.push(byte[0] as char);
        }
    };
    wait_for("ready\n");
    for (signal, number) in [
        (Signal::USR1, 10),
        (Signal::USR2, 12),
        (Signal::HUP, 1),
        (Signal::INT, 2),
        (Signal::QUIT, 3),
        (Signal::TERM, 15),
    ] {
        kill_process(pid, signal).unwrap();
        wait_for(&format!("got {number} 1\n"));
    }
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(9));
    assert_eq!(said.matches("got").count(), 6, "{said}");
}

#[test]
fn a_signal_reaches_the_whole_group() {
    let home = Home::new();
    let mut child = started(home.coroner(&["run", "--", "sh", "-c", "sh -c 'echo $$; sleep 1000; :'; :"]));
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.as_mut().unwrap()), &mut line)
        .unwrap();
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(143));
    until("the inner shell is gone", || !lives(line.trim()));
}

#[test]
fn what_we_were_told_to_ignore_the_command_ignores() {
    let home = Home::new();
    let script = format!(
        "trap '' HUP INT; exec '{}' run -- python3 -c 'import signal; print(signal.getsignal(1), signal.getsignal(2), signal.getsignal(15))'",
        env!("CARGO_BIN_EXE_coroner")
    );
    let mut command = Command::new("setsid");
    command.args(["sh", "-c", &script]);
    home.dress(&mut command);
    let output = command.output().unwrap();
    assert_eq!(text(&output.stdout), "1 1 0\n", "{}", text(&output.stderr));
}

#[test]
fn stopped_and_continued_together() {
    let home = Home::new();
    let mut child = started(home.coroner(&["run", "--", "sh", "-c", "echo $$; read x; echo went on"]));
    let mut pid = String::new();
    let mut byte = [0];
    while !pid.ends_with('\n') {
        child.stdout.as_mut().unwrap().read_exact(&mut byte).unwrap();
        pid.push(byte[0] as char);
    }
    let state = |pid: &str| {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap();
        stat.rsplit_once(") ").unwrap().1.chars().next().unwrap()
    };
    let ours = child.id().to_string();
    kill_process(Pid::from_child(&child), Signal::TSTP).unwrap();
    until("both are stopped", || state(&ours) == 'T' && state(&pid) == 'T');
    kill_process(Pid::from_child(&child), Signal::CONT).unwrap();
    until("both go on", || state(&ours) != 'T' && state(&pid) != 'T');
    child.stdin.take().unwrap().write_all(b"\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(text(&output.stdout), "went on\n");
}

#[test]
fn wrong_use_starts_nothing() {
    let home = Home::new();
    for words in [
        &["run"][..],
        &["run", "--timeout", "soon", "--", "touch", "started"],
        &["run", "--nonsense", "touch", "started"],
    ] {
        let output = home.output(words);
        assert_eq!(output.status.code(), Some(2), "{words:?}");
    }
    home.file(".config/coroner/config.toml", "[run]\ntimout = \"3s\"\n");
    let output = run(&home, &[], &["touch", "started"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output.stderr).contains("config.toml:2: unknown key `run.timout`; did you mean `run.timeout`?")
    );
    assert!(!home.path().join("started").exists());
}

#[test]
fn a_closed_standard_error_is_no_reason_to_fail() {
    let home = Home::new();
    let mut command = home.coroner(&["run", "--", "sh", "-c", "echo out; exit 6"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop(child.stderr.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(6), "out\n".to_owned()));
}
