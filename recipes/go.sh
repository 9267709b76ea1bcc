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
    # reseed.go knows the runtime of these versions by heart.
    go=$(command -v go)
    reseed=
    read -r version <"${go%/bin/go}/VERSION" || version=
    case $version in go1.24* | go1.25* | go1.26*) reseed=$UTILS/go ;; esac
    awk -v out="$work/src" -v from="$SRC" -v reseed="$reseed" -f "$UTILS/go/rewrite.awk" "$@" \
        >"$work/overlay.json" || return 1
    # What a fetch resolved says more than the sources.
    if [ -f /fetched/go.mod ]; then
        cp /fetched/go.mod /fetched/go.sum "$work/"
        return
    fi
    [ -f go.mod ] || printf 'module function\n\ngo 1.24\n' >go.mod || return 1
    cat go.mod >"$work/go.mod"
    # What the wrappers of upstream's image would add; others a fetch finds.
    if grep -q '"github.com/taubyte/go-sdk/' "$@" && ! grep -q 'github.com/taubyte/go-sdk ' go.mod; then
        printf '\nrequire github.com/taubyte/go-sdk v0.3.9\n' >>"$work/go.mod"
    fi
    printf '\nreplace github.com/taubyte/go-sdk-symbols => %s/go/symbols\n' "$UTILS" >>"$work/go.mod"
    cat "$UTILS/go/go.sum" >"$work/go.sum"
    [ ! -f go.sum ] || cat go.sum >>"$work/go.sum"
}

# Paths as the user knows them, and no header with the package's name. The compiler says the
# module's name where the linker and the type checker say nothing.
go_said() {
    module=$(sed -n 's/^module[ \t]*//p' go.mod)
    sed -e '/^# /d' -e "s#^${module:-function}/\([^@: ]*\.go:\)#./\1#" -e "s#$work/\(src/\|\(go\.mod\)\)#$SRC/\2#g" -e "s#^\./#$SRC/#" \
        -e "s#^\([^./@: ][^@: ]*\.go:\)#$SRC/\1#" \
        "$work/said" >&2
}

build() {
    go_prepare || return 1
    go build -modfile="$work/go.mod" -overlay "$work/overlay.json" -ldflags='-s -w -checklinkname=0' \
        -buildmode=c-shared -o "$OUT/main.wasm" . 2>"$work/said"
    status=$?
    if [ $status != 0 ] && [ ! -f /fetched/go.mod ] &&
        grep -qE 'GOPROXY=off|read-only file system' "$work/said"; then
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
