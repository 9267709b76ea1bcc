// Loading a project: places, references, duplicates, the compiled document.
#include "base/buf.h"
#include "base/fault.h"
#include "base/json.h"
#include "base/str.h"
#include "base/test.h"
#include "model/document.h"
#include "model/edit.h"
#include "model/model.h"
#include "model/shop_test.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static const char http[] = "id: Qm1111111\nsource: .\n"
                           "trigger: {type: https, method: get, paths: [/ping]}\n"
                           "domains: [GeneratedDomain]\n"
                           "execution: {timeout: 10s, memory: 10MB, call: ping}\n";
static const char draft[] = "id: ''\nsource: .\n"
                            "trigger: {type: http, methods: [GET, POST], paths: [/ping]}\n"
                            "domains: [GeneratedDomain]\n"
                            "execution: {timeout: 10s, memory: 10MB, call: ping}\n";

static void is_clean(shop *s)
{
    CHECK(shop_load(s).code == OK);
    if (s->found.count > 0) {
        str said = shop_said(s, 0);
        print_error("%.*s\n", STR_ARG(said));
    }
    CHECK(s->found.count == 0);
}

static void said_is(shop *s, size_t at, const char *wanted)
{
    str said = shop_said(s, at);
    if (!str_is(said, str_of(wanted)))
        print_error("%.*s\n", STR_ARG(said));
    CHECK(str_is(said, str_of(wanted)));
}

TEST(model_reads_a_function_with_its_defaults)
{
    shop s;
    shop_open(&s);
    shop_put(&s, "functions/ping_pong.yaml", http);
    is_clean(&s);
    CHECK(str_is(s.model->project->name, STR("shop")));
    CHECK(s.model->functions_count == 1 && s.model->of[KIND_DOMAIN].count == 1);
    const model_function *f = &s.model->functions[0];
    CHECK(str_is(f->of->name, STR("ping_pong")) && str_is(f->of->id, STR("Qm1111111")));
    CHECK(str_is(f->type, STR("http")) && f->secure);
    CHECK(f->methods_count == 1 && str_is(f->methods[0], STR("GET")));
    CHECK(f->domains_count == 1);
    CHECK(str_is(resource_value(f->domains[0], "fqdn")->text, STR("gftxhd6h0.blackhole.localtau")));
    CHECK(f->timeout_ms == 10000 && f->memory_bytes == 10000000);
    CHECK(f->concurrency == 256 && f->response_bytes == 32000000);
    CHECK(f->library == NULL && str_is(f->call, STR("ping")));
    CHECK(model_function_of(s.model, f->of) == f);
    CHECK(model_function_of(s.model, s.model->project) == NULL);
    shop_close(&s);
}

TEST(model_drafts_get_an_id_that_stays)
{
    char kept[32] = "";
    for (size_t i = 0; i < 2; i++) {
        shop s;
        shop_open(&s);
        shop_put(&s, "functions/a.yaml", draft);
        is_clean(&s);
        str id = s.model->functions[0].of->id;
        CHECK(id.len >= 20);
        CHECK(i == 0 || str_is(id, str_of(kept)));
        CHECK(snprintf(kept, sizeof(kept), "%.*s", STR_ARG(id)) > 0);
        shop_close(&s);
    }
}

TEST(model_reads_both_spellings_alike)
{
    static const char *const pairs[][3] = {
        {"databases/x.yaml", "id: ''\nmatch: a\nuseRegex: true\nstorage: {size: 1GB}\n",
         "id: ''\nmatch: a\nregex: true\nstorage: {size: 1GB}\n"},
        {"storages/x.yaml", "id: ''\nmatch: a\nuseRegex: true\nobject: {size: 1GB}\n",
         "id: ''\nmatch: a\nregex: true\nobject: {size: 1GB}\n"},
        {"functions/x.yaml",
         "id: ''\nsource: .\ntrigger: {type: p2p, service: /a, command: b}\n"
         "execution: {timeout: 1s, memory: 1MB, call: c}\n",
         "id: ''\nsource: .\ntrigger: {type: p2p, protocol: /a, command: b}\n"
         "execution: {timeout: 1s, memory: 1MB, call: c}\n"},
        {"functions/x.yaml",
         "id: ''\nsource: .\ntrigger: {type: pubsub, channel: a}\n"
         "execution: {timeout: 1s, memory: 1MB, call: c}\n",
         "id: ''\nsource: .\ntrigger: {type: pub-sub, channel: a}\n"
         "execution: {timeout: 1s, memory: 1MB, call: c}\n"},
        {"functions/x.yaml",
         "id: ''\nsource: .\ntrigger: {type: http, method: GET, paths: [/]}\n"
         "domains: [GeneratedDomain]\nexecution: {timeout: 1s, memory: 1MB, call: c}\n",
         "id: ''\nsource: .\n"
         "trigger: {type: http, method: GET, paths: [/], domains: [GeneratedDomain]}\n"
         "execution: {timeout: 1s, memory: 1MB, call: c}\n"},
        {"websites/x.yaml",
         "id: ''\ndomains: [GeneratedDomain]\n"
         "source: {paths: [/], github: {id: \"1\", fullname: a/b}}\n",
         "id: ''\ndomains: [GeneratedDomain]\npaths: [/]\n"
         "source: {github: {id: 1, fullname: a/b}}\n"},
    };
    for (size_t i = 0; i < COUNT(pairs); i++) {
        buf texts[2];
        shop s[2];
        for (size_t n = 0; n < 2; n++) {
            shop_open(&s[n]);
            shop_put(&s[n], pairs[i][0], pairs[i][1 + n]);
            is_clean(&s[n]);
            buf_open(&texts[n], 1 << 20);
            CHECK(model_document(s[n].model, &texts[n]).code == OK);
        }
        CHECK(str_is(buf_str(&texts[0]), buf_str(&texts[1])));
        buf_close(&texts[0]);
        buf_close(&texts[1]);
        shop_close(&s[0]);
        shop_close(&s[1]);
    }
}

TEST(model_looks_in_the_application_first)
{
    shop s;
    shop_open(&s);
    shop_put(&s, "applications/back/config.yaml", "id: ''\n");
    shop_put(&s, "applications/back/domains/GeneratedDomain.yaml",
             "id: ''\nfqdn: back.example.com\n");
    shop_put(&s, "applications/back/functions/a.yaml", draft);
    shop_put(&s, "functions/a.yaml", draft);
    shop_put(&s, "domains/other.yaml", "id: ''\nfqdn: other.example.com\n");
    is_clean(&s);
    const model_function *f = s.model->functions;
    CHECK(s.model->functions_count == 2);
    CHECK(f[0].of->application.len == 0 && str_is(f[1].of->application, STR("back")));
    CHECK(
        str_is(resource_value(f[0].domains[0], "fqdn")->text, STR("gftxhd6h0.blackhole.localtau")));
    CHECK(str_is(resource_value(f[1].domains[0], "fqdn")->text, STR("back.example.com")));
    str back = STR("back");
    CHECK(model_find(s.model, KIND_DOMAIN, back, STR("other")) != NULL);
    CHECK(model_find(s.model, KIND_DOMAIN, back, STR("/GeneratedDomain")) == f[0].domains[0]);
    CHECK(model_find(s.model, KIND_DOMAIN, back, STR("../GeneratedDomain")) == f[0].domains[0]);
    CHECK(model_find(s.model, KIND_DOMAIN, back, STR("nothing")) == NULL);
    CHECK(model_find(s.model, KIND_DOMAIN, (str){0}, STR("GeneratedDomain")) == f[0].domains[0]);
    shop_close(&s);
}

TEST(model_names_what_stands_twice)
{
    shop s;
    shop_open(&s);
    shop_put(&s, "functions/Ping.yaml", http);
    shop_put(&s, "functions/ping.yaml",
             "id: Qm1111111\nsource: .\n"
             "trigger:\n  type: https\n  methods: [POST, GET]\n"
             "  paths:\n    - /other\n    - /ping\n"
             "domains: [GeneratedDomain]\n"
             "execution: {timeout: 10s, memory: 10MB, call: ping}\n");
    CHECK(shop_load(&s).code == OK);
    CHECK(s.found.count == 3);
    said_is(&s, 0,
            "functions/ping.yaml:0:0: CFG012 the name `ping` stands twice (case does not "
            "count) (the other one is functions/Ping.yaml)");
    said_is(&s, 1,
            "functions/ping.yaml:1:5: CFG016 the id `Qm1111111` is that of "
            "functions/Ping.yaml (write `id: ''` in the copy to get a new one)");
    said_is(&s, 2,
            "functions/ping.yaml:8:7: CFG013 `GET gftxhd6h0.blackhole.localtau/ping` is "
            "already served by function `Ping` (see functions/Ping.yaml)");
    shop_close(&s);
}

TEST(model_tells_a_path_that_stands_twice_in_one_list_once)
{
    shop s;
    shop_open(&s);
    shop_put(&s, "functions/a.yaml",
             "id: ''\nsource: .\ntrigger:\n  type: https\n  methods: [GET, POST]\n"
             "  paths: [/a, /a]\ndomains: [GeneratedDomain]\n"
             "execution: {timeout: 1s, memory: 1MB, call: a}\n");
    CHECK(shop_load(&s).code == OK);
    CHECK(s.found.count == 1);
    said_is(&s, 0, "functions/a.yaml:6:15: CFG012 `/a` stands here twice");
    shop_close(&s);
}

TEST(model_sees_one_route_through_two_domains_and_scopes)
{
    shop s;
    shop_open(&s);
    shop_put(&s, "functions/a.yaml", draft);
    shop_put(&s, "applications/back/config.yaml", "id: ''\n");
    shop_put(&s, "applications/back/domains/mine.yaml",
             "id: ''\nfqdn: GFTXHD6H0.blackhole.localtau\n");
    shop_put(&s, "applications/back/functions/b.yaml",
             "id: ''\nsource: .\ntrigger: {type: http, method: POST, paths: [/ping]}\n"
             "domains: [mine]\nexecution: {timeout: 1s, memory: 1MB, call: b}\n");
    CHECK(shop_load(&s).code == OK);
    CHECK(s.found.count == 1);
    said_is(&s, 0,
            "functions/a.yaml:3:53: CFG013 `POST gftxhd6h0.blackhole.localtau/ping` is "
            "already served by function `b` (see applications/back/functions/b.yaml)");
    shop_close(&s);
}

TEST(model_reports_one_mistake_once)
{
    shop s;
    shop_open(&s);
    shop_put(&s, "domains/GeneratedDomain.yaml", "id: [\n");
    shop_put(&s, "functions/a.yaml", draft);
    CHECK(shop_load(&s).code == OK);
    CHECK(s.found.count == 1); // the function's reference is fine, its domain's file is not
    said_is(&s, 0,
            "domains/GeneratedDomain.yaml:2:1: CFG001 not valid YAML: did not find expected "
            "node content (while parsing a flow node that starts in line 2)");
    shop_close(&s);
}

TEST(model_misses_the_configuration_files)
{
    shop s;
    shop_open(&s);
    s.count = 0;
    shop_put(&s, "applications/back/functions/x.txt", "");
    CHECK(shop_load(&s).code == OK);
    CHECK(s.found.count == 2 && s.model->project == NULL);
    said_is(&s, 0, "applications/back/config.yaml:0:0: CFG007 the application has no config.yaml");
    said_is(&s, 1, "config.yaml:0:0: CFG007 the project has no config.yaml");
    shop_close(&s);
}

TEST(model_document_is_exact_and_sorted)
{
    static const char wanted[] =
        "{\"project\":{\"id\":\"" SHOP_ID "\",\"name\":\"shop\",\"description\":\"\",\"tags\":[],"
        "\"email\":\"\"},"
        "\"functions\":[{\"id\":\"Qm1111111\",\"name\":\"a\",\"application\":\"\","
        "\"description\":\"\",\"tags\":[],\"type\":\"http\",\"secure\":true,\"methods\":[\"GET\"],"
        "\"paths\":[\"/ping\"],\"domains\":[\"gftxhd6h0.blackhole.localtau\"],\"source\":\".\","
        "\"call\":\"ping\",\"timeout_ms\":10000,\"memory\":10000000,\"concurrency\":256,"
        "\"response\":32000000},"
        "{\"id\":\"Qm2222222\",\"name\":\"b\",\"application\":\"back\",\"description\":\"\","
        "\"tags\":[],\"type\":\"pubsub\",\"secure\":false,\"methods\":[],\"paths\":[],"
        "\"domains\":[],\"channel\":\"orders\",\"service\":\"\",\"command\":\"\",\"local\":true,"
        "\"source\":\"libraries/Qm3333333\",\"call\":\"on\",\"timeout_ms\":1,\"memory\":1048576,"
        "\"concurrency\":4,\"response\":1000}],"
        "\"domains\":[{\"id\":\"Qm1234567\",\"name\":\"GeneratedDomain\",\"application\":\"\","
        "\"description\":\"\",\"tags\":[],\"fqdn\":\"gftxhd6h0.blackhole.localtau\","
        "\"certificate_type\":\"auto\"}],"
        "\"applications\":[{\"id\":\"Qm4444444\",\"name\":\"back\",\"application\":\"\","
        "\"description\":\"office\",\"tags\":[\"t\"]}],"
        "\"databases\":[{\"id\":\"Qm5555555\",\"name\":\"users\",\"application\":\"\","
        "\"description\":\"\",\"tags\":[],\"match\":\"/users\",\"regex\":false,"
        "\"network\":\"host\",\"replicas_min\":1,\"replicas_max\":2,\"size\":5000000000}],"
        "\"storages\":[],\"messaging\":[],\"services\":[],"
        "\"libraries\":[{\"id\":\"Qm3333333\",\"name\":\"core\",\"application\":\"\","
        "\"description\":\"\",\"tags\":[],\"path\":\"/\",\"branch\":\"main\","
        "\"repository_id\":\"111\",\"repository_name\":\"me/tb_library_core\"}],"
        "\"websites\":[],\"smartops\":[{\"id\":\"Qm6666666\",\"name\":\"near\","
        "\"application\":\"\",\"description\":\"\",\"tags\":[],\"source\":\".\","
        "\"timeout_ms\":400000,\"memory\":16000000,\"call\":\"near\"}]}";
    shop s;
    shop_open(&s);
    shop_put(&s, "applications/back/config.yaml",
             "id: Qm4444444\ndescription: office\ntags: [t]\n");
    shop_put(&s, "applications/back/functions/b.yaml",
             "id: Qm2222222\nsource: libraries/core\n"
             "trigger: {type: pubsub, channel: orders, local: true}\n"
             "execution: {timeout: 1us, memory: 1MiB, call: on, concurrency: 4, response: 1KB}\n");
    shop_put(&s, "functions/a.yaml", http);
    shop_put(&s, "libraries/core.yaml",
             "id: Qm3333333\nsource: {github: {id: 111, fullname: me/tb_library_core}}\n");
    shop_put(&s, "databases/users.yaml",
             "id: Qm5555555\nmatch: /users\naccess: {network: host}\n"
             "replicas: {min: 1, max: 2}\nstorage: {size: 5GB}\n");
    shop_put(&s, "smartops/near.yaml",
             "id: Qm6666666\nsource: .\nexecution: {timeout: 6m40s, memory: 16MB, call: near}\n");
    is_clean(&s);
    OWNED(buf_close) buf text;
    buf_open(&text, 1 << 20);
    CHECK(model_document(s.model, &text).code == OK);
    if (!str_is(buf_str(&text), str_of(wanted)))
        print_error("%.*s\n", STR_ARG(buf_str(&text)));
    CHECK(str_is(buf_str(&text), str_of(wanted)));
    const json *read;
    CHECK(json_read(s.memory, buf_str(&text), &read, NULL).code == OK);
    buf_close(&text);
    buf_open(&text, 100);
    CHECK(model_document(s.model, &text).code == ERR_LIMIT);
    shop_close(&s);
}

static void file_write(arena *a, const char *folder, const char *name, const char *text)
{
    str path = str_format(a, "%s/%s", folder, name);
    FILE *f = fopen(path.at, "w");
    CHECK(f != NULL);
    CHECK(fputs(text, f) >= 0 && fclose(f) == 0);
}

TEST(model_loads_a_folder_and_follows_no_link)
{
    char folder[] = "/tmp/model_test_XXXXXX";
    CHECK(mkdtemp(folder) != NULL);
    shop s;
    shop_open(&s);
    static const char *const folders[] = {"functions", "domains", "applications",
                                          "applications/back", ".git"};
    for (size_t i = 0; i < COUNT(folders); i++)
        CHECK(mkdir(str_format(s.memory, "%s/%s", folder, folders[i]).at, 0700) == 0);
    file_write(s.memory, folder, "config.yaml", "id: " SHOP_ID "\nname: shop\n");
    file_write(s.memory, folder, "README.md", "hello");
    file_write(s.memory, folder, "functions/a.yaml", http);
    file_write(s.memory, folder, "functions/.a.yaml.swp", "x");
    file_write(s.memory, folder, "domains/GeneratedDomain.yaml", "id: ''\nfqdn: a.example.com\n");
    file_write(s.memory, folder, "applications/back/config.yaml", "id: ''\n");
    CHECK(model_load(s.memory, folder, &s.found, &s.model).code == OK);
    CHECK(s.found.count == 0 && s.model->functions_count == 1);
    CHECK(s.model->of[KIND_APPLICATION].count == 1);
    CHECK(symlink("/etc/hostname", str_format(s.memory, "%s/functions/b.yaml", folder).at) == 0);
    CHECK(symlink("/etc", str_format(s.memory, "%s/databases", folder).at) == 0);
    CHECK(model_load(s.memory, folder, &s.found, &s.model).code == OK);
    CHECK(s.found.count == 2);
    said_is(&s, 0, "databases:0:0: CFG015 neither file nor folder; links are not followed");
    said_is(&s, 1, "functions/b.yaml:0:0: CFG015 neither file nor folder; links are not followed");
    CHECK(model_load(s.memory, "/no/such/folder", &s.found, &s.model).code == ERR_ABSENT);
    static const char *const files[] = {"databases",
                                        "functions/a.yaml",
                                        "functions/b.yaml",
                                        "functions/.a.yaml.swp",
                                        "functions",
                                        "domains/GeneratedDomain.yaml",
                                        "domains",
                                        "applications/back/config.yaml",
                                        "applications/back",
                                        "applications",
                                        ".git",
                                        "README.md",
                                        "config.yaml"};
    for (size_t i = 0; i < COUNT(files); i++) {
        const char *path = str_format(s.memory, "%s/%s", folder, files[i]).at;
        CHECK(unlink(path) == 0 || rmdir(path) == 0);
    }
    CHECK(rmdir(folder) == 0);
    shop_close(&s);
}

TEST(model_loading_survives_every_failed_allocation)
{
    for (uint64_t k = 0;; k++) {
        shop s;
        shop_open(&s);
        shop_put(&s, "functions/a.yaml", http);
        shop_put(&s, "functions/b.yaml", draft);
        shop_put(&s, "functions/c.yaml", "id: ''\nsource: core\ntriger: x\n");
        shop_put(&s, "applications/back/config.yaml", "id: ''\n");
        fault_now = (fault_plan){.what = FAULT_MEMORY, .after = k, .times = 1};
        err e = shop_load(&s);
        bool done = fault_now.seen <= k;
        fault_now = (fault_plan){.what = FAULT_NONE};
        CHECK(e.code == OK || (!done && e.code == ERR_MEMORY));
        // A lost text of a diagnosis is no reason to lose the diagnosis, nor to pass the file.
        CHECK((s.model != NULL) == (e.code == OK));
        CHECK(e.code != OK || s.found.count >= 4);
        shop_close(&s);
        if (done)
            break;
        CHECK(k < 10000);
    }
}

TEST(model_counts_up_over_generated_domains)
{
    shop s;
    shop_open(&s);
    is_clean(&s);
    CHECK(model_next_counter(s.model, STR(SHOP_ID)) == 1);
    shop_put(&s, "domains/b.yaml", "id: ''\nfqdn: gftxhd6h7.other.localtau\n");
    shop_put(&s, "domains/c.yaml", "id: ''\nfqdn: gftxhd6hx.blackhole.localtau\n");
    shop_put(&s, "applications/x/config.yaml", "id: ''\n");
    shop_put(&s, "applications/x/domains/d.yaml", "id: ''\nfqdn: gftxhd6h11.blackhole.localtau\n");
    is_clean(&s);
    CHECK(model_next_counter(s.model, STR(SHOP_ID)) == 12);
    CHECK(model_next_counter(s.model, STR("QmAAAAAAAAAA")) == 0);
    str fqdn;
    CHECK(model_generated_fqdn(s.memory, STR(SHOP_ID), 0, STR("blackhole"), &fqdn).code == OK);
    CHECK(str_is(fqdn, STR("gftxhd6h0.blackhole.localtau")));
    CHECK(model_generated_fqdn(s.memory, STR("short"), 0, STR("blackhole"), &fqdn).code ==
          ERR_SYNTAX);
    CHECK(model_generated_fqdn(s.memory, STR(SHOP_ID), 0, STR("black hole"), &fqdn).code ==
          ERR_SYNTAX);
    shop_close(&s);
}

TEST(edit_writes_the_article_byte_for_byte)
{
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
    shop s;
    shop_open(&s);
    str text;
    str path = STR("/ping");
    str domain = STR("GeneratedDomain");
    new_function f = {.name = STR("ping_pong"),
                      .description = STR("Returns pong to a ping over HTTP"),
                      .paths = &path,
                      .paths_count = 1,
                      .domains = &domain,
                      .domains_count = 1,
                      .call = STR("ping")};
    CHECK(model_new_function(s.memory, &f, &text).code == OK);
    CHECK(str_is(text, str_of(article)));
    shop_put(&s, "functions/ping_pong.yaml", text.at);
    is_clean(&s);
    shop_close(&s);
}

TEST(edit_new_files_are_read_as_they_were_meant)
{
    shop s;
    shop_open(&s);
    str text;
    new_function f = {.name = STR("on-order"),
                      .id = STR("Qm7777777"),
                      .type = STR("pubsub"),
                      .channel = STR("orders"),
                      .description = STR("yes: #1")};
    CHECK(model_new_function(s.memory, &f, &text).code == OK);
    shop_put(&s, "functions/on-order.yaml", text.at);
    f = (new_function){
        .name = STR("rpc"), .type = STR("p2p"), .service = STR("/calc/v1"), .command = STR("add")};
    CHECK(model_new_function(s.memory, &f, &text).code == OK);
    shop_put(&s, "functions/rpc.yaml", text.at);
    CHECK(model_new_domain(s.memory, STR("Qm8888888"), STR("a.example.com"), &text).code == OK);
    CHECK(str_is(text, STR("id: Qm8888888\nfqdn: a.example.com\ncertificate:\n  type: auto\n")));
    shop_put(&s, "domains/a.yaml", text.at);
    CHECK(model_new_project(s.memory, STR(SHOP_ID), STR("shop"), STR(""), STR("dev@example.com"),
                            &text)
              .code == OK);
    CHECK(str_is(text, STR("id: " SHOP_ID "\nname: shop\ndescription: ''\ntags: []\n"
                           "notification:\n  email: dev@example.com\n")));
    shop_put(&s, "config.yaml", text.at);
    CHECK(model_new_application(s.memory, STR(""), STR("x"), &text).code == OK);
    shop_put(&s, "applications/back/config.yaml", text.at);
    is_clean(&s);
    CHECK(str_is(s.model->functions[0].call, STR("on_order")));
    CHECK(str_is(s.model->functions[0].of->description, STR("yes: #1")));
    CHECK(str_is(s.model->email, STR("dev@example.com")));
    f.name = STR("../evil");
    CHECK(model_new_function(s.memory, &f, &text).code == ERR_SYNTAX);
    CHECK(model_file_of(s.memory, KIND_FUNCTION, (str){0}, f.name, &text).code == ERR_SYNTAX);
    CHECK(model_file_of(s.memory, KIND_FUNCTION, STR("back"), STR("a"), &text).code == OK);
    CHECK(str_is(text, STR("applications/back/functions/a.yaml")));
    CHECK(model_file_of(s.memory, KIND_STORAGE, (str){0}, STR("a"), &text).code == OK);
    CHECK(str_is(text, STR("storages/a.yaml")));
    shop_close(&s);
}

TEST(edit_writes_the_spelling_that_the_file_has)
{
    shop s;
    shop_open(&s);
    shop_put(&s, "databases/x.yaml", "id: ''\nmatch: a\nregex: true\nstorage: {size: 1GB}\n");
    shop_put(&s, "functions/x.yaml",
             "id: ''\nsource: .\n"
             "trigger: {type: http, method: GET, paths: [/], domains: [GeneratedDomain]}\n"
             "execution: {timeout: 1s, memory: 1MB, call: c}\n");
    is_clean(&s);
    const resource *f = s.model->functions[0].of;
    const resource *d = s.model->of[KIND_DATABASE].at[0];
    CHECK(str_is(model_path_of(d, "regex"), STR("regex")));
    CHECK(str_is(model_path_of(d, "size"), STR("storage/size")));
    CHECK(str_is(model_path_of(f, "domains"), STR("trigger/domains")));
    CHECK(str_is(model_path_of(f, "timeout_ms"), STR("execution/timeout")));
    CHECK(str_is(model_path_of(s.model->of[KIND_DOMAIN].at[0], "fqdn"), STR("fqdn")));
    shop_close(&s);
}

TEST(edit_and_document_survive_every_failed_allocation)
{
    new_function f = {.name = STR("ping-pong"), .paths = NULL};
    for (uint64_t k = 0;; k++) {
        shop s;
        shop_open(&s);
        shop_put(&s, "functions/a.yaml", http);
        is_clean(&s);
        str text = {0};
        buf json_text;
        buf_open(&json_text, 1 << 20);
        fault_now = (fault_plan){.what = FAULT_MEMORY, .after = k, .times = 1};
        err made = model_new_function(s.memory, &f, &text);
        err fqdn = model_generated_fqdn(s.memory, STR(SHOP_ID), 3, STR("u"), &text);
        err written = model_document(s.model, &json_text);
        bool done = fault_now.seen <= k;
        fault_now = (fault_plan){.what = FAULT_NONE};
        bool failed = made.code + fqdn.code + written.code != OK;
        CHECK(failed == !done);
        CHECK(!failed || made.code + fqdn.code + written.code == ERR_MEMORY); // one of them
        buf_close(&json_text);
        shop_close(&s);
        if (done)
            break;
        CHECK(k < 1000);
    }
}

TEST(model_reads_a_large_project)
{
    enum { FUNCTIONS = 60 };
    shop s;
    shop_open(&s);
    for (size_t i = 0; i < FUNCTIONS; i++) {
        str path = STR("/x");
        str domain = STR("GeneratedDomain");
        str text;
        str name = str_format(s.memory, "f%zu", i);
        path = str_format(s.memory, "/f/%zu", i);
        new_function f = {
            .name = name, .paths = &path, .paths_count = 1, .domains = &domain, .domains_count = 1};
        CHECK(model_new_function(s.memory, &f, &text).code == OK);
        shop_put(&s, str_format(s.memory, "functions/f%zu.yaml", i).at, text.at);
    }
    is_clean(&s);
    CHECK(s.model->functions_count == FUNCTIONS);
    for (size_t i = 1; i < FUNCTIONS; i++)
        CHECK(str_order(s.model->functions[i - 1].of->name, s.model->functions[i].of->name) < 0);
    shop_close(&s);
}
