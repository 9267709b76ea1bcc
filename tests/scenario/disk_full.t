#!/bin/sh
# A full disk: pushes are refused in words, what was acknowledged stays, the cloud serves on and recovers.
#
# DREAM_HOME is a small tmpfs in a mount namespace of our own, which an ordinary user may have too.
if [ "$1" != alone ]; then
    alone="unshare --mount --propagation private" plain=
    if [ "$(id -u)" != 0 ]; then
        alone="$alone --map-current-user --keep-caps"
        # bubblewrap refuses to start with capabilities, and they are for the mount only.
        plain="setpriv --inh-caps=-all --ambient-caps=-all"
    fi
    mkdir "$HOME/disk"
    # shellcheck disable=SC2086 # options are words
    if ! $alone mount -t tmpfs none "$HOME/disk" 2>/dev/null; then
        echo "1..0 # skip no tmpfs of our own here"; exit 0
    fi
    # shellcheck disable=SC2016,SC2086
    exec $alone /bin/sh -c 'mount -t tmpfs -o size=48m,mode=700 none "$HOME/disk" && exec "$@"' sh $plain /bin/sh "$0" alone
fi
. "$ROOT/tests/scenario/tap.sh"
cd "$HOME" || exit 1
DREAM_HOME=$HOME/disk/dream; export DREAM_HOME
answer() { curl -s -m 5 -H "Host: $fqdn" "http://127.0.0.1:14529$path"; }
fill() { # every byte but so many KiB
    rm -f "$HOME/disk/filler"
    head -c "$(($1 * 1024 + 1))" /dev/zero >"$HOME/disk/room"
    cat /dev/zero >>"$HOME/disk/filler" 2>/dev/null
    rm "$HOME/disk/room"
}
dream new multiverse --daemon >/dev/null 2>&1
head -c 8000000 /dev/zero >"$HOME/disk/reserve" # the room that there will be again
tau login --universe blackhole >/dev/null
tau new project hello --yes >/dev/null 2>&1
cd hello || exit 1
tau new function cping --template ping_pong --lang c --domain GeneratedDomain --yes >/dev/null
tau push -m first >/dev/null 2>&1
fqdn=$(sed -n 's/^fqdn: //p' config/domains/GeneratedDomain.yaml)
path=$(sed -n 's/^ *- \(\/[a-z_]*\)$/\1/p' config/functions/cping.yaml)
is "$(answer)" PONG "the function answers before the disk is full"
: >"$HOME/acknowledged"
note() { # a commit with so many KiB of noise
    head -c "$(($1 * 1024))" /dev/urandom >code/noise
    git -C code add -A && git -C code commit -qm "noise $1"
}
push() { # notes what git says is pushed
    said=$(git -C code push origin HEAD:main 2>&1); status=$?
    [ "$status" != 0 ] || git -C code rev-parse HEAD >>"$HOME/acknowledged"
}
lost() { # acknowledged commits that are not in the repository, or have no job
    git -C code fetch -q origin || echo "no fetch"
    jobs=$(tau builds --limit 500 --json)
    while read -r commit; do
        git -C code merge-base --is-ancestor "$commit" origin/main || echo "commit $commit"
        printf '%s' "$jobs" | grep -q "$commit" || echo "job of $commit"
    done <"$HOME/acknowledged"
}

# nats-server does not answer at all while its disk is full: then nobody knows why.
why='[Nn]o space left' code=507
[ -z "${CLOUD:-}" ] || why="$why|no answer in time" code='50[47]'

status=0 pushes=0
while [ "$status" = 0 ] && [ "$pushes" -lt 40 ]; do
    pushes=$((pushes + 1)); note 4000; push
done
is "$status" 1 "pushes fill the disk until git push fails"
echo "# after $pushes pushes: $(printf '%s' "$said" | tr '\n' ' ')"
like "$said" "$why" "and says that there is no space left"
is "$(answer)" PONG "the function answers"

# The edge: with a little room left some step of a push fails, another one each time.
for room in 0 4 12 24 36 48 64 80 112 160; do
    git -C code reset -q --hard origin/main
    note 8; fill "$room"; push
    echo "# $room KiB: $status $(printf '%s' "$said" | tr '\n' ' ')"
    [ "$status" = 0 ] || like "$said" "$why" "with $room KiB left a push is refused for that"
done
fill 0
is "$(lost)" "" "what was acknowledged is there, with its job, while the disk is full"
is "$(answer)" PONG "the function answers"

sed -i 's/"PONG"/"PANG"/' code/functions/cping/ping_pong.c
said=$(tau push -m full 2>&1); status=$?
is "$status" 1 "tau push fails"
like "$said" '[Nn]o space left' "and says why"
said=$(tau new project other --yes 2>&1); status=$?
is "$status" 1 "a record that does not fit is refused"
like "$said" "$why" "and says why it is"
token=$(jq -r .token "$DREAM_HOME/api.json")
said=$(curl -s -w ' %{http_code}' -H "Authorization: Bearer $token" -H 'Content-Type: application/json' \
    -d '{"owner":"alice","name":"more","kind":"library"}' "http://127.0.0.1:1421/v1/universes/blackhole/ask/auth.repository.create")
like "$said" " $code\$" "asked over the API it is 507"
said=$(dream doctor 2>&1)
like "$said" '[Dd]isk' "dream doctor names the disk"
is "$(answer)" PONG "the function answers"


dream kill all >/dev/null 2>&1; fill 0
said=$(dream new multiverse --daemon 2>&1); status=$?
if [ "$status" = 0 ]; then is "$(answer)" PONG "the cloud starts on the full disk and the function answers"
else like "$said" '[Nn]o space left' "the cloud does not start on the full disk and says why"; fi
unlike "$said" Assertion "and nothing breaks by that"

rm -f "$HOME/disk/filler" "$HOME/disk/reserve"
[ "$status" = 0 ] || dream new multiverse --daemon >/dev/null 2>&1
i=0
while [ "$(tau builds --limit 500 --json | jq -r '[.[] | select(.status != "done" and .status != "failed" and .status != "cancelled")] | length')" != 0 ] && [ "$i" -lt 100 ]; do
    sleep 0.2; i=$((i + 1))
done
ok "$([ "$i" -lt 100 ]; echo $?)" "with room again every job comes to its end"
tau builds --limit 500 --json | jq -r '.[] | select(.status != "done") | "# \(.status): \(.error)"'
said=$(tau push -m room 2>&1); status=$?
is "$status" 0 "with room again the same push works"
[ "$status" = 0 ] || printf '%s\n' "$said" | sed 's/^/# /'
is "$(answer)" PANG "and changes the answer"
quits 0 "so does a new project" tau new project other --yes --directory "$HOME"
is "$(lost)" "" "nothing acknowledged is lost"
dream kill all >/dev/null; dream new multiverse --daemon >/dev/null 2>&1
is "$(answer)" PANG "nor after a restart"
is "$(lost)" "" "and the jobs are there"
stop_cloud
finish
