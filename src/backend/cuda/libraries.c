#include "libraries.h"

#include <dlfcn.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>

static void *try_folder(const char *folder, const char *below, const char *soname)
{
    char *path = sc_format("%s/%s%s", folder, below, soname);
    void *h = path != NULL && sc_file_exists(path) ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
    free(path);
    return h;
}
static void *in_toolkit(const char *folder, const char *soname)
{
    static const char *const below[] = {"lib64/", "lib/", "targets/x86_64-linux/lib/"};
    void *h = NULL;
    for (size_t i = 0; folder != NULL && h == NULL && i < sizeof below / sizeof *below; i++)
        h = try_folder(folder, below[i], soname);
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

/* ---- what PyTorch brings: packages nvidia-cudnn, nvidia-cublas and nvidia-nccl -----------------
 */

/* As pip lays them out below a Python's prefix, and as Debian's pip and conda do. */
static void *in_prefix(const char *prefix, const char *soname)
{
    static const char *const patterns[] = {"lib*/python3*/site-packages/nvidia/*/lib",
                                           "lib*/python3*/dist-packages/nvidia/*/lib",
                                           "local/lib/python3*/dist-packages/nvidia/*/lib", "lib"};
    void *h = NULL;
    for (size_t i = 0;
         prefix != NULL && *prefix == '/' && h == NULL && i < sizeof patterns / sizeof *patterns;
         i++) {
        glob_t found = {0};
        char *pattern = sc_format("%s/%s/%s", prefix, patterns[i], soname);
        if (pattern != NULL && glob(pattern, 0, NULL, &found) == 0)
            for (size_t k = 0; h == NULL && k < found.gl_pathc; k++)
                h = dlopen(found.gl_pathv[k], RTLD_NOW | RTLD_LOCAL);
        globfree(&found);
        free(pattern);
    }
    return h;
}
/* The prefix of the python3 that PATH has first. A virtual environment's is a link elsewhere, and
 * its packages are beside the link. */
static char *python_prefix(void)
{
    const char *path = getenv("PATH");
    while (path != NULL && *path != '\0') {
        const size_t n = strcspn(path, ":");
        char *folder = sc_strndup(path, n);
        char *python = folder != NULL && n > 0 ? sc_path_join(folder, "python3") : NULL;
        char *prefix = python != NULL && sc_file_exists(python) ? sc_path_join(folder, "..") : NULL;
        free(python);
        free(folder);
        if (prefix != NULL)
            return prefix;
        path += n + (path[n] == ':');
    }
    return NULL;
}
static void *of_python(const char *soname)
{
    void *h = in_prefix(getenv("VIRTUAL_ENV"), soname);
    if (h == NULL)
        h = in_prefix(getenv("CONDA_PREFIX"), soname);
    if (h == NULL) {
        char *prefix = python_prefix();
        h = in_prefix(prefix, soname);
        free(prefix);
    }
    if (h == NULL && getenv("HOME") != NULL) {
        char *own = sc_path_join(getenv("HOME"), ".local");
        h = in_prefix(own, soname);
        free(own);
    }
    return h;
}

sc_status cuda_library(const char *what, const char *soname, void **out)
{
    const char *why = NULL;
    void *h = in_toolkit(getenv("CUDA_HOME"), soname);
    if (h == NULL) {
        h = dlopen(soname, RTLD_NOW | RTLD_LOCAL);
        why = h == NULL ? dlerror() : NULL;
    }
    char *words = sc_strdup(why != NULL ? why : "");
    if (h == NULL)
        h = beside_us(soname);
    if (h == NULL)
        h = of_python(soname);
    if (h == NULL)
        h = in_toolkit("/usr/local/cuda", soname);
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

sc_status cuda_blas_library(const char *what, void **out)
{
    return cuda_library(what, "libcublasLt.so.13", out) == SC_OK
               ? SC_OK
               : cuda_library(what, "libcublasLt.so.12", out);
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
