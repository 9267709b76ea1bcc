#!/bin/sh
# Start, stop, die: nothing is left behind, nothing is lost, two clouds live side by side.
. "$ROOT/tests/scenario/tap.sh"
cd "$HOME" || exit 1
left() { ours | wc -l | tr -d ' '; }
milliseconds() { date +%s%3N; }

dream new multiverse >"$HOME/out" 2>"$HOME/err" & cloud=$!
i=0; while ! grep -q SUCCESS "$HOME/out" && [ $i -lt 50 ]; do sleep 0.1; i=$((i + 1)); done
like "$(cat "$HOME/out")" '^\[SUCCESS\] Universe blackhole started!$' "the foreground says when it is ready"
begin=$(milliseconds)
kill -INT $cloud; wait $cloud; status=$?
ok "$([ $(($(milliseconds) - begin)) -lt 1000 ]; echo $?)" "Ctrl-C stops it within a second"
is "$status" 0 "with status 0"
is "$(left)" 0 "and leaves no process"
ok "$([ ! -e "$DREAM_HOME/api.json" ]; echo $?)" "and no api.json"

dream new multiverse --daemon >/dev/null 2>&1
pid=$(sed -n 's/.*"pid": *\([0-9]*\).*/\1/p' "$DREAM_HOME/api.json")
kill -9 "$pid"; sleep 0.5
is "$(left)" 0 "kill -9 of the parent takes its children with it"
dream new multiverse --daemon >/dev/null 2>&1
quits 0 "and the ports and the lock are free again" dream status universe

said=$(DREAM_HOME=$HOME/second DREAM_API=127.0.0.1:2421 dream new multiverse --daemon --shift 15000 --gateway-port 8090 2>&1); status=$?
is "$status" 0 "a second home beside it, with its own ports"
is "$(DREAM_HOME=$HOME/second dream status substrate --json | jq .nodes[0].ports.http)" 15529 "as asked"
said=$(DREAM_HOME=$HOME/third DREAM_API=127.0.0.1:2422 dream new multiverse --daemon 2>&1); status=$?
is "$status" 0 "a third one without a word about ports"
like "$said" '16000' "takes the next free block and says so"
said=$(DREAM_HOME=$HOME/fourth dream new multiverse --daemon 2>&1); status=$?
is "$status" 5 "a fourth one that wants the same control API is a conflict"
is "$(printf '%s\n' "$said" | sed -n 1p)" "error: another program listens at the control API's address" "and says so"
unlike "$said" Assertion "and ends in order"
DREAM_HOME=$HOME/third dream kill all >/dev/null
DREAM_HOME=$HOME/second dream kill all >/dev/null

quits 0 "a universe beside blackhole" dream new universe andromeda
like "$(dream list)" andromeda "is listed"
quits 0 "a node stops" dream kill hoarder
unlike "$(dream status universe)" hoarder "and is not shown"
quits 0 "and starts" dream node start hoarder
like "$(dream status universe)" hoarder "and is shown"
quits 0 "the universe stops" dream kill universe andromeda
unlike "$(dream list)" andromeda "and is listed no more"
dream kill all >/dev/null; dream new multiverse --daemon >/dev/null 2>&1
like "$(dream list)" andromeda "what it kept is there after a restart"
quits 0 "dream doctor finds this machine well" dream doctor
like "$(dream version --json)" '"version"' "dream version --json"
like "$(dream completion bash)" dream "dream completion bash"
quits 2 "a bad number is a usage error" dream new multiverse --shift abc
stop_cloud
is "$(left)" 0 "dream kill all leaves nothing"
finish
