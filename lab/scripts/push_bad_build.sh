#!/bin/sh
# Pushes a bad build of the CSAC portal, 1.8.0, and asks for its canary: step 1 of the two-minute lab.
set -eu

usage() {
    cat <<'USAGE'
usage: push_bad_build.sh [--fault FAULT] [--after WHEN] [--file CANARY]

Builds csac-portal:1.8.0 with something wrong and asks the tower to release it behind a canary.
  --fault FAULT   login (default: fails log-ins and the health probe), dead, hang, probe, errors, five-percent,
                  never-ready, exit-at-once; none pushes a good one
  --after WHEN    first-request (default), first-login (default with login), "300 ms" or "40 requests"
  --file CANARY   the release file (default dev/cd/canary.yaml of the lab)

It needs a running lab (cargo xtask lab) and a shell that knows it: eval "$(hmsops lab env)"
USAGE
}

fail() {
    printf 'push_bad_build: %s\n' "$1" >&2
    [ $# -lt 2 ] || printf 'hint: %s\n' "$2" >&2
    exit 1
}

fault=login after='' file=''
while [ $# -gt 0 ]; do
    case "$1" in
    --fault | --after | --file)
        [ $# -ge 2 ] || { usage >&2 && exit 2; }
        case "$1" in
        --fault) fault=$2 ;;
        --after) after=$2 ;;
        --file) file=$2 ;;
        esac
        shift 2
        ;;
    -h | --help) usage && exit 0 ;;
    *) usage >&2 && exit 2 ;;
    esac
done

# Its session cache breaks at the first log-in: until then it looks well, as bad builds do.
if [ -z "$after" ]; then
    after=first-request
    [ "$fault" != login ] || after=first-login
fi

lab=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
state=${HMSOPS_LAB_STATE:-$lab/.state}
[ -d "$state/repo" ] || fail "no lab is laid out in \`$state\`" 'start one with: cargo xtask lab'
# Without a prepared shell the lab's own env file does as well.
if [ -z "${HMSOPS_SERVER:-}" ] && [ -f "$state/env" ]; then
    # shellcheck disable=SC1091 # written by the lab when it starts
    . "$state/env" 2>/dev/null
fi
command -v hmsops >/dev/null 2>&1 || fail "the command \`hmsops\` is not on PATH" "start the lab with: cargo xtask lab"

echo "1. build csac-portal:1.8.0 with the fault \`$fault\` (from: $after)"
"$lab/scripts/build_portal.sh" 1.8.0 "$state/images/csac-portal/1.8.0" "$fault" "$after"

cd -- "$state/repo"
file=${file:-dev/cd/canary.yaml}
echo "2. hmsops deploy -f $file"
hmsops deploy -f "$file"

echo '3. watch it being taken back: hmsops release watch, or the page of the release on the tower'
