#!/bin/sh
# Builds resolverd and lets it do its job once, on the sample federation, in a temporary directory:
# sync, verify, merge, serve, and answer a question over the socket. Ends by itself; exit status 0 means that all of it worked.
# Needs a Rust toolchain, a C compiler and nothing else; touches no network besides what cargo needs to build.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
cargo build --locked --manifest-path "$root/Cargo.toml" --package resolverd --bin resolverd
resolverd="${CARGO_TARGET_DIR:-$root/target}/debug/resolverd"

dir=$(mktemp -d)
daemon=
cleanup() {
    if [ -n "$daemon" ]; then kill "$daemon" 2>/dev/null || true; fi
    rm -rf "$dir"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# Everything below reads these three instead of the files in your home directory.
export RESOLVERD_SOURCES="$root/sources.example.json"
export RESOLVERD_STATE_DIR="$dir/state"
export RESOLVERD_SOCKET="$dir/run/resolverd.sock"

step() { printf '\n$ %s\n' "$*"; }

step 'resolverd serve &'
"$resolverd" serve 2>"$dir/log" &
daemon=$!
tries=0
until [ -S "$RESOLVERD_SOCKET" ]; do
    tries=$((tries + 1))
    if [ "$tries" -gt 200 ] || ! kill -0 "$daemon" 2>/dev/null; then
        echo 'the daemon did not come up:' >&2
        cat "$dir/log" >&2
        exit 1
    fi
    sleep 0.1
done

step 'resolverd sync'
"$resolverd" sync
step 'resolverd sources'
"$resolverd" sources
# What a kernel implements itself, nobody has to publish.
step 'resolverd resolve lcod://tooling/text/slug --native lcod://contract/'
"$resolverd" resolve lcod://tooling/text/slug --native lcod://contract/
step 'resolverd resolve "lcod://acme/billing/invoice@^0.1" --native lcod://contract/ -o json'
"$resolverd" resolve 'lcod://acme/billing/invoice@^0.1' --native lcod://contract/ -o json

kill -TERM "$daemon"
wait "$daemon"
daemon=
printf '\nThe daemon synced, verified, merged, served and stopped. Nothing of it is left behind.\n'
