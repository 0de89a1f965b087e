/* The data as it lies there: a packed set, or a folder of images that rank 0 lists for all. */
#include <stdlib.h>
#include <string.h>

#include "app.h"

sc_pack_options app_pack_options(const app *a, int set)
{
    return (sc_pack_options){.src = a->source_dir,
                             .dst = a->sets[set].dir,
                             .img_size = a->sets[set].img_size,
                             .decode = {.max_pixels = 178e6},
                             .threads = a->threads,
                             .log = &a->log};
}

/* One set for every image size among the configs, in order of appearance. */
sc_status app_list_sizes(app *a)
{
    a->sets = sc_alloc((size_t)a->options.configs_count, sizeof *a->sets);
    if (!a->sets)
        return SC_ENOMEM;
    for (int i = 0; i < a->options.configs_count; i++) {
        int size = a->options.configs[i].img_size, s = 0;
        while (s < a->set_count && a->sets[s].img_size != size)
            s++;
        if (s == a->set_count)
            a->sets[a->set_count++].img_size = size;
        a->cases[i].set = s;
    }
    return SC_OK;
}

static sc_status look_at_packed(app *a)
{
    for (int s = 0; s < a->set_count; s++) {
        a->sets[s].dir = sc_strdup(a->options.data_dir);
        if (!a->sets[s].dir)
            return SC_ENOMEM;
        SC_TRY(sc_dataset_open(a->sets[s].dir, a->sets[s].img_size, &a->log, &a->sets[s].dataset));
    }
    return SC_OK;
}

static sc_status look_at_folder(app *a)
{
    a->source_dir = sc_strdup(a->options.data_dir);
    if (!a->source_dir)
        return SC_ENOMEM;
    SC_TRY(sc_source_scan(a->source_dir, &a->log, a->list));
    char *cache = a->options.cache_dir ? sc_strdup(a->options.cache_dir)
                                       : sc_path_join(a->options.output_dir, ".cache");
    if (!cache)
        return SC_ENOMEM;
    sc_status status = SC_OK;
    for (int s = 0; s < a->set_count && status == SC_OK; s++) {
        sc_pack_options o = app_pack_options(a, s);
        char key[65];
        sc_source_key(a->list, &o, key);
        a->sets[s].dir = sc_path_join(cache, key);
        a->sets[s].cached = true;
        status = a->sets[s].dir ? SC_OK : SC_ENOMEM;
    }
    free(cache);
    return status;
}

void app_take_facts(app *a)
{
    const sc_dataset *d = a->sets[0].dataset;
    if (d)
        a->facts = (app_facts){sc_dataset_count(d), sc_dataset_classes(d),
                               sc_dataset_class_names(d), sc_dataset_labels(d)};
    else
        a->facts = (app_facts){a->list->count, a->list->classes,
                               (const char *const *)a->list->class_names, a->list->labels};
}

sc_status app_look_at_data(app *a)
{
    SC_TRY(sc_is_packed(a->options.data_dir) ? look_at_packed(a) : look_at_folder(a));
    app_take_facts(a);
    return SC_OK;
}

/* ---- the list as bytes, so that one process alone asks the file system for 10^6 names
 * ------------- */

static void write_list(app *a, sc_text *t)
{
    const sc_source_list *l = a->list;
    int64_t head[3] = {a->source_dir ? 1 : 0, l->classes, l->count};
    sc_text_add(t, head, sizeof head);
    for (int s = 0; s < a->set_count; s++)
        sc_text_add(t, a->sets[s].dir, strlen(a->sets[s].dir) + 1);
    for (int c = 0; c < l->classes; c++)
        sc_text_add(t, l->class_names[c], strlen(l->class_names[c]) + 1);
    for (int64_t i = 0; i < l->count; i++) {
        sc_text_add(t, l->paths[i], strlen(l->paths[i]) + 1);
        sc_text_add(t, &l->labels[i], sizeof l->labels[i]);
        sc_text_add(t, &l->sizes[i], sizeof l->sizes[i]);
        sc_text_add(t, &l->mtimes_ns[i], sizeof l->mtimes_ns[i]);
    }
}

static char *take_string(const char **at)
{
    char *s = sc_strdup(*at);
    *at += strlen(*at) + 1;
    return s;
}

static void take(const char **at, void *to, size_t n)
{
    memcpy(to, *at, n);
    *at += n;
}

static sc_status read_list(app *a, const char *at)
{
    sc_source_list *l = a->list;
    int64_t head[3];
    take(&at, head, sizeof head);
    for (int s = 0; s < a->set_count; s++) {
        a->sets[s].dir = take_string(&at);
        a->sets[s].cached = head[0] != 0;
        if (!a->sets[s].dir)
            return SC_ENOMEM;
    }
    if (!head[0])
        return SC_OK;
    size_t n = (size_t)head[2];
    a->source_dir = sc_strdup(a->options.data_dir);
    l->class_names = sc_alloc((size_t)head[1], sizeof *l->class_names);
    l->paths = sc_alloc(n, sizeof *l->paths);
    l->labels = sc_alloc(n, sizeof *l->labels);
    l->sizes = sc_alloc(n, sizeof *l->sizes);
    l->mtimes_ns = sc_alloc(n, sizeof *l->mtimes_ns);
    if (!a->source_dir || !l->class_names || !l->paths || !l->labels || !l->sizes || !l->mtimes_ns)
        return SC_ENOMEM;
    for (; l->classes < (int)head[1]; l->classes++)
        if (!(l->class_names[l->classes] = take_string(&at)))
            return SC_ENOMEM;
    for (; l->count < head[2]; l->count++) {
        int64_t i = l->count;
        if (!(l->paths[i] = take_string(&at)))
            return SC_ENOMEM;
        take(&at, &l->labels[i], sizeof l->labels[i]);
        take(&at, &l->sizes[i], sizeof l->sizes[i]);
        take(&at, &l->mtimes_ns[i], sizeof l->mtimes_ns[i]);
    }
    return SC_OK;
}

sc_status app_share_source(app *a)
{
    return app_share(a, write_list, read_list);
}
