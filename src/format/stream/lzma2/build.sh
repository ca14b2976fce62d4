#!/bin/sh
# Compiles the decoder of LZMA2 into a directory: lzma2.wasm. Needs clang and lld.
set -eu
[ $# -eq 1 ] || { echo "usage: build.sh OUTDIR" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
clang --target=wasm32 -std=c11 -O3 -mbulk-memory -Wall -Wextra -Werror \
  -ffreestanding -nostdlib -fuse-ld=lld -Wl,--no-entry,--strip-all \
  -o "$1/lzma2.wasm" "$here/lzma2.c"
