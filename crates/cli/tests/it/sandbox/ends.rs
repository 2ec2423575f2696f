//! Each way to end is told from the others.

use super::{Confined, Who, was_refused};
use crate::rig::text;

/// Levels and users for which the inner side does the same: one of each kind is enough.
const SOME: [(&str, Who); 3] = [("A", Who::Us), ("B", Who::Us), ("C", Who::Nobody)];

/// What was run, with which settings, and what is to be said of it.
struct Case {
    name: &'static str,
    settings: &'static [(&'static str, &'static str)],
    options: &'static [&'static str],
    command: &'static [&'static str],
    status: i32,
    rule: &'static str,
    /// In the root cause.
    cause: &'static str,
}

const CASES: &[Case] = &[
    Case {
        name: "wall",
        settings: &[],
        options: &["--timeout", "1"],
        command: &["sh", "-c", "trap '' TERM; while :; do sleep 100; done"],
        status: 124,
        rule: "exit.timed-out",
        cause: "time limit of 1 s",
    },
    Case {
        name: "cpu",
        settings: &[("CPU", "1s")],
        options: &[],
        command: &["python3", "-c", "while True: pass"],
        status: 152,
        rule: "exit.cpu-limit",
        cause: "1 s of processor time",
    },
    Case {
        name: "cpu, ignoring SIGXCPU",
        settings: &[("CPU", "1s")],
        options: &[],
        command: &[
            "python3",
            "-c",
            "import signal; signal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass",
        ],
        status: 152,
        rule: "exit.cpu-limit",
        cause: "1 s of processor time",
    },
    Case {
        name: "memory of one",
        settings: &[],
        options: &["--memory", "200M"],
        command: &["python3", "-c", "x = bytearray(400 << 20)"],
        status: 1,
        rule: "python.memory-error",
        cause: "",
    },
    Case {
        name: "memory of several",
        settings: &[],
        options: &["--memory", "200M"],
        command: &[
            "python3",
            "-c",
            "import os, time\nfor i in range(3):\n  if os.fork() == 0: x = bytearray(b'x') * (100 << 20); time.sleep(60)\ntime.sleep(60)",
        ],
        status: 137,
        rule: "exit.memory-limit",
        cause: "200 MiB",
    },
    Case {
        name: "output",
        settings: &[("OUTPUT", "1M")],
        options: &[],
        command: &["sh", "-c", "yes"],
        status: 137,
        rule: "exit.output-limit",
        cause: "1 MiB",
    },
    Case {
        name: "a crash",
        settings: &[],
        options: &[],
        command: &["sh", "-c", "kill -SEGV $$"],
        status: 139,
        rule: "exit.crashed",
        cause: "SIGSEGV",
    },
    Case {
        name: "an abort",
        settings: &[],
        options: &[],
        command: &["python3", "-c", "import os; os.abort()"],
        status: 134,
        rule: "exit.crashed",
        cause: "SIGABRT",
    },
    Case {
        name: "no crash, but its status",
        settings: &[],
        options: &[],
        command: &["sh", "-c", "echo 'Error: x'; exit 139"],
        status: 139,
        rule: "",
        cause: "",
    },
    Case {
        name: "a kill of itself",
        settings: &[],
        options: &[],
        command: &["sh", "-c", "kill -KILL $$"],
        status: 137,
        rule: "exit.ended-itself",
        cause: "SIGKILL",
    },
    Case {
        name: "not found",
        settings: &[],
        options: &[],
        command: &["no-such-command"],
        status: 127,
        rule: "exit.not-found",
        cause: "no-such-command",
    },
    Case {
        name: "not executable",
        settings: &[],
        options: &[],
        command: &["./plain"],
        status: 126,
        rule: "exit.not-executable",
        cause: "./plain",
    },
    Case {
        name: "file size",
        settings: &[("FILE_SIZE", "1M")],
        options: &[],
        command: &[
            "python3",
            "-c",
            "import os; open(os.environ['HOME'] + '/big', 'wb').write(bytes(2 << 20))",
        ],
        status: 1,
        rule: "",
        cause: "File too large",
    },
    Case {
        name: "open files",
        settings: &[("OPEN_FILES", "32")],
        options: &[],
        command: &["python3", "-c", "x = [open('/dev/null') for _ in range(100)]"],
        status: 1,
        rule: "",
        cause: "",
    },
    Case {
        name: "processes",
        settings: &[("PROCESSES", "20")],
        options: &["--timeout", "20"],
        command: &[
            "python3",
            "-c",
            "import os, time\nfor i in range(60):\n  if os.fork() == 0: time.sleep(60)",
        ],
        status: 1,
        rule: "",
        cause: "",
    },
];

#[test]
fn each_end_has_its_cause() {
    std::thread::scope(|scope| {
        let tests = SOME.map(|(level, who)| scope.spawn(move || ends(level, who)));
        tests.into_iter().for_each(|test| test.join().unwrap());
    });
}

fn ends(level: &'static str, who: Who) {
    let Some(confined) = Confined::new("ends", level, who) else { return };
    confined.file("plain", "text");
    for case in CASES {
        let file = confined.here.join("diagnosis.json");
        let options = [case.options, &["--diagnosis", file.to_str().unwrap()]].concat();
        let mut command = confined.command(&options, case.command);
        for (name, value) in case.settings {
            command.env(format!("CORONER_SANDBOX_{name}"), value);
        }
        let output = command.output().unwrap();
        let said =
            format!("{level} {who:?} {}: {} {}", case.name, text(&output.stdout).len(), text(&output.stderr));
        assert_eq!(output.status.code(), Some(case.status), "{said}");
        let diagnosis: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&file).unwrap_or_else(|_| panic!("{said}"))).unwrap();
        let rule = diagnosis["verdict"]["rule"].as_str().unwrap();
        assert!(case.rule.is_empty() && !rule.starts_with("exit.") || rule == case.rule, "{rule}: {said}");
        assert!(diagnosis["root_cause"].as_str().unwrap().contains(case.cause), "{said}");
        assert_ne!(diagnosis["origin"], "harness", "{said}");
        std::fs::remove_file(&file).unwrap();
    }
}

#[test]
fn its_folder_has_a_size() {
    for who in [Who::Us, Who::Nobody] {
        let Some(confined) = Confined::new("work space", "B", who) else { continue };
        let program = "
import os
try:
    for i in range(100):
        open(os.environ['HOME'] + f'/{i}', 'wb').write(bytes(1 << 20))
except OSError as error:
    print(error.errno, i)
try:
    open('/dev/shm/x', 'wb').write(bytes(1 << 20))
except OSError as error:
    print(error.errno)
";
        let mut command = confined.command(&[], &["python3", "-c", program]);
        let output = command.env("CORONER_SANDBOX_WORK_SPACE", "8M").output().unwrap();
        let said = text(&output.stdout);
        assert!(["28 7\n28\n", "28 8\n28\n"].contains(&said.as_str()), "{said} {}", text(&output.stderr));
    }
}

#[test]
fn much_output_passes_in_order_and_too_much_is_said() {
    let Some(confined) = Confined::new("output", "B", Who::Us) else { return };
    let (mut read, write) = std::io::pipe().unwrap();
    let program = "import os\nfor i in range(20000): os.write(1 + i % 2, b'%d\\n' % i)";
    let mut command = confined.command(&[], &["python3", "-c", program]);
    command.stdout(write.try_clone().unwrap()).stderr(write);
    let mut child = command.spawn().unwrap();
    drop(command);
    let mut got = String::new();
    std::io::Read::read_to_string(&mut read, &mut got).unwrap();
    assert!(child.wait().unwrap().success());
    let expected: String = (0..20000).map(|i| format!("{i}\n")).collect();
    assert!(got == expected, "out of order");
    // and apart, where they go to two places
    let output = confined.run(&[], &["sh", "-c", "echo out; echo err >&2"]);
    assert_eq!((text(&output.stdout).as_str(), text(&output.stderr).as_str()), ("out\n", "err\n"));
}

#[test]
fn a_machine_without_what_is_needed_says_what_to_do() {
    let home = crate::rig::Home::new();
    let output = home.output(&["run", "--sandbox", "--level", "E", "--", "true"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("A, B, C or D"), "{}", text(&output.stderr));
    let output = home.output(&["run", "--level", "B", "--", "true"]);
    assert_eq!(output.status.code(), Some(2), "a level without a sandbox is a mistake");
    let mut command = home.coroner(&["run", "--sandbox", "--", "true"]);
    command.current_dir("/");
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("start from a folder of its own"), "{}", text(&output.stderr));
    let Some(confined) = Confined::new("show", "B", Who::Us) else { return };
    let output = confined.run(&["--show", "/no/such/data"], &["true"]);
    assert!(!output.status.success());
    assert!(text(&output.stderr).contains("/no/such/data can't be shown: it is not there"));
}

#[test]
fn a_level_that_is_not_there_runs_nothing() {
    // level A needs a control group; where there is one, there is nothing to see
    let home = crate::rig::Home::new();
    let output = home.output(&["run", "--sandbox", "--level", "A", "--", "sh", "-c", "echo ran"]);
    match output.status.code() {
        Some(0) => super::skipped("a level that is not there", "this machine has level A"),
        code => {
            assert_eq!((code, text(&output.stdout).as_str()), (Some(2), ""));
            let said = text(&output.stderr);
            assert!(said.contains("nothing was run: level A was asked for"), "{said}");
            assert!(said.contains("Delegate=yes"), "{said}");
        }
    }
}

#[test]
fn a_refused_process_is_reported() {
    // the limit is the user's, so it is the sandbox's report that tells of refused calls, not of this
    let Some(confined) = Confined::new("calls", "C", Who::Us) else { return };
    let program = "import os, sys\ntry: os.memfd_create('x')\nexcept OSError: pass\nsys.exit(3)";
    let (output, diagnosis) = confined.diagnosed(&[], &["python3", "-c", program]);
    assert_eq!(output.status.code(), Some(3));
    assert!(was_refused(&diagnosis, "memfd_create", "x"), "{diagnosis}");
}
