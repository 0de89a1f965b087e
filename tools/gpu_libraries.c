/* gpu_check's look at NVIDIA's libraries: they are found and run, and which files they are. */
#include "gpu_check.h"

#include "check_ops.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The smallest of the op table that goes through a library. */
static sc_status try_op(const gpu_check *c, sc_op op)
{
    size_t count;
    const op_case *table = op_cases(&count);
    const sc_device_options o = {c->threads, SC_BF16_MIXED, NULL};
    case_run how = {.backend = c->cuda, .precision = SC_BF16_MIXED, .threads = c->threads};
    sc_status status = c->cuda->open(&o, &how.device);
    size_t i = 0;
    while (i < count && table[i].op != op)
        i++;
    if (status == SC_OK)
        status = i < count ? check_modes(&table[i], how, NULL, NULL)
                           : sc_fail(SC_EINTERNAL, "no row of %s", sc_op_name(op));
    if (how.device)
        c->cuda->close(how.device);
    return status;
}

/* "cuDNN 91900 of /path": `function` is the library's own for its version. */
static void put_version(const char *path, const char *function, sc_text *out)
{
    size_t (*version)(void) = NULL;
    void *library = dlopen(path, RTLD_NOW | RTLD_NOLOAD);
    void *found = library ? dlsym(library, function) : NULL;
    memcpy(&version, &found, sizeof version);
    if (version)
        sc_text_putf(out, "%zu of ", version());
    sc_text_puts(out, path);
    if (library)
        dlclose(library);
}
/* The files of this process whose names begin so, with the version of the first. */
static void put_files(const char *beginning, const char *function, sc_text *out)
{
    char line[4096 + 200], last[4096] = "";
    FILE *f = fopen("/proc/self/maps", "r");
    while (f && fgets(line, sizeof line, f)) {
        char *path = strchr(line, '/'), *name = path ? strrchr(path, '/') + 1 : NULL;
        line[strcspn(line, "\n")] = '\0';
        if (!name || strncmp(name, beginning, strlen(beginning)) != 0 || strcmp(path, last) == 0 ||
            strlen(path) >= sizeof last)
            continue;
        strcpy(last, path);
        put_version(path, function, out);
        sc_text_puts(out, "; ");
    }
    if (f)
        fclose(f);
}

void gpu_libraries(gpu_check *c)
{
    static const struct {
        const char *name, *beginning, *version;
        sc_op op;
    } libraries[] = {
        {"cuDNN", "libcudnn_graph", "cudnnGetVersion", SC_OP_CONV2D},
        {"cuBLASLt", "libcublasLt", "cublasLtGetVersion", SC_OP_LINEAR},
    };
    for (size_t i = 0; i < sizeof libraries / sizeof *libraries; i++) {
        const sc_status status = try_op(c, libraries[i].op);
        sc_text files;
        if (status != SC_OK)
            gpu_failed(c, libraries[i].name);
        sc_text_init(&files);
        put_files(libraries[i].beginning, libraries[i].version, &files);
        if (sc_text_status(&files) == SC_OK && files.len > 0) {
            if (status == SC_OK)
                gpu_row(c, true, libraries[i].name, "%s", files.data);
            else
                gpu_figure(libraries[i].name, "%s", files.data);
        }
        sc_text_free(&files);
    }
}
