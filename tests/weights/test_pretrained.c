/* Published files under our names. The files are made here: the names are those of the libraries,
 * the values are ramps. */
#include "weights_test.h"

enum { WIDTH = 4, EMBED = 3, CONTEXT = 5, VOCABULARY = 6, LAYERS = 2 };

static char *folder;

static void add(sc_tensor_set *s, const char *name, sc_dtype dtype, sc_shape shape, double start)
{
    sc_tensor t = ramp(name, dtype, shape, start);
    assert_int_equal(sc_tensor_set_add(s, &t), SC_OK);
}

/* A tower of ours: every tensor begins at 100 times its place. */
static sc_tensor_set text_tower(void)
{
    static const struct {
        const char *name;
        sc_shape shape;
    } block[] = {
        {"attn.in_proj_weight", {2, {3 * WIDTH, WIDTH}}},
        {"attn.in_proj_bias", {1, {3 * WIDTH}}},
        {"attn.out_proj.weight", {2, {WIDTH, WIDTH}}},
        {"attn.out_proj.bias", {1, {WIDTH}}},
        {"ln_1.weight", {1, {WIDTH}}},
        {"ln_1.bias", {1, {WIDTH}}},
        {"mlp.c_fc.weight", {2, {4 * WIDTH, WIDTH}}},
        {"mlp.c_fc.bias", {1, {4 * WIDTH}}},
        {"mlp.c_proj.weight", {2, {WIDTH, 4 * WIDTH}}},
        {"mlp.c_proj.bias", {1, {WIDTH}}},
        {"ln_2.weight", {1, {WIDTH}}},
        {"ln_2.bias", {1, {WIDTH}}},
    };
    sc_tensor_set s = {0};
    char name[120];
    add(&s, "text_encoder.positional_embedding", SC_F32, SC_SHAPE(CONTEXT, WIDTH), 0);
    add(&s, "text_encoder.text_projection", SC_F32, SC_SHAPE(WIDTH, EMBED), 100);
    for (int i = 0; i < LAYERS; i++)
        for (size_t k = 0; k < sizeof block / sizeof block[0]; k++) {
            snprintf(name, sizeof name, "text_encoder.backbone.resblocks.%d.%s", i, block[k].name);
            add(&s, name, SC_F32, block[k].shape, (double)s.count * 100);
        }
    add(&s, "text_encoder.token_embedding.weight", SC_F32, SC_SHAPE(VOCABULARY, WIDTH), 2600);
    add(&s, "text_encoder.ln_final.weight", SC_F32, SC_SHAPE(WIDTH), 2700);
    add(&s, "text_encoder.ln_final.bias", SC_F32, SC_SHAPE(WIDTH), 2800);
    return s;
}

static void add_copy(sc_tensor_set *s, const char *name, const sc_tensor *from, sc_shape shape,
                     int64_t first, sc_dtype dtype)
{
    sc_tensor t;
    assert_int_equal(sc_tensor_new(name, dtype, shape, &t), SC_OK);
    for (int64_t i = 0; i < sc_shape_count(&shape); i++)
        sc_tensor_set_element(&t, i, sc_tensor_get(from, first + i));
    assert_int_equal(sc_tensor_set_add(s, &t), SC_OK);
}

/* OpenAI's names, with what else is in its files. */
static sc_tensor_set openai_file(const sc_tensor_set *ours, const char *prefix)
{
    sc_tensor_set s = {0};
    char name[160];
    for (size_t i = 0; i < ours->count; i++) {
        const char *x = ours->items[i].name + strlen("text_encoder.");
        bool block = strncmp(x, "backbone.", 9) == 0;
        snprintf(name, sizeof name, "%s%s%s", prefix, block ? "transformer." : "",
                 block ? x + 9 : x);
        add_copy(&s, name, &ours->items[i], ours->items[i].shape, 0, SC_F16);
    }
    add(&s, "visual.conv1.weight", SC_F16, SC_SHAPE(2, 3, 1, 1), 0);
    add(&s, "logit_scale", SC_F32, (sc_shape){0}, 4.6);
    return s;
}

static const char *hf_name(const char *x, char *out, size_t n)
{
    static const char *const rows[][2] = {
        {"positional_embedding", "text_model.embeddings.position_embedding.weight"},
        {"token_embedding.weight", "text_model.embeddings.token_embedding.weight"},
        {"ln_final.weight", "text_model.final_layer_norm.weight"},
        {"ln_final.bias", "text_model.final_layer_norm.bias"},
        {"ln_1", "layer_norm1"},
        {"ln_2", "layer_norm2"},
        {"attn.out_proj", "self_attn.out_proj"},
        {"mlp.c_fc", "mlp.fc1"},
        {"mlp.c_proj", "mlp.fc2"},
    };
    for (int i = 0; i < 4; i++)
        if (!strcmp(x, rows[i][0]))
            return rows[i][1];
    int block, used = 0;
    assert_int_equal(sscanf(x, "backbone.resblocks.%d.%n", &block, &used), 1);
    for (int i = 4; i < 9; i++)
        if (!strncmp(x + used, rows[i][0], strlen(rows[i][0]))) {
            snprintf(out, n, "text_model.encoder.layers.%d.%s%s", block, rows[i][1],
                     x + used + strlen(rows[i][0]));
            return out;
        }
    fail_msg("no name for %s", x);
    return NULL;
}

static sc_tensor_set hf_file(const sc_tensor_set *ours)
{
    sc_tensor_set s = {0};
    char name[160];
    for (size_t i = 0; i < ours->count; i++) {
        const sc_tensor *t = &ours->items[i];
        const char *x = t->name + strlen("text_encoder.");
        const char *in = strstr(x, "attn.in_proj_");
        if (!strcmp(x, "text_projection")) {
            sc_tensor turned;
            assert_int_equal(
                sc_tensor_new("text_projection.weight", SC_F32, SC_SHAPE(EMBED, WIDTH), &turned),
                SC_OK);
            for (int64_t k = 0; k < EMBED * WIDTH; k++)
                sc_tensor_set_element(&turned, k, sc_tensor_get(t, k % WIDTH * EMBED + k / WIDTH));
            assert_int_equal(sc_tensor_set_add(&s, &turned), SC_OK);
        } else if (in) {
            sc_shape part = t->shape;
            part.d[0] /= 3;
            for (int k = 0; k < 3; k++) {
                snprintf(name, sizeof name, "text_model.encoder.layers.%d.self_attn.%c_proj.%s",
                         atoi(x + strlen("backbone.resblocks.")), "qkv"[k], in + 13);
                add_copy(&s, name, t, part, k * sc_shape_count(&part), SC_F32);
            }
        } else
            add_copy(&s, hf_name(x, name, sizeof name), t, t->shape, 0, SC_F32);
    }
    add(&s, "text_model.embeddings.position_ids", SC_I64, SC_SHAPE(1, CONTEXT), 0);
    add(&s, "vision_model.post_layernorm.weight", SC_F32, SC_SHAPE(4), 0);
    add(&s, "visual_projection.weight", SC_F32, SC_SHAPE(3, 4), 0);
    return s;
}

/* The file of `set`, mapped: all of `ours`, value by value; or refused with `told` in the message.
 */
static void expect(const sc_tensor_set *set, const char *encoder, const sc_tensor_set *ours,
                   const char *told)
{
    char *path = sc_path_join(folder, "file");
    sc_weights *w;
    sc_pretrained *p;
    assert_int_equal(sc_safetensors_save(path, set, NULL), SC_OK);
    assert_int_equal(sc_weights_open(path, &w), SC_OK);
    sc_status status = sc_pretrained_open(w, encoder, ours->items, ours->count, &p);
    if (told) {
        assert_int_equal(status, SC_EFORMAT);
        assert_null(p);
        if (!strstr(sc_message(), told) || !strstr(sc_message(), path))
            fail_msg("message '%s' lacks '%s' or the file", sc_message(), told);
    } else if (status != SC_OK)
        fail_msg("%s", sc_message());
    for (size_t i = 0; !told && i < ours->count; i++) {
        sc_tensor_reader r = sc_pretrained_reader(p);
        sc_tensor t;
        assert_int_equal(r.count, ours->count);
        assert_string_equal(r.items[i].name, ours->items[i].name);
        assert_true(sc_shape_equal(&r.items[i].shape, &ours->items[i].shape));
        assert_int_equal(sc_tensor_new(NULL, r.items[i].dtype, r.items[i].shape, &t), SC_OK);
        assert_int_equal(r.read(r.ctx, i, t.data), SC_OK);
        for (int64_t k = 0; k < sc_shape_count(&t.shape); k++) {
            double v = sc_tensor_get(&ours->items[i], k);
            if (r.items[i].dtype == SC_F16)
                v = (double)sc_f16_to_f32(sc_f64_to_f16(v));
            if (sc_tensor_get(&t, k) != v)
                fail_msg("%s[%d] is %g, not %g", r.items[i].name, (int)k, sc_tensor_get(&t, k), v);
        }
        sc_tensor_free(&t);
    }
    sc_pretrained_close(p);
    sc_weights_close(w);
    unlink(path);
    free(path);
}

static void text_towers_of_three_layouts(void **state)
{
    (void)state;
    sc_tensor_set ours = text_tower(), f;
    static const char *const prefixes[] = {"", "text.", "module.", "_orig_mod.module.text."};
    for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++) {
        f = openai_file(&ours, prefixes[i]);
        expect(&f, "clip:tiny", &ours, NULL);
        sc_tensor_set_free(&f);
    }
    f = hf_file(&ours);
    expect(&f, "clip:tiny", &ours, NULL);
    expect(&f, "resnet-tiny", &(sc_tensor_set){0}, "holds no ResNet");
    sc_tensor_set_free(&f);
    sc_tensor_set_free(&ours);
}

static void rename_tensor(sc_tensor_set *s, const char *from, const char *to)
{
    sc_tensor *t = sc_tensor_set_find(s, from);
    assert_non_null(t);
    free(t->name);
    t->name = sc_strdup(to);
}

static void a_wrong_tensor_is_named(void **state)
{
    (void)state;
    sc_tensor_set ours = text_tower(), f = openai_file(&ours, "");
    rename_tensor(&f, "ln_final.bias", "ln_finale.bias");
    expect(&f, "clip:tiny", &ours,
           "'ln_final.bias' is missing (nearest: 'ln_finale.bias'); 'ln_finale.bias' is unknown");
    rename_tensor(&f, "ln_finale.bias", "ln_final.bias");
    sc_tensor_set_find(&f, "ln_final.bias")->shape = SC_SHAPE(2, 2);
    expect(&f, "clip:tiny", &ours, "'ln_final.bias' is [2, 2], not [4]");
    sc_tensor_set_find(&f, "ln_final.bias")->shape = SC_SHAPE(4);
    add(&f, "transformer.resblocks.2.ln_1.weight", SC_F32, SC_SHAPE(WIDTH), 0);
    expect(&f, "clip:tiny", &ours, "'transformer.resblocks.2.ln_1.weight' is unknown");
    sc_tensor_set_free(&f);
    f = openai_file(&ours, "");
    rename_tensor(&f, "transformer.resblocks.0.ln_1.weight", "other");
    expect(&f, "clip:tiny", &ours, "holds no text tower");
    sc_tensor_set_free(&f);
    f = hf_file(&ours);
    rename_tensor(&f, "text_model.encoder.layers.1.self_attn.k_proj.bias", "x");
    rename_tensor(&f, "text_projection.weight", "y");
    rename_tensor(&f, "text_model.final_layer_norm.bias", "z");
    expect(&f, "clip:tiny", &ours, "and 3 more");
    sc_tensor_set_free(&f);
    f = openai_file(&ours, "");
    sc_tensor *t = sc_tensor_set_find(&f, "text_projection");
    t->dtype = SC_I16;
    expect(&f, "clip:tiny", &ours, "'text_projection' holds int16");
    sc_tensor_set_free(&f);
    sc_tensor_set_free(&ours);
}

static void torchvision_resnets(void **state)
{
    (void)state;
    sc_tensor_set ours = {0}, f = {0};
    static const char *const names[][2] = {
        {"0.weight", "conv1.weight"},
        {"1.running_mean", "bn1.running_mean"},
        {"4.0.conv1.weight", "layer1.0.conv1.weight"},
        {"5.0.downsample.1.bias", "layer2.0.downsample.1.bias"},
        {"7.1.bn2.running_var", "layer4.1.bn2.running_var"},
    };
    char name[80];
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        snprintf(name, sizeof name, "image_encoder.backbone.%s", names[i][0]);
        add(&ours, name, SC_F32, SC_SHAPE(2, 2), (double)i * 10);
        add(&f, names[i][1], SC_F32, SC_SHAPE(2, 2), (double)i * 10);
    }
    add(&ours, "image_encoder.backbone.1.num_batches_tracked", SC_I64, (sc_shape){0}, 0);
    add(&f, "fc.weight", SC_F32, SC_SHAPE(10, 2), 0);
    add(&f, "fc.bias", SC_F32, SC_SHAPE(10), 0);
    expect(&f, "resnet-tiny", &ours, NULL); /* the counter is 0 */
    add(&f, "bn1.num_batches_tracked", SC_I64, (sc_shape){0}, 7);
    sc_tensor_set_element(sc_tensor_set_find(&ours, "image_encoder.backbone.1.num_batches_tracked"),
                          0, 7);
    expect(&f, "resnet-tiny", &ours, NULL);
    add(&f, "layer1.2.conv1.weight", SC_F32, SC_SHAPE(2, 2), 0); /* a larger ResNet's */
    expect(&f, "resnet-tiny", &ours, "'layer1.2.conv1.weight' is unknown");
    sc_tensor_set_free(&f);
    sc_tensor_set_free(&ours);
}

/* Files of the families that have timm's names: each row one of ours and the file's name for it. */
typedef struct renamed {
    const char *ours, *theirs;
} renamed;
static void maps(const char *encoder, const renamed *rows, size_t n, const char *spare)
{
    sc_tensor_set ours = {0}, f = {0};
    char name[120];
    for (size_t i = 0; i < n; i++) {
        bool gamma = strstr(rows[i].theirs, "layer_scale") != NULL;
        snprintf(name, sizeof name, "image_encoder.backbone.%s", rows[i].ours);
        add(&ours, name, SC_F32, SC_SHAPE(6), (double)i * 10);
        add(&f, rows[i].theirs, SC_F32, gamma ? SC_SHAPE(6, 1, 1) : SC_SHAPE(6), (double)i * 10);
    }
    add(&f, spare, SC_F32, SC_SHAPE(10, 2), 0);
    expect(&f, encoder, &ours, NULL);
    add(&f, "blocks.9.9.odd", SC_F32, SC_SHAPE(2), 0);
    expect(&f, encoder, &ours, "'blocks.9.9.odd' is unknown");
    sc_tensor_set_free(&f);
    sc_tensor_set_free(&ours);
}

static void convnexts(void **state)
{
    static const renamed torchvision[] = {
        {"stem.0.weight", "features.0.0.weight"},
        {"stem.1.bias", "features.0.1.bias"},
        {"stages.0.blocks.0.gamma", "features.1.0.layer_scale"},
        {"stages.0.blocks.0.conv_dw.weight", "features.1.0.block.0.weight"},
        {"stages.0.blocks.0.norm.bias", "features.1.0.block.2.bias"},
        {"stages.3.downsample.0.weight", "features.6.0.weight"},
        {"stages.3.downsample.1.bias", "features.6.1.bias"},
        {"stages.3.blocks.11.mlp.fc1.weight", "features.7.11.block.3.weight"},
        {"stages.3.blocks.11.mlp.fc2.bias", "features.7.11.block.5.bias"},
        {"head.norm.weight", "classifier.0.weight"},
    };
    static const renamed authors[] = {
        {"stem.0.weight", "downsample_layers.0.0.weight"},
        {"stem.1.bias", "downsample_layers.0.1.bias"},
        {"stages.0.blocks.0.gamma", "stages.0.0.gamma"},
        {"stages.0.blocks.0.conv_dw.weight", "stages.0.0.dwconv.weight"},
        {"stages.0.blocks.10.norm.bias", "stages.0.10.norm.bias"},
        {"stages.2.downsample.1.bias", "downsample_layers.2.1.bias"},
        {"stages.2.blocks.1.mlp.fc1.weight", "stages.2.1.pwconv1.weight"},
        {"stages.2.blocks.1.mlp.fc2.bias", "stages.2.1.pwconv2.bias"},
        {"head.norm.weight", "norm.weight"},
    };
    static const renamed timm[] = {
        {"stages.0.blocks.0.conv_dw.weight", "stages.0.blocks.0.conv_dw.weight"},
        {"head.norm.weight", "head.norm.weight"},
    };
    (void)state;
    maps("convnext-mini", torchvision, sizeof torchvision / sizeof *torchvision,
         "classifier.2.weight");
    maps("convnext-mini", authors, sizeof authors / sizeof *authors, "head.weight");
    maps("convnext-mini", timm, sizeof timm / sizeof *timm, "head.fc.weight");
}
static void efficientnets(void **state)
{
    static const renamed torchvision[] = {
        {"conv_stem.weight", "features.0.0.weight"},
        {"bn1.running_mean", "features.0.1.running_mean"},
        {"blocks.0.0.conv_dw.weight", "features.1.0.block.0.0.weight"},
        {"blocks.0.0.bn1.bias", "features.1.0.block.0.1.bias"},
        {"blocks.0.0.se.conv_reduce.weight", "features.1.0.block.1.fc1.weight"},
        {"blocks.0.0.se.conv_expand.bias", "features.1.0.block.1.fc2.bias"},
        {"blocks.0.0.conv_pw.weight", "features.1.0.block.2.0.weight"},
        {"blocks.0.0.bn2.running_var", "features.1.0.block.2.1.running_var"},
        {"blocks.6.1.conv_pw.weight", "features.7.1.block.0.0.weight"},
        {"blocks.6.1.bn1.bias", "features.7.1.block.0.1.bias"},
        {"blocks.6.1.conv_dw.weight", "features.7.1.block.1.0.weight"},
        {"blocks.6.1.bn2.weight", "features.7.1.block.1.1.weight"},
        {"blocks.6.1.se.conv_reduce.bias", "features.7.1.block.2.fc1.bias"},
        {"blocks.6.1.se.conv_expand.weight", "features.7.1.block.2.fc2.weight"},
        {"blocks.6.1.conv_pwl.weight", "features.7.1.block.3.0.weight"},
        {"blocks.6.1.bn3.bias", "features.7.1.block.3.1.bias"},
        {"conv_head.weight", "features.8.0.weight"},
        {"bn2.bias", "features.8.1.bias"},
    };
    static const renamed timm[] = {
        {"conv_stem.weight", "conv_stem.weight"},
        {"blocks.1.0.se.conv_reduce.bias", "blocks.1.0.se.conv_reduce.bias"},
    };
    (void)state;
    maps("efficientnet-mini", torchvision, sizeof torchvision / sizeof *torchvision,
         "classifier.1.weight");
    maps("efficientnet-mini", timm, sizeof timm / sizeof *timm, "classifier.weight");
}
static void starnets(void **state)
{
    static const renamed timm[] = {
        {"stem.0.conv.weight", "stem.0.conv.weight"},
        {"stages.0.1.dwconv2.conv.bias", "stages.0.1.dwconv2.conv.bias"},
    };
    (void)state;
    maps("starnet-mini", timm, sizeof timm / sizeof *timm, "head.weight");
}

/* What sc_mpi and sc_export write: the whole model, or one tower without its prefix. */
static void files_of_our_own(void **state)
{
    (void)state;
    sc_tensor_set ours = text_tower(), whole = {0}, tower = {0};
    add(&whole, "temperature", SC_F32, (sc_shape){0}, 1);
    add(&whole, "image_encoder.backbone.0.weight", SC_F32, SC_SHAPE(2, 2), 0);
    add(&whole, "text_encoder.projection.weight", SC_F32, SC_SHAPE(2, EMBED), 0);
    add(&tower, "projection.bias", SC_F32, SC_SHAPE(2), 0);
    for (size_t i = 0; i < ours.count; i++) {
        const sc_tensor *t = &ours.items[i];
        add_copy(&whole, t->name, t, t->shape, 0, SC_F32);
        add_copy(&tower, t->name + strlen("text_encoder."), t, t->shape, 0, SC_F32);
    }
    expect(&whole, "clip:tiny", &ours, NULL);
    expect(&tower, "clip:tiny", &ours, NULL);
    add(&whole, "text_encoder.more", SC_F32, SC_SHAPE(2), 0);
    add(&tower, "temperature", SC_F32, SC_SHAPE(2), 0);
    expect(&whole, "clip:tiny", &ours, "'text_encoder.more' is unknown");
    expect(&tower, "clip:tiny", &ours, "'temperature' is unknown");
    sc_tensor_set_free(&whole);
    sc_tensor_set_free(&tower);
    sc_tensor_set_free(&ours);
}

int main(void)
{
    folder = temporary_path("pretrained");
    assert_int_equal(sc_make_dirs(folder), SC_OK);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_towers_of_three_layouts),
        cmocka_unit_test(a_wrong_tensor_is_named),
        cmocka_unit_test(convnexts),
        cmocka_unit_test(efficientnets),
        cmocka_unit_test(starnets),
        cmocka_unit_test(torchvision_resnets),
        cmocka_unit_test(files_of_our_own),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    (void)sc_remove_tree(folder);
    free(folder);
    return failed;
}
