/* --version. The libraries' versions are those the build found (CMake asks pkg-config). */
#include "app.h"

const char *app_libraries(void)
{
    return SC_LIBRARIES;
}

void app_print_version(FILE *f)
{
    fprintf(f, "sc_mpi %s\nlibraries: %s\nbackends: cpu, ref\n", SC_VERSION, app_libraries());
}
