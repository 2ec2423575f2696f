//! Whatever tries to get out stays in.

use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use super::{ALL, Confined, Who, was_refused};
use crate::rig::text;

const ATTACKS: &str = include_str!("attacks.py");

/// What level D says that it does not protect: files that the user may read or write, and his processes' environment.
const FILES: [&str; 15] = [
    "truncate outside",
    "read outside",
    "list outside",
    "write outside",
    "write here",
    "append here",
    "rename here",
    "remove here",
    "mkdir here",
    "hard link from outside",
    "symbolic link to outside",
    "environment of others",
    "open files of parent",
    "memory of parent",
    "list root's home",
];

#[test]
fn nothing_gets_out() {
    std::thread::scope(|scope| {
        let tests = ALL.map(|(level, who)| scope.spawn(move || attacked(level, who)));
        tests.into_iter().for_each(|test| test.join().unwrap());
    });
}

fn attacked(level: &'static str, who: Who) {
    let Some(confined) = Confined::new("attacks", level, who) else { return };
    let outside = tempfile::tempdir().unwrap();
    // open to everybody, so that nothing but the sandbox stands before it
    std::fs::set_permissions(outside.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    std::fs::write(outside.path().join("secret"), "secret").unwrap();
    std::fs::set_permissions(outside.path().join("secret"), std::fs::Permissions::from_mode(0o666)).unwrap();
    confined.file("attacks.py", ATTACKS);
    confined.file("file", "text");
    let here = confined.here.as_path();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = tcp.local_addr().unwrap().port().to_string();
    let name = format!("coroner-attack-{}-{level}-{who:?}", std::process::id());
    let _abstract = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let _here = UnixListener::bind(here.join("socket")).unwrap();
    std::fs::set_permissions(here.join("socket"), std::fs::Permissions::from_mode(0o777)).unwrap();

    let words = [
        "python3",
        "-I",
        "attacks.py",
        outside.path().to_str().unwrap(),
        &port,
        &name,
        here.to_str().unwrap(),
        std::env::consts::ARCH,
    ];
    let (output, diagnosis) = confined.diagnosed(&[], &words);
    let said = text(&output.stdout);
    assert_eq!(
        output.status.code(),
        Some(1),
        "{level} {who:?}: it was ended: {said} {}",
        text(&output.stderr)
    );
    let allowed: &[&str] = if level == "D" { &FILES } else { &[] };
    let worked: Vec<&str> = said
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#') && !allowed.contains(line))
        .collect();
    assert!(worked.is_empty(), "{level} {who:?}: this worked: {worked:?}\n{said}");
    if level != "D" {
        assert_eq!(std::fs::read_to_string(outside.path().join("secret")).unwrap(), "secret");
        assert_eq!(std::fs::read_to_string(here.join("file")).unwrap(), "text");
        assert!(!outside.path().join("written").exists() && !here.join("written").exists());
    }

    let sandbox = &diagnosis["sandbox"];
    assert_eq!(sandbox["level"], level);
    assert!(sandbox["layers"]["seccomp"].as_str().unwrap().contains("listed"), "{sandbox}");
    let unprotected = sandbox["unprotected"].to_string();
    match level {
        "A" | "B" => assert_eq!(unprotected, "null"),
        "C" => assert!(unprotected.contains("can be seen, though not what is in it"), "{unprotected}"),
        _ => {
            assert!(
                unprotected.contains("Every file that its user can read or write is open"),
                "{unprotected}"
            );
            assert!(text(&output.stderr).contains("sandbox of level D: Every file"), "it is said before too");
        }
    }
    for (call, detail) in [
        ("socket", "AF_INET"),
        ("socket", "AF_NETLINK"),
        ("socket", "AF_VSOCK"),
        ("connect", "socket"),
        ("ptrace", "process"),
        ("unshare", "user namespace"),
        ("mount", "/work"),
        ("keyctl", ""),
        ("bpf", ""),
    ] {
        assert!(
            was_refused(&diagnosis, call, detail),
            "{call} {detail} is not reported: {}",
            sandbox["denied"]
        );
    }
}

#[test]
fn a_refused_network_is_the_diagnosis() {
    let Some(confined) = Confined::new("network", "B", Who::Us) else { return };
    let program = "import urllib.request\nurllib.request.urlopen('http://127.0.0.1:9/data.csv')";
    let (output, diagnosis) = confined.diagnosed(&[], &["python3", "-I", "-c", program]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(diagnosis["verdict"]["rule"], "sandbox.network", "{diagnosis}");
    assert_eq!(
        (&diagnosis["failure_category"], &diagnosis["origin"]),
        (&"resource_error".into(), &"policy".into())
    );
    let card = text(&output.stderr);
    assert!(card.contains("Sandbox level B; refused: socket AF_INET"), "{card}");
}

#[test]
fn what_it_may_do_it_can_do() {
    std::thread::scope(|scope| {
        let tests = ALL.map(|(level, who)| scope.spawn(move || worked(level, who)));
        tests.into_iter().for_each(|test| test.join().unwrap());
    });
}

fn worked(level: &'static str, who: Who) {
    let Some(confined) = Confined::new("work", level, who) else { return };
    let program = "
import hashlib, json, math, multiprocessing, os, random, socket, sqlite3, subprocess, sys, tempfile, threading, time, zlib
home = os.environ['HOME']
assert os.environ['TMPDIR'] == home and os.path.isdir(home) and sorted(os.environ) == ['HOME', 'LANG', 'PATH', 'TMPDIR'], os.environ
assert open('file').read() == 'text' and os.getcwd() == sys.argv[1], os.getcwd()
with tempfile.TemporaryDirectory() as folder:
    open(folder + '/a', 'w').write('x'); os.rename(folder + '/a', folder + '/b'); os.mkfifo(folder + '/fifo')
threads = [threading.Thread(target=time.sleep, args=(0.01,)) for _ in range(8)]
[t.start() for t in threads]; [t.join() for t in threads]
assert subprocess.run(['sh', '-c', 'echo from a shell | tr a-z A-Z'], capture_output=True, text=True).stdout == 'FROM A SHELL\\n'
a, b = socket.socketpair(); a.send(b'x'); assert b.recv(1) == b'x'
sqlite3.connect(home + '/db').execute('create table t (x)')
hashlib.sha256(b'x').hexdigest(); os.urandom(8); time.localtime()
os.setuid(os.getuid()); os.setreuid(-1, os.getuid()); os.setresgid(os.getgid(), -1, os.getegid())
pid = os.fork()
if pid == 0: time.sleep(100)
os.kill(pid, 15); assert os.waitpid(pid, 0)[1] == 15
print(sys.stdin.read(), 'done')
";
    confined.file("file", "text");
    let here = confined.here.to_str().unwrap().to_owned();
    let output = crate::rig::with_input(confined.command(&[], &["python3", "-c", program, &here]), b"given");
    assert_eq!(text(&output.stdout), "given done\n", "{level} {who:?}: {}", text(&output.stderr));
    assert_eq!(output.status.code(), Some(0));
}
