// The last step of a job: done means that the substrates that run answer with the new revision.
//
// The happy path is: seer names the healthy substrates, each says when it serves the revision, the
// job is done. What can fail: seer or a substrate; the revision is live all the same, and the job's
// log names who does not serve it yet.
#include "base/str.h"
#include "protocol/monkey/monkey_inner.h"

static void served_one(struct monkey_job *j)
{
    if (--j->serving == 0 && !j->ending)
        monkey_job_end(j, "done", STR(""));
}

static void served_on_reply(void *data, err e, const void *fields)
{
    struct monkey_job *j = data;
    const substrate_serves_reply *reply = fields;
    if (e.code == OK && reply->revision < j->revision)
        monkey_job_say(j, "a substrate does not serve revision %llu yet\n",
                       (unsigned long long)j->revision);
    served_one(j);
}

static void served_on_nodes(void *data, err e, const void *fields)
{
    struct monkey_job *j = data;
    const seer_nodes_reply *reply = fields;
    substrate_serves_request ask = {.project = j->job.project, .revision = j->revision};
    j->serving = 1;
    for (size_t i = 0; e.code == OK && i < reply->nodes.count; i++) {
        const node_state_record *n = &reply->nodes.at[i];
        if (!n->healthy || j->released)
            continue;
        j->serving++;
        monkey_job_ask_node(j, n->name, MSG_substrate_serves, &ask, JOB_SERVED_MS, served_on_reply);
    }
    served_one(j);
}

void monkey_job_served(struct monkey_job *j)
{
    seer_nodes_request ask = {.protocol = STR("substrate")};
    monkey_job_ask_node(j, STR(""), MSG_seer_nodes, &ask, JOB_SERVED_MS, served_on_nodes);
}
