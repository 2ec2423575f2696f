//! What is deployed: the template, the image and the units pass what checks them; the costs of the document are those that are
//! computed.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::tree::{File, files, none, root};

/// A program that `scripts/test` fetches, where it could.
fn fetched(name: &str) -> Result<PathBuf, String> {
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |it| root().join(it));
    let program = target.join(name).join("bin").join(name);
    match program.exists() {
        true => Ok(program),
        false => Err(format!("{name} is not in {}: scripts/test fetches it", target.display())),
    }
}

/// What a checker complains of, if it does.
fn complaint(command: &mut Command) -> Option<String> {
    let output = command.current_dir(root()).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (!output.status.success()).then(|| String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn the_template_passes_its_linter() {
    let linter = match fetched("cfn-lint") {
        Ok(linter) => linter,
        Err(why) => return println!("skipped: deploy::the_template_passes_its_linter: {why}"),
    };
    let check =
        |path: &Path| complaint(Command::new(&linter).args(["--include-checks", "I", "--"]).arg(path));
    none(&Vec::from_iter(check(Path::new("deploy/aws/template.yaml"))), "deploy/aws/template.yaml");
    // and the linter does look
    let broken = root().join("deploy/aws/template.yaml");
    let broken = std::fs::read_to_string(broken).unwrap().replace("VisibilityTimeout", "VisibleTimeout");
    let folder = std::env::temp_dir().join(format!("coroner-template-{}.yaml", std::process::id()));
    std::fs::write(&folder, broken).unwrap();
    let said = check(&folder);
    std::fs::remove_file(&folder).unwrap();
    assert!(said.as_ref().is_some_and(|said| said.contains("VisibleTimeout")), "{said:?}");
}

#[test]
fn the_image_passes_its_linter() {
    let linter = match fetched("hadolint") {
        Ok(linter) => linter,
        Err(why) => return println!("skipped: deploy::the_image_passes_its_linter: {why}"),
    };
    none(
        &Vec::from_iter(complaint(Command::new(linter).arg("deploy/Containerfile"))),
        "deploy/Containerfile",
    );
}

#[test]
fn units_are_what_systemd_understands() {
    let units: Vec<File> = files()
        .into_iter()
        .filter(|file| file.path.starts_with("deploy/") && file.extension() == "service")
        .collect();
    assert!(units.len() >= 2, "deploy/*.service");
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        println!("skipped: deploy::units_are_what_systemd_understands: systemd-analyze is not here");
        return;
    }
    let folder = std::env::temp_dir().join(format!("coroner-units-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let mut wrong = Vec::new();
    for unit in units {
        // coroner is not installed where this is tested
        let text = unit.text.replace("/usr/local/bin/coroner", "/bin/true");
        std::fs::write(folder.join(unit.name()), text).unwrap();
        let mut verify = Command::new("systemd-analyze");
        let output = verify.arg("verify").arg(folder.join(unit.name())).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if !output.status.success() || said.contains(unit.name()) {
            wrong.push(format!("{}: {said}", unit.path));
        }
    }
    std::fs::remove_dir_all(&folder).unwrap();
    none(&wrong, "Mend the units.");
}

#[test]
fn costs_are_those_that_are_computed() {
    for (path, sizes) in [("docs/deploy.md", &[][..]), ("docs/scale.md", &["1000000000"])] {
        let output =
            Command::new("python3").arg(root().join("deploy/costs.py")).args(sizes).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let computed = String::from_utf8(output.stdout).unwrap();
        let document = files().into_iter().find(|file| file.path == path).unwrap().text;
        let told =
            document.split("<!-- costs -->\n").nth(1).and_then(|rest| rest.split("<!-- /costs -->").next());
        assert_eq!(told, Some(&computed[..]), "{path} should say:\n{computed}");
    }
    for word in ["abc", "-5", "0", "\u{b2}"] {
        let output = Command::new("python3").arg(root().join("deploy/costs.py")).arg(word).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(1) && output.stdout.is_empty(), "{said}");
        assert!(said.starts_with(&format!("costs.py: `{word}` is no number of failures; usage: ")), "{said}");
    }
}
