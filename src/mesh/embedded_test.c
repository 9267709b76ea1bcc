// The embedded engine passes the contract of the mesh.
#include "base/test.h"
#include "mesh/contract.h"

static const mesh_factory embedded = {mesh_embedded_open, true};

#define X(name)                     \
    TEST(mesh_embedded_##name)      \
    {                               \
        contract_##name(&embedded); \
    }
MESH_CONTRACT(X)
#undef X
