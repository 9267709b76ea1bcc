#!/bin/sh
# Guests that loop, trap, recurse, eat memory or write without end: a precise status each, and nobody else notices.
. "$ROOT/tests/scenario/tap.sh"
cd "$HOME" || exit 1
dream new multiverse --daemon >/dev/null 2>&1
tau login --universe blackhole >/dev/null
tau new project hostile --yes >/dev/null 2>&1
cd hostile || exit 1
add() { # add NAME BODY [FLAGS…]: a C function /NAME whose body is given
    name=$1 body=$2; shift 2
    tau new function "$name" --template ping_pong --lang c --domain GeneratedDomain --path "/$name" --call "$name" --yes "$@" >/dev/null || echo "# no $name"
    rm -f code/functions/"$name"/*.c
    printf '#include <taubyte.h>\n#define LIT(s) (s), (uint32_t)(sizeof(s) - 1)\n%s\n' "$body" >"code/functions/$name/main.c"
}
add good 'TB_EXPORT(good) uint32_t good(tb_event e) { uint32_t n; return eventHttpWrite(e, "PONG", 4, &n); }'
add spin 'TB_EXPORT(spin) uint32_t spin(tb_event e) { for (volatile unsigned i = 0;; i++) if (i == 0xffffffffu) return e; }' --timeout 300ms
add trap 'TB_EXPORT(trap) uint32_t trap(tb_event e) { (void)e; __builtin_trap(); }'
add eat 'TB_EXPORT(eat) uint32_t eat(tb_event e) { while (__builtin_wasm_memory_grow(0, 16) != (__SIZE_TYPE__)-1); uint32_t n; return eventHttpWrite(e, "ate", 3, &n); }' --memory 4MB
add deep 'static __attribute__((noinline)) unsigned down(unsigned n) { volatile unsigned keep[16]; keep[n % 16] = n; return n == 0xffffffffu ? 0 : down(n + 1) + keep[n % 16]; }
TB_EXPORT(deep) uint32_t deep(tb_event e) { return down(e); }'
add flood 'static char block[32768]; TB_EXPORT(flood) uint32_t flood(tb_event e) { uint32_t n; for (int i = 0; i < 40000; i++) if (eventHttpWrite(e, block, sizeof block, &n)) return 1; return 0; }'
add late 'TB_EXPORT(late) uint32_t late(tb_event e) { uint32_t n; eventHttpWrite(e, "no", 2, &n); eventHttpRetCode(e, 418); return eventHttpHeaderAdd(e, LIT("X-Late"), LIT("yes")); }'
add echo 'static char buf[4096]; TB_EXPORT(echo) uint32_t echo(tb_event e) { uint32_t n = 0, w, r; do { r = readHttpEventBody(e, buf, sizeof buf, &n); if (r != 0 && r != 8) return r; if (n) eventHttpWrite(e, buf, n, &w); } while (r == 0); return 0; }' --method POST
add again 'static uint32_t counter; TB_EXPORT(again) uint32_t again(tb_event e) { uint32_t n; counter++; return eventHttpWrite(e, counter == 1 ? "fresh" : "stale", 5, &n); }'
add heads 'TB_EXPORT(heads) uint32_t heads(tb_event e) { uint32_t n; eventHttpHeaderAdd(e, LIT("X-Cut"), LIT("a\r\nSet-Cookie: b=c")); while (eventHttpHeaderAdd(e, LIT("X-Many"), LIT("yes")) == 0) { } return eventHttpWrite(e, "heads", 5, &n); }'
said=$(tau push -m hostile 2>&1); status=$?
is "$status" 0 "they build"
[ "$status" = 0 ] || printf '%s\n' "$said" | sed 's/^/# /'
fqdn=$(sed -n 's/^fqdn: //p' config/domains/GeneratedDomain.yaml)
url=http://127.0.0.1:14529
code() { curl -s -o "$HOME/body" -w '%{http_code}' --max-time 20 -H "Host: $fqdn" "$@"; }

is "$(code $url/good)" 200 "a good one answers"
is "$(code $url/spin)" 504 "a loop ends at its timeout"
is "$(code $url/trap)" 500 "a trap is 500"
like "$(cat "$HOME/body")" '[A-Za-z0-9]{20,}' "with a request id"
unlike "$(cat "$HOME/body")" 'unreachable|wasm' "and nothing of its inside"
is "$(code $url/eat)" 507 "past its memory is 507"
is "$(code $url/deep)" 500 "endless recursion is 500"
curl -s -o /dev/null --max-time 20 -H "Host: $fqdn" $url/flood; status=$?
ok "$([ "$status" != 0 ]; echo $?)" "a response without end breaks off (curl says $status)"
is "$(code $url/late)" 418 "a status after the body counts"
is "$(code -X POST --data-binary @"$ROOT/README.md" $url/echo; cmp "$HOME/body" "$ROOT/README.md" >/dev/null && echo same)" 200same "a body comes back whole"
for by in $url http://127.0.0.1:8080; do
    is "$(curl -s -i -H "Host: $fqdn" $by/heads | tr -d '\r' | awk '/^X-Many/ { many++ } /^Set-Cookie/ { cut++ } END { print $0, (many > 200), cut + 0 }')" "heads 1 0" "many headers pass, none of them ends a line, by $by"
done
for _ in 1 2 3; do curl -s -H "Host: $fqdn" $url/again; done >"$HOME/fresh"
is "$(cat "$HOME/fresh")" freshfreshfresh "memory is fresh for each call"

(for _ in 1 2 3 4; do curl -s -o /dev/null --max-time 20 -H "Host: $fqdn" $url/spin & done; wait) &
slow=0
for _ in 1 2 3 4 5 6 7 8 9 10; do [ "$(code $url/good)" = 200 ] || slow=$((slow + 1)); done
is "$slow" 0 "while loops run, others answer"
wait
sleep 1.2
said=$(tau logs trap 2>&1)
like "$said" 'trap|unreachable' "the trap is in the function's log"
like "$said" 'trap' "with its backtrace"
like "$(dream status substrate --json | jq -r '.nodes[0].name')" substrate "the universe is well"
is "$(tau query function good --json | jq -r '.name')" good "tau query answers"
stop_cloud
finish
