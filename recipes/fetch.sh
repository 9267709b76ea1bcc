# Loads what a build lacks, with the network and without running anything of the sources.
GOPROXY=$(go env GOPROXY | sed -e 's/[,|]direct$//' -e 's/^direct$/off/')
export GOPROXY
. "${UTILS:=/utils}/wasm.sh"
fetch
