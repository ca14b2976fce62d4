#!/bin/sh
# Builds govmomi's vcsim (version pinned in vcsim/go.mod, from the Go module proxy, with vcsim/locks.patch) into the file that is named.
set -eu
source=$(cd "$(dirname "$0")/vcsim" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$(dirname "$1")"
cp "$source"/*.go "$source"/go.* "$source"/*.patch "$work"
cd "$work"
go mod vendor
chmod -R u+w vendor
(cd vendor/github.com/vmware/govmomi && git apply --unsafe-paths "$work/locks.patch")
go build -mod=vendor -trimpath -o "$1.new" .
mv "$1.new" "$1"
