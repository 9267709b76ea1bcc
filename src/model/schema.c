// The tables of the schema, one for each kind of resource.
#include "model/schema.h"

#include "base/str.h"

#include <stdlib.h>

static const char *const trigger_types[] = {"http", "https", "pubsub", "p2p", "pub-sub", NULL};
static const char *const certificate_types[] = {"auto", "inline", NULL};
static const char *const networks[] = {"all", "subnet", "host", NULL};

static const schema_rule project_fields[] = {
    {.path = "id", .name = "id", .type = VALUE_ID, .required = true},
    {.path = "name", .name = "name", .type = VALUE_NAME, .required = true},
    {.path = "description", .name = "description"},
    {.path = "tags", .name = "tags", .list = true},
    {.path = "notification/email", .name = "email", .type = VALUE_EMAIL},
    {.path = "clouds/*/account"},
    {.path = "clouds/*/plan"},
};

static const schema_rule application_fields[] = {
    {.path = "id", .name = "id", .type = VALUE_ID, .required = true},
    {.path = "description", .name = "description"},
    {.path = "tags", .name = "tags", .list = true},
};

static const schema_rule function_fields[] = {
    {.path = "id", .name = "id", .type = VALUE_ID, .required = true},
    {.path = "description", .name = "description"},
    {.path = "tags", .name = "tags", .list = true},
    {.path = "source", .name = "source", .type = VALUE_SOURCE, .required = true},
    {.path = "trigger/type",
     .name = "type",
     .type = VALUE_CHOICE,
     .required = true,
     .choices = trigger_types},
    {.path = "trigger/method", .name = "method", .type = VALUE_METHOD},
    {.path = "trigger/methods", .name = "methods", .type = VALUE_METHOD, .list = true},
    {.path = "trigger/paths", .name = "paths", .type = VALUE_PATH, .list = true},
    {.path = "domains",
     .also = "trigger/domains",
     .name = "domains",
     .type = VALUE_DOMAIN,
     .list = true},
    {.path = "trigger/channel", .name = "channel"},
    {.path = "trigger/service", .also = "trigger/protocol", .name = "service"},
    {.path = "trigger/command", .name = "command"},
    {.path = "trigger/local", .name = "local", .type = VALUE_FLAG, .otherwise = "false"},
    {.path = "execution/timeout", .name = "timeout_ms", .type = VALUE_DURATION, .required = true},
    {.path = "execution/memory", .name = "memory", .type = VALUE_BYTES, .required = true},
    {.path = "execution/call", .name = "call", .type = VALUE_CALL, .required = true},
    {.path = "execution/concurrency",
     .name = "concurrency",
     .type = VALUE_WHOLE,
     .otherwise = "256"},
    {.path = "execution/response", .name = "response", .type = VALUE_BYTES, .otherwise = "32MB"},
};

static const schema_rule domain_fields[] = {
    {.path = "id", .name = "id", .type = VALUE_ID, .required = true},
    {.path = "description", .name = "description"},
    {.path = "tags", .name = "tags", .list = true},
    {.path = "fqdn", .name = "fqdn", .type = VALUE_FQDN, .required = true},
    {.path = "certificate/type",
     .name = "certificate_type",
     .type = VALUE_CHOICE,
     .otherwise = "auto",
     .choices = certificate_types},
    {.path = "certificate/cert", .name = "certificate_cert"},
    {.path = "certificate/key", .name = "certificate_key"},
};

static const schema_rule database_fields[] = {
    {.path = "id", .name = "id", .type = VALUE_ID, .required = true},
    {.path = "description", .name = "description"},
    {.path = "tags", .name = "tags", .list = true},
    {.path = "match", .name = "match"},
    {.path = "useRegex",
     .also = "regex",
     .name = "regex",
     .type = VALUE_FLAG,
     .otherwise = "false"},
    {.path = "access/network",
     .name = "network",
     .type = VALUE_CHOICE,
     .otherwise = "all",
     .choices = networks},
    {.path = "replicas/min", .name = "replicas_min", .type = VALUE_WHOLE, .otherwise = "1"},
    {.path = "replicas/max", .name = "replicas_max", .type = VALUE_WHOLE, .otherwise = "10000"},
    {.path = "storage/size", .name = "size", .type = VALUE_BYTES, .required = true},
    {.path = "encryption/key", .name = "encryption_key"},
    {.path = "encryption/type", .name = "encryption_type"},
};

static const schema_rule storage_fields[] = {
    {.path = "id", .name = "id", .type = VALUE_ID, .required = true},
    {.path = "description", .name = "description"},
    {.path = "tags", .name = "tags", .list = true},
    {.path = "match", .name = "match"},
    {.path = "useRegex",
     .also = "regex",
     .name = "regex",
     .type = VALUE_FLAG,
     .otherwise = "false"},
    {.path = "access/network",
     .name = "network",
     .type = VALUE_CHOICE,
     .otherwise = "all",
     .choices = networks},
    {.path = "object/size", .name = "object_size", .type = VALUE_BYTES},
    {.path = "object/versioning", .name = "object_versioning", .type = VALUE_FLAG},
    {.path = "streaming/size", .name = "streaming_size", .type = VALUE_BYTES},
    {.path = "streaming/ttl", .name = "streaming_ttl_ms", .type = VALUE_DURATION},
};

static const schema_rule messaging_fields[] = {
    {.path = "id", .name = "id", .type = VALUE_ID, .required = true},
    {.path = "description", .name = "description"},
    {.path = "tags", .name = "tags", .list = true},
    {.path = "local", .name = "local", .type = VALUE_FLAG, .otherwise = "false"},
    {.path = "channel/match", .name = "match", .required = true},
    {.path = "channel/regex", .name = "regex", .type = VALUE_FLAG, .otherwise = "false"},
    {.path = "bridges/mqtt/enable", .name = "mqtt", .type = VALUE_FLAG, .otherwise = "false"},
    {.path = "bridges/websocket/enable",
     .name = "websocket",
     .type = VALUE_FLAG,
     .otherwise = "false"},
};

static const schema_rule service_fields[] = {
    {.path = "id", .name = "id", .type = VALUE_ID, .required = true},
    {.path = "description", .name = "description"},
    {.path = "tags", .name = "tags", .list = true},
    {.path = "protocol", .name = "protocol", .required = true},
};

static const schema_rule library_fields[] = {
    {.path = "id", .name = "id", .type = VALUE_ID, .required = true},
    {.path = "description", .name = "description"},
    {.path = "tags", .name = "tags", .list = true},
    {.path = "source/path", .name = "path", .otherwise = "/"},
    {.path = "source/branch", .name = "branch", .otherwise = "main"},
    {.path = "source/github/id", .name = "repository_id", .required = true},
    {.path = "source/github/fullname", .name = "repository_name", .required = true},
};

static const schema_rule website_fields[] = {
    {.path = "id", .name = "id", .type = VALUE_ID, .required = true},
    {.path = "description", .name = "description"},
    {.path = "tags", .name = "tags", .list = true},
    {.path = "domains", .name = "domains", .type = VALUE_DOMAIN, .list = true, .required = true},
    {.path = "source/paths",
     .also = "paths",
     .name = "paths",
     .type = VALUE_PATH,
     .list = true,
     .required = true},
    {.path = "source/branch", .name = "branch", .otherwise = "main"},
    {.path = "source/github/id", .name = "repository_id", .required = true},
    {.path = "source/github/fullname", .name = "repository_name", .required = true},
};

static const schema_rule smartop_fields[] = {
    {.path = "id", .name = "id", .type = VALUE_ID, .required = true},
    {.path = "description", .name = "description"},
    {.path = "tags", .name = "tags", .list = true},
    {.path = "source", .name = "source", .type = VALUE_SOURCE, .required = true},
    {.path = "execution/timeout", .name = "timeout_ms", .type = VALUE_DURATION, .required = true},
    {.path = "execution/memory", .name = "memory", .type = VALUE_BYTES, .required = true},
    {.path = "execution/call", .name = "call", .type = VALUE_CALL, .required = true},
};

static const schema schemas[KIND_COUNT] = {
    [KIND_PROJECT] = {"project", NULL, project_fields, COUNT(project_fields)},
    [KIND_APPLICATION] = {"application", NULL, application_fields, COUNT(application_fields)},
    [KIND_FUNCTION] = {"function", "functions", function_fields, COUNT(function_fields)},
    [KIND_DOMAIN] = {"domain", "domains", domain_fields, COUNT(domain_fields)},
    [KIND_DATABASE] = {"database", "databases", database_fields, COUNT(database_fields)},
    [KIND_STORAGE] = {"storage", "storages", storage_fields, COUNT(storage_fields)},
    [KIND_MESSAGING] = {"messaging", "messaging", messaging_fields, COUNT(messaging_fields)},
    [KIND_SERVICE] = {"service", "services", service_fields, COUNT(service_fields)},
    [KIND_LIBRARY] = {"library", "libraries", library_fields, COUNT(library_fields)},
    [KIND_WEBSITE] = {"website", "websites", website_fields, COUNT(website_fields)},
    [KIND_SMARTOP] = {"smartop", "smartops", smartop_fields, COUNT(smartop_fields)},
};

const schema *schema_of(resource_kind kind)
{
    return &schemas[kind];
}

resource_kind schema_of_folder(str folder)
{
    for (resource_kind k = 0; k < KIND_COUNT; k++)
        if (schemas[k].folder != NULL && str_is(folder, str_of(schemas[k].folder)))
            return k;
    return KIND_COUNT;
}

resource_kind schema_of_name(str name)
{
    for (resource_kind k = 0; k < KIND_COUNT; k++)
        if (str_is(name, str_of(schemas[k].name)))
            return k;
    return KIND_COUNT;
}

size_t schema_field(resource_kind kind, const char *name)
{
    const schema *s = &schemas[kind];
    for (size_t i = 0; i < s->count; i++)
        if (s->fields[i].name != NULL && str_is(str_of(s->fields[i].name), str_of(name)))
            return i;
    abort(); // the name is a literal of ours
}
