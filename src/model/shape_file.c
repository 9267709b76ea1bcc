// A shape file: one table of fields reads it, checks it and writes it.
#include "model/shape_file.h"

#include "base/str.h"
#include "model/value.h"
#include "model/yaml_inner.h"

#include <arpa/inet.h>
#include <string.h>

enum { NODE_NAME_LEN_MAX = 32, WORKERS_MAX = 64, ELECTION_MS = 300, ELECTION_MS_MAX = 60 * 1000 };

typedef enum {
    FIELD_NAME,
    FIELD_NAMES, // of services
    FIELD_FQDN,
    FIELD_PORT,
    FIELD_WHOLE,
    FIELD_FLAG,
    FIELD_ADDRESS,
    FIELD_ADDRESSES,
    FIELD_PATH,
    FIELD_ENGINE,
    FIELD_FOREIGN, // the seed has it, and it means nothing here
} field_kind;

// "group/name" or "name".
typedef struct shape_field {
    const char *path;
    field_kind kind;
    size_t offset; // in struct shape
    uint64_t otherwise, most;
    bool required;
} shape_field;

#define AT(member) offsetof(shape, member)
static const shape_field fields[] = {
    {"universe", FIELD_NAME, AT(universe), 0, 0, true},
    {"node", FIELD_NAME, AT(node), 0, 0, true},
    {"services", FIELD_NAMES, AT(services), 0, 0, false},
    {"network-fqdn", FIELD_FQDN, AT(network_fqdn), 0, 0, false},
    {"p2p-listen", FIELD_ADDRESSES, AT(listen), 0, 0, true},
    {"p2p-announce", FIELD_ADDRESSES, AT(announce), 0, 0, false},
    {"ports/main", FIELD_PORT, AT(main), 0, 0, false},
    {"ports/http", FIELD_PORT, AT(http), 0, 0, false},
    {"ports/dns", FIELD_PORT, AT(dns), 0, 0, false},
    {"gateway-port", FIELD_PORT, AT(gateway_port), 0, 0, false},
    {"servers", FIELD_ADDRESSES, AT(servers), 0, 0, true},
    {"authority", FIELD_NAME, AT(authority), 0, 0, false},
    {"elder/client", FIELD_ADDRESS, AT(elder_client), 0, 0, false},
    {"elder/route", FIELD_ADDRESS, AT(elder_route), 0, 0, false},
    {"elder/routes", FIELD_ADDRESSES, AT(elder_routes), 0, 0, false},
    {"elder/election-ms", FIELD_WHOLE, AT(elder_election_ms), ELECTION_MS, ELECTION_MS_MAX, false},
    {"folder", FIELD_PATH, AT(folder), 0, 0, false},
    {"blobs", FIELD_PATH, AT(blobs), 0, 0, false},
    {"repositories", FIELD_PATH, AT(repositories), 0, 0, false},
    {"secrets", FIELD_PATH, AT(secrets), 0, 0, false},
    {"engine", FIELD_ENGINE, AT(engine), 0, 0, false},
    {"workers", FIELD_WHOLE, AT(workers), 0, WORKERS_MAX, false},
    {"copies", FIELD_WHOLE, AT(copies), 1, WORKERS_MAX, false},
    {"request-log", FIELD_FLAG, AT(request_log), 0, 0, false},
    {"ports/lite", FIELD_FOREIGN, 0, 0, 0, false},
    {"ports/ipfs", FIELD_FOREIGN, 0, 0, 0, false},
    {"privatekey", FIELD_FOREIGN, 0, 0, 0, false},
    {"swarmkey", FIELD_FOREIGN, 0, 0, 0, false},
    {"peers", FIELD_FOREIGN, 0, 0, 0, false},
    {"location", FIELD_FOREIGN, 0, 0, 0, false},
    {"domains", FIELD_FOREIGN, 0, 0, 0, false},
    {"cluster", FIELD_FOREIGN, 0, 0, 0, false},
    {"accounts", FIELD_FOREIGN, 0, 0, 0, false},
    {"tenancy", FIELD_FOREIGN, 0, 0, 0, false},
    {"enterprise", FIELD_FOREIGN, 0, 0, 0, false},
    {"plugins", FIELD_FOREIGN, 0, 0, 0, false},
};
static const char *const services[] = {"auth",    "tns",       "seer",    "patrick", "monkey",
                                       "hoarder", "substrate", "gateway", NULL};

// One reading.
typedef struct reading {
    arena *memory;
    str file;
    diagnoses *found;
    shape *out;
    bool seen[COUNT(fields)];
} reading;

__attribute__((format(printf, 5, 6))) static void reading_note(
    reading *r, const tree *at, const char *code, const char *help, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    str text = str_format_list(r->memory, format, list);
    va_end(list);
    diagnosis *d = tree_note(r->found, r->file, at, code, text);
    d->help = str_of(help);
}

// Foreign text as it may be shown.
static str reading_shown(reading *r, str text)
{
    return str_printable(r->memory, str_first(text, 80));
}

static bool reading_scalar(reading *r, const tree *value, const char *path)
{
    if (value->kind == TREE_SCALAR && !tree_is_null(value))
        return true;
    reading_note(r, value, "SHP003", "write one value behind the colon", "%s is one value", path);
    return false;
}

static bool node_name_is_valid(str s)
{
    for (size_t i = 0; i < s.len; i++) {
        char c = s.at[i];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
              (c == '-' && i > 0 && i + 1 < s.len)))
            return false;
    }
    return s.len > 0 && s.len <= NODE_NAME_LEN_MAX;
}

static bool host_is_address(reading *r, str host)
{
    unsigned char bytes[16];
    const char *text = str_c(r->memory, host);
    return text != NULL && memchr(host.at, 0, host.len) == NULL && host.len > 0 &&
           (inet_pton(AF_INET, text, bytes) == 1 || inet_pton(AF_INET6, text, bytes) == 1);
}

static bool port_read(str text, uint64_t *out)
{
    uint64_t n;
    if (text.len > 5 || str_number(text, &n).code != OK || n == 0 || n > 65535)
        return false;
    *out = n;
    return true;
}

// "10.0.0.1:4242", "[::1]:4242", "/ip4/10.0.0.1/tcp/4242".
static bool address_read(reading *r, str text, shape_address *out)
{
    str host, port;
    if (str_starts(text, STR("/ip4/")) || str_starts(text, STR("/ip6/"))) {
        str rest = str_from(text, 5);
        host = str_cut(&rest, '/');
        if (!str_is(str_cut(&rest, '/'), STR("tcp")))
            return false;
        port = str_cut(&rest, '/');
        if (rest.len > 0)
            return false;
    } else {
        size_t colon = text.len;
        while (colon > 0 && text.at[colon - 1] != ':')
            colon--;
        if (colon == 0)
            return false;
        host = str_first(text, colon - 1);
        port = str_from(text, colon);
        if (host.len > 2 && host.at[0] == '[' && host.at[host.len - 1] == ']')
            host = str_first(str_from(host, 1), host.len - 2);
        else if (str_find_byte(host, ':') < host.len)
            return false;
    }
    uint64_t number;
    if (!port_read(port, &number) || !host_is_address(r, host))
        return false;
    *out = (shape_address){str_copy(r->memory, host), (uint16_t)number};
    return out->host.at != NULL;
}

static void reading_address(reading *r, const tree *value, const char *path, shape_address *out)
{
    if (reading_scalar(r, value, path) && !address_read(r, value->text, out))
        reading_note(r, value, "SHP005", "write IP:PORT, like 127.0.0.1:4242",
                     "%s has an address that cannot be: %.*s", path,
                     STR_ARG(reading_shown(r, value->text)));
}

static void reading_list(reading *r, const tree *value, const shape_field *f, void *into)
{
    if (tree_is_null(value))
        return;
    if (value->kind != TREE_LIST) {
        reading_note(r, value, "SHP004", "write each entry on a line of its own, with `- ` before",
                     "%s is a list", f->path);
        return;
    }
    if (value->count > SHAPE_LIST_MAX) {
        reading_note(r, value, "SHP004", "leave some out", "%s has more than %d entries", f->path,
                     SHAPE_LIST_MAX);
        return;
    }
    for (const tree *t = value->first; t != NULL; t = t->next) {
        if (f->kind == FIELD_ADDRESSES) {
            shape_addresses *list = into;
            reading_address(r, t, f->path, &list->at[list->count++]);
            continue;
        }
        shape_names *names = into;
        if (!reading_scalar(r, t, f->path))
            continue;
        bool known = false;
        for (size_t i = 0; services[i] != NULL; i++)
            known = known || str_is(t->text, str_of(services[i]));
        if (known)
            names->at[names->count++] = str_copy(r->memory, t->text);
        else
            reading_note(r, t, "SHP006",
                         "services are auth, tns, seer, patrick, monkey, hoarder, substrate, "
                         "gateway",
                         "there is no service %.*s", STR_ARG(reading_shown(r, t->text)));
    }
}

static void reading_number(reading *r, const tree *value, const shape_field *f, uint64_t *out)
{
    uint64_t n;
    bool good = f->kind == FIELD_PORT
                    ? port_read(value->text, &n)
                    : value->text.len < 12 && str_number(value->text, &n).code == OK &&
                          n <= f->most && (n > 0 || f->otherwise == 0);
    if (good)
        *out = n;
    else
        reading_note(r, value, "SHP007",
                     f->kind == FIELD_PORT ? "a port is a number from 1 to 65535"
                                           : "write a whole number, or leave the line out",
                     "%s cannot be %.*s", f->path, STR_ARG(reading_shown(r, value->text)));
}

static bool path_is_plain(str s)
{
    bool plain = s.len > 0 && s.len < 1024;
    for (size_t i = 0, len = 0; plain && i < s.len; i += len) {
        len = str_printable_len(s, i);
        plain = len > 0 && s.at[i] != '\t';
    }
    return plain;
}

static const char *field_problem(const shape_field *f, str text)
{
    switch (f->kind) {
    case FIELD_NAME:
        return node_name_is_valid(text) ? NULL : "1 to 32 lower-case letters, digits or '-'";
    case FIELD_FQDN:
        return fqdn_is_valid(text) ? NULL : "write a host name, like tau.example.com";
    case FIELD_ENGINE:
        return str_is(text, STR("nats")) ? NULL : "a node that is a process has engine nats";
    default: // a path
        return path_is_plain(text) ? NULL : "write a path of at most 1023 printable bytes";
    }
}

static void reading_field(reading *r, const tree *value, const shape_field *f)
{
    void *into = (char *)r->out + f->offset;
    switch (f->kind) {
    case FIELD_FOREIGN:
        return;
    case FIELD_NAMES:
    case FIELD_ADDRESSES:
        reading_list(r, value, f, into);
        return;
    case FIELD_ADDRESS:
        reading_address(r, value, f->path, into);
        return;
    default:
        break;
    }
    if (!reading_scalar(r, value, f->path))
        return;
    if (f->kind == FIELD_PORT || f->kind == FIELD_WHOLE) {
        reading_number(r, value, f, into);
    } else if (f->kind == FIELD_FLAG) {
        *(bool *)into = str_is(value->text, STR("true"));
        if (!*(bool *)into && !str_is(value->text, STR("false")))
            reading_note(r, value, "SHP007", "write true or false", "%s is true or false", f->path);
    } else {
        const char *problem = field_problem(f, value->text);
        if (problem == NULL)
            *(str *)into = str_copy(r->memory, value->text);
        else
            reading_note(r, value, "SHP007", problem, "%s cannot be %.*s", f->path,
                         STR_ARG(reading_shown(r, value->text)));
    }
}

static void reading_unknown(reading *r, const tree *entry, str path)
{
    const char *names[COUNT(fields) + 1] = {0};
    for (size_t i = 0; i < COUNT(fields); i++)
        names[i] = fields[i].path;
    const char *close = str_closest(path, names, COUNT(fields));
    str help =
        close == NULL ? STR("take it out") : str_format(r->memory, "did you mean %s?", close);
    reading_note(r, entry->key != NULL ? entry->key : entry, "SHP002", help.at,
                 "a shape file has no field %.*s", STR_ARG(reading_shown(r, path)));
}

static bool path_is_group(str path)
{
    for (size_t i = 0; i < COUNT(fields); i++) {
        str rest = str_of(fields[i].path);
        if (str_is(str_cut(&rest, '/'), path) && rest.at != NULL)
            return true;
    }
    return false;
}

static void reading_map(reading *r, const tree *map, str group)
{
    for (const tree *t = map->first; t != NULL; t = t->next) {
        str key = t->key->text, path = key;
        if (group.len > 0)
            path = str_format(r->memory, "%.*s/%.*s", STR_ARG(group), STR_ARG(key));
        size_t i = 0;
        while (i < COUNT(fields) && !str_is(path, str_of(fields[i].path)))
            i++;
        if (i < COUNT(fields)) {
            r->seen[i] = true;
            reading_field(r, t, &fields[i]);
        } else if (group.len > 0 || !path_is_group(path)) {
            reading_unknown(r, t, path);
        } else if (t->kind == TREE_MAP) {
            reading_map(r, t, path);
        } else if (!tree_is_null(t)) {
            reading_note(r, t, "SHP004", "write its fields below it, indented", "%.*s is a map",
                         STR_ARG(path));
        }
    }
}

// What only holds for the whole.
static void reading_whole(reading *r, const tree *root)
{
    shape *s = r->out;
    for (size_t i = 0; i < COUNT(fields); i++)
        if (fields[i].required && !r->seen[i])
            reading_note(r, NULL, "SHP001", "add a line for it", "%s is missing", fields[i].path);
    if (r->found->count > 0)
        return;
    if (s->listen.count == 0)
        reading_note(r, tree_field(root, STR("p2p-listen")), "SHP008", "add - 127.0.0.1:4242",
                     "p2p-listen has no address");
    if (s->servers.count == 0)
        reading_note(r, tree_field(root, STR("servers")), "SHP008",
                     "add the client address of an elder", "servers has no address");
    if (s->services.count > 1)
        reading_note(r, tree_field(root, STR("services")), "SHP009",
                     "make one shape, with a node name of its own, of each",
                     "a node has one service in this release");
    bool client = s->elder_client.host.len > 0, route = s->elder_route.host.len > 0;
    if (client != route)
        reading_note(r, tree_field(root, STR("elder")), "SHP008",
                     "give elder both client and route", "elder/%s is missing",
                     client ? "route" : "client");
    if (client && s->services.count > 0)
        reading_note(r, tree_field(root, STR("services")), "SHP009", "take services out",
                     "an elder bears the mesh and has no service");
    if (s->main == 0 && s->listen.count > 0)
        s->main = s->listen.at[0].port;
}

err shape_read(arena *a, str file, str text, diagnoses *found, shape *out)
{
    tree *root;
    reading r = {.memory = a, .file = file, .found = found, .out = out};
    memset(out, 0, sizeof(*out));
    if (text.len > SHAPE_FILE_BYTES_MAX) {
        reading_note(&r, NULL, "SHP010", "shorten it", "a shape file has at most %d bytes",
                     SHAPE_FILE_BYTES_MAX);
        return fail(ERR_LIMIT, 0, "shape file");
    }
    TRY(tree_read(a, file, text, found, &root));
    for (size_t i = 0; i < COUNT(fields); i++)
        if (fields[i].kind == FIELD_WHOLE)
            *(uint64_t *)(void *)((char *)out + fields[i].offset) = fields[i].otherwise;
    out->engine = STR("nats");
    size_t before = found->count;
    if (root->kind == TREE_MAP) {
        reading_map(&r, root, STR(""));
        reading_whole(&r, root);
    } else {
        reading_note(&r, root, "SHP004", "write `universe: NAME` and so on",
                     "a shape file is a map");
    }
    return found->count > before ? fail(ERR_SYNTAX, 0, "the shape file has errors") : ok();
}

bool shape_is_elder(const shape *s)
{
    return s->elder_client.host.len > 0;
}

// ---- writing

static void write_address(buf *out, const shape_address *a)
{
    bool six = str_find_byte(a->host, ':') < a->host.len;
    buf_add_format(out, six ? "\"[%.*s]:%u\"" : "%.*s:%u", STR_ARG(a->host), a->port);
}

static bool field_is_default(const shape *s, const shape_field *f)
{
    const void *at = (const char *)s + f->offset;
    switch (f->kind) {
    case FIELD_NAMES:
        return ((const shape_names *)at)->count == 0;
    case FIELD_ADDRESSES:
        return ((const shape_addresses *)at)->count == 0;
    case FIELD_ADDRESS:
        return ((const shape_address *)at)->host.len == 0;
    case FIELD_PORT:
    case FIELD_WHOLE:
        return *(const uint64_t *)at == f->otherwise;
    case FIELD_FLAG:
        return !*(const bool *)at;
    case FIELD_FOREIGN:
        return true;
    default:
        return ((const str *)at)->len == 0;
    }
}

static void write_value(buf *out, const void *at, field_kind kind)
{
    if (kind == FIELD_NAMES) {
        const shape_names *names = at;
        buf_add(out, STR("["));
        for (size_t i = 0; i < names->count; i++)
            buf_add_format(out, "%s%.*s", i > 0 ? ", " : "", STR_ARG(names->at[i]));
        buf_add(out, STR("]"));
    } else if (kind == FIELD_ADDRESSES) {
        const shape_addresses *list = at;
        buf_add(out, STR("["));
        for (size_t i = 0; i < list->count; i++) {
            buf_add(out, i > 0 ? STR(", ") : STR(""));
            write_address(out, &list->at[i]);
        }
        buf_add(out, STR("]"));
    } else if (kind == FIELD_ADDRESS) {
        write_address(out, at);
    } else if (kind == FIELD_PORT || kind == FIELD_WHOLE) {
        buf_add_format(out, "%llu", (unsigned long long)*(const uint64_t *)at);
    } else if (kind == FIELD_FLAG) {
        buf_add(out, STR("true"));
    } else if (kind == FIELD_PATH) {
        scalar_write(out, *(const str *)at, '\'', false, false);
    } else {
        buf_add(out, *(const str *)at);
    }
}

void shape_write(buf *out, const shape *s)
{
    str group = {0};
    for (size_t i = 0; i < COUNT(fields); i++) {
        const shape_field *f = &fields[i];
        if (field_is_default(s, f))
            continue;
        str name = str_of(f->path), head = str_cut(&name, '/');
        if (name.at == NULL) {
            name = head;
            group = (str){0};
        } else {
            if (!str_is(group, head))
                buf_add_format(out, "%.*s:\n", STR_ARG(head));
            group = head;
        }
        buf_add_format(out, "%s%.*s: ", group.len > 0 ? "  " : "", STR_ARG(name));
        write_value(out, (const char *)s + f->offset, f->kind);
        buf_add_byte(out, '\n');
    }
}
