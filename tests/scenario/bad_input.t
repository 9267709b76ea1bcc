#!/bin/sh
# Wrong input gets a precise answer and loses nothing.
. "$ROOT/tests/scenario/tap.sh"
cd "$HOME" || exit 1

quits 3 "tau without a cloud says so" tau login
quits 2 "an unknown verb is a usage error" dream nwe multiverse
like "$(dream nwe multiverse 2>&1)" 'new' "with a suggestion"
dream new multiverse --daemon >/dev/null 2>&1
quits 5 "a second multiverse of the same home is refused" dream new multiverse --daemon
tau login --universe blackhole >/dev/null
tau new project hello --yes >/dev/null 2>&1
cd hello || exit 1
tau new function cping --template ping_pong --lang c --domain GeneratedDomain --path /ping --yes >/dev/null
tau push -m first >/dev/null 2>&1
fqdn=$(sed -n 's/^fqdn: //p' config/domains/GeneratedDomain.yaml)
url=http://127.0.0.1:14529
is "$(curl -s -H "Host: $fqdn" $url/ping)" PONG "a function that works"

quits 5 "a name that is taken" tau new function cping --template ping_pong --lang c --domain GeneratedDomain --yes
commits=$(git -C config rev-list --count HEAD)
cp config/functions/cping.yaml keep.yaml
sed -i 's/method: GET/method: FETCH/' config/functions/cping.yaml
said=$(tau validate 2>&1); status=$?
is "$status" 1 "a wrong YAML value fails tau validate"
like "$said" 'functions/cping.yaml:[0-9]+:[0-9]+' "with file, line and column"
quits 1 "tau push refuses before it pushes" tau push -m broken
is "$(git -C config rev-list --count HEAD)" "$commits" "and nothing was committed"
mv keep.yaml config/functions/cping.yaml

file=$(ls code/functions/cping/*.c)
cp "$file" keep.c
echo 'int broken(void) { return nothing; }' >>"$file"
said=$(tau push -m broken 2>&1); status=$?
is "$status" 1 "a push of broken code fails"
like "$said" 'functions/cping/[a-z_]*\.c:[0-9]+:[0-9]+' "with the compiler's error at file:line"
is "$(curl -s -H "Host: $fqdn" $url/ping)" PONG "the last good deployment stays live"
mv keep.c "$file"

cat >"$file" <<'C'
#include <taubyte.h>
TB_EXPORT(pong) uint32_t pong(tb_event e) { uint32_t n; return eventHttpWrite(e, "X", 1, &n); }
C
said=$(tau push -m export 2>&1); status=$?
is "$status" 1 "a missing export fails the build"
like "$said" 'ping|pong' "and is named"
git -C code checkout -q HEAD~2 -- functions/cping && tau push -m back >/dev/null 2>&1
is "$(curl -s -H "Host: $fqdn" $url/ping)" PONG "and the next good push is live"

is "$(curl -s -o /dev/null -w '%{http_code}' -H "Host: $fqdn" $url/nothing)" 404 "an unknown path is 404"
is "$(curl -s -o /dev/null -w '%{http_code}' -X DELETE -H "Host: $fqdn" $url/ping)" 405 "another method is 405"
like "$(curl -s -H "Host: unknown.blackhole.localhost:8080" http://127.0.0.1:8080/ping)" "${fqdn%%.*}|/ping" "an unknown host on localhost is told which exist"
is "$(printf 'GET /ping HTTP/1.1\r\nHost: %s\r\nHost: b\r\n\r\n' "$fqdn" | timeout 5 python3 -c "import socket,sys; s=socket.create_connection((\"127.0.0.1\",14529)); s.sendall(sys.stdin.buffer.read()); sys.stdout.buffer.write(s.recv(4096))" 2>/dev/null | head -c 12)" "HTTP/1.1 400" "two Host headers are 400"
is "$(curl -s -o /dev/null -w '%{http_code}' -H "Host: $fqdn" -H 'Content-Length: 1073741824' --max-time 5 -X GET $url/ping)" 413 "a body of 1 GB is 413 before it is read"

is "$(curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:1421/v1/status)" 401 "the API wants a token"
is "$(curl -s -o /dev/null -w '%{http_code}' -H 'Authorization: Bearer ctau_wrong' http://127.0.0.1:1421/v1/status)" 401 "a wrong one is 401"
is "$(curl -s -o /dev/null -w '%{http_code}' -H 'Origin: http://evil.example' http://127.0.0.1:1421/ping)" 403 "a page of another origin is refused"
is "$(curl -s -o /dev/null -w '%{http_code}' -H 'Host: evil.example' http://127.0.0.1:1421/ping)" 403 "and so is another Host"
repo="http://127.0.0.1:1421/$USER/tb_hello.git"
like "$(curl -s -i "$repo/info/refs?service=git-upload-pack")" '^WWW-Authenticate: Basic' "git is asked for a token"
unlike "$(curl -s -i -H 'Sec-Fetch-Mode: cors' "$repo/info/refs?service=git-upload-pack")" '^WWW-Authenticate' "a page's fetch is not"
is "$(curl -s -o /dev/null -w '%{http_code}' "http://127.0.0.1:14424/github/none" -X POST -d '{}')" 401 "an unsigned webhook is 401"
stop_cloud
finish
