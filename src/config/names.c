/* Output folder names: checked, defaulted from the encoders, made unique in array order. */
#include "option.h"

#include <stdlib.h>
#include <string.h>

enum {
    NAME_BYTES = 200
}; /* a log file's name adds "_gpu0_20261123_120000.log" to it; NAME_MAX 255 */

/* Names in use, open addressing. `next` is the suffix to try for the next config of that name. */
typedef struct slot {
    const char *name;
    bool taken; /* false: reserved for the config that asked for it, not yet reached */
    int next;
} slot;
typedef struct names {
    slot *slots;
    size_t mask;
} names;

static slot *find(const names *t, const char *name)
{
    uint64_t h = 1469598103934665603u;
    for (const char *c = name; *c; c++)
        h = (h ^ (unsigned char)*c) * 1099511628211u;
    size_t at = (size_t)h & t->mask;
    while (t->slots[at].name && strcmp(t->slots[at].name, name) != 0)
        at = (at + 1) & t->mask;
    return &t->slots[at];
}

static sc_status check_name(const sc_drafts *all, const sc_draft *d)
{
    const char *name = d->config.name;
    if (strchr(name, '/') || strstr(name, "..") || name[0] == '.')
        return sc_draft_fail(all, d, "name",
                             "'%.80s' cannot be a folder's name: no '/', no '..', no '.' in front; "
                             "choose another",
                             name);
    if (strlen(name) > NAME_BYTES)
        return sc_draft_fail(all, d, "name", "is %zu bytes long; use at most %d", strlen(name),
                             NAME_BYTES);
    return SC_OK;
}

static sc_status default_name(sc_config *c)
{
    c->name = sc_format("%s_%s", c->image_encoder, c->text_encoder);
    if (!c->name)
        return SC_ENOMEM;
    for (char *p = c->name; *p; p++)
        *p = *p == ':' || *p == '/' ? '_' : *p;
    return SC_OK;
}

static sc_status number_it(const names *t, slot *base, sc_draft *d, const sc_drafts *all)
{
    for (;; base->next++) {
        char *candidate = sc_format("%s_%d", d->config.name, base->next);
        if (!candidate)
            return SC_ENOMEM;
        slot *s = find(t, candidate);
        if (!s->name) {
            base->next++;
            free(d->config.name);
            d->config.name = candidate;
            *s = (slot){candidate, true, 2};
            return check_name(all, d);
        }
        free(candidate);
    }
}

static sc_status make_unique(const sc_drafts *all, const names *t)
{
    for (int i = 0; i < all->count; i++) { /* explicit names are reserved before any numbering */
        sc_draft *d = &all->items[i];
        if (!d->config.name)
            continue;
        SC_TRY(check_name(all, d));
        slot *s = find(t, d->config.name);
        if (!s->name)
            *s = (slot){d->config.name, false, 2};
    }
    for (int i = 0; i < all->count; i++) {
        sc_draft *d = &all->items[i];
        bool given = d->config.name != NULL;
        if (!given) {
            SC_TRY(default_name(&d->config));
            SC_TRY(check_name(all, d));
        }
        slot *s = find(t, d->config.name);
        if (!s->name || (given && !s->taken))
            *s = (slot){d->config.name, true, s->name ? s->next : 2};
        else
            SC_TRY(number_it(t, s, d, all));
    }
    return SC_OK;
}

sc_status sc_drafts_name(const sc_drafts *all)
{
    size_t size = 16;
    while (size < 4 * (size_t)all->count)
        size *= 2;
    names t = {sc_alloc(size, sizeof *t.slots), size - 1};
    if (!t.slots)
        return SC_ENOMEM;
    sc_status status = make_unique(all, &t);
    free(t.slots);
    return status;
}
