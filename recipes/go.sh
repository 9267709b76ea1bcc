# The Go recipe: standard toolchain, sources untouched (rewritten copies go in through -overlay).
#
# `package X` becomes `package main`, `//export f` becomes go:wasmexport, and the host functions of
# github.com/taubyte/go-sdk come from our own declarations (go/symbols). Modules come from a cache
# that this room can not write; what it lacks is named in $OUT/.fetch, and exit status 75 asks for it.

export GOOS=wasip1 GOARCH=wasm CGO_ENABLED=0 GOTOOLCHAIN=local GO111MODULE=on GOWORK=off GOENV=off
export GOFLAGS='-mod=mod -buildvcs=false -trimpath'

# Leaves $work with overlay.json, go.mod and go.sum.
go_prepare() {
    cd "$SRC" || return 1
    work=/tmp/go-work
    mkdir -p "$work/src" || return 1
    set -- *.go
    if [ ! -f "$1" ]; then
        echo "error: there is no .go file here" >&2
        return 1
    fi
    awk -v out="$work/src" -v from="$SRC" -f "${UTILS:=/utils}/go/rewrite.awk" "$@" >"$work/overlay.json" || return 1
    # A former step of this build, or the fetch, may have resolved more than the sources say.
    if [ -f "$OUT/.mod/go.mod" ]; then
        cp "$OUT"/.mod/go.* "$work/"
        return
    fi
    if [ -f go.mod ]; then cat go.mod; else printf 'module function\n\ngo 1.24\n'; fi >"$work/go.mod"
    printf '\nreplace github.com/taubyte/go-sdk-symbols => %s/go/symbols\n' "$UTILS" >>"$work/go.mod"
    cat "$UTILS/go/go.sum" >"$work/go.sum"
    [ ! -f go.sum ] || cat go.sum >>"$work/go.sum"
}

build() {
    go_prepare || return 1
    go build -modfile="$work/go.mod" -overlay "$work/overlay.json" -ldflags='-s -w' -buildmode=c-shared \
        -o "$OUT/main.wasm" . 2>"$work/said"
    status=$?
    if [ $status != 0 ] && [ ! -f "$OUT/.mod/go.mod" ] && grep -q 'GOPROXY=off' "$work/said"; then
        grep 'GOPROXY=off' "$work/said" >"$OUT/.fetch"
        return 75
    fi
    # Paths as the user knows them, and no header with the package's name.
    sed -e '/^# /d' -e "s#^\./#$SRC/#" "$work/said" >&2
    return $status
}

# With the network and without running anything of the sources: resolves and loads modules.
fetch() {
    go_prepare || return 1
    go list -modfile="$work/go.mod" -overlay "$work/overlay.json" -deps . >/dev/null 2>"$work/said"
    status=$?
    sed -e "s#^\./#$SRC/#" "$work/said" >&2
    [ $status = 0 ] || return $status
    mkdir -p "$OUT/.mod" && cp "$work/go.mod" "$work/go.sum" "$OUT/.mod/"
}
