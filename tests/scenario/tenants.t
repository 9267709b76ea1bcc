#!/bin/sh
# Two accounts of one universe: neither reads, changes, builds or serves what belongs to the other, by whatever door.
. "$ROOT/tests/scenario/tap.sh"
cd "$HOME" || exit 1
dream new multiverse --daemon >/dev/null 2>&1
api=http://127.0.0.1:1421

begin() { # begin ACCOUNT PROJECT: logs in, in a home of its own, and deploys a function
    mkdir -p "$HOME/$1" && cd "$HOME/$1" || exit 1
    tau login --account "$1" >/dev/null
    tau new project "$2" --yes >/dev/null 2>&1
    cd "$2" || exit 1
    tau new function cping --template ping_pong --lang c --domain GeneratedDomain --path /ping --yes >/dev/null
    tau push -m first >/dev/null 2>&1
}
token_of() { jq -r '.. | .token? // empty' "$HOME/.config/ctau/tau.json" | head -n 1; }
begin alice shop
alice=$(token_of) hers=$PWD
fqdn=$(sed -n 's/^fqdn: //p' config/domains/GeneratedDomain.yaml)
begin bob stall
bob=$(token_of) his=$PWD
bobs=$(sed -n 's/^fqdn: //p' config/domains/GeneratedDomain.yaml)
ok "$([ -n "$alice" ] && [ -n "$bob" ] && [ "$alice" != "$bob" ]; echo $?)" "each has a token"

as() { # as TOKEN SUBJECT JSON: status and body
    curl -s -w '\n%{http_code}' -H "Authorization: Bearer $1" -H 'Content-Type: application/json' -d "$3" "$api/v1/universes/blackhole/ask/$2"
}
status() { as "$@" | tail -n 1; }
answer() { as "$@" | sed '$d'; }
project=$(answer "$alice" auth.project.list '{}' | jq -r '.projects[0].id')
configuration=$(answer "$alice" auth.project.list '{}' | jq -r '.projects[0].configuration')
code=$(answer "$alice" auth.project.list '{}' | jq -r '.projects[0].code')
own=$(answer "$bob" auth.project.list '{}' | jq -r '.projects[0].id')
job=$(answer "$alice" patrick.jobs "{\"project\":\"$project\"}" | jq -r '.jobs[0].id')
ok "$([ ${#project} -gt 10 ] && [ ${#code} -gt 10 ] && [ ${#job} -gt 10 ] && [ ${#own} -gt 10 ]; echo $?)" "what is hers is known by its ids"

# ---- by ids: what works for her is not there for him
for ask in "auth.project.get {\"id\":\"$project\"}" "auth.repository.get {\"id\":\"$code\"}" "auth.repository.hook {\"id\":\"$code\"}" \
    "auth.domain.list {\"project\":\"$project\"}" "tns.get {\"project\":\"$project\"}" "tns.list {\"project\":\"$project\"}" \
    "patrick.jobs {\"project\":\"$project\"}" "patrick.job {\"id\":\"$job\"}" "patrick.log {\"id\":\"$job\"}" \
    "substrate.status {\"project\":\"$project\"}" "substrate.logs {\"project\":\"$project\"}"; do
    is "$(status "$alice" "${ask%% *}" "${ask#* }") $(status "$bob" "${ask%% *}" "${ask#* }")" "200 404" "${ask%% *} is hers alone"
done
for ask in "auth.project.delete {\"id\":\"$project\"}" "auth.repository.delete {\"id\":\"$code\"}" "auth.domain.claim {\"project\":\"$project\",\"fqdn\":\"x.example.com\"}" \
    "tns.live.set {\"project\":\"$project\",\"revision\":1}" "tns.remove {\"project\":\"$project\"}" "patrick.retry {\"id\":\"$job\"}" \
    "patrick.cancel {\"id\":\"$job\"}" "patrick.replay {\"project\":\"$project\"}"; do
    is "$(status "$bob" "${ask%% *}" "${ask#* }")" 404 "${ask%% *} is not his"
done

# ---- by tricks with fields
is "$(answer "$bob" auth.project.list '{"owner":"alice"}' | jq -r '.projects[].owner' | sort -u)" bob "another owner's name is not listened to"
is "$(status "$bob" auth.repository.list '{"owner":"bob","owner":"alice"}')" 400 "nor one that stands there twice"
is "$(status "$bob" auth.project.get '{"owner":"alice","name":"shop"}')" 404 "by name he gets his own"
is "$(status "$bob" auth.project.get "{\"id\":\"$project\",\"owner\":\"bob\",\"name\":\"stall\"}")" 404 "an id beside his own name"
is "$(status "$bob" auth.repository.get "{\"id\":\"$code\",\"owner\":\"alice\",\"name\":\"tb_code_shop\"}")" 404 "a name beside an id"
for empty in '{}' '{"project":""}' '{"project":"\u0000"}' "{\"project\":\"$own/../$project\"}" "{\"project\":\"$own\\u0000$project\"}" '{"project":["x"]}' '{"project":null}'; do
    unlike "$(status "$bob" patrick.jobs "$empty")" '^[25]' "jobs of $empty"
done
is "$(status "$bob" patrick.jobs "{\"project\":\"$own\",\"project\":\"$project\"}")" 400 "a project and another"
unlike "$(as "$bob" patrick.jobs "{\"project\":\"$own\",\"owner\":\"alice\"}")" 'tb_code_shop' "jobs of his project are his jobs"
like "$(status "$bob" patrick.replay '{}')" '^4' "nor is everything built again"
like "$(status "$bob" patrick.replay "{\"project\":\"$own\",\"repository\":\"$code\"}")" '^200' "his project"
is "$(answer "$bob" patrick.replay "{\"project\":\"$own\",\"repository\":\"$code\"}" | jq '.jobs | length')" 0 "has no repository of hers"
unlike "$(status "$bob" auth.project.create "{\"name\":\"thief\",\"configuration\":\"$configuration\",\"code\":\"$code\",\"owner\":\"alice\"}")" '^2' "her repositories make no project of his"
for denied in auth.login auth.hook.secret auth.deploy.key tns.publish tns.projects patrick.push patrick.branch.set patrick.log.add hoarder.read hoarder.collect seer.heartbeat worker.start monkey.status nothing.at.all; do
    like "$(status "$bob" "$denied" '{"account":"alice","hook":"x","project":"x"}')" '^40[34]$' "$denied is for no account"
done

# ---- the machine's own routes
for route in "POST stop" "DELETE universes/blackhole" "POST universes/mine" "POST universes/blackhole/nodes/auth@blackhole/stop"; do
    is "$(curl -s -o /dev/null -w '%{http_code}' -X "${route%% *}" -H "Authorization: Bearer $bob" "$api/v1/${route#* }")" 403 "${route%% *} ${route#* } needs the machine's token"
done
machine=$(jq -r .token "$DREAM_HOME/api.json")
is "$(curl -s -o /dev/null -w '%{http_code}' -H "Authorization: Bearer $machine" $api/v1/status)" 200 "which is"
for wrong in "${machine%?}" "${machine}x" "" "${bob%?}" "ctau_" "null"; do
    is "$(curl -s -o /dev/null -w '%{http_code}' -H "Authorization: Bearer $wrong" $api/v1/status)" 401 "a token of ${#wrong} letters is none"
done
is "$(curl -s -o /dev/null -w '%{http_code}' "$api/v1/status?token=$machine&access_token=$machine")" 401 "nor is one in the query"
is "$(curl -s -o /dev/null -w '%{http_code}' -u "x:$bob" $api/v1/status) $(curl -s -o /dev/null -w '%{http_code}' -u "$bob:" $api/v1/status)" "200 401" "a Basic password is one, a user is not"
is "$(curl -s -o /dev/null -w '%{http_code}' -X POST -H 'Content-Type: text/plain' -d '{}' $api/v1/stop)" 401 "a page's simple POST has none"
is "$(curl -s -o /dev/null -w '%{http_code}' --max-time 5 -X POST -H "Authorization: Bearer $bob" -H 'Content-Length: 20000000' $api/v1/universes/blackhole/ask/auth.project.list)" 413 "a question of 20 MB is not read"
for door in "14466/projects" "14466/repositories" "14466/me"; do
    unlike "$(curl -s -H "Authorization: Bearer $bob" "http://127.0.0.1:$door")" 'alice|shop' "auth's door $door tells him nothing of hers"
done

# ---- git
is "$(git -c credential.helper= ls-remote "http://x:$alice@127.0.0.1:1421/alice/tb_code_shop.git" 2>/dev/null | grep -c main)" 1 "she reads her repository"
for path in alice/tb_code_shop Alice/tb_code_shop @blackhole/alice/tb_code_shop bob/../alice/tb_code_shop bob/%2e%2e/alice/tb_code_shop bob%2f..%2falice/tb_code_shop; do
    unlike "$(curl -s --path-as-is -o /dev/null -w '%{http_code}' -u "bob:$bob" "$api/$path.git/info/refs?service=git-upload-pack")" '^[25]' "he does not as $path"
    unlike "$(curl -s --path-as-is -o /dev/null -w '%{http_code}' -u "alice:$bob" "$api/$path.git/info/refs?service=git-receive-pack")" '^[25]' "nor writes"
done
before=$(git -C "$hers/code" rev-parse HEAD)
git -C "$his/code" -c credential.helper= push -q "http://x:$bob@127.0.0.1:1421/alice/tb_code_shop.git" HEAD:refs/heads/main --force >/dev/null 2>&1
is "$(git -c credential.helper= ls-remote "http://x:$alice@127.0.0.1:1421/alice/tb_code_shop.git" refs/heads/main | cut -f1)" "$before" "a push of his moves nothing of hers"

# ---- host names: hers with all of its paths
cd "$his" || exit 1
cat >config/domains/stolen.yaml <<YAML
id: $(sed -n 's/^id: //p' config/domains/GeneratedDomain.yaml | tr '1-8' '2-9')
description: hers
fqdn: $(printf '%s' "$fqdn" | tr '[:lower:]' '[:upper:]')
certificate:
  type: auto
YAML
tau new function steal --template ping_pong --lang c --domain stolen --path /login --yes >/dev/null 2>&1
said=$(tau push -m steal 2>&1); status=$?
is "$status" 1 "a function of his under her host is refused"
like "$said" 'another project serves' "and is told why"
is "$(curl -s -o /dev/null -w '%{http_code}' -H "Host: $fqdn" http://127.0.0.1:14529/login)" 404 "there is nothing of his"
is "$(curl -s -H "Host: $fqdn" http://127.0.0.1:14529/ping)$(curl -s -H "Host: $bobs" http://127.0.0.1:14529/ping)" PONGPONG "both serve what they served"
is "$(answer "$alice" auth.domain.claim "{\"project\":\"$project\",\"fqdn\":\"shop.example.com\"}" | jq -r '.claims[0].project')" "$project" "a claim of hers"
is "$(status "$bob" auth.domain.claim "{\"project\":\"$own\",\"fqdn\":\"SHOP.example.com\"}")" 409 "is not claimed again"

# ---- a token that was given back
is "$(status "$bob" auth.token.revoke "{\"token\":\"$bob\"}") $(status "$bob" auth.project.list '{}')" "200 401" "a revoked token is none"
is "$(curl -s -o /dev/null -w '%{http_code}' -u "bob:$bob" "$api/bob/tb_code_stall.git/info/refs?service=git-upload-pack")" 401 "for git neither"
is "$(status "$alice" auth.project.list '{}')" 200 "hers is what it was"
stop_cloud
finish
