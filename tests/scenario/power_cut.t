#!/bin/sh
# Power cuts under load: after each, what git, the job table and tau push said is so; the rest may be gone.
#
# The state is on an ext4 of its own, which is cut by FS_IOC_SHUTDOWN without a last flush: what
# nobody fsynced is lost, and all writes fail from then on. Data do not reach the disk by
# themselves within the test (commit=300), nor by rename (noauto_da_alloc).
cannot="# skip no file system here whose power can be cut (root, loop devices, mkfs.ext4, FS_IOC_SHUTDOWN)"
if [ "$1" != alone ]; then
    unshare --mount --propagation private true 2>/dev/null || { echo "1..0 $cannot"; exit 0; }
    exec unshare --mount --propagation private /bin/sh "$0" alone
fi
. "$ROOT/tests/scenario/tap.sh"
cd "$HOME" || exit 1
ROUNDS=${ROUNDS:-3}
disk=$HOME/disk

plug() { mount -o loop,commit=300,noauto_da_alloc "$HOME/image" "$disk"; }
unplug() { # the device, once nobody holds it
    i=0
    until umount "$disk" 2>/dev/null || [ "$i" = 50 ]; do sleep 0.1; i=$((i + 1)); done
    [ "$i" -lt 50 ]
}
cut_power() { # FS_IOC_SHUTDOWN with EXT4_GOING_FLAGS_NOLOGFLUSH
    python3 -c 'import fcntl, os, struct, sys
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587d, struct.pack("I", 2))' "$disk"
}
can_cut() { # and what was not synced is gone then
    mkdir "$disk" && truncate -s 512M "$HOME/image" && mkfs.ext4 -q -J size=16 "$HOME/image" && plug || return 1
    echo kept >"$disk/synced" && sync "$disk/synced" && echo lost >"$disk/cached" && cut_power || return 1
    unplug && plug && [ "$(cat "$disk/synced")" = kept ] && [ ! -s "$disk/cached" ]
}
if ! said=$(can_cut 2>&1); then
    printf '%s\n' "$said" | sed 's/^/# /'
    echo "1..0 $cannot"
    exit 0
fi

DREAM_HOME=$disk/dream; export DREAM_HOME
random() { od -An -N1 -tu1 /dev/urandom | tr -d ' '; }
answer() { curl -s -m 5 -H "Host: $fqdn" "http://127.0.0.1:14529$path"; }
dream new multiverse --daemon >/dev/null 2>&1
tau login --universe blackhole >/dev/null
tau new project hello --yes >/dev/null 2>&1
cd hello || exit 1
tau new function cping --template ping_pong --lang c --domain GeneratedDomain --yes >/dev/null
tau push -m first >/dev/null 2>&1
fqdn=$(sed -n 's/^fqdn: //p' config/domains/GeneratedDomain.yaml)
path=$(sed -n 's/^ *- \(\/[a-z_]*\)$/\1/p' config/functions/cping.yaml)
is "$(answer)" PONG "the function answers before anything is cut"
: >"$HOME/acknowledged"

push_for_ever() { # commits and pushes until told to stop; notes what git says is pushed, also after the cut
    i=0
    while [ ! -e "$HOME/stop" ]; do
        i=$((i + 1))
        echo "$1 $i" >"$2/note.txt"
        git -C "$2" add -A && git -C "$2" commit -qm "round $1, push $i"
        git -C "$2" push -q origin HEAD:main 2>/dev/null && echo "$2 $(git -C "$2" rev-parse HEAD)" >>"$HOME/acknowledged"
    done
}

round=0
while [ "$round" -lt "$ROUNDS" ]; do
    round=$((round + 1))
    text=PONG$round
    sed -i "s/\"P[A-Z0-9]*\", [0-9]/\"$text\", ${#text}/" code/functions/cping/ping_pong.c
    said=$(tau push -m "answer $round" 2>&1); status=$?
    is "$status" 0 "round $round: tau push says that a new answer is live"
    [ "$status" = 0 ] || printf '%s\n' "$said" | sed 's/^/# /'
    quits 0 "round $round: a project is made" tau new project "made-$round" --yes --directory "$HOME"
    rm -f "$HOME/stop"
    push_for_ever "$round" code & pushers=$!
    push_for_ever "$round" config & pushers="$pushers $!"
    sleep "0.$((100 + $(random) * 3))"
    cut_power
    sleep "0.$((100 + $(random)))" # what is answered now is not durable, and must be a refusal
    pid=$(pgrep -f 'dream new multiverse' | while read -r p; do
        [ "$(readlink "/proc/$p/ns/mnt")" = "$(readlink /proc/self/ns/mnt)" ] && echo "$p"; done)
    # shellcheck disable=SC2086 # process ids are words
    [ -z "$pid" ] || kill -9 $pid
    touch "$HOME/stop"
    # shellcheck disable=SC2086
    wait $pushers
    unplug; ok $? "round $round: nothing holds the disk once the cloud is dead"
    plug || exit 1
    said=$(dream new multiverse --daemon 2>&1); status=$?
    is "$status" 0 "round $round: the cloud starts from what the disk has"
    [ "$status" = 0 ] || { printf '%s\n' "$said" | sed 's/^/# /'; break; }
    is "$(answer)" "$text" "round $round: and gives the answer that was live"
    quits 0 "round $round: the project is there" tau clone "made-$round" "$HOME/cloned-$round"
    for k in code config; do
        quits 0 "round $round: the $k repository can be fetched" git -C "$k" fetch -q origin
        git -C "$k" reset -q --hard origin/main
    done
done
like "$(wc -l <"$HOME/acknowledged")" '[1-9]' "some pushes were acknowledged"
echo "# $(wc -l <"$HOME/acknowledged") pushes were acknowledged"

lost=
while read -r repository commit; do
    git -C "$repository" merge-base --is-ancestor "$commit" origin/main || lost="$lost $repository:$commit"
done <"$HOME/acknowledged"
is "$lost" "" "no acknowledged commit is lost"
lost=
jobs=$(tau builds --limit 500 --json)
while read -r repository commit; do
    printf '%s' "$jobs" | grep -q "$commit" || lost="$lost $repository:$commit"
done <"$HOME/acknowledged"
is "$lost" "" "and none of their jobs"
for repository in "$DREAM_HOME"/universes/blackhole/repositories/*/*.git; do
    quits 0 "$(basename "$repository") is whole" git -C "$repository" fsck --full
done
sed -i 's/"P[A-Z0-9]*", [0-9]/"PANG", 4/' code/functions/cping/ping_pong.c
quits 0 "a push goes on from there" tau push -m last
is "$(answer)" PANG "and changes the answer"
stop_cloud
is "$(find "$DREAM_HOME" -name '*.db' -exec sqlite3 {} 'PRAGMA integrity_check' \; | sort -u)" ok "every database is whole"
cd "$HOME" && unplug
ok $? "the disk is free again"
finish
