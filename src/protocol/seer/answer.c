// What DNS says of a universe: services, hosts, proofs of domains, and the zones themselves.
#include "base/str.h"
#include "protocol/seer/seer_inner.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

enum {
    REFRESH_S = 60,
    RETRY_S = 30,
    EXPIRE_S = 600,
    ADDRESSES_MAX = 16,     // of one name
    GENERATED_ID_BYTES = 8, // of a project's id, before the domain's number
    TEXT_BYTES_MAX = 512,
    ADDRESS_BYTES_MAX = 16,
};

// Addresses of one family without doubles, in order.
struct seer_addresses {
    size_t bytes; // 4 or 16
    unsigned char at[ADDRESSES_MAX][ADDRESS_BYTES_MAX];
    size_t count;
};

static void seer_addresses_add(struct seer_addresses *list, str text)
{
    char kept[INET6_ADDRSTRLEN] = "";
    unsigned char address[ADDRESS_BYTES_MAX];
    if (text.len == 0 || text.len >= sizeof(kept))
        return;
    memcpy(kept, text.at, text.len);
    if (inet_pton(list->bytes == 4 ? AF_INET : AF_INET6, kept, address) != 1)
        return;
    size_t at = 0;
    while (at < list->count && memcmp(list->at[at], address, list->bytes) < 0)
        at++;
    if (at < list->count && memcmp(list->at[at], address, list->bytes) == 0)
        return;
    if (list->count == ADDRESSES_MAX)
        return;
    memmove(list->at[at + 1], list->at[at], (list->count - at) * sizeof(list->at[0]));
    memcpy(list->at[at], address, list->bytes);
    list->count++;
}

static bool seer_node_is(const struct seer_node *n, str service)
{
    return str_is_nocase(n->protocol, service) || str_is_nocase(seer_node_short(n), service);
}

static void seer_put_addresses(
    const struct seer *s, const dns_question *q, dns_answer *a, str owner, str service)
{
    if (q->type != DNS_A && q->type != DNS_AAAA && owner.len == 0)
        return;
    struct seer_addresses list = {.bytes = q->type == DNS_AAAA ? 16 : 4};
    size_t at = 0;
    str key;
    void *value;
    while (map_next(s->table.nodes, &at, &key, &value)) {
        const struct seer_node *n = value;
        if (n->healthy && seer_node_is(n, service))
            seer_addresses_add(&list, n->address);
    }
    for (size_t i = 0; i < list.count; i++)
        dns_put_address(a, owner, SEER_TTL_S, list.at[i], list.bytes);
}

static dns_soa seer_soa(const struct seer *s, str zone)
{
    return (dns_soa){
        .zone = zone,
        .server = s->server,
        .mailbox = s->mailbox,
        .serial = s->serial_first + (uint32_t)(s->table.version + s->names.version),
        .refresh_s = REFRESH_S,
        .retry_s = RETRY_S,
        .expire_s = EXPIRE_S,
        .ttl_s = SEER_TTL_S,
    };
}

static void seer_put_apex(const struct seer *s, const dns_question *q, dns_answer *a, str zone)
{
    dns_soa soa = seer_soa(s, zone);
    if (q->type == DNS_SOA)
        dns_put_soa(a, &soa);
    if (q->type != DNS_NS)
        return;
    dns_put_name(a, STR(""), SEER_TTL_S, DNS_NS, s->server);
    dns_answer_section(a, DNS_ADDITIONAL);
    seer_put_addresses(s, q, a, s->server, STR("seer"));
}

// True for the name itself and all below it.
static bool seer_name_is_in(str name, str zone)
{
    return str_ends(name, zone) &&
           (name.len == zone.len || name.at[name.len - zone.len - 1] == '.');
}

// What stands before `zone` in a name below it.
static str seer_name_before(str name, str zone)
{
    return str_first(name, name.len == zone.len ? 0 : name.len - zone.len - 1);
}

static str seer_name_parent(str name)
{
    return str_from(name, str_find_byte(name, '.') + 1);
}

static bool seer_service_is_known(str service)
{
    static const char *const known[] = {"auth",   "tns",     "seer",      "patrick",
                                        "monkey", "hoarder", "substrate", "gateway"};
    for (size_t i = 0; i < COUNT(known); i++)
        if (str_is(service, str_of(known[i])))
            return true;
    return false;
}

// "tns.tau.blackhole.localtau": the nodes of a protocol, or the node of that name.
static void
seer_answer_service(const struct seer *s, const dns_question *q, dns_answer *a, str service)
{
    bool exists = service.len == 0 || seer_service_is_known(service);
    size_t at = 0;
    str key;
    void *value;
    while (!exists && map_next(s->table.nodes, &at, &key, &value))
        exists = seer_node_is(value, service);
    dns_soa soa = seer_soa(s, s->zone);
    dns_answer_zone(a, &soa, exists);
    if (service.len == 0)
        return;
    seer_put_addresses(s, q, a, STR(""), service);
    at = 0;
    while (q->type == DNS_TXT && map_next(s->table.nodes, &at, &key, &value)) {
        const struct seer_node *n = value;
        uint64_t port = seer_node_port(n, STR("p2p"));
        if (!n->healthy || port == 0 || !seer_node_is(n, service))
            continue;
        bool wide = str_find_byte(n->address, ':') < n->address.len;
        char text[TEXT_BYTES_MAX];
        (void)snprintf(text, sizeof(text), "node=%.*s p2p=%s%.*s%s:%llu", STR_ARG(n->name),
                       wide ? "[" : "", STR_ARG(n->address), wide ? "]" : "",
                       (unsigned long long)port);
        dns_put_text(a, STR(""), SEER_TTL_S, str_of(text));
    }
}

// "gftxhd6h0": what every project's generated domains look like, deployed or not.
static bool seer_label_is_generated(str label)
{
    if (label.len <= GENERATED_ID_BYTES)
        return false;
    for (size_t i = 0; i < label.len; i++) {
        bool digit = label.at[i] >= '0' && label.at[i] <= '9';
        bool letter = label.at[i] >= 'a' && label.at[i] <= 'z';
        if (!digit && (i >= GENERATED_ID_BYTES || !letter))
            return false;
    }
    return true;
}

// A host of a project, a claimed domain, the proof of a claim, or the zone itself.
static void seer_answer_name(const struct seer *s, const dns_question *q, dns_answer *a, str zone)
{
    str name = dns_question_text(q);
    bool generated = str_is(zone, s->zone) && name.len > zone.len &&
                     seer_label_is_generated(seer_name_before(name, zone));
    bool host = generated || map_get(s->names.hosts, name) != NULL;
    const struct seer_claim *proof = seer_names_claim(&s->names, seer_name_parent(name));
    if (proof != NULL && !str_is(proof->entry, name))
        proof = NULL;
    bool apex = str_is(name, zone);
    bool exists = apex || host || proof != NULL || seer_names_claim(&s->names, name) != NULL;
    dns_soa soa = seer_soa(s, zone);
    dns_answer_zone(a, &soa, exists);
    if (host)
        seer_put_addresses(s, q, a, STR(""), seer_table_web(&s->table));
    if (proof != NULL && q->type == DNS_TXT)
        dns_put_text(a, STR(""), SEER_TTL_S, proof->token);
    if (apex)
        seer_put_apex(s, q, a, zone);
}

// A domain that somebody brought is a zone of its own: the shortest end of the name, of two labels
// at least, that is claimed or served. {NULL,0}: not ours.
static str seer_custom_zone(const struct seer *s, str name)
{
    str zone = {NULL, 0};
    for (str end = name; str_find_byte(end, '.') < end.len; end = seer_name_parent(end))
        if (map_get(s->names.hosts, end) != NULL || seer_names_claim(&s->names, end) != NULL)
            zone = end;
    return zone;
}

void seer_answer(struct seer *s, uint64_t now_ms, const dns_question *q, dns_answer *a)
{
    seer_table_step(&s->table, now_ms);
    str name = dns_question_text(q), root = seer_name_parent(s->zone);
    if (seer_name_is_in(name, s->services)) {
        seer_answer_service(s, q, a, seer_name_before(name, s->services));
    } else if (seer_name_is_in(name, s->zone)) {
        seer_answer_name(s, q, a, s->zone);
    } else if (seer_name_is_in(name, root)) {
        seer_answer_name(s, q, a, root);
    } else {
        str zone = seer_custom_zone(s, name);
        if (zone.len > 0) // else it stays REFUSED
            seer_answer_name(s, q, a, zone);
    }
}
