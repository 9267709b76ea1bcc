#!/bin/sh
# Functions in Go as users write them: the whole HTTP event, the standard library, modules, and sources that are wrong.
. "$ROOT/tests/scenario/tap.sh"
cd "$HOME" || exit 1
dream new multiverse --daemon >/dev/null 2>&1
tau login >/dev/null
tau new project guests --yes >/dev/null 2>&1
cd guests || exit 1
add() { # add NAME [FLAGS…]: a Go function /NAME, its main.go from standard input
    name=$1; shift
    tau new function "$name" --template ping_pong --lang go --domain GeneratedDomain --path "/$name" --call "$name" --yes "$@" >/dev/null || echo "# no $name"
    rm -f code/functions/"$name"/*.go
    cat >"code/functions/$name/main.go"
}
push() { # push NAME: a push that has to work
    pushed=$(tau push -m "$1" 2>&1); status=$?
    is "$status" 0 "$1"
    [ "$status" = 0 ] || printf '%s\n' "$pushed" | sed 's/^/# /'
}
breaks() { # breaks PATTERN NAME: a push whose build fails, with a line like this
    pushed=$(tau push -m "$2" 2>&1); status=$?
    [ "$status" != 0 ] || pushed="it worked: $pushed"
    like "$pushed" "$1" "$2"
}

# ---- the event and the standard library; one function with several files, a sub-package and many exports
add all --method POST --memory 64MB --timeout 2s <<'GO'
// Package main, as the standard toolchain would have it.
package main

import (
	"bytes"
	crand "crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand"
	"os"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"function/inner"

	"example.org/near"

	"github.com/taubyte/go-sdk/event"
	http "github.com/taubyte/go-sdk/http/event"
)

type answer struct {
	Method, Path, Host, Agent string
	Query, Headers            map[string]string
	Names                     []string
	Body                      string
}

var calls int
var started = time.Now()
var words = regexp.MustCompile(`^/(\w+)/?(.*)$`)

/*
package nothing is a line of a comment, and no clause.
*/
func main() { panic("main is not called") }

//export all
func all(e event.Event) uint32 {
	h, err := e.HTTP()
	if err != nil {
		return 1
	}
	kind, _ := h.Query().Get("do")
	calls++
	if run, ok := doers[kind]; ok {
		if err := run(h); err != nil {
			h.Return(500)
			h.Write([]byte(err.Error()))
		}
		return 0
	}
	h.Return(404)
	return 0
}

var doers = map[string]func(http.Event) error{
	"": echo, "pieces": pieces, "many": many, "teapot": teapot, "away": away, "cookies": cookies,
	"random": random, "crypt": crypt, "routines": routines, "sleep": sleep, "panic": panics, "large": large,
	"inner": func(h http.Event) error { return say(h, inner.Text(), near.By(), " ", other(), " ", calls) },
	"nil": func(h http.Event) error { var m map[string]int; m["x"] = 1; return nil },
	"deadlock": func(h http.Event) error { <-make(chan int); return nil },
	"exit": func(h http.Event) error { os.Exit(3); return nil },
	"log": func(h http.Event) error { log.Print("logged"); fmt.Println("printed", 42); println("built in"); fmt.Fprintln(os.Stderr, "to stderr"); fmt.Print("no newline"); return say(h, "ok") },
	"file": func(h http.Event) error { _, err := os.ReadFile("/etc/passwd"); return say(h, err) },
	"time": func(h http.Event) error { return say(h, time.Now().Year() > 2020, started.IsZero(), time.Now().UTC().Location()) },
	"timeout": func(h http.Event) error { select { case <-time.After(30 * time.Millisecond): return say(h, "after"); case <-make(chan int): return nil } },
	"spin": func(h http.Event) error { go func() { for { } }(); for { calls++ } },
	"float": func(h http.Event) error { f, err := strconv.ParseFloat("1e-3", 64); return say(h, f*3, " ", err) },
	"eat": func(h http.Event) error { var all [][]byte; for { all = append(all, make([]byte, 1<<20)) } },
	"deep": func(h http.Event) error { return say(h, deep(1)) },
}

func deep(n int) int { return deep(n+1) + 1 }

func say(h http.Event, what ...any) error { _, err := h.Write([]byte(fmt.Sprint(what...))); return err }

func echo(h http.Event) error {
	var a answer
	var err error
	var errs []error
	keep := func(err error) { if err != nil { errs = append(errs, err) } }
	a.Method, err = h.Method(); keep(err)
	a.Path, err = h.Path(); keep(err)
	a.Host, err = h.Host(); keep(err)
	a.Agent, err = h.UserAgent(); keep(err)
	a.Query, a.Headers = map[string]string{}, map[string]string{}
	names, err := h.Query().List(); keep(err)
	for _, name := range names {
		a.Query[name], err = h.Query().Get(name); keep(err)
	}
	a.Names, err = h.Headers().List(); keep(err)
	sort.Strings(a.Names)
	for _, name := range a.Names {
		a.Headers[name], err = h.Headers().Get(name); keep(err)
	}
	body := h.Body()
	all, err := io.ReadAll(body); keep(err)
	keep(body.Close())
	a.Body = string(all)
	if e := errors.Join(errs...); e != nil { return e }
	h.Headers().Set("Content-Type", "application/json; charset=utf-8")
	text, err := json.Marshal(a)
	if err != nil { return err }
	_, err = h.Write(text)
	return err
}

func pieces(h http.Event) error {
	part := make([]byte, 7)
	count, total := 0, 0
	var all bytes.Buffer
	for {
		n, err := h.Body().Read(part)
		all.Write(part[:n])
		total += n
		count++
		if err == io.EOF { break }
		if err != nil { return err }
	}
	return say(h, count, " ", total, " ", strings.ToUpper(all.String()))
}

func many(h http.Event) error {
	for i := range 5 {
		if err := say(h, i, ";"); err != nil { return err }
		h.Flush()
	}
	return nil
}

func teapot(h http.Event) error { say(h, "short and stout"); return h.Return(418) }
func away(h http.Event) error   { return h.Redirect("/elsewhere?a=b").Temporary() }
func cookies(h http.Event) error {
	cookie, _ := h.Headers().Get("cookie")
	h.Headers().Set("Set-Cookie", "a=1; Path=/")
	h.Headers().Set("Set-Cookie", "b=2; HttpOnly")
	return say(h, cookie)
}
func random(h http.Event) error { return say(h, rand.Int63(), " ", rand.Intn(1000000000)) }
func crypt(h http.Event) error {
	b := make([]byte, 16)
	if _, err := crand.Read(b); err != nil { return err }
	return say(h, hex.EncodeToString(b))
}
func routines(h http.Event) error {
	var group sync.WaitGroup
	var lock sync.Mutex
	sum := 0
	results := make(chan int)
	for i := 1; i <= 100; i++ {
		group.Add(1)
		go func() {
			defer group.Done()
			time.Sleep(time.Millisecond * time.Duration(i%5))
			lock.Lock(); sum += i; lock.Unlock()
			results <- i
		}()
	}
	go func() { group.Wait(); close(results) }()
	got := 0
	for r := range results { got += r }
	return say(h, sum, " ", got)
}
func sleep(h http.Event) error {
	began := time.Now()
	time.Sleep(100 * time.Millisecond)
	took := time.Since(began)
	return say(h, took >= 100*time.Millisecond && took < 900*time.Millisecond)
}
func panics(h http.Event) error { say(h, "half"); panic(errors.New("what a pity")) }
func large(h http.Event) error {
	_, err := h.Write(bytes.Repeat([]byte("0123456789abcdef"), 5<<20/16))
	return err
}

//export matched
func matched(e event.Event) uint32 {
	h, _ := e.HTTP()
	path, _ := h.Path()
	say(h, strings.Join(words.FindStringSubmatch(path)[1:], "|"))
	return 0
}
GO
sed -i 's|^  method: POST|  methods: [GET, POST]|' config/functions/all.yaml
dir=code/functions/all
mkdir -p $dir/inner
printf 'package main\n\nfunc other() string { return "other" }\n' >$dir/other.go
printf 'package main\n\nimport "testing"\n\nfunc TestNothing(t *testing.T) {}\n' >$dir/main_test.go
printf '//go:build linux\n\npackage main\n\nfunc other() string { return "linux" }\n' >$dir/native.go
printf '// Package inner is below.\npackage inner\n\nimport _ "embed"\n\n//go:embed text.txt\nvar text string\n\nfunc Text() string { return text }\n' >$dir/inner/inner.go
printf 'embedded' >$dir/inner/text.txt
mkdir $dir/near
printf 'module example.org/near\n\ngo 1.24\n' >$dir/near/go.mod
printf 'package near\n\nfunc By() string { return "near" }\n' >$dir/near/near.go
printf '\nrequire example.org/near v0.0.0\n\nreplace example.org/near => ./near\n' >>$dir/go.mod
sed -i 's/$/\r/' $dir/other.go
add lines --method GET <<'GO'
/*
package nothing is a line of a comment, and no clause.
*/
package lib // Windows wrote this

import "github.com/taubyte/go-sdk/event"

// named otherwise than exported
//
//export lines
func anything(
	e event.Event,
) uint32 {
	h, _ := e.HTTP()
	h.Write([]byte("lines"))
	return 0
}
GO
sed -i 's/$/\r/' code/functions/lines/main.go
push "one of everything builds"
fqdn=$(sed -n 's/^fqdn: //p' config/domains/GeneratedDomain.yaml)
url=http://127.0.0.1:14529
get() { curl -s --max-time 20 -H "Host: $fqdn" "$@"; }
code() { get -o "$HOME/body" -w '%{http_code}' "$@"; }
is "$(get $url/lines)" lines "a function named otherwise, its lines by Windows"
said=$(get -A tester -H 'x-mine: 1' -H 'X-Empty;' --data-binary 'a body' "$url/all?a=1&b=%C3%A4%20x&a=2&empty&z=")
is "$(printf %s "$said" | jq -r '.Method + " " + .Path + " " + .Agent + " " + .Body')" "POST /all tester a body" "method, path, agent, body"
is "$(printf %s "$said" | jq -r .Host)" "$fqdn" "host"
is "$(printf %s "$said" | jq -c .Query)" '{"a":"1","b":"ä x","empty":"","z":""}' "queries"
is "$(printf %s "$said" | jq -c .Headers)" '{"Accept":"*/*","Content-Length":"6","Content-Type":"application/x-www-form-urlencoded","User-Agent":"tester","X-Empty":"","X-Mine":"1"}' "headers"
is "$(get -o /dev/null -w '%{content_type}' $url/all)" "application/json; charset=utf-8" "a header set"
is "$(get -A '' -H 'Accept:' $url/all)" "Getting HTTP request User Agent size failed with: ErrorZeroSize" "without a user agent it is told"
is "$(get -d 'hello pieces of a body' "$url/all?do=pieces")" "4 22 HELLO PIECES OF A BODY" "the body in pieces"
is "$(get "$url/all?do=pieces")" "1 0 " "and none"
head -c 300000 /dev/zero | tr '\0' x >"$HOME/upload"
is "$(get --data-binary @"$HOME/upload" $url/all | jq '.Body|length')" 300000 "a large body"
is "$(get "$url/all?do=many")" "0;1;2;3;4;" "several writes"
is "$(code "$url/all?do=teapot")" 418 "a status after the body"
is "$(get -o /dev/null -w '%{http_code} %header{location}' "$url/all?do=away")" "307 /elsewhere?a=b" "a redirect"
like "$(get -i -b 'c=3; d=4' "$url/all?do=cookies" | tr -d '\r')" 'et-[Cc]ookie: a=1; Path=/' "a cookie"
like "$(get -i -b 'c=3; d=4' "$url/all?do=cookies" | tr -d '\r')" 'et-[Cc]ookie: b=2; HttpOnly' "and another"
is "$(get -b 'c=3; d=4' "$url/all?do=cookies")" "c=3; d=4" "and those that came"
is "$(for i in $(seq 20); do get "$url/all?do=random"; echo; done | sort -u | wc -l)" 20 "math/rand differs in each call"
is "$(for i in $(seq 20); do get "$url/all?do=crypt"; echo; done | grep -E '^[0-9a-f]{32}$' | sort -u | wc -l)" 20 "crypto/rand too"
is "$(get "$url/all?do=routines")" "5050 5050" "goroutines and channels"
is "$(get "$url/all?do=sleep")" true "time.Sleep"
is "$(get "$url/all?do=timeout")" after "time.After in a select"
is "$(get "$url/all?do=time")" "true false UTC" "time"
is "$(get "$url/all?do=float")" "0.003 <nil>" "floating point"
is "$(get "$url/all?do=inner")$(get "$url/all?do=inner")" "embeddednear other 1embeddednear other 1" "a sub-package, a module, another file, an embedded one, fresh variables"
like "$(get "$url/all?do=file")" 'open /etc/passwd: ' "there are no files"
is "$(get "$url/all?do=log")" ok "what logs"
is "$(code "$url/all?do=panic")" 500 "a panic is 500"
unlike "$(cat "$HOME/body")" 'half|pity' "and tells nothing"
is "$(code "$url/all?do=nil")" 500 "a nil map"
is "$(code "$url/all?do=deadlock")" 500 "all asleep"
is "$(code "$url/all?do=spin")" 504 "a loop with a goroutine in it ends at its timeout"
is "$(code "$url/all?do=eat")" 507 "eating memory"
is "$(code "$url/all?do=deep")" 500 "endless recursion"
like "$(code "$url/all?do=exit")" '^(200|500)$' "os.Exit"
is "$(get "$url/all?do=large" | cksum)" "$(i=0; yes 0123456789abcdef | tr -d '\n' | head -c 5242880 | cksum)" "5 MiB come"
sleep 1.2
said=$(tau logs all --lines 1000 2>&1)
for word in logged 'printed 42' 'built in' 'to stderr' 'no newline' 'what a pity' 'nil map' 'deadlock|asleep'; do
    like "$said" "$word" "in the log: $word"
done
like "$said" 'main\.go:[0-9]+|main\.panics' "a panic with its trace"

# ---- another export of the same sources; what is built when little changes
sed -i 's/call: all/call: matched/; s|- /all|- /all/deep/er|' config/functions/all.yaml
push "only the export changes"
is "$(get $url/all/deep/er)" "all|deep/er" "and the other export runs"
sed -i 's/call: matched/call: all/; s|- /all/deep/er|- /all|' config/functions/all.yaml
push "and back"

# ---- sources that are wrong
cp -a $dir "$HOME/good"
back() { rm -rf $dir; cp -a "$HOME/good" $dir; }
printf 'package main\n\nfunc x() {\n\treturn 1 +\n}\n' >$dir/x.go
breaks 'functions/all/x.go:5:1$' "a syntax error has its place"
printf 'package main\n\nimport "os"\n' >$dir/x.go
breaks 'functions/all/x.go:3:8$' "an import that is not used"
printf 'package main\n\nfunc x() int { return nothing }\n' >$dir/x.go
breaks 'undefined: nothing' "a name that is nowhere"
printf 'package other\n\nfunc x() {}\n' >$dir/x.go
tau push -m 'two packages' >"$HOME/said" 2>&1; like "$(cat "$HOME/said")" 'package|live' "two packages in a folder"
rm $dir/x.go
printf 'package inner\n\nfunc x() int { return "" }\n' >$dir/inner/x.go
breaks 'functions/all/inner/x.go:3:' "an error in the sub-package has its place"
rm $dir/inner/x.go
sed -i 's|^//export all|//export al|' $dir/main.go
breaks 'the function "all" is not exported.*al' "an export that is missing"
back
sed -i 's|^func all(e event.Event) uint32 {|func all(e event.Event, s string) float64 {|' $dir/main.go
breaks 'functions/all|all.*(signature|takes|parameter)' "an export of another kind"
back
sed -i 's|^func all(e event.Event) uint32 {|func all(e event.Event) (uint32, error) {|' $dir/main.go
breaks 'functions/all/main.go:[0-9]+:[0-9]+$' "what the compiler itself says has its place"
back
printf 'package main\n\nfunc init() { panic("no") }\n' >$dir/x.go
breaks 'before any call, in a package variable or init' "a panic in init"
printf 'package main\n\nimport "example.org/no/such/module"\n\nfunc x() { module.Y() }\n' >$dir/x.go
breaks 'example.org/no/such/module' "a module that can not be had is named"
rm $dir/x.go
rm $dir/*.go
breaks 'no .go file' "no sources"
back
push "and all is well again"
finish
