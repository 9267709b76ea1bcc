#!/bin/sh
# kill -9 of the whole cloud while somebody pushes: what git was told is pushed is there afterwards, with its job.
. "$ROOT/tests/scenario/tap.sh"
cd "$HOME" || exit 1
ROUNDS=${ROUNDS:-6}
dream new multiverse --daemon >/dev/null 2>&1
tau login --universe blackhole >/dev/null
tau new project hello --yes >/dev/null 2>&1
cd hello || exit 1
tau new function cping --template ping_pong --lang c --domain GeneratedDomain --yes >/dev/null
tau push -m first >/dev/null 2>&1
fqdn=$(sed -n 's/^fqdn: //p' config/domains/GeneratedDomain.yaml)
path=$(sed -n 's/^ *- \(\/[a-z_]*\)$/\1/p' config/functions/cping.yaml)
is "$(curl -s -H "Host: $fqdn" "http://127.0.0.1:14529$path")" PONG "the function answers before anything is killed"
: >"$HOME/acknowledged"

push_for_ever() { # commits and pushes until the cloud is gone; notes what git says is pushed
    i=0
    while [ ! -e "$HOME/stop" ]; do
        i=$((i + 1))
        echo "$1 $i" >code/functions/cping/note.txt
        git -C code add -A && git -C code commit -qm "round $1, push $i"
        if git -C code push -q origin HEAD:main 2>/dev/null; then git -C code rev-parse HEAD >>"$HOME/acknowledged"; else break; fi
    done
}

round=0
while [ "$round" -lt "$ROUNDS" ]; do
    round=$((round + 1))
    rm -f "$HOME/stop"
    push_for_ever "$round" &
    pusher=$!
    sleep "0.$((3 + round % 6))"
    kill -9 "$(sed -n 's/.*"pid": *\([0-9]*\).*/\1/p' "$DREAM_HOME/api.json")"
    touch "$HOME/stop"
    wait "$pusher"
    sleep 0.2
    dream new multiverse --daemon >"$HOME/said" 2>&1 || { cat "$HOME/said"; break; }
done
is "$round" "$ROUNDS" "the cloud starts again after each kill -9"
like "$(wc -l <"$HOME/acknowledged")" '[1-9]' "some pushes were acknowledged"

git -C code fetch -q origin
lost=0
while read -r commit; do
    git -C code merge-base --is-ancestor "$commit" origin/main || lost=$((lost + 1))
done <"$HOME/acknowledged"
is "$lost" 0 "no acknowledged commit is lost"
jobs=$(tau builds --json --limit 500)
lost=0
while read -r commit; do
    printf '%s' "$jobs" | grep -q "$commit" || lost=$((lost + 1))
done <"$HOME/acknowledged"
is "$lost" 0 "and none of their jobs"
i=0
while [ "$(tau builds --json | jq -r '[.[] | select(.status == "queued" or .status == "fetching" or .status == "building" or .status == "publishing")] | length')" != 0 ] && [ "$i" -lt 100 ]; do
    sleep 0.2; i=$((i + 1))
done
is "$(curl -s -H "Host: $fqdn" "http://127.0.0.1:14529$path")" PONG "the function answers as before"
is "$(ours | wc -l | tr -d ' ')" "$(cloud_processes)" "no process of a killed cloud is left"
stop_cloud
finish
