# What scenarios share: TAP lines with what was expected and what came, and a cloud that ends with the script.
number=0
ok() { # ok CONDITION-STATUS NAME
    number=$((number + 1))
    if [ "$1" = 0 ]; then echo "ok $number $2"; else echo "not ok $number $2"; fi
}
is() { # is GOT WANTED NAME
    number=$((number + 1))
    if [ "$1" = "$2" ]; then echo "ok $number $3"; else
        echo "not ok $number $3"; printf '%s\n' "wanted: $2" "got:    $1" | sed 's/^/# /'
    fi
}
like() { # like TEXT PATTERN NAME (grep -E)
    number=$((number + 1))
    if printf '%s\n' "$1" | grep -qE -- "$2"; then echo "ok $number $3"; else
        echo "not ok $number $3"; printf '%s\n' "no line like: $2" "$1" | sed 's/^/# /'
    fi
}
unlike() { # unlike TEXT PATTERN NAME
    number=$((number + 1))
    if printf '%s\n' "$1" | grep -qE -- "$2"; then
        echo "not ok $number $3"; printf '%s\n' "a line like: $2" "$1" | sed 's/^/# /'
    else echo "ok $number $3"; fi
}
quits() { # quits STATUS NAME COMMAND…: the command ends with this status
    wanted=$1 what=$2; shift 2
    said=$("$@" 2>&1) && status=0 || status=$?
    number=$((number + 1))
    if [ "$status" = "$wanted" ]; then echo "ok $number $what"; else
        echo "not ok $number $what"; printf '%s\n' "wanted status $wanted, got $status:" "$said" | sed 's/^/# /'
    fi
}
ours() { # process ids of this scenario's clouds and workers: ours by user, program and, where we may look, by network
    here=$(readlink /proc/self/ns/net)
    for pid in $(pgrep -u "$(id -u)" -f 'dream (worker|new multiverse)|tau start --shape|meshd -parent'); do
        there=$(readlink "/proc/$pid/ns/net" 2>/dev/null || true)
        [ -n "$there" ] && [ "$there" != "$here" ] || echo "$pid"
    done
}
# CLOUD=processes: the same script on nodes that are processes of their own.
program=$(command -v dream)
if [ "${CLOUD:-}" ] && [ ! -e "$HOME/.cloud/dream" ]; then
    mkdir -p "$HOME/.cloud"
    cat >"$HOME/.cloud/dream" <<END
#!/bin/sh
case "\$1 \${2:-}" in
"new multiverse" | "start "*) case " \$* " in *processes*) ;; *) exec "$program" "\$@" --$CLOUD ${CLOUD_FLAGS:-} ;; esac ;;
esac
exec "$program" "\$@"
END
    chmod +x "$HOME/.cloud/dream"
    PATH=$HOME/.cloud:$PATH
fi
cloud_processes() { # how many processes a cloud of one universe has: dream, its workers; or nodes, meshd, two times workers
    if [ "${CLOUD:-}" ]; then echo "$((1 + 10 + 1 + 2 * $(nproc)))"; else echo "$((1 + $(nproc)))"; fi
}
finish() { echo "1..$number"; }
stop_cloud() { dream kill all >/dev/null 2>&1 || true; }
trap stop_cloud EXIT
git config --global user.name "Alice Example"
git config --global user.email alice@example.com
git config --global init.defaultBranch main
USER=alice; export USER
