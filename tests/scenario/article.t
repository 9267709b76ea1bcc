#!/bin/sh
# The seed article, line by line, by terminal: what its browser steps do, tau does.
. "$ROOT/tests/scenario/tap.sh"
cd "$HOME" || exit 1

said=$(dream new multiverse --daemon 2>"$HOME/noise"); status=$?
is "$status" 0 "dream new multiverse --daemon returns once every node is ready"
is "$said" "[INFO] Dreamland ready
[SUCCESS] Universe blackhole started!" "it prints the article's two lines"
unlike "$(cat "$HOME/noise")" ERROR "there is no ERROR to ignore"

table=$(dream status universe)
is "$(printf '%s\n' "$table" | sed -n 1,6p)" "┌───────┬─────────────────────┬────────┬───────┐
│ Nodes │ elder@blackhole     │ p2p    │ 14051 │
│       ├─────────────────────┼────────┼───────┤
│       │ tns@blackhole       │ http   │ 14466 │
│       │                     ├────────┼───────┤
│       │                     │ p2p    │ 14226 │" "dream status universe begins as in the article"
is "$(dream status substrate)" "┌─────────────────────┬────────┬───────┐
│ substrate@blackhole │ copies │     1 │
│                     ├────────┼───────┤
│                     │ dns    │ 14304 │
│                     ├────────┼───────┤
│                     │ http   │ 14529 │
│                     ├────────┼───────┤
│                     │ p2p    │ 14282 │
└─────────────────────┴────────┴───────┘" "dream status substrate equals the article's table"
is "$(dream status universe --json | jq -r '.universe, (.nodes | length)' | tr '\n' ' ')" "blackhole 10 " "ten nodes run"
is "$(dream status substrate --json | jq -c '.nodes[0].ports')" '{"dns":14304,"http":14529,"p2p":14282}' "and as JSON"

quits 0 "tau login asks nothing" tau login --universe blackhole
quits 0 "tau new project makes a project" tau new project hello --yes
ok "$([ -d hello/config/.git ] && [ -d hello/code/.git ]; echo $?)" "with two checkouts"
cd hello || exit 1
quits 0 "tau new function from the Go template" tau new function ping_pong --template ping_pong --lang go --domain GeneratedDomain --yes
is "$(sed -n '2,$p' config/functions/ping_pong.yaml)" "description: Returns pong to a ping over HTTP
tags: []
source: .
trigger:
  type: https
  method: GET
  paths:
    - /ping
domains:
  - GeneratedDomain
execution:
  timeout: 10s
  memory: 10MB
  call: ping" "its YAML has the article's keys in the article's order"
like "$(cat config/domains/GeneratedDomain.yaml)" '^fqdn: [0-9a-z]{8}0\.blackhole\.localtau$' "the generated domain has the article's shape"
like "$(ls -A code/functions/ping_pong | tr '\n' ' ')" '\.taubyte .*go\.mod .*\.go' "the code has go.mod, a handler and .taubyte"

said=$(tau push -m first 2>&1); status=$?
is "$status" 0 "tau push builds and deploys"
[ "$status" = 0 ] || printf '%s\n' "$said" | sed 's/^/# /'
like "$said" PONG "and ends with the function's answer"
fqdn=$(sed -n 's/^fqdn: //p' config/domains/GeneratedDomain.yaml)
is "$(curl -s -H "Host: $fqdn" http://127.0.0.1:14529/ping)" PONG "curl with the Host header gives PONG (Go)"
is "$(curl -s --resolve "$fqdn:14529:127.0.0.1" "http://$fqdn:14529/ping")" PONG "and by name"
url=$(tau query function ping_pong --json | jq -r '.urls[0]')
like "$url" "^http://${fqdn%.localtau}\.localhost:8080/ping$" "tau query names the URL that browsers resolve"
host=${url#http://}; host=${host%%/*}
is "$(curl -s --resolve "$host:127.0.0.1" "$url")" PONG "the gateway answers there"
is "$(tau builds --json | jq -r '.[].status' | sort -u)" "done" "both jobs are done"
is "$(tau builds --json | jq length)" 2 "one for configuration and one for code"
is "$(tau builds --json | jq -r '[.[].assets[].name] | unique | .[]')" ping_pong "the asset is listed"

said=$(dream inject push-all 2>&1); status=$?
is "$status" 0 "dream inject push-all builds both again and waits"
is "$(curl -s -H "Host: $fqdn" http://127.0.0.1:14529/ping)" PONG "PONG as before"

quits 0 "a C function beside it" tau new function cping --template ping_pong --lang c --domain GeneratedDomain --path /cping --yes
said=$(tau push -m second 2>&1); status=$?
is "$status" 0 "its push"
[ "$status" = 0 ] || printf '%s\n' "$said" | sed 's/^/# /'
is "$(curl -s -H "Host: $fqdn" http://127.0.0.1:14529/cping)" PONG "curl gives PONG (C)"
is "$(curl -s -H "Host: $fqdn" http://127.0.0.1:14529/ping)" PONG "and the Go function answers still"

dig=$(dig +short +tries=1 @127.0.0.1 -p 14304 "$fqdn" A)
is "$dig" 127.0.0.1 "seer resolves the generated domain over UDP"
is "$(dig +short +tcp +tries=1 @127.0.0.1 -p 14304 "$fqdn" A)" 127.0.0.1 "and over TCP"
like "$(dig +tries=1 @127.0.0.1 -p 14304 nothing.blackhole.localtau A)" 'status: NXDOMAIN' "and knows what is not there"

quits 0 "dream kill all" dream kill all
said=$(dream new multiverse --daemon 2>&1); status=$?
is "$status" 0 "the cloud starts again"
is "$(curl -s -H "Host: $fqdn" http://127.0.0.1:14529/ping)" PONG "with everything in it: PONG"
stop_cloud
finish
