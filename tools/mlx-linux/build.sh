#!/usr/bin/env bash
# Builds bit-axon with its MLX backend on Linux, and runs its tests there. See README.md beside this file.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)

usage() {
    cat <<'EOF'
Usage: tools/mlx-linux/build.sh [--cuda] [COMMAND]

Commands:
  build            Build target/mlx-linux/release/bit-axon (the default)
  test [ARGS]      Run the tests that run models, on MLX; or what ARGS say to `cargo test`
  lint             Check all of the code that MLX adds, warnings being errors
  cargo ARGS       Run any cargo command in the same setting
  tests            Print the options that choose those tests, for cargo anywhere
  missing          Print the Debian packages that are still needed, and nothing if all are there
  fetch            Only fetch and patch what the build needs

--cuda takes MLX's library for NVIDIA cards (mlx-cuda-13) and builds in target/mlx-linux-cuda.
EOF
}

fail() { printf 'error: %s\n' "$*" >&2; exit 1; }
say() { printf '== %s\n' "$*" >&2; }

wheel_package=mlx-cpu
cuda=
work="$root/target/mlx-linux"
if [[ ${1:-} == --cuda ]]; then
    shift
    wheel_package=mlx-cuda-13
    cuda=1
    work="$root/target/mlx-linux-cuda"
fi
tree="$work/tree"
# The default features, with mlx-linux in place of mlx: cargo takes one name for a crate, not both.
features=(--no-default-features --features hub,nvml,mlx-linux)
# What computes in tests is MLX's library: optimising other code much would only take time.
quick=(--release --config profile.release.opt-level=1 --config profile.release.debug=0)
wheel="$work/wheel"
mlx_sys="$work/mlx-sys"

# GCC 12 and older have no std::format, which MLX's C interface uses.
needs_fmt() { ! printf '#include <format>\nauto s = std::format("{}", 1);\n' | c++ -std=c++20 -fsyntax-only -x c++ - 2>/dev/null; }
has_fmt() { printf '#define FMT_HEADER_ONLY\n#include <fmt/format.h>\n' | c++ -std=c++20 -fsyntax-only -x c++ - 2>/dev/null; }
has_libclang() {
    [[ -n ${LIBCLANG_PATH:-} ]] || ldconfig -p 2>/dev/null | grep -q 'libclang[-.0-9]*\.so' ||
        compgen -G '/usr/lib/llvm-*/lib/libclang*.so*' >/dev/null
}

# The tests that run a model, in the program or beside it.
tests() {
    local name
    for name in fixtures memory trace eval run run_interrupt bad_input bad_checkpoints making_models cli pico; do
        printf -- '--test %s ' "$name"
    done
}

missing() {
    # g++ itself too: by that name MLX calls it when it compiles while a program runs.
    command -v c++ >/dev/null && command -v g++ >/dev/null || echo g++
    command -v cmake >/dev/null || echo cmake
    command -v make >/dev/null || echo make
    command -v patch >/dev/null || echo patch
    command -v python3 >/dev/null || echo python3
    python3 -m pip --version >/dev/null 2>&1 || echo python3-pip
    has_libclang || echo libclang-dev
    if command -v c++ >/dev/null && needs_fmt && ! has_fmt; then echo libfmt-dev; fi
}

# The manifest with a lock file of its own: the patch below would rewrite the repository's.
make_tree() {
    mkdir -p "$tree"
    local name
    for name in src tests benches assets themes sessions docs tools README.md CHANGELOG.md ARCHITECTURE.md; do
        if [[ -e $root/$name ]]; then ln -sfn "../../../$name" "$tree/$name"; fi
    done
    cmp -s "$root/Cargo.toml" "$tree/Cargo.toml" || cp "$root/Cargo.toml" "$tree/Cargo.toml"
    # The lock file is begun anew only when the repository's has changed.
    if ! cmp -s "$root/Cargo.lock" "$work/Cargo.lock.from"; then
        cp "$root/Cargo.lock" "$tree/Cargo.lock"
        cp "$root/Cargo.lock" "$work/Cargo.lock.from"
    fi
}

# The source of mlx-sys as cargo downloads it, for the version in the repository's lock file.
mlx_sys_source() {
    cargo metadata --manifest-path "$root/Cargo.toml" --locked --format-version 1 \
        "${features[@]}" --filter-platform "$(uname -m)-unknown-linux-gnu" |
        python3 -c 'import json, os, sys
print(next(os.path.dirname(p["manifest_path"]) for p in json.load(sys.stdin)["packages"] if p["name"] == "mlx-sys"))'
}

patch_mlx_sys() {
    local source stamp
    source=$(mlx_sys_source) || fail "cargo could not fetch mlx-sys: is crates.io within reach?"
    stamp="$source $(cat "$here"/patches/*.patch | cksum)"
    if [[ $(cat "$mlx_sys.stamp" 2>/dev/null) != "$stamp" ]]; then
        say "patching $(basename "$source")"
        rm -rf "$mlx_sys"
        cp -r "$source" "$mlx_sys"
        chmod -R u+w "$mlx_sys"
        local file
        for file in "$here"/patches/*.patch; do
            patch --quiet --strip 1 --directory "$mlx_sys" <"$file" ||
                fail "$(basename "$file") does not fit $(basename "$source"): bring the patches up to that version"
        done
        echo "$stamp" >"$mlx_sys.stamp"
    fi
}

# MLX's own library, of the version that mlx-sys was written for.
fetch_wheel() {
    local version
    version=$(sed -n 's/^ *GIT_TAG v\([0-9.]*\)).*/\1/p' "$mlx_sys/src/mlx-c/CMakeLists.txt")
    [[ -n $version ]] || fail "mlx-sys does not say which version of MLX it wants"
    grep -q "VERSION: .*\"$version\"" "$root/src/backend/mlx/mod.rs" ||
        fail "mlx-sys wants MLX $version: say so in VERSION of src/backend/mlx/mod.rs"
    local stamp
    stamp="$wheel_package $version $(cksum <"$here/MLXConfig.cmake")"
    if [[ $(cat "$wheel.stamp" 2>/dev/null) == "$stamp" ]]; then return; fi
    say "fetching $wheel_package $version"
    rm -rf "$wheel" "$work/download"
    local platforms=() only=(--no-deps) i
    # CUDA's libraries are wheels too, and MLX's looks for them beside itself.
    if [[ -n $cuda ]]; then only=(); fi
    for i in 5 12 17 24 27 28 31 34 35; do platforms+=(--platform "manylinux_2_${i}_$(uname -m)"); done
    for i in 1 2010 2014; do platforms+=(--platform "manylinux${i}_$(uname -m)"); done
    python3 -m pip download --quiet --disable-pip-version-check "${only[@]}" --only-binary=:all: "${platforms[@]}" \
        --dest "$work/download" "$wheel_package==$version" ||
        fail "pip could not fetch $wheel_package $version: is a package index within reach?"
    local file
    for file in "$work"/download/*.whl; do
        python3 -m zipfile -e "$file" "$wheel"
        rm "$file"
    done
    rmdir "$work/download"
    [[ -e $wheel/mlx/lib/libmlx.so ]] || fail "$wheel_package $version holds no mlx/lib/libmlx.so"
    cp "$here/MLXConfig.cmake" "$wheel/mlx/share/cmake/MLX/"
    echo "$stamp" >"$wheel.stamp"
}

fetch() {
    local packages
    packages=$(missing | tr '\n' ' ')
    [[ -z $packages ]] || fail "these packages are needed: $packages(apt-get install $packages)"
    mkdir -p "$work"
    make_tree
    patch_mlx_sys
    fetch_wheel
}

# In a shell of its own: flags that grew from call to call would have cargo build everything anew.
run_cargo() (
    export MLX_ROOT="$wheel/mlx" CARGO_TARGET_DIR="$work"
    # The program finds the library beside it, wherever the folder is; so do tests, one folder deeper.
    export RUSTFLAGS="${RUSTFLAGS:-} -C link-arg=-Wl,-rpath,\$ORIGIN/../wheel/mlx/lib:\$ORIGIN/../../wheel/mlx/lib"
    # The driver's own library need not be where this is built, only where it runs.
    if [[ -n $cuda ]]; then RUSTFLAGS+=" -C link-arg=-Wl,--allow-shlib-undefined"; fi
    if needs_fmt; then export CXXFLAGS="${CXXFLAGS:-} -include $here/format_shim.h"; fi
    cd "$tree"
    local command=$1
    shift
    cargo "$command" --config "patch.crates-io.mlx-sys.path='$mlx_sys'" "${features[@]}" "$@"
)

command=${1:-build}
shift || true
case $command in
build)
    fetch
    run_cargo build --release "$@"
    say "built $work/release/bit-axon"
    ;;
test)
    fetch
    export BIT_AXON_BACKEND=mlx
    if (($#)); then
        run_cargo test "${quick[@]}" "$@"
    else
        read -ra chosen <<<"$(tests)"
        # All in one build first, so that the processors share what the runs below need.
        run_cargo test "${quick[@]}" --no-run --lib "${chosen[@]}" --test training
        run_cargo test "${quick[@]}" --lib backend::mlx
        run_cargo test "${quick[@]}" "${chosen[@]}"
        # Of training what trains adapters: MLX trains nothing else.
        run_cargo test "${quick[@]}" --test training -- after:: backends:: heat:: pipeline:: stopped:: bad_input::
    fi
    ;;
lint)
    fetch
    run_cargo clippy "${quick[@]}" --all-targets -- -D warnings
    ;;
cargo)
    fetch
    run_cargo "$@"
    ;;
tests) tests ;;
missing) missing ;;
fetch) fetch ;;
-h | --help | help) usage ;;
*)
    usage >&2
    exit 2
    ;;
esac
