# The C recipe: all .c files of the folder, by clang, as one freestanding module of 64 KiB.
#
# A source that includes more of <> than taubyte.h and the headers of the compiler itself gets
# wasi-libc; LIBC=1 or LIBC=0 among the variables of .taubyte/config.yaml decides otherwise.
# CFLAGS and LDFLAGS from there are added (LDFLAGS are wasm-ld's own, behind -Wl, with libc). The
# names of functions stay in the module, for traces.

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
    flags="-O2 -Wall -mbulk-memory -I$UTILS/include ${CFLAGS-}"
    if libc_wanted; then
        # shellcheck disable=SC2086 # flags are words
        # errno is thread-local, which clang 14 knows here in one model only.
        clang --target=wasm32-wasi -ftls-model=local-exec -mexec-model=reactor $flags -Wl,--strip-debug -Wl,-z,stack-size=16384 \
            -Wl,--stack-first "$@" ${LDFLAGS-} -o "$OUT/main.wasm"
        return
    fi
    # One compiler per file and the linker itself: clang as a driver would load LLVM once more.
    objects=
    number=0
    for file; do
        object=/tmp/$number.o
        number=$((number + 1))
        # shellcheck disable=SC2086
        clang --target=wasm32 $flags -c "$file" -o "$object" || return 1
        objects="$objects $object"
    done
    # shellcheck disable=SC2086
    wasm-ld -m wasm32 --no-entry --strip-debug -z stack-size=16384 --stack-first $objects ${LDFLAGS-} \
        -o "$OUT/main.wasm"
}
