// What users write wrongly, each with its exact answer.
#include "base/buf.h"
#include "base/str.h"
#include "base/test.h"
#include "model/model.h"
#include "model/shop_test.h"
#include "model/value.h"

static const char article[] = "id: ''\n"
                              "description: Returns pong to a ping over HTTP\n"
                              "tags: []\n"
                              "source: .\n"
                              "trigger:\n"
                              "  type: https\n"
                              "  method: GET\n"
                              "  paths:\n"
                              "    - /ping\n"
                              "domains:\n"
                              "  - GeneratedDomain\n"
                              "execution:\n"
                              "  timeout: 10s\n"
                              "  memory: 10MB\n"
                              "  call: ping\n";

// The article's function with one piece of its text replaced.
static const char *altered(shop *s, const char *piece, const char *with)
{
    str text = str_of(article);
    size_t at = str_find(text, str_of(piece));
    CHECK(at < text.len);
    str made =
        str_format(s->memory, "%.*s%s%s", (int)at, article, with, article + at + str_of(piece).len);
    CHECK(made.at != NULL);
    return made.at;
}

static void says(const char *path, const char *text, const char *wanted)
{
    shop s;
    shop_open(&s);
    shop_put(&s, path, text);
    CHECK(shop_load(&s).code == OK);
    str said = shop_said(&s, 0);
    if (!str_is(said, str_of(wanted)) || s.found.count > 1)
        print_error("%zu: %.*s\n", s.found.count, STR_ARG(said));
    CHECK(str_is(said, str_of(wanted)));
    CHECK(s.found.count == (wanted[0] != '\0'));
    shop_close(&s);
}

static void function_says(const char *piece, const char *with, const char *wanted)
{
    shop s;
    shop_open(&s);
    says("functions/f.yaml", altered(&s, piece, with), wanted);
    shop_close(&s);
}

TEST(schema_takes_the_article_as_it_stands)
{
    function_says("source: .", "source: .", "");
}

TEST(schema_names_unknown_keys_and_what_was_meant)
{
    function_says("tags: []", "tag: []",
                  "functions/f.yaml:3:1: CFG005 unknown key `tag` (did you mean `tags`?)");
    function_says("  call: ping", "  call: ping\n  memmory: 1MB",
                  "functions/f.yaml:16:3: CFG005 unknown key `execution.memmory` (did you mean "
                  "`memory`?)");
    function_says("tags: []", "timeout: 1s",
                  "functions/f.yaml:3:1: CFG005 unknown key `timeout` (it belongs under "
                  "`execution`)");
    function_says("tags: []", "name: f",
                  "functions/f.yaml:3:1: CFG005 unknown key `name` (the file's name is the name)");
    function_says("tags: []", "'trigger/type': x",
                  "functions/f.yaml:3:1: CFG005 unknown key `trigger/type`");
    function_says("tags: []", "zzzzzz: f", "functions/f.yaml:3:1: CFG005 unknown key `zzzzzz`");
}

TEST(schema_names_missing_and_empty_keys)
{
    function_says("  call: ping\n", "",
                  "functions/f.yaml:12:1: CFG007 the key `execution.call` is missing");
    function_says("  call: ping",
                  "  call:", "functions/f.yaml:12:1: CFG007 the key `execution.call` is missing");
    function_says("source: .\n", "", "functions/f.yaml:0:0: CFG007 the key `source` is missing");
    function_says("  call: ping", "  call: ''",
                  "functions/f.yaml:15:9: CFG007 `execution.call` is empty");
    function_says("id: ''\n", "", "functions/f.yaml:0:0: CFG007 the key `id` is missing");
    function_says("  method: GET\n", "",
                  "functions/f.yaml:5:1: CFG007 the key `trigger.method` is missing: a function "
                  "of type http answers to one");
    function_says("\n    - /ping", " []",
                  "functions/f.yaml:8:3: CFG007 the key `trigger.paths` is empty: a function "
                  "of type http serves at least one");
    function_says("domains:\n  - GeneratedDomain\n", "",
                  "functions/f.yaml:0:0: CFG007 the key `domains` is missing: a function of type "
                  "http needs at least one");
    function_says("type: https", "type: pubsub",
                  "functions/f.yaml:5:1: CFG007 the key `trigger.channel` is missing: a function "
                  "of type pubsub listens to one");
}

TEST(schema_names_wrong_shapes)
{
    function_says("tags: []", "tags: one",
                  "functions/f.yaml:3:7: CFG006 `tags` must be a list (did you mean `[one]`?)");
    function_says("source: .", "source: [a]",
                  "functions/f.yaml:4:9: CFG006 `source` must be a single value");
    function_says("tags: []", "tags: [{a: b}]", "functions/f.yaml:3:8: CFG006 a text belongs here");
    function_says("tags: []", "tags: [one, one]",
                  "functions/f.yaml:3:13: CFG012 `one` stands here twice");
    function_says("  method: GET\n", "  method: GET\n  methods: [GET]\n",
                  "functions/f.yaml:8:3: CFG017 `trigger.method` and `trigger.methods` are both "
                  "set");
    function_says("domains:\n", "trigger: x\ndomains:\n",
                  "functions/f.yaml:10:1: CFG004 the key `trigger` stands here twice (the first "
                  "one is in line 5)");
}

TEST(schema_names_wrong_values_and_what_was_meant)
{
    function_says("type: https", "type: htps",
                  "functions/f.yaml:6:9: CFG009 `htps` is no `trigger.type` (did you mean "
                  "`https`?)");
    function_says("type: https", "type: HTTPS",
                  "functions/f.yaml:6:9: CFG009 `HTTPS` is no `trigger.type` (did you mean "
                  "`https`?)");
    function_says("method: GET", "method: FETCH",
                  "functions/f.yaml:7:11: CFG009 `FETCH` is no `trigger.method` (did you mean "
                  "`PATCH`?)");
    function_says("method: GET", "method: GETTING",
                  "functions/f.yaml:7:11: CFG009 `GETTING` is no `trigger.method` (one of GET, "
                  "HEAD, POST, PUT, DELETE, CONNECT, OPTIONS, TRACE, PATCH)");
    function_says("memory: 10MB", "memory: 10mb",
                  "functions/f.yaml:14:11: CFG008 `10mb` is no size (did you mean `10MB`?)");
    function_says("memory: 10MB", "memory: 10 MB",
                  "functions/f.yaml:14:11: CFG008 `10 MB` is no size (did you mean `10MB`?)");
    function_says("memory: 10MB", "memory: 10M",
                  "functions/f.yaml:14:11: CFG008 `10M` is no size (did you mean `10MB`?)");
    function_says("memory: 10MB", "memory: much",
                  "functions/f.yaml:14:11: CFG008 `much` is no size (write a size such as 10MB "
                  "or 32MiB)");
    function_says("memory: 10MB", "memory: 0MB",
                  "functions/f.yaml:14:11: CFG008 a size of nothing");
    function_says("memory: 10MB", "memory: 99999999PB",
                  "functions/f.yaml:14:11: CFG008 the size `99999999PB` is too large");
    function_says("timeout: 10s", "timeout: 10",
                  "functions/f.yaml:13:12: CFG008 `10` is no duration (did you mean `10s`?)");
    function_says("timeout: 10s", "timeout: -1s",
                  "functions/f.yaml:13:12: CFG008 `-1s` is no duration (write a duration such as "
                  "10s, 250ms or 1m30s)");
    function_says("timeout: 10s", "timeout: 0s",
                  "functions/f.yaml:13:12: CFG008 a duration of nothing");
    function_says("    - /ping", "    - ping",
                  "functions/f.yaml:9:7: CFG008 `ping` is no path (did you mean `/ping`?)");
    function_says("    - /ping", "    - /a b",
                  "functions/f.yaml:9:7: CFG008 `/a b` is no path (a path starts with `/` and "
                  "has no blank, `?` or `#`)");
    function_says("source: .", "source: core",
                  "functions/f.yaml:4:9: CFG008 `core` is no source (did you mean "
                  "`libraries/core`?)");
    function_says("source: .", "source: http://x",
                  "functions/f.yaml:4:9: CFG008 `http://x` is no source (write `.` for code of "
                  "its own or `libraries/NAME`)");
    function_says("id: ''", "id: 0OIl",
                  "functions/f.yaml:1:5: CFG008 `0OIl` is no id (an id is base58 of 8 to 64 "
                  "characters; new ones are made by tau)");
    function_says("  call: ping", "  call: ping\n  concurrency: many",
                  "functions/f.yaml:16:16: CFG008 `many` is no such number (write a whole number "
                  "from 1 to 1000000000)");
    function_says("  type: https", "  type: https\n  local: yes",
                  "functions/f.yaml:7:10: CFG008 `yes` is neither true nor false (did you mean "
                  "`true`?)");
    function_says("call: ping", "call: \"a\\x1b[31m b\"",
                  "functions/f.yaml:15:9: CFG008 `a\\x1b[31m b` is no name of an export (write "
                  "the name of the function that the module exports)");
}

TEST(schema_names_missing_resources_and_the_closest)
{
    function_says("- GeneratedDomain", "- GeneratedDomian",
                  "functions/f.yaml:11:5: CFG011 there is no domain `GeneratedDomian` (did you "
                  "mean `GeneratedDomain`?)");
    function_says("source: .", "source: libraries/core",
                  "functions/f.yaml:4:9: CFG011 there is no library `core` (make one with `tau "
                  "new library`)");
    function_says("tags: []", "tags: ['smartops:near']",
                  "functions/f.yaml:3:8: CFG011 there is no smartop `near` (make one with `tau "
                  "new smartop`)");
}

TEST(schema_checks_projects_and_domains)
{
    says("config.yaml", "id: Qm123456789a\nname: my shop\n",
         "config.yaml:2:7: CFG014 `my shop` is no name (a letter first, then letters, digits, "
         "`_` and `-`)");
    says("config.yaml", "id: ''\nname: shop\n", "config.yaml:1:5: CFG007 `id` is empty");
    says("config.yaml", "id: Qm123456789a\nname: shop\nnotification: {email: dev@}\n",
         "config.yaml:3:23: CFG008 `dev@` is no e-mail address (write an address such as "
         "dev@example.com)");
    says("config.yaml", "id: Qm123456789a\nname: shop\nclouds: {a.b: {account: x}}\n",
         "config.yaml:3:10: CFG017 `plan` is missing beside `account`");
    says("config.yaml",
         "id: Qm123456789a\nname: shop\nclouds: {a.b: {account: x, plan: y}, c.d: {account: x, "
         "plan: y}}\n",
         "");
    says("config.yaml", "- a\n- b\n", "config.yaml:1:1: CFG006 the file must hold keys");
    says("domains/d.yaml", "id: ''\nfqdn: under_score.com\n",
         "domains/d.yaml:2:7: CFG008 `under_score.com` is no host name (write a host name such "
         "as www.example.com)");
    says("domains/d.yaml", "id: ''\nfqdn: a.com\ncertificate: {type: inline, cert: x}\n",
         "domains/d.yaml:3:1: CFG007 the key `certificate.key` is missing: the type is inline");
    says("domains/d.yaml", "id: ''\nfqdn: a.com\ncertificate: auto\n",
         "domains/d.yaml:3:14: CFG006 `certificate` must hold keys");
}

TEST(schema_checks_databases_and_storages)
{
    says("databases/d.yaml",
         "id: ''\nuseRegex: false\nregex: true\nmatch: a\nstorage: {size: 1GB}\n",
         "databases/d.yaml:3:1: CFG010 `useRegex` is set twice (both spellings are one key; line "
         "2 has the other)");
    says("databases/d.yaml", "id: ''\nmatch: a\nreplicas: {min: 2, max: 2}\nstorage: {size: 1GB}\n",
         "databases/d.yaml:3:17: CFG017 `replicas.min` must be less than `replicas.max`");
    says("databases/d.yaml", "id: ''\nstorage: {size: 1GB}\n",
         "databases/d.yaml:0:0: CFG007 the key `match` is missing: `useRegex` is false");
    says("storages/s.yaml", "id: ''\nmatch: a\nobject: {size: 1GB}\nstreaming: {size: 1GB}\n",
         "storages/s.yaml:4:1: CFG017 `object` and `streaming` are both set");
    says("storages/s.yaml", "id: ''\nmatch: a\nobject: {versioning: true}\n",
         "storages/s.yaml:3:1: CFG007 the key `object.size` is missing: a storage has a limit");
    says("storages/s.yaml", "id: ''\nmatch: a\n",
         "storages/s.yaml:0:0: CFG007 one of the keys `object` and `streaming` is missing");
}

TEST(schema_checks_places_of_files)
{
    says("websites/w.yaml",
         "id: ''\ndomains: []\npaths: [/]\nsource: {github: {id: 1, fullname: a/b}}\n",
         "websites/w.yaml:2:1: CFG007 the key `domains` is empty");
    says("services/s.yaml", "id: ''\n",
         "services/s.yaml:0:0: CFG007 the key `protocol` is missing");
    says("messaging/m.yaml", "id: ''\nchannel: {match: a}\nbridges: {mqtt: {enabled: true}}\n",
         "messaging/m.yaml:3:18: CFG005 unknown key `bridges.mqtt.enabled` (did you mean "
         "`enable`?)");
    says("functions/my func.yaml", "x",
         "functions/my func.yaml:0:0: CFG014 `my func` is no name (a letter first, then letters, "
         "digits, `_` and `-`)");
    says("functions/f.yml", "x",
         "functions/f.yml:0:0: CFG015 not read: the ending must be .yaml (rename the file)");
    says("functions/sub/f.yaml", "x", "functions/sub:0:0: CFG015 no folder belongs here");
    says("functions/f.yaml", "LINK",
         "functions/f.yaml:0:0: CFG015 neither file nor folder; links are not followed");
    says("function/f.yaml", "x",
         "function:0:0: CFG015 not read: no kind has this folder (did you mean `functions`?)");
    says("README.md", "not: [yaml", "");
    says("docs/x.yaml", "not: [yaml", "");
    says(".git/HEAD", "x", "");
}

TEST(value_sizes_are_strict)
{
    static const struct {
        const char *text;
        uint64_t size;
    } good[] = {{"0", 0},          {"10", 10},           {"7B", 7},
                {"10KB", 10000},   {"10MB", 10000000},   {"32MiB", 32 << 20},
                {"1GiB", 1 << 30}, {"2PiB", 2ULL << 50}, {"9PB", 9000000000000000ULL}};
    static const char *const wrong[] = {"",          "MB",   "1.5MB", "-1",
                                        "+1",        "10mb", "10 MB", "10Mb",
                                        "1EB",       "0x10", "10MBB", "18446744073709551616",
                                        "9999999PiB"};
    uint64_t size = 0;
    for (size_t i = 0; i < COUNT(good); i++) {
        CHECK(bytes_read(str_of(good[i].text), &size).code == OK);
        CHECK(size == good[i].size);
    }
    for (size_t i = 0; i < COUNT(wrong); i++)
        CHECK(bytes_read(str_of(wrong[i]), &size).code != OK);
}

TEST(value_durations_read_as_in_go)
{
    static const struct {
        const char *text;
        uint64_t ms;
    } good[] = {{"10s", 10000}, {"6m40s", 400000}, {"1h15m", 4500000},     {"1.5h", 5400000},
                {"250ms", 250}, {"1us", 1},        {"1\xc2\xb5s", 1},      {"0", 0},
                {".5s", 500},   {"1.s", 1000},     {"1h1m1s1ms", 3661001}, {"+2s", 2000},
                {"0.1s", 100},  {"2.345s", 2345}};
    static const char *const wrong[] = {"",    "s",  "10",    "1d", "-1s",          "1s ",
                                        "1 s", ".s", "1..5s", "+",  "99999999999h", "10sec"};
    uint64_t ms = 0;
    for (size_t i = 0; i < COUNT(good); i++) {
        CHECK(duration_read(str_of(good[i].text), &ms).code == OK);
        CHECK(ms == good[i].ms);
    }
    for (size_t i = 0; i < COUNT(wrong); i++)
        CHECK(duration_read(str_of(wrong[i]), &ms).code != OK);
}

TEST(value_names_hosts_and_ids_have_their_grammar)
{
    CHECK(name_is_valid(STR("ping_pong-2")) && !name_is_valid(STR("2ping")) &&
          !name_is_valid(STR("")) && !name_is_valid(STR("a.b")) && !name_is_valid(STR("_a")));
    CHECK(fqdn_is_valid(STR("a-b.Example.com")) && !fqdn_is_valid(STR("localhost")) &&
          !fqdn_is_valid(STR("a..b")) && !fqdn_is_valid(STR("-a.b")) &&
          !fqdn_is_valid(STR("a.b.")) && !fqdn_is_valid(STR("a.b:80")));
    CHECK(id_is_valid(STR(SHOP_ID)) && !id_is_valid(STR("short")) &&
          !id_is_valid(STR("Qm1234567_")));
    CHECK(email_is_valid(STR("a.b+c@d.org")) && !email_is_valid(STR("a@b")) &&
          !email_is_valid(STR("@b.c")) && !email_is_valid(STR("a b@c.de")));
}
