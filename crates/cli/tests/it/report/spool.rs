//! The spool: many at once, kills, damage, and a disk that is small.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use super::{Host, SCRIPT, asked, desk, desk_at, ids, json};
use crate::rig::{HeldPort, Home, text, until};

/// The entries of a host's spool, the oldest first.
fn entries(host: &Host) -> Vec<PathBuf> {
    let spool = host.home.path().join(".local/share/coroner/spool");
    let mut all: Vec<PathBuf> =
        std::fs::read_dir(spool).into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
    all.retain(|path| path.join("run.json").exists());
    all.sort();
    all
}

/// So many failures that wait for a desk that is down.
fn spooled(count: usize) -> (Home, HeldPort, Host) {
    let (home, place) = (Home::new(), HeldPort::new());
    let host = Host::reporting_to_place(&place);
    for number in 0..count {
        host.run(&["--id", &format!("w{number:03}")], SCRIPT);
    }
    assert_eq!(entries(&host).len(), count);
    (home, place, host)
}

#[test]
fn many_who_deliver_at_once_deliver_each_once() {
    let (home, place, host) = spooled(24);
    let desk = desk_at(&home, &place);
    let start = || host.coroner(&["report", "deliver"]).stdout(Stdio::piped()).spawn().unwrap();
    let all: Vec<_> = (0..4).map(|_| start()).collect();
    let mut delivered = 0;
    for process in all {
        let output = process.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        delivered += text(&output.stdout).split(' ').next().unwrap().parse::<usize>().unwrap();
    }
    assert_eq!((delivered, entries(&host).len()), (24, 0));
    let all = ids(&desk);
    assert_eq!(all.len(), 24);
    assert!(all.iter().all(|id| id.len() == 4), "no second attempts: {all:?}");
}

#[test]
fn whoever_is_killed_while_delivering_each_arrives_once() {
    let (home, place, host) = spooled(12);
    let desk = desk_at(&home, &place);
    let mut pause = 0;
    while !entries(&host).is_empty() {
        let mut process = host.coroner(&["report", "deliver"]).stdout(Stdio::null()).spawn().unwrap();
        // a little later each time: at whatever it is, and however long that takes here
        std::thread::sleep(Duration::from_millis(10 + pause % 60 + pause / 60 * 20));
        pause += 3;
        _ = process.kill();
        process.wait().unwrap();
        assert!(pause < 6000, "{:?}", host.waiting());
    }
    let all = ids(&desk);
    assert_eq!(all.len(), 12);
    assert!(all.iter().all(|id| id.len() == 4), "no second attempts: {all:?}");
    assert_eq!(json(&desk, "/admin/experiments?status=failed")["total_count"], 12);
}

#[test]
fn a_hundred_runs_at_once_are_a_hundred_at_the_desk() {
    let home = Home::new();
    let desk = desk(&home);
    let host = Host::reporting_to(desk.url()).with("CORONER_REPORT_WAIT", "60s");
    let start = |number: usize| {
        let script = format!("echo run {number}; exit {}", number % 2);
        host.coroner(&["run", "--quiet", "--type", "many", "--", "sh", "-c", &script])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    };
    let all: Vec<_> = (0..100).map(start).collect();
    for (number, mut process) in all.into_iter().enumerate() {
        assert_eq!(process.wait().unwrap().code(), Some(number as i32 % 2));
    }
    until("what could not be taken at once is delivered", || {
        host.waiting().is_empty() || host.deliver(&[]).0.is_none()
    });
    assert_eq!(ids(&desk).len(), 100);
    for status in ["passed", "failed"] {
        assert_eq!(
            json(&desk, &format!("/admin/experiments?status={status}"))["total_count"],
            50,
            "{status}"
        );
    }
}

#[test]
fn a_run_whose_watcher_was_killed_arrives_as_lost_with_what_it_printed() {
    let (home, place, host) = spooled(0);
    let mut watcher =
        host.coroner(&["run", "--id", "gone", "--", "sh", "-c", "echo begun; echo $$ >pid; sleep 600"]);
    let mut watcher = watcher.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let pid = host.home.path().join("pid");
    until("it has begun", || pid.exists());
    let busy = host.waiting();
    assert!(busy.len() == 1 && busy[0]["busy"] == true && busy[0]["ended_at"].is_null(), "{busy:?}");
    let desk = desk_at(&home, &place);
    assert_eq!(host.deliver(&[]).1, "0 reports delivered\n", "it still runs");
    // what was printed is on disk a moment later
    until("its log is on disk", || {
        std::fs::metadata(entries(&host)[0].join("log.zst")).is_ok_and(|it| it.len() > 0)
    });
    // `setsid` has become the watcher
    _ = watcher.kill();
    watcher.wait().unwrap();
    std::process::Command::new("kill")
        .args(["-9", std::fs::read_to_string(&pid).unwrap().trim()])
        .status()
        .unwrap();
    until("it is delivered", || host.deliver(&[]).0 == Some(0) && host.waiting().is_empty());
    assert_eq!(ids(&desk), ["gone"]);
    let gone = json(&desk, "/api/v1/experiments/gone");
    assert_eq!(gone["status"], "lost", "{gone}");
    assert_eq!(asked(&desk, "/api/v1/experiments/gone/log"), "begun\n");
    let diagnosis = json(&desk, "/api/v1/experiments/gone/diagnosis");
    assert_eq!(
        (diagnosis["origin"].as_str(), diagnosis["retryable"].as_bool()),
        (Some("infrastructure"), Some(true)),
        "{diagnosis}"
    );
}

#[test]
fn what_is_damaged_on_disk_is_mended_or_kept_aside() {
    let (home, place, host) = spooled(5);
    let all = entries(&host);
    let cut = |path: PathBuf, by: u64| {
        let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        let length = file.metadata().unwrap().len();
        file.set_len(length.saturating_sub(by)).unwrap();
    };
    // the others don't wait behind one that can't be read
    std::fs::remove_file(all[0].join("log.zst")).unwrap();
    std::fs::create_dir(all[0].join("log.zst")).unwrap();
    cut(all[1].join("log.zst"), 5);
    cut(all[2].join("end.json"), 7);
    cut(all[3].join("run.json"), u64::MAX);
    // somebody was killed between writing and renaming
    std::fs::rename(all[4].join("end.json"), all[4].join("end.new")).unwrap();
    let desk = desk_at(&home, &place);
    let (status, said) = host.deliver(&[]);
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("2 reports delivered"), "{said}");
    assert!(said.contains("end.json can't be read") && said.contains("run.json can't be read"), "{said}");
    assert!(said.contains("w000: its log can't be read"), "{said}");
    assert_eq!(ids(&desk), ["w001", "w004"]);
    let first = json(&desk, "/api/v1/experiments/w001");
    assert!(first["status"] == "failed" && first["reason"].as_str().unwrap().contains("log ends"), "{first}");
    assert_eq!(json(&desk, "/api/v1/experiments/w004")["status"], "lost");
    let aside = host.waiting();
    assert!(aside.len() == 3 && aside.iter().all(|it| it["aside"].is_string()), "{aside:?}");
    assert_eq!(host.coroner(&["report", "list"]).output().unwrap().status.code(), Some(1));
}

#[test]
fn a_spool_that_is_full_keeps_what_is_older_and_says_what_it_gives_up() {
    let (home, place, _) = spooled(0);
    let host = Host::reporting_to_place(&place).with("CORONER_REPORT_SPOOL_LIMIT", "9K");
    let noise = "head -c 3000 /dev/urandom | od -An -tx1; exit 1";
    let said: Vec<String> =
        (0..12).map(|n| text(&host.run(&["--id", &format!("f{n:02}")], noise).stderr)).collect();
    assert!(said[0].contains("reported later") && !said[0].contains("is full"), "{}", said[0]);
    assert!(
        said.iter().any(|said| said.contains("the log of this run is not kept, only how it ended")),
        "{said:?}"
    );
    assert!(
        said[11].contains("nothing of this run is kept") && said[11].contains("coroner report deliver"),
        "{}",
        said[11]
    );
    let used: u64 = host.waiting().iter().map(|it| it["bytes"].as_u64().unwrap()).sum();
    assert!(used <= 9 << 10, "{used}");
    let desk = desk_at(&home, &place);
    assert_eq!(host.deliver(&[]).0, Some(0));
    let all = ids(&desk);
    assert!(all.len() >= 2 && all[0] == "f00" && all.len() < 12, "{all:?}");
    let log = |id: &str| json(&desk, &format!("/api/v1/experiments/{id}"))["log"].clone();
    assert!(log(&all[0]).is_object() && log(all.last().unwrap()) == Value::Null);
}

#[test]
fn without_a_spool_the_run_goes_on_and_says_so() {
    let host = Host::reporting_to("http://127.0.0.1:9").with("CORONER_REPORT_SPOOL", "/proc/nowhere/spool");
    let output = host.run(&[], SCRIPT);
    let stderr = text(&output.stderr);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(3), "step 1\n".to_owned()));
    assert!(stderr.contains("not reported") && stderr.contains("set report_spool"), "{stderr}");
    assert!(stderr.lines().last().is_some_and(|line| !line.starts_with("coroner:")), "{stderr}");
}
