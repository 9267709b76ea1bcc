#!/bin/sh
# A git host elsewhere announces a push: believed when its signature over the raw bytes fits, and not otherwise.
. "$ROOT/tests/scenario/tap.sh"
cd "$HOME" || exit 1
dream new multiverse --daemon >/dev/null 2>&1
tau login --universe blackhole >/dev/null
tau new project hello --yes >/dev/null 2>&1
cd hello || exit 1
tau new function cping --template ping_pong --lang c --domain GeneratedDomain --path /ping --yes >/dev/null
tau push -m first >/dev/null 2>&1
hook=$(tau webhook code --json)
url=$(printf '%s' "$hook" | jq -r .url)
secret=$(printf '%s' "$hook" | jq -r .secret)
like "$url" '^http://127.0.0.1:14424/github/[A-Za-z0-9]+$' "tau webhook names patrick's door"
commit=$(git -C code rev-parse HEAD)
printf '{"ref":"refs/heads/main","before":"0","after":"%s","head_commit":{"message":"by webhook","author":{"name":"Bob"}}}' "$commit" >payload
signed() { printf 'sha256=%s' "$(openssl dgst -sha256 -hmac "$1" -r <payload | cut -d' ' -f1)"; }
deliver() { curl -s -o "$HOME/body" -w '%{http_code}' -H "X-Hub-Signature-256: $1" -H "X-GitHub-Event: ${2:-push}" --data-binary @payload "$url"; }
is "$(deliver "$(signed "$secret")")" 202 "a signed push is taken"
job=$(cat "$HOME/body")
is "$(tau builds --json | jq -r --arg id "$job" '.[] | select(.id == $id) | .commit')" "$commit" "and names the job of that commit"
is "$(deliver "$(signed "$secret")")$(cat "$HOME/body")" "202$job" "delivered twice it is the same job"
is "$(deliver "$(signed wrong)")" 401 "a wrong signature is refused"
is "$(deliver "")" 401 "and none"
is "$(curl -s -o /dev/null -w '%{http_code}' -H "X-Hub-Signature: sha1=$(openssl dgst -sha1 -hmac "$secret" -r <payload | cut -d' ' -f1)" --data-binary @payload "$url")" 401 "and a SHA-1 one"
is "$(curl -s -o /dev/null -w '%{http_code}' --max-time 5 -X POST -H 'Content-Length: 20000000' "${url%/*}/none")" 401 "an unknown hook's body is not waited for"
is "$(deliver "$(signed "$secret")" ping)" 200 "a ping is answered"
echo broken >payload
is "$(deliver "$(signed "$secret")")" 400 "signed nonsense is a bad request"
like "$(cat "$HOME/body")" 'not JSON' "and is told so"
stop_cloud
finish
