#!/bin/sh
# Compiles init for both architectures into a directory: init.x86_64 and init.aarch64. Needs clang and lld.
set -eu
[ $# -eq 1 ] || { echo "usage: build.sh OUTDIR" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
for architecture in x86_64 aarch64; do
  clang --target="$architecture-linux-gnu" -std=c11 -Os -Wall -Wextra -Werror \
    -ffreestanding -fno-builtin -fno-stack-protector -fno-pic -fno-asynchronous-unwind-tables \
    -nostdlib -static -fuse-ld=lld -Wl,--build-id=none,--strip-all,-z,noexecstack \
    -o "$1/init.$architecture" "$here/init.c"
done
