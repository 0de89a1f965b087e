/* What a fresh job begins with: the state dict of --init-from; or random values, and over them the
 * published weights of either tower, whose projection alone keeps what it was given.
 */
#include <stdlib.h>
#include <string.h>

#include "trainer.h"

/* ---- one tower ------------------------------------------------------------------------------- */

/* A tower's published file under the names of our parameters. */
typedef struct tower {
    sc_weights *file;
    sc_pretrained *mapped;
} tower;

static void close_tower(tower *w)
{
    sc_pretrained_close(w->mapped);
    sc_weights_close(w->file);
    *w = (tower){0};
}

static bool is_of_tower(const char *name, const char *prefix)
{
    static const char projection[] = "projection.";
    size_t n = strlen(prefix);
    return !strncmp(name, prefix, n) && strncmp(name + n, projection, sizeof projection - 1) != 0;
}

/* Every parameter of the tower has to come from the file. */
static sc_status open_tower(const sc_graph *g, const char *encoder, const char *prefix,
                            const char *path, tower *out)
{
    *out = (tower){0};
    size_t count = sc_graph_param_count(g), n = 0;
    sc_tensor *wanted = sc_alloc(count, sizeof *wanted);
    if (!wanted)
        return SC_ENOMEM;
    for (size_t i = 0; i < count; i++) {
        sc_param_info p = sc_graph_param_info(g, i);
        if (is_of_tower(p.name, prefix))
            wanted[n++] = (sc_tensor){.name = (char *)p.name, /* the graph's */
                                      .dtype = p.kind == SC_PARAM_COUNTER ? SC_I64 : SC_F32,
                                      .shape = p.shape};
    }
    sc_status status = sc_weights_open(path, &out->file);
    if (status == SC_OK)
        status = sc_pretrained_open(out->file, encoder, wanted, n, &out->mapped);
    if (status != SC_OK)
        close_tower(out);
    free(wanted);
    return status;
}

/* Opens a tower's file, if it has one, and reads it into p; NULL: only looks whether it fits. */
static sc_status use_tower(const sc_graph *g, const char *encoder, const char *prefix,
                           const char *path, sc_params *p)
{
    tower w;
    if (!path)
        return SC_OK;
    SC_TRY(open_tower(g, encoder, prefix, path, &w));
    sc_status status = SC_OK;
    if (p) {
        const sc_tensor_reader r = sc_pretrained_reader(w.mapped);
        status = sc_params_read_some(p, &r);
        if (status != SC_OK && !strstr(sc_message(), path))
            sc_fail_prefix(status, "%s", path);
    }
    close_tower(&w);
    return status;
}

static sc_status use_towers(const sc_train_options *o, const sc_graph *g, sc_params *p)
{
    SC_TRY(use_tower(g, o->image_encoder, "image_encoder.", o->image_weights, p));
    return use_tower(g, o->text_encoder, "text_encoder.", o->text_weights, p);
}

/* ---- the whole model ------------------------------------------------------------------------- */

/* Into p; NULL: only looks whether it fits the graph. */
static sc_status use_state_dict(const char *path, const sc_graph *g, sc_params *p)
{
    sc_weights *w;
    SC_TRY(sc_weights_open(path, &w));
    const sc_tensor_reader r = sc_weights_reader(w);
    sc_status status = p ? sc_params_read(p, &r) : sc_params_check(g, &r);
    if (status != SC_OK && !strstr(sc_message(), path))
        sc_fail_prefix(status, "%s", path);
    sc_weights_close(w);
    return status;
}

sc_status sc_check_start_weights(const sc_train_options *o, const sc_graph *g)
{
    return o->init_from ? use_state_dict(o->init_from, g, NULL) : use_towers(o, g, NULL);
}

static sc_status fill(sc_trainer *t)
{
    const sc_train_options *o = t->o;
    if (o->init_from)
        return use_state_dict(o->init_from, t->train_graph, t->params);
    SC_TRY(sc_params_init(t->params, o->random_state));
    return use_towers(o, t->train_graph, t->params);
}

sc_status sc_trainer_start_weights(sc_trainer *t)
{
    const sc_train_options *o = t->o;
    sc_status status = fill(t);
    if (status != SC_OK && t->comm->rank > 0) /* rank 0 could read them: other disks here */
        sc_fail_prefix(status, "fold %d: rank %d of its group", o->fold, t->comm->rank);
    SC_TRY(sc_trainer_agree(t, status, NULL));
    bool read = o->init_from || o->image_weights || o->text_weights;
    return read ? sc_trainer_check_replicas(t) : SC_OK;
}
