/* A plugin of a later version of the interface. */
#include "muster.h"

static const muster_function functions[] = {{NULL, NULL}};

MUSTER_API const muster_plugin_info muster_plugin = {MUSTER_PLUGIN_MAGIC, MUSTER_PLUGIN_VERSION + 1, functions};
