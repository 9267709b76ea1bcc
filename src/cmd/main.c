// One program with several names: dream, tau, and what they run as their own children.
#include "base/str.h"
#include "cmd/cmd.h"
#include "worker/workers.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    const char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL;
    const char *name = slash != NULL ? slash + 1 : argc > 0 ? argv[0] : "dream";
    if (strcmp(name, "tau") == 0)
        return tau_main(argc, argv);
    if (argc > 1 && strcmp(argv[1], "worker") == 0)
        return worker_main();
    if (argc > 1 && strcmp(argv[1], "compile") == 0) {
        // A child of a build ends at once: nothing to tidy, and no leak check where ptrace is
        // denied.
        int code = compile_main(argc - 1, argv + 1);
        fflush(NULL);
        _exit(code);
    }
    if (argc > 1 && strcmp(argv[1], "tau") == 0)
        return tau_main(argc - 1, argv + 1);
    return dream_main(argc, argv);
}
