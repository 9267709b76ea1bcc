// Collects what a user wrote wrongly.
#include "base/diagnosis.h"

void diagnoses_init(diagnoses *d, arena *memory, size_t count_max)
{
    *d = (diagnoses){.memory = memory, .count_max = count_max};
    d->last = &d->first;
}

diagnosis *diagnoses_add(diagnoses *d, str file, size_t line, size_t column, const char *code)
{
    diagnosis *added = d->count < d->count_max ? arena_take(d->memory, sizeof(*added)) : NULL;
    d->count++;
    bool kept = added != NULL;
    if (!kept)
        added = &d->spare;
    *added = (diagnosis){.file = file, .line = line, .column = column, .width = 1, .code = code};
    if (kept) {
        *d->last = added;
        d->last = &added->next;
    }
    return added;
}
