#!/bin/sh
# Every node a process of its own: the article as before, nodes that die come again, bad files are named.
. "$ROOT/tests/scenario/tap.sh"
cd "$HOME" || exit 1
left() { ours | wc -l | tr -d ' '; }
milliseconds() { date +%s%3N; }
universe=$DREAM_HOME/universes/blackhole
node() { # node NAME FIELD
    dream status universe --json | jq -r ".nodes[] | select(.name == \"$1\") | .$2"
}
node_is() { # node_is NAME STATE NAME: within five seconds
    i=0
    while [ "$(node "$1" state)" != "$2" ] && [ $i -lt 50 ]; do sleep 0.1; i=$((i + 1)); done
    is "$(node "$1" state)" "$2" "$3"
}

# ---- a cloud of processes
begin=$(milliseconds)
said=$(dream new multiverse --processes --daemon 2>"$HOME/noise"); status=$?
is "$status" 0 "dream new multiverse --processes --daemon returns once every node is ready"
ok "$([ $(($(milliseconds) - begin)) -lt 3000 ]; echo $?)" "within three seconds"
is "$said" "[INFO] Dreamland ready
[SUCCESS] Universe blackhole started!" "it prints the article's two lines"
unlike "$(cat "$HOME/noise")" . "and no other"
is "$(dream status substrate)" "┌─────────────────────┬────────┬───────┐
│ substrate@blackhole │ copies │     1 │
│                     ├────────┼───────┤
│                     │ dns    │ 14304 │
│                     ├────────┼───────┤
│                     │ http   │ 14529 │
│                     ├────────┼───────┤
│                     │ p2p    │ 14282 │
└─────────────────────┴────────┴───────┘" "dream status substrate equals the article's table"
is "$(dream status universe --json | jq -r '[.nodes[].state] | unique | .[]')" up "all nodes are up"
is "$(dream status universe --json | jq -r '[.nodes[].pid] | unique | length')" 10 "in ten processes"
is "$(pgrep -f "^tau start --shape [a-z]* --root $universe" | wc -l)" 10 "whose command lines name the universe's folder"
is "$(dream status universe --json | jq -r .engine)" processes "and status knows the engine"

# ---- the article
tau login >/dev/null
tau new project hello --yes >/dev/null 2>&1
cd hello || exit 1
tau new function ping_pong --template ping_pong --lang c --domain GeneratedDomain --yes >/dev/null
said=$(tau push -m first 2>&1); status=$?
is "$status" 0 "tau push builds and deploys"
[ "$status" = 0 ] || printf '%s\n' "$said" | sed 's/^/# /'
like "$said" PONG "and ends with the function's answer"
fqdn=$(sed -n 's/^fqdn: //p' config/domains/GeneratedDomain.yaml)
name=$(printf %s "$fqdn" | sed 's/\.localtau$/.localhost/')
ping() { curl -s -m 5 -H "Host: $fqdn" "http://127.0.0.1:${1:-14529}/ping"; }
is "$(ping)" PONG "curl with the Host header gives PONG"
is "$(curl -s -m 5 -H "Host: $name" http://127.0.0.1:8080/ping)" PONG "so does the gateway"
is "$(dig +short +tries=1 @127.0.0.1 -p 14304 "$fqdn" A)" 127.0.0.1 "seer resolves the domain"
quits 0 "dream inject push-all builds again and waits" dream inject push-all

# ---- nodes stop, die, come again
quits 0 "a node stops" dream kill hoarder
unlike "$(dream status universe)" hoarder "and is not shown"
quits 5 "and does not stop twice" dream kill hoarder
quits 0 "it starts" dream node start hoarder
quits 5 "and not twice" dream node start hoarder
is "$(node hoarder state)" up "and is up"
quits 3 "there is no node of another name" dream node start horder
for victim in tns substrate gateway elder; do
    pid=$(node $victim pid)
    kill -9 "$pid"
    i=0; while [ "$(node $victim pid)" = "$pid" ] && [ $i -lt 50 ]; do sleep 0.1; i=$((i + 1)); done
    node_is $victim up "$victim, killed, is started again"
    is "$(node $victim restarts)" 1 "and that is counted"
done
is "$(ping)" PONG "the function answers still"
server=$(node elder server_pid)
kill -9 "$server"
i=0 now=$server
while { [ "$now" = null ] || [ "$now" = "$server" ]; } && [ $i -lt 50 ]; do sleep 0.1; i=$((i + 1)); now=$(node elder server_pid); done
unlike "$now" "^($server|null)\$" "the mesh's server, killed, is started again by its elder"
like "$(dream logs -n 2000)" 'event="meshd ended".*node=elder@blackhole' "the journal says so"
echo note >code/functions/ping_pong/note.txt
quits 0 "tau push goes through" tau push -m again
is "$(ping)" PONG "PONG as before"

# ---- who is denied
knock() { # with the client node's key, at tns's door
    curl -s -m 5 -k --cert "$universe/keys/client/node.pem" --key "$universe/keys/client/node.key" https://127.0.0.1:14226/ping
}
is "$(knock)" pong "a node of the universe is let in at another's door"
echo "node client # lost" >>"$universe/deny"; sleep 0.6
is "$(knock)" "" "one on the deny list is not, from now on"
: >"$universe/deny"; sleep 0.6
is "$(knock)" pong "and is when it was taken off"
is "$(curl -s -m 5 -k https://127.0.0.1:14226/ping)" "" "without a certificate nobody is"
node_is client up "the client node is up"

# ---- the end, and what is remembered
cd "$HOME" || exit 1
begin=$(milliseconds)
dream kill all >/dev/null
ok "$([ $(($(milliseconds) - begin)) -lt 1500 ]; echo $?)" "dream kill all ends everything within 1.5 s"
is "$(left)" 0 "and leaves no process"
quits 5 "another engine is a conflict" dream new multiverse --no-processes --daemon
quits 5 "other elders are, too" dream new multiverse --elders 3 --daemon
like "$said" 'help: leave the flag out, or add --clean' "and says what to do"
quits 0 "without a flag it starts as it was" dream new multiverse --daemon
is "$(dream status universe --json | jq -r .engine)" processes "as processes"
is "$(ping)" PONG "with everything in it: PONG"
pid=$(jq .pid "$DREAM_HOME/api.json")
kill -9 "$pid"; sleep 0.5
is "$(left)" 0 "kill -9 of dream takes every process with it"
quits 0 "the next start works" dream new multiverse --daemon
is "$(ping)" PONG "PONG again"

# ---- bad input
quits 5 "two processes of one node are refused" tau start --shape tns --root "$universe"
like "$said" '"text":"tns: another process is this node already' "and the second one says why"
quits 3 "a shape that is not there" tau start --shape tms --root "$universe"
dream kill all >/dev/null
cp "$universe/config/tns.yaml" "$HOME/tns.yaml"
printf 'portz: 1\n' >>"$universe/config/tns.yaml"
quits 2 "a shape file with an unknown field" tau start --shape tns --root "$universe"
like "$said" 'config/tns.yaml:[0-9]*:1' "is named with its line and column"
like "$said" 'a shape file has no field portz' "and the field"
quits 2 "tau config validate says the same" tau config validate --shape tns --root "$universe"
cp "$HOME/tns.yaml" "$universe/config/tns.yaml"
quits 0 "and is content with a good one" tau config validate --shape tns --root "$universe"
mv "$universe/keys/tns" "$HOME/keys"
quits 1 "a node without a keyring does not start" tau start --shape tns --root "$universe"
like "$said" '"text":"tns: .*keys/tns' "and names it"
rm -rf "$universe/keys/tns"; mv "$HOME/keys" "$universe/keys/tns"
sed 's/^universe: .*/universe: andromeda/' "$HOME/tns.yaml" >"$universe/config/tns.yaml"
quits 5 "a keyring of another universe is refused" tau start --shape tns --root "$universe"
cp "$HOME/tns.yaml" "$universe/config/tns.yaml"
printf junk >"$universe/keys/seer/node.pem"
said=$(dream new multiverse --daemon 2>&1); status=$?
is "$status" 1 "a damaged certificate ends the start"
like "$said" 'error: seer: .*keys/seer' "which names the node and the folder"
rm -rf "$universe/keys/seer"
said=$(CTAU_MESHD=/nowhere dream new multiverse --daemon 2>&1); status=$?
is "$status" 1 "without meshd nothing starts"
like "$said" 'make dream.*CTAU_MESHD' "and it is said how to get it"
is "$(left)" 0 "nothing stays behind"
python3 -c 'import socket,time
s=socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(("127.0.0.1", 14466)); s.listen(); time.sleep(60)' & thief=$!
sleep 0.3
said=$(tau start --shape elder --root "$universe" 2>/dev/null & elder=$!; tau start --shape tns --root "$universe" 2>/dev/null; kill $elder); kill $thief
like "$said" '"err":"conflict","text":"tns: another program has its http port 14466"' "a port that is taken is named with its node"

# ---- copies and elders
said=$(dream new multiverse --clean --processes --elders 3 --copies substrate=2,monkey=2 --daemon 2>&1); status=$?
is "$status" 0 "three elders, two substrates, two monkeys"
[ "$status" = 0 ] || printf '%s\n' "$said" | sed 's/^/# /'
is "$(dream status universe --json | jq -r '[.nodes[].name] | join(" ")')" "elder elder-2 elder-3 tns client auth patrick seer monkey monkey-2 hoarder substrate substrate-2 gateway" "fourteen nodes"
is "$(dream status substrate-2 --json | jq -c '[.nodes[0].ports.http, .nodes[0].ports.p2p]')" '[14530,14283]' "copies have the next ports"
tau login >/dev/null
rm -rf hello; tau new project hello --yes >/dev/null 2>&1; cd hello || exit 1
tau new function ping_pong --template ping_pong --lang c --domain GeneratedDomain --yes >/dev/null
quits 0 "tau push goes live on three elders" tau push -m first
fqdn=$(sed -n 's/^fqdn: //p' config/domains/GeneratedDomain.yaml)
i=0; while [ "$(ping 14530)" != PONG ] && [ $i -lt 30 ]; do sleep 0.1; i=$((i + 1)); done
is "$(ping)$(ping 14530)" PONGPONG "both substrates answer"
kill -9 "$(node elder-2 pid)" "$(node substrate pid)"
is "$(ping 14530)" PONG "without one elder and one substrate the other answers"
node_is elder-2 up "the elder is started again"
node_is substrate up "and the substrate"
dream kill all >/dev/null; cd "$HOME" || exit 1
is "$(left)" 0 "dream kill all leaves nothing"

# ---- the foreground
dream new multiverse >"$HOME/out" 2>"$HOME/err" & cloud=$!
i=0; while ! grep -q SUCCESS "$HOME/out" && [ $i -lt 100 ]; do sleep 0.1; i=$((i + 1)); done
like "$(cat "$HOME/out")" '^\[SUCCESS\] Universe blackhole started!$' "the foreground says when it is ready"
like "$(cat "$HOME/err")" ' elder-3 +level=info event=' "and shows what the nodes say, their names before it"
unlike "$(cat "$HOME/err")" "$(printf '\033')" "without colours where there is no terminal"
quits 0 "a universe of processes beside it" dream new universe andromeda --processes
is "$(dream status universe andromeda --json | jq -r '[.engine, (.nodes | length)] | join(" ")')" "processes 10" "has ten nodes of its own"
quits 0 "and stops" dream kill universe andromeda
kill -INT $cloud; wait $cloud
is "$?" 0 "Ctrl-C ends it"
is "$(left)" 0 "with all of its processes"
finish
