// The programs in one executable: what main.c starts by name.
#pragma once

int dream_main(int argc, char **argv);
int tau_main(int argc, char **argv);
int compile_main(int argc, char **argv); // reads IN.wasm, writes OUT.cwasm; a child of builds
