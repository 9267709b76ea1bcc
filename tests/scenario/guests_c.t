#!/bin/sh
# Functions in C as users write them: several files, the C library, wrong sources, and what .taubyte may say.
. "$ROOT/tests/scenario/tap.sh"
cd "$HOME" || exit 1
dream new multiverse --daemon >/dev/null 2>&1
tau login >/dev/null
tau new project guests --yes >/dev/null 2>&1
cd guests || exit 1
tau new domain Second --fqdn second.example.org --yes >/dev/null 2>&1 || echo "# no second domain"
add() { # add NAME [FLAGS…]: a C function /NAME, its main.c from standard input
    name=$1; shift
    tau new function "$name" --template ping_pong --lang c --domain "${domains:-GeneratedDomain}" --path "${paths:-/$name}" --call "$name" --yes "$@" >/dev/null || echo "# no $name"
    rm -f code/functions/"$name"/*.c
    cat >"code/functions/$name/main.c"
}
push() { # push NAME: a push that has to work; prints nothing
    pushed=$(tau push -m "$1" 2>&1); status=$?
    is "$status" 0 "$1"
    [ "$status" = 0 ] || printf '%s\n' "$pushed" | sed 's/^/# /'
}
breaks() { # breaks PATTERN NAME: a push whose build fails, with a line like this
    pushed=$(tau push -m "$2" 2>&1); status=$?
    [ "$status" != 0 ] || pushed="it worked: $pushed"
    like "$pushed" "$1" "$2"
}

# ---- several files, headers, the C library
add files <<'C'
#include <taubyte.h>
#include "parts.h"
#include "more/deep.h"
TB_EXPORT(files) uint32_t files(tb_event e) { tb_http_print(e, part()); return tb_http_print(e, DEEP); }
C
mkdir code/functions/files/more
echo '#define DEEP " deep"' >code/functions/files/more/deep.h
printf '#pragma once\nconst char *part(void);\n' >code/functions/files/parts.h
printf '#include "parts.h"\nconst char *part(void) { return "parts"; }\n' >code/functions/files/parts.c
add libc <<'C'
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <math.h>
#include <errno.h>
#include <taubyte.h>
static int calls;
static int compare(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }
static unsigned long long fib(unsigned n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }
static void put(tb_event e, const char *text) { tb_http_print(e, text); }
TB_EXPORT(libc) uint32_t libc(tb_event e)
{
    char line[256], text[64];
    uint32_t n = tb_http_query(e, "n", text, sizeof text);
    char *end;
    errno = 0;
    long number = strtol(text, &end, 10);
    snprintf(line, sizeof line, "n=%ld end=%d errno=%d len=%u\n", number, *end, errno, (unsigned)n);
    put(e, line);
    char *words[] = {"pear", "apple", "fig"};
    qsort(words, 3, sizeof words[0], compare);
    snprintf(line, sizeof line, "%s %s %s\n", words[0], words[1], words[2]);
    put(e, line);
    snprintf(line, sizeof line, "fib %llu sqrt %.6f pow %.3e calls %d\n", fib(20), sqrt(2.0), pow(2, 0.5), ++calls);
    put(e, line);
    snprintf(line, sizeof line, "year %s\n", time(NULL) > 1700000000 ? "good" : "bad");
    put(e, line);
    char *big = malloc(1 << 20);
    snprintf(line, sizeof line, "malloc %s\n", big ? "good" : "bad");
    put(e, line);
    if (big) {
        memset(big, 'x', 1 << 20);
        big = realloc(big, 2 << 20);
        snprintf(line, sizeof line, "realloc %c\n", big ? big[1000] : '-');
        put(e, line);
        free(big);
    }
    if (number == 1) {
        char *volatile none = malloc(64 << 20);
        put(e, none ? "given" : "refused");
    }
    struct timespec now, then, ask = {0, 20000000};
    clock_gettime(CLOCK_MONOTONIC, &now);
    nanosleep(&ask, NULL);
    clock_gettime(CLOCK_MONOTONIC, &then);
    long long ns = (then.tv_sec - now.tv_sec) * 1000000000ll + then.tv_nsec - now.tv_nsec;
    snprintf(line, sizeof line, "slept %s\n", ns >= 20000000 && ns < 500000000 ? "good" : "bad");
    put(e, line);
    printf("printed %d\n", 42);
    fprintf(stderr, "complained\n");
    FILE *f = fopen("/etc/passwd", "r");
    snprintf(line, sizeof line, "file %s\n", f ? "open" : "none");
    put(e, line);
    return 0;
}
C
add nap --timeout 5s <<'C'
#include <time.h>
#include <taubyte.h>
TB_EXPORT(nap) uint32_t nap(tb_event e)
{
    struct timespec ask = {0, 100000000};
    nanosleep(&ask, NULL);
    return tb_http_print(e, "slept");
}
C
add one --timeout 5s <<'C'
#include <unistd.h>
#include <taubyte.h>
TB_EXPORT(one) uint32_t one(tb_event e) { usleep(400000); return tb_http_print(e, "one"); }
C
printf '  concurrency: 1\n' >>config/functions/one.yaml
add large <<'C'
#include <taubyte.h>
static char block[65536];
TB_EXPORT(large) uint32_t large(tb_event e)
{
    for (int i = 0; i < 80; i++) {
        for (uint32_t k = 0; k < sizeof block; k++)
            block[k] = (char)('a' + i % 26);
        if (tb_http_write(e, block, sizeof block) != TB_OK)
            return 1;
    }
    return 0;
}
C
add little <<'C'
#include <taubyte.h>
static char block[65536];
TB_EXPORT(little) uint32_t little(tb_event e) { return tb_http_write(e, block, sizeof block); }
C
printf '  response: 10KB\n' >>config/functions/little.yaml
paths=/show,/zeigen/ä,/x/y domains=GeneratedDomain,Second
add show --method POST <<'C'
#include <taubyte.h>
static char text[4096];
TB_EXPORT(show) uint32_t show(tb_event e)
{
    uint32_t n;
    getHttpEventMethodSize(e, &n); getHttpEventMethod(e, text, n); tb_http_write(e, text, n);
    tb_http_print(e, " ");
    getHttpEventPathSize(e, &n); getHttpEventPath(e, text, n); tb_http_write(e, text, n);
    tb_http_print(e, " [");
    n = tb_http_query(e, "q", text, sizeof text); tb_http_write(e, text, n);
    tb_http_print(e, "] ");
    getHttpEventRequestQueryKeysSize(e, &n); getHttpEventRequestQueryKeys(e, text);
    for (uint32_t i = 0; i < n; i++) if (!text[i]) text[i] = ',';
    return tb_http_write(e, text, n);
}
C
sed -i 's|^  method: POST|  methods: [GET, POST, DELETE]|' config/functions/show.yaml
paths= domains=
push "all of these build"
fqdn=$(sed -n 's/^fqdn: //p' config/domains/GeneratedDomain.yaml)
url=http://127.0.0.1:14529
get() { curl -s --max-time 20 -H "Host: $fqdn" "$@"; }
code() { get -o "$HOME/body" -w '%{http_code}' "$@"; }
is "$(get $url/files)" "parts deep" "several .c and .h files"
said=$(get "$url/libc?n=-123abc")
like "$said" '^n=-123 end=97 errno=0 len=7$' "strtol and snprintf"
like "$said" '^apple fig pear$' "qsort"
like "$said" '^fib 6765 sqrt 1\.414214 pow 1\.414e\+00 calls 1$' "recursion, floating point, printf of it"
like "$(get $url/libc)" 'calls 1$' "statics are fresh in each call"
like "$said" '^year good$' "time"
like "$said" '^malloc good$' "malloc"
like "$said" '^realloc x$' "realloc"
is "$(code "$url/libc?n=1")" 507 "malloc past the limit ends the call"
like "$said" '^slept good$' "nanosleep and the clock agree"
like "$said" '^file none$' "there are no files"
sleep 1.2
said=$(tau logs libc 2>&1)
like "$said" 'printed 42' "printf is in the log"
like "$said" 'complained' "and stderr"
get $url/nap >/dev/null
began=$(date +%s%3N)
for i in $(seq 200); do echo "url = $url/nap"; echo 'output = -'; done >"$HOME/naps"
naps=$(get -s -Z --parallel-max 200 --parallel-immediate -K "$HOME/naps" 2>/dev/null | grep -o slept | wc -l)
took=$(($(date +%s%3N) - began))
is "$naps" 200 "200 calls sleep at once"
ok "$([ "$took" -lt 1500 ]; echo $?)" "and together not much longer than one ($took ms)"
get -o /dev/null $url/one & sleep 0.15
is "$(get -o /dev/null -w '%{http_code} %header{retry-after}' $url/one)" "503 1" "one call at a time: the second is 503 with Retry-After"
wait
is "$(code $url/one)" 200 "and when it is over the next"
get $url/large >"$HOME/large"
is "$(wc -c <"$HOME/large")" 5242880 "5 MiB come"
is "$(tail -c 3 "$HOME/large")" bbb "to the end"
is "$(code $url/little)" 500 "a response past its limit"
like "$(cat "$HOME/body")" '"response"' "says so"

# ---- methods, paths, domains, what a URL may hold
is "$(get "$url/show?q=1")" "GET /show [1] q," "GET"
is "$(get -d x $url/x/y)" "POST /x/y [] " "POST on another path"
is "$(get -X DELETE "$url/show?q=a%26b&q=2&r")" "DELETE /show [a&b] q,r," "DELETE, an escape, two values"
is "$(code -X PUT $url/show)" 405 "PUT is not there"
is "$(get -I -o /dev/null -w '%{http_code}' $url/show)" 200 "HEAD is, as GET"
is "$(get "$url/zeigen/%C3%A4?q=%C3%BC%20+x")" "GET /zeigen/ä [ü  x] q," "umlauts in path and query"
is "$(get "$url/zeigen/ä")" "GET /zeigen/ä [] " "not escaped too"
is "$(get "$url/show?q=&r=&=")" "GET /show [] q,r,," "empty values and names"
is "$(get "$url/show?q=%zz&q=ok")" "GET /show [ok] q," "a broken escape is left out"
is "$(code "$url/show%zz")" 400 "or 400 in the path"
is "$(code "$url/%73how")" 200 "what need not be escaped is the same"
is "$(code "$url/show%2f")" 400 "an escaped slash is none"
is "$(curl -s -H 'Host: second.example.org' $url/show)" "GET /show [] " "the second domain"
is "$(curl -s -o /dev/null -w '%{http_code}' -H 'Host: second.example.org' $url/files)" 404 "has only what names it"

# ---- what is wrong in sources
cp -a code "$HOME/code.good"; rm -rf "$HOME/code.good/.git"
again() { rm -rf code/functions; cp -a "$HOME/code.good/functions" code/; }
printf 'int broken(;\n' >>code/functions/files/parts.h
breaks 'functions/files/parts\.h:3:12$' "an error in a header has its place"
again
sed -i 's/TB_EXPORT(files)//' code/functions/files/main.c
breaks 'the function "files" is not exported' "an export that is missing"
like "$pushed" 'TB_EXPORT' "and how it is exported"
again
sed -i 's/uint32_t files(tb_event e)/uint32_t files(double e)/; s/(e, /((tb_event)e, /g' code/functions/files/main.c
breaks 'files.*(signature|parameter|takes|uint32|i32)' "an export of another kind"
again
echo 'static char block[64 << 20]; TB_EXPORT(b) char b(int i) { block[i] = 1; return block[i / 2]; }' >>code/functions/files/main.c
breaks 'starts with [0-9]+ bytes of memory, but execution.memory allows 10000000$' "more static memory than the limit"
again
echo 'static int unused(void) { return 1; }' >>code/functions/files/parts.c
push "a warning is none of them"
like "$(tau builds "$(tau builds --json | jq -r '[.[]|select(.repository|endswith("code_guests"))][0].id // .[0].id')" --log)" 'parts.c:[0-9]+:[0-9]+: warning' "but stands in the log"
echo 'const char *nowhere(void); const char *part(void) { return nowhere(); }' >code/functions/files/parts.c
breaks 'nowhere' "a symbol that is nowhere"
again

# ---- what .taubyte may say
files=code/functions/files
mv $files/.taubyte $files/taubyte
cat >$files/taubyte/config.yaml <<'Y'
version: 1.00
enviroment:
  image: ctau/c:latest
  variables:
    GREETING: hello
    NUMBER: 7
workflow:
  - one
  - two
Y
rm $files/taubyte/build.sh
echo 'printf "#define SAID \"%s %s %s\"\n" "$GREETING" "$NUMBER" "$(pwd)" >said.h; echo "step one"' >$files/taubyte/one.sh
cat >$files/taubyte/two.sh <<'S'
#!/bin/bash
set -e
echo "step two"
clang --target=wasm32 -O2 -nostdlib -I/utils/include -Wl,--no-entry "$SRC"/*.c -o "$OUT/artifact.wasm"
S
sed -i 's/"parts.h"/&\n#include "said.h"/; s/DEEP)/SAID)/' $files/main.c
push "enviroment, taubyte/, two steps, variables, an own script"
is "$(get $url/files)" "partshello 7 /src" "and what they made runs"
log=$(tau builds "$(tau builds --json | jq -r .[0].id)" --log)
like "$log" 'step one' "what the steps print is in the log"
sed -i 's/^  - two/  - three/' $files/taubyte/config.yaml
breaks 'functions/files/taubyte/config.yaml:9:5$' "a step that is not there has its place"
sed -i 's/^  - three/  - two: [/' $files/taubyte/config.yaml
breaks 'functions/files/taubyte/config.yaml:[0-9]+:[0-9]+$' "YAML that is none has its place"
printf 'environment:\n  image: taubyte/cobol\nworkflow: [one]\n' >$files/taubyte/config.yaml
breaks 'no recipe for the image "taubyte/cobol"' "an image that is not there"
rm $files/taubyte/config.yaml
breaks 'config.yaml.*there is none' "no config.yaml"
rm -rf $files/taubyte
breaks 'config.yaml.*there is none' "no .taubyte"
rm -rf $files
breaks 'functions/files' "no code at all"
again
echo 'exit 3' >$files/.taubyte/build.sh
breaks 'functions/files.*|files.*(3|exit)' "a script that fails silently"
echo 'echo done' >$files/.taubyte/build.sh
breaks 'wasm' "a script that makes nothing"
echo 'echo nothing >$OUT/main.wasm' >$files/.taubyte/build.sh
breaks 'WebAssembly|wasm|module' "a script that makes something else"
echo 'while :; do echo flood; done' >$files/.taubyte/build.sh
breaks 'output|MiB' "a script that prints without end"
again
sed -i 's/"parts"/"more parts"/' $files/parts.c
sed -i 's|^//.*||; s/i < 80/i < 81/' code/functions/large/main.c
push "and all is well again"
like "$pushed" '^  GET .*/large   answers at length$' "a long answer is not shown"
like "$pushed" 'libc [0-9]+ kB \(cached\)' "and what stayed is not built again"

# ---- flags that are wrong make nothing
for flags in '--path noslash' '--path /q?x' '--path /two,/two' '--method FETCH' '--timeout 10' '--memory much' '--path /show --method GET'; do
    # shellcheck disable=SC2086 # flags are words
    quits 1 "tau new function $flags" tau new function wrong --lang c --yes $flags
done
like "$(tau new function wrong --lang c --timeout 10 --yes 2>&1)" 'did you mean .10s' "says what is meant"
is "$(git -C config status --short; git -C code status --short)" "" "and leaves no file"

# ---- applications, deletions, names, two at once
tau new application backoffice >/dev/null
tau new function inner --template ping_pong --lang c --application backoffice --domain GeneratedDomain --path /inner --yes >/dev/null
push "a function in an application"
like "$pushed" 'cached' "builds alone"
is "$(get $url/inner)" PONG "and answers"
mv config/functions/nap.yaml config/functions/doze.yaml
mv code/functions/nap code/functions/doze
sed -i 's|/nap|/doze|' config/functions/doze.yaml
tau delete function one --yes >/dev/null
push "one is renamed, one deleted"
is "$(code $url/nap) $(code $url/one) $(get $url/doze)" "404 404 slept" "routes follow"
tau rollback >/dev/null
is "$(get $url/nap) $(get $url/one) $(code $url/doze)" "slept one 404" "and come back"
for i in $(seq 30); do
    echo '#include <taubyte.h>
TB_EXPORT(f) uint32_t f(tb_event e) { return tb_http_print(e, "f'$i'"); }' | add f$i
    sed -i 's/call: .*/call: f/' config/functions/f$i.yaml
done
push "thirty more"
is "$(for i in $(seq 30); do get $url/f$i; done)" "$(for i in $(seq 30); do printf f$i; done)" "all answer"
sed -i 's/"f1"/"first"/' code/functions/f1/main.c; tau push -m a >/dev/null 2>&1
sed -i 's/"first"/"second"/' code/functions/f1/main.c
git -C code commit -qam b; git -C code push -q 2>/dev/null
sed -i 's/"second"/"third"/' code/functions/f1/main.c
git -C code commit -qam c; git -C code push -q 2>/dev/null
tau builds --follow >/dev/null 2>&1
is "$(get $url/f1)" third "of pushes in a row the last is live"
finish
