# Rust: its place is kept.
build() {
    echo "error: functions in Rust can not be built in this release; Go and C can" >&2
    return 1
}
