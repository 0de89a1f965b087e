/* Where published files and vocabularies are looked for. The files are made here, a byte each. */
#include "weights_test.h"

static char *folder;

static void make_file(const char *relative, const char *data)
{
    char *path = sc_path_join(folder, relative), *parent = sc_strdup(path);
    *strrchr(parent, '/') = '\0';
    assert_int_equal(sc_make_dirs(parent), SC_OK);
    assert_int_equal(sc_write_file(path, data, strlen(data)), SC_OK);
    free(path);
    free(parent);
}

static void set_folder(const char *variable, const char *relative)
{
    char *path = sc_path_join(folder, relative);
    setenv(variable, path, 1);
    free(path);
}

static void finds(const char *encoder, const char *relative)
{
    sc_found found;
    char *wanted = sc_path_join(folder, relative);
    if (sc_weights_find(encoder, "image_weights", NULL, &found) != SC_OK)
        fail_msg("%s", sc_message());
    assert_string_equal(found.path, wanted);
    sc_found_free(&found);
    free(wanted);
}

static void fails(const char *encoder, sc_status status, const char *told)
{
    sc_found found;
    assert_int_equal(sc_weights_find(encoder, "image_weights", NULL, &found), status);
    assert_null(found.path);
    if (!strstr(sc_message(), told))
        fail_msg("message '%s' lacks '%s'", sc_message(), told);
}

static void clean(void)
{
    static const char *const names[] = {"SC_WEIGHTS_DIR", "TORCH_HOME", "XDG_CACHE_HOME",
                                        "HF_HUB_CACHE",   "HF_HOME",    "HUGGINGFACE_HUB_CACHE"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        unsetenv(names[i]);
    assert_int_equal(sc_remove_tree(folder), SC_OK);
    assert_int_equal(sc_make_dirs(folder), SC_OK);
    setenv("HOME", folder, 1);
}

static void nothing_found_lists_places_and_names(void **state)
{
    (void)state;
    clean();
    set_folder("SC_WEIGHTS_DIR", "mine");
    static const char *const told[] = {"/mine",
                                       "/.cache/torch/hub/checkpoints",
                                       "/.cache/huggingface/hub/models--timm--resnet18.tv_in1k",
                                       "resnet18-f37072fd.pth",
                                       "model.safetensors",
                                       "https://download.pytorch.org/models/resnet18-f37072fd.pth",
                                       "$SC_WEIGHTS_DIR",
                                       "'image_weights'"};
    for (size_t i = 0; i < sizeof told / sizeof told[0]; i++)
        fails("resnet18", SC_EUSAGE, told[i]);
    fails("clip:ViT-B/32", SC_EUSAGE, "/.cache/clip");
    fails("clip:ViT-B/32", SC_EUSAGE, "ViT-B-32.pt");
    fails("resnet-tiny", SC_EUNSUPPORTED, "no pretrained weights of resnet-tiny");
}

static void finds_vocabulary(const char *encoder, const char *beside, const char *relative)
{
    sc_found found;
    char *wanted = sc_path_join(folder, relative),
         *weights = beside ? sc_path_join(folder, beside) : NULL;
    if (sc_vocabulary_find(encoder, "tokenizer", NULL, weights, &found) != SC_OK)
        fail_msg("%s", sc_message());
    assert_string_equal(found.path, wanted);
    sc_found_free(&found);
    free(wanted);
    free(weights);
}

static void vocabularies(void **state)
{
    (void)state;
    static const char *const told[] = {"no vocabulary of clip:ViT-B/32",
                                       "/.cache/clip",
                                       "models--openai--clip-vit-base-patch32",
                                       "models--openai--clip-vit-base-patch16",
                                       "/env/lib/python3*/site-packages/clip",
                                       "bpe_simple_vocab_16e6.txt.gz",
                                       "merges.txt",
                                       "'tokenizer'"};
    sc_found f;
    clean();
    set_folder("PATH", "bin");
    set_folder("VIRTUAL_ENV", "env");
    unsetenv("CONDA_PREFIX");
    for (size_t i = 0; i < sizeof told / sizeof told[0]; i++) {
        assert_int_equal(sc_vocabulary_find("clip:ViT-B/32", "tokenizer", NULL, NULL, &f),
                         SC_EUSAGE);
        if (!strstr(sc_message(), told[i]))
            fail_msg("message '%s' lacks '%s'", sc_message(), told[i]);
    }
    /* from the last place to the first */
    make_file("env/lib/python3.11/site-packages/open_clip/bpe_simple_vocab_16e6.txt.gz", "x");
    finds_vocabulary("clip:RN50", NULL,
                     "env/lib/python3.11/site-packages/open_clip/bpe_simple_vocab_16e6.txt.gz");
    assert_int_equal(sc_vocabulary_find("clip:tiny", "tokenizer", NULL, NULL, &f), SC_EUNSUPPORTED);
    assert_int_equal(sc_vocabulary_find("resnet18", "tokenizer", NULL, NULL, &f), SC_EUNSUPPORTED);
#define OTHER ".cache/huggingface/hub/models--openai--clip-vit-large-patch14/snapshots/a/merges.txt"
    make_file(OTHER, "x");
    finds_vocabulary("clip:RN50", NULL, OTHER);
    make_file(".cache/clip/bpe_simple_vocab_16e6.txt.gz", "x");
    finds_vocabulary("clip:RN50", NULL, ".cache/clip/bpe_simple_vocab_16e6.txt.gz");
    set_folder("SC_WEIGHTS_DIR", "mine");
    make_file("mine/bpe_simple_vocab_16e6.txt", "x");
    finds_vocabulary("clip:RN50", NULL, "mine/bpe_simple_vocab_16e6.txt");
    finds_vocabulary("clip:tiny", NULL, "mine/bpe_simple_vocab_16e6.txt");
    make_file("model/merges.txt", "x");
    finds_vocabulary("clip:RN50", "model/model.safetensors", "model/merges.txt");
    char *file = sc_path_join(folder, "model/merges.txt");
    assert_int_equal(sc_vocabulary_find("clip:RN50", "tokenizer", file, NULL, &f), SC_OK);
    assert_string_equal(f.path, file);
    sc_found_free(&f);
    free(file);
    assert_int_equal(sc_vocabulary_find("clip:RN50", "tokenizer", "/nowhere/x", NULL, &f),
                     SC_EUSAGE);
    assert_non_null(strstr(sc_message(), "'tokenizer': cannot open /nowhere/x"));
}

static void caches_in_their_order(void **state)
{
    (void)state;
    clean();
    make_file(".cache/huggingface/hub/models--openai--clip-vit-base-patch32/refs/main", "abc\n");
    make_file(".cache/huggingface/hub/models--openai--clip-vit-base-patch32/snapshots/abc/"
              "pytorch_model.bin",
              "x");
    make_file(".cache/huggingface/hub/models--openai--clip-vit-base-patch32/snapshots/aaa/"
              "model.safetensors",
              "x");
    finds("clip:ViT-B/32", ".cache/huggingface/hub/models--openai--clip-vit-base-patch32/"
                           "snapshots/abc/pytorch_model.bin");
    make_file("hf/hub/models--timm--resnet50_clip.openai/snapshots/a1/open_clip_model.safetensors",
              "x"); /* no refs/main */
    set_folder("HF_HOME", "hf");
    finds("clip:RN50",
          "hf/hub/models--timm--resnet50_clip.openai/snapshots/a1/open_clip_model.safetensors");
    set_folder("HF_HUB_CACHE", "hf/hub");
    finds("clip:RN50",
          "hf/hub/models--timm--resnet50_clip.openai/snapshots/a1/open_clip_model.safetensors");
    set_folder("SC_WEIGHTS_DIR", "mine");
    make_file("mine/RN50.safetensors", "x");
    finds("clip:RN50", "mine/RN50.safetensors");
    sc_found f;
    assert_int_equal(sc_weights_find("clip:RN50", "text_weights", "/nowhere/x", &f), SC_EUSAGE);
    assert_non_null(strstr(sc_message(), "'text_weights': cannot open /nowhere/x"));
    assert_int_equal(sc_weights_find("clip:RN50", "text_weights", "/tmp", &f), SC_EUSAGE);
    assert_non_null(strstr(sc_message(), "/tmp is not a file"));
    make_file("file", "x");
    char *file = sc_path_join(folder, "file");
    assert_int_equal(sc_weights_find("clip:RN50", "text_weights", file, &f), SC_OK);
    assert_string_equal(f.path, file);
    assert_memory_equal(f.sha256, "2d711642b726b04401627ca9fbac32f5", 32);
    sc_found_free(&f);
    free(file);
    /* an index stands for its shards */
    assert_int_equal(sc_weights_find("clip:RN50", "text_weights",
                                     SC_TEST_DIR "/golden/weights_model.safetensors.index.json",
                                     &f),
                     SC_OK);
    assert_string_equal(f.sha256,
                        "a8c41ee811ada682f9ea7cbde9891abf434b3d6a40ef8a00ecbd1e4f45ac24cf");
    sc_found_free(&f);
}

/* The older version V1 wins over V2, and a file that is not what its name says is refused. */
static void digests_in_names_are_checked(void **state)
{
    (void)state;
    clean();
    set_folder("TORCH_HOME", "torch");
    make_file("torch/hub/checkpoints/resnet50-11ad3fa6.pth", "x");
    fails("resnet50", SC_EFORMAT, "SHA-256 begins with 2d711642, not 11ad3fa6");
    make_file("torch/hub/checkpoints/resnet50-0676ba61.pth", "y");
    fails("resnet50", SC_EFORMAT, "resnet50-0676ba61.pth");
    make_file(".cache/clip/ViT-L-14.pt", "x");
    fails("clip:ViT-L/14", SC_EFORMAT, "not b8cca3fd");
}

int main(void)
{
    folder = temporary_path("find");
    assert_int_equal(sc_make_dirs(folder), SC_OK);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_found_lists_places_and_names),
        cmocka_unit_test(vocabularies),
        cmocka_unit_test(caches_in_their_order),
        cmocka_unit_test(digests_in_names_are_checked),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    (void)sc_remove_tree(folder);
    free(folder);
    return failed;
}
