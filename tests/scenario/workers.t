#!/bin/sh
# Workers are killed, frozen and crowded: only calls in flight fail, the next worker serves what waits.
. "$ROOT/tests/scenario/tap.sh"
cd "$HOME" || exit 1
dream new multiverse --daemon --copies substrate=1 >/dev/null 2>&1
tau login --universe blackhole >/dev/null
tau new project workers --yes >/dev/null 2>&1
cd workers || exit 1
tau new function cping --template ping_pong --lang c --domain GeneratedDomain --path /ping --yes >/dev/null
tau push -m first >/dev/null 2>&1
fqdn=$(sed -n 's/^fqdn: //p' config/domains/GeneratedDomain.yaml)
get() { curl -s --max-time 10 -H "Host: $fqdn" http://127.0.0.1:14529/ping; }
worker() { for pid in $(ours); do grep -qz '^worker$' "/proc/$pid/cmdline" && echo "$pid" && break; done; }
is "$(get)" PONG "the function answers"
first=$(worker)
ok "$([ -n "$first" ]; echo $?)" "a worker process serves it"
like "$(grep -E '^(Seccomp|NoNewPrivs|CapEff)' "/proc/$first/status" | tr -s '\t ' ' ' | tr '\n' ' ')" 'CapEff: 0+ NoNewPrivs: 1 Seccomp: 2' "under seccomp and without capabilities"

bad=0
for i in 1 2 3 4 5; do
    kill -9 "$(worker)"
    [ "$(get)" = PONG ] || bad=$((bad + 1)) # waits in the backlog, or is accepted by the next
done
is "$bad" 0 "after kill -9 the next request is answered by its successor"
ok "$([ "$(worker)" != "$first" ]; echo $?)" "which is another process"
kill -STOP "$(worker)"
is "$(get)" PONG "a frozen worker is replaced"

(i=0; while [ ! -e "$HOME/stop" ] && [ "$i" -lt 2000 ]; do i=$((i + 1)); get; echo; done >"$HOME/answers") &
asker=$!
for i in 1 2 3; do
    sed -i "s/PON[A-Z0-9]/PON$i/" code/functions/cping/*.c
    tau push -m "swap $i" >/dev/null 2>&1
done
touch "$HOME/stop"; wait "$asker"
is "$(grep -cvE '^PON[G123]$' "$HOME/answers")" 0 "no request fails while deployments swap"
is "$(get)" PON3 "and the last one is live"
stop_cloud
finish
