//! `coroner import`: the original's table, as its generations filled it, into a store of each kind; once, and once more.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::dynamodb::{KEYS, coroner};
use crate::rig::{Home, text};

/// The emulator, asked as anybody may.
struct Aws(String);

impl Aws {
    fn ask(&self, operation: &str, body: &Value) -> Value {
        let (host, body) = (self.0.strip_prefix("http://").unwrap(), body.to_string());
        let mut stream = TcpStream::connect(host).unwrap();
        let scope = "AWS4-HMAC-SHA256 Credential=test/20261129/eu-central-1/dynamodb/aws4_request, SignedHeaders=host, Signature=0";
        let head = format!(
            "POST / HTTP/1.1\r\nhost: {host}\r\nauthorization: {scope}\r\nx-amz-target: DynamoDB_20120810.{operation}\r\n\
             content-type: application/x-amz-json-1.0\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{operation}: {answer}");
        serde_json::from_str(body).unwrap_or_default()
    }

    fn table(&self, name: &str, hash: &str, range: &str) {
        self.ask(
            "CreateTable",
            &json!({
                "TableName": name, "BillingMode": "PAY_PER_REQUEST",
                "AttributeDefinitions": [
                    {"AttributeName": hash, "AttributeType": "S"}, {"AttributeName": range, "AttributeType": "N"}],
                "KeySchema": [
                    {"AttributeName": hash, "KeyType": "HASH"}, {"AttributeName": range, "KeyType": "RANGE"}],
            }),
        );
    }

    fn put(&self, table: &str, id: &str, timestamp: &str, more: Value) {
        let mut item = json!({"experiment_id": {"S": id}, "timestamp": {"N": timestamp}});
        item.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.ask("PutItem", &json!({"TableName": table, "Item": item}));
    }
}

/// `experiments` as `scripts/real_experiment.py` wrote it, JSON in text.
fn evolved(evolution: &Value) -> Value {
    let elements = json!([
        {"experiment_type": "real_procedural_generation", "status": "completed", "real_metrics": {"bitrate_mbps": 15.038184}},
        {"experiment_type": "llm_generated_code_evolution", "status": "completed", "evolution": evolution,
         "code_info": {"code": "import torchvision\nKEY = 'sk-ant-api03-0123456789abcdefABCDEF'\n", "function_name": "compress_video_frame"}},
    ]);
    json!({"status": {"S": "completed"}, "s3_key": {"S": "x"}, "experiments": {"S": elements.to_string()}})
}

fn fill(aws: &Aws, table: &str) {
    aws.table(table, "experiment_id", "timestamp");
    let analysis = json!({"failure_category": "validation_error", "root_cause": "Forbidden import from: torchvision",
        "fix_suggestion": "Use only allowed libraries: numpy, cv2, torch", "severity": "high"});
    let failed = json!({"status": "test_failed", "adopted": false, "failure_analysis": analysis,
        "reason": "Code testing failed or produced invalid results"});
    aws.put(table, "real_exp_1760667123", "1760667123", evolved(&failed));
    let adopted = json!({"status": "adopted", "adopted": true, "summary": "Smaller blocks", "metrics": {"bitrate_mbps": 8.25}});
    aws.put(table, "real_exp_1760667200", "1760667200", evolved(&adopted));
    let rejected =
        json!({"status": "rejected", "reason": "Performance not better than current implementation"});
    aws.put(table, "real_exp_1760667300", "1760667300", evolved(&rejected));
    // an experiment whose time was taken anew: two items
    aws.put(
        table,
        "proc_exp_1760700000",
        "1760700000",
        json!({"status": {"S": "running"}, "current_phase": {"S": "validation"}}),
    );
    let reasons = json!({"L": [{"M": {"phase": {"S": "execution"}, "reason": {"S": "10 attempts failed"},
        "last_error": {"S": "NameError: name 'bytearray' is not defined"}}}, {"S": "stuck"}]});
    aws.put(
        table,
        "proc_exp_1760700000",
        "1760700400.5",
        json!({"status": {"S": "failed"}, "needs_human": {"BOOL": true}, "human_intervention_reasons": reasons,
            "elapsed_seconds": {"N": "12.5"}}),
    );
    // Decimals, as boto3 writes floats; and enough of them that the table comes in several pages
    let filler = "x".repeat(300_000);
    for n in 0..5 {
        let metrics = json!({"M": {"psnr_db": {"N": "31.25"}, "bitrate_mbps": {"N": format!("{n}.5")}, "ssim": {"N": "9E-1"}}});
        let item = json!({"status": {"S": "success"}, "iteration": {"N": "3"}, "metrics": metrics, "llm_reasoning": {"S": filler}});
        aws.put(table, &format!("exp_iter{n}_a"), &format!("176080000{n}"), item);
    }
    aws.put(table, "gpu_exp_1", "1760900000", json!({"status": {"S": "completed"}, "gpu_error": {"S": "CUDA out of memory. Tried to allocate 2.00 GiB"}}));
    // what can't be read
    aws.put(
        table,
        "real_exp_broken",
        "1760667400",
        json!({"status": {"S": "completed"}, "experiments": {"S": "[{\"status\": "}}),
    );
    aws.put(
        table,
        "real_exp_typed",
        "1760667401",
        json!({"status": {"S": "completed"}, "experiments": {"N": "7"}}),
    );
    aws.put(table, "real_exp_bare", "1760667402", json!({}));
    aws.put(table, "real_exp_odd", "1760667403", json!({"status": {"S": "exploded"}}));
    aws.put(table, " spaces ", "1760667404", json!({"status": {"S": "completed"}}));
}

#[test]
fn the_originals_table_is_taken_over_once() {
    let Some(endpoint) = std::env::var("CORONER_TEST_DYNAMODB").ok().filter(|it| !it.is_empty()) else {
        println!(
            "skipped: import::the_originals_table_is_taken_over_once: CORONER_TEST_DYNAMODB is not set: scripts/test starts an emulator"
        );
        return;
    };
    let home = Home::new();
    let aws = Aws(endpoint.clone());
    let named = |what: &str| {
        format!(
            "{what}-{}-{}",
            std::process::id(),
            home.path().file_name().unwrap().to_str().unwrap().replace('.', "")
        )
    };
    let table = named("ai-video-codec-experiments");
    fill(&aws, &table);
    let variables =
        [KEYS[0], KEYS[1], ("AWS_REGION", "eu-central-1"), ("AWS_ENDPOINT_URL", endpoint.as_str())];
    let from = format!("dynamodb:{table}");
    let stores =
        [format!("sqlite:{}", home.path().join("lab.db").display()), format!("dynamodb:{}", named("lab"))];
    for store in &stores {
        let run = |words: &[&str]| {
            let output = coroner(&home, &variables, &[&["--store", store], words].concat()).output().unwrap();
            (output.status.code(), text(&output.stdout), text(&output.stderr))
        };
        let as_json = |words: &[&str]| {
            let (status, stdout, stderr) = run(&[words, &["--format", "json"]].concat());
            (
                status,
                serde_json::from_str::<Value>(&stdout).unwrap_or_else(|e| panic!("{e}: {stdout}{stderr}")),
                stderr,
            )
        };
        assert_eq!(run(&["store", "init"]).0, Some(0));
        let (status, told, stderr) = as_json(&["import", &from]);
        assert_eq!(status, Some(1), "{stderr}");
        assert_eq!(
            (&told["items"], &told["imported"], &told["failed"], &told["known"]),
            (&16.into(), &11.into(), &4.into(), &0.into()),
            "{told} {stderr}"
        );
        let broken = told["broken"].as_array().unwrap();
        assert_eq!(broken.len(), 5, "{told}");
        for (id, why) in [
            ("real_exp_broken", "`experiments` is no JSON"),
            ("real_exp_typed", "`experiments` is a number"),
            ("real_exp_bare", "no `status`"),
            ("real_exp_odd", "`exploded`"),
            (" spaces ", "begins or ends with a space"),
        ] {
            let it = broken.iter().find(|it| it["id"] == id).unwrap();
            assert!(it["error"].as_str().unwrap().contains(why), "{it}");
            assert!(stderr.contains(&format!("item {} ({id}): ", it["item"])), "{stderr}");
        }

        let listed = |status: &str| {
            let (_, page, _) = as_json(&["list", "--status", status]);
            let ids = page["experiments"]
                .as_array()
                .unwrap()
                .iter()
                .map(|it| it["id"].as_str().unwrap().to_owned());
            ids.collect::<Vec<_>>()
        };
        assert_eq!(listed("test_failed"), ["real_exp_1760667123"]);
        assert_eq!(listed("adopted"), ["real_exp_1760667200"]);
        assert_eq!(listed("rejected"), ["real_exp_1760667300"]);
        assert_eq!(listed("lost"), ["proc_exp_1760700000"]);
        assert_eq!(listed("failed"), ["gpu_exp_1", "proc_exp_1760700000~2"]);
        assert_eq!(listed("passed").len(), 5);

        let (_, it, _) = as_json(&["show", "real_exp_1760667123"]);
        assert_eq!(
            (&it["timestamp"], &it["experiment_type"]),
            (&1_760_667_123.into(), &"llm_generated_code_evolution".into())
        );
        assert_eq!(it["diagnosis"]["failure_category"], "validation_error", "{it}");
        assert_eq!(it["diagnosis"]["provenance"]["source"], "rule");
        assert!(
            it["reason"]
                .as_str()
                .unwrap()
                .contains("the original's analysis: validation_error, high: Forbidden"),
            "{it}"
        );
        let candidate = &it["candidate"];
        assert_eq!(candidate["metrics"], json!({"bitrate_mbps": 15.038184}), "{it}");
        assert_eq!(candidate["result"]["original"]["failure_analysis"]["severity"], "high", "{it}");
        let code = run(&["show", "real_exp_1760667123", "--code"]).1;
        assert!(code.starts_with("import torchvision\nKEY = ") && !code.contains("sk-ant"), "{code}");
        let (_, it, _) = as_json(&["show", "exp_iter3_a"]);
        assert_eq!(
            it["candidate"]["metrics"],
            json!({"psnr_db": 31.25, "bitrate_mbps": 3.5, "ssim": 0.9}),
            "{it}"
        );
        let (_, it, _) = as_json(&["show", "proc_exp_1760700000~2"]);
        assert!(it["diagnosis"]["root_cause"].as_str().unwrap().contains("bytearray"), "{it}");
        assert_eq!(as_json(&["show", "gpu_exp_1"]).1["diagnosis"]["failure_category"], "resource_error");

        let (status, told, _) = as_json(&["import", &from]);
        assert_eq!((status, &told["imported"], &told["known"]), (Some(1), &0.into(), &11.into()), "{told}");
        assert_eq!(as_json(&["list"]).1["total_count"], 11);
    }

    // what could not be read, and what had no end, is taken over once it can be
    let ended = json!({"status": {"S": "failed"}, "error": {"S": "MemoryError"}});
    aws.put(&table, "proc_exp_1760700000", "1760700000", ended.clone());
    aws.put(&table, "real_exp_broken", "1760667400", ended);
    for store in &stores {
        let run = |words: &[&str]| {
            coroner(&home, &variables, &[&["--store", store], words].concat()).output().unwrap()
        };
        let output = run(&["import", &from]);
        let said = text(&output.stdout);
        assert!(
            said.contains("2 imported, 2 of them failed; 10 there already"),
            "{said}{}",
            text(&output.stderr)
        );
        let page: Value = serde_json::from_slice(&run(&["list", "--format", "json"]).stdout).unwrap();
        assert_eq!(page["total_count"], 12);
        let it: Value =
            serde_json::from_slice(&run(&["show", "proc_exp_1760700000~1", "--format", "json"]).stdout)
                .unwrap();
        assert_eq!(
            (&it["status"], &it["diagnosis"]["failure_category"]),
            (&"failed".into(), &"resource_error".into()),
            "{it}"
        );
    }

    // what is no table of the original
    let other = named("another");
    aws.table(&other, "metric_id", "timestamp");
    for (from, status, why) in [
        (format!("dynamodb:{other}"), 3, "its keys are `metric_id` and `timestamp`"),
        (format!("dynamodb:{}", named("nowhere")), 3, "is not there, in this account and region"),
        (stores[0].clone(), 2, "is a store already"),
        ("s3:bucket".to_owned(), 2, "only sqlite: and dynamodb: are known"),
    ] {
        let output = coroner(&home, &variables, &["--store", &stores[0], "import", &from]).output().unwrap();
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{from}: {stderr}");
        assert!(stderr.contains(why), "{from}: {stderr}");
    }
}
