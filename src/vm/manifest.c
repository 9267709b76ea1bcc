// Reads the sections of a WebAssembly module and says whether it fits the guest interface.
//
// Strict where it reads and blind where it need not: types, imports, functions, memory, exports and
// the start are read; bodies and data are the compiler's business, which validates all of it
// anyway.
#include "base/str.h"
#include "vm/vm.h"

#include <string.h>

enum { TYPES_MAX = 1000000, FUNCTIONS_MAX = 1000000, VALUES_MAX = 1000 };

// One import that we provide, or know.
typedef struct provided {
    const char *module;
    const char *name;
    const char *parameters; // NULL: not yet
    const char *result;
} provided;
static const provided all_provided[] = {
#define ABI(module, name, parameters, result, run, waits) {module, name, parameters, result},
#define LATER(name)                                       {"taubyte/sdk", name, NULL, NULL},
#include "vm/abi.def"
};

typedef struct signature {
    str parameters; // bytes of the binary format
    str results;
} signature;

typedef struct reader {
    arena *a;
    const unsigned char *at;
    const unsigned char *end;
    vm_manifest *out;
    str call;
    signature *types;
    uint32_t types_count;
    uint32_t *functions; // type of each, imported ones first
    uint32_t functions_count;
    uint32_t imported;
    bool call_found;
    bool memory_found;
    bool memory_defined;
    bool no_memory_left; // of ours
    buf exported;        // names of functions, for the message
} reader;

static bool problem(reader *r, str text)
{
    if (text.at == NULL)
        r->no_memory_left = true;
    else if (r->out->problem.len == 0)
        r->out->problem = text;
    return false;
}

static bool damaged(reader *r, const char *what)
{
    return problem(r, str_format(r->a, "not a sound WebAssembly module: %s", what));
}

static bool read_byte(reader *r, unsigned char *out)
{
    if (r->at == r->end)
        return damaged(r, "it ends too early");
    *out = *r->at++;
    return true;
}

// LEB128 of at most `bits` bits, unsigned.
static bool read_leb(reader *r, unsigned bits, uint64_t *out)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < bits; shift += 7) {
        unsigned char byte = 0;
        if (!read_byte(r, &byte))
            return false;
        unsigned left = bits - shift;
        if (left < 7 && (byte & 0x7f) >> left != 0)
            return damaged(r, "a number is too large");
        value |= (uint64_t)(byte & 0x7f) << shift;
        if ((byte & 0x80) == 0) {
            *out = value;
            return true;
        }
    }
    return damaged(r, "a number is too long");
}

static bool read_u32(reader *r, uint32_t *out)
{
    uint64_t value;
    if (!read_leb(r, 32, &value))
        return false;
    *out = (uint32_t)value;
    return true;
}

static bool read_bytes(reader *r, size_t len, str *out)
{
    if (len > (size_t)(r->end - r->at))
        return damaged(r, "it ends too early");
    *out = (str){(const char *)r->at, len};
    r->at += len;
    return true;
}

static bool read_name(reader *r, str *out)
{
    uint32_t len;
    if (!read_u32(r, &len) || !read_bytes(r, len, out))
        return false;
    return str_is_utf8(*out) || damaged(r, "a name is not UTF-8");
}

// Entries of a vector; each has a byte at least, so that a count can not make us allocate much.
static bool read_count(reader *r, uint32_t max, uint32_t *out)
{
    if (!read_u32(r, out))
        return false;
    if (*out > (size_t)(r->end - r->at) || *out > max)
        return damaged(r, "a count is too large");
    return true;
}

static bool read_types(reader *r)
{
    uint32_t count;
    if (!read_count(r, TYPES_MAX, &count))
        return false;
    r->types = arena_take(r->a, (count + 1) * sizeof *r->types);
    if (r->types == NULL)
        return problem(r, (str){NULL, 0});
    r->types_count = count;
    for (uint32_t i = 0; i < count; i++) {
        unsigned char form = 0;
        uint32_t len;
        if (!read_byte(r, &form))
            return false;
        if (form != 0x60)
            return problem(r,
                           STR("the module uses types of the GC proposal, which is not supported"));
        if (!read_count(r, VALUES_MAX, &len) || !read_bytes(r, len, &r->types[i].parameters) ||
            !read_count(r, VALUES_MAX, &len) || !read_bytes(r, len, &r->types[i].results))
            return false;
    }
    return true;
}

static char type_letter(char byte)
{
    switch ((unsigned char)byte) {
    case 0x7f:
        return 'i';
    case 0x7e:
        return 'I';
    case 0x7d:
        return 'f';
    case 0x7c:
        return 'F';
    default:
        return '?';
    }
}

static bool types_are(str bytes, const char *letters)
{
    if (bytes.len != strlen(letters))
        return false;
    for (size_t i = 0; i < bytes.len; i++)
        if (type_letter(bytes.at[i]) != letters[i])
            return false;
    return true;
}

static const char *type_name(char letter)
{
    switch (letter) {
    case 'i':
        return "i32";
    case 'I':
        return "i64";
    case 'f':
        return "f32";
    case 'F':
        return "f64";
    default:
        return "another type";
    }
}

static void letters_name(buf *out, str letters, bool binary)
{
    buf_add_byte(out, '(');
    for (size_t i = 0; i < letters.len; i++) {
        char letter = binary ? type_letter(letters.at[i]) : letters.at[i];
        buf_add_format(out, "%s%s", i == 0 ? "" : ", ", type_name(letter));
    }
    buf_add_byte(out, ')');
}

static const provided *provided_find(str module, str name)
{
    for (size_t i = 0; i < COUNT(all_provided); i++)
        if (str_is(name, str_of(all_provided[i].name)) &&
            str_is(module, str_of(all_provided[i].module)))
            return &all_provided[i];
    return NULL;
}

static bool import_unknown(reader *r, str module, str name)
{
    str m = str_printable(r->a, str_first(module, 200));
    str n = str_printable(r->a, str_first(name, 200));
    if (str_starts(module, STR("libraries/")) || str_starts(module, STR("functions/")) ||
        str_is(module, STR("taubyte/smartops")))
        return problem(r,
                       str_format(r->a, "%.*s.%.*s is not available yet", STR_ARG(m), STR_ARG(n)));
    return problem(r, str_format(r->a, "%.*s.%.*s is not part of the guest interface", STR_ARG(m),
                                 STR_ARG(n)));
}

static bool import_differs(reader *r, const provided *p, const signature *s)
{
    buf text;
    buf_open(&text, 4096);
    buf_add_format(&text, "%s.%s is imported as ", p->module, p->name);
    letters_name(&text, s->parameters, true);
    buf_add(&text, STR(" -> "));
    letters_name(&text, s->results, true);
    buf_add(&text, STR(", but it is "));
    letters_name(&text, str_of(p->parameters), false);
    buf_add(&text, STR(" -> "));
    letters_name(&text, str_of(p->result), false);
    str copy = str_copy(r->a, buf_str(&text));
    buf_close(&text);
    return problem(r, copy);
}

static bool import_check(reader *r, str module, str name, uint32_t type)
{
    const provided *p = provided_find(module, name);
    if (p == NULL)
        return import_unknown(r, module, name);
    if (p->parameters == NULL)
        return problem(r, str_format(r->a, "%s.%s is not available yet", p->module, p->name));
    if (type >= r->types_count)
        return damaged(r, "a type is missing");
    const signature *s = &r->types[type];
    if (!types_are(s->parameters, p->parameters) || !types_are(s->results, p->result))
        return import_differs(r, p, s);
    return true;
}

static bool functions_room(reader *r, uint32_t more)
{
    if (more > FUNCTIONS_MAX)
        return damaged(r, "too many functions");
    uint32_t *grown = arena_take(r->a, ((size_t)r->functions_count + more + 1) * sizeof *grown);
    if (grown == NULL)
        return problem(r, (str){NULL, 0});
    if (r->functions_count > 0)
        memcpy(grown, r->functions, r->functions_count * sizeof *grown);
    r->functions = grown;
    return true;
}

static bool read_imports(reader *r)
{
    uint32_t count;
    if (!read_count(r, FUNCTIONS_MAX, &count) || !functions_room(r, count))
        return false;
    for (uint32_t i = 0; i < count; i++) {
        str module, name;
        unsigned char kind = 0;
        uint32_t type;
        if (!read_name(r, &module) || !read_name(r, &name) || !read_byte(r, &kind))
            return false;
        if (kind != 0)
            return problem(r, str_format(r->a,
                                         "the module imports %s %.*s.%.*s: only functions are "
                                         "provided",
                                         kind == 1   ? "the table"
                                         : kind == 2 ? "the memory"
                                         : kind == 3 ? "the global"
                                                     : "a tag",
                                         STR_ARG(str_printable(r->a, str_first(module, 200))),
                                         STR_ARG(str_printable(r->a, str_first(name, 200)))));
        if (!read_u32(r, &type) || !import_check(r, module, name, type))
            return false;
        r->functions[r->functions_count++] = type;
    }
    r->imported = r->functions_count;
    return true;
}

static bool read_functions(reader *r)
{
    uint32_t count;
    if (!read_count(r, FUNCTIONS_MAX, &count) || !functions_room(r, count))
        return false;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t type;
        if (!read_u32(r, &type))
            return false;
        if (type >= r->types_count)
            return damaged(r, "a type is missing");
        r->functions[r->functions_count++] = type;
    }
    return true;
}

static bool read_memory(reader *r)
{
    uint32_t count;
    uint64_t min, max;
    unsigned char flags = 0;
    if (!read_count(r, FUNCTIONS_MAX, &count))
        return false;
    if (count == 0)
        return true;
    if (count > 1)
        return problem(r, STR("the module has more than one memory, which is not supported"));
    if (!read_byte(r, &flags))
        return false;
    if (flags > 1)
        return problem(r, STR("the memory is shared or of 64 bits, which is not supported"));
    if (!read_leb(r, 32, &min))
        return false;
    max = UINT64_MAX;
    if (flags == 1 && !read_leb(r, 32, &max))
        return false;
    if (min > 65536 || (flags == 1 && (max > 65536 || max < min)))
        return damaged(r, "a memory is too large");
    r->memory_defined = true;
    r->out->memory_bytes = min << 16;
    r->out->may_grow = max != min;
    return true;
}

static bool function_is(const reader *r, uint32_t index, const char *parameters, bool may_result)
{
    const signature *s = &r->types[r->functions[index]];
    return types_are(s->parameters, parameters) &&
           (types_are(s->results, "") || (may_result && types_are(s->results, "i")));
}

static bool export_function(reader *r, str name, uint32_t index)
{
    if (index >= r->functions_count)
        return damaged(r, "an exported function is missing");
    bool plain = function_is(r, index, "", false);
    if (str_is(name, STR("_initialize")) && plain)
        r->out->has_initialize = true;
    else if (str_is(name, STR("_start")) && plain)
        r->out->has_start = true;
    if (r->call.len > 0 && str_is(name, r->call)) {
        if (!function_is(r, index, "i", true))
            return problem(r, str_format(r->a,
                                         "the function \"%.*s\" must take one i32 (the event) "
                                         "and return an i32 or nothing",
                                         STR_ARG(r->call)));
        r->call_found = true;
    } else if (name.len > 0 && name.at[0] != '_' && r->exported.len < 200) {
        buf_add_format(&r->exported, "%s%.*s", r->exported.len == 0 ? "" : ", ",
                       STR_ARG(str_first(name, 60)));
    }
    return true;
}

static bool read_exports(reader *r)
{
    uint32_t count;
    if (!read_count(r, FUNCTIONS_MAX, &count))
        return false;
    for (uint32_t i = 0; i < count; i++) {
        str name;
        unsigned char kind = 0;
        uint32_t index;
        if (!read_name(r, &name) || !read_byte(r, &kind) || !read_u32(r, &index))
            return false;
        if (kind == 0 && !export_function(r, name, index))
            return false;
        if (kind == 2 && str_is(name, STR("memory"))) {
            if (index != 0 || !r->memory_defined)
                return damaged(r, "an exported memory is missing");
            r->memory_found = true;
        }
    }
    return true;
}

static bool read_custom(reader *r)
{
    str name;
    if (!read_name(r, &name))
        return false;
    if (str_is(name, STR("go:buildid")) || str_is(name, STR("go.buildid")))
        r->out->go = true;
    r->at = r->end;
    return true;
}

enum {
    SECTION_CUSTOM,
    SECTION_TYPE,
    SECTION_IMPORT,
    SECTION_FUNCTION,
    SECTION_TABLE,
    SECTION_MEMORY,
    SECTION_GLOBAL,
    SECTION_EXPORT,
    SECTION_START,
    SECTION_ELEMENT,
    SECTION_CODE,
    SECTION_DATA,
    SECTION_DATA_COUNT,
    SECTION_TAG
};

static bool read_body(reader *r, unsigned char id)
{
    bool whole;
    switch (id) {
    case SECTION_CUSTOM:
        return read_custom(r);
    case SECTION_TYPE:
        whole = read_types(r);
        break;
    case SECTION_IMPORT:
        whole = read_imports(r);
        break;
    case SECTION_FUNCTION:
        whole = read_functions(r);
        break;
    case SECTION_MEMORY:
        whole = read_memory(r);
        break;
    case SECTION_EXPORT:
        whole = read_exports(r);
        break;
    default:
        if (id == SECTION_START)
            r->out->start_section = true;
        r->at = r->end;
        return true;
    }
    return whole && (r->at == r->end || damaged(r, "a section has bytes left over"));
}

// Where each section stands among the others.
static const unsigned char section_order[] = {
    [SECTION_TYPE] = 1,   [SECTION_IMPORT] = 2,   [SECTION_FUNCTION] = 3,    [SECTION_TABLE] = 4,
    [SECTION_MEMORY] = 5, [SECTION_TAG] = 6,      [SECTION_GLOBAL] = 7,      [SECTION_EXPORT] = 8,
    [SECTION_START] = 9,  [SECTION_ELEMENT] = 10, [SECTION_DATA_COUNT] = 11, [SECTION_CODE] = 12,
    [SECTION_DATA] = 13,
};

static bool read_sections(reader *r)
{
    const unsigned char *end = r->end;
    unsigned char last = 0;
    while (r->at < end) {
        unsigned char id;
        uint32_t len;
        str body;
        r->end = end;
        if (!read_byte(r, &id) || !read_u32(r, &len) || !read_bytes(r, len, &body))
            return false;
        if (id >= COUNT(section_order) || (id != SECTION_CUSTOM && section_order[id] <= last))
            return damaged(r, "an unknown section, or one out of order");
        if (id != SECTION_CUSTOM)
            last = section_order[id];
        r->at = (const unsigned char *)body.at;
        r->end = r->at + body.len;
        if (!read_body(r, id))
            return false;
        r->at = r->end;
    }
    return true;
}

static void check_whole(reader *r)
{
    if (r->call.len > 0 && !r->call_found) {
        str names = str_printable(r->a, buf_str(&r->exported));
        problem(r, str_format(r->a, "the function \"%.*s\" is not exported%s%.*s", STR_ARG(r->call),
                              names.len > 0 ? "; exported are: " : "", STR_ARG(names)));
    } else if (!r->memory_found) {
        problem(r, STR("the module must export its memory as \"memory\""));
    }
    if (r->out->has_initialize)
        r->out->has_start = false;
}

err vm_inspect(arena *a, str wasm, str call, vm_manifest *out)
{
    vm_manifest made = {0};
    reader r = {.a = a, .out = &made, .call = call, .at = (const unsigned char *)wasm.at};
    r.end = r.at + wasm.len;
    buf_open(&r.exported, 512);
    str magic = {NULL, 0};
    if (wasm.len > VM_WASM_BYTES_MAX)
        problem(&r, STR("the module is larger than 128 MiB"));
    else if (wasm.len < 8 || !read_bytes(&r, 8, &magic) ||
             memcmp(magic.at, "\0asm\1\0\0\0", 8) != 0)
        damaged(&r, "it does not begin with \\0asm and version 1");
    else if (read_sections(&r))
        check_whole(&r);
    buf_close(&r.exported);
    if (r.no_memory_left)
        return fail(ERR_MEMORY, 0, "inspect module");
    *out = made;
    return ok();
}
