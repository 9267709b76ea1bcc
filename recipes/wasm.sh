# What a function's build script sources: gives it `build NAME`, which makes $OUT/main.wasm.
: "${UTILS:=/utils}" "${RECIPE:?}"
. "$UTILS/$RECIPE.sh"
