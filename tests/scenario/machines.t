#!/bin/sh
# Three machines, each a network namespace with folders of its own: A has the universe, B and C join it by tokens.
. "$ROOT/tests/scenario/tap.sh"
cd "$HOME" || exit 1
skip() { echo "1..0 # skip $1"; exit 0; }
[ "$(ip -o link 2>/dev/null | wc -l)" = 1 ] || skip "no network of its own here"
ip link add machines type bridge 2>/dev/null || skip "no network of several machines may be made here"
ip addr add 10.77.0.1/24 dev machines; ip link set machines up
machine() { # machine NAME IP: its process holds the namespace
    unshare --net sleep 600 & here=$!
    eval "machine_$1=$here"
    while [ "$(readlink "/proc/$here/ns/net")" = "$(readlink /proc/self/ns/net)" ]; do sleep 0.02; done
    ip link add "to$1" type veth peer name eth0 netns $here && ip link set "to$1" master machines up
    nsenter -t $here -n sh -c "ip link set lo up; ip addr add $2/24 dev eth0; ip link set eth0 up"
}
on() { # on NAME COMMAND…
    eval "there=\$machine_$1"; shift
    nsenter -t "$there" -n "$@"
}
machine B 10.77.0.2; machine C 10.77.0.3
started=
end() {
    stop_cloud
    kill $started 2>/dev/null; sleep 0.2
    kill -9 $started $machine_B $machine_C 2>/dev/null
}
trap end EXIT
invite() { tau node invite "$@" --json | jq -r .token; }
start() { # start MACHINE NODE
    rm -f "$HOME/$2.out"
    on "$1" tau start --shape "$2" --root "$HOME/$1" >"$HOME/$2.out" 2>>"$HOME/$2.err" &
    i=0; while ! grep -q '"ready"' "$HOME/$2.out" 2>/dev/null && [ $i -lt 100 ]; do sleep 0.1; i=$((i + 1)); done
    last=$(jq -r 'select(.event == "ready") | .pid' "$HOME/$2.out")
    started="$started $last"
}
state() { tau node list --json | jq -r ".[] | select(.name == \"$1\") | .state"; }
state_is() { # state_is NODE STATE NAME: within eight seconds
    i=0; while [ "$(state "$1")" != "$2" ] && [ $i -lt 80 ]; do sleep 0.1; i=$((i + 1)); done
    is "$(state "$1")" "$2" "$3"
}
universe=$DREAM_HOME/universes/blackhole

# ---- A
quits 1 "an address that is not this machine's is refused" dream new multiverse --processes --address 10.99.0.1 --daemon
like "$said" "this machine has no address 10.99.0.1" "and named"
quits 0 "a universe that other machines reach" dream new multiverse --processes --address 10.77.0.1 --daemon
is "$(dream status universe --json | jq -r .address)" 10.77.0.1 "status says its address"

# ---- who may not come
like "$(curl -s -k -m 5 https://10.77.0.1:14081/authority)" 'BEGIN CERTIFICATE' "the join door shows the authority's certificate"
is "$(curl -s -k -m 5 -o /dev/null -w '%{http_code}' https://10.77.0.1:14081/)" 404 "and has no other page"
is "$(curl -s -m 5 http://10.77.0.1:14081/authority)" "" "nor any without TLS"
is "$(curl -s -k -m 5 -o /dev/null -w '%{http_code}' -d '{}' https://10.77.0.1:14081/join)" 400 "no token, no entry"
is "$(head -c 20000 /dev/zero | curl -s -k -m 5 -o /dev/null -w '%{http_code}' --data-binary @- https://10.77.0.1:14081/join)" 413 "what is too long is not read"
token=$(invite --shape substrate --valid 1s); sleep 1.2
quits 4 "a late token is refused" on B tau node join "$token" --root "$HOME/B"
like "$said" "this invitation is late: ask for another" "and says so"
token=$(invite --shape substrate)
quits 2 "a truncated one, too" on B tau node join "${token%?????}" --root "$HOME/B"
like "$said" "not a whole invitation" "and says so"
quits 5 "the authority's own folder is none to join in" tau node join "$token" --root "$universe"
quits 2 "an elder is not invited by mistake" tau node invite --shape elder
quits 1 "nor later than at the start" tau node invite --shape elder --elder
like "$said" "do not grow from one elder to three" "and it is said why"
quits 3 "there are shapes that do not exist" tau node invite --shape substrat
quits 0 "another universe on the same machine" dream new universe andromeda --processes
foreign=$(invite --shape substrate --universe andromeda)
elsewhere=$(python3 -c '
import base64, hashlib, sys
raw = base64.urlsafe_b64decode(sys.argv[1] + "==="[: -len(sys.argv[1]) % 4])[:-4]
raw = raw[:-2] + (14081).to_bytes(2, "big")
print(base64.urlsafe_b64encode(raw + hashlib.sha256(raw).digest()[:4]).decode().rstrip("="))' "$foreign")
quits 4 "a token of another universe is refused by who joins" on B tau node join "$elsewhere" --root "$HOME/B"
like "$said" "10.77.0.1:14081 is not the universe of this invitation" "before anything is told"
like "$(curl -s -k -m 5 -d "{\"token\":\"$foreign\"}" https://10.77.0.1:14081/join)" "of another universe" "and by the door"
dream kill universe andromeda >/dev/null
ok "$([ ! -e "$HOME/B/config" ] && [ ! -e "$HOME/B/keys/joining" ]; echo $?)" "nothing of all that left a node"

# ---- B and C come
said=$(on B tau node join "$token" --root "$HOME/B" 2>&1); status=$?
is "$status" 0 "the token that nobody has used is good still"
is "$said" "[SUCCESS] substrate-2@blackhole joined
tau start --shape substrate-2 --root $HOME/B" "and the next command is printed"
quits 5 "it is good once" on B tau node join "$token" --root "$HOME/B-again"
like "$said" "used already" "and the second one says so"
is "$(stat -c %a "$HOME/B/keys/substrate-2/node.key")" 600 "the key is its owner's"
unlike "$(find "$HOME/B" -name '*.yaml' -o -name deny -o -name 'ca.key' -o -name secrets.key)" "ca.key|secrets.key" "no secret of the universe came with it"
one=$(invite --shape hoarder); two=$(invite --shape hoarder)
on B tau node join "$one" --root "$HOME/B" --json >one.json & first=$!
on C tau node join "$two" --root "$HOME/C" --json >two.json; wait $first
is "$(jq -r .node one.json two.json | sort | tr '\n' ' ')" "hoarder-2 hoarder-3 " "two that join at once get two names"
hoarder=$(jq -r .node two.json)
on C tau node join "$(invite --shape monkey --certificates 15s)" --root "$HOME/C" >/dev/null
start B substrate-2; substrate_pid=$last
start C "$hoarder"; start C monkey-2; monkey_begin=$(date +%s)
state_is substrate-2 up "the substrate on B is up"
state_is "$hoarder" up "so is the hoarder on C"
state_is monkey-2 up "and the monkey"
is "$(tau node list --json | jq -r '[.[] | select(.name == "substrate-2") | .address, .ports.http, .protocol] | join(" ")')" "10.77.0.2 14530 substrate" "the list says where"
like "$(tau node list)" '^substrate-2 +10.77.0.2 +substrate +up +[0-9.]+ +20[0-9-]+ ' "for people as well"

# ---- a push is built on C, served by B and by A
dream kill monkey >/dev/null
tau login >/dev/null
tau new project hello --yes >/dev/null 2>&1
cd hello || exit 1
tau new function ping_pong --template ping_pong --lang c --domain GeneratedDomain --yes >/dev/null
said=$(tau push -m first 2>&1); status=$?
is "$status" 0 "tau push: built on C, which has no repository"
[ "$status" = 0 ] || printf '%s\n' "$said" | sed 's/^/# /'
fqdn=$(sed -n 's/^fqdn: //p' config/domains/GeneratedDomain.yaml)
ping() { curl -s -m 5 -H "Host: $fqdn" "http://${1:-10.77.0.1:14529}/ping"; }
eventually() { i=0; while [ "$(ping "$1")" != PONG ] && [ $i -lt 50 ]; do sleep 0.1; i=$((i + 1)); done; ping "$1"; }
is "$(eventually 10.77.0.2:14530)" PONG "B's substrate answers at its public port"
is "$(ping)" PONG "A's, too"
is "$(ping 127.0.0.1:14529)" PONG "on loopback as ever"
dream kill substrate >/dev/null
is "$(eventually 127.0.0.1:8080)" PONG "A's gateway forwards to B when A has no substrate"
is "$(ls -A "$HOME/C/nodes/$hoarder/blobs" | wc -l)" 2 "C's hoarder has the blobs"

# ---- B dies and comes again
kill -9 "$substrate_pid"; sleep 0.3
is "$(ping 10.77.0.2:14530)" "" "B's process is killed: nobody answers there"
start B substrate-2; substrate_pid=$last
is "$(eventually 10.77.0.2:14530)" PONG "started again, it serves"
is "$(eventually 127.0.0.1:8080)" PONG "by the gateway as well"
dream node start substrate >/dev/null

# ---- draining
quits 0 "a substrate is drained" tau node drain substrate-2
is "$(state substrate-2)" draining "and listed so"
is "$(ping 127.0.0.1:8080)" PONG "the gateway goes to the other one"
said=$(tau node drain "$hoarder" --json); is "$said" '{"idle":true}' "a hoarder is drained when others have what it had"
kill "$substrate_pid"; sleep 0.5
start B substrate-2; substrate_pid=$last
state_is substrate-2 up "a drained node that is started anew is up"
quits 1 "a node that is not there is not drained" tau node drain substrate-9
dream node start monkey >/dev/null

# ---- short certificates are renewed over the mesh
spent=$(($(date +%s) - monkey_begin)); [ $spent -ge 20 ] || sleep $((20 - spent))
is "$(state monkey-2)" up "a monkey whose certificates hold 15 s is up after 20 s"
ok "$([ "$(grep -c 'certificate renewed' "$HOME/monkey-2.err")" -ge 2 ]; echo $?)" "because it renews them"
unlike "$(cat "$HOME/monkey-2.err")" "not renewed" "without a fault"
quits 0 "a node that only builds is drained" tau node drain monkey-2

# ---- B is removed
door() { # door ADDRESS: with B's key
    curl -s -m 5 -k --cert "$HOME/B/keys/substrate-2/node.pem" --key "$HOME/B/keys/substrate-2/node.key" "https://$1/ping"
}
port=$(tau node list --json | jq -r ".[] | select(.name == \"$hoarder\") | .ports.p2p")
is "$(door 10.77.0.1:14226)$(door 10.77.0.3:"$port")" pongpong "B is let in by A and by C"
quits 5 "a node of A itself is not removed" tau node remove tns
quits 3 "nor one that never was" tau node remove substrate-9
quits 0 "B is removed" tau node remove substrate-2
sleep 0.5
is "$(door 10.77.0.1:14226)" "" "A refuses it at once"
is "$(door 10.77.0.3:"$port")" "" "and so does C, which has heard"
is "$(state substrate-2)" left "it is not listed as there"
is "$(cat "$HOME/C/deny")" "$(cat "$universe/deny")" "C has A's deny list"
like "$(tail -n 5 "$HOME/substrate-2.err")" "no connection to the mesh's server.*denied" "meshd does not let it in again"
is "$(ping)$(ping 127.0.0.1:8080)" PONGPONG "A goes on"
echo note >code/functions/ping_pong/note.txt
quits 0 "and builds" tau push -m again
cd "$HOME" || exit 1
is "$(on B tau node join "$(invite --shape substrate)" --root "$HOME/B2" --json | jq -r .node)" substrate-3 "its name is never given again"

# ---- A ends and comes again; names are kept
dream kill all >/dev/null
quits 5 "copies of A do not take a name that has joined" dream new multiverse --copies substrate=2 --daemon
like "$said" "substrate-2 is a node that joined from another machine" "and the reason is said"
quits 0 "A starts as it was" dream new multiverse --copies substrate=1 --daemon
is "$(dream status universe --json | jq -r .address)" 10.77.0.1 "with its address"
state_is "$hoarder" draining "C has found it again"
is "$(ping)" PONG "PONG"
dream kill all >/dev/null
quits 0 "one process, for one machine" dream new multiverse --clean --no-processes --daemon
quits 1 "nobody is invited there" tau node invite --shape substrate
like "$said" "dream new multiverse --processes --address IP" "and it is said how to"
finish
