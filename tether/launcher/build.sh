#!/bin/sh
# Builds the launcher for both architectures: OUTDIR/launcher-x64 and OUTDIR/launcher-arm64. Needs clang and lld.
set -eu
out=${1:?usage: build.sh OUTDIR}
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$out"
build() {
  clang "--target=$1" -std=c11 -Os -Wall -Wextra -Werror -ffreestanding -fno-stack-protector -fno-pic \
    -fno-asynchronous-unwind-tables -nostdlib -static -fuse-ld=lld -Wl,--build-id=none -Wl,-z,noexecstack -Wl,-s \
    -o "$out/launcher-$2" "$here/launcher.c"
}
build x86_64-linux-gnu x64
build aarch64-linux-gnu arm64
