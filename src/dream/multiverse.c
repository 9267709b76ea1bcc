// All universes of one DREAM_HOME in this process, and the control API in front of them.
#include "base/file.h"
#include "base/str.h"
#include "dream/multiverse_inner.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

enum { MULTIVERSE_MEMORY_BYTES = 1 << 20 };

static err multiverse_lock(multiverse *m)
{
    const char *path = str_format(m->memory, "%s/lock", m->settings.home).at;
    if (path == NULL)
        return fail(ERR_LIMIT, 0, "DREAM_HOME is too long a path");
    TRY(file_make_folders(m->settings.home, 0700));
    m->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (m->lock < 0)
        return fail_errno(errno, "open lock");
    if (flock(m->lock, LOCK_EX | LOCK_NB) != 0)
        return errno == EWOULDBLOCK
                   ? fail(ERR_BUSY, 0, "a multiverse of this DREAM_HOME runs already")
                   : fail_errno(errno, "take lock");
    return ok();
}

universe *multiverse_at(multiverse *m, size_t i)
{
    return i < m->count ? m->universes[i] : NULL;
}

universe *multiverse_find(multiverse *m, str name)
{
    if (name.len == 0)
        return multiverse_at(m, 0);
    for (size_t i = 0; i < m->count; i++)
        if (str_is(universe_name(m->universes[i]), name))
            return m->universes[i];
    return NULL;
}

static void multiverse_on_universe_closed(void *data);

// A universe on its way out: it still has its files and ports.
struct removal {
    struct removal *next;
    multiverse *multiverse;
    universe *universe;
    void (*removed)(void *data);
    void *data;
};

static void multiverse_on_left(void *data)
{
    multiverse *m = data;
    m->leaving--;
    if (m->closing > 0)
        multiverse_on_universe_closed(m);
}

err multiverse_add(multiverse *m, str name, const universe_settings *settings, universe **out)
{
    if (multiverse_find(m, name) != NULL && name.len > 0)
        return fail(ERR_CONFLICT, 0, "a universe of this name runs already");
    for (struct removal *r = m->removals; r != NULL; r = r->next)
        if (str_is(universe_name(r->universe), name))
            return fail(ERR_BUSY, 0, "the universe of this name is still stopping, try again");
    if (m->count == UNIVERSES_MAX)
        return fail(ERR_LIMIT, 0, "at most 32 universes run at once");
    universe_settings s = settings == NULL ? m->settings.defaults : *settings;
    s.loop = m->settings.loop;
    s.log = m->settings.log;
    s.home = m->settings.home;
    s.name = name;
    universe *u;
    err e = universe_open(&u, &s);
    if (e.code != OK && u != NULL) {
        m->leaving++;
        universe_close(u, multiverse_on_left, m);
    }
    TRY(e);
    m->universes[m->count++] = u;
    if (out != NULL)
        *out = u;
    return ok();
}

static void multiverse_on_removed(void *data)
{
    struct removal r = *(struct removal *)data;
    struct removal **at = &r.multiverse->removals;
    while (*at != data)
        at = &(*at)->next;
    *at = r.next;
    free(data);
    if (r.removed != NULL)
        r.removed(r.data);
    multiverse_on_left(r.multiverse);
}

err multiverse_remove(multiverse *m, str name, void (*removed)(void *data), void *data)
{
    universe *u = multiverse_find(m, name);
    if (u == NULL)
        return fail(ERR_ABSENT, 0, "no universe of this name runs");
    struct removal *r = malloc(sizeof(*r));
    if (r == NULL)
        return fail(ERR_MEMORY, 0, "remove universe");
    *r = (struct removal){.multiverse = m, .universe = u, .removed = removed, .data = data};
    r->next = m->removals;
    m->removals = r;
    for (size_t i = 0; i < m->count; i++)
        if (m->universes[i] == u) {
            for (size_t k = i; k + 1 < m->count; k++)
                m->universes[k] = m->universes[k + 1];
            m->count--;
            break;
        }
    m->leaving++;
    universe_close(u, multiverse_on_removed, r);
    return ok();
}

// Universes that were made before start again with the multiverse; the first one stays first.
static err multiverse_start(multiverse *m)
{
    TRY(multiverse_lock(m));
    for (size_t i = 0; i < m->settings.universes_count; i++) {
        universe_settings s = m->settings.defaults;
        if (i > 0)
            s.shift = s.gateway_port = 0; // given for the first one alone
        TRY(multiverse_add(m, m->settings.universes[i], &s, NULL));
    }
    const char *folder = str_format(m->memory, "%s/universes", m->settings.home).at;
    DIR *d = folder == NULL ? NULL : opendir(folder);
    err e = ok();
    for (struct dirent *entry; d != NULL && e.code == OK && (entry = readdir(d)) != NULL;) {
        str name = str_of(entry->d_name);
        if (entry->d_name[0] == '.' || multiverse_find(m, name) != NULL)
            continue;
        universe_settings s = m->settings.defaults;
        s.shift = s.gateway_port = 0;
        s.clean = false;
        s.kind = ENGINE_AS_IT_WAS;
        s.elders = s.copies.hoarder = 0;
        s.address = STR("");
        e = multiverse_add(m, name, &s, NULL);
    }
    if (d != NULL)
        closedir(d);
    return e.code == OK ? api_open(m) : e;
}

static void multiverse_free(multiverse *m)
{
    if (m->lock >= 0)
        (void)close(m->lock); // gives the lock back
    arena_close(m->memory);
    void (*closed)(void *data) = m->closed;
    void *data = m->closed_data;
    free(m);
    if (closed != NULL)
        closed(data);
}

static void multiverse_on_universe_closed(void *data)
{
    multiverse *m = data;
    if (--m->closing == 0)
        multiverse_free(m);
}

void multiverse_close(multiverse *m, void (*closed)(void *data), void *data)
{
    m->closed = closed;
    m->closed_data = data;
    api_close(m);
    m->closing = 1 + m->leaving;
    while (m->count > 0) {
        m->closing++;
        universe_close(m->universes[--m->count], multiverse_on_universe_closed, m);
    }
    multiverse_on_universe_closed(m);
}

err multiverse_open(multiverse **out, const multiverse_settings *settings)
{
    multiverse *m = *out = calloc(1, sizeof(*m));
    if (m == NULL)
        return fail(ERR_MEMORY, 0, "open multiverse");
    m->settings = *settings;
    m->lock = -1;
    TRY(arena_open(&m->memory, MULTIVERSE_MEMORY_BYTES));
    return multiverse_start(m);
}
