// What tau's groups of verbs share: the project of this directory, the cloud, its URLs.
#pragma once
#include "cli/cli.h"
#include "cmd/git.h"
#include "dream/client.h"
#include "model/model.h"

enum {
    TAU_PROJECT = 1,      // a checkout is needed (or -p NAME)
    TAU_CLOUD = 2,        // and a universe, with a login
    TAU_CLOUD_MAYBE = 4,  // the universe if it runs; t->client is NULL otherwise
    TAU_CHECKOUT = 8 | 1, // the checkout's files are needed: -p does not do
};

typedef struct tau {
    cli *c;
    arena *memory;
    // The project: of the directory, or by -p.
    str id, name, owner;
    const char *root;   // folder that holds .tau.json; NULL when the project was named by -p
    const char *config; // ROOT/config
    const char *code;   // ROOT/code
    str linked_api;     // address that the remotes have
    const char *source; // "directory", "-p", "TAU_PROJECT": which of them won
    // The cloud.
    dream_client *client;
    str universe; // name; empty until it is known
    str address;  // "127.0.0.1:1421"
    str account, token;
    uint64_t gateway_port, substrate_port; // 0: not known
} tau;

// tau_context.c
// Finds what `needs` says. Anything but EXIT_OK: it was said what is missing. tau_close() in any
// case.
int tau_open(cli *c, tau *t, unsigned needs) MUST_USE;
void tau_close(tau *t); // for OWNED
// Says an error of the API or of a file with its fix; gives the exit code.
int tau_failed(tau *t, err e);
int tau_fail(tau *t, int code, str help, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
err tau_ask(tau *t, message_kind kind, const void *request, void *reply) MUST_USE;
// Ports of the universe; false when it does not answer.
bool tau_ports(tau *t);
err tau_link_write(tau *t) MUST_USE;
str tau_remote(tau *t, str repository); // http://ADDRESS[/@UNIVERSE]/OWNER/NAME.git
bool tau_universe_is_first(tau *t);
checkout tau_checkout(tau *t, const char *folder);
// git config of a checkout: remote, branch, credential helper. Idempotent.
err tau_checkout_configure(tau *t, const checkout *k, str remote) MUST_USE;
// Says an outcome as JSON when --json was given; true then.
bool tau_said_json(tau *t, buf *out);

// tau_login.c
typedef struct tau_login_record {
    str api, universe, account, token;
} tau_login_record;
// The login for this address; universe empty: the last one made there. ERR_ABSENT.
err tau_login_find(arena *a, str api, str universe, tau_login_record *out) MUST_USE;

// tau_model.c
// Reads and checks config/; files in `found` are then relative to the project's folder.
err tau_model(tau *t, model **out, diagnoses *found) MUST_USE;
// For commands that need a valid configuration. EXIT_OK, or the diagnoses were shown.
int tau_model_valid(tau *t, model **out);
// A resource by its name ("app/name" or --application); NULL: said that there is none.
const resource *tau_resource(tau *t, const model *m, resource_kind kind, str name);
// URLs under which a function answers, in the arena; each is directly usable.
typedef struct tau_url {
    str method, url, host, path;
} tau_url;
size_t tau_urls(tau *t, const model_function *f, tau_url **out);
str tau_friendly_host(arena *a, str fqdn); // NAME.UNIVERSE.localtau as NAME.UNIVERSE.localhost
err tau_write(tau *t, str path, str bytes) MUST_USE; // below the project's folder
const char *tau_path(tau *t, str path);

// tau_build.c
// Waits for the jobs, shown live. EXIT_OK, EXIT_FAILED (the error was shown), EXIT_INTERRUPTED.
int tau_jobs_watch(tau *t, job_record *jobs, size_t count);
void tau_job_json(json_writer *w, const job_record *job);
bool tau_job_ended(str state);

int tau_login(cli *c); // tau_login.c
int tau_logout(cli *c);
int tau_current(cli *c);
int tau_git_credential(cli *c);
int tau_new_project(cli *c); // tau_project.c
int tau_clone(cli *c);
int tau_delete_project(cli *c);
int tau_new_function(cli *c); // tau_new.c
int tau_new_domain(cli *c);
int tau_new_application(cli *c);
int tau_list(cli *c); // tau_list.c
int tau_query(cli *c);
int tau_open_url(cli *c);
int tau_edit(cli *c); // tau_edit.c
int tau_delete(cli *c);
int tau_validate(cli *c); // tau_push.c
int tau_push(cli *c);
int tau_pull(cli *c); // tau_status.c
int tau_status(cli *c);
int tau_builds(cli *c); // tau_build.c
int tau_cancel(cli *c);
int tau_retry(cli *c);
int tau_logs(cli *c); // tau_logs.c
int tau_rollback(cli *c);
int tau_webhook(cli *c); // tau_webhook.c
int tau_start(cli *c);   // tau_start.c
int tau_config(cli *c);
int tau_node_invite(cli *c); // tau_node.c
int tau_node_join(cli *c);
int tau_node_list(cli *c);
int tau_node_drain(cli *c);
int tau_node_remove(cli *c);
int tau_node_init(cli *c);
