//! Large logs of a store in DynamoDB, in a bucket that all hosts read.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::rig::{Home, text};
use crate::serve::Serving;

/// Makes a bucket, as nothing of ours does.
fn make_bucket(endpoint: &str, name: &str) {
    let host = endpoint.strip_prefix("http://").unwrap().trim_end_matches('/');
    let body = "<CreateBucketConfiguration><LocationConstraint>eu-central-1</LocationConstraint></CreateBucketConfiguration>";
    let mut stream = TcpStream::connect(host).unwrap();
    let head = format!(
        "PUT /{name} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-length: {}\r\nauthorization: AWS4-HMAC-SHA256 \
         Credential=test/20261129/eu-central-1/s3/aws4_request, SignedHeaders=host, Signature=0\r\n\r\n",
        body.len()
    );
    stream.write_all((head + body).as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert!(text(&answer).starts_with("HTTP/1.1 200"), "{}", text(&answer));
}

#[test]
fn every_host_and_the_desk_read_what_one_has_written() {
    let Some(endpoint) = std::env::var("CORONER_TEST_DYNAMODB").ok().filter(|it| !it.is_empty()) else {
        println!(
            "skipped: large_logs::every_host_and_the_desk_read_what_one_has_written: CORONER_TEST_DYNAMODB is not set: scripts/test starts an emulator"
        );
        return;
    };
    let (here, there) = (Home::new(), Home::new());
    let name = here.path().file_name().unwrap().to_str().unwrap().replace('.', "").to_lowercase();
    let name = format!("large-{}-{name}", std::process::id());
    make_bucket(&endpoint, &name);
    let (store, place) = (format!("dynamodb:{name}"), format!("s3://{name}/lab"));
    let variables = [
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_REGION", "eu-central-1"),
        ("AWS_ENDPOINT_URL", &endpoint),
        ("CORONER_STORE", &store),
    ];
    let run = |home: &Home, logs: &str, words: &[&str]| {
        let mut command = home.coroner(words);
        command.envs(variables).env("CORONER_LOGS", logs);
        let output = command.output().unwrap();
        (output.status.code(), output.stdout, text(&output.stderr))
    };
    assert_eq!(run(&here, "", &["store", "init"]).0, Some(0));

    let script = "head -c 150000 /dev/urandom | base64; echo MemoryError; exit 1";
    let (status, printed, stderr) = run(&here, &place, &["run", "--id", "large", "--", "sh", "-c", script]);
    assert!(status == Some(1) && stderr.contains("resource_error"), "{stderr}");
    let printed = text(&printed);
    assert!(printed.len() > 200_000);
    for home in [&here, &there] {
        let (status, log, stderr) = run(home, "", &["show", "large", "--log"]);
        assert_eq!(status, Some(0), "{stderr}");
        assert!(text(&log).contains(printed.trim_end()));
    }
    let desk = Serving::start_with(&there, &["--listen", "127.0.0.1:0"], &variables);
    let read = desk.ask("GET /api/v1/experiments/large/log", "range: bytes=0-999\r\n", "");
    assert!(read.starts_with("HTTP/1.1 206") && read.contains(&printed[..500]), "{read}");
    assert_eq!(desk.end(), 0);

    // what is wrong is told, and costs no experiment
    let (_, told, _) = run(&here, &place, &["doctor"]);
    assert!(text(&told).contains(&format!("large ones go to {place}")), "{}", text(&told));
    let (status, told, _) = run(&here, "s3://not-there/lab", &["doctor"]);
    let told = text(&told).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        status == Some(1) && told.contains("✖ logs large ones should go to s3://not-there/lab: "),
        "{told}"
    );
    assert!(told.contains("there is no such bucket") && !told.contains("✓ logs"), "{told}");
    let (status, _, stderr) =
        run(&here, "s3://not-there/lab", &["run", "--id", "local", "--", "sh", "-c", script]);
    assert!(status == Some(1) && stderr.contains("resource_error"), "{stderr}");
    let (_, shown, _) = run(&there, "", &["show", "local"]);
    let shown = text(&shown).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(shown.contains("resource_error") && shown.contains("there is no such bucket"), "{shown}");
    assert_eq!(run(&here, "", &["show", "local", "--log"]).0, Some(0));
    let (status, _, stderr) = run(&there, "", &["show", "local", "--log"]);
    assert!(status == Some(2) && stderr.contains("CORONER_LOGS=s3://BUCKET/PREFIX"), "{stderr}");
    let (status, _, stderr) = run(&here, "/var/logs", &["list"]);
    assert!(status == Some(2) && stderr.contains("environment variable CORONER_LOGS"), "{stderr}");
    let (status, _, stderr) = run(&here, &place, &["--store", "sqlite:lab.db", "store", "init"]);
    assert!(status == Some(0) && stderr.contains("is not used"), "{stderr}");
    // said once, and by the doctor; not by each command
    let (status, _, stderr) = run(&here, &place, &["--store", "sqlite:lab.db", "list"]);
    assert!(status == Some(0) && !stderr.contains("is not used"), "{stderr}");
    let (_, told, _) = run(&here, &place, &["--store", "sqlite:lab.db", "doctor"]);
    assert!(text(&told).contains("– logs") && text(&told).contains("is not used"), "{}", text(&told));
    // what can't be read of the configuration does not make another store of the one that is named
    let (status, told, _) = run(&here, "/var/logs", &["doctor"]);
    let told = text(&told).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(status == Some(1) && told.contains(&format!("✓ store {store}: ")), "{told}");
    assert!(!told.contains("0 B and"), "{told}");
}
