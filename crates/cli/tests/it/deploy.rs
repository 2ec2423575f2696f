//! The commands of docs/deploy.md and docs/dynamodb.md, with stand-ins for what would change a machine or an account.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use crate::rig::{Home, text};

/// Takes the part of every program of the document: says what it was asked, and refuses what can't be right.
const STAND_IN: &str = r#"#!/bin/bash
set -euo pipefail
name=$(basename "$0")
printf '%s %s\n' "$name" "$*" >>"$ASKED"
refuse() { printf '%s: %s: %s\n' "$name" "$1" "$2" >&2; exit 1; }
for word in "$@"; do
    case $word in deploy/* | crates/*) [[ -e $word ]] || refuse "no such file" "$word" ;; esac
done
case $name in
sudo)
    if [[ $1 == -u ]]; then shift 2; fi
    case $1 in coroner) exec "$@" ;; install | useradd | systemctl | sqlite3) ;; *) refuse "what is this" "$1" ;; esac
    ;;
coroner)
    # with its words as they stand, up to a command of others, and without doing it
    words=()
    for word in "$@"; do
        if [[ $word == -- ]]; then break; fi
        words+=("$word")
    done
    "$CORONER" "${words[@]}" --help >/dev/null
    ;;
aws)
    overriding=""
    for word in "$@"; do
        case $word in
        --parameter-overrides) overriding=yes ;;
        *=*) if [[ $overriding ]]; then
            grep -qE "^  ${word%%=*}:\$" deploy/aws/template.yaml || refuse "no such parameter" "$word"
        fi ;;
        esac
    done
    ;;
esac
"#;

#[test]
fn the_commands_of_the_documents_are_right() {
    let home = Home::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let programs = home.path().join("bin");
    let stand_in = home.file("bin/stand-in", STAND_IN);
    std::fs::set_permissions(&stand_in, std::fs::Permissions::from_mode(0o755)).unwrap();
    for name in ["sudo", "coroner", "cargo", "podman", "aws", "zip"] {
        symlink(&stand_in, programs.join(name)).unwrap();
    }
    let run = |script: &str| {
        let mut bash = Command::new("bash");
        bash.args(["-c", &format!("set -euo pipefail\n{script}")]);
        home.dress(&mut bash);
        bash.current_dir(root).env("CORONER", env!("CARGO_BIN_EXE_coroner"));
        bash.env("ASKED", home.path().join("asked"));
        let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
        bash.env("PATH", path).output().unwrap()
    };
    let documents =
        [include_str!("../../../../docs/deploy.md"), include_str!("../../../../docs/dynamodb.md")].join("");
    let blocks: Vec<&str> =
        documents.split("```sh\n").skip(1).map(|part| part.split("```").next().unwrap()).collect();
    assert!(blocks.len() >= 8);
    for block in blocks {
        let output = run(block);
        assert!(output.status.success(), "{block}\n{}", text(&output.stderr));
    }
    let asked = std::fs::read_to_string(home.path().join("asked")).unwrap();
    for wanted in
        ["sudo systemctl enable", "podman build", "aws cloudformation deploy", "coroner run -- python"]
    {
        assert!(asked.contains(wanted), "{wanted}: {asked}");
    }
    // and the stand-ins do look
    for wrong in [
        "sudo install deploy/nothing.service /etc",
        "aws cloudformation deploy --parameter-overrides Nothing=1",
        "sudo -u coroner coroner user invent ada",
    ] {
        assert!(!run(wrong).status.success(), "{wrong}");
    }
}
