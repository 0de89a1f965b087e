/* The program's side: finding and opening libsc_cuda.so. */
#include "plugin.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef SC_PLUGIN_FOLDER /* where it is installed, from the program's folder */
#define SC_PLUGIN_FOLDER "../lib/superclip"
#endif
static const char file[] = "libsc_cuda.so";

/* Heap path of the plugin, or NULL. */
static char *find_plugin(void)
{
    static const char *const folders[] = {".", SC_PLUGIN_FOLDER, "../lib/superclip", "../lib"};
    char program[4096], *found = NULL;
    ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);
    if (n <= 0)
        return NULL;
    program[n] = '\0';
    char *slash = strrchr(program, '/');
    if (slash == NULL)
        return NULL;
    *slash = '\0';
    for (size_t i = 0; found == NULL && i < sizeof folders / sizeof *folders; i++) {
        found = sc_format("%s/%s/%s", program, folders[i], file);
        if (found != NULL && !sc_file_exists(found)) {
            free(found);
            found = NULL;
        }
    }
    return found;
}

static sc_status open_plugin(const sc_cuda_plugin **out)
{
    *out = NULL;
    char *path = find_plugin();
    if (path == NULL)
        return sc_fail(SC_EUNSUPPORTED, "this build has no CUDA backend (no %s beside the program)",
                       file);
    sc_status status = SC_OK;
    const sc_cuda_plugin *p = NULL;
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL); /* stays: its backend is the program's */
    if (library != NULL)
        p = dlsym(library, SC_CUDA_PLUGIN);
    if (library == NULL)
        status = sc_fail(SC_EUNSUPPORTED, "%s does not load: %s", path, dlerror());
    else if (p == NULL || memcmp(p->version, SC_VERSION, sizeof SC_VERSION) != 0 ||
             p->layout != SC_CUDA_LAYOUT)
        status =
            sc_fail(SC_EUNSUPPORTED,
                    "%s (%.15s) was built from other sources than the program (%s): install both "
                    "from one build",
                    path, p != NULL ? p->version : "unknown", SC_VERSION);
    else
        *out = p;
    free(path);
    return status;
}

sc_status sc_backend_find_cuda(const sc_backend **out)
{
    const sc_cuda_plugin *p;
    *out = NULL;
    SC_TRY(open_plugin(&p));
    *out = p->backend();
    return SC_OK;
}

sc_status sc_backend_open_absent(const sc_device_options *o, const char *gpu, sc_device **out)
{
    const sc_cuda_plugin *p;
    SC_TRY(open_plugin(&p));
    return p->open_absent(o, gpu, out);
}
