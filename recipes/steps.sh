# Runs a build's steps one after the other; the first that fails ends it.
cd "$SRC" || exit 1
for step; do
    [ ! -e "$OUT/ret-code" ] || rm -f "$OUT/ret-code"
    /bin/sh "$step" || exit $?
    # The scripts of upstream's templates leave their status here and end with 0.
    if [ -s "$OUT/ret-code" ]; then
        read -r status <"$OUT/ret-code" || :
        case $status in '' | 0 | *[!0-9]*) ;; *) exit "$status" ;; esac
    fi
done
