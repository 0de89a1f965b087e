/* What a command line and a config file resolve to. */
#include "parsing.h"

#include <time.h>

static const sc_config *first(const parsing *p)
{
    return &p->options.configs[0];
}

static void defaults_are_the_contract(void **state)
{
    parsing *p = *state;
    expect_ok(p, NULL, "");
    const sc_options *o = &p->options;
    assert_int_equal(o->action, SC_ACTION_TRAIN);
    assert_null(o->config_file);
    assert_string_equal(o->data_dir, "single_label_data");
    assert_string_equal(o->output_dir, "checkpoints/clip_models");
    assert_string_equal(o->log_dir, "logs/clip_training");
    assert_null(o->cache_dir);
    assert_string_equal(o->backend, "auto");
    assert_null(o->gpus);
    assert_string_equal(o->progress, "auto");
    assert_int_equal(o->group_size + o->plan_ranks + o->overfit + o->dump_steps, 0);
    assert_false(o->restart || o->multi_config);
    assert_int_equal(o->configs_count, 1);
    const sc_config *c = first(p);
    assert_string_equal(c->name, "resnet18_clip_ViT-B_32");
    assert_string_equal(c->image_encoder, "resnet18");
    assert_string_equal(c->text_encoder, "clip:ViT-B/32");
    assert_true(c->pretrained && c->use_amp && c->save_best && c->use_cv && c->sync_bn);
    assert_false(c->use_weighted_sampling || c->use_superclip_loss || c->use_focal_loss);
    assert_false(c->freeze_image_encoder || c->freeze_text_encoder || c->freeze_bn);
    assert_null(c->image_weights);
    assert_null(c->text_weights);
    assert_null(c->tokenizer);
    assert_null(c->class_texts_file);
    assert_null(c->class_texts);
    assert_int_equal(c->embed_dim, 512);
    assert_int_equal(c->batch_size, 32);
    assert_int_equal(c->epochs, 100);
    assert_int_equal(c->img_size, 224);
    assert_int_equal(c->num_workers, 4);
    assert_int_equal(c->gpu_id, 0);
    assert_int_equal(c->n_splits, 5);
    assert_int_equal(c->random_state, 42);
    assert_int_equal(c->early_stopping_patience, -1);
    assert_true(c->learning_rate == 1e-4 && c->weight_decay == 0.01 && c->temperature == 0.07);
    assert_true(c->early_stopping_min_delta == 0 && c->weight_smooth_factor == 1);
    assert_true(c->class_loss_weight == 1 && c->contrastive_loss_weight == 1);
    assert_true(c->focal_alpha == 0.25 && c->focal_gamma == 2 && c->checkpoint_interval_s == 60);
    assert_string_equal(c->augmentation, "standard");
    assert_string_equal(c->best_metric, "val_mAP");
    assert_string_equal(c->early_stopping_monitor, "val_loss");
    assert_string_equal(c->text_template, "{class_name}");
    assert_string_equal(c->weight_method, "inverse_freq");
    assert_string_equal(c->class_weights, "train");
    assert_string_equal(c->contrastive_targets, "diagonal");
    assert_string_equal(warnings(p), "");
}

static void the_old_scripts_call_works(void **state)
{
    parsing *p = *state;
    expect_ok(p, NULL,
              "--data-dir d --output-dir o --image-encoder resnet50 --text-encoder clip:RN50 "
              "--embed-dim 256 --temperature 0.1 --batch-size=16 --epochs 3 --learning-rate 3e-4 "
              "--weight-decay 0 --img-size 96 --augmentation minimal --text-template "
              "a_{class_name} --num-workers 0 --gpu-id 2 --no-amp --no-save-best --use-cv "
              "--n-splits 3 --random-state 4294967295 --early-stopping-patience 7");
    assert_string_equal(p->options.data_dir, "d");
    assert_string_equal(p->options.output_dir, "o");
    const sc_config *c = first(p);
    assert_string_equal(c->name, "resnet50_clip_RN50");
    assert_int_equal(c->embed_dim, 256);
    assert_int_equal(c->batch_size, 16);
    assert_true(c->learning_rate == 3e-4 && c->weight_decay == 0 && c->temperature == 0.1);
    assert_int_equal(c->img_size, 96);
    assert_string_equal(c->augmentation, "minimal");
    assert_string_equal(c->text_template, "a_{class_name}");
    assert_int_equal(c->gpu_id, 2);
    assert_false(c->use_amp || c->save_best);
    assert_true(c->use_cv);
    assert_true(c->random_state == UINT32_MAX);
    assert_int_equal(c->early_stopping_patience, 7);
    expect_ok(p, NULL,
              "--early-stopping-patience 3 --early-stopping-min-delta 0.5 "
              "--early-stopping-monitor val_acc --use-weighted-sampling --weight-method "
              "inverse_sqrt --weight-smooth-factor 2 --use-superclip-loss --class-loss-weight 0.5 "
              "--contrastive-loss-weight 0.25 --use-focal-loss --focal-alpha 0.5 --focal-gamma 1");
    c = first(p);
    assert_true(c->use_weighted_sampling && c->use_superclip_loss && c->use_focal_loss);
    assert_true(c->class_loss_weight == 0.5 && c->contrastive_loss_weight == 0.25);
    assert_true(c->focal_alpha == 0.5 && c->focal_gamma == 1 && c->weight_smooth_factor == 2);
    assert_string_equal(c->weight_method, "inverse_sqrt");
    assert_string_equal(c->early_stopping_monitor, "val_acc");
    assert_true(c->early_stopping_min_delta == 0.5);
}

static void booleans_take_a_value_or_none(void **state)
{
    parsing *p = *state;
    expect_ok(p, "[{}]", "--use-cv false @");
    assert_false(first(p)->use_cv);
    expect_ok(p, "[{\"use_cv\": false}]", "--use-cv @");
    assert_true(first(p)->use_cv);
    assert_string_equal(p->options.config_file, p->file);
    expect_ok(p, NULL, "--use-cv=False --no-amp=false --use-superclip-loss TRUE --restart");
    assert_false(first(p)->use_cv);
    assert_true(first(p)->use_amp && first(p)->use_superclip_loss && p->options.restart);
    expect_ok(p, NULL, "--no-amp true");
    assert_false(first(p)->use_amp);
}

static void options_of_the_run(void **state)
{
    parsing *p = *state;
    expect_ok(p, NULL,
              "--log-dir l --cache-dir c --backend ref --gpus 0,2,5 --init-from w.pth "
              "--group-size 4 --restart --progress plain --overfit 8 --dump-steps 3 out --plan "
              "--plan-ranks 64");
    const sc_options *o = &p->options;
    assert_string_equal(o->log_dir, "l");
    assert_string_equal(o->cache_dir, "c");
    assert_string_equal(o->backend, "ref");
    assert_string_equal(o->gpus, "0,2,5");
    assert_string_equal(o->init_from, "w.pth");
    assert_string_equal(o->progress, "plain");
    assert_string_equal(o->dump_dir, "out");
    assert_int_equal(o->group_size, 4);
    assert_int_equal(o->overfit, 8);
    assert_int_equal(o->dump_steps, 3);
    assert_int_equal(o->plan_ranks, 64);
    assert_int_equal(o->action, SC_ACTION_PLAN);
    assert_non_null(strstr(warnings(p), "--gpus has no effect with --backend ref"));
    expect_ok(p, NULL, "--plan-ranks 0");
    assert_int_equal(p->options.action, SC_ACTION_PLAN);
    expect_ok(p, NULL, "--plan-ranks 4096");
    assert_int_equal(p->options.action, SC_ACTION_PLAN);
    expect_ok(p, NULL, "--check");
    assert_int_equal(p->options.action, SC_ACTION_CHECK);
    expect_ok(p, NULL, "--resume-from x.pth --use-cv false");
    assert_string_equal(p->options.resume_from, "x.pth");
}

static void help_and_version_win_over_mistakes(void **state)
{
    parsing *p = *state;
    expect_ok(p, NULL, "--nonsense --help");
    assert_int_equal(p->options.action, SC_ACTION_HELP);
    expect_ok(p, NULL, "-h");
    assert_int_equal(p->options.action, SC_ACTION_HELP);
    expect_ok(p, NULL, "missing.json --version");
    assert_int_equal(p->options.action, SC_ACTION_VERSION);
}

static void a_file_is_a_list_or_one_object(void **state)
{
    parsing *p = *state;
    expect_ok(p, "// a comment\n[{\"epochs\": 3, /* here */ }, {\"epochs\": 4,},]", "@");
    assert_int_equal(p->options.configs_count, 2);
    assert_int_equal(p->options.configs[0].epochs, 3);
    assert_int_equal(p->options.configs[1].epochs, 4);
    expect_ok(p, "{\"image_encoder\": \"resnet34\", \"text_encoder\": \"clip:RN50\"}",
              "--config-file @ --multi-config");
    assert_int_equal(p->options.configs_count, 1);
    assert_string_equal(first(p)->image_encoder, "resnet34");
    assert_string_equal(first(p)->text_encoder, "clip:RN50");
    assert_true(p->options.multi_config);
}

static void a_config_knows_where_it_stands(void **state)
{
    parsing *p = *state;
    char expected[128];
    expect_ok(p, "[\n  {},\n  {}\n]", "@");
    snprintf(expected, sizeof expected, "%s:3", p->file);
    assert_string_equal(p->options.configs[1].source, expected);
    expect_ok(p, NULL, "");
    assert_string_equal(first(p)->source, "command line");
}

static void flags_override_the_file_for_all_configs(void **state)
{
    parsing *p = *state;
    expect_ok(p, "[{\"epochs\": 3}, {\"epochs\": 4, \"pretrained\": true}]",
              "@ --epochs 9 --set pretrained=false --set early_stopping_patience=5 "
              "--set image_encoder=resnet34");
    for (int i = 0; i < 2; i++) {
        assert_int_equal(p->options.configs[i].epochs, 9);
        assert_false(p->options.configs[i].pretrained);
        assert_int_equal(p->options.configs[i].early_stopping_patience, 5);
        assert_string_equal(p->options.configs[i].image_encoder, "resnet34");
    }
    expect_ok(p, "[{\"early_stopping_patience\": 3, \"class_texts_dict\": {\"a\": \"b\"}}]",
              "@ --set early_stopping_patience=null --set class_texts_dict=null");
    assert_int_equal(first(p)->early_stopping_patience, -1);
    assert_null(first(p)->class_texts);
    expect_ok(p, NULL, "--epochs 3 --set epochs=4 --epochs 5");
    assert_int_equal(first(p)->epochs, 5);
}

/* ---- names ------------------------------------------------------------------------- */

static void expect_names(parsing *p, const char *json, const char *const *names, int count)
{
    expect_ok(p, json, "@");
    assert_int_equal(p->options.configs_count, count);
    for (int i = 0; i < count; i++)
        assert_string_equal(p->options.configs[i].name, names[i]);
}

static void names_used_twice_are_numbered_in_order(void **state)
{
    parsing *p = *state;
    static const char *const plain[] = {"resnet18_clip_ViT-B_32", "resnet18_clip_ViT-B_32_2",
                                        "resnet18_clip_ViT-B_32_3"};
    expect_names(p, "[{}, {}, {}]", plain, 3);
    static const char *const given[] = {"a", "b", "a_2", "a_3"};
    expect_names(p, "[{\"name\": \"a\"}, {\"name\": \"b\"}, {\"name\": \"a\"}, {\"name\": \"a\"}]",
                 given, 4);
}

static void a_number_never_takes_an_explicit_name(void **state)
{
    parsing *p = *state;
    static const char *const names[] = {"a", "a_3", "a_2", "a_4"};
    expect_names(p,
                 "[{\"name\": \"a\"}, {\"name\": \"a\"}, {\"name\": \"a_2\"}, {\"name\": \"a\"}]"
                 "",
                 names, 4);
    static const char *const taken[] = {"resnet18_clip_ViT-B_32_2", "resnet18_clip_ViT-B_32"};
    expect_names(p, "[{}, {\"name\": \"resnet18_clip_ViT-B_32\"}]", taken, 2);
}

static void ten_thousand_equal_names_take_no_time(void **state)
{
    parsing *p = *state;
    sc_text json;
    sc_text_init(&json);
    sc_text_puts(&json, "[");
    for (int i = 0; i < 10000; i++)
        sc_text_puts(&json, "{},");
    sc_text_puts(&json, "]");
    clock_t before = clock();
    expect_ok(p, json.data, "@");
    assert_true((double)(clock() - before) / CLOCKS_PER_SEC < 5);
    assert_string_equal(p->options.configs[9999].name, "resnet18_clip_ViT-B_32_10000");
    sc_text_free(&json);
}

/* ---- the resolved dump and the identity -------------------------------------------- */

static char *dump(const sc_config *c)
{
    sc_json_writer w;
    sc_jw_init(&w);
    sc_jw_object(&w, NULL);
    sc_config_write(c, &w);
    sc_jw_end(&w);
    assert_int_equal(sc_text_status(&w.text), SC_OK);
    char *text = sc_strdup(w.text.data);
    sc_jw_free(&w);
    return text;
}

/* Every key, none at its default. */
static const char every_key[] = "{\n"
                                "  \"name\": \"植入物 A\",\n"
                                "  \"image_encoder_name\": \"resnet50\",\n"
                                "  \"text_encoder_name\": \"clip:RN50\",\n"
                                "  \"pretrained\": true,\n"
                                "  \"image_weights\": \"w/i.pth\",\n"
                                "  \"text_weights\": \"w/t.pt\",\n"
                                "  \"tokenizer\": \"w/bpe.txt.gz\",\n"
                                "  \"embed_dim\": 1024,\n"
                                "  \"img_size\": 96,\n"
                                "  \"freeze_image_encoder\": true,\n"
                                "  \"freeze_text_encoder\": true,\n"
                                "  \"freeze_bn\": true,\n"
                                "  \"epochs\": 7,\n"
                                "  \"batch_size\": 48,\n"
                                "  \"learning_rate\": 0.00030000000000000003,\n"
                                "  \"weight_decay\": 0.1,\n"
                                "  \"augmentation\": \"none\",\n"
                                "  \"use_amp\": false,\n"
                                "  \"sync_bn\": false,\n"
                                "  \"save_best\": false,\n"
                                "  \"best_metric\": \"val_acc\",\n"
                                "  \"use_cv\": false,\n"
                                "  \"n_splits\": 3,\n"
                                "  \"random_state\": 4294967295,\n"
                                "  \"early_stopping_patience\": 4,\n"
                                "  \"early_stopping_min_delta\": 0.125,\n"
                                "  \"early_stopping_monitor\": \"val_mAP\",\n"
                                "  \"class_texts_file\": null,\n"
                                "  \"class_texts_dict\": {\n"
                                "    \"b \\\"x\\\"\": \"one text\",\n"
                                "    \"a\": [\n"
                                "      \"two\",\n"
                                "      \"texts\"\n"
                                "    ]\n"
                                "  },\n"
                                "  \"text_template\": \"an image of {class_name}\",\n"
                                "  \"use_weighted_sampling\": true,\n"
                                "  \"weight_method\": \"balanced\",\n"
                                "  \"weight_smooth_factor\": 0.5,\n"
                                "  \"class_weights\": \"none\",\n"
                                "  \"temperature\": 0.05,\n"
                                "  \"use_superclip_loss\": true,\n"
                                "  \"class_loss_weight\": 0.25,\n"
                                "  \"contrastive_loss_weight\": 2.0,\n"
                                "  \"contrastive_targets\": \"multi_positive\",\n"
                                "  \"use_focal_loss\": true,\n"
                                "  \"focal_alpha\": 0.75,\n"
                                "  \"focal_gamma\": 1.5,\n"
                                "  \"num_workers\": 1,\n"
                                "  \"gpu_id\": 3,\n"
                                "  \"checkpoint_interval_s\": 1.0\n"
                                "}";

static void every_key_parses_and_dumps_back_equal(void **state)
{
    parsing *p = *state;
    expect_ok(p, every_key, "@");
    char *text = dump(first(p));
    assert_string_equal(text, every_key);
    free(text);
}

static void texts_of_a_file_dump_as_the_file(void **state)
{
    parsing *p = *state;
    write_text(p->texts, "{\"a\": \"x\", \"b\": [\"y\", \"z\"]}");
    expect_ok(p, NULL, "--class-texts-file %");
    assert_int_equal(first(p)->class_texts_count, 2);
    char *text = dump(first(p));
    assert_non_null(strstr(text, "\"class_texts_dict\": null"));
    assert_non_null(strstr(text, p->texts));
    free(text);
}

static void expect_identity(parsing *p, const char *a, const char *b, bool same)
{
    expect_ok(p, a, "@");
    char *x = sc_config_identity(first(p));
    expect_ok(p, b, "@");
    char *y = sc_config_identity(first(p));
    assert_non_null(x);
    assert_null(strchr(x, '\n'));
    if ((strcmp(x, y) == 0) != same)
        fail_msg("%s and %s: %s / %s", a, b, x, y);
    free(x);
    free(y);
}

static void the_identity_is_what_changes_the_training(void **state)
{
    parsing *p = *state;
    static const char *const free_keys[] = {"\"epochs\": 5",
                                            "\"num_workers\": 1",
                                            "\"gpu_id\": 1",
                                            "\"name\": \"x\"",
                                            "\"save_best\": false",
                                            "\"use_cv\": false",
                                            "\"augmentation\": \"standard\"",
                                            "\"checkpoint_interval_s\": 1"};
    static const char *const bound_keys[] = {"\"batch_size\": 5",
                                             "\"learning_rate\": 1",
                                             "\"random_state\": 1",
                                             "\"n_splits\": 4",
                                             "\"use_amp\": false",
                                             "\"img_size\": 64",
                                             "\"text_template\": \"x\"",
                                             "\"augmentation\": \"none\"",
                                             "\"temperature\": 1",
                                             "\"sync_bn\": false",
                                             "\"image_encoder\": \"resnet34\"",
                                             "\"weight_decay\": 0",
                                             "\"use_superclip_loss\": true",
                                             "\"weight_method\": \"inverse_sqrt\"",
                                             "\"class_texts_dict\": {\"a\": \"b\"}"};
    char json[128];
    for (size_t i = 0; i < sizeof free_keys / sizeof free_keys[0]; i++) {
        snprintf(json, sizeof json, "{%s}", free_keys[i]);
        expect_identity(p, "{}", json, true);
    }
    for (size_t i = 0; i < sizeof bound_keys / sizeof bound_keys[0]; i++) {
        snprintf(json, sizeof json, "{%s}", bound_keys[i]);
        expect_identity(p, "{}", json, false);
    }
}

static void two_names_of_one_thing_are_one_identity(void **state)
{
    parsing *p = *state;
    expect_identity(p, "{\"augmentation\": \"minimal\"}", "{\"augmentation\": \"none\"}", true);
    expect_identity(p, "{\"weight_method\": \"balanced\"}", "{\"weight_method\": \"inverse_freq\"}",
                    true);
    expect_identity(p, "{\"class_texts_dict\": {\"a\": \"x\", \"b\": [\"y\"]}}",
                    "{\"class_texts_dict\": {\"b\": \"y\", \"a\": \"x\"}}", true);
    write_text(p->texts, "{\"a\": \"x\"}");
    char json[160];
    snprintf(json, sizeof json, "{\"class_texts_file\": \"%s\"}", p->texts);
    expect_identity(p, json, "{\"class_texts_dict\": {\"a\": \"x\"}}", true);
}

/* ---- warnings ---------------------------------------------------------------------- */

static void expect_warning(parsing *p, const char *json, const char *word)
{
    expect_ok(p, json, "@");
    if (!strstr(warnings(p), word))
        fail_msg("%s: warns '%s', not of %s", json, warnings(p), word);
}

static void warnings_name_the_line(void **state)
{
    parsing *p = *state;
    char expected[160];
    expect_ok(p, "[{\n\"use_superclip_loss\": true,\n\"use_weighted_sampling\": true}]", "@");
    snprintf(expected, sizeof expected, "%s:3: key 'use_weighted_sampling'", p->file);
    assert_non_null(strstr(warnings(p), expected));
    assert_non_null(strstr(warnings(p), "corrects twice"));
    expect_warning(p, "{\"sync_bn\": false}", "number of ranks");
    expect_warning(p, "{\"focal_gamma\": 1}", "no effect: use_focal_loss is off");
    expect_warning(p, "{\"class_loss_weight\": 0.5}", "no effect: use_superclip_loss is off");
    expect_warning(p, "{\"early_stopping_min_delta\": 1}",
                   "effect: early_stopping_patience is off");
    expect_warning(p, "{\"class_weights\": \"none\"}", "effect: use_superclip_loss is off");
    expect_warning(p, "{\"weight_method\": \"balanced\"}",
                   "effect: neither sampler nor class loss");
}

static void sensible_configs_warn_of_nothing(void **state)
{
    parsing *p = *state;
    static const char *const quiet[] = {
        "{\"use_superclip_loss\": true, \"use_weighted_sampling\": true, \"class_weights\": "
        "\"none\"}",
        "{\"use_superclip_loss\": true, \"use_weighted_sampling\": true, \"use_focal_loss\": true}",
        "{\"use_weighted_sampling\": true, \"weight_method\": \"balanced\"}",
        "{\"focal_gamma\": 2.0, \"class_loss_weight\": 1}",
        "{\"sync_bn\": false, \"freeze_bn\": true}"};
    for (size_t i = 0; i < sizeof quiet / sizeof quiet[0]; i++) {
        expect_ok(p, quiet[i], "@");
        assert_string_equal(warnings(p), "");
    }
}

static void the_shipped_configs_are_right(void **state)
{
    parsing *p = *state;
    expect_ok(p, NULL, SC_TEST_DIR "/../configs/train_clip_config.json");
    assert_true(p->options.configs_count >= 2);
    assert_string_equal(p->options.configs[0].image_encoder, "resnet18");
    expect_ok(p, NULL, SC_TEST_DIR "/../configs/demo.json");
    assert_int_equal(p->options.configs_count, 2);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(p->options.configs[i].n_splits, 3);
        assert_false(p->options.configs[i].pretrained);
    }
    assert_string_equal(warnings(p), "");
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, parsing_setup, parsing_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(defaults_are_the_contract),
        CASE(the_old_scripts_call_works),
        CASE(booleans_take_a_value_or_none),
        CASE(options_of_the_run),
        CASE(help_and_version_win_over_mistakes),
        CASE(a_file_is_a_list_or_one_object),
        CASE(a_config_knows_where_it_stands),
        CASE(flags_override_the_file_for_all_configs),
        CASE(names_used_twice_are_numbered_in_order),
        CASE(a_number_never_takes_an_explicit_name),
        CASE(ten_thousand_equal_names_take_no_time),
        CASE(every_key_parses_and_dumps_back_equal),
        CASE(texts_of_a_file_dump_as_the_file),
        CASE(the_identity_is_what_changes_the_training),
        CASE(two_names_of_one_thing_are_one_identity),
        CASE(warnings_name_the_line),
        CASE(sensible_configs_warn_of_nothing),
        CASE(the_shipped_configs_are_right),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
