#include "cli.h"
#include "pack_tool.h"

enum { IMG_SIZE, SHARDS, WINDOW, SKIP_BAD, FORCE, HELP, VERSION, OPTIONS };
static const cli_option options[OPTIONS] = {
    [IMG_SIZE] = {"--img-size", CLI_VALUE, NULL}, [SHARDS] = {"--shards", CLI_VALUE, NULL},
    [WINDOW] = {"--window", CLI_VALUE, NULL},     [SKIP_BAD] = {"--skip-bad", CLI_NONE, NULL},
    [FORCE] = {"--force", CLI_NONE, NULL},        [HELP] = {"--help", CLI_NONE, NULL},
    [VERSION] = {"--version", CLI_NONE, NULL},
};

const char pack_help[] =
    "Usage: pack_hdf5 SRC_DIR DST [options]\n"
    "       mpirun -np N pack_hdf5 SRC_DIR DST [options]\n"
    "\n"
    "Packs SRC_DIR/<class name>/<image> into DST: HDF5 shards and a manifest.json that\n"
    "sc_mpi --data-dir DST trains from. Images: .jpg .jpeg .png .bmp .tif .tiff .webp.\n"
    "\n"
    "  --img-size N    side of the packed images in pixels, 16..4096 (default 224); must be\n"
    "                  the config's img_size\n"
    "  --shards K      number of shard files (default: one per 2 GiB)\n"
    "  --skip-bad      leave unreadable images out and record them in the manifest, instead\n"
    "                  of refusing the whole set\n"
    "  --window LO,HI  16-bit grey images: LO becomes black, HI white (default 0,65535);\n"
    "                  0,4095 for 12-bit X-rays\n"
    "  --force         replace an existing packed set, in one rename\n"
    "  --version, --help\n"
    "\n"
    "All unreadable images are listed at the end. Exit status: 0 packed, 1 not packed.\n";

typedef struct parse {
    sc_pack_options *o;
    pack_request request;
} parse;

static sc_status take(void *ctx, int option, const char *value)
{
    parse *p = ctx;
    sc_pack_options *o = p->o;
    switch (option) {
    case -1:
        if (o->src && o->dst)
            return sc_fail(SC_EUSAGE, "%s: a third folder; expected SRC_DIR DST only", value);
        *(o->src ? &o->dst : &o->src) = value;
        return SC_OK;
    case IMG_SIZE:
        return cli_int("--img-size", value, 16, 4096, &o->img_size);
    case SHARDS:
        return cli_int("--shards", value, 1, 99999, &o->shards);
    case WINDOW:
        return cli_window(value, &o->decode);
    case SKIP_BAD:
        o->skip_bad = true;
        return SC_OK;
    case FORCE:
        o->force = true;
        return SC_OK;
    default:
        p->request = option == HELP ? PACK_HELP : PACK_VERSION;
        return SC_OK;
    }
}

sc_status pack_options_parse(int argc, char **argv, sc_pack_options *out, pack_request *request)
{
    parse p = {out, PACK_RUN};
    *out = (sc_pack_options){.img_size = 224, .decode = {.max_pixels = 178e6}};
    sc_status status = cli_parse("pack_hdf5", options, OPTIONS, argc, argv, take, &p);
    *request = p.request;
    SC_TRY(status);
    if (p.request == PACK_RUN && !out->dst)
        return sc_fail(SC_EUSAGE, "expected two folders: pack_hdf5 SRC_DIR DST; see --help");
    return SC_OK;
}
