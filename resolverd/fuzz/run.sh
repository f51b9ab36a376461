#!/bin/sh
# Runs every fuzzing target, or the ones that are named, for RESOLVERD_FUZZ_S seconds each (60). Opt-in: needs cargo-fuzz
# (`cargo install cargo-fuzz`) and a nightly toolchain; with RESOLVERD_FUZZ_STABLE=1 the one that is there is used, without the
# address sanitizer, which safe Rust can do without. Seeds are made anew from seeds/, the sample federation and this
# repository's own Git objects; what a run finds stays in corpus/ and artifacts/, which are not committed.
set -eu
cd "$(dirname "$0")"
root="$(cd ../.. && pwd)"
seconds="${RESOLVERD_FUZZ_S:-60}"
targets="${*:-$(sed -n 's/^name = "\(.*\)"$/\1/p' Cargo.toml | grep -v -e '^resolverd-fuzz$' -e '^targets$')}"

seed() {
    target="$1"
    mkdir -p "corpus/$target"
    if [ -f "seeds/$target.txt" ]; then
        number=0
        while IFS= read -r line; do
            number=$((number + 1))
            printf '%b' "$line" > "corpus/$target/seed-$number"
        done < "seeds/$target.txt"
        return
    fi
    case "$target" in
        git_pack)
            git -C "$root" rev-list --objects --max-count=1 HEAD | head -n 20 | cut -d' ' -f1 |
                git -C "$root" pack-objects -q --stdout > "corpus/$target/seed-1" ;;
        pack_index)
            pack="$(mktemp -d)"
            git -C "$root" rev-list --objects --max-count=1 HEAD | head -n 20 | cut -d' ' -f1 |
                git -C "$root" pack-objects -q "$pack/pack" > /dev/null
            index="$(find "$pack" -name '*.idx')"
            { printf '%08x' "$(wc -c < "$index")"; cat "$index" "${index%.idx}.pack"; } > "corpus/$target/seed-1"
            rm -r "$pack" ;;
        archives)
            tar --format=ustar -cf "corpus/$target/seed-1" -C "$root" sources.example.json
            tar --format=pax -cf "corpus/$target/seed-2" -C "$root" tests/federation
            tar --format=gnu -czf "corpus/$target/seed-3" -C "$root" tests/federation ;;
        git_loose)
            find "$(git -C "$root" rev-parse --git-common-dir)/objects" -type f -size -4k -path '*/??/*' 2>/dev/null |
                head -n 20 | while read -r file; do cp "$file" "corpus/$target/"; done ;;
        *)
            find "$root/tests/federation" "$root/sources.example.json" -type f | while read -r file; do
                cp "$file" "corpus/$target/$(printf '%s' "$file" | tail -c 60 | tr '/' '_')"
            done ;;
    esac
}

if [ "${RESOLVERD_FUZZ_STABLE:-}" = 1 ]; then
    export RUSTC_BOOTSTRAP=1
    set -- cargo fuzz run --sanitizer none
else
    set -- cargo +nightly fuzz run
fi
for target in $targets; do
    seed "$target"
    printf '== %s\n' "$target"
    "$@" --fuzz-dir . "$target" -- -max_total_time="$seconds" -max_len=65536 -timeout=10 -rss_limit_mb=2048
done
