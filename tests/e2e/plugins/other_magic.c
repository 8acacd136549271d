/* A shared object that exports something else under our name. */
#include "muster.h"

static const muster_function functions[] = {{NULL, NULL}};

MUSTER_API const muster_plugin_info muster_plugin = {0x12345678u, MUSTER_PLUGIN_VERSION, functions};
