/* Every mistake is one line that names the place and says what to do; nothing is left allocated. */
#include "parsing.h"

#include <ctype.h>

typedef struct mistake {
    const char *json; /* NULL: no file */
    const char *line;
    const char *place; /* what the message begins with; "@12" is line 12 of the file */
    const char *says;  /* what it also holds */
} mistake;

static void expect_mistakes(parsing *p, const mistake *m, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char place[160];
        if (m[i].place[0] == '@')
            snprintf(place, sizeof place, "%s:%s", p->file, m[i].place + 1);
        else
            snprintf(place, sizeof place, "%s", m[i].place);
        sc_status status = parse(p, m[i].json, m[i].line);
        const char *what = m[i].json ? m[i].json : m[i].line;
        if (status == SC_OK)
            fail_msg("%s: was accepted", what);
        const char *message = sc_message();
        if (strncmp(message, place, strlen(place)) != 0 || !strstr(message, m[i].says))
            fail_msg("%s: says '%s', not '%s ... %s'", what, message, place, m[i].says);
        assert_null(strchr(message, '\n'));
        assert_int_equal(p->options.configs_count, 0);
        assert_null(p->options.data_dir);
    }
}
#define EXPECT(list) expect_mistakes(*state, list, sizeof list / sizeof list[0])

static void keys(void **state)
{
    static const mistake list[] = {
        {"[{\n\"epoch\": 3}]", "@", "@2: key 'epoch'", "did you mean 'epochs'"},
        {"[{\"qwertyuiop\": 3}]", "@", "@1: key 'qwertyuiop'", "unknown key"},
        {"[{\n\n\"epochs\": 3,\n\"epochs\": 4}]", "@", "@4", "epochs"},
        {"[{\"image_encoder\": \"a\",\n\"image_encoder_name\": \"b\"}]", "@",
         "@2: key 'image_encoder_name'", "line 1"},
        {"[{\"image_encoder_name\": \"a\",\n\"image_encoder\": \"b\"}]", "@",
         "@2: key 'image_encoder'", "keep one"},
        {"[{\"data_dir\": \"a\"}]", "@", "@1: key 'data_dir'", "--data-dir"},
        {"[{\"batch-size\": 3}]", "@", "@1: key 'batch-size'", "batch_size"},
        {"[{\"use_metaclip\": true}]", "@", "@1: key 'use_metaclip'", "MetaCLIP is not supported"},
    };
    EXPECT(list);
}

static void types_and_ranges(void **state)
{
    static const mistake list[] = {
        {"[{\"epochs\": \"3\"}]", "@", "@1: key 'epochs'", "an integer from 1 to 1000000"},
        {"[{\"epochs\": 3.5}]", "@", "@1: key 'epochs'", "3.5 is not an integer"},
        {"[{\"epochs\": null}]", "@", "@1: key 'epochs'", "an integer"},
        {"[{\"epochs\": 0}]", "@", "@1: key 'epochs'", "0 is out of range"},
        {"[{\"epochs\": 1e300}]", "@", "@1: key 'epochs'", "integer"},
        {"[{\"epochs\": true}]", "@", "@1: key 'epochs'", "integer"},
        {"[{\"epochs\": [3]}]", "@", "@1: key 'epochs'", "integer"},
        {"[{\"learning_rate\": 1e999}]", "@", "@1", "learning_rate"},
        {"[{\"learning_rate\": 0}]", "@", "@1: key 'learning_rate'", "above 0"},
        {"[{\"learning_rate\": -1e-4}]", "@", "@1: key 'learning_rate'", "-0.0001 is out"},
        {"[{\"temperature\": 0}]", "@", "@1: key 'temperature'", "above 0"},
        {"[{\"n_splits\": 1}]", "@", "@1: key 'n_splits'", "from 2"},
        {"[{\"random_state\": -1}]", "@", "@1: key 'random_state'", "from 0 to 4294967295"},
        {"[{\"random_state\": 4294967296}]", "@", "@1: key 'random_state'", "4294967295"},
        {"[{\"early_stopping_patience\": 0}]", "@", "@1: key 'early_stopping_patience'", "or null"},
        {"[{\"focal_alpha\": 1.5}]", "@", "@1: key 'focal_alpha'", "at most 1"},
        {"[{\"img_size\": 8}]", "@", "@1: key 'img_size'", "from 16 to 4096"},
        {"[{\"use_cv\": 1}]", "@", "@1: key 'use_cv'", "true or false"},
        {"[{\"use_cv\": \"true\"}]", "@", "@1: key 'use_cv'", "true or false"},
        {"[{\"augmentation\": \"strong\"}]", "@", "@1: key 'augmentation'",
         "none, minimal or standard"},
        {"[{\"augmentation\": \"none|minimal\"}]", "@", "@1: key 'augmentation'", "unknown"},
        {"[{\"augmentation\": \"stand\"}]", "@", "@1: key 'augmentation'", "unknown"},
        {"[{\"text_template\": \"\"}]", "@", "@1: key 'text_template'", "is empty"},
        {"[{\"text_template\": \"a\\nb\"}]", "@", "@1: key 'text_template'", "control"},
        {"[{\"image_encoder\": 3}]", "@", "@1: key 'image_encoder'", "a text"},
        {"[{\"class_texts_dict\": \"x\"}]", "@", "@1: key 'class_texts_dict'", "an object"},
    };
    EXPECT(list);
}

static void names(void **state)
{
    static const mistake list[] = {
        {"[{\"name\": \"\"}]", "@", "@1: key 'name'", "empty"},
        {"[{\"name\": \"a/b\"}]", "@", "@1: key 'name'", "no '/'"},
        {"[{\"name\": \"..\"}]", "@", "@1: key 'name'", "no '..'"},
        {"[{\"name\": \"a..b\"}]", "@", "@1: key 'name'", "no '..'"},
        {"[{\"name\": \".cache\"}]", "@", "@1: key 'name'", "no '.' in front"},
        {"[{\"name\": \"a\\u0007\"}]", "@", "@1: key 'name'", "control character 0x07"},
        {"[{\"name\": \"a\\u007f\"}]", "@", "@1: key 'name'", "control character 0x7f"},
        {"[{\"image_encoder\": \"../x\"}]", "@", "@1: key 'name'", "'..'"},
        {"[{\"name\": "
         "\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
         "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
         "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"}]",
         "@", "@1: key 'name'", "at most 200"},
    };
    EXPECT(list);
}

static void files(void **state)
{
    static const mistake list[] = {
        {NULL, "missing.json", "config file: missing.json", "No such file"},
        {"", "@", "", "c.json"},
        {"[]", "@", "", "the list of configs is empty"},
        {"[3]", "@", "@1", "must be an object"},
        {"\"x\"", "@", "@1", "must be an object"},
        {"[{}] x", "@", "@1", ""},
        {"[{}", "@", "@1", ""},
        {"[{}]", "@ other.json", "other.json: a config file was named before it", ""},
        {"[{}]", "--config-file @ other.json", "other.json", "put all configs into one"},
        {NULL, "--multi-config", "--multi-config", "no config file"},
        {NULL, "--config-file", "--config-file needs a value", "FILE"},
    };
    EXPECT(list);
}

static void flags(void **state)
{
    static const mistake list[] = {
        {NULL, "--epochs 3x", "--epochs", "'3x' is not understood"},
        {NULL, "--epochs 0x10", "--epochs", "'0x10' is not understood"},
        {NULL, "--epochs 1e3", "--epochs", "not understood"},
        {NULL, "--epochs=", "--epochs", "not understood"},
        {NULL, "--learning-rate nan", "--learning-rate", "not understood"},
        {NULL, "--learning-rate inf", "--learning-rate", "not understood"},
        {NULL, "--learning-rate 1e999", "--learning-rate", "not understood"},
        {NULL, "--learning-rate -1", "--learning-rate", "out of range"},
        {NULL, "--epochs", "--epochs needs a value", "--epochs N"},
        {NULL, "--epochs --batch-size 3", "--epochs needs a value", ""},
        {NULL, "--epoch 3", "--epoch: unknown option", "did you mean --epochs"},
        {NULL, "--batch_size 3", "--batch_size: unknown option", "did you mean --batch-size"},
        {NULL, "--batch_size=3", "--batch_size: unknown option", "did you mean --batch-size"},
        {NULL, "-e 3", "-e: unknown option", ""},
        {NULL, "--", "--: unknown option", ""},
        {NULL, "--use-metaclip", "--use-metaclip", "MetaCLIP is not supported"},
        {NULL, "--metaclip-model=x", "--metaclip-model", "MetaCLIP is not supported"},
        {NULL, "--use-cv=maybe", "--use-cv", "true or false"},
        {NULL, "--no-amp=2", "--no-amp", "true or false"},
        {NULL, "--plan=yes", "--plan takes no value", ""},
        {NULL, "--plan --check", "--check", "choose one"},
        {NULL, "--check --plan-ranks 4", "--plan-ranks", "--plan"},
        {NULL, "--backend gpu", "--backend", "auto, cpu, cuda or ref"},
        {NULL, "--progress fancy", "--progress", "auto, live or plain"},
        {NULL, "--gpus 0,,2", "--gpus", "0,2,5"},
        {NULL, "--gpus a", "--gpus", "list of GPU numbers"},
        {NULL, "--data-dir=", "--data-dir", "is empty"},
        {NULL, "--dump-steps 3", "--dump-steps needs a value", "N DIR"},
        {NULL, "--set epochs", "--set epochs", "KEY=VALUE"},
        {NULL, "--set =3", "--set =3", "KEY=VALUE"},
        {NULL, "--set epoch=3", "--set epoch", "did you mean 'epochs'"},
        {NULL, "--set data_dir=3", "--set data_dir", "use --data-dir"},
        {NULL, "--set epochs=x", "--set epochs", "'x' is not understood"},
        {NULL, "--set class_texts_dict={", "--set class_texts_dict", ""},
        {NULL, "--set class_texts_dict=[]", "--set class_texts_dict", "object"},
        {NULL, "--name ../x", "--name", "'..'"},
        {"[{}]", "@ --epochs 0", "--epochs", "out of range"},
    };
    EXPECT(list);
}

static void combinations(void **state)
{
    static const mistake list[] = {
        {"[{},\n{\n\"use_focal_loss\": true}]", "@", "@3: key 'use_focal_loss'",
         "use_superclip_loss"},
        {NULL, "--use-focal-loss", "--use-focal-loss:", "use_superclip_loss"},
        {"[{}]", "@ --use-focal-loss", "--use-focal-loss (for ", "use_superclip_loss"},
        {"[{\"use_superclip_loss\": true, \"class_loss_weight\": 0, "
         "\"contrastive_loss_weight\": 0}]",
         "@", "@1: key 'class_loss_weight'", "both 0"},
        {"[{\"pretrained\": false, \"image_weights\": \"x\"}]", "@", "@1: key 'image_weights'",
         "pretrained is false"},
        {"[{\"pretrained\": false, \"text_weights\": \"x\"}]", "@", "@1: key 'text_weights'",
         "pretrained is false"},
        {"[{\"class_texts_file\": \"x\", \"class_texts_dict\": {\"a\": \"b\"}}]", "@",
         "@1: key 'class_texts_file'", "class_texts_dict is given too"},
        {NULL, "--resume-from x", "--resume-from is for one job", "this run has 5"},
        {"[{\"use_cv\": false}, {\"use_cv\": false}]", "@ --resume-from x",
         "--resume-from is for one job", "this run has 2"},
        {NULL, "--resume-from x --restart --use-cv false", "--resume-from and --restart", ""},
        {NULL, "--resume-from x --init-from y --use-cv false", "--resume-from and --init-from", ""},
    };
    EXPECT(list);
}

static void class_texts(void **state)
{
    static const mistake list[] = {
        {"[{\"class_texts_dict\": {\"a\": 3}}]", "@", "@1: key 'class_texts_dict'", "class 'a'"},
        {"[{\"class_texts_dict\": {\n\"a\": []}}]", "@", "@1", "line 2: class 'a'"},
        {"[{\"class_texts_dict\": {\"a\": [\"x\", 3]}}]", "@", "@1", "class 'a' has a number"},
        {"[{\"class_texts_dict\": {\"a\": \" \"}}]", "@", "@1", "empty text"},
        {"[{\"class_texts_dict\": {}}]", "@", "@1: key 'class_texts_dict'", "names no class"},
        {"[{\n\"class_texts_file\": \"missing.json\"}]", "@", "@2: key 'class_texts_file'",
         "missing.json"},
        {NULL, "--class-texts-file missing.json", "--class-texts-file", "No such file"},
    };
    EXPECT(list);
}

static void class_text_files(void **state)
{
    parsing *p = *state;
    static const mistake list[] = {
        {NULL, "--class-texts-file %", "--class-texts-file", "line 2: class 'b' has a number"},
    };
    write_text(p->texts, "{\"a\": \"x\",\n\"b\": 3}");
    EXPECT(list);
    assert_non_null(strstr(sc_message(), p->texts));
    static const mistake shape[] = {
        {NULL, "--class-texts-file %", "--class-texts-file", "is a list"},
    };
    write_text(p->texts, "[\"x\"]");
    EXPECT(shape);
}

/* Cutting a good file anywhere, or changing any byte, never crashes and never gives two lines. */
static void damaged_files_are_refused_calmly(void **state)
{
    parsing *p = *state;
    static const char good[] =
        "[{\"name\": \"a\", \"epochs\": 3, \"class_texts_dict\": {\"a\": [\"b\"]}},"
        " {\"use_cv\": false, \"learning_rate\": 1e-3, }]";
    char bad[sizeof good];
    for (size_t n = 0; n < sizeof good - 2; n++) {
        memcpy(bad, good, n);
        bad[n] = '\0';
        assert_int_not_equal(parse(p, bad, "@"), SC_OK);
        assert_null(strchr(sc_message(), '\n'));
    }
    for (size_t n = 0; n < sizeof good - 1; n++) {
        memcpy(bad, good, sizeof good);
        bad[n] = (char)(bad[n] ^ 0x15);
        if (parse(p, bad, "@") != SC_OK)
            assert_true(isprint((unsigned char)sc_message()[0]));
    }
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, parsing_setup, parsing_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(keys),
        CASE(types_and_ranges),
        CASE(names),
        CASE(files),
        CASE(flags),
        CASE(combinations),
        CASE(class_texts),
        CASE(class_text_files),
        CASE(damaged_files_are_refused_calmly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
