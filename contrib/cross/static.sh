#!/bin/sh
# static.sh TARGET [OPTION OF CARGO]: builds the static musl binary. `make static TARGET=...` calls this.
#
# With the component rust-src the standard library is built too, for size and without what would read debug information: 280 KB
# less; and the unwinder, where there is a C++ compiler: 50 KB less. Else, or with STD=prebuilt, rustup's are used. Where rustup
# has none (armv7, mipsel, riscv64), musl is built from Debian's source package (or from the directory in MUSL), so that nothing
# in the binary comes from a glibc. C and C++ are compiled by Debian's cross gcc (gcc-PREFIX, g++-PREFIX).
set -eu
target=$1
features=${2:-}
cargo=${CARGO:-cargo}
out=${CARGO_TARGET_DIR:-target}
flags=
case $target in
x86_64-unknown-linux-musl) prefix=x86_64-linux-gnu ;;
i686-unknown-linux-musl) prefix=i686-linux-gnu ;;
aarch64-unknown-linux-musl) prefix=aarch64-linux-gnu ;;
armv7-unknown-linux-musleabihf) prefix=arm-linux-gnueabihf flags="-march=armv7-a -mfpu=vfpv3-d16 -mfloat-abi=hard" ;;
# Most small MIPS routers have no FPU.
mipsel-unknown-linux-musl) prefix=mipsel-linux-gnu flags="-march=mips32r2 -msoft-float" ;;
riscv64gc-unknown-linux-musl) prefix=riscv64-linux-gnu flags="-march=rv64gc -mabi=lp64d" ;;
*)
    echo "static.sh: $target is not known here; known: x86_64, i686, aarch64 and riscv64gc-unknown-linux-musl," \
        "armv7-unknown-linux-musleabihf, mipsel-unknown-linux-musl" >&2
    exit 2
    ;;
esac

build() {
    # By lld, which comes with Rust: equal functions are folded, relative relocations packed (musl 1.2.4 unpacks them).
    # Tables of how to unwind are half as large with frame pointers, and none are needed where nothing panics. What is inlined
    # at opt-level "z" is not yet what makes it smallest. Panics name sources without where they lie on this machine.
    home=${CARGO_HOME:-$HOME/.cargo}
    options="-C link-arg=--icf=all -C link-arg=--pack-dyn-relocs=relr -C force-frame-pointers=yes -C force-unwind-tables=no \
-C llvm-args=-inline-threshold=8 --remap-path-prefix=$rust/="
    "$cargo" fetch --quiet --locked --target "$target"
    for registry in "$home"/registry/src/*/; do
        options="$options --remap-path-prefix=$registry="
    done
    if [ "$std" = source ]; then
        # -Z build-std is for nightly toolchains only, or for those that are told to take its flags all the same.
        export RUSTC_BOOTSTRAP=1
        set -- -Z build-std=std,panic_unwind -Z build-std-features=optimize_for_size
        # A panic while something is dropped would end the program. No drop of ours can panic, and it makes 40 KB less.
        ! rustc -Z panic-in-drop=abort --version >/dev/null 2>&1 || options="$options -Z panic-in-drop=abort"
    fi
    export "CARGO_TARGET_${upper}_LINKER=rust-lld" "CARGO_TARGET_${upper}_RUSTFLAGS=$options $link"
    "$cargo" build --release --locked --target "$target" ${features:+"$features"} "$@"
    # Of this machine's kind: does it start?
    [ "$gcc" != cc ] || "$out/$target/release/reachabilitycheck" --version >/dev/null
    ls -l "$out/$target/release/reachabilitycheck"
}

# unwinder DIRECTORY C++ AR OPTION...: makes libunwind.a there.
unwinder() (
    unwind=$rust/src/llvm-project/libunwind
    to=$1 cxx=$2 ar=$3
    shift 3
    set -- "$@" -Os -DNDEBUG -D_LIBUNWIND_IS_NATIVE_ONLY -U_FORTIFY_SOURCE -fPIC -fno-stack-protector -funwind-tables \
        -ffunction-sections -fdata-sections "-I$unwind/include" "-I$unwind/src"
    rm -rf "$to.objects"
    mkdir -p "$to" "$to.objects"
    for file in libunwind.cpp Unwind-EHABI.cpp; do
        "$cxx" "$@" -std=c++17 -nostdinc++ -fno-exceptions -fno-rtti -c "$unwind/src/$file" -o "$to.objects/$file.o"
    done
    for file in UnwindLevel1.c UnwindLevel1-gcc-ext.c UnwindRegistersRestore.S UnwindRegistersSave.S; do
        "$gcc" "$@" -fexceptions -c "$unwind/src/$file" -o "$to.objects/$file.o"
    done
    rm -f "$to/libunwind.a"
    "$ar" rcs "$to/libunwind.a" "$to.objects"/*.o
)

# Cargo passes over the flags of a target where there are flags for all.
unset RUSTFLAGS
[ -z "${MUSL:-}" ] || MUSL=$(cd "$MUSL" && pwd)
gcc=$prefix-gcc
if [ "$(uname -m)" = "${target%%-*}" ]; then
    gcc=cc
elif ! command -v "$gcc" >/dev/null; then
    echo "static.sh: $gcc is missing; on Debian: apt-get install gcc-$prefix g++-$prefix" >&2
    exit 2
fi
lower=$(echo "$target" | tr - _)
upper=$(echo "$lower" | tr '[:lower:]' '[:upper:]')
[ "$gcc" = cc ] || export "CC_$lower=$gcc"
sysroot=$(rustc --print sysroot)
rust=$sysroot/lib/rustlib/src/rust
std=${STD:-source}
[ -d "$rust/library" ] || std=prebuilt
link=
mkdir -p "$out/cross"
made=$(cd "$out/cross" && pwd)/$target
if [ -d "$sysroot/lib/rustlib/$target/lib" ]; then
    cxx=$prefix-g++ ar=$prefix-ar
    [ "$gcc" != cc ] || cxx=c++ ar=ar
    # Of a libc it uses but what every one has alike, so the headers may be those of the compiler's own.
    if [ "$std" = source ] && command -v "$cxx" >/dev/null; then
        [ -f "$made.unwind/libunwind.a" ] || unwinder "$made.unwind" "$cxx" "$ar"
        link="-L native=$made.unwind"
    fi
    build
    exit
elif [ "$std" = prebuilt ]; then
    echo "static.sh: $target needs its std (rustup target add $target), or what one is built from (rustup component add rust-src)" >&2
    exit 2
fi
if ! [ -f "$made/lib/libc.a" ]; then
    if [ -z "${MUSL:-}" ]; then
        # Debian's own lists of sources, aside: the machine's stay as they are.
        apt=$(dirname "$made")/apt
        mkdir -p "$apt/sources" "$apt/lists/partial"
        for list in /etc/apt/sources.list.d/*.sources; do
            sed 's/^Types:.*/Types: deb-src/' "$list" >"$apt/sources/$(basename "$list")"
        done
        [ ! -f /etc/apt/sources.list ] || sed -n 's/^deb /deb-src /p' /etc/apt/sources.list >"$apt/sources/main.list"
        cd "$apt"
        set -- -qq -o Dir::Etc::SourceList=/dev/null -o Dir::Etc::SourceParts="$apt/sources" \
            -o Dir::State::Lists="$apt/lists" -o APT::Sandbox::User=root
        apt-get "$@" update
        apt-get "$@" source musl
        cd - >/dev/null
        MUSL=$(find "$apt" -maxdepth 1 -type d -name 'musl-*')
    fi
    rm -rf "$made.build"
    mkdir -p "$made.build" "$made"
    # The words of $flags are several.
    (
        cd "$made.build"
        CC=$gcc CFLAGS="$flags -Os" "$MUSL/configure" --target="$prefix" --disable-shared --prefix="$made" --syslibdir="$made/lib"
        make -j2 install
    ) >"$made.log" 2>&1 || { tail -20 "$made.log" >&2; exit 1; }
fi
headers="$flags -nostdinc -isystem $made/include -isystem $($gcc -print-file-name=include)"
# shellcheck disable=SC2086
[ -f "$made/lib/libunwind.a" ] || unwinder "$made/lib" "$prefix-g++" "$prefix-ar" $headers
lib=$made/lib
export "CFLAGS_$lower=$headers"
link="-C target-feature=+crt-static -C link-self-contained=no -C link-arg=$lib/crt1.o -C link-arg=$lib/crti.o -L native=$lib \
-C link-arg=-lc -C link-arg=$lib/crtn.o"
build
