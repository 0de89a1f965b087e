#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "predict_tool.h"

enum {
    LIST,
    ROOT,
    TOP,
    CSV,
    JSON,
    BATCH,
    THREADS,
    BACKEND,
    NO_AMP,
    WINDOW,
    TOKENIZER,
    IMAGE_ENCODER,
    TEXT_ENCODER,
    IMG_SIZE,
    HELP,
    VERSION,
    OPTIONS
};
static const cli_option options[OPTIONS] = {
    [LIST] = {"--list", CLI_VALUE, NULL},
    [ROOT] = {"--root", CLI_VALUE, NULL},
    [TOP] = {"--top", CLI_VALUE, NULL},
    [CSV] = {"--csv", CLI_FILE, ".csv"},
    [JSON] = {"--json", CLI_FILE, ".json"},
    [BATCH] = {"--batch-size", CLI_VALUE, NULL},
    [THREADS] = {"--threads", CLI_VALUE, NULL},
    [BACKEND] = {"--backend", CLI_VALUE, NULL},
    [NO_AMP] = {"--no-amp", CLI_NONE, NULL},
    [WINDOW] = {"--window", CLI_VALUE, NULL},
    [TOKENIZER] = {"--tokenizer", CLI_VALUE, NULL},
    [IMAGE_ENCODER] = {"--image-encoder", CLI_VALUE, NULL},
    [TEXT_ENCODER] = {"--text-encoder", CLI_VALUE, NULL},
    [IMG_SIZE] = {"--img-size", CLI_VALUE, NULL},
    [HELP] = {"--help", CLI_NONE, NULL},
    [VERSION] = {"--version", CLI_NONE, NULL},
};

const char predict_help[] =
    "Usage: sc_predict CHECKPOINT... IMAGE... [options]\n"
    "\n"
    "Class probabilities of images. CHECKPOINT: checkpoint_best.pth of sc_mpi or of\n"
    "train_clip.py; several average their probabilities (an ensemble of folds). IMAGE: an image\n"
    "file (.jpg .jpeg .png .bmp .tif .tiff .webp), a folder of images, of class folders, or\n"
    "packed shards; anything else that is named is a checkpoint.\n"
    "\n"
    "  sc_predict fold_1/checkpoint_best.pth new_images/\n"
    "  sc_predict fold_*/checkpoint_best.pth new_images/ --csv out.csv\n"
    "  sc_predict fold_2/checkpoint_best.pth --list files.txt --root single_label_data --json\n"
    "\n"
    "Which images\n"
    "  --list FILE           also the images that FILE names, one path a line\n"
    "  --root DIR            the paths of --list are relative to DIR\n"
    "  --window LO,HI        16-bit grey images: LO becomes black, HI white, as in pack_hdf5\n"
    "What is printed\n"
    "  --top K               classes an image in the table (default 3), or in --json (default "
    "all)\n"
    "  --csv [FILE.csv]      the columns of val_predictions.csv, to a file or standard output\n"
    "  --json [FILE.json]    one JSON object, likewise\n"
    "Running\n"
    "  --batch-size N        images at once (default: as in the training)\n"
    "  --threads N           compute threads, and as many that read images (default: all cores)\n"
    "  --backend NAME        auto, cpu, cuda or ref\n"
    "  --no-amp              fp32 even where the training computed in bfloat16\n"
    "Checkpoints that do not say it themselves\n"
    "  --tokenizer FILE      a checkpoint of train_clip.py holds no token ids: the vocabulary\n"
    "                        that its texts are cut up with (searched for when left out)\n"
    "  --image-encoder NAME, --text-encoder NAME, --img-size N   for one without a config\n"
    "  --version, --help\n"
    "\n"
    "An image in a folder named as a class is counted as one of it: accuracy and mAP are told\n"
    "at the end. Figures of images that the model was trained on say nothing; a fold's own\n"
    "validation files are in folds_info.json.\n"
    "\n"
    "Exit status: 0 all images predicted; 1 nothing predicted; 2 some images cannot be read (they\n"
    "are listed), the others were predicted.\n";

/* What is no checkpoint: a name with an image's ending, a folder, a packed set. */
static bool is_image_word(const char *word)
{
    struct stat st;
    return sc_image_name(word) || word[strlen(word) - 1] == '/' ||
           (stat(word, &st) == 0 && S_ISDIR(st.st_mode));
}

static sc_status take_word(predict_options *o, const char *word)
{
    if (is_image_word(word))
        o->images[o->image_count++] = word;
    else
        o->checkpoints[o->checkpoint_count++] = word;
    return SC_OK;
}

static sc_status take(void *ctx, int option, const char *value)
{
    predict_options *o = ctx;
    switch (option) {
    case -1:
        return take_word(o, value);
    case LIST:
        o->list = value;
        return SC_OK;
    case ROOT:
        o->root = value;
        return SC_OK;
    case TOP:
        return cli_int("--top", value, 1, 1 << 20, &o->top);
    case CSV:
        o->csv = true;
        o->csv_file = value && strcmp(value, "-") != 0 ? value : NULL;
        return SC_OK;
    case JSON:
        o->json = true;
        o->json_file = value && strcmp(value, "-") != 0 ? value : NULL;
        return SC_OK;
    case BATCH:
        return cli_int("--batch-size", value, 1, 1 << 16, &o->batch);
    case THREADS:
        return cli_int("--threads", value, 1, 4096, &o->threads);
    case BACKEND:
        o->backend = value;
        return SC_OK;
    case NO_AMP:
        o->no_amp = true;
        return SC_OK;
    case WINDOW:
        return cli_window(value, &o->decode);
    case TOKENIZER:
        o->hints.tokenizer = value;
        return SC_OK;
    case IMAGE_ENCODER:
        o->hints.image_encoder = value;
        return SC_OK;
    case TEXT_ENCODER:
        o->hints.text_encoder = value;
        return SC_OK;
    case IMG_SIZE:
        return cli_int("--img-size", value, 16, 4096, &o->hints.img_size);
    default:
        o->request = option == HELP ? PREDICT_HELP : PREDICT_VERSION;
        return SC_OK;
    }
}

static sc_status check(const predict_options *o)
{
    if (o->request != PREDICT_RUN)
        return SC_OK;
    if (o->checkpoint_count == 0)
        return sc_fail(SC_EUSAGE, "no checkpoint; expected sc_predict CHECKPOINT... IMAGE...; see "
                                  "--help");
    if (o->image_count == 0 && !o->list)
        return sc_fail(SC_EUSAGE, "no images; expected sc_predict CHECKPOINT... IMAGE..., an image "
                                  "being a file, a folder or --list FILE; see --help");
    if (o->root && !o->list)
        return sc_fail(SC_EUSAGE, "--root %s: there is no --list that it could be for", o->root);
    if (o->csv && o->json && !o->csv_file && !o->json_file)
        return sc_fail(SC_EUSAGE, "--csv and --json both on standard output; give one a file, as "
                                  "in --csv=out.csv");
    if (o->top && o->csv && !o->json)
        return sc_fail(SC_EUSAGE, "--top %d: a CSV has a column for every class; leave it out",
                       o->top);
    static const char *const backends[] = {"auto", "cpu", "cuda", "ref"};
    for (size_t i = 0; i < sizeof backends / sizeof backends[0]; i++)
        if (strcmp(o->backend, backends[i]) == 0)
            return SC_OK;
    return sc_fail(SC_EUSAGE, "--backend %s: must be auto, cpu, cuda or ref", o->backend);
}

sc_status predict_options_parse(int argc, char **argv, predict_options *out)
{
    *out = (predict_options){.backend = "auto", .decode = {.max_pixels = 178e6}};
    out->checkpoints = sc_alloc((size_t)argc, sizeof *out->checkpoints);
    out->images = sc_alloc((size_t)argc, sizeof *out->images);
    if (!out->checkpoints || !out->images)
        return SC_ENOMEM;
    SC_TRY(cli_parse("sc_predict", options, OPTIONS, argc, argv, take, out));
    return check(out);
}

void predict_options_free(predict_options *o)
{
    free((void *)o->checkpoints);
    free((void *)o->images);
}
