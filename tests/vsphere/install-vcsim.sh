#!/bin/sh
# Builds govmomi's vcsim (version pinned in vcsim/go.mod, from the Go module proxy) into .tools/vcsim.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out="$here/../../.tools/vcsim"
mkdir -p "$out"
cd "$here/vcsim"
go build -trimpath -o "$out/vcsim" .
