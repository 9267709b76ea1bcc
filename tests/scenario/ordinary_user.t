#!/bin/sh
# Nobody special: the article's way from nothing to PONG as an ordinary user, builds in their sandbox included.
if [ "$(id -u)" = 0 ]; then
    # Root's folders need not be readable for others: the programs are given along, and nothing of root's home.
    home=$(mktemp -d /tmp/ctau-nobody-XXXXXX) && chmod 755 "$home" || exit 1
    trap 'rm -rf "$home"' EXIT
    mkdir -p "$home/bin" "$home/tmp" "$home/tests/scenario" && cp -L "$(command -v dream)" "$home/bin/dream" &&
        cp -L "$(dirname "$(command -v dream)")/meshd" "$home/bin/meshd" && ln -s dream "$home/bin/tau" &&
        cp "$ROOT/tests/scenario/tap.sh" "$0" "$home/tests/scenario" && chown -R 65534:65534 "$home" || exit 1
    cd / && setpriv --reuid=65534 --regid=65534 --clear-groups env -u CTAU_CACHE HOME="$home" TMPDIR="$home/tmp" \
        DREAM_HOME="$home/dream" ROOT="$home" PATH="$home/bin:/usr/local/bin:/usr/bin:/bin" /bin/sh "$home/tests/scenario/ordinary_user.t"
    exit
fi
. "$ROOT/tests/scenario/tap.sh"
cd "$HOME" || exit 1
if ! bwrap --ro-bind / / --unshare-all true 2>/dev/null; then
    echo "1..0 # skip an ordinary user may not make a sandbox here (user namespaces)"; exit 0
fi
unlike "$(id -u)" '^0$' "we are not root"
like "$(dream doctor)" '✓ sandbox' "dream doctor finds that a sandbox can be made"
said=$(dream new multiverse --daemon 2>&1); status=$?
is "$status" 0 "dream new multiverse --daemon"
[ "$status" = 0 ] || printf '%s\n' "$said" | sed 's/^/# /'
is "$(find "$DREAM_HOME" ! -user "$(id -u)" | wc -l | tr -d ' ')" 0 "everything in DREAM_HOME is ours"
is "$(find "$DREAM_HOME" \( -name '*.db' -o -name '*.key' -o -name api.json \) -perm /077)" "" "and secrets and records are for nobody else"
quits 0 "tau login" tau login --universe blackhole
quits 0 "tau new project" tau new project hello --yes
cd hello || exit 1
quits 0 "tau new function in C" tau new function ping --template ping_pong --lang c --domain GeneratedDomain --yes
said=$(tau push -m first 2>&1); status=$?
is "$status" 0 "tau push builds in the sandbox and deploys"
[ "$status" = 0 ] || { printf '%s\n' "$said" | sed 's/^/# /'; tau builds | sed 's/^/# /'; }
fqdn=$(sed -n 's/^fqdn: //p' config/domains/GeneratedDomain.yaml)
path=$(sed -n 's/^ *- \(\/[a-z_]*\)$/\1/p' config/functions/ping.yaml)
is "$(curl -s -H "Host: $fqdn" "http://127.0.0.1:14529$path")" PONG "curl gives PONG"
sed -i 's/"PONG"/"PANG"/' code/functions/ping/ping_pong.c
quits 0 "a change is pushed" tau push -m second
is "$(curl -s -H "Host: $fqdn" "http://127.0.0.1:14529$path")" PANG "and answers"
echo 'int ping(' >code/functions/ping/ping_pong.c
quits 1 "a change that does not compile fails" tau push -m broken
is "$(curl -s -H "Host: $fqdn" "http://127.0.0.1:14529$path")" PANG "and what was live stays"
quits 0 "dream kill all" dream kill all
is "$(ours | wc -l | tr -d ' ')" 0 "leaves nothing running"
finish
