#!/bin/sh
# Builds one version of the DMV's photo service: a folder that needs nothing outside itself, the SDK included.
set -eu

usage() {
    cat >&2 <<'USAGE'
usage: build_photo.sh TAG FOLDER [FAULT]

Makes FOLDER with dmv-photo of version TAG. FAULT is what is wrong with it (none); lab/photo/photo.py lists them.
An existing FOLDER is replaced by the next build of the same version.

example: build_photo.sh 1.5.0 lab/.state/images/dmv-photo/1.5.0 share
USAGE
    exit 2
}

case $# in
2 | 3) ;;
*) usage ;;
esac
tag=$1 folder=$2 fault=${3:-none}
case "$tag$fault" in
*[!A-Za-z0-9._-]*) usage ;;
esac
lab=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)

# Each build differs from the one before, so that one that was taken back does not deny the next.
build=1
if [ -f "$folder/build.json" ]; then
    last=$(sed -n 's/.*"build": \([0-9]*\).*/\1/p' "$folder/build.json")
    build=$((${last:-0} + 1))
fi

fresh="$folder.new.$$"
rm -rf -- "$fresh"
mkdir -p -- "$fresh/hms_ops"
trap 'rm -rf -- "$fresh"' EXIT
cp -- "$lab/photo/photo.py" "$fresh/photo"
chmod 755 -- "$fresh/photo"
cp -- "$lab/dmv_photo.py" "$fresh/dmv_photo.py"
cp -- "$lab/../sdk/python/hms_ops/"*.py "$fresh/hms_ops/"
printf '{"version": "%s", "build": %s, "fault": "%s"}\n' "$tag" "$build" "$fault" >"$fresh/build.json"
rm -rf -- "$folder"
mv -- "$fresh" "$folder"
