# Writes copies of TinyGo-flavoured sources as the standard Go toolchain wants them, and the overlay.
#
# awk -v from=FOLDER -v out=FOLDER -v reseed=FOLDER -f rewrite.awk FILE.go... >overlay.json
#   package X                                  ->  package main
#   //export f    + func with a body           ->  //go:wasmexport f
#   //export f    + func without a body        ->  //go:wasmimport MODULE f (//go:wasm-module, or env)
# Lines keep their numbers, so compiler messages point at the user's.
function quoted(text) { gsub(/\\/, "\\\\", text); gsub(/"/, "\\\"", text); return "\"" text "\"" }
function place(name, copy) {
    printf "%s%s:%s", files++ ? "," : "{\"Replace\":{", quoted(from "/" name), quoted(copy)
}
function entry(name) { place(name, out "/" name) }
FNR == 1 {
    if (copy != "") close(copy)
    skip = FILENAME ~ /_test\.go$/
    copy = out "/" FILENAME
    done = held = 0
    module = ""
    if (!skip) entry(FILENAME)
}
skip { next }
/^package +[A-Za-z_0-9]+[ \t;]*(\/[\/*].*)?\r?$/ && !done { sub(/^package +[A-Za-z_0-9]+/, "package main"); done = 1 }
/^\/\/go:wasm-module /        { module = $2; print "//" >copy; next }
/^\/\/export [A-Za-z_]/       { if (held) print "//" >copy; name = $2; held = 1; next }
held && /^func / {
    # A signature that goes on in the next line is one of a function with a body.
    if (/[{(,][ \t]*(\/\/.*)?\r?$|\{.*\}[ \t]*\r?$/) print "//go:wasmexport " name >copy
    else print "//go:wasmimport " (module ? module : "env") " " name >copy
    held = 0
    module = ""
}
held && !/^\/\// { print "//export " name >copy; held = 0 }
/^func main\(/   { has_main = 1 }
                 { print >copy }
END {
    if (!has_main) {
        copy = out "/ctau_main.go"
        print "package main\n\nfunc main() {}" >copy
        entry("ctau_main.go")
    }
    if (reseed != "") {
        place("ctau_reseed.go", reseed "/reseed.go")
        place("ctau_reseed.s", reseed "/reseed.s")
    }
    print "}}"
}
