# The C recipe: all .c files of the folder, by clang, as one freestanding module of 64 KiB.
#
# A source that includes more of <> than taubyte.h and the headers of the compiler itself gets
# wasi-libc; LIBC=1 or LIBC=0 among the variables of .taubyte/config.yaml decides otherwise.
# CFLAGS and LDFLAGS from there are added. The names of functions stay in the module, for traces.

libc_wanted() {
    case ${LIBC-} in
    1) return 0 ;;
    0) return 1 ;;
    esac
    own='taubyte|stddef|stdint|stdbool|stdarg|limits|float|stdalign|stdnoreturn|iso646'
    grep -hs '^[[:space:]]*#[[:space:]]*include[[:space:]]*<' ./*.c ./*.h |
        grep -qvE "<($own)\.h>"
}

build() {
    cd "$SRC" || return 1
    set -- *.c
    if [ ! -f "$1" ]; then
        echo "error: there is no .c file here" >&2
        return 1
    fi
    # Absolute names, so that messages name the folder.
    for file; do
        set -- "$@" "$SRC/$file"
        shift
    done
    flags="-O2 -Wall -mbulk-memory -I$UTILS/include -Wl,--strip-debug -Wl,-z,stack-size=16384 -Wl,--stack-first"
    if libc_wanted; then
        flags="--target=wasm32-wasi -mexec-model=reactor $flags"
    else
        flags="--target=wasm32 -nostdlib -Wl,--no-entry $flags"
    fi
    # shellcheck disable=SC2086 # flags are words
    clang $flags ${CFLAGS-} "$@" ${LDFLAGS-} -o "$OUT/main.wasm"
}
