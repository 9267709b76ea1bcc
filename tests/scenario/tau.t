#!/bin/sh
# What tau does beside the article: two people on one project, edits, deletions, the way back, JSON everywhere.
. "$ROOT/tests/scenario/tap.sh"
cd "$HOME" || exit 1
dream new multiverse --daemon >/dev/null 2>&1

quits 4 "without a login there is no project" tau new project hello --yes
tau login >/dev/null
is "$(stat -c %a "$HOME/.config/ctau/tau.json")" 600 "the token's file is for its owner alone"
is "$(tau current --json | jq -r '.account + " " + .universe')" "alice blackhole" "the account is the user's name"
quits 3 "outside of a project there is nothing to push" tau push
quits 2 "a name that is none" tau new project 9lives --yes
is "$(tau new project hello --description 'My first' --yes --json | jq -r '.repositories[].name' | tr '\n' ' ')" "tb_hello tb_code_hello " "new project --json names both repositories"
quits 5 "a project's name is taken once" tau new project hello --location elsewhere --yes
unlike "$(cat hello/config/.git/config hello/.tau.json)" 'ctau_' "no token stands in the checkouts"
cd hello || exit 1
is "$(tau push --json | jq -c .builds)" "[]" "nothing to push after that"

# ---- functions and what can be changed
is "$(tau new function ping --template ping_pong --lang c --yes --json | jq -r '.urls | length')" 1 "new function --json has its URL"
quits 3 "a template that is not there" tau new function x --lang cobol --yes
like "$(tau new function x --lang cobol --yes 2>&1)" 'c/ping_pong' "and those that are"
is "$(find . -path '*/x*' ! -path '*/.git/*' | wc -l)" 0 "nothing of it stays"
quits 3 "a domain that is not there" tau new function x --lang c --domain Nope --yes
sed -i 's|method: GET|method: GET # read only|' config/functions/ping.yaml
quits 0 "tau edit" tau edit function ping --timeout 2s --memory 1MB
like "$(cat config/functions/ping.yaml)" '^  method: GET # read only$' "keeps comments"
like "$(cat config/functions/ping.yaml)" '^  timeout: 2s$' "and writes values"
quits 1 "a wrong value is refused" tau edit function ping --timeout soon
like "$(cat config/functions/ping.yaml)" '^  timeout: 2s$' "and changes nothing"
quits 1 "a domain in use is not deleted" tau delete domain GeneratedDomain --yes
like "$(tau push --dry-run)" 'functions/ping.yaml' "push --dry-run shows what would go"
is "$(git -C config log --oneline | wc -l)" 1 "and commits nothing"
said=$(tau push --yes 2>/dev/null); status=$?
is "$status" 0 "tau push without a message"
like "$said" '^  GET http://.*/ping   200 in [0-9.]+ ms   PONG$' "prints the answer and nothing else on stdout"
is "$(tau status --json | jq -r .live_revision)" 1 "tau status knows the revision"
like "$(tau query function ping)" '^call: ping|  call: ping' "tau query shows the file"
is "$(tau list functions --json=name,methods)" '[{"name":"ping","methods":["GET"]}]' "--json picks fields"
like "$(curl -s "$(tau open)")" PONG "tau open prints a URL that works"

# ---- two people
cd "$HOME" || exit 1
quits 0 "tau clone" tau clone hello other
quits 3 "of what is not there" tau clone nothing
echo '// theirs' >>other/code/functions/ping/ping_pong.c
quits 0 "the other one pushes" tau push -C other -m theirs
cd hello || exit 1
echo '# mine' >>code/functions/ping/.taubyte/config.yaml
quits 5 "who comes later gets a conflict" tau push -m mine
quits 0 "tau pull" tau pull
quits 0 "and then it goes" tau push
is "$(git -C code log --format=%s | tr '\n' ' ')" "mine theirs Add function ping " "with both changes"
cd ../other/code || exit 1
git pull -q && echo '// by git' >>functions/ping/ping_pong.c && git commit -qam 'by git'
quits 0 "plain git push needs no password" env GIT_TERMINAL_PROMPT=0 git push -q
cd ../../hello || exit 1
tau builds --follow >/dev/null 2>&1
is "$(tau builds --json | jq -r '.[0] | .subject + " " + .status')" "by git done" "and is a build too"

# ---- builds and the way back
id=$(tau builds --json | jq -r '.[0].id')
is "$(tau builds "$(printf %.6s "$id")" --json | jq -r .id)" "$id" "a build is found by the begin of its id"
like "$(tau builds "$id" --log)" 'is live' "its log"
quits 5 "what has ended is not cancelled" tau cancel "$id"
quits 0 "and can be run again" tau retry "$id"
quits 0 "and watched" tau builds --follow
quits 3 "a build that is not there" tau builds zzzz
live=$(tau status --json | jq -r .live_revision)
quits 0 "tau rollback" tau rollback
is "$(tau status --json | jq -r .live_revision)" $((live - 1)) "goes one back"
quits 3 "but not to what never was" tau rollback 4711
quits 0 "and forward again" tau rollback "$live"

# ---- logs, completion, the end
quits 3 "logs of a function that is not there" tau logs pnig
like "$(tau logs pnig 2>&1)" 'did you mean ping' "with a suggestion"
is "$(tau __complete new f)" function "completion of verbs"
is "$(tau __complete logs '')" ping "and of functions"
quits 0 "the other's last push is taken over" tau pull
quits 0 "tau delete function" tau delete function ping --yes
is "$(find code/functions config/functions -maxdepth 1 -name '*ping*' 2>/dev/null | wc -l)" 0 "removes its files"
quits 0 "and the push takes it off" tau push --yes
is "$(git -C config log -1 --format=%s)" "Delete function ping" "with a message that says so"
fqdn=$(sed -n 's/^fqdn: //p' config/domains/GeneratedDomain.yaml)
is "$(curl -s -o /dev/null -w '%{http_code}' -H "Host: $fqdn" http://127.0.0.1:14529/ping)" 404 "it answers no more"
quits 2 "deleting a project is asked about" tau delete project hello
quits 0 "or said so" tau delete project hello --yes
quits 3 "then it is gone" tau clone hello again
quits 0 "tau logout" tau logout
quits 4 "and nothing goes without" tau builds
stop_cloud
quits 3 "nor without a cloud" tau login
like "$(tau push --json)" '"exit":3' "errors are JSON where JSON is wanted"
finish
