# Processes, waiting and counting: what every other file of the rig stands on.
# shellcheck shell=bash

say() { printf 'e2e: %4d s  %s\n' "$SECONDS" "$*"; }
die() {
    echo "e2e: $*" >&2
    exit 1
}

# ---- processes -------------------------------------------------------------------------------

declare -A pids=()
declare -A end_by=([postgres]=INT) # TERM, but PostgreSQL would wait for its clients to leave

# start NAME COMMAND...: in the background, its output in $STATE/logs/NAME.log.
start() {
    local name=$1
    shift
    "$@" >>"$STATE/logs/$name.log" 2>&1 </dev/null &
    pids[$name]=$!
}

# stop NAME: asks it to end, and makes it after 5 s.
stop() {
    local pid=${pids[$1]:-}
    [ -n "$pid" ] || return 0
    unset "pids[$1]"
    kill "-${end_by[$1]:-TERM}" "$pid" 2>/dev/null || true
    local _
    for _ in $(seq 50); do
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.1
    done
    kill -KILL "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
}

stop_all() {
    local name
    for name in "${!pids[@]}"; do kill "-${end_by[$name]:-TERM}" "${pids[$name]}" 2>/dev/null || true; done
    for name in "${!pids[@]}"; do stop "$name"; done
}

# wait_for NAME SECONDS COMMAND...: until the command succeeds; where the process NAME has ended or
# time is up, the rig stops and says so, with the end of that log.
wait_for() {
    local name=$1 limit=$2 end=$((SECONDS + $2))
    shift 2
    until "$@" >/dev/null 2>&1; do
        if [ -n "${pids[$name]:-}" ] && ! kill -0 "${pids[$name]}" 2>/dev/null; then
            give_up "$name" "$name has ended before it was ready"
        fi
        [ $SECONDS -lt $end ] || give_up "$name" "$name was not ready within $limit s ($*)"
        sleep 0.1
    done
}

give_up() {
    [ ! -f "$STATE/logs/$1.log" ] || tail -n 15 "$STATE/logs/$1.log" | cut -c 1-300 >&2
    die "$2"
}

# ---- counting --------------------------------------------------------------------------------

passed=0
failed=0

ok() {
    passed=$((passed + 1))
    printf 'ok   %-4s %s\n' "$1" "$2"
}

# bad ID TEXT EXPECTED FOUND
bad() {
    failed=$((failed + 1))
    printf 'FAIL %-4s %s\n' "$1" "$2"
    printf '       expected: %s\n' "$3"
    printf '       found:    %s\n' "$(tr '\n' ' ' <<<"$4" | cut -c 1-900)"
}

# check ID TEXT COMMAND...: the command must succeed.
check() {
    local id=$1 text=$2 out
    shift 2
    if out=$("$@" 2>&1); then ok "$id" "$text"; else bad "$id" "$text" "$1 to succeed" "$(tail -n 3 <<<"$out")"; fi
}

# same ID TEXT EXPECTED FOUND
same() {
    if [ "$3" = "$4" ]; then ok "$1" "$2"; else bad "$@"; fi
}

# unmet OUTPUT WORD...: a line for every word that is not in it, and for every `!word` that is.
unmet() {
    local output=$1 word
    shift
    for word in "$@"; do
        case $word in
        !*) ! grep -qF -- "${word#!}" <<<"$output" || echo "no '${word#!}'" ;;
        *) grep -qF -- "$word" <<<"$output" || echo "'$word'" ;;
        esac
    done
}
