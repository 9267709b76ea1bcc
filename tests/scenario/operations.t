#!/bin/sh
# Each of the ten nodes stops while somebody pushes and somebody asks: what must fail says why, what can wait waits.
. "$ROOT/tests/scenario/tap.sh"
cd "$HOME" || exit 1
dream new multiverse --daemon >/dev/null 2>&1
pid=$(jq .pid "$DREAM_HOME/api.json")
tau login >/dev/null
tau new project hello --yes >/dev/null 2>&1
cd hello || exit 1
tau new function cping --template ping_pong --lang c --domain GeneratedDomain --yes >/dev/null
tau push -m first >/dev/null 2>&1
fqdn=$(sed -n 's/^fqdn: //p' config/domains/GeneratedDomain.yaml)
name=$(printf %s "$fqdn" | sed 's/\.localtau$/.localhost/')
substrate() { curl -s -m 5 -o "$HOME/body" -w '%{http_code}' -H "Host: $fqdn" http://127.0.0.1:14529/ping; }
gateway() { curl -s -m 5 -o "$HOME/body" -w '%{http_code}' -H "Host: $name" http://127.0.0.1:8080/ping; }
push() { # push TEXT: one more commit goes to the forge; what git says is in $HOME/said
    echo "$1" >code/functions/cping/note.txt
    git -C code add -A && git -C code commit -qm "$1"
    git -C code push origin HEAD:main >"$HOME/said" 2>&1
}
job() { tau builds --json | jq -r "[.[] | select(.subject == \"$1\")][0].status"; }
job_is() { # job_is SUBJECT STATUS NAME: within ten seconds
    i=0
    while [ "$(job "$1")" != "$2" ] && [ $i -lt 100 ]; do sleep 0.1; i=$((i + 1)); done
    is "$(job "$1")" "$2" "$3"
}
code_is() { # code_is DOOR STATUS NAME: within two seconds
    i=0
    while [ "$($1)" != "$2" ] && [ $i -lt 20 ]; do sleep 0.1; i=$((i + 1)); done
    is "$($1)" "$2" "$3"
}
is "$(substrate)$(gateway)" 200200 "the function answers at both doors"

# ---- nodes without which all goes on
for node in elder seer hoarder tns; do
    quits 0 "$node stops" dream kill "$node"
    is "$(substrate)$(gateway)" 200200 "without $node requests are answered"
    # The one elder keeps the records of a cloud of processes: without it nothing new is taken.
    if [ "$node:${CLOUD:-}" = elder:processes ]; then
        push "without $node"
        ok "$([ $? != 0 ]; echo $?)" "a push fails"
        like "$(cat "$HOME/said")" 'remote rejected|error' "and git says so"
        dream node start elder >/dev/null
        ok "$(push "with $node again"; echo $?)" "with the elder the next push is taken"
        job_is "with $node again" done "and its job ends well"
        continue
    fi
    ok "$(push "without $node"; echo $?)" "and pushes are taken"
    quits 5 "$node does not stop twice" dream kill "$node"
    case $node in tns)
        like "$(tau status)" '^live  *not known: no node that runs serves tns.list$' "tau status says what it does not know" ;;
    esac
    quits 0 "$node starts" dream node start "$node"
    quits 5 "and not twice" dream node start "$node"
    is "$(substrate)$(gateway)" 200200 "requests are answered at once after it"
    job_is "without $node" done "the push's job ends well"
done

# ---- who takes pushes
before=$(git -C code ls-remote -q origin refs/heads/main | cut -c1-40)
for node in auth patrick client; do
    dream kill "$node" >/dev/null
    is "$(substrate)$(gateway)" 200200 "without $node requests are answered"
    push "without $node"
    ok "$([ $? != 0 ]; echo $?)" "a push fails"
    case $node in
    auth) like "$(cat "$HOME/said")" 'auth does not answer, try again' "and says that it is auth" ;;
    patrick) like "$(cat "$HOME/said")" 'remote rejected.*no node that runs serves patrick.push' "and says that it is patrick"
        is "$(git -C code ls-remote -q origin refs/heads/main | cut -c1-40)" "$before" "the branch is put back" ;;
    client) like "$(cat "$HOME/said")" 'the client node, which asks for you, is stopped|error: 503' "and says that it is client" ;;
    esac
    quits 1 "tau builds fails" tau builds
    like "$(tau builds 2>&1)" 'no node that runs serves|client node' "and says why"
    like "$(tau builds 2>&1)" 'dream node start' "and what helps"
    dream node start "$node" >/dev/null
    ok "$(git -C code push -q origin HEAD:main 2>/dev/null; echo $?)" "with $node the same push goes"
    job_is "without $node" done "and its job ends well"
    before=$(git -C code rev-parse HEAD)
done

# ---- who builds
dream kill monkey >/dev/null
ok "$(push "without monkey"; echo $?)" "without monkey a push is taken"
sleep 0.3
is "$(job "without monkey")" queued "and its job waits"
id=$(tau builds --json | jq -r '.[0].id')
is "$(dream inject set-branch --name main --json | jq -r .branch)" main "set-branch --json"
quits 1 "a branch that git would refuse never goes live" dream inject set-branch --name a..b
quits 0 "a waiting job can be cancelled" tau cancel "$id"
quits 0 "and tried again" tau retry "$id"
dream node start monkey >/dev/null
job_is "without monkey" done "with monkey it ends well"

# ---- what a build needs goes while it runs
sed -i '1a sleep 0.5' code/functions/cping/.taubyte/build.sh
for node in patrick tns auth monkey hoarder; do
    push "$node goes"
    i=0; while [ "$(job "$node goes")" != building ] && [ $i -lt 50 ]; do sleep 0.05; i=$((i + 1)); done
    dream kill "$node" >/dev/null
    sleep 1; [ "$node" != patrick ] || sleep 1.2
    dream node start "$node" >/dev/null
    job_is "$node goes" done "a job during which $node goes and comes ends well"
done

# ---- doors
dream kill substrate >/dev/null
is "$(substrate)" 000 "without substrate its port refuses"
code_is gateway 503 "and the gateway says so"
like "$(cat "$HOME/body")" 'no substrate is there' "in words"
ok "$(push "without substrate"; echo $?)" "a push is taken"
job_is "without substrate" done "and built"
dream node start substrate >/dev/null
code_is substrate 200 "with substrate it answers"
code_is gateway 200 "through the gateway as well"
dream kill gateway >/dev/null
is "$(gateway)" 000 "without gateway its port refuses"
is "$(substrate)" 200 "and substrate answers"
dream node start gateway >/dev/null
code_is gateway 200 "with gateway its port answers"

# ---- while a node ends, everything ends
sed -i 's/^sleep 0.5$/sleep 3/' code/functions/cping/.taubyte/build.sh
push "everything goes"
i=0; while [ "$(job "everything goes")" != building ] && [ $i -lt 50 ]; do sleep 0.05; i=$((i + 1)); done
is "$(jq .pid "$DREAM_HOME/api.json")" "$pid" "it is still the first process"
for node in monkey client substrate; do dream kill "$node" >/dev/null 2>&1 & done
dream kill universe >/dev/null 2>&1 &
dream kill all >/dev/null 2>&1
wait
is "$(ours | wc -l | tr -d " ")" 0 "and it ends"
is "$(dream new multiverse --daemon --json | jq -r '.[0].universe')" blackhole "it starts again, and says so in JSON"
is "$(dream status universe --json | jq '.nodes | length')" 10 "with all nodes"
job_is "everything goes" done "and the job that was under way ends well"
is "$(substrate)" 200 "and the function answers"
stop_cloud

# ---- while it runs, its program is replaced
mkdir "$HOME/bin"; cp "$program" "$HOME/bin/dream"
cp "$(dirname "$program")/meshd" "$HOME/bin/" 2>/dev/null
"$HOME/bin/dream" new multiverse ${CLOUD:+"--$CLOUD"} --daemon >/dev/null
rm "$HOME/bin/dream"; cp /bin/false "$HOME/bin/dream"
for worker in $(ours); do tr '\0' ' ' <"/proc/$worker/cmdline" | grep -q ' worker ' && kill -9 "$worker"; done
sleep 0.3
code_is substrate 200 "new workers are of the program that runs"
sed -i '/^sleep 3$/d' code/functions/cping/.taubyte/build.sh
echo '// other' >>code/functions/cping/ping_pong.c
push replaced
job_is replaced failed "a build fails"
like "$(tau builds "$(tau builds --json | jq -r '.[0].id')" 2>&1)" 'dream was replaced while it runs' "and says why"
stop_cloud

# ---- where nothing can start
(ulimit -n 64; quits 1 "" dream new multiverse --daemon; printf '%s\n' "$said" >"$HOME/said") >/dev/null
like "$(cat "$HOME/said")" 'only 64 files may be open' "too few files are said at the start"
(ulimit -v 4000000; quits 1 "" dream new multiverse --daemon; printf '%s\n' "$said" >"$HOME/said") >/dev/null
like "$(cat "$HOME/said")" 'address space is limited to' "and too little address space"
like "$(env -u DREAM_HOME -u HOME dream new multiverse 2>&1)" 'neither DREAM_HOME nor HOME' "and no home"
long=$HOME/$(printf 'a%.0s' $(seq 1 250))/$(printf 'b%.0s' $(seq 1 250))
like "$(DREAM_HOME=$long dream new multiverse 2>&1)" 'DREAM_HOME is a path of more than' "and one that is too long"
: >"$HOME/file"
like "$(DREAM_HOME=$HOME/file dream new multiverse 2>&1)" 'Not a directory' "and one that is a file"
finish
