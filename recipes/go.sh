# The Go recipe: standard toolchain, sources untouched (rewritten copies go in through -overlay).
#
# `package X` becomes `package main`, `//export f` becomes go:wasmexport, and the host functions of
# github.com/taubyte/go-sdk come from our own declarations (go/symbols). Modules come from a cache
# that this room can not write; $OUT/.fetch asks for what it lacks.

export GOOS=wasip1 GOARCH=wasm CGO_ENABLED=0 GOTOOLCHAIN=local GO111MODULE=on GOWORK=off GOENV=off
export GOFLAGS='-mod=mod -buildvcs=false -trimpath'
# The package cache is read-only; an index of a module that is new there would be written to it.
export GODEBUG=goindex=0

# Leaves $work with overlay.json, go.mod and go.sum.
go_prepare() {
    cd "$SRC" || return 1
    work=${WORK:-/tmp/go-work}
    mkdir -p "$work/src" || return 1
    set -- *.go
    if [ ! -f "$1" ]; then
        echo "error: there is no .go file here" >&2
        return 1
    fi
    awk -v out="$work/src" -v from="$SRC" -v utils="${UTILS:=/utils}" -f "$UTILS/go/rewrite.awk" "$@" >"$work/overlay.json" || return 1
    # What a fetch resolved says more than the sources.
    if [ -f /fetched/go.mod ]; then
        cp /fetched/go.mod /fetched/go.sum "$work/"
        return
    fi
    if [ -f go.mod ]; then cat go.mod; else printf 'module function\n\ngo 1.24\n'; fi >"$work/go.mod"
    printf '\nreplace github.com/taubyte/go-sdk-symbols => %s/go/symbols\n' "$UTILS" >>"$work/go.mod"
    cat "$UTILS/go/go.sum" >"$work/go.sum"
    [ ! -f go.sum ] || cat go.sum >>"$work/go.sum"
}

# Paths as the user knows them, and no header with the package's name.
go_said() {
    sed -e '/^# /d' -e "s#$work/src/#$SRC/#g" -e "s#^\./#$SRC/#" -e "s#^\([^/: ]*\.go:\)#$SRC/\1#" "$work/said" >&2
}

build() {
    go_prepare || return 1
    go build -modfile="$work/go.mod" -overlay "$work/overlay.json" -ldflags='-s -w -checklinkname=0' -buildmode=c-shared \
        -o "$OUT/main.wasm" . 2>"$work/said"
    status=$?
    if [ $status != 0 ] && [ ! -f /fetched/go.mod ] && grep -qE 'GOPROXY=off|read-only file system' "$work/said"; then
        cp "$work/said" "$OUT/.fetch"
        return 75
    fi
    go_said
    return $status
}

# With the network and without running anything of the sources: resolves and loads modules.
fetch() {
    go_prepare || return 1
    go list -modfile="$work/go.mod" -overlay "$work/overlay.json" -deps . >/dev/null 2>"$work/said"
    status=$?
    go_said
    [ $status = 0 ] || return $status
    cp "$work/go.mod" "$work/go.sum" "$OUT/"
}
