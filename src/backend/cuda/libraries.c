#include "libraries.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

static void *try_folder(const char *folder, const char *below, const char *soname)
{
    char *path = sc_format("%s/%s%s", folder, below, soname);
    void *h = path != NULL && sc_file_exists(path) ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
    free(path);
    return h;
}
static void *beside_us(const char *soname)
{
    static const char *const below[] = {"", "lib/", "../lib/", "../lib/superclip/"};
    Dl_info at;
    void *h = NULL;
    /* Any address of ours says which file we were loaded from. */
    if (dladdr(below, &at) == 0 || at.dli_fname == NULL)
        return NULL;
    char *folder = sc_strdup(at.dli_fname);
    char *slash = folder != NULL ? strrchr(folder, '/') : NULL;
    if (slash != NULL) {
        *slash = '\0';
        for (size_t i = 0; h == NULL && i < sizeof below / sizeof *below; i++)
            h = try_folder(folder, below[i], soname);
    }
    free(folder);
    return h;
}

sc_status cuda_library(const char *what, const char *soname, void **out)
{
    static const char *const below[] = {"lib64/", "lib/", "targets/x86_64-linux/lib/"};
    const char *home = getenv("CUDA_HOME");
    const char *why = NULL;
    void *h = NULL;
    for (size_t i = 0; home != NULL && h == NULL && i < sizeof below / sizeof *below; i++)
        h = try_folder(home, below[i], soname);
    if (h == NULL) {
        h = dlopen(soname, RTLD_NOW | RTLD_LOCAL);
        why = h == NULL ? dlerror() : NULL;
    }
    char *words = sc_strdup(why != NULL ? why : "");
    if (h == NULL)
        h = beside_us(soname);
    *out = h;
    sc_status status = SC_OK;
    if (h == NULL)
        status = sc_fail(SC_EUNSUPPORTED,
                         "cuda: %s was not found (%s); set CUDA_HOME or LD_LIBRARY_PATH to where "
                         "%s is, or put it beside the program",
                         what, words != NULL ? words : soname, soname);
    free(words);
    return status;
}

sc_status cuda_symbol(void *library, const char *what, const char *name, void *function)
{
    void *p = dlsym(library, name);
    if (p == NULL)
        return sc_fail(SC_EUNSUPPORTED, "cuda: this %s has no %s: it is too old or damaged", what,
                       name);
    memcpy(function, &p, sizeof p); /* an object pointer becomes a function pointer as POSIX says */
    return SC_OK;
}
