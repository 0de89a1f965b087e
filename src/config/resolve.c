/* What can only be judged once all values are there: class text files and combinations. */
#include "option.h"

#include <stdlib.h>
#include <string.h>

static sc_status load_class_texts(const sc_drafts *all, sc_draft *d)
{
    sc_config *c = &d->config;
    if (!c->class_texts_file)
        return SC_OK;
    if (c->class_texts)
        return sc_draft_fail(all, d, "class_texts_file",
                             "class_texts_dict is given too; keep one of them");
    sc_json_doc *doc = NULL;
    sc_status status = sc_json_read_file(c->class_texts_file, &doc);
    if (status == SC_OK) {
        status = sc_class_texts_of_json(sc_json_root(doc), &c->class_texts, &c->class_texts_count);
        if (status != SC_OK)
            status = sc_fail_prefix(status, "%s", c->class_texts_file);
    }
    sc_json_free(doc);
    if (status == SC_OK)
        return SC_OK;
    char place[1024];
    sc_draft_place(all, d, "class_texts_file", place, sizeof place);
    return sc_fail_prefix(status, "%s", place);
}

static sc_status check_combinations(const sc_drafts *all, const sc_draft *d)
{
    const sc_config *c = &d->config;
    if (c->use_focal_loss && !c->use_superclip_loss)
        return sc_draft_fail(
            all, d, "use_focal_loss",
            "the focal loss is a form of the class loss; set use_superclip_loss to "
            "true as well, or use_focal_loss to false");
    if (c->use_superclip_loss && !(c->class_loss_weight > 0) && !(c->contrastive_loss_weight > 0))
        return sc_draft_fail(all, d, "class_loss_weight",
                             "class_loss_weight and contrastive_loss_weight are both 0, which "
                             "trains nothing; raise one");
    if (!c->pretrained && c->image_weights)
        return sc_draft_fail(
            all, d, "image_weights",
            "pretrained is false, so the file would not be read; set pretrained to "
            "true, or remove it");
    if (!c->pretrained && c->text_weights)
        return sc_draft_fail(
            all, d, "text_weights",
            "pretrained is false, so the file would not be read; set pretrained to "
            "true, or remove it");
    return SC_OK;
}

/* A value someone chose that changes nothing; the default, written out, is no choice. */
static void warn_if_given(const sc_drafts *all, const sc_draft *d, const char *key, const char *why,
                          const sc_log *log)
{
    const sc_option *o = sc_option_by_key(key);
    char place[1024];
    if (d->from[sc_option_index(o)] == SC_FROM_DEFAULT || sc_option_is_default(o, &d->config))
        return;
    sc_draft_place(all, d, key, place, sizeof place);
    sc_warn(log, "%s has no effect: %s", place, why);
}

static void warn_of_combinations(const sc_drafts *all, const sc_draft *d, const sc_log *log)
{
    const sc_config *c = &d->config;
    char place[1024];
    bool weighted_loss = c->use_superclip_loss && !c->use_focal_loss && c->class_loss_weight > 0 &&
                         strcmp(c->class_weights, "train") == 0;
    if (c->use_weighted_sampling && weighted_loss) {
        sc_draft_place(all, d, "use_weighted_sampling", place, sizeof place);
        sc_warn(log,
                "%s: sampler and class loss are both weighted, which corrects twice for rare "
                "classes; set class_weights to none, or use_weighted_sampling to false",
                place);
    }
    if (!c->sync_bn && !c->freeze_bn) {
        sc_draft_place(all, d, "sync_bn", place, sizeof place);
        sc_warn(log, "%s: with sync_bn false the result depends on the number of ranks", place);
    }
    if (!c->use_weighted_sampling && !weighted_loss) {
        warn_if_given(all, d, "weight_method", "neither sampler nor class loss is weighted", log);
        warn_if_given(all, d, "weight_smooth_factor", "neither sampler nor class loss is weighted",
                      log);
    }
    for (int i = 0; i < sc_option_count; i++) {
        const sc_option *o = &sc_option_table[i];
        char why[96];
        if (!o->needs || sc_option_is_on(sc_option_by_key(o->needs), c))
            continue;
        snprintf(why, sizeof why, "%s is off", o->needs);
        warn_if_given(all, d, o->key, why, log);
    }
}

sc_status sc_drafts_resolve(const sc_drafts *all, const sc_log *log)
{
    for (int i = 0; i < all->count; i++) {
        SC_TRY(load_class_texts(all, &all->items[i]));
        SC_TRY(check_combinations(all, &all->items[i]));
    }
    SC_TRY(sc_drafts_name(all));
    for (int i = 0; i < all->count; i++)
        warn_of_combinations(all, &all->items[i], log);
    return SC_OK;
}
