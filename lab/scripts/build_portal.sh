#!/bin/sh
# Builds one version of the CSAC portal: a folder that needs nothing outside itself, so that its digest can be pinned.
set -eu

usage() {
    cat >&2 <<'USAGE'
usage: build_portal.sh TAG FOLDER [FAULT [AFTER]]

Makes FOLDER with the portal of version TAG. FAULT is what is wrong with it (none), AFTER when that begins
(first-request, first-login, "300 ms", "40 requests"); lab/portal/portal.py lists both.
An existing FOLDER is replaced by the next build of the same version.

example: build_portal.sh 1.8.0 lab/.state/images/csac-portal/1.8.0 login
USAGE
    exit 2
}

case $# in
2 | 3 | 4) ;;
*) usage ;;
esac
tag=$1 folder=$2 fault=${3:-none} after=${4:-first-request}
case "$tag$fault$after" in
*[!A-Za-z0-9._\ -]*) usage ;;
esac
lab=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)

# Each build differs from the one before, as real ones do: a version that was taken back stays on the deny list
# by its digest, and the next build of it is another matter.
build=1
if [ -f "$folder/build.json" ]; then
    last=$(sed -n 's/.*"build": \([0-9]*\).*/\1/p' "$folder/build.json")
    build=$((${last:-0} + 1))
fi

fresh="$folder.new.$$"
rm -rf -- "$fresh"
mkdir -p -- "$fresh"
trap 'rm -rf -- "$fresh"' EXIT
cp -- "$lab/portal/portal.py" "$fresh/portal"
cp -- "$lab/portal/metrics.py" "$fresh/metrics.py"
chmod 755 -- "$fresh/portal"
printf '{"version": "%s", "build": %s, "fault": "%s", "after": "%s"}\n' \
    "$tag" "$build" "$fault" "$after" >"$fresh/build.json"
rm -rf -- "$folder"
mv -- "$fresh" "$folder"
